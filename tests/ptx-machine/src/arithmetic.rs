//! What instructions compute: bits in all lanes in, bits out. What comes of lanes that take no part is not looked at.

use crate::instruction::{Binary, Compare, Rounding, Type, Unary};
use crate::registers::{LANES, Lanes, Mask};

/// `f` of each lane.
#[inline(always)]
pub fn each<A: Copy, R: Copy + Default>(a: &Lanes<A>, f: impl Fn(A) -> R) -> Lanes<R> {
    let mut out = [R::default(); LANES];
    for lane in 0..LANES {
        out[lane] = f(a[lane]);
    }
    out
}

#[inline(always)]
pub fn each_of_two<A: Copy, B: Copy, R: Copy + Default>(a: &Lanes<A>, b: &Lanes<B>, f: impl Fn(A, B) -> R) -> Lanes<R> {
    let mut out = [R::default(); LANES];
    for lane in 0..LANES {
        out[lane] = f(a[lane], b[lane]);
    }
    out
}

#[inline(always)]
pub fn each_of_three<A: Copy, R: Copy + Default>(
    a: &Lanes<A>,
    b: &Lanes<A>,
    c: &Lanes<A>,
    f: impl Fn(A, A, A) -> R,
) -> Lanes<R> {
    let mut out = [R::default(); LANES];
    for lane in 0..LANES {
        out[lane] = f(a[lane], b[lane], c[lane]);
    }
    out
}

/// Where `f` holds.
#[inline(always)]
fn where_both<A: Copy>(a: &Lanes<A>, b: &Lanes<A>, f: impl Fn(A, A) -> bool) -> Mask {
    let mut out = 0;
    for lane in 0..LANES {
        out |= Mask::from(f(a[lane], b[lane])) << lane;
    }
    out
}

/// Where a lane is 0.
pub fn zeros<T: Copy + PartialEq + Default>(a: &Lanes<T>) -> Mask {
    where_both(a, a, |a, _| a == T::default())
}

fn f32_of(bits: u32) -> f32 {
    f32::from_bits(bits)
}

fn f64_of(bits: u64) -> f64 {
    f64::from_bits(bits)
}

fn is_signed(ty: Type) -> bool {
    match ty {
        Type::S32 | Type::S64 => true,
        Type::Pred | Type::B16 | Type::U32 | Type::U64 | Type::F32 | Type::F64 => false,
    }
}

/// Integers of one width: as they are, with a sign, and twice as wide.
macro_rules! integers {
    ($name:ident, $unsigned:ty, $signed:ty, $wide:ty, $signed_wide:ty) => {
        fn $name(op: Binary, is_signed: bool, a: &Lanes<$unsigned>, b: &Lanes<$unsigned>) -> Lanes<$unsigned> {
            const BITS: u32 = <$unsigned>::BITS;
            let of = |f: fn($unsigned, $unsigned) -> $unsigned| each_of_two(a, b, f);
            match (op, is_signed) {
                (Binary::Add, _) => each_of_two(a, b, |a, b| a.wrapping_add(b)),
                (Binary::Sub, _) => each_of_two(a, b, |a, b| a.wrapping_sub(b)),
                (Binary::Mul | Binary::MulWide, _) => each_of_two(a, b, |a, b| a.wrapping_mul(b)),
                (Binary::MulHigh, false) => of(|a, b| ((<$wide>::from(a) * <$wide>::from(b)) >> BITS) as $unsigned),
                (Binary::MulHigh, true) => of(|a, b| {
                    ((<$signed_wide>::from(a as $signed) * <$signed_wide>::from(b as $signed)) >> BITS) as $unsigned
                }),
                // Lanes without part may divide by 0.
                (Binary::Div, false) => of(|a, b| a.checked_div(b).unwrap_or(0)),
                (Binary::Div, true) => of(|a, b| match b {
                    0 => 0,
                    b => (a as $signed).wrapping_div(b as $signed) as $unsigned,
                }),
                (Binary::Rem, false) => of(|a, b| a.checked_rem(b).unwrap_or(0)),
                (Binary::Rem, true) => of(|a, b| match b {
                    0 => 0,
                    b => (a as $signed).wrapping_rem(b as $signed) as $unsigned,
                }),
                (Binary::Min, false) => of(|a, b| a.min(b)),
                (Binary::Min, true) => of(|a, b| (a as $signed).min(b as $signed) as $unsigned),
                (Binary::Max, false) => of(|a, b| a.max(b)),
                (Binary::Max, true) => of(|a, b| (a as $signed).max(b as $signed) as $unsigned),
                (Binary::And, _) => each_of_two(a, b, |a, b| a & b),
                (Binary::Or, _) => each_of_two(a, b, |a, b| a | b),
                (Binary::Xor, _) => each_of_two(a, b, |a, b| a ^ b),
                (Binary::ShiftLeft, _) => of(|a, b| if b < BITS as $unsigned { a << b } else { 0 }),
                (Binary::ShiftRight, false) => of(|a, b| if b < BITS as $unsigned { a >> b } else { 0 }),
                (Binary::ShiftRight, true) => of(|a, b| ((a as $signed) >> b.min(BITS as $unsigned - 1)) as $unsigned),
            }
        }
    };
}

