//! What begins with a colon.

use super::Repl;
use super::evaluate::{equations, row_values, type_of};
use super::session::{Outcome, entry, named, no_value};
use crate::command::train::{Manner, Run};
use crate::error::Failure;
use crate::load;
use crate::pipeline::{self, Checked};
use crate::run::stored;
use crate::show::value::{Shown, sizes};
use crate::show::{number, plot};
use bdl_check::hir::Type;
use bdl_check::show_type;
use bdl_data::Summary;
use bdl_grammar::ast::{Item, ItemKind, TrainEntryKind};
use bdl_schedule::Target;
use bdl_train::RunFolder;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A command as `:help` shows it.
pub struct Command {
    pub word: &'static str,
    pub takes: &'static str,
    pub does: &'static str,
}

const fn command(word: &'static str, takes: &'static str, does: &'static str) -> Command {
    Command { word, takes, does }
}

pub const COMMANDS: [Command; 18] = [
    command("type", "E", "the type of an expression, or the signature of a definition; computes nothing"),
    command("shape", "E", "the sizes of an expression"),
    command("grad", "F X", "the gradient of F(X) by X; also `:grad E, x`"),
    command("eq", "E", "the equations of an expression or a definition"),
    command("clif", "E", "the code that is generated for it"),
    command("time", "E", "how long it takes"),
    command("plot", "E", "a vector as a curve, a matrix as a heat map; also `:plot E, x in A .. B`"),
    command("doc", "NAME", "what a definition says of itself"),
    command("load", "FILE", "takes the definitions of a program"),
    command("data", "[NAME [ROW]]", "what a data block reads; with a number, the fields of that row as values"),
    command("train", "[NAME]", "trains, and keeps the trained models as values"),
    command("list", "", "what is defined"),
    command("save", "FILE", "writes the definitions as a program"),
    command("forget", "NAME", "removes a definition or value"),
    command("reset", "", "forgets everything"),
    command("explain", "CODE", "the page about a message"),
    command("help", "", "this list"),
    command("quit", "", "leaves; so does Ctrl-D"),
];

/// Runs a command; `None` ends the session.
pub fn run(repl: &mut Repl, text: &str) -> Result<Option<String>, Failure> {
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let rest = rest.trim();
    // A part of a word is enough where only one begins so.
    let begin: Vec<&Command> =
        COMMANDS.iter().filter(|known| known.word.starts_with(word) && !word.is_empty()).collect();
    let exact = begin.iter().find(|known| known.word == word);
    let found = match (exact, begin.as_slice()) {
        (Some(exact), _) => exact.word,
        (None, [one]) => one.word,
        (None, [] | [_, ..]) => {
            let help = if begin.is_empty() { ":help lists them".into() } else { words(&begin) };
            return Err(Failure::user("unknown-command", format!("there is no command `:{word}`")).help(help));
        }
    };
    let needs = |example: &str| match rest {
        "" => Err(Failure::user("missing-argument", format!("`:{found}` needs something"))
            .help(format!("`:{found} {example}`"))),
        _ => Ok(rest),
    };
    let text = match found {
        "type" => type_text(repl, needs("softmax([1, 2])")?)?,
        "shape" => shape(repl, needs("zeros[3, 4]")?)?,
        "grad" => gradient(repl, needs("norm [3, 4]")?)?,
        "eq" => {
            let (checked, entry_at) = expression_or_definition(repl, needs("softmax")?)?;
            let entry = &checked.hir.entries[entry_at];
            bdl_equations::text::print_bdl(&equations(&checked, entry)?)
        }
        "clif" => clif(repl, needs("softmax([1, 2])")?)?,
        "time" => time(repl, needs("softmax([1, 2])")?)?,
        "plot" => picture(repl, needs("tanh(x), x in -3 .. 3")?)?,
        "doc" => doc(repl, needs("softmax")?)?,
        "load" => load_file(repl, Path::new(needs("model.bdl")?.trim_matches('"')))?,
        "data" => data(repl, rest)?,
        "train" => train(repl, rest)?,
        "list" => list(repl),
        "save" => save(repl, Path::new(needs("model.bdl")?.trim_matches('"')))?,
        "forget" => forget(repl, needs("x")?)?,
        "reset" => {
            *repl = Repl::new(repl.context.clone());
            String::new()
        }
        "explain" => crate::explain::page(needs("dim-mismatch")?)?,
        "help" => help(),
        "quit" => return Ok(None),
        _ => return Err(Failure::bug(format!("the command `:{found}` is listed and does nothing"))),
    };
    Ok(Some(text))
}

