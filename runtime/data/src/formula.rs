//! Fields that are computed from earlier fields: `ratio = number(column("a")) / number(column("b"))`.
//!
//! A formula works element by element. Operands have the same shape, or are one value a row. What is missing in an operand is
//! missing in the result, `x else d` fills it, `known(x)` asks. `and` and `or` are those of [`crate::keep`].
//!
//! A value that is not defined (`a / b` where b is 0) is an error with its row, but only where it is used: in
//! `if b > 0 then a / b else 0` the branch not taken is nobody's fault. Inside, missing is NaN and undefined is infinite.
//!
//! A formula over a fitted field (`z = x |> standardize`, `w = z * y`) waits for the training rows, like a fitted step.

use crate::error::{DataError, DataResult};
use crate::facts::{FieldDim, Kind};
use crate::field::{Field, Layout, MISSING_ID, MISSING_TRUTH, Places, Values};
use std::sync::Arc;

/// An expression over earlier fields.
#[derive(Clone, Debug, PartialEq)]
pub enum Formula {
    Number(f64),
    Truth(bool),
    Missing,
    Field(String),
    /// `site == "EI"`: is the class or text of a field this one?
    Is {
        field: String,
        text: String,
    },
    Apply(Function, Box<Formula>),
    Binary(Operator, Box<Formula>, Box<Formula>),
    /// `if c then a else b`; missing where c is.
    If(Box<Formula>, Box<Formula>, Box<Formula>),
    /// `x else d`.
    Else(Box<Formula>, Box<Formula>),
}

/// A function of one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    Negate,
    Not,
    Known,
    Abs,
    Exp,
    Expm1,
    Log,
    Log1p,
    Log2,
    Log10,
    Sqrt,
    Square,
    Sin,
    Cos,
    Tanh,
    Sigmoid,
    Floor,
    Round,
    Sign,
}

/// An operator or a function of two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    /// The remainder, with the sign of the divisor: `-1 % 7` is 6, as in the equations of models.
    Remainder,
    Power,
    Min,
    Max,
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    And,
    Or,
}

/// What no operation on it defines.
const UNDEFINED: f64 = f64::INFINITY;

impl Function {
    /// The functions by the names that a program calls them.
    pub const NAMES: [(&str, Function); 17] = [
        ("known", Function::Known),
        ("abs", Function::Abs),
        ("exp", Function::Exp),
        ("expm1", Function::Expm1),
        ("log", Function::Log),
        ("log1p", Function::Log1p),
        ("log2", Function::Log2),
        ("log10", Function::Log10),
        ("sqrt", Function::Sqrt),
        ("square", Function::Square),
        ("sin", Function::Sin),
        ("cos", Function::Cos),
        ("tanh", Function::Tanh),
        ("sigmoid", Function::Sigmoid),
        ("floor", Function::Floor),
        ("round", Function::Round),
        ("sign", Function::Sign),
    ];

    pub fn named(name: &str) -> Option<Function> {
        Function::NAMES.iter().find(|(known, _)| *known == name).map(|(_, function)| *function)
    }

    /// Does it give a truth value?
    fn asks(self) -> bool {
        matches!(self, Function::Not | Function::Known)
    }

    fn of(self, x: f64) -> f64 {
        if x == UNDEFINED {
            return x;
        }
        let y = match self {
            Function::Known => return f64::from(u8::from(!x.is_nan())),
            Function::Not => 1.0 - x,
            Function::Negate => -x,
            Function::Abs => x.abs(),
            Function::Exp => x.exp(),
            Function::Expm1 => x.exp_m1(),
            Function::Log => x.ln(),
            Function::Log1p => x.ln_1p(),
            Function::Log2 => x.log2(),
            Function::Log10 => x.log10(),
            Function::Sqrt => x.sqrt(),
            Function::Square => x * x,
            Function::Sin => x.sin(),
            Function::Cos => x.cos(),
            Function::Tanh => x.tanh(),
            Function::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            Function::Floor => x.floor(),
            Function::Round => x.round_ties_even(),
            Function::Sign if x == 0.0 => 0.0,
            Function::Sign => x.signum(),
        };
        if y.is_finite() || x.is_nan() { y } else { UNDEFINED }
    }
}

