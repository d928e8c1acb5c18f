//! What instructions compute: bits in, bits out.

use crate::instruction::{Binary, Compare, Rounding, Type, Unary};

pub fn f32_of(bits: u64) -> f32 {
    f32::from_bits(bits as u32)
}

/// The low bits that a type has.
pub fn narrow(bits: u64, ty: Type) -> u64 {
    match ty {
        Type::Pred => bits & 1,
        Type::B16 => bits & 0xffff,
        Type::U32 | Type::S32 | Type::F32 => bits & 0xffff_ffff,
        Type::U64 | Type::S64 | Type::F64 => bits,
    }
}

/// As a number with sign.
pub fn signed(bits: u64, ty: Type) -> i64 {
    match ty {
        Type::S32 => i64::from(bits as u32 as i32),
        Type::Pred | Type::B16 | Type::U32 | Type::U64 | Type::S64 | Type::F32 | Type::F64 => bits as i64,
    }
}

pub fn unary(op: Unary, ty: Type, a: u64) -> u64 {
    match (op, ty) {
        (Unary::Neg, Type::F32) => u64::from((-f32_of(a)).to_bits()),
        (Unary::Abs, Type::F32) => u64::from(f32_of(a).abs().to_bits()),
        (Unary::Sqrt, Type::F32) => u64::from(f32_of(a).sqrt().to_bits()),
        (Unary::Neg, Type::F64) => (-f64::from_bits(a)).to_bits(),
        (Unary::Abs, Type::F64) => f64::from_bits(a).abs().to_bits(),
        (Unary::Sqrt, Type::F64) => f64::from_bits(a).sqrt().to_bits(),
        (Unary::Neg, ty) => narrow(a.wrapping_neg(), ty),
        (Unary::Abs | Unary::Sqrt, ty) => narrow(signed(a, ty).wrapping_abs() as u64, ty),
        (Unary::Not, ty) => narrow(!a, ty),
    }
}

pub fn binary(op: Binary, ty: Type, a: u64, b: u64) -> u64 {
    macro_rules! real {
        ($x:expr, $y:expr) => {{
            let (x, y) = ($x, $y);
            match op {
                Binary::Add => x + y,
                Binary::Sub => x - y,
                Binary::Mul => x * y,
                _ => x / y,
            }
        }};
    }
    match ty {
        Type::F32 => return u64::from(real!(f32_of(a), f32_of(b)).to_bits()),
        Type::F64 => return real!(f64::from_bits(a), f64::from_bits(b)).to_bits(),
        Type::Pred | Type::B16 | Type::U32 | Type::S32 | Type::U64 | Type::S64 => {}
    }
    let is_signed = matches!(ty, Type::S32 | Type::S64);
    let (x, y) = (signed(a, ty), signed(b, ty));
    let width = 8 * ty.bytes() as u64;
    let bits = match op {
        Binary::Add => a.wrapping_add(b),
        Binary::Sub => a.wrapping_sub(b),
        Binary::Mul => a.wrapping_mul(b),
        Binary::MulWide if is_signed => x.wrapping_mul(y) as u64,
        Binary::MulWide => a.wrapping_mul(b),
        Binary::MulHigh if is_signed => ((i128::from(x) * i128::from(y)) >> width) as u64,
        Binary::MulHigh => ((u128::from(a) * u128::from(b)) >> width) as u64,
        Binary::Div if is_signed => x.wrapping_div(y) as u64,
        Binary::Div => a / b,
        Binary::Rem if is_signed => x.wrapping_rem(y) as u64,
        Binary::Rem => a % b,
        Binary::Min if is_signed => x.min(y) as u64,
        Binary::Min => a.min(b),
        Binary::Max if is_signed => x.max(y) as u64,
        Binary::Max => a.max(b),
        Binary::And => a & b,
        Binary::Or => a | b,
        Binary::Xor => a ^ b,
        Binary::ShiftLeft => a.checked_shl(b as u32).filter(|_| b < width).unwrap_or(0),
        Binary::ShiftRight if is_signed => (x >> b.min(width - 1)) as u64,
        Binary::ShiftRight => a.checked_shr(b as u32).filter(|_| b < width).unwrap_or(0),
    };
    if op == Binary::MulWide { bits } else { narrow(bits, ty) }
}

