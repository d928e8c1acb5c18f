//! What the steps of a field amount to: one encoder, perhaps one-hot, then numeric steps, cut at the first fitted one.
//!
//! `number(column(5)) |> log1p |> standardize` is encoder `Number`, before `[Log1p]`, after `[Standardize]`. What stands
//! before the cut is done once when the file is read; the rest waits for the training rows.

use crate::alphabet::Alphabet;
use crate::error::{DataError, DataResult};
use crate::numbers::step_name;
use crate::spec::{Column, Draw, FieldSpec, Missing, Origin, Step};

/// Where the values come from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum From {
    Column(Column),
    Columns { include: Vec<String>, except: Vec<String> },
    Draw { draw: Draw, dims: Vec<usize> },
}

/// How text becomes values.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Encoder {
    Number,
    Truth { yes: Option<String>, no: Option<String> },
    Category { classes: Option<Vec<String>> },
    Text,
    Letters(Alphabet),
    Tokens { classes: Option<Vec<String>> },
    Numbers { width: Option<usize> },
    Indices { of: String, first: i64 },
    Drawn,
}

/// A field, ready to be read.
#[derive(Clone, Debug)]
pub(crate) struct FieldPlan {
    pub name: String,
    pub pos: String,
    pub from: From,
    pub encoder: Encoder,
    pub one_hot: bool,
    pub before: Vec<Step>,
    pub after: Vec<Step>,
    pub missing: Missing,
}

impl FieldPlan {
    /// The field that this one points into.
    pub fn refers_to(&self) -> Option<&str> {
        if let Encoder::Indices { of, .. } = &self.encoder { Some(of) } else { None }
    }

    /// Does an `impute` take the missing values?
    pub fn imputes(&self) -> bool {
        self.before.iter().chain(&self.after).any(|step| matches!(step, Step::Impute(_)))
    }
}

/// The plans of all fields. Errors: `unknown-field`, `wrong-step`, `bad-draw`.
pub(crate) fn plan_all(fields: &[FieldSpec], synthetic: bool) -> DataResult<Vec<FieldPlan>> {
    let mut plans: Vec<FieldPlan> = vec![];
    for (position, field) in fields.iter().enumerate() {
        let asked = |fault: Box<DataError>| fault.asked_by(&field.name, &field.pos);
        let (from, steps, missing) = flatten(fields, position).map_err(asked)?;
        let drawn = matches!(from, From::Draw { .. });
        if drawn != synthetic {
            return Err(asked(DataError::new(
                "bad-draw",
                if drawn {
                    "a draw needs the source `synthetic(...)`"
                } else {
                    "a synthetic source has no columns to read"
                },
            )));
        }
        plans.push(plan(field, from, &steps, missing).map_err(asked)?);
    }
    Ok(plans)
}

/// Follows references to earlier fields: their steps come first.
pub(crate) fn flatten(fields: &[FieldSpec], position: usize) -> DataResult<(From, Vec<Step>, Missing)> {
    let field = &fields[position];
    match &field.origin {
        Origin::Column(column) => Ok((From::Column(column.clone()), field.steps.clone(), field.missing.clone())),
        Origin::Columns { include, except } => {
            let from = From::Columns { include: include.clone(), except: except.clone() };
            Ok((from, field.steps.clone(), field.missing.clone()))
        }
        Origin::Draw { draw, dims } => {
            let from = From::Draw { draw: draw.clone(), dims: dims.clone() };
            Ok((from, field.steps.clone(), field.missing.clone()))
        }
        Origin::Field(name) => {
            let Some(earlier) = fields[..position].iter().position(|other| other.name == *name) else {
                let later = fields[position..].iter().any(|other| other.name == *name);
                let fault = DataError::new("unknown-field", format!("there is no field `{name}` before this one"));
                return Err(if later { fault.help("move it up: a field may read earlier fields") } else { fault });
            };
            let (from, mut steps, missing) = flatten(fields, earlier)?;
            steps.extend(field.steps.iter().cloned());
            let missing = if field.missing == Missing::Error { missing } else { field.missing.clone() };
            Ok((from, steps, missing))
        }
    }
}

fn is_encoder(step: &Step) -> bool {
    match step {
        Step::Number
        | Step::Truth { .. }
        | Step::Category { .. }
        | Step::Text
        | Step::Letters(_)
        | Step::OneHotText(_)
        | Step::Tokens { .. }
        | Step::Numbers { .. }
        | Step::Indices { .. } => true,
        Step::OneHot
        | Step::Log1p
        | Step::Log
        | Step::Sqrt
        | Step::Arith(_)
        | Step::Standardize
        | Step::MinMax
        | Step::Impute(_) => false,
    }
}