impl Operator {
    fn compares(self) -> bool {
        match self {
            Operator::Equal
            | Operator::NotEqual
            | Operator::Less
            | Operator::LessEqual
            | Operator::Greater
            | Operator::GreaterEqual
            | Operator::And
            | Operator::Or => true,
            Operator::Add
            | Operator::Subtract
            | Operator::Multiply
            | Operator::Divide
            | Operator::Remainder
            | Operator::Power
            | Operator::Min
            | Operator::Max => false,
        }
    }

    fn of(self, a: f64, b: f64) -> f64 {
        let truth = |holds: bool| f64::from(u8::from(holds));
        match self {
            // Known on one side may decide alone.
            Operator::And if a == 0.0 || b == 0.0 => return 0.0,
            Operator::Or if a == 1.0 || b == 1.0 => return 1.0,
            Operator::And
            | Operator::Or
            | Operator::Add
            | Operator::Subtract
            | Operator::Multiply
            | Operator::Divide
            | Operator::Remainder
            | Operator::Power
            | Operator::Min
            | Operator::Max
            | Operator::Equal
            | Operator::NotEqual
            | Operator::Less
            | Operator::LessEqual
            | Operator::Greater
            | Operator::GreaterEqual => {}
        }
        if a == UNDEFINED || b == UNDEFINED {
            return UNDEFINED;
        }
        if a.is_nan() || b.is_nan() {
            return f64::NAN;
        }
        let y = match self {
            Operator::Add => a + b,
            Operator::Subtract => a - b,
            Operator::Multiply => a * b,
            Operator::Divide => a / b,
            Operator::Remainder => a - b * (a / b).floor(),
            Operator::Power => a.powf(b),
            Operator::Min => a.min(b),
            Operator::Max => a.max(b),
            Operator::Equal => truth(a == b),
            Operator::NotEqual => truth(a != b),
            Operator::Less => truth(a < b),
            Operator::LessEqual => truth(a <= b),
            Operator::Greater => truth(a > b),
            Operator::GreaterEqual => truth(a >= b),
            Operator::And => a * b,
            Operator::Or => a.max(b),
        };
        if y.is_finite() { y } else { UNDEFINED }
    }
}

impl Formula {
    /// The fields that it reads, in order, each once.
    pub fn fields(&self) -> Vec<&str> {
        fn walk<'f>(formula: &'f Formula, into: &mut Vec<&'f str>) {
            match formula {
                Formula::Number(_) | Formula::Truth(_) | Formula::Missing => {}
                Formula::Field(name) | Formula::Is { field: name, .. } => {
                    if !into.contains(&name.as_str()) {
                        into.push(name);
                    }
                }
                Formula::Apply(_, x) => walk(x, into),
                Formula::Binary(_, a, b) | Formula::Else(a, b) => {
                    walk(a, into);
                    walk(b, into);
                }
                Formula::If(c, a, b) => {
                    walk(c, into);
                    walk(a, into);
                    walk(b, into);
                }
            }
        }
        let mut fields = vec![];
        walk(self, &mut fields);
        fields
    }

    /// May its value be missing? `of` says so of a field.
    pub fn is_optional(&self, of: &dyn Fn(&str) -> bool) -> bool {
        match self {
            Formula::Number(_) | Formula::Truth(_) => false,
            Formula::Missing => true,
            Formula::Field(name) | Formula::Is { field: name, .. } => of(name),
            Formula::Apply(Function::Known, _) => false,
            Formula::Apply(_, x) => x.is_optional(of),
            Formula::Binary(_, a, b) => a.is_optional(of) || b.is_optional(of),
            Formula::If(c, a, b) => c.is_optional(of) || a.is_optional(of) || b.is_optional(of),
            Formula::Else(_, b) => b.is_optional(of),
        }
    }

    /// Is its value true or false? `is_truth` says so of a field. Errors: `wrong-step` where numbers and truth values are mixed up.
    pub fn is_truth(&self, is_truth: &dyn Fn(&str) -> Option<bool>) -> DataResult<bool> {
        let mixed = |what: &str| {
            let fault = DataError::new("wrong-step", format!("{what} takes truth values, not numbers"));
            fault.help("a comparison such as `x > 0` is a truth value")
        };
        Ok(match self {
            Formula::Number(_) | Formula::Missing => false,
            Formula::Truth(_) => true,
            Formula::Is { .. } => true,
            Formula::Field(name) => is_truth(name).ok_or_else(|| {
                let fault = DataError::new("wrong-step", format!("`{name}` is neither numbers nor truth values"));
                fault.help(format!("a class or text is compared by name: `{name} == \"..\"`"))
            })?,
            Formula::Apply(function, x) => {
                let truth = x.is_truth(is_truth)?;
                if *function == Function::Not && !truth {
                    return Err(mixed("`not`"));
                }
                function.asks()
            }
            Formula::Binary(operator, a, b) => {
                let (a, b) = (a.is_truth(is_truth)?, b.is_truth(is_truth)?);
                if matches!(operator, Operator::And | Operator::Or) && !(a && b) {
                    return Err(mixed("`and` and `or`"));
                }
                operator.compares()
            }
            Formula::If(c, a, b) => {
                if !c.is_truth(is_truth)? {
                    return Err(mixed("`if`"));
                }
                let both = (a.is_truth(is_truth)?, b.is_truth(is_truth)?);
                both.0 && both.1
            }
            Formula::Else(a, b) => a.is_truth(is_truth)? && b.is_truth(is_truth)?,
        })
    }
}

