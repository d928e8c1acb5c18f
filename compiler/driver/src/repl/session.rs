//! What is defined so far, and how a text adds to it.
//!
//! A text is definitions (`fn`, `layer`, `data`, ..), or statements: `let` and expressions. Definitions are items of one program that grows;
//! an expression is checked, elaborated, compiled and run once, as a function of the values it mentions ([`super::evaluate`]). Whatever fails
//! leaves the session as it was: a text is taken over only when all of it holds.
//!
//! `let` keeps a *value* (`let x = normal[3]`), or, where nothing waits for the running program, the *words* (`let net = Dense(3)`, `let n = 4`),
//! which then stand in front of every later text. The parameters of `net` stay with the session, by their paths.

use super::evaluate::{self, Machine};
use crate::error::Failure;
use crate::load::{self, Source};
use crate::pipeline::{self, Checked, ReadData, Request};
use crate::show::value::{Shown, inside};
use bdl_check::evaluation::{EVALUATION, Evaluation, Known};
use bdl_check::hir::{Entry, Type};
use bdl_check::{EntryRequest, Modules, StdFile};
use bdl_grammar::ast::{self, ExprKind, Item, ItemKind, StmtKind};
use bdl_grammar::{Diagnostic, FileId, SourceMap, Span};
use bdl_plan::Products;
use bdl_schedule::Real;
use bdl_train::Array;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What was made of a text, in its order.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// `fn f`, `data Junctions`.
    Defined(String),
    /// `let n = 4`, `let net = Dense(3)`: its name and what it is.
    Kept { name: String, shown: String },
    /// A value, and its name where `let` gave one.
    Value { name: Option<String>, value: Shown },
    /// An expression that is no value of a running program: a layer, a word.
    Known(String),
    /// A message that is no error.
    Warning(String),
}

pub struct Session {
    pub coloured: bool,
    pub real: Real,
    pub products: Products,
    sources: SourceMap,
    stdlib: Vec<StdFile>,
    /// The file that the session's definitions make up.
    id: FileId,
    /// Where relative paths begin.
    pub folder: PathBuf,
    pub items: Vec<Item>,
    known: Vec<Known>,
    values: BTreeMap<String, Shown>,
    /// The words of a `let` whose value is kept too, where a gradient asks for it.
    words: BTreeMap<String, ast::Let>,
    pub weights: Vec<Array>,
    machine: Machine,
    texts: usize,
}

/// The name of the last value.
pub const LAST: &str = "it";

impl Session {
    pub fn new(coloured: bool, real: Real, products: Products, threads: usize, seed: u64) -> Session {
        let mut sources = SourceMap::new();
        let id = sources.add("session", "");
        let (stdlib, _) = load::stdlib(&mut sources);
        Session {
            coloured,
            real,
            products,
            sources,
            stdlib,
            id,
            folder: PathBuf::new(),
            items: Vec::new(),
            known: Vec::new(),
            values: BTreeMap::new(),
            words: BTreeMap::new(),
            weights: Vec::new(),
            machine: Machine::new(threads, seed),
            texts: 0,
        }
    }

    /// Takes a whole text: definitions or statements.
    pub fn submit(&mut self, text: &str) -> Result<Vec<Outcome>, Failure> {
        self.texts += 1;
        self.take(&format!("input {}", self.texts), text)
    }

    /// Takes the definitions of a program file; relative paths are then relative to it.
    pub fn load(&mut self, path: &Path) -> Result<Vec<Outcome>, Failure> {
        let text = load::text_of(path)?;
        let folder = path.parent().map_or_else(PathBuf::new, Path::to_path_buf);
        let before = std::mem::replace(&mut self.folder, folder);
        let done = self.take(&path.display().to_string(), &text);
        if done.is_err() {
            self.folder = before;
        }
        done
    }