pub fn compared(compare: Compare, ty: Type, a: u64, b: u64) -> bool {
    let order = match ty {
        Type::F32 => f32_of(a).partial_cmp(&f32_of(b)),
        Type::F64 => f64::from_bits(a).partial_cmp(&f64::from_bits(b)),
        Type::S32 | Type::S64 => Some(signed(a, ty).cmp(&signed(b, ty))),
        Type::Pred | Type::B16 | Type::U32 | Type::U64 => Some(a.cmp(&b)),
    };
    match compare {
        Compare::Eq => order.is_some_and(|o| o.is_eq()),
        Compare::Ne => order.is_some_and(|o| o.is_ne()),
        Compare::Lt => order.is_some_and(|o| o.is_lt()),
        Compare::Le => order.is_some_and(|o| o.is_le()),
        Compare::Gt => order.is_some_and(|o| o.is_gt()),
        Compare::Ge => order.is_some_and(|o| o.is_ge()),
        Compare::NotEqualUnordered => order.is_none_or(|o| o.is_ne()),
        Compare::NotNumber => order.is_none(),
    }
}

pub fn convert(rounding: Rounding, to: Type, from: Type, a: u64) -> Option<u64> {
    let real = match from {
        Type::F32 => f64::from(f32_of(a)),
        Type::F64 => f64::from_bits(a),
        Type::Pred | Type::B16 | Type::U32 | Type::S32 | Type::U64 | Type::S64 => 0.0,
    };
    let whole = match rounding {
        Rounding::ToNearest => real.round_ties_even(),
        Rounding::Down => real.floor(),
        Rounding::ToZero => real.trunc(),
        Rounding::None | Rounding::Nearest => real,
    };
    let is_integer = |ty: Type| matches!(ty, Type::U32 | Type::S32 | Type::U64 | Type::S64 | Type::B16);
    Some(match (rounding, to, from) {
        // Between integers: low bits, or the sign carried on.
        (Rounding::None, _, _) if is_integer(to) && is_integer(from) => narrow(signed(a, from) as u64, to),
        (Rounding::None, Type::F64, Type::F32) => real.to_bits(),
        (Rounding::Nearest, Type::F32, Type::F64) => u64::from((real as f32).to_bits()),
        (Rounding::Nearest, Type::F32, Type::S32 | Type::S64) => u64::from((signed(a, from) as f32).to_bits()),
        (Rounding::Nearest, Type::F32, Type::U32 | Type::U64) => u64::from((a as f32).to_bits()),
        (Rounding::Nearest, Type::F64, Type::S32 | Type::S64) => (signed(a, from) as f64).to_bits(),
        (Rounding::Nearest, Type::F64, Type::U32 | Type::U64) => (a as f64).to_bits(),
        (Rounding::ToNearest | Rounding::Down | Rounding::ToZero, Type::F32, Type::F32) => {
            u64::from((whole as f32).to_bits())
        }
        (Rounding::ToNearest | Rounding::Down | Rounding::ToZero, Type::F64, Type::F64) => whole.to_bits(),
        // The nearest number of the type where it is out of range; NaN becomes 0.
        (Rounding::ToNearest | Rounding::Down | Rounding::ToZero, Type::S32, Type::F32 | Type::F64) => {
            u64::from(whole as i32 as u32)
        }
        (Rounding::ToNearest | Rounding::Down | Rounding::ToZero, Type::S64, Type::F32 | Type::F64) => {
            whole as i64 as u64
        }
        (_, _, _) => return None,
    })
}

/// The nearest number with 10 bits behind the point, ties away from zero; the lower 13 bits of the result are 0.
pub fn tf32(bits: u64) -> u64 {
    let a = bits as u32;
    if f32::from_bits(a).is_nan() {
        return 0x7fff_e000;
    }
    // A carry goes on into the exponent, as it should.
    u64::from(a.wrapping_add(0x1000) & 0xffff_e000)
}

/// The upper half of the nearest f32 whose lower half is 0, ties to even.
pub fn bf16(bits: u64) -> u64 {
    let a = bits as u32;
    if f32::from_bits(a).is_nan() {
        return 0x7fff;
    }
    u64::from(a.wrapping_add(0x7fff + (a >> 16 & 1)) >> 16)
}

/// Byte `i` of the result is the byte of `b:a` that nibble `i` of `choice` numbers; with the nibble's highest bit, only its sign, eight times.
pub fn permute(a: u64, b: u64, choice: u64) -> u64 {
    let all = (b << 32 | a & 0xffff_ffff).to_le_bytes();
    let chosen = (0..4).map(|i| {
        let nibble = choice >> (4 * i) & 0xf;
        let byte = all[nibble as usize & 7];
        let byte = match nibble & 8 {
            0 => byte,
            _ => 0u8.wrapping_sub(byte >> 7),
        };
        u64::from(byte) << (8 * i)
    });
    chosen.sum()
}

/// Bit `4 a + 2 b + c` of the table, for the bits at each place.
pub fn logic(a: u64, b: u64, c: u64, table: u8) -> u64 {
    let bits = (0..32).map(|i| {
        let row = (a >> i & 1) << 2 | (b >> i & 1) << 1 | c >> i & 1;
        u64::from(table >> row & 1) << i
    });
    bits.sum()
}