integers!(integer_words, u32, i32, u64, i64);
integers!(integer_longs, u64, i64, u128, i128);

/// Of two words, but for [`Binary::MulWide`]. Reals are added, subtracted, multiplied and divided only: the text's parser knows no more.
pub fn binary_words(op: Binary, ty: Type, a: &Lanes<u32>, b: &Lanes<u32>) -> Lanes<u32> {
    let real = |f: fn(f32, f32) -> f32| each_of_two(a, b, |a, b| f(f32_of(a), f32_of(b)).to_bits());
    match (ty, op) {
        (Type::F32, Binary::Add) => each_of_two(a, b, |a, b| (f32_of(a) + f32_of(b)).to_bits()),
        (Type::F32, Binary::Sub) => each_of_two(a, b, |a, b| (f32_of(a) - f32_of(b)).to_bits()),
        (Type::F32, Binary::Mul) => each_of_two(a, b, |a, b| (f32_of(a) * f32_of(b)).to_bits()),
        (Type::F32, Binary::Div) => real(|a, b| a / b),
        // The upper half of a register of 16 bits is 0.
        (Type::B16, op) => each(&integer_words(op, false, a, b), |bits| bits & 0xffff),
        (ty, op) => integer_words(op, is_signed(ty), a, b),
    }
}

/// Of two long ones; a shift's second is a word, see [`shift_longs`].
pub fn binary_longs(op: Binary, ty: Type, a: &Lanes<u64>, b: &Lanes<u64>) -> Lanes<u64> {
    let real = |f: fn(f64, f64) -> f64| each_of_two(a, b, |a, b| f(f64_of(a), f64_of(b)).to_bits());
    match (ty, op) {
        (Type::F64, Binary::Add) => real(|a, b| a + b),
        (Type::F64, Binary::Sub) => real(|a, b| a - b),
        (Type::F64, Binary::Mul) => real(|a, b| a * b),
        (Type::F64, Binary::Div) => real(|a, b| a / b),
        (ty, op) => integer_longs(op, is_signed(ty), a, b),
    }
}

pub fn shift_longs(op: Binary, ty: Type, a: &Lanes<u64>, by: &Lanes<u32>) -> Lanes<u64> {
    integer_longs(op, is_signed(ty), a, &each(by, u64::from))
}

/// 32 bits times 32 bits to 64.
pub fn multiply_wide(ty: Type, a: &Lanes<u32>, b: &Lanes<u32>) -> Lanes<u64> {
    match is_signed(ty) {
        true => each_of_two(a, b, |a, b| (i64::from(a as i32) * i64::from(b as i32)) as u64),
        false => each_of_two(a, b, |a, b| u64::from(a) * u64::from(b)),
    }
}

