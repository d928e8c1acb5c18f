//! Sizes in a kernel: folded, or computed once at its head.

use crate::text::{Class, Writer};
use bdl_dims::{Atom, Dim};
use std::collections::HashMap;

/// A 64-bit integer: a number in the text, or a register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Int {
    Const(i64),
    Register(String),
}

impl Int {
    pub fn as_const(&self) -> Option<i64> {
        match self {
            Int::Const(c) => Some(*c),
            Int::Register(_) => None,
        }
    }

    /// As an operand.
    pub fn text(&self) -> String {
        match self {
            Int::Const(c) => c.to_string(),
            Int::Register(register) => register.clone(),
        }
    }
}

/// The sizes of a kernel and what was computed from them.
#[derive(Default)]
pub struct Sizes {
    /// Registers of the names.
    names: HashMap<String, String>,
    known: HashMap<Dim, Int>,
}

impl Sizes {
    pub fn bind(&mut self, name: &str, register: String) {
        self.names.insert(name.to_string(), register);
    }

    /// The value of a size; its lines go to the head, so that it is known everywhere.
    ///
    /// Errors: a name that is no argument of the kernel.
    pub fn get(&mut self, w: &mut Writer, dim: &Dim) -> Result<Int, String> {
        if let Some(known) = self.known.get(dim) {
            return Ok(known.clone());
        }
        let value = match dim.as_const() {
            Some(c) => Int::Const(c),
            None => self.sum(w, dim)?,
        };
        self.known.insert(dim.clone(), value.clone());
        Ok(value)
    }

    fn sum(&mut self, w: &mut Writer, dim: &Dim) -> Result<Int, String> {
        let mut total: Option<String> = None;
        let mut constant = 0;
        for (monomial, coefficient) in dim.terms() {
            let Some((first, rest)) = monomial.split_first() else {
                constant = coefficient;
                continue;
            };
            let mut product = self.atom(w, first)?;
            for atom in rest {
                let factor = self.atom(w, atom)?;
                product = head(w, "mul.lo.s64", &[&product, &factor]);
            }
            total = Some(match (total, coefficient) {
                (None, 1) => product,
                (None, c) => head(w, "mul.lo.s64", &[&product, &c.to_string()]),
                (Some(total), 1) => head(w, "add.s64", &[&total, &product]),
                (Some(total), c) => head(w, "mad.lo.s64", &[&product, &c.to_string(), &total]),
            });
        }
        Ok(match total {
            None => Int::Const(constant),
            Some(total) if constant == 0 => Int::Register(total),
            Some(total) => Int::Register(head(w, "add.s64", &[&total, &constant.to_string()])),
        })
    }

    fn atom(&mut self, w: &mut Writer, atom: &Atom) -> Result<String, String> {
        match atom {
            Atom::Var(name) => {
                self.names.get(&**name).cloned().ok_or_else(|| format!("the size `{name}` is no argument"))
            }
            Atom::Floor(numerator, denominator) => {
                let (n, d) = (self.get(w, numerator)?, self.get(w, denominator)?);
                Ok(floor_division(&mut |class, op, operands| head_of(w, class, op, operands), &n.text(), &d.text()))
            }
        }
    }
}

/// Quotient and rest of a number of 32 bits, both of 32 bits.
pub fn divided(w: &mut Writer, number: &str, by: &Int) -> (String, String) {
    let by = match by {
        Int::Const(c) => c.to_string(),
        Int::Register(register) => w.set(Class::B32, "cvt.u32.u64", &[register]),
    };
    let quotient = w.set(Class::B32, "div.u32", &[number, &by]);
    let product = w.set(Class::B32, "mul.lo.u32", &[&quotient, &by]);
    let rest = w.set(Class::B32, "sub.u32", &[number, &product]);
    (quotient, rest)
}

fn head(w: &mut Writer, op: &str, operands: &[&str]) -> String {
    head_of(w, Class::B64, op, operands)
}

fn head_of(w: &mut Writer, class: Class, op: &str, operands: &[&str]) -> String {
    let new = w.temp(class);
    w.head(format!("{op} {new}, {};", operands.join(", ")));
    new
}

/// `n / d` rounded down, 0 where d is 0, in 64 bits: `set(class, op, operands)` writes an instruction and gives its result.
pub fn floor_division(set: &mut dyn FnMut(Class, &str, &[&str]) -> String, n: &str, d: &str) -> String {
    let zero = set(Class::Pred, "setp.eq.s64", &[d, "0"]);
    let divisor = set(Class::B64, "selp.b64", &["1", d, &zero]);
    let quotient = set(Class::B64, "div.s64", &[n, &divisor]);
    let product = set(Class::B64, "mul.lo.s64", &[&quotient, &divisor]);
    let rest = set(Class::B64, "sub.s64", &[n, &product]);
    let signs = set(Class::B64, "xor.b64", &[&rest, &divisor]);
    let differ = set(Class::Pred, "setp.lt.s64", &[&signs, "0"]);
    let down = set(Class::Pred, "setp.ne.and.s64", &[&rest, "0", &differ]);
    let below = set(Class::B64, "sub.s64", &[&quotient, "1"]);
    let floored = set(Class::B64, "selp.b64", &[&below, &quotient, &down]);
    set(Class::B64, "selp.b64", &["0", &floored, &zero])
}
