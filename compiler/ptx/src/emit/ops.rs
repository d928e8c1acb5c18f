//! Operations on values. Every one that rounds says `.rn`, so that the driver's compiler joins none of them: the bits are the CPU's.

use super::{Emit, Emitter, class_of, mov_word};
use crate::size::{Int, floor_division};
use crate::text::{Class, f32_literal, f64_literal};
use bdl_kernels::vector_math::Function;
use bdl_plan::{BinaryOp, CompareOp, Monoid, UnaryOp, ValueId, ValueOp, ValueType};

/// The word of a type in arithmetic.
fn word(ty: ValueType) -> &'static str {
    match ty {
        ValueType::F32 => "f32",
        ValueType::F64 => "f64",
        ValueType::I32 => "s32",
        ValueType::I64 => "s64",
        ValueType::Bool => "pred",
    }
}

fn is_real(ty: ValueType) -> bool {
    matches!(ty, ValueType::F32 | ValueType::F64)
}

/// The neutral element of a monoid.
pub fn identity(monoid: Monoid, ty: ValueType) -> f64 {
    match (monoid, ty) {
        (Monoid::Sum | Monoid::Any, _) => 0.0,
        (Monoid::Prod | Monoid::All, _) => 1.0,
        (Monoid::Max, ValueType::I32) => f64::from(i32::MIN),
        (Monoid::Min, ValueType::I32) => f64::from(i32::MAX),
        (Monoid::Max, ValueType::I64) => i64::MIN as f64,
        // Saturates when it becomes an integer.
        (Monoid::Min, ValueType::I64) => i64::MAX as f64,
        (Monoid::Max, ValueType::F32 | ValueType::F64 | ValueType::Bool) => f64::NEG_INFINITY,
        (Monoid::Min, ValueType::F32 | ValueType::F64 | ValueType::Bool) => f64::INFINITY,
    }
}

impl<'k> Emitter<'k> {
    /// A number of this type as an operand. Truth values have no immediate form and become registers.
    pub fn constant_text(&mut self, value: f64, ty: ValueType) -> String {
        match ty {
            ValueType::F32 => f32_literal(value as f32),
            ValueType::F64 => f64_literal(value),
            ValueType::I32 => (value as i32).to_string(),
            ValueType::I64 => (value as i64).to_string(),
            ValueType::Bool => {
                let bit = self.w.set(Class::B32, "mov.u32", &[if value != 0.0 { "1" } else { "0" }]);
                self.w.set(Class::Pred, "setp.ne.u32", &[&bit, "0"])
            }
        }
    }

    /// The operand as a register.
    pub fn in_register(&mut self, operand: &str, ty: ValueType) -> String {
        if operand.starts_with('%') {
            return operand.to_string();
        }
        self.w.set(class_of(ty), &format!("mov.{}", mov_word(ty)), &[operand])
    }

    /// One instruction whose result is the plan's value of this number.
    fn named(&mut self, value: ValueId, op: &str, operands: &[&str]) -> String {
        let class = class_of(self.kernel.values[value.0 as usize]);
        let register = self.w.named(class, &format!("v{}", value.0));
        self.w.line(format!("{op} {register}, {};", operands.join(", ")));
        register
    }