/// `a * b + c` with one rounding, for which the processor's own instruction is taken where it has one.
pub fn multiply_add_words(ty: Type, a: &Lanes<u32>, b: &Lanes<u32>, c: &Lanes<u32>) -> Lanes<u32> {
    match ty {
        Type::F32 => pulp::Arch::new().dispatch(
            #[inline(always)]
            || each_of_three(a, b, c, |a, b, c| f32_of(a).mul_add(f32_of(b), f32_of(c)).to_bits()),
        ),
        Type::B16 => each_of_three(a, b, c, |a, b, c| a.wrapping_mul(b).wrapping_add(c) & 0xffff),
        Type::Pred | Type::U32 | Type::S32 | Type::U64 | Type::S64 | Type::F64 => {
            each_of_three(a, b, c, |a, b, c| a.wrapping_mul(b).wrapping_add(c))
        }
    }
}

pub fn multiply_add_longs(ty: Type, a: &Lanes<u64>, b: &Lanes<u64>, c: &Lanes<u64>) -> Lanes<u64> {
    match ty {
        Type::F64 => pulp::Arch::new().dispatch(
            #[inline(always)]
            || each_of_three(a, b, c, |a, b, c| f64_of(a).mul_add(f64_of(b), f64_of(c)).to_bits()),
        ),
        Type::Pred | Type::B16 | Type::U32 | Type::S32 | Type::U64 | Type::S64 | Type::F32 => {
            each_of_three(a, b, c, |a, b, c| a.wrapping_mul(b).wrapping_add(c))
        }
    }
}

pub fn unary_words(op: Unary, ty: Type, a: &Lanes<u32>) -> Lanes<u32> {
    let out = match (op, ty) {
        (Unary::Neg, Type::F32) => each(a, |a| (-f32_of(a)).to_bits()),
        (Unary::Abs, Type::F32) => each(a, |a| f32_of(a).abs().to_bits()),
        (Unary::Sqrt, Type::F32) => each(a, |a| f32_of(a).sqrt().to_bits()),
        (Unary::Neg, _) => each(a, u32::wrapping_neg),
        (Unary::Abs | Unary::Sqrt, _) => each(a, |a| (a as i32).wrapping_abs() as u32),
        (Unary::Not, _) => each(a, |a| !a),
    };
    if ty == Type::B16 { each(&out, |bits| bits & 0xffff) } else { out }
}

pub fn unary_longs(op: Unary, ty: Type, a: &Lanes<u64>) -> Lanes<u64> {
    match (op, ty) {
        (Unary::Neg, Type::F64) => each(a, |a| (-f64_of(a)).to_bits()),
        (Unary::Abs, Type::F64) => each(a, |a| f64_of(a).abs().to_bits()),
        (Unary::Sqrt, Type::F64) => each(a, |a| f64_of(a).sqrt().to_bits()),
        (Unary::Neg, _) => each(a, u64::wrapping_neg),
        (Unary::Abs | Unary::Sqrt, _) => each(a, |a| (a as i64).wrapping_abs() as u64),
        (Unary::Not, _) => each(a, |a| !a),
    }
}

macro_rules! compared {
    ($compare:expr, $a:expr, $b:expr, $of:expr) => {{
        let (a, b) = ($a, $b);
        match $compare {
            Compare::Eq => where_both(a, b, |a, b| $of(a) == $of(b)),
            // Of what cannot be compared this is false as well.
            Compare::Ne => where_both(a, b, |a, b| $of(a) < $of(b) || $of(a) > $of(b)),
            Compare::Lt => where_both(a, b, |a, b| $of(a) < $of(b)),
            Compare::Le => where_both(a, b, |a, b| $of(a) <= $of(b)),
            Compare::Gt => where_both(a, b, |a, b| $of(a) > $of(b)),
            Compare::Ge => where_both(a, b, |a, b| $of(a) >= $of(b)),
            Compare::NotEqualUnordered => where_both(a, b, |a, b| $of(a) != $of(b)),
            Compare::NotNumber => where_both(a, b, |a, b| $of(a).partial_cmp(&$of(b)).is_none()),
        }
    }};
}

