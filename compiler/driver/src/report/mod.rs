//! `bdl report`: a run as one page that needs no other file: what was asked, of which data, how training went, how good it is.

mod charts;

use crate::error::Failure;
use crate::run::outputs::MeasuredPart;
use crate::run::reopened::Reopened;
use crate::run::scores::Asked;
use crate::show::html::{code, escape, page, sentence};
use crate::show::number::{bytes, grouped, score, seconds};
use bdl_data::{Kind, Summary};
use bdl_train::metrics::{self, About, Score};
use charts::Series;
use serde_json::Value;
use std::path::Path;

/// The page. `path` is what the run is called.
pub fn html(run: &Reopened, path: &Path) -> Result<String, Failure> {
    let about: Value = run
        .stored
        .folder
        .read_text("run.json")
        .ok()
        .and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or(Value::Null);
    let log = log(run);
    let sections = [
        headline(run, path, &about, &log),
        section("Scores", &scores(run)),
        section("Training", &training(run, &log)),
        section("Confusion", &confusion(run)),
        section("Calibration", &calibration(run)?),
        section("Data", &data(run)?),
        section("Program", &format!("<pre class=program>{}</pre>", code(run.checked.source.text.trim_end()))),
        section("Made with", &made_with(run, &about)),
    ];
    Ok(page(&format!("{} · bdl", run.stored.train), STYLE, &format!("<main>{}</main>", sections.concat())))
}

fn section(title: &str, body: &str) -> String {
    if body.is_empty() { String::new() } else { format!("<section><h2>{title}</h2>{body}</section>\n") }
}

/// The lines of `log.jsonl` about epochs.
fn log(run: &Reopened) -> Vec<Value> {
    let text = run.stored.folder.read_text("log.jsonl").unwrap_or_default();
    text.lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|line| line["epoch"].is_u64())
        .collect()
}

// ------------------------------------------------------------------------------------------------ head

fn headline(run: &Reopened, path: &Path, about: &Value, log: &[Value]) -> String {
    let doc = run.checked.source.modules.main.doc.join(" ");
    let mut cards = Vec::new();
    if let Some(part) = run.measured.final_part() {
        for (name, found) in part.scores.iter().filter(|(_, found)| found.confusion.is_none()).take(3) {
            let interval =
                found.interval.map_or(String::new(), |(low, high)| format!("{} to {}", score(low), score(high)));
            let baseline = if found.baseline.is_finite() {
                format!("{} {}", escape(&found.constant), score(found.baseline))
            } else {
                escape(&found.constant)
            };
            let small =
                [interval, baseline].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(" · ");
            cards.push(card(&format!("{} {}", part.name, name), &score(found.value), &small));
        }
    }
    let parts = &run.prepared.parts;
    let rows: usize = parts.named().map(|(_, rows)| rows.len()).iter().sum();
    let of_parts: Vec<String> = parts
        .named()
        .iter()
        .filter(|(_, rows)| !rows.is_empty())
        .map(|(name, rows)| format!("{} {name}", grouped(rows.len() as u64)))
        .collect();
    cards.push(card("rows", &grouped(rows as u64), &of_parts.join(" · ")));
    if !log.is_empty() {
        let time = log.iter().filter_map(|line| line["seconds"].as_f64()).fold(0.0, f64::max);
        cards.push(card("epochs", &log.len().to_string(), &format!("{} of training", seconds(time))));
    }
    let params: usize = run
        .prepared
        .train
        .store
        .params
        .iter()
        .map(|param| {
            param.ty.shape.iter().map(|axis| axis.size.as_const().unwrap_or(1).max(0) as usize).product::<usize>()
        })
        .sum();
    cards.push(card("parameters", &grouped(params as u64), &bytes(params as f64 * 4.0)));
    let folder = path.display().to_string();
    let seed = about["seed"].as_u64().unwrap_or(0);
    format!(
        "<header><p class=eyebrow>{} · seed {seed}</p><h1>{}</h1>{}</header><div class=cards>{}</div>",
        escape(&folder),
        escape(&run.stored.train),
        if doc.is_empty() { String::new() } else { format!("<p class=lead>{}</p>", sentence(&doc)) },
        cards.concat()
    )
}

fn card(name: &str, value: &str, small: &str) -> String {
    format!("<div class=card><span>{}</span><b>{}</b><small>{small}</small></div>", escape(name), escape(value))
}

// ------------------------------------------------------------------------------------------------ scores