    fn take(&mut self, name: &str, text: &str) -> Result<Vec<Outcome>, Failure> {
        let mut sources = self.sources.clone();
        let id = sources.add(name, text);
        let (file, messages) = bdl_grammar::parse(&sources, id);
        let sound = !messages.iter().any(Diagnostic::is_error);
        let no_let = |item: &Item| !matches!(&item.kind, ItemKind::Error) && !is_value(item);
        if sound && file.items.is_empty() {
            return Ok(Vec::new());
        }
        if sound && file.items.iter().all(no_let) {
            self.sources = sources;
            return self.define(file.items, id);
        }
        let (block, statement_messages) = bdl_grammar::parse_statements(&sources, id);
        self.sources = sources;
        if statement_messages.iter().any(Diagnostic::is_error) {
            // What begins as an item is refused as one.
            let of_item = begins_item(text) && !sound;
            let messages = if of_item { messages } else { statement_messages };
            return Err(Failure::program(&messages, &self.sources, self.coloured));
        }
        let mut outcomes = Vec::new();
        // All or nothing: a text with a mistake in its last line changes nothing.
        let (known, values, words) = (self.known.clone(), self.values.clone(), self.words.clone());
        let (items, weights) = (self.items.clone(), self.weights.clone());
        for stmt in &block.stmts {
            let done = match &stmt.kind {
                StmtKind::Let(binding) => self.keep(binding, stmt.span),
                StmtKind::Expr(_) => self.compute(stmt, text),
                // On one line with values it is read as a function of a block; here it is one of the prompt.
                StmtKind::Fn(function) => {
                    let kind = ItemKind::Fn(function.clone());
                    self.define(vec![Item { kind, doc: Vec::new(), span: stmt.span }], id)
                }
                StmtKind::Param(_)
                | StmtKind::State(_)
                | StmtKind::Const(_)
                | StmtKind::Update { .. }
                | StmtKind::Next { .. }
                | StmtKind::Emit(_) => Err(Failure::program(
                    &[Diagnostic::error("misplaced-statement", "this belongs into a layer, a function or a loop")
                        .primary(stmt.span, "not here")
                        .help("definitions, `let` and expressions stand on their own")],
                    &self.sources,
                    self.coloured,
                )),
                StmtKind::Error => Ok(Vec::new()),
            };
            match done {
                Ok(more) => outcomes.extend(more),
                Err(failure) => {
                    (self.known, self.values, self.words) = (known, values, words);
                    (self.items, self.weights) = (items, weights);
                    return Err(failure);
                }
            }
        }
        Ok(outcomes)
    }

    // ------------------------------------------------------------------------------------------------ definitions

    fn define(&mut self, new: Vec<Item>, id: FileId) -> Result<Vec<Outcome>, Failure> {
        let mut items = self.items.clone();
        let names: Vec<(&str, String)> = new.iter().filter_map(named).collect();
        items.retain(|item| named(item).is_none_or(|known| !names.contains(&known)));
        items.extend(new.iter().cloned());
        // Blocks of data and training are looked at when one of them is new; files that are not there yet are no mistake.
        let is_block = |item: &Item| {
            matches!(item.kind, ItemKind::Data(_) | ItemKind::Train(_) | ItemKind::Tune(_) | ItemKind::Expect(_))
        };
        let blocks = new.iter().any(is_block);
        let asked: Vec<Item> = items.iter().filter(|item| blocks || !is_block(item)).cloned().collect();
        let request = Request { read_data: ReadData::WhereThere, real: self.real, ..Request::default() };
        let checked = self.check(asked, &request)?;
        checked.require_sound(self.coloured)?;
        let mut outcomes = self.warnings(&checked, Some(id));
        self.items = items;
        for (kind, name) in names {
            self.forget(&name);
            outcomes.push(Outcome::Defined(if kind.is_empty() { name } else { format!("{kind} {name}") }));
        }
        Ok(outcomes)
    }

