//! Instructions that change nothing but registers, for some lanes of a warp.

use crate::Fault;
use crate::arithmetic::{
    bf16, binary_longs, binary_words, compared_longs, compared_words, convert, each, each_of_three, each_of_two, logic,
    multiply_add_longs, multiply_add_words, multiply_wide, permute, shift_longs, tf32, unary_longs, unary_words, zeros,
};
use crate::instruction::{Binary, Class, Compute, Join, Register, Rounding, Type};
use crate::launch::Block;
use crate::registers::{LANES, Mask, lanes};
use crate::warp::Warp;

impl Warp {
    /// What changes nothing but registers.
    pub fn compute(&mut self, what: &Compute, (line, mask): (usize, Mask), block: &Block) -> Result<(), Fault> {
        let own = &mut self.registers;
        match what {
            Compute::Move { class: Class::Word, to, from } => {
                let (values, known) = (*own.words().at(*from), own.words().known(*from));
                own.set_words(*to, &values, known, mask);
            }
            Compute::Move { class: Class::Long, to, from } => {
                let (values, known) = (*own.longs().at(*from), own.longs().known(*from));
                own.set_longs(*to, &values, known, mask);
            }
            Compute::Move { class: Class::Truth, to, from } => {
                let (truth, known) = own.truth(*from);
                own.set_truth(*to, truth, known, mask);
            }
            Compute::Split { bits: 16, low, high, from } => {
                let (both, known) = (*own.words().at(*from), own.words().known(*from));
                own.set_words(*low, &each(&both, |bits| bits & 0xffff), known, mask);
                own.set_words(*high, &each(&both, |bits| bits >> 16), known, mask);
            }
            Compute::Split { bits: _, low, high, from } => {
                let (both, known) = (*own.longs().at(*from), own.longs().known(*from));
                own.set_words(*low, &each(&both, |bits| bits as u32), known, mask);
                own.set_words(*high, &each(&both, |bits| (bits >> 32) as u32), known, mask);
            }
            Compute::Pair { bits, to, low, high } => {
                let words = own.words();
                let known = words.known(*low) & words.known(*high);
                let (low, high) = (words.at(*low), words.at(*high));
                if *bits == 16 {
                    let both = each_of_two(low, high, |low, high| high << 16 | low);
                    own.set_words(*to, &both, known, mask);
                } else {
                    let both = each_of_two(low, high, |low, high| u64::from(high) << 32 | u64::from(low));
                    own.set_longs(*to, &both, known, mask);
                }
            }
            Compute::Parameter { to, number } => {
                own.set_longs(*to, &[block.parameters[*number]; LANES], Mask::MAX, mask);
            }
            Compute::Unary { op, ty, to, a } => match ty.class() {
                Class::Word => {
                    let known = own.words().known(*a);
                    let values = unary_words(*op, *ty, own.words().at(*a));
                    own.set_words(*to, &values, known, mask);
                }
                Class::Long => {
                    let known = own.longs().known(*a);
                    let values = unary_longs(*op, *ty, own.longs().at(*a));
                    own.set_longs(*to, &values, known, mask);
                }
                // `not` is the only one.
                Class::Truth => {
                    let (truth, known) = own.truth(*a);
                    own.set_truth(*to, !truth, known, mask);
                }
            },
            Compute::Binary { op, ty, to, a, b } => self.binary(line, mask, block, (*op, *ty), *to, [*a, *b])?,
            Compute::MultiplyAdd { ty, wide, to, a, b, c } => {
                let (words, longs) = (own.words(), own.longs());
                if *wide {
                    let known = words.known(*a) & words.known(*b) & longs.known(*c);
                    let product = multiply_wide(*ty, words.at(*a), words.at(*b));
                    let sum = each_of_two(&product, longs.at(*c), |p, c| p.wrapping_add(c));
                    own.set_longs(*to, &sum, known, mask);
                } else if ty.class() == Class::Word {
                    let known = words.known(*a) & words.known(*b) & words.known(*c);
                    let sum = multiply_add_words(*ty, words.at(*a), words.at(*b), words.at(*c));
                    own.set_words(*to, &sum, known, mask);
                } else {
                    let known = longs.known(*a) & longs.known(*b) & longs.known(*c);
                    let sum = multiply_add_longs(*ty, longs.at(*a), longs.at(*b), longs.at(*c));
                    own.set_longs(*to, &sum, known, mask);
                }
            }
            Compute::SetPredicate { compare, ty, to, a, b, join } => {
                let (words, longs) = (own.words(), own.longs());
                let (mut truth, mut known) = match ty.class() {
                    Class::Word | Class::Truth => {
                        (compared_words(*compare, *ty, words.at(*a), words.at(*b)), words.known(*a) & words.known(*b))
                    }
                    Class::Long => {
                        (compared_longs(*compare, *ty, longs.at(*a), longs.at(*b)), longs.known(*a) & longs.known(*b))
                    }
                };
                if let Some((join, other, holds)) = join {
                    let (other, other_known) = own.truth(*other);
                    let other = if *holds { other } else { !other };
                    // What decides alone, decides also beside what nobody wrote.
                    let (decides, result) = match join {
                        Join::And => (other_known & !other, truth & other),
                        Join::Or => (other_known & other, truth | other),
                        Join::Xor => (0, truth ^ other),
                    };
                    known = known & other_known | decides;
                    truth = result;
                }
                own.set_truth(*to, truth, known, mask);
            }
            Compute::Select { class, to, a, b, condition } => {
                let (condition, decided) = own.truth(*condition);
                let known_of = |a: Mask, b: Mask| decided & (condition & a | !condition & b);
                let is_first = |lane: usize| condition >> lane & 1 == 1;
                match class {
                    Class::Word => {
                        let words = own.words();
                        let known = known_of(words.known(*a), words.known(*b));
                        let (a, b) = (words.at(*a), words.at(*b));
                        let values = std::array::from_fn(|lane| if is_first(lane) { a[lane] } else { b[lane] });
                        own.set_words(*to, &values, known, mask);
                    }
                    Class::Long => {
                        let longs = own.longs();
                        let known = known_of(longs.known(*a), longs.known(*b));
                        let (a, b) = (longs.at(*a), longs.at(*b));
                        let values = std::array::from_fn(|lane| if is_first(lane) { a[lane] } else { b[lane] });
                        own.set_longs(*to, &values, known, mask);
                    }
                    Class::Truth => {
                        let ((a, a_known), (b, b_known)) = (own.truth(*a), own.truth(*b));
                        own.set_truth(*to, condition & a | !condition & b, known_of(a_known, b_known), mask);
                    }
                }
            }
            Compute::Convert { rounding, to_type, from_type, to, a } => {
                self.convert(line, mask, block, *rounding, (*to_type, *to), (*from_type, *a))?;
            }
            Compute::ToTf32 { to, a } => {
                let known = own.words().known(*a);
                let values = each(own.words().at(*a), tf32);
                own.set_words(*to, &values, known, mask);
            }
            Compute::ToBf16 { to, high, low } => {
                let words = own.words();
                let mut known = words.known(*low);
                let mut values = each(words.at(*low), bf16);
                if let Some(high) = high {
                    known &= words.known(*high);
                    values = each_of_two(&values, words.at(*high), |low, high| bf16(high) << 16 | low);
                }
                own.set_words(*to, &values, known, mask);
            }
            Compute::Permute { to, a, b, choice } => {
                let words = own.words();
                let known = words.known(*a) & words.known(*b) & words.known(*choice);
                let values = each_of_three(words.at(*a), words.at(*b), words.at(*choice), permute);
                own.set_words(*to, &values, known, mask);
            }
            Compute::Logic { to, a, b, c, table } => {
                let words = own.words();
                let known = words.known(*a) & words.known(*b) & words.known(*c);
                let values = each_of_three(words.at(*a), words.at(*b), words.at(*c), |a, b, c| logic(a, b, c, *table));
                own.set_words(*to, &values, known, mask);
            }
        }
        Ok(())
    }

