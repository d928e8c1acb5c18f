//! What the steps of a field amount to: one encoder, perhaps one-hot, then numeric steps, cut at the first fitted one.
//!
//! `number(column(5)) |> log1p |> standardize` is encoder `Number`, before `[Log1p]`, after `[Standardize]`. What stands
//! before the cut is done once when the file is read; the rest waits for the training rows.

use crate::alphabet::Alphabet;
use crate::error::{DataError, DataResult};
use crate::formula::Formula;
use crate::numbers::step_name;
use crate::spec::{Column, Draw, FieldSpec, Lookup, Missing, Origin, Step};

/// Where the values come from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum From {
    Column(Column),
    Columns { of: Option<Lookup>, include: Vec<String>, except: Vec<String> },
    Formula(Formula),
    Draw { draw: Draw, dims: Vec<usize> },
}

/// How text becomes values.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Encoder {
    Number,
    Truth {
        yes: Option<String>,
        no: Option<String>,
    },
    Category {
        classes: Option<Vec<String>>,
        unknown: Option<String>,
    },
    Text,
    Letters(Alphabet),
    Tokens {
        classes: Option<Vec<String>>,
        unknown: Option<String>,
    },
    Numbers {
        width: Option<usize>,
    },
    Indices {
        of: String,
        first: i64,
    },
    Drawn,
    /// Numbers, or truth values.
    Computed {
        truth: bool,
    },
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
    pub hidden: bool,
    /// It is read with `counts(..)`, and nothing changes the numbers.
    pub counts: bool,
    /// A formula reads its numbers, before they are cut to the working precision.
    pub exact: bool,
    /// A formula over fitted fields: it is computed when these are.
    pub waits: bool,
}

impl FieldPlan {
    /// Earlier fields that this one cannot be read without.
    pub fn reads(&self) -> Vec<&str> {
        match (&self.from, &self.encoder) {
            (From::Formula(formula), _) => formula.fields(),
            (_, Encoder::Indices { of, .. }) => vec![of],
            (
                From::Column(_) | From::Columns { .. } | From::Draw { .. },
                Encoder::Number
                | Encoder::Truth { .. }
                | Encoder::Category { .. }
                | Encoder::Text
                | Encoder::Letters(_)
                | Encoder::Tokens { .. }
                | Encoder::Numbers { .. }
                | Encoder::Drawn
                | Encoder::Computed { .. },
            ) => vec![],
        }
    }

    /// Is it numbers (`false`), truth values (`true`) or neither?
    fn truth(&self) -> Option<bool> {
        if self.one_hot {
            return None;
        }
        match &self.encoder {
            Encoder::Number | Encoder::Numbers { .. } => Some(false),
            Encoder::Truth { .. } => Some(true),
            Encoder::Computed { truth } => Some(*truth),
            Encoder::Drawn => match &self.from {
                From::Draw { draw: Draw::Normal | Draw::Uniform, .. } => Some(false),
                From::Draw { draw: Draw::Bernoulli(_), .. } => Some(true),
                From::Draw { draw: Draw::Category(_) | Draw::Letters(_) | Draw::Index(_), .. }
                | From::Column(_)
                | From::Columns { .. }
                | From::Formula(_) => None,
            },
            Encoder::Category { .. }
            | Encoder::Text
            | Encoder::Letters(_)
            | Encoder::Tokens { .. }
            | Encoder::Indices { .. } => None,
        }
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
        let fits = match &from {
            From::Draw { .. } => synthetic,
            From::Column(_) | From::Columns { .. } => !synthetic,
            From::Formula(_) => true,
        };
        if !fits {
            return Err(asked(DataError::new(
                "bad-draw",
                if synthetic {
                    "a synthetic source has no columns to read"
                } else {
                    "a draw needs the source `synthetic(...)`"
                },
            )));
        }
        let made = plan(field, from, &steps, missing, &plans).map_err(asked)?;
        if let From::Formula(formula) = &made.from {
            let read: Vec<String> = formula.fields().into_iter().map(String::from).collect();
            plans.iter_mut().filter(|plan| read.contains(&plan.name)).for_each(|plan| plan.exact = true);
        }
        plans.push(made);
    }
    Ok(plans)
}