    /// A definition of this name hides what was kept under it.
    pub fn forget(&mut self, name: &str) {
        self.known.retain(|known| known.name() != name);
        self.values.remove(name);
        self.words.remove(name);
    }

    // ------------------------------------------------------------------------------------------------ statements

    fn keep(&mut self, binding: &ast::Let, span: Span) -> Result<Vec<Outcome>, Failure> {
        let name = &binding.name;
        let read = ast::Expr { kind: ExprKind::Name(name.clone()), span: name.span };
        let statement = |kind, span| ast::Stmt { kind, span };
        let stmts = vec![statement(StmtKind::Let(binding.clone()), span), statement(StmtKind::Expr(read), name.span)];
        let found = self.evaluate(ast::Block { stmts, span }, false)?;
        let mut outcomes = found.warnings;
        let name = name.text.clone();
        // A new instance has parameters of its own.
        let prefix = format!("{name}.");
        self.weights.retain(|array| !array.name.starts_with(&prefix));
        if found.is_static {
            self.known.push(Known::Let(binding.clone()));
            self.values.remove(&name);
            match found.value {
                Some(value) => {
                    self.words.insert(name.clone(), binding.clone());
                    self.values.insert(name.clone(), value.clone());
                    outcomes.push(Outcome::Value { name: Some(name), value });
                }
                None => outcomes.push(Outcome::Kept { name, shown: found.shown }),
            }
            return Ok(outcomes);
        }
        let Some(value) = found.value else { return Err(Failure::bug("a `let` without a value")) };
        self.set(&name, value.clone());
        outcomes.push(Outcome::Value { name: Some(name), value });
        Ok(outcomes)
    }

    /// Gives a name a value.
    pub fn set(&mut self, name: &str, value: Shown) {
        self.words.remove(name);
        self.known.push(Known::Value(name.into(), value.ty.clone()));
        self.values.insert(name.to_string(), value);
    }

    /// `let NAME = words`, for what is known to hold.
    pub fn keep_words(&mut self, binding: &ast::Let) {
        self.words.remove(&binding.name.text);
        self.values.remove(&binding.name.text);
        self.known.push(Known::Let(binding.clone()));
    }

    fn compute(&mut self, stmt: &ast::Stmt, text: &str) -> Result<Vec<Outcome>, Failure> {
        let block = ast::Block { stmts: vec![stmt.clone()], span: stmt.span };
        let found = self.evaluate(block, text.contains("grad("))?;
        let mut outcomes = found.warnings;
        match found.value {
            Some(value) => {
                self.set(LAST, value.clone());
                outcomes.push(Outcome::Value { name: None, value });
            }
            None => outcomes.push(Outcome::Known(found.shown)),
        }
        Ok(outcomes)
    }

    fn evaluate(&mut self, block: ast::Block, differentiated: bool) -> Result<Found, Failure> {
        let checked = self.check_block(block, differentiated)?;
        let warnings = self.warnings(&checked, None);
        let evaluated =
            checked.hir.evaluated.clone().ok_or_else(|| Failure::bug("nothing was evaluated, without a message"))?;
        let value = match entry(&checked) {
            Some(entry) => Some(self.run(&checked, entry)?),
            None => None,
        };
        Ok(Found { is_static: evaluated.is_static, shown: evaluated.shown, value, warnings })
    }

    /// The value of a checked entry. Parameters are the session's, or begin where the layer says.
    pub fn run(&mut self, checked: &Checked, entry: &Entry) -> Result<Shown, Failure> {
        let made = evaluate::compiled(checked, entry, self.real, self.products)?;
        self.machine.run(&made, &mut self.weights, &self.values)
    }

    /// How long checking, compiling and running a text take: runs until half a second has passed.
    pub fn time(&mut self, text: &str) -> Result<evaluate::Times, Failure> {
        let begun = std::time::Instant::now();
        let checked = self.checked(text)?;
        let entry = entry(&checked).ok_or_else(no_value)?;
        let check = begun.elapsed();
        let begun = std::time::Instant::now();
        let made = evaluate::compiled(&checked, entry, self.real, self.products)?;
        let compile = begun.elapsed();
        let runs = self.machine.time(&made, &mut self.weights, &self.values)?;
        Ok(evaluate::Times { check, compile, runs })
    }

