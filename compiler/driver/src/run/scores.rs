//! `report accuracy(kind, site)` on a part of the data: predictions meet the fields they are about.

use bdl_check::hir::{Report, ReportArg};
use bdl_data::{Encoded, EncodedField, Kind, Units};
use bdl_train::metrics::{self, Guess, Score, Truth};
use bdl_train::{Evaluation, PredictionValues, RunError, RunResult};

/// A metric as a report names it: `accuracy`, or `accuracy(kind, site)` where one name occurs twice.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    pub name: String,
    pub metric: String,
    /// An output of the evaluation: a prediction, or the values of a metric of one's own.
    pub prediction: String,
    /// Fields of the data; none for a metric of one's own.
    pub truth: Vec<String>,
    pub options: Vec<(String, f64)>,
    /// Of a metric of one's own.
    pub lower_is_better: bool,
    /// A field whose every value is measured alone too.
    pub by: Option<String>,
    /// Prediction and truth are measured in these units.
    pub units: Option<Units>,
}

/// The reports of a block, each with a name of its own.
pub fn asked(reports: &[Report]) -> RunResult<Vec<Asked>> {
    let mut asked = Vec::new();
    for (at, report) in reports.iter().enumerate() {
        let mut truth = Vec::new();
        for arg in report.args.iter().skip(1) {
            if let ReportArg::Field(field) = arg {
                truth.push(field.to_string());
            }
        }
        let prediction = match (report.args.first(), report.own) {
            (_, Some(_)) => bdl_elaborate::metric_output(at),
            (Some(ReportArg::Prediction(prediction)), None) if !truth.is_empty() => prediction.to_string(),
            (Some(_) | None, None) => {
                return Err(RunError::new(
                    "metric",
                    format!("`{}` takes a prediction and a field of the data", report.metric),
                )
                .help("predict kind = softmax(net(dna)), then report accuracy(kind, site)"));
            }
        };
        let twice = reports.iter().filter(|other| other.metric == report.metric).count() > 1;
        let name = match (twice, report.own) {
            (true, None) => format!("{}({prediction}, {})", report.metric, truth.join(", ")),
            (true, Some(_)) => format!("{}({})", report.metric, at + 1),
            (false, _) => report.metric.to_string(),
        };
        let options = report.options.iter().map(|(name, value)| (name.to_string(), *value)).collect();
        let by = report.by.as_ref().map(|by| by.to_string());
        let (metric, lower_is_better) = (report.metric.to_string(), report.lower_is_better);
        asked.push(Asked { name, metric, prediction, truth, options, lower_is_better, by, units: None });
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
    let all: Vec<usize> = (0..rows.len()).collect();
    asked.iter().map(|asked| Ok((asked.name.clone(), of_rows(asked, evaluation, data, rows, &all)?))).collect()
}

/// The metrics that are asked for by group: `auroc(hospital = Berlin)`, in the order of the groups' names. `alone` evaluates a group by itself:
/// what looks across the batch (`mean[batch] p`) speaks of all rows that were evaluated with it; `None` where nothing does.
pub fn grouped(
    asked: &[Asked],
    evaluation: &Evaluation,
    data: &Encoded,
    rows: &[u32],
    mut alone: Option<&mut dyn FnMut(&[u32]) -> RunResult<Evaluation>>,
) -> RunResult<Vec<(String, Score)>> {
    let mut found = Vec::new();
    for asked in asked {
        let Some(by) = &asked.by else { continue };
        let field = data.field(by).map_err(|e| RunError::new("metric", e.message))?;
        if field.size(rows) != rows.len() || matches!(field.facts().kind, Kind::Number) {
            return Err(RunError::new("metric", format!("`{}` cannot be reported by `{by}`", asked.name))
                .help("`by` takes a field with one category, text or truth value a row"));
        }
        let mut ids = vec![0i32; rows.len()];
        field.fill_i32(rows, &mut ids);
        let mut known = vec![1u8; rows.len()];
        field.fill_known(rows, &mut known);
        let mut groups: Vec<(String, Vec<usize>)> = Vec::new();
        for (id, class) in field.facts().classes.iter().enumerate() {
            let of_group: Vec<usize> =
                (0..rows.len()).filter(|at| known[*at] == 1 && ids[*at] as usize == id).collect();
            if !of_group.is_empty() {
                groups.push((class.name.clone(), of_group));
            }
        }
        groups.sort();
        for (group, places) in groups {
            let mut score = match &mut alone {
                Some(alone) if asked.truth.is_empty() => {
                    let own: Vec<u32> = places.iter().map(|at| rows[*at]).collect();
                    let all: Vec<usize> = (0..own.len()).collect();
                    of_rows(asked, &alone(&own)?, data, &own, &all)?
                }
                Some(_) | None => of_rows(asked, evaluation, data, rows, &places)?,
            };
            let count = format!("{} rows", places.len());
            score.constant = if score.constant.is_empty() { count } else { format!("{count}; {}", score.constant) };
            found.push((format!("{}({by} = {group})", asked.name), score));
        }
    }
    Ok(found)
}

/// A metric on some of the evaluated rows, by their places.
pub fn of_rows(
    asked: &Asked,
    evaluation: &Evaluation,
    data: &Encoded,
    rows: &[u32],
    places: &[usize],
) -> RunResult<Score> {
    let made = evaluation.predictions.iter().find(|made| made.name == asked.prediction).ok_or_else(|| {
        RunError::new(
            "metric",
            format!("`{}`: nothing is predicted under the name `{}`", asked.metric, asked.prediction),
        )
    })?;
    let mut chosen = PredictionValues {
        name: made.name.clone(),
        width: made.width,
        offsets: vec![0],
        values: Vec::new(),
        known: None,
    };
    for at in places {
        let range = made.offsets[*at]..made.offsets[*at + 1];
        chosen.values.extend(made.values.get(range.clone()).unwrap_or_default());
        if let Some(known) = &made.known {
            chosen.known.get_or_insert_default().extend(known.get(range).unwrap_or_default());
        }
        chosen.offsets.push(chosen.values.len());
    }
    let rows: Vec<u32> = places.iter().map(|at| rows[*at]).collect();
    let field = |name: &String| data.field(name).map_err(|e| RunError::new("metric", e.message));
    match asked.truth.as_slice() {
        [] => {
            let there = chosen.known.as_deref().unwrap_or_default();
            let is_known = |at: &usize| there.get(*at).is_none_or(|known| *known);
            let values: Vec<f64> = (0..chosen.values.len()).filter(is_known).map(|at| chosen.values[at]).collect();
            let score = if values.is_empty() && !there.is_empty() { unknown() } else { averaged(&values) };
            Ok(Score { higher_is_better: !asked.lower_is_better, ..score })
        }
        [truth] => one(asked, &chosen, field(truth)?, &rows),
        [time, event, ..] => {
            let (time, event) = (field(time)?, field(event)?);
            let mut known = vec![1u8; rows.len()];
            for field in [time, event].into_iter().filter(|field| field.facts().optional) {
                let mut own = vec![1u8; rows.len()];
                field.fill_known(&rows, &mut own);
                known.iter_mut().zip(own).for_each(|(known, own)| *known &= own);
            }
            let (mut times, mut events) = (vec![0.0; rows.len()], vec![0u8; rows.len()]);
            time.fill_f64(&rows, &mut times);
            event.fill_bool(&rows, &mut events);
            let seen: Vec<(f64, bool)> = times.into_iter().zip(events.into_iter().map(|event| event == 1)).collect();
            let (risks, seen) = keep_known(&chosen.values, &seen, &known);
            let (times, events): (Vec<f64>, Vec<bool>) = seen.into_iter().unzip();
            let guess = Guess { values: &risks, width: 1 };
            metrics::score(&asked.metric, guess, Truth::Times { times: &times, events: &events }, &[])
        }
    }
}

/// The mean of a metric of one's own.
fn averaged(values: &[f64]) -> Score {
    Score {
        value: metrics::mean(values),
        baseline: f64::NAN,
        constant: String::new(),
        interval: None,
        higher_is_better: true,
        note: None,
        confusion: None,
    }
}

fn one(asked: &Asked, prediction: &PredictionValues, field: &EncodedField, rows: &[u32]) -> RunResult<Score> {
    let options: Vec<(&str, f64)> = asked.options.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    let size = field.size(rows);
    let mut known = vec![1u8; size];
    if field.facts().optional {
        field.fill_known(rows, &mut known);
    }
    // What was not predicted cannot be right or wrong.
    if let Some(predicted) = &prediction.known
        && size > 0
    {
        let each = predicted.chunks((predicted.len() / size).max(1));
        known.iter_mut().zip(each).for_each(|(known, there)| *known &= u8::from(there.iter().all(|there| *there)));
    }
    match &field.facts().kind {
        Kind::Category | Kind::Letters { .. } | Kind::Index(_) | Kind::IndexOf(_) => {
            let names: Vec<String> = match &field.facts().kind {
                Kind::Letters { letters, .. } | Kind::Index(letters) => {
                    (0..*letters).map(|at| at.to_string()).collect()
                }
                Kind::Category | Kind::IndexOf(_) | Kind::Number | Kind::Truth | Kind::Text => {
                    field.facts().classes.iter().map(|class| class.name.clone()).collect()
                }
            };
            let mut ids = vec![0i32; size];
            field.fill_i32(rows, &mut ids);
            let ids: Vec<u32> = ids.into_iter().map(|id| id as u32).collect();
            let (values, ids) = keep_known(&prediction.values, &ids, &known);
            if ids.is_empty() {
                return Ok(unknown());
            }
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
            let table = Table { values: &prediction.values, known: &known, width: width(prediction, size, rows) };
            table.score(asked, &yes, &|values, width, yes| {
                metrics::score(&asked.metric, Guess { values, width }, Truth::Yes(yes), &options)
            })
        }
        Kind::Number => {
            let mut numbers = vec![0.0; size];
            field.fill_f64(rows, &mut numbers);
            let mut guessed = prediction.values.clone();
            if let Some(units) = &asked.units {
                units.apply(&mut guessed);
                units.apply(&mut numbers);
            }
            let table = Table { values: &guessed, known: &known, width: width(prediction, size, rows) };
            table.score(asked, &numbers, &|values, width, numbers| {
                metrics::score(&asked.metric, Guess { values, width }, Truth::Numbers(numbers), &options)
            })
        }
        Kind::Text => Err(RunError::new("metric", format!("`{}` cannot look at a text field", asked.metric))),
    }
}

/// Questions an example, by the type of the prediction: one where examples differ in length, since their elements then form no table.
fn width(prediction: &PredictionValues, size: usize, rows: &[u32]) -> usize {
    prediction.width.filter(|width| *width > 0 && size == width * rows.len()).unwrap_or(1)
}

/// The score of examples of which nothing is known.
fn unknown() -> Score {
    Score { value: f64::NAN, note: Some("not defined: no example has a known value".to_string()), ..averaged(&[0.0]) }
}

/// `width` answers an example, of which not all need be known.
struct Table<'t> {
    values: &'t [f64],
    known: &'t [u8],
    width: usize,
}