/// Follows references to earlier fields: their steps come first.
pub(crate) fn flatten(fields: &[FieldSpec], position: usize) -> DataResult<(From, Vec<Step>, Missing)> {
    let field = &fields[position];
    match &field.origin {
        Origin::Column(column) => Ok((From::Column(column.clone()), field.steps.clone(), field.missing.clone())),
        Origin::Columns { of, include, except } => {
            let from = From::Columns { of: of.clone(), include: include.clone(), except: except.clone() };
            Ok((from, field.steps.clone(), field.missing.clone()))
        }
        Origin::Formula(formula) => Ok((From::Formula(formula.clone()), field.steps.clone(), field.missing.clone())),
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
        | Step::Counts
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

fn plan(
    field: &FieldSpec,
    from: From,
    steps: &[Step],
    missing: Missing,
    earlier: &[FieldPlan],
) -> DataResult<FieldPlan> {
    let (encoder, mut one_hot, rest) = encoder(&from, steps, earlier)?;
    let numeric = match (&from, &encoder) {
        (_, Encoder::Computed { truth }) => !truth,
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
            | Encoder::Computed { .. }
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
    let waits = match &from {
        From::Formula(formula) => {
            let read = formula.fields();
            let fitted =
                |plan: &&FieldPlan| read.contains(&plan.name.as_str()) && (plan.waits || !plan.after.is_empty());
            earlier.iter().any(|plan| fitted(&plan))
        }
        From::Column(_) | From::Columns { .. } | From::Draw { .. } => false,
    };
    // What follows a value that waits for the training rows waits too.
    let cut = if waits { 0 } else { changes.iter().position(Step::is_fitted).unwrap_or(changes.len()) };
    let after = changes.split_off(cut);
    Ok(FieldPlan {
        name: field.name.clone(),
        pos: field.pos.clone(),
        from,
        encoder,
        one_hot,
        before: changes,
        after,
        missing,
        hidden: field.hidden,
        counts: steps.first() == Some(&Step::Counts),
        exact: false,
        waits,
    })
}

/// The encoder that the steps begin with or imply, whether it is one-hot at once, and the steps that remain.
fn encoder<'a>(from: &From, steps: &'a [Step], earlier: &[FieldPlan]) -> DataResult<(Encoder, bool, &'a [Step])> {
    if let From::Draw { draw, .. } = from {
        return drawn(draw, steps);
    }
    if let From::Formula(formula) = from {
        if let Some(unknown) = formula.fields().into_iter().find(|name| earlier.iter().all(|plan| plan.name != *name)) {
            return Err(DataError::new("unknown-field", format!("there is no field `{unknown}` before this one")));
        }
        let of = |name: &str| earlier.iter().find(|plan| plan.name == name).and_then(FieldPlan::truth);
        let truth = formula.is_truth(&of)?;
        // Naming what it is anyway is allowed.
        let rest = match (steps, truth) {
            ([Step::Number | Step::Counts, rest @ ..], false) => rest,
            ([Step::Truth { yes: None, no: None }, rest @ ..], true) => rest,
            (steps, _) => steps,
        };
        return Ok((Encoder::Computed { truth }, false, rest));
    }
    let Some((first, rest)) = steps.split_first() else {
        let several = matches!(from, From::Columns { .. });
        return Ok((if several { Encoder::Number } else { Encoder::Text }, false, steps));
    };
    Ok(match first {
        Step::Number | Step::Counts => (Encoder::Number, false, rest),
        Step::Truth { yes, no } => (Encoder::Truth { yes: yes.clone(), no: no.clone() }, false, rest),
        Step::Category { classes, unknown } => {
            (Encoder::Category { classes: classes.clone(), unknown: unknown.clone() }, false, rest)
        }
        Step::Text => (Encoder::Text, false, rest),
        Step::Letters(alphabet) => (Encoder::Letters(alphabet.clone()), false, rest),
        Step::OneHotText(alphabet) => (Encoder::Letters(alphabet.clone()), true, rest),
        Step::Tokens { classes, unknown } => {
            (Encoder::Tokens { classes: classes.clone(), unknown: unknown.clone() }, false, rest)
        }
        Step::Numbers { width } => (Encoder::Numbers { width: *width }, false, rest),
        Step::Indices { of, first } => (Encoder::Indices { of: of.clone(), first: *first }, false, rest),
        Step::OneHot => (Encoder::Category { classes: None, unknown: None }, true, rest),
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
        | (Draw::Category(_), Step::Category { classes: None, unknown: None }) => Ok((Encoder::Drawn, false, rest)),
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