fn words(commands: &[&Command]) -> String {
    commands.iter().map(|command| format!(":{}", command.word)).collect::<Vec<_>>().join(", ")
}

fn help() -> String {
    let mut out = String::from(
        "A line is an expression (`softmax([1, 2])`), a `let`, or a definition (`fn`, `layer`, `model`, `data`, `train`, ..).\n\
         An open bracket goes on in the next line; `it` is the last value.\n\n",
    );
    let heads: Vec<String> = COMMANDS.iter().map(|command| format!(":{} {}", command.word, command.takes)).collect();
    let width = heads.iter().map(String::len).max().unwrap_or(0);
    for (head, command) in heads.iter().zip(&COMMANDS) {
        out.push_str(&format!("  {head:width$}  {}\n", command.does));
    }
    out
}

// ------------------------------------------------------------------------------------------------ types, gradients, stages

/// The name of a definition, alone.
fn is_definition(repl: &Repl, text: &str) -> bool {
    repl.session.value(text).is_none() && repl.session.item(text).is_some()
}

fn type_text(repl: &mut Repl, text: &str) -> Result<String, Failure> {
    if is_definition(repl, text)
        && let Some(item) = repl.session.item(text)
    {
        return Ok(format!("{}\n", signature(repl, item)));
    }
    let checked = repl.session.checked(text)?;
    Ok(format!("{}\n", shown_type(&checked)?))
}

fn shown_type(checked: &Checked) -> Result<String, Failure> {
    match entry(checked) {
        Some(entry) => Ok(show_type(&type_of(checked, entry)?)),
        None => Ok(checked.hir.evaluated.as_ref().map_or("?", |found| found.shown.trim_matches('`')).to_string()),
    }
}

fn shape(repl: &mut Repl, text: &str) -> Result<String, Failure> {
    let checked = repl.session.checked(text)?;
    let entry = entry(&checked).ok_or_else(no_value)?;
    fn lines(path: &str, ty: &Type, out: &mut String) {
        match ty {
            Type::Tensor(tensor) => {
                let sizes = sizes(tensor);
                let count: usize = sizes.iter().product();
                let sizes: Vec<String> = sizes.iter().map(usize::to_string).collect();
                let head = if path.is_empty() { String::new() } else { format!("{path}  ") };
                let count = number::grouped(count as u64);
                let what = if count == "1" { "number" } else { "numbers" };
                out.push_str(&format!("{head}[{}]   {count} {what}\n", sizes.join(", ")));
            }
            Type::Record(fields) => {
                fields.iter().for_each(|(name, ty)| lines(&crate::show::value::inside(path, name), ty, out));
            }
            Type::Error => {}
        }
    }
    let mut out = String::new();
    lines("", &type_of(&checked, entry)?, &mut out);
    Ok(out)
}

fn gradient(repl: &mut Repl, text: &str) -> Result<String, Failure> {
    let is_word = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || c == '_');
    let (first, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let applied =
        is_word(first) && !rest.trim().is_empty() && !rest.trim_start().starts_with(['+', '-', '*', '/', '|', ',']);
    let asked = if applied && is_word(rest.trim()) && !rest.trim().starts_with(|c: char| c.is_ascii_digit()) {
        format!("grad({first}({rest}), {rest})", rest = rest.trim())
    } else if applied {
        format!("let at_ = {}\ngrad({first}(at_), at_)", rest.trim())
    } else if let Some((of, by)) = text.rsplit_once(',').filter(|(_, by)| is_word(by.trim())) {
        format!("grad({of}, {})", by.trim())
    } else {
        return Err(Failure::user("missing-argument", "a gradient is of something by something")
            .help("`:grad norm x`, `:grad norm [3, 4]`, or `:grad sum[i] x[i] * x[i], x`"));
    };
    let outcomes = repl.session.submit(&asked)?;
    // What the function was taken at has no name of its own.
    let own: Vec<Outcome> =
        outcomes.into_iter().filter(|outcome| !matches!(outcome, Outcome::Value { name: Some(_), .. })).collect();
    if applied {
        repl.session.forget("at_");
    }
    Ok(super::shown(&own))
}

