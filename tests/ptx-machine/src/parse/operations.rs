//! The forms of instructions.

use super::{Parsed, Parser, list};
use crate::instruction::{
    Binary, Class, Collective, Compare, Compute, Constant, Exchange, Factor, Join, OfWarpgroup, Op, Register, Rounding,
    Space, Transfer, Type, Unary,
};

/// Where shared memory lies among generic addresses: where no allocation is.
const SHARED_WINDOW: u64 = 0x7e00_0000_0000;

impl Parser {
    pub(super) fn op(&self, name: &str, words: &[&str], operands: &[&str]) -> Parsed<Op> {
        let unknown = || self.fault(format!("`{name}` with {} operands is not known", operands.len()));
        let binary = |op: Binary, ty: &str, operands: &[&str]| -> Parsed<Op> {
            let &[to, a, b] = operands else { return Err(unknown()) };
            let ty = self.type_of(ty)?;
            // A shift is by 32 bits whatever is shifted.
            let by = if matches!(op, Binary::ShiftLeft | Binary::ShiftRight) { Type::U32 } else { ty };
            let result = match op {
                Binary::MulWide if ty == Type::S32 => Type::S64,
                Binary::MulWide => Type::U64,
                _ => ty,
            };
            let b = self.operand(b, by)?;
            Ok(Op::Compute(Compute::Binary { op, ty, to: self.register(to, result)?, a: self.operand(a, ty)?, b }))
        };
        let is_real = |ty: &str| matches!(ty, "f32" | "f64");
        match (words, operands) {
            (["ret"], []) => Ok(Op::Return),
            (["bra"], &[label]) => {
                let to = self.labels.get(label).ok_or(self.fault(format!("no label `{label}`")))?;
                Ok(Op::Branch { to: *to })
            }
            (["bar", "sync"], &["0"]) => Ok(Op::Barrier),
            (["membar", "gl"], []) => Ok(Op::Transfer(Transfer::Fence)),
            (["fence", "proxy", "async", "shared::cta"], []) => Ok(Op::Transfer(Transfer::ProxyFence)),
            (["wgmma", "fence", "sync", "aligned"], []) => Ok(Op::OfWarpgroup(OfWarpgroup::Fence)),
            (["wgmma", "commit_group", "sync", "aligned"], []) => Ok(Op::OfWarpgroup(OfWarpgroup::Commit)),
            (["wgmma", "wait_group", "sync", "aligned"], &[left]) => {
                let left = self.immediate(left, Type::U32)? as usize;
                Ok(Op::OfWarpgroup(OfWarpgroup::Await { left }))
            }
            (
                ["wgmma", "mma_async", "sync", "aligned", shape, "f32", element, other],
                &[sums, a, b, adds, "1", "1", ref rest @ ..],
            ) => {
                let shape = shape.strip_prefix("m64n").and_then(|shape| shape.split_once('k')).ok_or_else(unknown)?;
                let columns = self.number(shape.0)? as usize;
                let factor = match (shape.1, *element, *other, rest) {
                    ("8", "tf32", "tf32", []) => Factor::Tf32,
                    ("16", "bf16", "bf16", ["0", "0"]) => Factor::Bf16,
                    _ => return Err(unknown()),
                };
                let found = list(sums).iter().map(|name| self.bits(name, 4)).collect::<Parsed<Vec<Register>>>()?;
                if found.len() != columns / 2 || !columns.is_multiple_of(8) || !(8..=256).contains(&columns) {
                    return Err(unknown());
                }
                let [a, b] = [a, b].map(|name| self.operand(name, Type::U64));
                let (a, b, adds) = (a?, b?, self.operand(adds, Type::Pred)?);
                Ok(Op::OfWarpgroup(OfWarpgroup::Multiply { factor, sums: found, a, b, adds }))
            }
            (["atom", "global", "inc", "u32"], &[to, at, most]) => {
                let (base, offset) = self.address(at, Space::Global)?;
                let (to, most) = (self.register(to, Type::U32)?, self.operand(most, Type::U32)?);
                Ok(Op::Transfer(Transfer::AtomicIncrement { to, base, offset, most }))
            }
            (["bar", "warp", "sync"], &["0xffffffff"]) => Ok(Op::Collective(Collective::Barrier)),
            (["shfl", "sync", mode, "b32"], &[to, a, which, bound, "0xffffffff"]) => {
                let exchange = match (*mode, bound) {
                    ("bfly", "31") => Exchange::Butterfly,
                    ("down", "31") => Exchange::Down,
                    ("up", "0") => Exchange::Up,
                    ("idx", "31") => Exchange::Index,
                    _ => return Err(unknown()),
                };
                let (a, which) = (self.bits(a, 4)?, self.operand(which, Type::U32)?);
                Ok(Op::Collective(Collective::Shuffle { exchange, to: self.bits(to, 4)?, a, which }))
            }
            (["redux", "sync", op, ty], &[to, a, "0xffffffff"]) => {
                let op = match (*op, *ty) {
                    ("add", "u32" | "s32") => Binary::Add,
                    ("min", "u32" | "s32") => Binary::Min,
                    ("max", "u32" | "s32") => Binary::Max,
                    ("and", "b32") => Binary::And,
                    ("or", "b32") => Binary::Or,
                    ("xor", "b32") => Binary::Xor,
                    _ => return Err(unknown()),
                };
                let ty = self.type_of(ty)?;
                let (to, a) = (self.register(to, ty)?, self.register(a, ty)?);
                Ok(Op::Collective(Collective::Reduce { op, ty, to, a }))
            }
            (["mma", "sync", "aligned", shape, "row", "col", "f32", element, other, "f32"], &[d, a, b, c]) => {
                let factor = match (*shape, *element, *other) {
                    ("m16n8k8", "tf32", "tf32") => Factor::Tf32,
                    ("m16n8k16", "bf16", "bf16") => Factor::Bf16,
                    _ => return Err(unknown()),
                };
                let factors = |name: &str| self.register(name, Type::U32);
                let d = self.several(d, |name| self.bits(name, 4))?;
                let c = self.several(c, |name| self.sum_operand(name))?;
                let (a, b) = (self.several(a, factors)?, self.several(b, factors)?);
                Ok(Op::Collective(Collective::MultiplyMatrices { factor, d, a, b, c }))
            }
            (["ldmatrix", "sync", "aligned", "m8n8", count, rest @ .., "shared", "b16"], &[to, from]) => {
                let transposed = match rest {
                    [] => false,
                    ["trans"] => true,
                    [..] => return Err(unknown()),
                };
                let bits = |name: &str| self.bits(name, 4);
                let to = match *count {
                    "x1" if to.starts_with('{') => self.several::<Register, 1>(to, bits)?.to_vec(),
                    "x2" => self.several::<Register, 2>(to, bits)?.to_vec(),
                    "x4" => self.several::<Register, 4>(to, bits)?.to_vec(),
                    _ => return Err(unknown()),
                };
                let (base, offset) = self.address(from, Space::Shared)?;
                Ok(Op::Collective(Collective::LoadMatrices { transposed, to, base, offset }))
            }
            (["cp", "async", cache, "shared", "global"], &[to, from, bytes, ref filled @ ..]) => {
                let bytes = match (*cache, bytes) {
                    ("ca", "4") => 4,
                    ("ca", "8") => 8,
                    ("ca" | "cg", "16") => 16,
                    _ => return Err(unknown()),
                };
                let filled = match filled {
                    [] => self.constant(Constant::Number(bytes as u64), Type::U32)?,
                    [filled] => self.operand(filled, Type::U32)?,
                    [..] => return Err(unknown()),
                };
                let (to, from) = (self.address(to, Space::Shared)?, self.address(from, Space::Global)?);
                Ok(Op::Transfer(Transfer::Copy { bytes, to, from, filled }))
            }
            (["cp", "async", "commit_group"], []) => Ok(Op::Transfer(Transfer::CommitCopies)),
            (["cp", "async", "wait_group"], &[left]) => {
                Ok(Op::Transfer(Transfer::AwaitCopies { left: Some(self.immediate(left, Type::U32)? as usize) }))
            }
            (["cp", "async", "wait_all"], []) => Ok(Op::Transfer(Transfer::AwaitCopies { left: None })),
            (["mov", ty @ ("b32" | "b64")], &[to, from]) if to.starts_with('{') => {
                let half = self.type_of(ty)?.bytes() / 2;
                let [low, high] = self.several(to, |name| self.bits(name, half))?;
                Ok(Op::Compute(Compute::Split {
                    bits: 8 * half as u32,
                    low,
                    high,
                    from: self.bits_operand(from, 2 * half)?,
                }))
            }
            (["mov", ty @ ("b32" | "b64")], &[to, from]) if from.starts_with('{') => {
                let half = self.type_of(ty)?.bytes() / 2;
                let [low, high] = self.several(from, |name| self.bits_operand(name, half))?;
                Ok(Op::Compute(Compute::Pair { bits: 8 * half as u32, to: self.bits(to, 2 * half)?, low, high }))
            }
            (["mov", ty], &[to, from]) => {
                let ty = self.type_of(ty)?;
                let class = ty.class();
                match ty {
                    Type::Pred | Type::F32 | Type::F64 => Ok(Op::Compute(Compute::Move {
                        class,
                        to: self.register(to, ty)?,
                        from: self.operand(from, ty)?,
                    })),
                    Type::B16 | Type::U32 | Type::S32 | Type::U64 | Type::S64 => {
                        let from = self.bits_operand(from, ty.bytes())?;
                        Ok(Op::Compute(Compute::Move { class, to: self.bits(to, ty.bytes())?, from }))
                    }
                }
            }
            (["cvta", "to", "global", "u64"], &[to, from]) => {
                let (to, from) = (self.register(to, Type::U64)?, self.operand(from, Type::U64)?);
                Ok(Op::Compute(Compute::Move { class: Class::Long, to, from }))
            }
            // Generic addresses of shared memory are good for nothing but the way back.
            (["cvta", way @ .., "shared", "u64"], &[to, from]) => {
                let op = match way {
                    [] => Binary::Add,
                    ["to"] => Binary::Sub,
                    [..] => return Err(unknown()),
                };
                let a = match self.shared.get(from) {
                    Some(address) => self.constant(Constant::Number(*address), Type::U64)?,
                    None => self.register(from, Type::U64)?,
                };
                let to = self.register(to, Type::U64)?;
                Ok(Op::Compute(Compute::Binary {
                    op,
                    ty: Type::U64,
                    to,
                    a,
                    b: self.constant(Constant::Number(SHARED_WINDOW), Type::U64)?,
                }))
            }
            (["ld", "param", "u64" | "b64"], &[to, from]) => {
                Ok(Op::Compute(Compute::Parameter { to: self.register(to, Type::U64)?, number: self.parameter(from)? }))
            }
            (["ld", space, rest @ .., ty], &[to, from]) => {
                let space = self.space(space)?;
                let constant = space == Space::Global && rest.first() == Some(&"nc");
                let rest = &rest[usize::from(constant)..];
                let (base, offset) = self.address(from, space)?;
                let (bytes, to) = self.elements(rest, ty, to)?;
                Ok(Op::Transfer(Transfer::Load { space, constant, bytes, to, base, offset }))
            }
            (["st", space, rest @ .., ty], &[to, from]) => {
                let space = self.space(space)?;
                let (base, offset) = self.address(to, space)?;
                let (bytes, from) = self.elements(rest, ty, from)?;
                Ok(Op::Transfer(Transfer::Store { space, bytes, from, base, offset }))
            }
            (["neg", ty], &[to, a]) if *ty != "pred" => self.unary(Unary::Neg, ty, to, a),
            (["abs", ty], &[to, a]) if *ty != "pred" => self.unary(Unary::Abs, ty, to, a),
            (["sqrt", "rn", ty], &[to, a]) if is_real(ty) => self.unary(Unary::Sqrt, ty, to, a),
            (["not", ty], &[to, a]) if !is_real(ty) => self.unary(Unary::Not, ty, to, a),
            (["add", "rn", ty], _) if is_real(ty) => binary(Binary::Add, ty, operands),
            (["sub", "rn", ty], _) if is_real(ty) => binary(Binary::Sub, ty, operands),
            (["mul", "rn", ty], _) if is_real(ty) => binary(Binary::Mul, ty, operands),
            (["div", "rn", ty], _) if is_real(ty) => binary(Binary::Div, ty, operands),
            (["add", ty], _) if !is_real(ty) => binary(Binary::Add, ty, operands),
            (["sub", ty], _) if !is_real(ty) => binary(Binary::Sub, ty, operands),
            (["mul", "lo", ty], _) if !is_real(ty) => binary(Binary::Mul, ty, operands),
            (["mul", "hi", ty], _) if !is_real(ty) => binary(Binary::MulHigh, ty, operands),
            (["mul", "wide", ty @ ("u32" | "s32")], _) => binary(Binary::MulWide, ty, operands),
            (["div", ty], _) if !is_real(ty) => binary(Binary::Div, ty, operands),
            (["rem", ty], _) if !is_real(ty) => binary(Binary::Rem, ty, operands),
            (["min", ty], _) if !is_real(ty) => binary(Binary::Min, ty, operands),
            (["max", ty], _) if !is_real(ty) => binary(Binary::Max, ty, operands),
            (["and", ty], _) if !is_real(ty) => binary(Binary::And, ty, operands),
            (["or", ty], _) if !is_real(ty) => binary(Binary::Or, ty, operands),
            (["xor", ty], _) if !is_real(ty) => binary(Binary::Xor, ty, operands),
            (["shl", ty], _) if !is_real(ty) => binary(Binary::ShiftLeft, ty, operands),
            (["shr", ty], _) if !is_real(ty) => binary(Binary::ShiftRight, ty, operands),
            (["fma", "rn", ty], &[to, a, b, c]) if is_real(ty) => self.multiply_add(ty, false, [to, a, b, c]),
            (["mad", "lo", ty], &[to, a, b, c]) if !is_real(ty) => self.multiply_add(ty, false, [to, a, b, c]),
            (["mad", "wide", ty @ ("u32" | "s32")], &[to, a, b, c]) => self.multiply_add(ty, true, [to, a, b, c]),
            (["setp", compare, ty], &[to, a, b]) => self.set_predicate(compare, ty, to, a, b, None),
            (["setp", compare, join, ty], &[to, a, b, c]) => {
                let join = match *join {
                    "and" => Join::And,
                    "or" => Join::Or,
                    "xor" => Join::Xor,
                    _ => return Err(unknown()),
                };
                let (holds, name) = match c.strip_prefix('!') {
                    Some(name) => (false, name),
                    None => (true, c),
                };
                self.set_predicate(compare, ty, to, a, b, Some((join, self.operand(name, Type::Pred)?, holds)))
            }
            (["selp", ty], &[to, a, b, condition]) => {
                let ty = self.type_of(ty)?;
                let (a, b, condition) =
                    (self.operand(a, ty)?, self.operand(b, ty)?, self.operand(condition, Type::Pred)?);
                Ok(Op::Compute(Compute::Select { class: ty.class(), to: self.register(to, ty)?, a, b, condition }))
            }
            (["prmt", "b32"], &[to, a, b, choice]) => {
                let [a, b, choice] = [a, b, choice].map(|name| self.operand(name, Type::U32));
                Ok(Op::Compute(Compute::Permute { to: self.register(to, Type::U32)?, a: a?, b: b?, choice: choice? }))
            }
            (["lop3", "b32"], &[to, a, b, c, table]) => {
                let [a, b, c] = [a, b, c].map(|name| self.operand(name, Type::U32));
                let table = u8::try_from(self.immediate(table, Type::U32)?).map_err(|_| unknown())?;
                Ok(Op::Compute(Compute::Logic { to: self.register(to, Type::U32)?, a: a?, b: b?, c: c?, table }))
            }
            (["cvt", "rna", "tf32", "f32"], &[to, a]) => {
                Ok(Op::Compute(Compute::ToTf32 { to: self.register(to, Type::U32)?, a: self.operand(a, Type::F32)? }))
            }
            (["cvt", "rn", "bf16", "f32"], &[to, a]) => Ok(Op::Compute(Compute::ToBf16 {
                to: self.register(to, Type::B16)?,
                high: None,
                low: self.operand(a, Type::F32)?,
            })),
            (["cvt", "rn", "bf16x2", "f32"], &[to, high, low]) => {
                let (high, low) = (self.operand(high, Type::F32)?, self.operand(low, Type::F32)?);
                Ok(Op::Compute(Compute::ToBf16 { to: self.register(to, Type::U32)?, high: Some(high), low }))
            }
            (["cvt", rest @ .., to_type, from_type], &[to, a]) => {
                let (to_type, from_type) = (self.type_of(to_type)?, self.type_of(from_type)?);
                let rounding = match rest {
                    [] => Rounding::None,
                    ["rn"] => Rounding::Nearest,
                    ["rni"] => Rounding::ToNearest,
                    ["rmi"] => Rounding::Down,
                    ["rzi"] => Rounding::ToZero,
                    [..] => return Err(unknown()),
                };
                let (to, a) = (self.register(to, to_type)?, self.operand(a, from_type)?);
                Ok(Op::Compute(Compute::Convert { rounding, to_type, from_type, to, a }))
            }
            (_, _) => Err(unknown()),
        }
    }