    /// A text that must be an expression, checked and not run.
    pub fn checked(&mut self, text: &str) -> Result<Checked, Failure> {
        let mut sources = self.sources.clone();
        self.texts += 1;
        let id = sources.add(format!("input {}", self.texts), text);
        let (block, messages) = bdl_grammar::parse_statements(&sources, id);
        self.sources = sources;
        if messages.iter().any(Diagnostic::is_error) {
            return Err(Failure::program(&messages, &self.sources, self.coloured));
        }
        self.check_block(block, text.contains("grad("))
    }

    fn check_block(&self, block: ast::Block, differentiated: bool) -> Result<Checked, Failure> {
        // A list, or a number that something is differentiated by, is a value; where it must be known when a model is built
        // (`chain(d in dilations: ..)`, `zeros[n]`) it is its words.
        let as_value = |binding: &ast::Let| -> Option<Known> {
            let name = binding.name.text.as_str();
            let ty = &self.values.get(name).filter(|_| self.words.contains_key(name))?.ty;
            let is_number = matches!(ty, Type::Tensor(tensor) if tensor.shape.is_empty());
            (differentiated || !is_number).then(|| Known::Value(name.into(), ty.clone()))
        };
        let values = self.known.iter().map(|known| match known {
            Known::Let(binding) => as_value(binding).unwrap_or_else(|| known.clone()),
            Known::Value(_, _) => known.clone(),
        });
        let checked = self.check_evaluation(Evaluation { known: values.collect(), block: block.clone() })?;
        if checked.require_sound(false).is_ok() {
            return Ok(checked);
        }
        let by_words = self.check_evaluation(Evaluation { known: self.known.clone(), block })?;
        if by_words.require_sound(false).is_ok() {
            return Ok(by_words);
        }
        checked.require_sound(self.coloured)?;
        Ok(checked)
    }

    fn check_evaluation(&self, evaluation: Evaluation) -> Result<Checked, Failure> {
        let request =
            Request { read_data: ReadData::Never, real: self.real, evaluation: Some(evaluation), ..Request::default() };
        self.check(self.definitions(), &request)
    }

    /// A definition applied on its own, its sizes as names.
    pub fn checked_entry(&self, name: &str) -> Result<Checked, Failure> {
        let entries = vec![EntryRequest { name: name.to_string(), sizes: Vec::new() }];
        let request = Request { read_data: ReadData::Never, real: self.real, entries, ..Request::default() };
        let checked = self.check(self.definitions(), &request)?;
        checked.require_sound(self.coloured)?;
        Ok(checked)
    }

    /// Items that expressions may use.
    fn definitions(&self) -> Vec<Item> {
        let is_definition = |item: &&Item| {
            !matches!(item.kind, ItemKind::Data(_) | ItemKind::Train(_) | ItemKind::Tune(_) | ItemKind::Expect(_))
        };
        self.items.iter().filter(is_definition).cloned().collect()
    }

    fn check(&self, items: Vec<Item>, request: &Request) -> Result<Checked, Failure> {
        let mut sources = self.sources.clone();
        let main = ast::File { doc: Vec::new(), items, layout: ast::Layout::default(), span: Span::new(self.id, 0, 0) };
        let (used, links, diagnostics) = load::used_by(&mut sources, &main, "", &self.folder);
        let modules = Modules { main, used, links, stdlib: self.stdlib.clone() };
        let source = Source { sources, modules, folder: self.folder.clone(), text: String::new(), diagnostics };
        pipeline::check_source(source, request)
    }

