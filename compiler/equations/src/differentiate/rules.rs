//! All derivative rules, on one page.
//!
//! Reverse mode on scalar expressions: [`spread`] carries a *seed* (the derivative of the loss by the expression) down to every read,
//! multiplied on the way by the local derivative. Reductions and subscripts are the business of `transpose`:
//!
//! | reduction | seed at a point |
//! |---|---|
//! | `sum` | the adjoint of the result |
//! | `max`, `min` | the adjoint where the point is the first winner (an `argmax` an index), nothing elsewhere |
//! | `prod` | the adjoint times the product over all other points |
//! | `any`, `all`, `argmax`, `argmin` | none: the result is no real number |
//!
//! Conventions (LANGUAGE.md section 5): a tie of `max(a, b)` goes to `a`; the derivative of `abs` at 0 is 0; the branch not taken by a
//! `select` contributes no gradient: `d (if c then a else b) = if c then da else 0`, never a product with a mask. Rounding to bf16 has the
//! derivative 1, as is usual where precisions are mixed, not the 0 and infinity of its steps; gradients themselves are not rounded.

use super::polygamma::tetragamma;
use crate::data::{BinaryOp, CompareOp, Expr, Program, Read, UnaryOp};
use crate::types::{self, Kind};

/// Appends `(read, seed * d e / d read)` for every active read in `e`. `value` is an expression equal to `e`, possibly simpler. A seed has
/// the precision of its expression: that of a conversion is converted back.
pub fn spread(
    program: &Program,
    e: &Expr,
    value: &Expr,
    seed: Expr,
    active: &dyn Fn(&Read) -> bool,
    into: &mut Vec<(Read, Expr)>,
) {
    if !touches(e, active) {
        return;
    }
    let one = || Expr::Const(1.0);
    let of_f64 = |e: &Expr| types::of_expr(program, e) == Ok(Kind::F64);
    let mut down = |e: &Expr, seed: Expr| spread(program, e, e, seed, active, into);
    match e {
        Expr::Const(_) | Expr::Number(_) | Expr::Compare(_, _, _) => {}
        Expr::Read(read) => into.push((read.clone(), seed)),
        Expr::Unary(op, a) => {
            let x = || (**a).clone();
            let y = || value.clone();
            let seed = match op {
                UnaryOp::Neg => negated(seed),
                UnaryOp::Exp => times(seed, y()),
                UnaryOp::Expm1 => times(seed, y() + one()),
                UnaryOp::Log => over(seed, x()),
                UnaryOp::Log1p => over(seed, one() + x()),
                UnaryOp::Sqrt => over(times(seed, Expr::Const(0.5)), y()),
                UnaryOp::Tanh => times(seed, one() - y().squared()),
                UnaryOp::Sigmoid => times(seed, y() * (one() - y())),
                UnaryOp::Softplus => times(seed, x().unary(UnaryOp::Sigmoid)),
                // 2 / sqrt(pi) * exp(-x^2)
                UnaryOp::Erf => {
                    times(seed, Expr::Const(std::f64::consts::FRAC_2_SQRT_PI) * (-x().squared()).unary(UnaryOp::Exp))
                }
                UnaryOp::Sin => times(seed, x().unary(UnaryOp::Cos)),
                UnaryOp::Cos => times(negated(seed), x().unary(UnaryOp::Sin)),
                UnaryOp::Abs => times(seed, x().unary(UnaryOp::Sign)),
                UnaryOp::Lgamma => times(seed, x().unary(UnaryOp::Digamma)),
                UnaryOp::Digamma => times(seed, x().unary(UnaryOp::Trigamma)),
                UnaryOp::Trigamma => times(seed, tetragamma(x())),
                UnaryOp::ToReal if of_f64(a) => inside(seed, &|s| converted(s, UnaryOp::ToF64)),
                UnaryOp::ToReal => seed,
                UnaryOp::ToF64 if of_f64(a) => seed,
                UnaryOp::ToBf16 => seed,
                UnaryOp::ToF64 => inside(seed, &|s| converted(s, UnaryOp::ToReal)),
                UnaryOp::Not | UnaryOp::Floor | UnaryOp::Round | UnaryOp::Sign | UnaryOp::ToInt | UnaryOp::Freeze => {
                    return;
                }
            };
            down(a, seed);
        }
        Expr::Binary(op, a, b) => {
            let (l, r) = (|| (**a).clone(), || (**b).clone());
            match op {
                BinaryOp::Add => {
                    down(a, seed.clone());
                    down(b, seed);
                }
                BinaryOp::Sub => {
                    down(a, seed.clone());
                    down(b, negated(seed));
                }
                BinaryOp::Mul => {
                    down(a, times(seed.clone(), r()));
                    down(b, times(seed, l()));
                }
                // d (a / b) = da / b - (a / b) db / b
                BinaryOp::Div => {
                    down(a, over(seed.clone(), r()));
                    down(b, over(negated(times(seed, value.clone())), r()));
                }
                // a - b floor(a / b)
                BinaryOp::Rem => {
                    down(a, seed.clone());
                    down(b, negated(times(seed, l().binary(BinaryOp::FloorDiv, r()))));
                }
                BinaryOp::Pow => {
                    match b.as_const() {
                        Some(0.0) => {}
                        Some(1.0) => down(a, seed.clone()),
                        Some(2.0) => down(a, times(seed.clone(), Expr::Const(2.0) * l())),
                        Some(n) => down(a, times(seed.clone(), r() * l().binary(BinaryOp::Pow, Expr::Const(n - 1.0)))),
                        None => {
                            // b a^(b - 1), which at a = 0 is no 0 * inf where b is 0.
                            let constant = r().compare(CompareOp::Eq, Expr::Const(0.0));
                            let power = l().binary(BinaryOp::Pow, r() - one());
                            down(a, unless(constant, times(seed.clone(), r() * power)));
                        }
                    }
                    // a^b log a, which goes to 0 with a for b > 0.
                    let zero = l().compare(CompareOp::Eq, Expr::Const(0.0));
                    down(b, unless(zero, times(seed, value.clone() * l().unary(UnaryOp::Log))));
                }
                BinaryOp::Max => {
                    let first = l().compare(CompareOp::Ge, r());
                    down(a, only(first.clone(), seed.clone()));
                    down(b, unless(first, seed));
                }
                BinaryOp::Min => {
                    let first = l().compare(CompareOp::Le, r());
                    down(a, only(first.clone(), seed.clone()));
                    down(b, unless(first, seed));
                }
                BinaryOp::FloorDiv | BinaryOp::And | BinaryOp::Or => {}
            }
        }
        Expr::Select(c, a, b) => {
            down(a, only((**c).clone(), seed.clone()));
            down(b, unless((**c).clone(), seed));
        }
    }
}