    fn binary(
        &mut self,
        line: usize,
        mask: Mask,
        block: &Block,
        (op, ty): (Binary, Type),
        to: Register,
        [a, b]: [Register; 2],
    ) -> Result<(), Fault> {
        let (words, longs) = (self.registers.words(), self.registers.longs());
        let divides = matches!(op, Binary::Div | Binary::Rem) && !matches!(ty, Type::F32 | Type::F64);
        let by_zero = match ty.class() {
            Class::Word if divides => mask & zeros(words.at(b)),
            Class::Long if divides => mask & zeros(longs.at(b)),
            Class::Word | Class::Long | Class::Truth => 0,
        };
        if by_zero != 0 {
            return Err(self.fault(block, line, by_zero, "an integer is divided by 0"));
        }
        match (ty.class(), op) {
            (Class::Word, Binary::MulWide) => {
                let known = words.known(a) & words.known(b);
                let values = multiply_wide(ty, words.at(a), words.at(b));
                self.registers.set_longs(to, &values, known, mask);
            }
            (Class::Word, _) => {
                let known = words.known(a) & words.known(b);
                let values = binary_words(op, ty, words.at(a), words.at(b));
                self.registers.set_words(to, &values, known, mask);
            }
            (Class::Long, Binary::ShiftLeft | Binary::ShiftRight) => {
                let known = longs.known(a) & words.known(b);
                let values = shift_longs(op, ty, longs.at(a), words.at(b));
                self.registers.set_longs(to, &values, known, mask);
            }
            (Class::Long, _) => {
                let known = longs.known(a) & longs.known(b);
                let values = binary_longs(op, ty, longs.at(a), longs.at(b));
                self.registers.set_longs(to, &values, known, mask);
            }
            (Class::Truth, _) => {
                let ((a, a_known), (b, b_known)) = (self.registers.truth(a), self.registers.truth(b));
                let truth = match op {
                    Binary::And => a & b,
                    Binary::Or => a | b,
                    Binary::Xor => a ^ b,
                    Binary::Add
                    | Binary::Sub
                    | Binary::Mul
                    | Binary::MulHigh
                    | Binary::MulWide
                    | Binary::Div
                    | Binary::Rem
                    | Binary::Min
                    | Binary::Max
                    | Binary::ShiftLeft
                    | Binary::ShiftRight => {
                        return Err(self.fault(block, line, mask, "arithmetic of truth values"));
                    }
                };
                self.registers.set_truth(to, truth, a_known & b_known, mask);
            }
        }
        Ok(())
    }