fn scores(run: &Reopened) -> String {
    let parts = &run.measured.parts;
    let mut names: Vec<(&str, bool)> = Vec::new();
    for part in parts {
        let losses = part.losses.iter().map(|(name, _)| (name.as_str(), true));
        let scores =
            part.scores.iter().filter(|(_, found)| found.confusion.is_none()).map(|(name, _)| (name.as_str(), false));
        for name in losses.chain(scores) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    let mut out = String::from("<table class=scores><thead><tr><th></th>");
    parts.iter().for_each(|part| {
        out.push_str(&format!(
            "<th>{} <span class=soft>{} rows</span></th>",
            part.name,
            grouped(part.rows.len() as u64)
        ))
    });
    out.push_str("<th>without a model</th></tr></thead><tbody>");
    for (name, is_loss) in names {
        out.push_str(&format!("<tr><th>{}</th>", escape(name)));
        let mut last: Option<&Score> = None;
        for part in parts {
            let loss = part.losses.iter().find(|(known, _)| known == name).map(|(_, loss)| *loss);
            let found = part.scores.iter().find(|(known, _)| known == name).map(|(_, found)| found);
            let cell = match (is_loss, loss, found) {
                (true, Some(loss), _) => score(loss),
                (_, _, Some(found)) => {
                    last = Some(found);
                    let interval = found.interval.map_or(String::new(), |(low, high)| {
                        format!(" <small>{} – {}</small>", score(low), score(high))
                    });
                    format!("{}{interval}", score(found.value))
                }
                (_, _, None) => String::new(),
            };
            out.push_str(&format!("<td>{cell}</td>"));
        }
        let baseline = last.map_or(String::new(), |found| {
            let value = if found.baseline.is_finite() { score(found.baseline) } else { String::new() };
            format!("{value} <small>{}</small>", escape(&found.constant))
        });
        out.push_str(&format!("<td>{baseline}</td></tr>"));
    }
    out.push_str("</tbody></table>");
    let notes: Vec<String> = parts
        .iter()
        .flat_map(|part| {
            part.scores
                .iter()
                .filter_map(move |(name, found)| Some(format!("{} {name}: {}", part.name, found.note.as_ref()?)))
        })
        .map(|note| format!("<p class=soft>{}</p>", escape(&note)))
        .collect();
    out.push_str(&notes.concat());
    if parts.iter().any(|part| part.scores.iter().any(|(_, found)| found.interval.is_some())) {
        out.push_str("<p class=soft>Ranges are 95 % intervals for examples like these.</p>");
    }
    out
}

// ------------------------------------------------------------------------------------------------ training

fn training(run: &Reopened, log: &[Value]) -> String {
    if log.len() < 2 {
        return String::new();
    }
    let x = |line: &Value| line["epoch"].as_f64().unwrap_or(0.0);
    let series = |name: String, of: &dyn Fn(&Value) -> Option<f64>| Series {
        name,
        points: log.iter().filter_map(|line| Some((x(line), of(line)?))).collect(),
    };
    let mut losses = Vec::new();
    match &log[0]["loss"] {
        Value::Object(named) => {
            losses
                .extend(named.keys().map(|name| series(format!("train {name}"), &|line| line["loss"][name].as_f64())));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            losses.push(series("train loss".into(), &|line| line["loss"].as_f64()));
        }
    }
    let names: Vec<String> = run.prepared.train.objectives.iter().map(bdl_check::hir::Objective::loss_name).collect();
    let scores: Vec<String> = log[0]["scores"].as_object().map(|all| all.keys().cloned().collect()).unwrap_or_default();
    let is_loss = |score: &str| names.iter().any(|name| score.strip_prefix("valid.") == Some(name));
    // Those of the training rows stand in the log once more.
    let scores: Vec<String> = scores.into_iter().filter(|score| !score.starts_with("train.")).collect();
    let of_score = |score: &String| series(score.replace('.', " "), &|line| line["scores"][score].as_f64());
    losses.extend(scores.iter().filter(|score| is_loss(score)).map(of_score));
    let best = run
        .prepared
        .train
        .keep
        .as_ref()
        .and_then(|_| log.iter().filter(|line| line["best"].as_bool() == Some(true)).map(x).reduce(f64::max));
    let mut figures = vec![charts::lines("Loss by epoch", &losses, best)];
    let others: Vec<Series> = scores.iter().filter(|score| !is_loss(score)).map(of_score).collect();
    // Scores of different kinds have different scales: shares together, others alone.
    let (shares, wide): (Vec<Series>, Vec<Series>) =
        others.into_iter().partition(|series| series.points.iter().all(|(_, y)| (-1.0..=1.0).contains(y)));
    if !shares.is_empty() {
        figures.push(charts::lines("Scores by epoch", &shares, best));
    }
    figures.extend(
        wide.iter()
            .take(2)
            .map(|series| charts::lines(&format!("{} by epoch", series.name), std::slice::from_ref(series), best)),
    );
    let note = best.map_or(String::new(), |best| {
        format!("<p class=soft>The dashed line is epoch {best}, whose weights are kept.</p>")
    });
    format!("<div class=figures>{}</div>{note}", figures.concat())
}

// ------------------------------------------------------------------------------------------------ classes

fn confusion(run: &Reopened) -> String {
    let Some(part) = run.measured.final_part() else { return String::new() };
    let tables = part.scores.iter().filter_map(|(name, found)| Some((name, found.confusion.as_ref()?)));
    let mut out = String::new();
    for (name, table) in tables {
        let totals = table.true_counts();
        out.push_str(&format!(
            "<p class=soft>{}, on {}: rows are true, columns predicted; darker is a larger share of the row.</p>",
            escape(name),
            part.name
        ));
        out.push_str("<div class=scroll><table class=confusion><thead><tr><th></th>");
        table.names.iter().for_each(|name| out.push_str(&format!("<th>{}</th>", escape(name))));
        out.push_str("<th class=soft>recall</th></tr></thead><tbody>");
        for (at, row) in table.counts.iter().enumerate() {
            out.push_str(&format!("<tr><th>{}</th>", escape(&table.names[at])));
            for (column, count) in row.iter().enumerate() {
                let share = if totals[at] == 0 { 0.0 } else { *count as f64 / totals[at] as f64 };
                let hue = if column == at { "var(--one)" } else { "var(--four)" };
                let strength = (share.sqrt() * 70.0).round();
                out.push_str(&format!(
                    "<td style=\"background:color-mix(in srgb,{hue} {strength}%,transparent)\" title=\"{:.1} %\">{}</td>",
                    share * 100.0,
                    grouped(*count)
                ));
            }
            let recall = if totals[at] == 0 { String::new() } else { score(row[at] as f64 / totals[at] as f64) };
            out.push_str(&format!("<td class=soft>{recall}</td></tr>"));
        }
        out.push_str("</tbody></table></div>");
    }
    out
}

/// Bins of a reliability diagram.
const BINS: usize = 10;

/// How often what is said with probability p is so.
fn calibration(run: &Reopened) -> Result<String, Failure> {
    let Some(part) = run.measured.final_part() else { return Ok(String::new()) };
    let mut seen: Vec<&str> = Vec::new();
    let mut figures = Vec::new();
    for asked in &run.prepared.asked {
        let choices = metrics::by_name(&asked.metric).is_some_and(|metric| metric.about == About::Choices);
        if !choices || seen.contains(&asked.prediction.as_str()) || figures.len() == 4 {
            continue;
        }
        seen.push(&asked.prediction);
        let pairs = said_and_so(run, part, asked)?;
        if pairs.len() < 10 || pairs.iter().any(|(p, _)| !(0.0..=1.0).contains(p)) {
            continue;
        }
        let mut bins = vec![(0.0f64, 0u64, 0u64); BINS];
        for (p, so) in &pairs {
            let bin = &mut bins[((p * BINS as f64) as usize).min(BINS - 1)];
            *bin = (bin.0 + p, bin.1 + u64::from(*so), bin.2 + 1);
        }
        let points: Vec<(f64, f64, (f64, f64), u64)> = bins
            .iter()
            .filter(|(_, _, count)| *count > 0)
            .map(|(sum, so, count)| {
                (sum / *count as f64, *so as f64 / *count as f64, metrics::wilson(*so, *count), *count)
            })
            .collect();
        let error: f64 = points.iter().map(|(p, share, _, count)| (p - share).abs() * *count as f64).sum::<f64>()
            / pairs.len() as f64;
        figures.push(charts::reliability(
            &format!("{}: expected calibration error {}", asked.prediction, score(error)),
            &points,
        ));
    }
    if figures.is_empty() {
        return Ok(String::new());
    }
    Ok(format!(
        "<div class=figures>{}</div><p class=soft>Of the answers given with a probability (across), the share that is right (up), on {}; on the line \
         probabilities mean what they say. Circles are as large as the number of answers, bars are 95 % intervals.</p>",
        figures.concat(),
        part.name
    ))
}

/// The probability of each answer, and whether it is so: of the chosen class, or of yes.
fn said_and_so(run: &Reopened, part: &MeasuredPart, asked: &Asked) -> Result<Vec<(f64, bool)>, Failure> {
    let (Some(made), [truth]) =
        (part.evaluation.predictions.iter().find(|made| made.name == asked.prediction), asked.truth.as_slice())
    else {
        return Ok(Vec::new());
    };
    let field = run.prepared.data.field(truth)?;
    let size = field.size(&part.rows);
    let mut known = vec![1u8; size];
    if field.facts().optional {
        field.fill_known(&part.rows, &mut known);
    }
    let mut pairs = Vec::new();
    match field.facts().kind {
        Kind::Truth if made.values.len() == size => {
            let mut yes = vec![0u8; size];
            field.fill_bool(&part.rows, &mut yes);
            pairs.extend(made.values.iter().zip(yes).map(|(p, yes)| (*p, yes == 1)));
        }
        Kind::Category if size > 0 && made.values.len().is_multiple_of(size) && made.values.len() > size => {
            let mut ids = vec![0i32; size];
            field.fill_i32(&part.rows, &mut ids);
            for (probabilities, id) in made.values.chunks(made.values.len() / size).zip(ids) {
                let chosen = metrics::argmax(probabilities);
                pairs.push((probabilities[chosen as usize], i64::from(chosen) == i64::from(id)));
            }
        }
        Kind::Truth
        | Kind::Category
        | Kind::Number
        | Kind::Letters { .. }
        | Kind::Index(_)
        | Kind::IndexOf(_)
        | Kind::Text => {}
    }
    Ok(pairs
        .into_iter()
        .zip(known)
        .filter(|(pair, known)| *known == 1 && pair.0.is_finite())
        .map(|(pair, _)| pair)
        .collect())
}

// ------------------------------------------------------------------------------------------------ data, machine

fn data(run: &Reopened) -> Result<String, Failure> {
    let block = run.checked.data(&run.prepared.train.data)?;
    let summary = Summary::of(&block.spec)?;
    let file = summary
        .file
        .as_deref()
        .map_or("synthetic".to_string(), |file| file.rsplit('/').next().unwrap_or(file).to_string());
    let mut out = format!(
        "<p><b>{}</b> <span class=soft>{} · {} rows</span></p><table class=fields><thead><tr><th>field</th><th>type</th><th>from</th><th></th></tr></thead><tbody>",
        escape(&summary.name),
        escape(&file),
        grouped(summary.rows as u64)
    );
    for field in &summary.fields {
        let columns = match field.columns.as_slice() {
            [] => String::new(),
            [one] => format!("<code>{}</code>", escape(one)),
            [first, .., last] => format!(
                "<code>{}</code> … <code>{}</code> <span class=soft>{} columns</span>",
                escape(first),
                escape(last),
                field.columns.len()
            ),
        };
        let total: usize = field.classes.iter().map(|class| class.count).sum();
        let what = match (field.range, field.classes.as_slice()) {
            (Some((low, high)), _) => format!("{} to {}", score(low), score(high)),
            (None, []) => String::new(),
            (None, classes) => charts::shares(
                &classes
                    .iter()
                    .take(12)
                    .map(|class| (class.name.clone(), class.count as f64 / total.max(1) as f64))
                    .collect::<Vec<_>>(),
            ),
        };
        let missing = if field.missing > 0 {
            format!(" <span class=soft>{} missing</span>", grouped(field.missing as u64))
        } else {
            String::new()
        };
        out.push_str(&format!(
            "<tr><th>{}</th><td><code>{}</code></td><td>{columns}</td><td>{what}{missing}</td></tr>",
            escape(&field.name),
            escape(&field.type_name)
        ));
    }
    out.push_str("</tbody></table>");
    let parts: Vec<(String, f64)> = run
        .prepared
        .parts
        .named()
        .iter()
        .filter(|(_, rows)| !rows.is_empty())
        .map(|(name, rows)| {
            (format!("{name} {}", grouped(rows.len() as u64)), rows.len() as f64 / summary.rows.max(1) as f64)
        })
        .collect();
    out.push_str(&format!("<p class=split>split {}</p>", charts::shares(&parts)));
    for warning in &summary.warnings {
        out.push_str(&format!(
            "<p class=warning><b>{}</b> {} <span class=soft>{}</span></p>",
            warning.code,
            sentence(&warning.message),
            sentence(&warning.help)
        ));
    }
    Ok(out)
}

fn made_with(run: &Reopened, about: &Value) -> String {
    let text = |value: &Value| match value {
        Value::String(text) => escape(text),
        Value::Null => String::new(),
        other => escape(&other.to_string()),
    };
    let mut rows: Vec<(String, String)> = ["bdl", "precision", "threads", "instructions", "seed", "hash"]
        .iter()
        .map(|name| ((*name).to_string(), text(&about[*name])))
        .collect();
    for (name, value) in about["hyper"].as_object().into_iter().flatten() {
        rows.push((name.clone(), text(value)));
    }
    for block in about["data"].as_array().into_iter().flatten() {
        let hash = block["sha256"].as_str().unwrap_or_default();
        rows.push((format!("SHA-256 of {}", text(&block["name"])), format!("<code>{}</code>", escape(hash))));
    }
    let cells: String = rows
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!("<tr><th>{}</th><td>{value}</td></tr>", escape(name)))
        .collect();
    let run = run.stored.folder.path().display().to_string();
    format!(
        "<table class=facts><tbody>{cells}</tbody></table><p class=soft>The same numbers again: <code>bdl repeat {}</code></p>",
        escape(&run)
    )
}