    pub fn op(&mut self, value: ValueId, op: &'k ValueOp) -> Emit<String> {
        let ty = self.kernel.values[value.0 as usize];
        match op {
            ValueOp::Const(number) => Ok(self.constant_text(*number, ty)),
            ValueOp::Size(dim) => Ok(match self.size(dim)? {
                Int::Const(c) => c.to_string(),
                Int::Register(register) => register,
            }),
            ValueOp::Index(index) => {
                let open = self.indices.get(index.0 as usize).cloned().flatten();
                open.ok_or_else(|| format!("index {} is outside of its loop", index.0))
            }
            ValueOp::Variable(variable) => {
                let register = self.variable(*variable)?;
                Ok(self.named(value, &format!("mov.{}", mov_word(ty)), &[&register]))
            }
            ValueOp::Load { buffer, at, guards, otherwise } => self.load(value, *buffer, at, guards, *otherwise),
            ValueOp::Unary(unary, a) => {
                let of = self.type_of(*a);
                let x = self.value(*a)?;
                let x = self.in_register(&x, of);
                self.unary(value, *unary, &x, of)
            }
            ValueOp::Binary(binary, a, b) => {
                let (x, y) = (self.value(*a)?, self.value(*b)?);
                self.binary(Some(value), *binary, &x, &y, ty)
            }
            ValueOp::Compare(compare, a, b) => {
                let of = self.type_of(*a);
                let (x, y) = (self.value(*a)?, self.value(*b)?);
                let x = self.in_register(&x, of);
                Ok(self.compare(*compare, &x, &y, of))
            }
            ValueOp::Select(c, a, b) => {
                let (c, x, y) = (self.value(*c)?, self.value(*a)?, self.value(*b)?);
                match ty {
                    ValueType::F32 | ValueType::F64 => {
                        Ok(self.named(value, &format!("selp.{}", word(ty)), &[&x, &y, &c]))
                    }
                    ValueType::I32 | ValueType::I64 => {
                        Ok(self.named(value, &format!("selp.{}", mov_word(ty)), &[&x, &y, &c]))
                    }
                    ValueType::Bool => {
                        let taken = self.w.set(Class::Pred, "and.pred", &[&c, &x]);
                        let not = self.w.set(Class::Pred, "not.pred", &[&c]);
                        let other = self.w.set(Class::Pred, "and.pred", &[&not, &y]);
                        Ok(self.named(value, "or.pred", &[&taken, &other]))
                    }
                }
            }
            ValueOp::Convert(a) => {
                let from = self.type_of(*a);
                let x = self.value(*a)?;
                let x = self.in_register(&x, from);
                Ok(self.convert(&x, from, ty))
            }
        }
    }

    pub fn type_of(&self, value: ValueId) -> ValueType {
        self.kernel.values[value.0 as usize]
    }

    fn unary(&mut self, value: ValueId, op: UnaryOp, x: &str, ty: ValueType) -> Emit<String> {
        let word = word(ty);
        let real = is_real(ty);
        let function = match op {
            UnaryOp::Not => return Ok(self.named(value, "not.pred", &[x])),
            UnaryOp::Neg | UnaryOp::Abs => {
                let name = if op == UnaryOp::Neg { "neg" } else { "abs" };
                return Ok(self.named(value, &format!("{name}.{word}"), &[x]));
            }
            UnaryOp::Floor if real => return Ok(self.named(value, &format!("cvt.rmi.{word}.{word}"), &[x])),
            UnaryOp::Round if real => return Ok(self.named(value, &format!("cvt.rni.{word}.{word}"), &[x])),
            UnaryOp::Floor | UnaryOp::Round => return Ok(x.to_string()),
            UnaryOp::Sqrt if real => return Ok(self.named(value, &format!("sqrt.rn.{word}"), &[x])),
            UnaryOp::Sign => return Ok(self.sign(x, ty)),
            UnaryOp::Bf16 if ty == ValueType::F32 => {
                let upper = self.bf16_bits(x);
                let bits = self.w.set(Class::B32, "shl.b32", &[&upper, "16"]);
                return Ok(self.named(value, "mov.b32", &[&bits]));
            }
            UnaryOp::Bf16 => return Err(format!("{op:?} of {ty:?}")),
            UnaryOp::Sqrt => Function::Sqrt,
            UnaryOp::Exp => Function::Exp,
            UnaryOp::Expm1 => Function::Expm1,
            UnaryOp::Log => Function::Log,
            UnaryOp::Log1p => Function::Log1p,
            UnaryOp::Tanh => Function::Tanh,
            UnaryOp::Sigmoid => Function::Sigmoid,
            UnaryOp::Softplus => Function::Softplus,
            UnaryOp::Erf => Function::Erf,
            UnaryOp::Sin => Function::Sin,
            UnaryOp::Cos => Function::Cos,
            UnaryOp::Lgamma => Function::Lgamma,
            UnaryOp::Digamma => Function::Digamma,
            UnaryOp::Trigamma => Function::Trigamma,
        };
        self.function(function, x, ty)
    }

    /// -1, 0 or 1; NaN stays.
    fn sign(&mut self, x: &str, ty: ValueType) -> String {
        let number = |e: &mut Self, n: f64| e.constant_text(n, ty);
        let (zero, one, minus) = (number(self, 0.0), number(self, 1.0), number(self, -1.0));
        let select = format!("selp.{}", mov_word(ty));
        let below = self.compare(CompareOp::Lt, x, &zero, ty);
        let above = self.compare(CompareOp::Gt, x, &zero, ty);
        let negative = self.w.set(class_of(ty), &select, &[&minus, &zero, &below]);
        let sign = self.w.set(class_of(ty), &select, &[&one, &negative, &above]);
        if !is_real(ty) {
            return sign;
        }
        let nan = self.w.set(Class::Pred, &format!("setp.nan.{}", word(ty)), &[x, x]);
        self.w.set(class_of(ty), &select, &[x, &sign, &nan])
    }