/// Values of all rows.
#[derive(Clone, Debug)]
pub(crate) struct Computed {
    /// NaN is missing, infinite is undefined.
    pub values: Vec<f64>,
    pub layout: Layout,
    pub dims: Vec<FieldDim>,
    pub axis_names: Vec<Option<Arc<Vec<String>>>>,
    /// The names of its columns, where each column is an element.
    pub columns: Vec<String>,
    pub positions: Vec<usize>,
}

enum Part {
    Constant(f64),
    Rows(Computed),
}

/// What a formula reads: the values of a field, and the field itself for its shape and classes.
pub(crate) struct Read<'f> {
    pub field: &'f Field,
    /// The values after fitting, where the field has fitted steps; otherwise those of the field.
    pub fitted: Option<&'f [f64]>,
}

/// Computes a formula for all rows.
///
/// Errors: `unknown-field`, `wrong-step`, `shape-differs`, `columns-displaced`, `unknown-category` for a class that there is not.
pub(crate) fn compute<'f>(
    formula: &Formula,
    rows: usize,
    find: &dyn Fn(&str) -> DataResult<Read<'f>>,
) -> DataResult<Computed> {
    Ok(match eval(formula, find)? {
        Part::Rows(computed) => computed,
        Part::Constant(value) => Computed {
            values: vec![value; rows],
            layout: Layout::Fixed(1),
            dims: vec![],
            axis_names: vec![],
            columns: vec![],
            positions: vec![],
        },
    })
}

fn eval<'f>(formula: &Formula, find: &dyn Fn(&str) -> DataResult<Read<'f>>) -> DataResult<Part> {
    Ok(match formula {
        Formula::Number(value) => Part::Constant(*value),
        Formula::Truth(value) => Part::Constant(f64::from(u8::from(*value))),
        Formula::Missing => Part::Constant(f64::NAN),
        Formula::Field(name) => Part::Rows(numbers_of(&find(name)?)?),
        Formula::Is { field, text } => Part::Rows(is_text(&find(field)?, text)?),
        Formula::Apply(function, x) => match eval(x, find)? {
            Part::Constant(x) => Part::Constant(function.of(x)),
            Part::Rows(mut x) => {
                x.values.iter_mut().for_each(|x| *x = function.of(*x));
                Part::Rows(x)
            }
        },
        Formula::Binary(operator, a, b) => both(eval(a, find)?, eval(b, find)?, |a, b| operator.of(a, b))?,
        Formula::Else(a, b) => both(eval(a, find)?, eval(b, find)?, |a, b| if a.is_nan() { b } else { a })?,
        Formula::If(c, a, b) => {
            let (c, a, b) = (eval(c, find)?, eval(a, find)?, eval(b, find)?);
            // Two passes of two operands: first what holds where the condition does, then the rest.
            let marked = |c: &Part| match c {
                Part::Constant(c) => Part::Constant(*c),
                Part::Rows(c) => Part::Rows(c.clone()),
            };
            let then = both(marked(&c), a, |c, a| if c == 1.0 { a } else { 0.0 })?;
            let other = both(marked(&c), b, |c, b| {
                if c == 0.0 {
                    b
                } else if c == 1.0 {
                    0.0
                } else {
                    // Missing or undefined.
                    c
                }
            })?;
            // One of the two is 0 wherever the other counts.
            both(then, other, |a, b| {
                if a == 0.0 {
                    b
                } else if b == 0.0 {
                    a
                } else {
                    a + b
                }
            })?
        }
    })
}