    /// Messages that are no errors, of one file or of the last text.
    fn warnings(&self, checked: &Checked, file: Option<FileId>) -> Vec<Outcome> {
        let newest = self.sources.files().map(|(id, _)| id).last();
        let own = file.or(newest);
        let of_it = checked.diagnostics.iter().filter(|message| message.span().map(|span| span.file) == own);
        let text = |message: &Diagnostic| {
            bdl_grammar::render_all(std::slice::from_ref(message), &checked.source.sources, self.coloured)
        };
        of_it.map(|message| Outcome::Warning(text(message).trim_end().to_string())).collect()
    }

    // ------------------------------------------------------------------------------------------------ what is there

    /// The definitions as the text of one program.
    pub fn program(&self) -> String {
        let text = |item: &Item| {
            let doc: String = item.doc.iter().map(|line| format!("/// {line}\n")).collect();
            format!("{doc}{}", self.sources.slice(item.span))
        };
        self.items.iter().map(text).collect::<Vec<_>>().join("\n\n") + "\n"
    }

    pub fn text(&self, span: Span) -> &str {
        self.sources.slice(span)
    }

    /// Of the session, or else of the standard library.
    pub fn item(&self, name: &str) -> Option<&Item> {
        let all = self.items.iter().rev().chain(self.stdlib.iter().flat_map(|std| &std.file.items));
        all.into_iter().find(|item| named(item).is_some_and(|(_, known)| known == name))
    }

    /// Names that can be written now: values, definitions, the standard library.
    pub fn names(&self) -> Vec<String> {
        let own = self.known.iter().map(|known| known.name().to_string());
        let items = self.items.iter().chain(self.stdlib.iter().flat_map(|std| &std.file.items));
        let mut names: Vec<String> = own.chain(items.filter_map(named).map(|(_, name)| name)).collect();
        names.retain(|name| !name.starts_with('_'));
        names.sort();
        names.dedup();
        names
    }

    /// The fields of a value that is a record.
    pub fn fields(&self, name: &str) -> Vec<String> {
        match self.values.get(name).map(|value| &value.ty) {
            Some(Type::Record(fields)) => fields.iter().map(|(name, _)| name.to_string()).collect(),
            Some(Type::Tensor(_) | Type::Error) | None => Vec::new(),
        }
    }

    /// What `let` keeps: names, and types or words.
    pub fn kept(&self) -> Vec<(String, String)> {
        let mut found: Vec<(String, String)> = Vec::new();
        for known in self.known.iter().rev() {
            let name = known.name().to_string();
            if found.iter().any(|(seen, _)| *seen == name) {
                continue;
            }
            let what = match (self.values.get(&name), known) {
                (Some(value), _) => bdl_check::show_type(&value.ty),
                (None, Known::Let(binding)) => self.text(binding.value.span).to_string(),
                (None, Known::Value(_, ty)) => bdl_check::show_type(ty),
            };
            found.push((name, what));
        }
        found.reverse();
        found
    }

    /// Can this `let` stand at the prompt?
    pub fn holds(&self, binding: &ast::Let) -> bool {
        let span = binding.name.span;
        let read = ast::Expr { kind: ExprKind::Name(binding.name.clone()), span };
        let stmts = vec![
            ast::Stmt { kind: StmtKind::Let(binding.clone()), span },
            ast::Stmt { kind: StmtKind::Expr(read), span },
        ];
        let evaluation = Evaluation { known: self.known.clone(), block: ast::Block { stmts, span } };
        self.check_evaluation(evaluation).is_ok_and(|checked| checked.require_sound(false).is_ok())
    }

    /// Removes a value or definition; false if there is none. Errors: others need it.
    pub fn remove(&mut self, name: &str) -> Result<bool, Failure> {
        if self.known.iter().any(|known| known.name() == name) {
            self.forget(name);
            return Ok(true);
        }
        let rest: Vec<Item> =
            self.items.iter().filter(|item| named(item).is_none_or(|(_, known)| known != name)).cloned().collect();
        if rest.len() == self.items.len() {
            return Ok(false);
        }
        let request = Request { read_data: ReadData::Never, real: self.real, ..Request::default() };
        self.check(rest.clone(), &request)?.require_sound(self.coloured)?;
        self.items = rest;
        Ok(true)
    }