    fn convert(
        &mut self,
        line: usize,
        mask: Mask,
        block: &Block,
        rounding: Rounding,
        (to_type, to): (Type, Register),
        (from_type, a): (Type, Register),
    ) -> Result<(), Fault> {
        let (words, longs) = (self.registers.words(), self.registers.longs());
        let (bits, known) = match from_type.class() {
            Class::Word => (each(words.at(a), u64::from), words.known(a)),
            Class::Long => (*longs.at(a), longs.known(a)),
            Class::Truth => return Err(self.fault(block, line, mask, "a conversion that does not exist")),
        };
        let mut out = [0; LANES];
        for lane in lanes(mask) {
            out[lane] = match (rounding, to_type, from_type) {
                // Addresses: most conversions.
                (Rounding::None, Type::U64 | Type::S64, Type::U32) => bits[lane],
                _ => convert(rounding, to_type, from_type, bits[lane])
                    .ok_or_else(|| self.fault(block, line, mask, "a conversion that does not exist"))?,
            };
        }
        match to_type.class() {
            Class::Word => self.registers.set_words(to, &each(&out, |bits| bits as u32), known, mask),
            Class::Long => self.registers.set_longs(to, &out, known, mask),
            Class::Truth => return Err(self.fault(block, line, mask, "a conversion that does not exist")),
        }
        Ok(())
    }
}