const STYLE: &str = r#"
main { max-width: 1020px; margin: 0 auto; padding: 46px 28px 90px }
header h1 { font-size: 36px; letter-spacing: -.02em; margin: 2px 0 8px; line-height: 1.15 }
.eyebrow { color: var(--soft); font-size: 13px; margin: 0 } .lead { font-size: 17px; color: var(--soft); max-width: 66ch; margin: 0 }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; margin: 26px 0 8px }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 13px 16px; display: flex; flex-direction: column }
.card span { color: var(--soft); font-size: 12.5px } .card b { font-size: 25px; letter-spacing: -.015em; font-weight: 650; font-variant-numeric: tabular-nums }
.card small { color: var(--soft); font-size: 12px; line-height: 1.4 }
section { margin-top: 42px } h2 { font-size: 19px; letter-spacing: -.01em; margin: 0 0 12px; padding-bottom: 7px; border-bottom: 1px solid var(--line) }
table { border-collapse: collapse; font-variant-numeric: tabular-nums } th, td { text-align: left; padding: 6px 16px 6px 0; font-weight: 400; vertical-align: top }
thead th { color: var(--soft); font-size: 12.5px } tbody tr { border-top: 1px solid var(--line) } tbody th { font-weight: 600 } td small { color: var(--soft) }
.scores, .fields { width: 100% } .facts th { color: var(--soft); font-weight: 400; min-width: 150px }
.confusion td, .confusion th { padding: 7px 12px; text-align: right; min-width: 62px } .confusion tbody tr { border: 0 } .confusion td { border: 2px solid var(--page); border-radius: 6px }
.scroll { overflow-x: auto } .soft { color: var(--soft); font-size: 13px; font-weight: 400 }
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(440px, 100%), 1fr)); gap: 22px }
figure { margin: 0 } figcaption { font-size: 13px; font-weight: 600; margin-bottom: 2px } svg { width: 100%; height: auto; display: block }
svg text { fill: var(--soft); font: 11px system-ui, sans-serif } .grid { stroke: var(--line) } .axis { stroke: var(--soft); opacity: .5 }
.key { display: flex; flex-wrap: wrap; gap: 2px 14px; font-size: 12.5px; color: var(--soft) } .key i { display: inline-block; width: 14px; height: 3px; border-radius: 2px; margin-right: 6px; vertical-align: middle }
.program { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 16px 18px }
.shares { display: inline-flex; width: min(420px, 100%); height: 20px; border-radius: 5px; overflow: hidden; vertical-align: middle; gap: 1px }
.shares span { font-size: 11px; line-height: 20px; color: #fff; padding: 0 6px; overflow: hidden; white-space: nowrap; text-overflow: ellipsis; min-width: 0 }
.warning { border-left: 3px solid var(--two); padding: 4px 12px; background: var(--card); border-radius: 0 8px 8px 0 }
@media print { section { break-inside: avoid } }
"#;
