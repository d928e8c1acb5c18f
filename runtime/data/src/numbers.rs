//! Numbers: reading one from a cell, and the steps that change one number without looking at others.
//!
//! A missing number is NaN inside this crate; it is the only NaN there is, because NaN and infinity in a file are errors
//! and so is a step that would produce one (`log` of 0).

use crate::error::DataError;
use crate::spec::{Arith, Impute, Step};

/// Texts that people write for "not known". They are errors unless listed under `missing:`, and the error says so.
const LOOKS_MISSING: [&str; 16] =
    ["na", "n/a", "nan", "?", ".", "-", "--", "null", "none", "nil", "missing", "unknown", "#n/a", "#na", "<na>", "nd"];

/// Why a cell is not a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NumberFault {
    Text,
    NotFinite,
}

/// The number in a trimmed cell, with `decimal` as decimal mark.
#[inline]
pub(crate) fn parse(cell: &str, decimal: char) -> Result<f64, NumberFault> {
    let value = if decimal == '.' {
        cell.parse::<f64>()
    } else {
        if cell.contains('.') {
            return Err(NumberFault::Text);
        }
        cell.replace(decimal, ".").parse::<f64>()
    };
    match value {
        Ok(number) if number.is_finite() => Ok(number),
        Ok(_) => Err(NumberFault::NotFinite),
        Err(_) => Err(NumberFault::Text),
    }
}

/// The error for a cell that is not a number.
pub(crate) fn fault(cell: &str, decimal: char, kind: NumberFault) -> Box<DataError> {
    let shown: String =
        if cell.chars().count() > 40 { cell.chars().take(40).chain(['…']).collect() } else { cell.into() };
    let lower = cell.to_lowercase();
    let as_missing =
        || format!("if it means that the value is not known, write `missing: [\"\", \"{cell}\"]` in the source");
    if cell.is_empty() {
        return DataError::new("text-in-number", "an empty cell is not a number")
            .help("if it means that the value is not known, add `\"\"` to `missing:` of the source");
    }
    match kind {
        NumberFault::NotFinite if lower.chars().any(|c| c.is_ascii_digit()) => {
            DataError::new("not-finite", format!("`{shown}` is too large for a number")).help("correct the cell")
        }
        NumberFault::NotFinite => {
            DataError::new("not-finite", format!("`{shown}` is not a finite number")).help(as_missing())
        }
        NumberFault::Text => {
            let fault = DataError::new("text-in-number", format!("`{shown}` is not a number"));
            let other = if decimal == '.' { ',' } else { '.' };
            if LOOKS_MISSING.contains(&lower.as_str()) {
                fault.help(as_missing())
            } else if parse(cell, other).is_ok() {
                fault.help(format!(
                    "numbers with a decimal `{other}` are read with `decimal: \"{other}\"` in the source"
                ))
            } else {
                fault.help("correct the cell, leave the row out, or read the column with `category(...)`")
            }
        }
    }
}

/// One step on one number. None where the step is not defined for the number.
/// Steps that need other rows (`standardize`, `minmax`, `impute(mean)`) are not here; they leave the number as it is.
#[inline]
pub(crate) fn apply(step: &Step, x: f64) -> Option<f64> {
    let y = match step {
        Step::Log1p => x.ln_1p(),
        Step::Log => x.ln(),
        Step::Sqrt => x.sqrt(),
        Step::Arith(Arith::Add(c)) => x + c,
        Step::Arith(Arith::SubtractFrom(c)) => c - x,
        Step::Arith(Arith::Multiply(c)) => x * c,
        Step::Arith(Arith::Divide(c)) => x / c,
        Step::Arith(Arith::DivideInto(c)) => c / x,
        Step::Impute(Impute::Constant(c)) => {
            return Some(if x.is_nan() { *c } else { x });
        }
        Step::Standardize
        | Step::MinMax
        | Step::Impute(Impute::Mean | Impute::Median)
        | Step::Number
        | Step::Counts
        | Step::Truth { .. }
        | Step::Category { .. }
        | Step::Text
        | Step::Letters(_)
        | Step::OneHotText(_)
        | Step::OneHot
        | Step::Tokens { .. }
        | Step::Numbers { .. }
        | Step::Indices { .. } => x,
    };
    (y.is_finite() || x.is_nan()).then_some(y)
}