/// A checked expression, or a definition on its own; and which of its entries.
fn expression_or_definition(repl: &mut Repl, text: &str) -> Result<(Checked, usize), Failure> {
    if is_definition(repl, text) {
        let checked = repl.session.checked_entry(text)?;
        let at = checked.hir.entries.iter().position(|entry| &*entry.name == text).ok_or_else(no_value)?;
        return Ok((checked, at));
    }
    let checked = repl.session.checked(text)?;
    let at = checked.hir.entries.iter().position(|entry| &*entry.name == bdl_check::evaluation::EVALUATION);
    at.map(|at| (checked, at)).ok_or_else(no_value)
}

fn clif(repl: &mut Repl, text: &str) -> Result<String, Failure> {
    let (checked, at) = expression_or_definition(repl, text)?;
    let program = bdl_equations::batch(&equations(&checked, &checked.hir.entries[at])?);
    let plan = pipeline::plan(&program, repl.session.real, Target::Processor)?;
    let mut out = String::new();
    for kernel in &plan.kernels {
        let code = bdl_cranelift::clif_text(kernel).map_err(|error| Failure::bug(error.to_string()))?;
        out.push_str(&format!("; {}\n{}\n", kernel.name, code.trim_end()));
    }
    if out.is_empty() {
        out.push_str("no code is generated for this\n");
    }
    Ok(out)
}

fn time(repl: &mut Repl, text: &str) -> Result<String, Failure> {
    let mut times = repl.session.time(text)?;
    times.runs.sort_unstable();
    let of = |at: usize| short(times.runs.get(at).copied().unwrap_or_default());
    let count = times.runs.len();
    Ok(format!(
        "check {} · compile {} · run {}   (median of {}; fastest {}, 95 % below {})\n",
        short(times.check),
        short(times.compile),
        of(count / 2),
        number::grouped(count as u64),
        of(0),
        of(count * 95 / 100),
    ))
}

/// `1.2 µs`, `12 ms`, `3.4 s`.
fn short(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    let (value, unit) = match seconds {
        s if s < 1e-6 => (s * 1e9, "ns"),
        s if s < 1e-3 => (s * 1e6, "µs"),
        s if s < 1.0 => (s * 1e3, "ms"),
        s => (s, "s"),
    };
    if value < 9.95 { format!("{value:.1} {unit}") } else { format!("{value:.0} {unit}") }
}

// ------------------------------------------------------------------------------------------------ pictures

/// Points at which a function is drawn.
const POINTS: usize = 281;

fn picture(repl: &mut Repl, text: &str) -> Result<String, Failure> {
    let coloured = repl.context.coloured;
    if let Some((body, name, from, to)) = over_range(text) {
        let bound = |repl: &mut Repl, text: &str| -> Result<f64, Failure> {
            let value = computed(repl, text)?;
            value
                .numbers("")
                .and_then(|values| values.first().copied())
                .filter(|value| value.is_finite())
                .ok_or_else(no_value)
        };
        let (low, high) = (bound(repl, from)?, bound(repl, to)?);
        let last = POINTS - 1;
        let drawn = format!(
            "for i_ < {POINTS}: {{\n  let {name} = {low:?} + ({high:?} - ({low:?})) * i_ / {last}\n  {body}\n}}"
        );
        let value = computed(repl, &drawn)?;
        let x: Vec<f64> = (0..POINTS).map(|at| low + (high - low) * at as f64 / last as f64).collect();
        let Type::Tensor(tensor) = &value.ty else { return Err(not_drawn(&value)) };
        let values = value.numbers("").unwrap_or_default();
        return match sizes(tensor).as_slice() {
            [_] => Ok(plot::curves(&x, &[(body.trim().to_string(), values)], coloured)),
            // Several values at each point are several curves.
            [_, count] => {
                let series: Vec<Vec<f64>> =
                    (0..*count).map(|which| values.iter().skip(which).step_by(*count).copied().collect()).collect();
                let named: Vec<(String, &[f64])> =
                    series.iter().enumerate().map(|(at, values)| (format!("[{at}]"), values.as_slice())).collect();
                Ok(plot::curves(&x, &named, coloured))
            }
            [] | [_, _, _, ..] => Err(not_drawn(&value)),
        };
    }
    let value = computed(repl, text)?;
    let count = |length: usize| (0..length).map(|at| at as f64).collect::<Vec<f64>>();
    match &value.ty {
        Type::Tensor(tensor) => {
            let values = value.numbers("").unwrap_or_default();
            match sizes(tensor).as_slice() {
                [length] if *length > 1 => Ok(plot::curves(&count(*length), &[(text.to_string(), values)], coloured)),
                [rows, columns] if rows * columns > 0 => Ok(plot::heat(*rows, *columns, values, coloured)),
                [] | [_] | [_, _] | [_, _, _, ..] => Err(not_drawn(&value)),
            }
        }
        // Fields of one length are curves over the same axis.
        Type::Record(fields) => {
            let series: Vec<(String, &[f64])> = fields
                .iter()
                .filter(|(_, ty)| matches!(ty, Type::Tensor(tensor) if tensor.shape.len() == 1))
                .filter_map(|(name, _)| Some((name.to_string(), value.numbers(name)?)))
                .collect();
            let longest = series.iter().map(|(_, values)| values.len()).max().unwrap_or(0);
            if longest < 2 { Err(not_drawn(&value)) } else { Ok(plot::curves(&count(longest), &series, coloured)) }
        }
        Type::Error => Err(not_drawn(&value)),
    }
}