impl Table<'_> {
    /// A metric of all questions. Where answers are missing, one that is a mean over questions (AUROC, r2) takes each question over its own
    /// known examples; one that counts answers (accuracy) takes all that are known.
    fn score<T: Copy>(
        &self,
        asked: &Asked,
        truth: &[T],
        measure: &dyn Fn(&[f64], usize, &[T]) -> RunResult<Score>,
    ) -> RunResult<Score> {
        if self.known.iter().all(|known| *known == 0) {
            return Ok(unknown());
        }
        if self.known.iter().all(|known| *known == 1) {
            return measure(self.values, self.width, truth);
        }
        if self.width == 1 {
            let (values, truth) = keep_known(self.values, truth, self.known);
            return measure(&values, 1, &truth);
        }
        if !metrics::is_mean_over_questions(&asked.metric) {
            let (values, truth) = keep_known(self.values, truth, self.known);
            // Several answers of one example are not independent, which an interval takes for granted.
            return Ok(Score { interval: None, ..measure(&values, 1, &truth)? });
        }
        let mut scores = Vec::new();
        for question in 0..self.width {
            let places = (question..truth.len()).step_by(self.width).filter(|at| self.known[*at] == 1);
            let (values, truth): (Vec<f64>, Vec<T>) = places.map(|at| (self.values[at], truth[at])).unzip();
            scores.push(if truth.is_empty() { unknown() } else { measure(&values, 1, &truth)? });
        }
        let defined: Vec<&Score> = scores.iter().filter(|score| score.value.is_finite()).collect();
        let Some(first) = defined.first() else { return Ok(unknown()) };
        let mean =
            |of: &dyn Fn(&Score) -> f64| defined.iter().map(|score| of(score)).sum::<f64>() / defined.len() as f64;
        let missing = scores.len() - defined.len();
        let note =
            (missing > 0).then(|| format!("without {missing} of {} questions, where it is not defined", scores.len()));
        Ok(Score {
            value: mean(&|score| score.value),
            baseline: mean(&|score| score.baseline),
            interval: None,
            note,
            ..Score::clone(first)
        })
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