    fn binary(&mut self, value: Option<ValueId>, op: BinaryOp, x: &str, y: &str, ty: ValueType) -> Emit<String> {
        let real = is_real(ty);
        let ty_word = word(ty);
        let class = class_of(ty);
        // One instruction: into the plan's own value where there is one.
        let one = |e: &mut Self, name: String, x: &str, y: &str| {
            let x = e.in_register(x, ty);
            match value {
                Some(value) => e.named(value, &name, &[&x, y]),
                None => e.w.set(class, &name, &[&x, y]),
            }
        };
        Ok(match op {
            BinaryOp::Add if real => one(self, format!("add.rn.{ty_word}"), x, y),
            BinaryOp::Sub if real => one(self, format!("sub.rn.{ty_word}"), x, y),
            BinaryOp::Mul if real => one(self, format!("mul.rn.{ty_word}"), x, y),
            BinaryOp::Div if real => one(self, format!("div.rn.{ty_word}"), x, y),
            BinaryOp::Add => one(self, format!("add.{ty_word}"), x, y),
            BinaryOp::Sub => one(self, format!("sub.{ty_word}"), x, y),
            BinaryOp::Mul => one(self, format!("mul.lo.{ty_word}"), x, y),
            BinaryOp::FloorDiv if real => {
                let x = self.in_register(x, ty);
                let quotient = self.w.set(class, &format!("div.rn.{ty_word}"), &[&x, y]);
                self.w.set(class, &format!("cvt.rmi.{ty_word}.{ty_word}"), &[&quotient])
            }
            BinaryOp::Rem if real => {
                let x = self.in_register(x, ty);
                let quotient = self.w.set(class, &format!("div.rn.{ty_word}"), &[&x, y]);
                let whole = self.w.set(class, &format!("cvt.rmi.{ty_word}.{ty_word}"), &[&quotient]);
                let product = self.w.set(class, &format!("mul.rn.{ty_word}"), &[&whole, y]);
                self.w.set(class, &format!("sub.rn.{ty_word}"), &[&x, &product])
            }
            BinaryOp::Div | BinaryOp::FloorDiv | BinaryOp::Rem => self.integer_division(op, x, y, ty)?,
            BinaryOp::Max | BinaryOp::Min if real => {
                // The second where it is better or NaN.
                let y = self.in_register(y, ty);
                let x = self.in_register(x, ty);
                let nan = self.w.set(Class::Pred, &format!("setp.nan.{ty_word}"), &[&y, &y]);
                let better = if op == BinaryOp::Max { "gt" } else { "lt" };
                let take = self.w.set(Class::Pred, &format!("setp.{better}.or.{ty_word}"), &[&y, &x, &nan]);
                self.w.set(class, &format!("selp.{ty_word}"), &[&y, &x, &take])
            }
            BinaryOp::Max => one(self, format!("max.{ty_word}"), x, y),
            BinaryOp::Min => one(self, format!("min.{ty_word}"), x, y),
            BinaryOp::And => one(self, format!("and.{}", mov_word(ty)), x, y),
            BinaryOp::Or => one(self, format!("or.{}", mov_word(ty)), x, y),
            BinaryOp::Pow => self.pow(x, y, ty)?,
        })
    }

    /// Rounded down; 0 where the divisor is 0.
    fn integer_division(&mut self, op: BinaryOp, x: &str, y: &str, ty: ValueType) -> Emit<String> {
        let (x, y) = (self.in_register(x, ty), self.in_register(y, ty));
        let widen = |e: &mut Self, v: &str| match ty {
            ValueType::I32 => e.w.set(Class::B64, "cvt.s64.s32", &[v]),
            ValueType::I64 | ValueType::F32 | ValueType::F64 | ValueType::Bool => v.to_string(),
        };
        let (n, d) = (widen(self, &x), widen(self, &y));
        // The most negative number by -1 would leave the range of `div`.
        let minus = self.w.set(Class::Pred, "setp.eq.s64", &[&d, "-1"]);
        let divisor = self.w.set(Class::B64, "selp.b64", &["1", &d, &minus]);
        let floored = floor_division(&mut |class, op, operands| self.w.set(class, op, operands), &n, &divisor);
        let negated = self.w.set(Class::B64, "neg.s64", &[&n]);
        let quotient = self.w.set(Class::B64, "selp.b64", &[&negated, &floored, &minus]);
        let result = if op == BinaryOp::Rem {
            let product = self.w.set(Class::B64, "mul.lo.s64", &[&quotient, &d]);
            self.w.set(Class::B64, "sub.s64", &[&n, &product])
        } else {
            quotient
        };
        match ty {
            ValueType::I32 => Ok(self.w.set(Class::B32, "cvt.u32.u64", &[&result])),
            ValueType::I64 => Ok(result),
            ValueType::F32 | ValueType::F64 | ValueType::Bool => Err(format!("{op:?} of {ty:?}")),
        }
    }

