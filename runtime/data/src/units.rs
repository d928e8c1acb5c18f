//! Back to the units of a column: what `number(column(5)) |> log1p |> standardize` did, undone.
//!
//! `predict y = net(x) as open` is written, and measured, in the units that the column of `open` has in the file.

use crate::error::{DataError, DataResult};
use crate::fit::{Fitted, FittedStep};
use crate::spec::{Arith, DataSpec, Step};
use crate::steps::flatten;

/// The inverse of a field's steps.
#[derive(Clone, Debug, PartialEq)]
pub struct Units {
    /// In the order of being undone.
    steps: Vec<Undo>,
}

#[derive(Clone, Debug, PartialEq)]
enum Undo {
    Expm1,
    Exp,
    Square,
    Arith(Arith),
    /// x scale + shift, one of each a column.
    Affine {
        scale: Vec<f64>,
        shift: Vec<f64>,
    },
}

impl Units {
    /// The inverse of a field's steps with the values fitted in a run. Errors: `unknown-field`, `wrong-fitted`.
    pub fn of(spec: &DataSpec, fitted: &Fitted, field: &str) -> DataResult<Units> {
        let wrong =
            || DataError::new("wrong-fitted", format!("the stored fitted values of `{field}` do not fit its steps"));
        let Some(position) = spec.fields.iter().position(|known| known.name == field) else {
            return Err(DataError::new("unknown-field", format!("data `{}` has no field `{field}`", spec.name)));
        };
        let (_, steps, _) = flatten(&spec.fields, position)?;
        let mut known = fitted.field(field).ok_or_else(wrong)?.steps.iter().filter_map(|step| match step {
            FittedStep::Standardize { mean, sd } => Some(Undo::Affine { scale: sd.clone(), shift: mean.clone() }),
            FittedStep::MinMax { min, range } => Some(Undo::Affine { scale: range.clone(), shift: min.clone() }),
            // What was missing had no value to go back to.
            FittedStep::Impute { .. } => None,
        });
        let mut undone = Vec::new();
        for step in &steps {
            match step {
                Step::Log1p => undone.push(Undo::Expm1),
                Step::Log => undone.push(Undo::Exp),
                Step::Sqrt => undone.push(Undo::Square),
                Step::Arith(arith) => undone.push(Undo::Arith(*arith)),
                Step::Standardize | Step::MinMax => undone.push(known.next().ok_or_else(wrong)?),
                Step::Number
                | Step::Counts
                | Step::Truth { .. }
                | Step::Category { .. }
                | Step::Text
                | Step::Letters(_)
                | Step::OneHotText(_)
                | Step::OneHot
                | Step::Tokens { .. }
                | Step::Numbers { .. }
                | Step::Indices { .. }
                | Step::Impute(_) => {}
            }
        }
        undone.reverse();
        Ok(Units { steps: undone })
    }

    /// Numbers of whole examples, columns last, from the model's units to the file's.
    pub fn apply(&self, values: &mut [f64]) {
        for step in &self.steps {
            for (at, x) in values.iter_mut().enumerate() {
                *x = match step {
                    Undo::Expm1 => x.exp_m1(),
                    Undo::Exp => x.exp(),
                    Undo::Square => *x * *x,
                    Undo::Arith(Arith::Add(c)) => *x - c,
                    Undo::Arith(Arith::SubtractFrom(c)) => c - *x,
                    Undo::Arith(Arith::Multiply(c)) => *x / c,
                    Undo::Arith(Arith::Divide(c)) => *x * c,
                    Undo::Arith(Arith::DivideInto(c)) => c / *x,
                    Undo::Affine { scale, shift } => {
                        let column = at % scale.len().max(1);
                        *x * scale.get(column).copied().unwrap_or(1.0) + shift.get(column).copied().unwrap_or(0.0)
                    }
                };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{FieldSpec, Origin, Precision, Source, TableSource};
    use crate::{Dataset, batch::Encoded};

    #[test]
    fn every_step_is_undone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.csv");
        std::fs::write(&path, "a,b\n1,10\n4,20\n9,60\n").unwrap();
        let steps = [Step::Number, Step::Arith(Arith::Multiply(3.0)), Step::Sqrt, Step::Log1p, Step::Standardize];
        let steps = steps.into_iter().chain([Step::Arith(Arith::SubtractFrom(2.0)), Step::MinMax]);
        let origin = Origin::Columns { of: None, include: vec!["*".into()], except: vec![] };
        let field = steps.fold(FieldSpec::new("x", origin), FieldSpec::step);
        let spec = DataSpec::new("D", Source::Table(TableSource::csv(&path))).field(field);
        let data = Dataset::open(&spec, Precision::F64).unwrap();
        let fitted = data.fit(&[0, 1, 2]).unwrap();
        let encoded: Encoded = data.encode(&fitted).unwrap();
        let mut values = vec![0.0; 6];
        encoded.field("x").unwrap().fill_f64(&[0, 1, 2], &mut values);
        Units::of(&spec, &fitted, "x").unwrap().apply(&mut values);
        for (found, written) in values.iter().zip([1.0, 10.0, 4.0, 20.0, 9.0, 60.0]) {
            assert!((found - written).abs() < 1e-9 * written, "{values:?}");
        }
        assert_eq!(Units::of(&spec, &fitted, "y").unwrap_err().code, "unknown-field");
    }
}