/// Can a change of an active read change the expression, other than in jumps?
pub fn touches(e: &Expr, active: &dyn Fn(&Read) -> bool) -> bool {
    match e {
        Expr::Const(_) | Expr::Number(_) | Expr::Compare(_, _, _) => false,
        // Subscripts jump.
        Expr::Read(read) => active(read),
        Expr::Unary(op, a) => match op {
            UnaryOp::Not | UnaryOp::Floor | UnaryOp::Round | UnaryOp::Sign | UnaryOp::ToInt | UnaryOp::Freeze => false,
            UnaryOp::Neg
            | UnaryOp::Exp
            | UnaryOp::Expm1
            | UnaryOp::Log
            | UnaryOp::Log1p
            | UnaryOp::Sqrt
            | UnaryOp::Tanh
            | UnaryOp::Sigmoid
            | UnaryOp::Softplus
            | UnaryOp::Erf
            | UnaryOp::Sin
            | UnaryOp::Cos
            | UnaryOp::Abs
            | UnaryOp::Lgamma
            | UnaryOp::Digamma
            | UnaryOp::Trigamma
            | UnaryOp::ToReal
            | UnaryOp::ToF64
            | UnaryOp::ToBf16 => touches(a, active),
        },
        Expr::Binary(BinaryOp::FloorDiv | BinaryOp::And | BinaryOp::Or, _, _) => false,
        Expr::Binary(_, a, b) => touches(a, active) || touches(b, active),
        Expr::Select(_, a, b) => touches(a, active) || touches(b, active),
    }
}