    /// An addend of a product of matrices.
    fn sum_operand(&self, name: &str) -> Parsed<Register> {
        match name.starts_with('%') {
            true => self.bits(name, 4),
            false => self.operand(name, Type::F32),
        }
    }

    fn unary(&self, op: Unary, ty: &str, to: &str, a: &str) -> Parsed<Op> {
        let ty = self.type_of(ty)?;
        Ok(Op::Compute(Compute::Unary { op, ty, to: self.register(to, ty)?, a: self.operand(a, ty)? }))
    }

    fn multiply_add(&self, ty: &str, wide: bool, [to, a, b, c]: [&str; 4]) -> Parsed<Op> {
        let ty = self.type_of(ty)?;
        if ty == Type::Pred {
            return Err(self.fault("arithmetic of truth values"));
        }
        let result = match (wide, ty) {
            (false, _) => ty,
            (true, Type::S32) => Type::S64,
            (true, _) => Type::U64,
        };
        let (a, b, c) = (self.operand(a, ty)?, self.operand(b, ty)?, self.operand(c, result)?);
        Ok(Op::Compute(Compute::MultiplyAdd { ty, wide, to: self.register(to, result)?, a, b, c }))
    }

    fn set_predicate(
        &self,
        compare: &str,
        ty: &str,
        to: &str,
        a: &str,
        b: &str,
        join: Option<(Join, Register, bool)>,
    ) -> Parsed<Op> {
        let ty = self.type_of(ty)?;
        let compare = match compare {
            "eq" => Compare::Eq,
            "ne" => Compare::Ne,
            "lt" => Compare::Lt,
            "le" => Compare::Le,
            "gt" => Compare::Gt,
            "ge" => Compare::Ge,
            "neu" => Compare::NotEqualUnordered,
            "nan" => Compare::NotNumber,
            _ => return Err(self.fault(format!("the comparison `{compare}` is not known"))),
        };
        if ty == Type::Pred {
            return Err(self.fault("truth values are not compared"));
        }
        let (a, b) = (self.operand(a, ty)?, self.operand(b, ty)?);
        Ok(Op::Compute(Compute::SetPredicate { compare, ty, to: self.register(to, Type::Pred)?, a, b, join }))
    }
}
