//! Arithmetic, the same operations in scalar and vector code so that a remainder has the bits of a block.
//!
//! - `a * b + c` is two roundings. The one exception: a `Combine` with `Sum` whose value is a product of reals is one fused
//!   multiply-add (see [`Emitter::fused_factors`]); the rule looks at the kernel's text alone.
//! - `Max(a, b)` is `b` where `b > a` or `b` is NaN, else `a`: NaN is passed on, a tie goes to the first. `Min` likewise.
//! - Integers wrap. Integer division rounds down; by 0 it gives 0 (and `Rem` gives the dividend).
//! - Reals to integers: floor, saturated at the ends of the type, NaN to 0.

use super::rep::{Rep, is_float, lanes_of, reinterpret, scalar_type, vector_type};
use super::{Emit, Emitter};
use crate::calls;
use bdl_plan::{BinaryOp, CompareOp, Monoid, UnaryOp, ValueId, ValueOp, ValueType};
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::types::{F32, F32X4, F64, I8, I32, I32X4, I64, I64X2};
use cranelift_codegen::ir::{InstBuilder, Value};

impl Emitter<'_> {
    /// Computes `op` of type `ty`; operands that all lanes share give a result that all lanes share.
    pub fn op(&mut self, op: &ValueOp, ty: ValueType) -> Emit<Rep> {
        match op {
            ValueOp::Const(value) => Ok(Rep::Uniform(self.constant(*value, ty))),
            ValueOp::Size(dim) => Ok(Rep::Uniform(self.dim(dim).value(self))),
            ValueOp::Index(index) => self.index(*index),
            ValueOp::Variable(variable) => self.read_variable(*variable),
            ValueOp::Load { buffer, at, guards, otherwise } => self.load(*buffer, at, guards, *otherwise, ty),
            ValueOp::Unary(unary, a) => {
                let from = self.type_of(*a);
                if let Some(name) = calls::unary_name(*unary) {
                    return self.call(name, &[*a], ty);
                }
                self.map1(*a, ty, |e, v| e.unary(*unary, v, from))
            }
            ValueOp::Binary(BinaryOp::Pow, a, b) => self.call("pow", &[*a, *b], ty),
            ValueOp::Binary(binary, a, b) => {
                if let Some(ramp) = self.ramp_arithmetic(*binary, *a, *b)? {
                    return Ok(ramp);
                }
                let by_lane = !is_float(ty) && matches!(binary, BinaryOp::Div | BinaryOp::FloorDiv | BinaryOp::Rem);
                if by_lane {
                    return self.by_lane(&[*a, *b], ty, |e, v| e.integer_division(*binary, v[0], v[1]));
                }
                self.map2(*a, *b, ty, |e, x, y| e.binary(*binary, x, y, ty))
            }
            ValueOp::Compare(compare, a, b) => {
                let from = self.type_of(*a);
                self.map2(*a, *b, ValueType::Bool, |e, x, y| e.compare(*compare, x, y, from))
            }
            ValueOp::Select(c, a, b) => self.select(*c, *a, *b, ty),
            ValueOp::Convert(a) => self.convert(*a, ty),
        }
    }

    pub fn constant(&mut self, value: f64, ty: ValueType) -> Value {
        match ty {
            ValueType::F32 => self.b.ins().f32const(value as f32),
            ValueType::F64 => self.b.ins().f64const(value),
            ValueType::I32 => self.b.ins().iconst(I32, i64::from(value as i32)),
            ValueType::I64 => self.b.ins().iconst(I64, value as i64),
            ValueType::Bool => self.b.ins().iconst(I8, i64::from(value != 0.0)),
        }
    }

    fn map1(&mut self, a: ValueId, _ty: ValueType, f: impl Fn(&mut Self, Value) -> Emit<Value>) -> Emit<Rep> {
        if let Rep::Uniform(v) = self.rep(a)? {
            return Ok(Rep::Uniform(f(self, v)?));
        }
        let parts = self.parts(a)?;
        Ok(Rep::Lanes(parts.into_iter().map(|p| f(self, p)).collect::<Emit<_>>()?))
    }

    fn map2(
        &mut self,
        a: ValueId,
        b: ValueId,
        _ty: ValueType,
        f: impl Fn(&mut Self, Value, Value) -> Emit<Value>,
    ) -> Emit<Rep> {
        if let (Rep::Uniform(x), Rep::Uniform(y)) = (self.rep(a)?, self.rep(b)?) {
            return Ok(Rep::Uniform(f(self, x, y)?));
        }
        let (mut x, mut y) = (self.parts(a)?, self.parts(b)?);
        if x.len() != y.len() {
            // Truth values of different widths.
            (x, y) = (self.mask_32(&x), self.mask_32(&y));
        }
        Ok(Rep::Lanes(x.into_iter().zip(y).map(|(x, y)| f(self, x, y)).collect::<Emit<_>>()?))
    }

    /// A scalar computation for each lane.
    fn by_lane(
        &mut self,
        operands: &[ValueId],
        ty: ValueType,
        f: impl Fn(&mut Self, &[Value]) -> Emit<Value>,
    ) -> Emit<Rep> {
        let reps: Vec<Rep> = operands.iter().map(|v| self.rep(*v)).collect::<Emit<_>>()?;
        let scalars: Option<Vec<Value>> = reps
            .iter()
            .map(|r| match r {
                Rep::Uniform(v) => Some(*v),
                Rep::Ramp { .. } | Rep::Lanes(_) => None,
            })
            .collect();
        if let Some(scalars) = scalars {
            return Ok(Rep::Uniform(f(self, &scalars)?));
        }
        let lanes = self.lanes.ok_or("vectors in scalar code")?;
        let parts: Vec<Vec<Value>> = operands.iter().map(|v| self.parts(*v)).collect::<Emit<_>>()?;
        let mut results = Vec::new();
        for lane in 0..lanes {
            let scalars: Vec<Value> =
                parts.iter().zip(operands).map(|(p, v)| self.lane(p, self.type_of(*v), lane)).collect();
            results.push(f(self, &scalars)?);
        }
        Ok(Rep::Lanes(self.collect_lanes(&results, ty)))
    }

    /// Index arithmetic keeps its step, so that addresses stay contiguous.
    fn ramp_arithmetic(&mut self, op: BinaryOp, a: ValueId, b: ValueId) -> Emit<Option<Rep>> {
        let literal = |v: ValueId| match self.facts.defs[v.0 as usize] {
            Some(ValueOp::Const(c)) => Some(*c as i64),
            Some(ValueOp::Size(d)) => d.as_const(),
            Some(_) | None => None,
        };
        let (la, lb) = (literal(a), literal(b));
        let (ra, rb) = (self.rep(a)?, self.rep(b)?);
        Ok(match (op, ra, rb) {
            (BinaryOp::Add, Rep::Ramp { base, step }, Rep::Uniform(u))
            | (BinaryOp::Add, Rep::Uniform(u), Rep::Ramp { base, step }) => {
                Some(Rep::Ramp { base: self.b.ins().iadd(base, u), step })
            }
            (BinaryOp::Sub, Rep::Ramp { base, step }, Rep::Uniform(u)) => {
                Some(Rep::Ramp { base: self.b.ins().isub(base, u), step })
            }
            (BinaryOp::Mul, Rep::Ramp { base, step }, Rep::Uniform(u)) => {
                lb.map(|factor| Rep::Ramp { base: self.b.ins().imul(base, u), step: step * factor })
            }
            (BinaryOp::Mul, Rep::Uniform(u), Rep::Ramp { base, step }) => {
                la.map(|factor| Rep::Ramp { base: self.b.ins().imul(base, u), step: step * factor })
            }
            (_, _, _) => None,
        })
    }

    /// One scalar or vector: the register decides.
    fn unary(&mut self, op: UnaryOp, v: Value, ty: ValueType) -> Emit<Value> {
        let float = is_float(ty);
        Ok(match op {
            UnaryOp::Neg if float => self.b.ins().fneg(v),
            UnaryOp::Neg => self.b.ins().ineg(v),
            UnaryOp::Not => self.not(v),
            UnaryOp::Abs if float => self.b.ins().fabs(v),
            UnaryOp::Abs => self.b.ins().iabs(v),
            UnaryOp::Floor if float => self.b.ins().floor(v),
            UnaryOp::Round if float => self.b.ins().nearest(v),
            UnaryOp::Floor | UnaryOp::Round => v,
            UnaryOp::Sqrt if float => self.b.ins().sqrt(v),
            UnaryOp::Bf16 if ty == ValueType::F32 => self.rounded_to_bf16(v),
            UnaryOp::Sign => {
                let (zero, one, minus) = (self.same(v, 0.0, ty), self.same(v, 1.0, ty), self.same(v, -1.0, ty));
                let below = self.compare(CompareOp::Lt, v, zero, ty)?;
                let above = self.compare(CompareOp::Gt, v, zero, ty)?;
                let negative = self.choose(below, minus, zero, ty);
                let sign = self.choose(above, one, negative, ty);
                if float {
                    let nan = self.b.ins().fcmp(FloatCC::Unordered, v, v);
                    self.choose(nan, v, sign, ty)
                } else {
                    sign
                }
            }
            UnaryOp::Bf16
            | UnaryOp::Sqrt
            | UnaryOp::Exp
            | UnaryOp::Expm1
            | UnaryOp::Log
            | UnaryOp::Log1p
            | UnaryOp::Tanh
            | UnaryOp::Sigmoid
            | UnaryOp::Softplus
            | UnaryOp::Erf
            | UnaryOp::Sin
            | UnaryOp::Cos
            | UnaryOp::Lgamma
            | UnaryOp::Digamma
            | UnaryOp::Trigamma => return Err(format!("{op:?} of {ty:?}")),
        })
    }

    fn not(&mut self, v: Value) -> Value {
        if self.b.func.dfg.value_type(v).is_vector() { self.b.ins().bnot(v) } else { self.b.ins().bxor_imm_u(v, 1) }
    }

    /// A constant of the form (scalar or vector) of `like`.
    fn same(&mut self, like: Value, value: f64, ty: ValueType) -> Value {
        let scalar = self.constant(value, ty);
        if self.b.func.dfg.value_type(like).is_vector() { self.splat(scalar, ty) } else { scalar }
    }

    fn binary(&mut self, op: BinaryOp, x: Value, y: Value, ty: ValueType) -> Emit<Value> {
        let float = is_float(ty);
        Ok(match op {
            BinaryOp::Add if float => self.b.ins().fadd(x, y),
            BinaryOp::Sub if float => self.b.ins().fsub(x, y),
            BinaryOp::Mul if float => self.b.ins().fmul(x, y),
            BinaryOp::Add => self.b.ins().iadd(x, y),
            BinaryOp::Sub => self.b.ins().isub(x, y),
            BinaryOp::Mul => self.b.ins().imul(x, y),
            BinaryOp::Div if float => self.b.ins().fdiv(x, y),
            BinaryOp::FloorDiv if float => {
                let quotient = self.b.ins().fdiv(x, y);
                self.b.ins().floor(quotient)
            }
            BinaryOp::Rem if float => {
                let quotient = self.b.ins().fdiv(x, y);
                let whole = self.b.ins().floor(quotient);
                let product = self.b.ins().fmul(y, whole);
                self.b.ins().fsub(x, product)
            }
            BinaryOp::Max | BinaryOp::Min => {
                // In this form, a comparison and a choice become one `maxps` or `minps`.
                let (low, high) = if op == BinaryOp::Max { (x, y) } else { (y, x) };
                let take = self.compare(CompareOp::Lt, low, high, ty)?;
                let best = self.choose(take, y, x, ty);
                if float {
                    let nan = self.b.ins().fcmp(FloatCC::Unordered, y, y);
                    self.choose(nan, y, best, ty)
                } else {
                    best
                }
            }
            BinaryOp::And => self.b.ins().band(x, y),
            BinaryOp::Or => self.b.ins().bor(x, y),
            BinaryOp::Div | BinaryOp::FloorDiv | BinaryOp::Rem | BinaryOp::Pow => {
                return Err(format!("{op:?} of {ty:?} in vector form"));
            }
        })
    }

    /// `if c then x else y` with c as [`compare`](Self::compare) made it of the same form.
    fn choose(&mut self, c: Value, x: Value, y: Value, ty: ValueType) -> Value {
        if self.b.func.dfg.value_type(x).is_vector() {
            let c = self.b.ins().bitcast(vector_type(ty), reinterpret(), c);
            self.b.ins().bitselect(c, x, y)
        } else {
            self.b.ins().select(c, x, y)
        }
    }

    pub fn compare(&mut self, op: CompareOp, x: Value, y: Value, ty: ValueType) -> Emit<Value> {
        if is_float(ty) {
            let cc = match op {
                CompareOp::Eq => FloatCC::Equal,
                CompareOp::Ne => FloatCC::NotEqual,
                CompareOp::Lt => FloatCC::LessThan,
                CompareOp::Le => FloatCC::LessThanOrEqual,
                CompareOp::Gt => FloatCC::GreaterThan,
                CompareOp::Ge => FloatCC::GreaterThanOrEqual,
            };
            return Ok(self.b.ins().fcmp(cc, x, y));
        }
        // Masks are 0 and -1, scalars 0 and 1: orders of truth values are the scalar ones.
        let (x, y) = if ty == ValueType::Bool && self.b.func.dfg.value_type(x).is_vector() { (y, x) } else { (x, y) };
        let cc = match op {
            CompareOp::Eq => IntCC::Equal,
            CompareOp::Ne => IntCC::NotEqual,
            CompareOp::Lt => IntCC::SignedLessThan,
            CompareOp::Le => IntCC::SignedLessThanOrEqual,
            CompareOp::Gt => IntCC::SignedGreaterThan,
            CompareOp::Ge => IntCC::SignedGreaterThanOrEqual,
        };
        Ok(self.b.ins().icmp(cc, x, y))
    }

    fn select(&mut self, c: ValueId, a: ValueId, b: ValueId, ty: ValueType) -> Emit<Rep> {
        let (rc, ra, rb) = (self.rep(c)?, self.rep(a)?, self.rep(b)?);
        if let (Rep::Uniform(c), Rep::Uniform(x), Rep::Uniform(y)) = (&rc, &ra, &rb) {
            return Ok(Rep::Uniform(self.b.ins().select(*c, *x, *y)));
        }
        let mut mask = self.parts_of(rc, ValueType::Bool)?;
        let (mut x, mut y) = (self.parts_of(ra, ty)?, self.parts_of(rb, ty)?);
        if ty == ValueType::Bool {
            (mask, x, y) = (self.mask_32(&mask), self.mask_32(&x), self.mask_32(&y));
        } else {
            mask = self.mask_for(&mask, ty);
        }
        let parts = mask.into_iter().zip(x).zip(y).map(|((c, x), y)| self.choose(c, x, y, ty)).collect();
        Ok(Rep::Lanes(parts))
    }

    /// Floor division and remainder of scalars.
    fn integer_division(&mut self, op: BinaryOp, x: Value, y: Value) -> Emit<Value> {
        let quotient = self.floor_division(x, y);
        if op != BinaryOp::Rem {
            return Ok(quotient);
        }
        let product = self.b.ins().imul(quotient, y);
        Ok(self.b.ins().isub(x, product))
    }

    /// `x / y` rounded down; 0 where y is 0. Traps are impossible: a divisor of 0 or -1 never reaches the instruction.
    pub fn floor_division(&mut self, x: Value, y: Value) -> Value {
        let ty = self.b.func.dfg.value_type(x);
        let zero_divisor = self.b.ins().icmp_imm_s(IntCC::Equal, y, 0);
        let minus_divisor = self.b.ins().icmp_imm_s(IntCC::Equal, y, -1);
        let special = self.b.ins().bor(zero_divisor, minus_divisor);
        let one = self.b.ins().iconst(ty, 1);
        let divisor = self.b.ins().select(special, one, y);
        let quotient = self.b.ins().sdiv(x, divisor);
        let product = self.b.ins().imul(quotient, divisor);
        let rest = self.b.ins().isub(x, product);
        let signs = self.b.ins().bxor(rest, divisor);
        let differ = self.b.ins().icmp_imm_s(IntCC::SignedLessThan, signs, 0);
        let inexact = self.b.ins().icmp_imm_s(IntCC::NotEqual, rest, 0);
        let down = self.b.ins().band(differ, inexact);
        let below = self.b.ins().isub(quotient, one);
        let floored = self.b.ins().select(down, below, quotient);
        let negated = self.b.ins().ineg(x);
        let zero = self.b.ins().iconst(ty, 0);
        let floored = self.b.ins().select(minus_divisor, negated, floored);
        self.b.ins().select(zero_divisor, zero, floored)
    }

    fn convert(&mut self, a: ValueId, to: ValueType) -> Emit<Rep> {
        let from = self.type_of(a);
        let rep = self.rep(a)?;
        if from == to {
            return Ok(rep);
        }
        let parts = match rep {
            Rep::Uniform(v) => return Ok(Rep::Uniform(self.convert_scalar(v, from, to))),
            Rep::Ramp { base, step } if to == ValueType::I32 => {
                let base = self.b.ins().ireduce(I32, base);
                let base = self.b.ins().splat(I32X4, base);
                let lanes = self.lanes.ok_or("vectors in scalar code")?;
                let parts = (0..lanes / 4).map(|p| {
                    let steps = self.i32x4(std::array::from_fn(|l| ((4 * p + l) as i64 * step) as i32));
                    self.b.ins().iadd(base, steps)
                });
                return Ok(Rep::Lanes(parts.collect()));
            }
            Rep::Ramp { .. } | Rep::Lanes(_) => self.parts(a)?,
        };
        use ValueType::{Bool, F32 as R32, F64 as R64, I32 as N32, I64 as N64};
        let parts = match (from, to) {
            (N32, R32) => parts.iter().map(|&p| self.b.ins().fcvt_from_sint(F32X4, p)).collect(),
            (R32, N32) => parts
                .iter()
                .map(|&p| {
                    let floor = self.b.ins().floor(p);
                    self.b.ins().fcvt_to_sint_sat(I32X4, floor)
                })
                .collect(),
            (N32, N64) => self.mask_64(&parts),
            (N64, N32) => parts.chunks(2).map(|p| self.narrow_64(p[0], p[1])).collect(),
            (R64, R32) => parts
                .chunks(2)
                .map(|pair| {
                    let (low, high) = (self.b.ins().fvdemote(pair[0]), self.b.ins().fvdemote(pair[1]));
                    let mut joined = low;
                    for lane in 0..2u8 {
                        let element = self.b.ins().extractlane(high, lane);
                        joined = self.b.ins().insertlane(joined, element, lane + 2);
                    }
                    joined
                })
                .collect(),
            (R32, R64) => parts
                .iter()
                .flat_map(|&p| {
                    let low = self.b.ins().fvpromote_low(p);
                    let high: Vec<Value> = (2..4u8).map(|l| self.b.ins().extractlane(p, l)).collect();
                    let mut upper = self.b.ins().scalar_to_vector(F32X4, high[0]);
                    upper = self.b.ins().insertlane(upper, high[1], 1);
                    [low, self.b.ins().fvpromote_low(upper)]
                })
                .collect(),
            (Bool, _) => {
                let mask = self.mask_for(&parts, to);
                let one = self.constant(1.0, to);
                let one = self.splat(one, to);
                let int = if lanes_of(to) == 4 { I32X4 } else { I64X2 };
                let one = self.b.ins().bitcast(int, reinterpret(), one);
                mask.into_iter()
                    .map(|m| {
                        let bits = self.b.ins().band(m, one);
                        self.b.ins().bitcast(vector_type(to), reinterpret(), bits)
                    })
                    .collect()
            }
            (_, Bool) => {
                let zero = self.constant(0.0, from);
                let zero = self.splat(zero, from);
                parts.into_iter().map(|p| self.compare(CompareOp::Ne, p, zero, from)).collect::<Emit<_>>()?
            }
            (N32 | N64 | R64 | R32, N32 | N64 | R64 | R32) => {
                return self.by_lane(&[a], to, |e, v| Ok(e.convert_scalar(v[0], from, to)));
            }
        };
        Ok(Rep::Lanes(parts))
    }

    fn convert_scalar(&mut self, v: Value, from: ValueType, to: ValueType) -> Value {
        use ValueType::{Bool, F32 as R32, F64 as R64, I32 as N32, I64 as N64};
        match (from, to) {
            (R32, R64) => self.b.ins().fpromote(F64, v),
            (R64, R32) => self.b.ins().fdemote(F32, v),
            (N32, N64) => self.b.ins().sextend(I64, v),
            (N64, N32) => self.b.ins().ireduce(I32, v),
            (N32 | N64, R32 | R64) => self.b.ins().fcvt_from_sint(scalar_type(to), v),
            (R32 | R64, N32 | N64) => {
                let floor = self.b.ins().floor(v);
                self.b.ins().fcvt_to_sint_sat(scalar_type(to), floor)
            }
            (Bool, N32 | N64) => self.b.ins().uextend(scalar_type(to), v),
            (Bool, R32 | R64) => {
                let (one, zero) = (self.constant(1.0, to), self.constant(0.0, to));
                self.b.ins().select(v, one, zero)
            }
            (R32 | R64, Bool) => {
                let zero = self.constant(0.0, from);
                self.b.ins().fcmp(FloatCC::NotEqual, v, zero)
            }
            (N32 | N64, Bool) => self.b.ins().icmp_imm_s(IntCC::NotEqual, v, 0),
            (R32, R32) | (R64, R64) | (N32, N32) | (N64, N64) | (Bool, Bool) => v,
        }
    }

    /// The factors of a product of reals that a `Combine` with `Sum` fuses into one rounding.
    pub fn fused_factors(&self, monoid: Monoid, value: ValueId) -> Option<(ValueId, ValueId)> {
        fused_factors(self.facts.defs[value.0 as usize], self.type_of(value), monoid)
    }

    /// `monoid(accumulator, value)` of scalars or vectors.
    pub fn monoid(&mut self, monoid: Monoid, x: Value, y: Value, ty: ValueType) -> Emit<Value> {
        let op = match monoid {
            Monoid::Sum => BinaryOp::Add,
            Monoid::Prod => BinaryOp::Mul,
            Monoid::Max => BinaryOp::Max,
            Monoid::Min => BinaryOp::Min,
            Monoid::Any => BinaryOp::Or,
            Monoid::All => BinaryOp::And,
        };
        self.binary(op, x, y, ty)
    }

    /// The neutral element, as a scalar.
    pub fn identity(&mut self, monoid: Monoid, ty: ValueType) -> Value {
        let extreme = |float: f64, int32: i32, int64: i64, e: &mut Self| match ty {
            ValueType::F32 | ValueType::F64 => e.constant(float, ty),
            ValueType::I32 => e.b.ins().iconst(I32, i64::from(int32)),
            ValueType::I64 => e.b.ins().iconst(I64, int64),
            ValueType::Bool => e.constant(float, ty),
        };
        match monoid {
            Monoid::Sum | Monoid::Any => self.constant(0.0, ty),
            Monoid::Prod | Monoid::All => self.constant(1.0, ty),
            Monoid::Max => extreme(f64::NEG_INFINITY, i32::MIN, i64::MIN, self),
            Monoid::Min => extreme(f64::INFINITY, i32::MAX, i64::MAX, self),
        }
    }
}

/// See [`Emitter::fused_factors`].
pub fn fused_factors(def: Option<&ValueOp>, ty: ValueType, monoid: Monoid) -> Option<(ValueId, ValueId)> {
    match (monoid, def) {
        (Monoid::Sum, Some(ValueOp::Binary(BinaryOp::Mul, x, y))) if is_float(ty) => Some((*x, *y)),
        (_, _) => None,
    }
}