fn not_drawn(value: &Shown) -> Failure {
    Failure::user("not-drawn", format!("there is no picture of {}", show_type(&value.ty)))
        .help("a vector is a curve, a matrix a heat map; `:plot sin(x), x in 0 .. 6` draws a function")
}

/// `body, name in from .. to`
fn over_range(text: &str) -> Option<(&str, &str, &str, &str)> {
    let (head, range) = text.rsplit_once(" in ")?;
    let (body, name) = head.rsplit_once(',')?;
    let (from, to) = range.split_once("..")?;
    let name = name.trim();
    let is_word = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_');
    is_word.then_some((body, name, from.trim(), to.trim()))
}

/// The value of an expression, which does not become `it`.
fn computed(repl: &mut Repl, text: &str) -> Result<Shown, Failure> {
    let checked = repl.session.checked(text)?;
    let entry = entry(&checked).ok_or_else(no_value)?;
    repl.session.run(&checked, entry)
}

// ------------------------------------------------------------------------------------------------ definitions

/// The head of a definition as it was written, on one line where that fits.
fn signature(repl: &Repl, item: &Item) -> String {
    let body = crate::doc::body(item);
    let end = body.unwrap_or(item.span.end);
    let text = repl.session.text(bdl_grammar::Span { end, ..item.span });
    let whole = text.trim_end().trim_end_matches('{').trim_end();
    let joined = whole.split_whitespace().collect::<Vec<_>>().join(" ");
    if body.is_some() && joined.len() <= 100 { joined } else { whole.to_string() }
}

fn doc(repl: &mut Repl, name: &str) -> Result<String, Failure> {
    let item = repl.session.item(name).ok_or_else(|| {
        Failure::user("unknown-name", format!("nothing is called `{name}`"))
            .help(":list shows what is defined; Tab completes names")
    })?;
    let mut out = format!("{}\n", signature(repl, item));
    item.doc.iter().for_each(|line| out.push_str(&format!("  {line}\n")));
    Ok(out)
}

fn list(repl: &Repl) -> String {
    let mut out = String::new();
    let items: Vec<String> =
        repl.session.items.iter().filter_map(named).map(|(kind, name)| format!("{kind} {name}")).collect();
    if !items.is_empty() {
        out.push_str(&format!("{}\n", items.join(", ")));
    }
    for (name, what) in repl.session.kept() {
        out.push_str(&format!("{name}: {what}\n"));
    }
    if out.is_empty() {
        out.push_str("nothing is defined yet; the standard library is there\n");
    }
    out
}

fn save(repl: &Repl, path: &Path) -> Result<String, Failure> {
    let text = crate::command::fmt::format("session", &repl.session.program(), repl.context.coloured)?;
    if path.exists() {
        return Err(
            Failure::user("name-taken", format!("`{}` is there already", path.display())).help("give another name")
        );
    }
    bdl_train::folder::write_whole(path, text.as_bytes())?;
    Ok(format!("saved {}\n", path.display()))
}

