//! `bdl eval RUN`: metrics of a trained model on every part of its data.

use super::train::{finite, judge, score_json};
use super::{Context, print};
use crate::error::Failure;
use crate::run::reopened::{self, Reopened};
use crate::show::{result, unfinished};
use serde_json::{Value, json};
use std::path::Path;

pub fn run(context: &Context, run: &Path) -> Result<u8, Failure> {
    let Reopened { stored, checked, measured, unfinished, prepared: _ } = reopened::open(context, run)?;
    let train = checked.train(Some(&stored.train))?;
    context.warn(&unfinished::warnings(unfinished), &checked.source.sources);

    if context.global.json {
        let mut line = json!({"event": "done", "run": run.display().to_string()});
        for part in &measured.parts {
            let scores = part.scores.iter().map(|(name, score)| (name.clone(), score_json(score)));
            let values: serde_json::Map<String, Value> =
                part.losses.iter().map(|(name, loss)| (name.clone(), finite(*loss))).chain(scores).collect();
            line[part.name] = Value::Object(values);
        }
        return print(&format!("{line}\n"));
    }
    let mut text = String::new();
    for part in &measured.parts {
        let losses = part.losses.iter().map(|(name, loss)| format!("{name} {}", crate::show::number::score(*loss)));
        let loss = losses.collect::<Vec<_>>().join(" · ");
        let rows = crate::show::number::grouped(part.rows.len() as u64);
        text.push_str(&format!("{}  {rows} rows · {loss}\n", part.name));
        text.push_str(&result::scores("", &part.scores, 100));
    }
    let mut missed = false;
    for expectation in &train.expectations {
        let (judged, met) = judge(train, expectation, &measured)?;
        missed |= !met;
        text.push_str(&format!("expect  {judged}\n"));
    }
    print(&text)?;
    Ok(u8::from(missed))
}