    /// The elements of the last value in order, as text.
    pub fn last_elements(&self) -> Vec<String> {
        self.values.get(LAST).map(Shown::elements).unwrap_or_default()
    }

    /// The type of the last value.
    pub fn last_type(&self) -> String {
        self.values.get(LAST).map(|value| bdl_check::show_type(&value.ty)).unwrap_or_default()
    }

    pub fn value(&self, name: &str) -> Option<&Shown> {
        self.values.get(name)
    }
}

struct Found {
    is_static: bool,
    shown: String,
    value: Option<Shown>,
    warnings: Vec<Outcome>,
}

/// The entry of a checked expression.
pub fn entry(checked: &Checked) -> Option<&Entry> {
    checked.hir.entries.iter().find(|entry| &*entry.name == EVALUATION)
}

pub fn no_value() -> Failure {
    Failure::user("no-value", "this is no value that could be computed").help("apply it: `f(x)` or `x |> f`")
}

/// The kind and name of what an item defines; names of different kinds do not meet.
pub fn named(item: &Item) -> Option<(&'static str, String)> {
    Some(match &item.kind {
        ItemKind::Fn(def) => ("fn", def.name.text.clone()),
        ItemKind::Layer(def) => ("layer", def.name.text.clone()),
        ItemKind::Model(def) => ("model", def.name.text.clone()),
        ItemKind::Optimizer(def) => ("optimizer", def.name.text.clone()),
        ItemKind::Type(def) => ("type", def.name.text.clone()),
        ItemKind::Alphabet(def) => ("alphabet", def.name.text.clone()),
        ItemKind::Const(def) => ("const", def.name.text.clone()),
        ItemKind::Let(def) => ("let", def.name.text.clone()),
        ItemKind::Data(def) => ("data", def.name.text.clone()),
        ItemKind::Train(def) => ("train", def.name.text.clone()),
        ItemKind::Tune(def) => ("tune", def.name.text.clone()),
        ItemKind::Expect(def) => ("expect", def.name.text.clone()),
        ItemKind::Use(ast::Use::File(path)) => ("use", format!("{:?}", path.text)),
        ItemKind::Use(ast::Use::Module(path)) => {
            ("use", path.iter().map(|name| name.text.as_str()).collect::<Vec<_>>().join("."))
        }
        ItemKind::Error => return None,
    })
}

/// Files that a `let` of a program may open; any other `let` is a value.
const SOURCES: [&str; 16] = [
    "csv", "tsv", "fasta", "fastq", "bed", "vcf", "bigwig", "h5ad", "mtx", "npy", "parquet", "pdb", "a3m", "png",
    "tiff", "gmt",
];

fn is_value(item: &Item) -> bool {
    let ItemKind::Let(binding) = &item.kind else { return false };
    let ExprKind::Call { callee, .. } = &binding.value.kind else { return true };
    !matches!(&callee.kind, ExprKind::Name(name) if SOURCES.contains(&name.text.as_str()))
}

/// Does the text begin with an item's word and a name?
fn begins_item(text: &str) -> bool {
    let mut words = text.split_whitespace();
    let item =
        ["fn", "layer", "model", "optimizer", "data", "train", "tune", "expect", "type", "alphabet", "const", "use"];
    words.next().is_some_and(|word| item.contains(&word))
        && words.next().is_some_and(|next| next.starts_with(|c: char| c.is_alphabetic() || c == '_' || c == '"'))
}

/// The path of a part of a value that is called `name`.
pub fn path_of(name: &str, part: &str) -> String {
    if part.is_empty() { name.to_string() } else { inside(name, part) }
}