fn forget(repl: &mut Repl, name: &str) -> Result<String, Failure> {
    if repl.session.remove(name)? {
        Ok(String::new())
    } else {
        Err(Failure::user("unknown-name", format!("nothing of this session is called `{name}`")))
    }
}

fn load_file(repl: &mut Repl, path: &Path) -> Result<String, Failure> {
    let outcomes = repl.session.load(path)?;
    repl.file = Some(path.to_path_buf());
    Ok(super::shown(&outcomes))
}

// ------------------------------------------------------------------------------------------------ data and training

/// The session's definitions, checked as one program with its data.
fn program(repl: &Repl) -> Result<(Checked, PathBuf), Failure> {
    let request = repl.context.request(None);
    if let Some(file) = &repl.file {
        return Ok((pipeline::check(file, &request)?, file.clone()));
    }
    let source = load::text_in("session", &repl.session.program(), &repl.session.folder)?;
    Ok((pipeline::check_source(source, &request)?, PathBuf::from("session")))
}

fn data(repl: &mut Repl, rest: &str) -> Result<String, Failure> {
    let (checked, _) = program(repl)?;
    checked.require_sound(repl.context.coloured)?;
    let (name, row) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let blocks: Vec<&str> = checked.data.iter().map(|block| block.spec.name.as_str()).collect();
    if blocks.is_empty() {
        return Err(
            Failure::user("no-data", "no `data` block is defined").help("`:load FILE` takes those of a program")
        );
    }
    if !name.is_empty() && !blocks.contains(&name) {
        return Err(Failure::user("unknown-name", format!("no data block is called `{name}`"))
            .help(format!("there is {}", blocks.join(", "))));
    }
    if row.trim().is_empty() {
        let mut out = String::new();
        for block in checked.data.iter().filter(|block| name.is_empty() || block.spec.name == name) {
            out.push_str(&Summary::of(&block.spec)?.to_text());
        }
        return Ok(out);
    }
    let block = checked.data(name)?;
    let dataset = block.dataset.as_ref().ok_or_else(|| Failure::bug("data that was not read"))?;
    let number: Option<usize> = row.trim().parse().ok().filter(|row| (1..=dataset.rows()).contains(row));
    let Some(number) = number else {
        return Err(Failure::user("unknown-row", format!("`{name}` has no row {}", row.trim()))
            .help(format!("its rows are 1 to {}", number::grouped(dataset.rows() as u64))));
    };
    let (facts, lengths) = crate::data::facts::of_data(&dataset.facts());
    let mut outcomes = Vec::new();
    for (field, value) in row_values(dataset, &facts, &lengths, number as u32 - 1)? {
        repl.session.set(&field, value.clone());
        outcomes.push(Outcome::Value { name: Some(field), value });
    }
    Ok(super::shown(&outcomes))
}

fn train(repl: &mut Repl, name: &str) -> Result<String, Failure> {
    let name = (!name.is_empty()).then_some(name);
    let (checked, file) = program(repl)?;
    let report = Run::of(&repl.context, &file, name, checked)?.train(&Manner::default())?;
    let weights = stored::weights(&RunFolder::open(&report.folder)?)?;
    let block = report.prepared.train.name.to_string();
    repl.session.weights.retain(|known| !weights.iter().any(|new| new.name == known.name));
    repl.session.weights.extend(weights);
    // The models of the block by their names, as they stand there.
    let models: Vec<bdl_grammar::ast::Let> = repl
        .session
        .items
        .iter()
        .filter_map(|item| if let ItemKind::Train(train) = &item.kind { Some(train) } else { None })
        .filter(|train| train.name.text == block)
        .flat_map(|train| &train.entries)
        .filter_map(|entry| {
            let TrainEntryKind::Model { name, value, .. } = &entry.kind else { return None };
            Some(bdl_grammar::ast::Let { name: name.clone(), binders: None, value: value.clone() })
        })
        .collect();
    let mut kept = Vec::new();
    for model in models {
        if repl.session.holds(&model) {
            repl.session.keep_words(&model);
            kept.push(model.name.text.clone());
        }
    }
    if kept.is_empty() {
        return Ok(String::new());
    }
    Ok(format!(
        "  trained {} can be applied here\n",
        kept.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
    ))
}
