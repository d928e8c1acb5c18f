//! `report accuracy(kind, site)` on a part of the data: predictions meet the fields they are about.

use bdl_check::hir::{Report, ReportArg};
use bdl_data::{Encoded, EncodedField, Kind};
use bdl_train::metrics::{self, Guess, Score, Truth};
use bdl_train::{Evaluation, PredictionValues, RunError, RunResult};

/// A metric as a report names it: `accuracy`, or `accuracy(kind, site)` where one name occurs twice.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    pub name: String,
    pub metric: String,
    pub prediction: String,
    pub truth: String,
    pub options: Vec<(String, f64)>,
}

/// The reports of a block, each with a name of its own.
pub fn asked(reports: &[Report]) -> RunResult<Vec<Asked>> {
    let mut asked = Vec::new();
    for report in reports {
        let (Some(ReportArg::Prediction(prediction)), Some(ReportArg::Field(truth))) =
            (report.args.first(), report.args.get(1))
        else {
            return Err(RunError::new(
                "metric",
                format!("`{}` takes a prediction and a field of the data", report.metric),
            )
            .help("predict kind = softmax(net(dna)), then report accuracy(kind, site)"));
        };
        let twice = reports.iter().filter(|other| other.metric == report.metric).count() > 1;
        let name = if twice { format!("{}({prediction}, {truth})", report.metric) } else { report.metric.to_string() };
        let options = report.options.iter().map(|(name, value)| (name.to_string(), *value)).collect();
        asked.push(Asked {
            name,
            metric: report.metric.to_string(),
            prediction: prediction.to_string(),
            truth: truth.to_string(),
            options,
        });
    }
    Ok(asked)
}

/// Every asked metric of an evaluation of `rows`.
pub fn scores(
    asked: &[Asked],
    evaluation: &Evaluation,
    data: &Encoded,
    rows: &[u32],
) -> RunResult<Vec<(String, Score)>> {
    asked
        .iter()
        .map(|asked| {
            let prediction =
                evaluation.predictions.iter().find(|made| made.name == asked.prediction).ok_or_else(|| {
                    RunError::new(
                        "metric",
                        format!("`{}`: nothing is predicted under the name `{}`", asked.metric, asked.prediction),
                    )
                })?;
            let field = data.field(&asked.truth).map_err(|e| RunError::new("metric", e.message))?;
            Ok((asked.name.clone(), one(asked, prediction, field, rows)?))
        })
        .collect()
}

fn one(asked: &Asked, prediction: &PredictionValues, field: &EncodedField, rows: &[u32]) -> RunResult<Score> {
    let options: Vec<(&str, f64)> = asked.options.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    let size = field.size(rows);
    let mut known = vec![1u8; size];
    if field.facts().optional {
        field.fill_known(rows, &mut known);
    }
    match &field.facts().kind {
        Kind::Category | Kind::Letters { .. } | Kind::Index(_) => {
            let names: Vec<String> = match &field.facts().kind {
                Kind::Letters { letters, .. } | Kind::Index(letters) => {
                    (0..*letters).map(|at| at.to_string()).collect()
                }
                Kind::Category | Kind::Number | Kind::Truth | Kind::Text => {
                    field.facts().classes.iter().map(|class| class.name.clone()).collect()
                }
            };
            let mut ids = vec![0i32; size];
            field.fill_i32(rows, &mut ids);
            let ids: Vec<u32> = ids.into_iter().map(|id| id as u32).collect();
            let (values, ids) = keep_known(&prediction.values, &ids, &known);
            metrics::score(
                &asked.metric,
                Guess { values: &values, width: names.len() },
                Truth::Classes { ids: &ids, names: &names },
                &options,
            )
        }
        Kind::Truth => {
            let mut yes = vec![0u8; size];
            field.fill_bool(rows, &mut yes);
            let yes: Vec<bool> = yes.into_iter().map(|yes| yes == 1).collect();
            let (values, yes) = keep_known(&prediction.values, &yes, &known);
            metrics::score(
                &asked.metric,
                Guess { values: &values, width: width(&known, size, rows) },
                Truth::Yes(&yes),
                &options,
            )
        }
        Kind::Number => {
            let mut numbers = vec![0.0; size];
            field.fill_f64(rows, &mut numbers);
            let (values, numbers) = keep_known(&prediction.values, &numbers, &known);
            metrics::score(
                &asked.metric,
                Guess { values: &values, width: width(&known, size, rows) },
                Truth::Numbers(&numbers),
                &options,
            )
        }
        Kind::Text => {
            Err(RunError::new("metric", format!("`{}` cannot look at the text field `{}`", asked.metric, asked.truth)))
        }
    }
}

/// Questions an example: one where some are missing, since the known ones then form no table.
fn width(known: &[u8], size: usize, rows: &[u32]) -> usize {
    if known.iter().all(|k| *k == 1) && !rows.is_empty() && size.is_multiple_of(rows.len()) {
        (size / rows.len()).max(1)
    } else {
        1
    }
}

/// Leaves out what is not known of the truth, together with the predictions about it.
fn keep_known<T: Copy>(values: &[f64], truth: &[T], known: &[u8]) -> (Vec<f64>, Vec<T>) {
    if truth.is_empty() {
        return (values.to_vec(), Vec::new());
    }
    let width = (values.len() / truth.len()).max(1);
    let mut kept = (Vec::with_capacity(values.len()), Vec::with_capacity(truth.len()));
    for (at, known) in known.iter().enumerate() {
        if *known == 1 {
            kept.0.extend(values.get(at * width..(at + 1) * width).unwrap_or_default());
            kept.1.push(truth[at]);
        }
    }
    kept
}