    pub fn compare(&mut self, op: CompareOp, x: &str, y: &str, ty: ValueType) -> String {
        let name = match op {
            CompareOp::Eq => "eq",
            // True for NaN.
            CompareOp::Ne if is_real(ty) => "neu",
            CompareOp::Ne => "ne",
            CompareOp::Lt => "lt",
            CompareOp::Le => "le",
            CompareOp::Gt => "gt",
            CompareOp::Ge => "ge",
        };
        if ty == ValueType::Bool {
            let x = self.w.set(Class::B32, "selp.u32", &["1", "0", x]);
            let y = self.w.set(Class::B32, "selp.u32", &["1", "0", y]);
            return self.w.set(Class::Pred, &format!("setp.{name}.s32"), &[&x, &y]);
        }
        self.w.set(Class::Pred, &format!("setp.{name}.{}", word(ty)), &[x, y])
    }

    fn convert(&mut self, x: &str, from: ValueType, to: ValueType) -> String {
        use ValueType::{Bool, F32, F64, I32, I64};
        let class = class_of(to);
        let one_instruction = match (from, to) {
            (F32, F64) => "cvt.f64.f32",
            (F64, F32) => "cvt.rn.f32.f64",
            // Down, and to the nearest number of the type where it is out of range; NaN becomes 0.
            (F32, I32) => "cvt.rmi.s32.f32",
            (F32, I64) => "cvt.rmi.s64.f32",
            (F64, I32) => "cvt.rmi.s32.f64",
            (F64, I64) => "cvt.rmi.s64.f64",
            (I32, F32) => "cvt.rn.f32.s32",
            (I32, F64) => "cvt.rn.f64.s32",
            (I64, F32) => "cvt.rn.f32.s64",
            (I64, F64) => "cvt.rn.f64.s64",
            (I32, I64) => "cvt.s64.s32",
            (I64, I32) => "cvt.u32.u64",
            (Bool, F32 | F64 | I32 | I64) => {
                let (one, zero) = (self.constant_text(1.0, to), self.constant_text(0.0, to));
                return self.w.set(class, &format!("selp.{}", mov_word(to)), &[&one, &zero, x]);
            }
            (F32 | F64 | I32 | I64, Bool) => {
                let zero = self.constant_text(0.0, from);
                return self.compare(CompareOp::Ne, x, &zero, from);
            }
            (F32, F32) | (F64, F64) | (I32, I32) | (I64, I64) | (Bool, Bool) => return x.to_string(),
        };
        self.w.set(class, one_instruction, &[x])
    }

    /// The factors of a product of reals that a `Combine` with `Sum` fuses into one rounding.
    pub fn fused_factors(&self, monoid: Monoid, value: ValueId) -> Option<(ValueId, ValueId)> {
        match (monoid, self.defs[value.0 as usize]) {
            (Monoid::Sum, Some(ValueOp::Binary(BinaryOp::Mul, x, y))) if is_real(self.type_of(value)) => Some((*x, *y)),
            (_, _) => None,
        }
    }

    /// `monoid(accumulator, value)`.
    pub fn monoid(&mut self, monoid: Monoid, ty: ValueType, x: &str, y: &str) -> Emit<String> {
        let op = match monoid {
            Monoid::Sum => BinaryOp::Add,
            Monoid::Prod => BinaryOp::Mul,
            Monoid::Max => BinaryOp::Max,
            Monoid::Min => BinaryOp::Min,
            Monoid::Any => BinaryOp::Or,
            Monoid::All => BinaryOp::And,
        };
        self.binary(None, op, x, y, ty)
    }
}