fn plan(field: &FieldSpec, from: From, steps: &[Step], missing: Missing) -> DataResult<FieldPlan> {
    let (encoder, mut one_hot, rest) = encoder(&from, steps)?;
    let numeric = match (&from, &encoder) {
        (From::Draw { draw: Draw::Normal | Draw::Uniform, .. }, _) | (_, Encoder::Number | Encoder::Numbers { .. }) => {
            true
        }
        (
            _,
            Encoder::Truth { .. }
            | Encoder::Category { .. }
            | Encoder::Text
            | Encoder::Letters(_)
            | Encoder::Tokens { .. }
            | Encoder::Indices { .. }
            | Encoder::Drawn,
        ) => false,
    };
    let codes = match (&from, &encoder) {
        (From::Draw { draw: Draw::Letters(_) | Draw::Category(_) | Draw::Index(_), .. }, _) => true,
        (_, Encoder::Letters(_) | Encoder::Category { .. } | Encoder::Tokens { .. }) => true,
        (
            _,
            Encoder::Number
            | Encoder::Truth { .. }
            | Encoder::Text
            | Encoder::Numbers { .. }
            | Encoder::Indices { .. }
            | Encoder::Drawn,
        ) => false,
    };
    let mut changes = vec![];
    for step in rest {
        match step {
            Step::OneHot if codes && !one_hot => one_hot = true,
            step if !is_encoder(step) && *step != Step::OneHot && numeric => changes.push(step.clone()),
            step => {
                let what = if numeric {
                    "numbers"
                } else if one_hot {
                    "a one-hot field"
                } else {
                    "this kind of field"
                };
                let fault = DataError::new("wrong-step", format!("`{}` does not fit {what}", step_name(step)));
                return Err(match (numeric, is_encoder(step)) {
                    (_, true) => fault.help("an encoder reads a column and stands first"),
                    (false, false) => fault.help("numeric steps need a field that is read with `number(...)`"),
                    (true, false) => fault.help("`onehot` takes letters or categories"),
                });
            }
        }
    }
    let cut = changes.iter().position(Step::is_fitted).unwrap_or(changes.len());
    let after = changes.split_off(cut);
    if let (Encoder::Numbers { .. }, Some(step)) = (&encoder, after.first()) {
        let fault = DataError::new("wrong-step", format!("`{}` of lists of numbers is not built yet", step_name(step)));
        return Err(fault.help("steps that learn nothing from the rows are possible: `log1p`, `_ / 10`"));
    }
    Ok(FieldPlan {
        name: field.name.clone(),
        pos: field.pos.clone(),
        from,
        encoder,
        one_hot,
        before: changes,
        after,
        missing,
    })
}

/// The encoder that the steps begin with or imply, whether it is one-hot at once, and the steps that remain.
fn encoder<'a>(from: &From, steps: &'a [Step]) -> DataResult<(Encoder, bool, &'a [Step])> {
    if let From::Draw { draw, .. } = from {
        return drawn(draw, steps);
    }
    let Some((first, rest)) = steps.split_first() else {
        let several = matches!(from, From::Columns { .. });
        return Ok((if several { Encoder::Number } else { Encoder::Text }, false, steps));
    };
    Ok(match first {
        Step::Number => (Encoder::Number, false, rest),
        Step::Truth { yes, no } => (Encoder::Truth { yes: yes.clone(), no: no.clone() }, false, rest),
        Step::Category { classes } => (Encoder::Category { classes: classes.clone() }, false, rest),
        Step::Text => (Encoder::Text, false, rest),
        Step::Letters(alphabet) => (Encoder::Letters(alphabet.clone()), false, rest),
        Step::OneHotText(alphabet) => (Encoder::Letters(alphabet.clone()), true, rest),
        Step::Tokens { classes } => (Encoder::Tokens { classes: classes.clone() }, false, rest),
        Step::Numbers { width } => (Encoder::Numbers { width: *width }, false, rest),
        Step::Indices { of, first } => (Encoder::Indices { of: of.clone(), first: *first }, false, rest),
        Step::OneHot => (Encoder::Category { classes: None }, true, rest),
        Step::Log1p | Step::Log | Step::Sqrt | Step::Arith(_) | Step::Standardize | Step::MinMax | Step::Impute(_) => {
            (Encoder::Number, false, steps)
        }
    })
}

/// A draw is its own encoder; naming the one that it is anyway is allowed.
fn drawn<'a>(draw: &Draw, steps: &'a [Step]) -> DataResult<(Encoder, bool, &'a [Step])> {
    let Some((first, rest)) = steps.split_first() else { return Ok((Encoder::Drawn, false, steps)) };
    match (draw, first) {
        (Draw::Normal | Draw::Uniform, Step::Number)
        | (Draw::Bernoulli(_), Step::Truth { yes: None, no: None })
        | (Draw::Category(_), Step::Category { classes: None }) => Ok((Encoder::Drawn, false, rest)),
        (Draw::Letters(a), Step::Letters(b)) if a == b => Ok((Encoder::Drawn, false, rest)),
        (Draw::Letters(a), Step::OneHotText(b)) if a == b => Ok((Encoder::Drawn, true, rest)),
        (
            Draw::Normal | Draw::Uniform | Draw::Bernoulli(_) | Draw::Category(_) | Draw::Letters(_) | Draw::Index(_),
            first,
        ) if is_encoder(first) => {
            Err(DataError::new("wrong-step", format!("`{}` does not fit what is drawn here", step_name(first))))
        }
        (
            Draw::Normal | Draw::Uniform | Draw::Bernoulli(_) | Draw::Category(_) | Draw::Letters(_) | Draw::Index(_),
            _,
        ) => Ok((Encoder::Drawn, false, steps)),
    }
}