pub fn compared_words(compare: Compare, ty: Type, a: &Lanes<u32>, b: &Lanes<u32>) -> Mask {
    match ty {
        Type::F32 => compared!(compare, a, b, f32_of),
        Type::S32 => compared!(compare, a, b, |bits: u32| bits as i32),
        Type::Pred | Type::B16 | Type::U32 | Type::U64 | Type::S64 | Type::F64 => {
            compared!(compare, a, b, |bits: u32| bits)
        }
    }
}

pub fn compared_longs(compare: Compare, ty: Type, a: &Lanes<u64>, b: &Lanes<u64>) -> Mask {
    match ty {
        Type::F64 => compared!(compare, a, b, f64_of),
        Type::S64 => compared!(compare, a, b, |bits: u64| bits as i64),
        Type::Pred | Type::B16 | Type::U32 | Type::S32 | Type::U64 | Type::F32 => {
            compared!(compare, a, b, |bits: u64| bits)
        }
    }
}

/// The low bits that a type has.
fn narrow(bits: u64, ty: Type) -> u64 {
    match ty {
        Type::Pred => bits & 1,
        Type::B16 => bits & 0xffff,
        Type::U32 | Type::S32 | Type::F32 => bits & 0xffff_ffff,
        Type::U64 | Type::S64 | Type::F64 => bits,
    }
}

/// As a number with sign.
fn signed(bits: u64, ty: Type) -> i64 {
    match ty {
        Type::S32 => i64::from(bits as u32 as i32),
        Type::Pred | Type::B16 | Type::U32 | Type::U64 | Type::S64 | Type::F32 | Type::F64 => bits as i64,
    }
}

/// Of one lane; `None` where there is no such conversion, whatever the bits.
pub fn convert(rounding: Rounding, to: Type, from: Type, a: u64) -> Option<u64> {
    let real = match from {
        Type::F32 => f64::from(f32_of(a as u32)),
        Type::F64 => f64_of(a),
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
pub fn tf32(a: u32) -> u32 {
    if f32::from_bits(a).is_nan() {
        return 0x7fff_e000;
    }
    // A carry goes on into the exponent, as it should.
    a.wrapping_add(0x1000) & 0xffff_e000
}

/// The upper half of the nearest f32 whose lower half is 0, ties to even.
pub fn bf16(a: u32) -> u32 {
    if f32::from_bits(a).is_nan() {
        return 0x7fff;
    }
    a.wrapping_add(0x7fff + (a >> 16 & 1)) >> 16
}

/// Byte `i` of the result is the byte of `b:a` that nibble `i` of `choice` numbers; with the nibble's highest bit, only its sign, eight times.
pub fn permute(a: u32, b: u32, choice: u32) -> u32 {
    let all = (u64::from(b) << 32 | u64::from(a)).to_le_bytes();
    let chosen = (0..4).map(|i| {
        let nibble = choice >> (4 * i) & 0xf;
        let byte = all[nibble as usize & 7];
        let byte = match nibble & 8 {
            0 => byte,
            _ => 0u8.wrapping_sub(byte >> 7),
        };
        u32::from(byte) << (8 * i)
    });
    chosen.sum()
}

/// Bit `4 a + 2 b + c` of the table, for the bits at each place.
pub fn logic(a: u32, b: u32, c: u32, table: u8) -> u32 {
    let rows = (0..8u32).filter(|row| table >> row & 1 == 1);
    let is = |bits: u32, wanted: u32| if wanted & 1 == 1 { bits } else { !bits };
    rows.fold(0, |out, row| out | is(a, row >> 2) & is(b, row >> 1) & is(c, row))
}