/// A step as the user writes it, for messages.
pub(crate) fn step_name(step: &Step) -> String {
    match step {
        Step::Number => "number".into(),
        Step::Counts => "counts".into(),
        Step::Truth { .. } => "truth".into(),
        Step::Category { .. } => "category".into(),
        Step::Text => "text".into(),
        Step::Letters(alphabet) => format!("letters({})", alphabet.name()),
        Step::OneHotText(_) | Step::OneHot => "onehot".into(),
        Step::Tokens { .. } => "tokens".into(),
        Step::Numbers { .. } => "numbers".into(),
        Step::Indices { .. } => "index".into(),
        Step::Log1p => "log1p".into(),
        Step::Log => "log".into(),
        Step::Sqrt => "sqrt".into(),
        Step::Arith(Arith::Add(c)) => format!("_ + {c}"),
        Step::Arith(Arith::SubtractFrom(c)) => format!("{c} - _"),
        Step::Arith(Arith::Multiply(c)) => format!("_ * {c}"),
        Step::Arith(Arith::Divide(c)) => format!("_ / {c}"),
        Step::Arith(Arith::DivideInto(c)) => format!("{c} / _"),
        Step::Standardize => "standardize".into(),
        Step::MinMax => "minmax".into(),
        Step::Impute(Impute::Mean) => "impute(mean)".into(),
        Step::Impute(Impute::Median) => "impute(median)".into(),
        Step::Impute(Impute::Constant(c)) => format!("impute({c})"),
    }
}

/// The error for a step that is not defined for a number.
pub(crate) fn domain_fault(step: &Step, x: f64) -> Box<DataError> {
    let fault = DataError::new("out-of-domain", format!("`{}` of {x} is not a finite number", step_name(step)));
    match step {
        Step::Log if x == 0.0 => fault.help("`log1p` is defined at 0"),
        _ if x < 0.0 => fault.help("a negative value here may mean that the column was transformed already"),
        _ => fault,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_with_either_decimal_mark() {
        assert_eq!(parse("-1.5e3", '.'), Ok(-1500.0));
        assert_eq!(parse("0.1", '.'), Ok(0.1));
        assert_eq!(parse("1,5", ','), Ok(1.5));
        assert_eq!(parse("1,5", '.'), Err(NumberFault::Text));
        assert_eq!(parse("1.5", ','), Err(NumberFault::Text));
        for text in ["NaN", "inf", "-Infinity", "1e999"] {
            assert_eq!(parse(text, '.'), Err(NumberFault::NotFinite), "{text}");
        }
    }

    #[test]
    fn the_message_knows_what_people_write() {
        let help = |cell: &str| fault(cell, '.', parse(cell, '.').expect_err("no number")).help.unwrap_or_default();
        for cell in ["NA", "?", ".", "n/a", "NaN"] {
            assert!(help(cell).contains(&format!("missing: [\"\", \"{cell}\"]")), "{cell}: {}", help(cell));
        }
        assert!(help("3,7").contains("decimal: \",\""));
        assert!(help("1e999").contains("correct"));
        assert!(help("tall").contains("category"));
    }

    #[test]
    fn steps_and_where_they_end() {
        assert_eq!(apply(&Step::Log1p, 0.0), Some(0.0));
        assert_eq!(apply(&Step::Log, 0.0), None);
        assert_eq!(apply(&Step::Sqrt, -1.0), None);
        assert_eq!(apply(&Step::Arith(Arith::SubtractFrom(1.0)), 3.0), Some(-2.0));
        assert_eq!(apply(&Step::Arith(Arith::DivideInto(6.0)), 3.0), Some(2.0));
        assert_eq!(apply(&Step::Arith(Arith::DivideInto(6.0)), 0.0), None);
        assert!(apply(&Step::Log, f64::NAN).is_some_and(f64::is_nan));
        assert_eq!(apply(&Step::Impute(Impute::Constant(4.0)), f64::NAN), Some(4.0));
    }
}