/// Element by element; what is one value a row goes with every element of its row.
fn both(a: Part, b: Part, f: impl Fn(f64, f64) -> f64) -> DataResult<Part> {
    let (mut a, b) = match (a, b) {
        (Part::Constant(a), Part::Constant(b)) => return Ok(Part::Constant(f(a, b))),
        (Part::Rows(mut a), Part::Constant(b)) => {
            a.values.iter_mut().for_each(|a| *a = f(*a, b));
            return Ok(Part::Rows(a));
        }
        (Part::Constant(a), Part::Rows(mut b)) => {
            b.values.iter_mut().for_each(|b| *b = f(a, *b));
            return Ok(Part::Rows(b));
        }
        (Part::Rows(a), Part::Rows(b)) => (a, b),
    };
    if a.dims == b.dims {
        a.values.iter_mut().zip(&b.values).for_each(|(a, b)| *a = f(*a, *b));
        if a.columns != b.columns {
            names_agree(&a, &b)?;
            // Elements of two different columns are of neither.
            a.columns.clear();
            a.positions.extend(&b.positions);
            if a.axis_names != b.axis_names {
                a.axis_names = vec![None; a.dims.len()];
            }
        }
        return Ok(Part::Rows(a));
    }
    let spread = |one: &Computed, many: &mut Computed, f: &dyn Fn(f64, f64) -> f64| {
        for (row, x) in one.values.iter().enumerate() {
            many.values[many.layout.range(row)].iter_mut().for_each(|y| *y = f(*x, *y));
        }
        many.positions.extend(&one.positions);
    };
    if a.dims.is_empty() {
        let mut b = b;
        spread(&a, &mut b, &|a, b| f(a, b));
        return Ok(Part::Rows(b));
    }
    if b.dims.is_empty() {
        spread(&b, &mut a, &|b, a| f(a, b));
        return Ok(Part::Rows(a));
    }
    let size = |dims: &[FieldDim]| {
        let sizes = dims.iter().map(|dim| match dim {
            FieldDim::Fixed(size) => size.to_string(),
            FieldDim::PerRow(_) => "one for each row".to_string(),
        });
        sizes.collect::<Vec<_>>().join(" by ")
    };
    let text = format!("values of different shape are combined: {} and {}", size(&a.dims), size(&b.dims));
    Err(DataError::new("shape-differs", text)
        .help("both have the same number of columns, or one of them is one value a row"))
}

/// `before_*` and `after_*` go together by place; columns of one name must stand at one place.
fn names_agree(a: &Computed, b: &Computed) -> DataResult<()> {
    let displaced = a.columns.iter().enumerate().find_map(|(at, name)| {
        let other = b.columns.iter().position(|other| other == name)?;
        (other != at).then_some((name, at, other))
    });
    let Some((name, at, other)) = displaced else { return Ok(()) };
    let text = format!("`{name}` is column {} of the one and column {} of the other", at + 1, other + 1);
    Err(DataError::new("columns-displaced", text)
        .help("columns are combined place by place: name them in one order, or leave out those that only one has"))
}

fn numbers_of(read: &Read) -> DataResult<Computed> {
    let field = read.field;
    let values = match (&*field.values, read.fitted) {
        (_, Some(fitted)) => fitted.to_vec(),
        (Values::F32(values), None) => values.iter().map(|x| f64::from(*x)).collect(),
        (Values::F64(values), None) => values.clone(),
        (Values::Truth(values), None) => {
            values.iter().map(|x| if *x == MISSING_TRUTH { f64::NAN } else { f64::from(*x) }).collect()
        }
        (Values::Ids(_) | Values::Letters(_), None) => {
            let fault = DataError::new("wrong-step", format!("`{}` is neither numbers nor truth values", field.name));
            return Err(fault.help(format!("a class or text is compared by name: `{} == \"..\"`", field.name)));
        }
    };
    Ok(shaped(field, values))
}