/// `seed * factor`; the factor goes inside a branch, so that the branch not taken stays 0 whatever the factor is.
fn times(seed: Expr, factor: Expr) -> Expr {
    inside(seed, &|s| s * factor.clone())
}

fn over(seed: Expr, divisor: Expr) -> Expr {
    inside(seed, &|s| s / divisor.clone())
}

/// A constant has the precision of what it meets.
fn converted(seed: Expr, to: UnaryOp) -> Expr {
    if seed.as_const().is_some() { seed } else { seed.unary(to) }
}

fn negated(seed: Expr) -> Expr {
    inside(seed, &|s| -s)
}

/// Applies `f` to the seed, under the conditions that keep it from being 0.
fn inside(seed: Expr, f: &dyn Fn(Expr) -> Expr) -> Expr {
    match seed {
        Expr::Select(c, a, b) if *b == Expr::Const(0.0) => only(*c, inside(*a, f)),
        Expr::Select(c, a, b) if *a == Expr::Const(0.0) => unless(*c, inside(*b, f)),
        other @ (Expr::Const(_)
        | Expr::Number(_)
        | Expr::Read(_)
        | Expr::Unary(_, _)
        | Expr::Binary(_, _, _)
        | Expr::Compare(_, _, _)
        | Expr::Select(_, _, _)) => f(other),
    }
}

fn only(condition: Expr, seed: Expr) -> Expr {
    condition.select(seed, Expr::Const(0.0))
}

fn unless(condition: Expr, seed: Expr) -> Expr {
    condition.select(Expr::Const(0.0), seed)
}

/// The sum of two contributions. Branches of one condition meet again, and equal terms are counted: `a + a` is `2 * a`.
pub fn add(a: Expr, b: Expr) -> Expr {
    match (a, b) {
        (Expr::Select(c, a, b), Expr::Select(d, x, y)) if c == d => c.select(add(*a, *x), add(*b, *y)),
        (a, b) => {
            let (count, term) = counted(b.clone());
            let mut terms = Vec::new();
            summands(a.clone(), &mut terms);
            match terms.iter_mut().find(|(_, t)| *t == term) {
                None => a + b,
                Some((old, _)) => {
                    *old += count;
                    let sum = terms.into_iter().filter(|(n, _)| *n != 0.0).map(|(n, t)| Expr::Const(n) * t);
                    sum.reduce(|a, b| a + b).unwrap_or(Expr::Const(0.0))
                }
            }
        }
    }
}

/// `n * e` as `(n, e)`.
fn counted(e: Expr) -> (f64, Expr) {
    match e {
        Expr::Binary(BinaryOp::Mul, n, e) if matches!(*n, Expr::Const(_)) => {
            let (inner, e) = counted(*e);
            (n.as_const().unwrap_or(1.0) * inner, e)
        }
        Expr::Unary(UnaryOp::Neg, e) => {
            let (n, e) = counted(*e);
            (-n, e)
        }
        other @ (Expr::Const(_)
        | Expr::Number(_)
        | Expr::Read(_)
        | Expr::Unary(_, _)
        | Expr::Binary(_, _, _)
        | Expr::Compare(_, _, _)
        | Expr::Select(_, _, _)) => (1.0, other),
    }
}

fn summands(e: Expr, into: &mut Vec<(f64, Expr)>) {
    match e {
        Expr::Binary(BinaryOp::Add, a, b) => {
            summands(*a, into);
            summands(*b, into);
        }
        other @ (Expr::Const(_)
        | Expr::Number(_)
        | Expr::Read(_)
        | Expr::Unary(_, _)
        | Expr::Binary(_, _, _)
        | Expr::Compare(_, _, _)
        | Expr::Select(_, _, _)) => into.push(counted(other)),
    }
}