fn shaped(field: &Field, values: Vec<f64>) -> Computed {
    Computed {
        values,
        layout: field.layout.clone(),
        dims: field.facts.dims.clone(),
        axis_names: field.facts.axis_names.clone(),
        columns: field.facts.columns.clone(),
        positions: field.columns.clone(),
    }
}

fn is_text(operand: &Read, text: &str) -> DataResult<Computed> {
    let field = operand.field;
    let known: Vec<&str> = field.facts.classes.iter().map(|class| class.name.as_str()).collect();
    let wanted = known.iter().position(|name| *name == text);
    if wanted.is_none() && field.facts.kind == Kind::Category {
        let shown = known.iter().take(12).copied().collect::<Vec<_>>().join(", ");
        let fault = DataError::new("unknown-category", format!("`{}` has no class `{text}`", field.name));
        return Err(fault.help(format!("its classes are {shown}{}", if known.len() > 12 { ", .." } else { "" })));
    }
    let values = match &*field.values {
        Values::Ids(ids) if field.one_hot.is_none() => ids
            .iter()
            .map(|id| match *id {
                MISSING_ID => f64::NAN,
                id => f64::from(u8::from(wanted == Some(id as usize))),
            })
            .collect(),
        Values::Ids(_) | Values::F32(_) | Values::F64(_) | Values::Truth(_) | Values::Letters(_) => {
            let fault = DataError::new("wrong-step", format!("`{}` is no class or text", field.name));
            return Err(fault.help("numbers are compared with numbers"));
        }
    };
    Ok(shaped(field, values))
}

/// The first element that is not defined, as an error with its row and the values that were read there.
pub(crate) fn require_defined<'f>(
    name: &str,
    formula: &Formula,
    computed: &Computed,
    places: &Places,
    find: &dyn Fn(&str) -> DataResult<Read<'f>>,
) -> DataResult<()> {
    let Some(at) = computed.values.iter().position(|x| *x == UNDEFINED) else { return Ok(()) };
    let row = computed.layout.row_of(at);
    let element = at - computed.layout.range(row).start;
    let mut read = vec![];
    for name in formula.fields() {
        let operand = find(name)?;
        let Ok(values) = numbers_of(&operand) else { continue };
        let range = values.layout.range(row);
        let own = if values.dims.is_empty() { range.start } else { range.start + element };
        if let Some(x) = values.values.get(own) {
            let shown = if x.is_nan() { "missing".to_string() } else { format!("{x}") };
            let label = match operand.field.facts.columns.get(if values.dims.is_empty() { 0 } else { element }) {
                Some(column) => format!("`{column}`"),
                None => format!("`{name}`"),
            };
            read.push(format!("{label} is {shown}"));
        }
    }
    let text = format!("`{name}` is not a finite number where {}", read.join(" and "));
    let fault = DataError::new("out-of-domain", text)
        .help("say what it is there: `if b != 0 then a / b else missing`, or leave such rows out with `keep`");
    Err(places.fault(fault, row, None, None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_defined_is_nobodys_fault_in_the_branch_not_taken() {
        let divided = Operator::Divide.of(1.0, 0.0);
        assert_eq!(divided, UNDEFINED);
        assert_eq!(Operator::Add.of(divided, 1.0), UNDEFINED);
        assert_eq!(Operator::And.of(0.0, divided), 0.0);
        assert_eq!(Function::Log.of(-1.0), UNDEFINED);
        assert_eq!(Operator::Remainder.of(-1.0, 7.0), 6.0);
    }

    #[test]
    fn missing_is_neither_true_nor_false() {
        let missing = f64::NAN;
        assert!(Operator::Less.of(missing, 1.0).is_nan() && Operator::And.of(1.0, missing).is_nan());
        assert_eq!(Operator::Or.of(missing, 1.0), 1.0);
        assert_eq!(Function::Known.of(missing), 0.0);
        assert!(Function::Not.of(missing).is_nan() && Function::Exp.of(missing).is_nan());
    }
}
