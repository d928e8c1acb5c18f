//! What the lanes of a warp do together: exchanges of registers, and the fragments of matrices that tensor cores multiply.
//!
//! Fragments lie as the PTX ISA manual says ("Matrix Fragments for mma.m16n8k8" and "for mma.m16n8k16"): with `g = lane / 4` and `t = lane % 4`, rows
//! before columns,
//!
//! | | register 0 | 1 | 2 | 3 |
//! |---|---|---|---|---|
//! | A of tf32 | (g, t) | (g + 8, t) | (g, t + 4) | (g + 8, t + 4) |
//! | B of tf32 | (t, g) | (t + 4, g) | | |
//! | A of bf16, lower half | (g, 2t) | (g + 8, 2t) | (g, 2t + 8) | (g + 8, 2t + 8) |
//! | B of bf16, lower half | (2t, g) | (2t + 8, g) | | |
//! | C and D | (g, 2t) | (g, 2t + 1) | (g + 8, 2t) | (g + 8, 2t + 1) |
//!
//! The upper half of a pair of bf16 stands at the next place along the sum. Products are exact; each is added to the sum in f32, in the order of
//! the sum, and rounded to nearest. Tensor cores add several products at once and truncate: their last bits differ, from one generation to
//! the next as well.

use crate::Fault;
use crate::access::{Access, SEVERAL};
use crate::allocation::Bytes;
use crate::arithmetic::{binary_words, each};
use crate::instruction::{Base, Collective, Exchange, Factor, Register};
use crate::launch::Block;
use crate::registers::{LANES, Lanes, Mask, lanes};
use crate::warp::Warp;

/// Of a product: rows and columns.
const ROWS: usize = 16;
const COLUMNS: usize = 8;
/// The longest sum.
const MOST_DEPTH: usize = 16;
/// Of a matrix of `ldmatrix`: rows, and the bytes of each.
const MATRIX_ROWS: usize = 8;
const ROW_BYTES: usize = 16;

impl Block<'_> {
    /// All lanes of a warp have arrived at an instruction, of this line.
    pub fn exchange(&mut self, collective: &Collective, line: usize, warp: &mut Warp) -> Result<(), Fault> {
        match collective {
            Collective::Barrier => Ok(()),
            Collective::Shuffle { exchange, to, a, which } => self.shuffle(line, warp, *exchange, *to, [*a, *which]),
            Collective::Reduce { op, ty, to, a } => {
                self.whole_warp(line, warp)?;
                let words = warp.registers.words();
                let all_known = words.known(*a) == Mask::MAX;
                let of_two = |x: u32, y: u32| binary_words(*op, *ty, &[x; LANES], &[y; LANES])[0];
                let value = words.at(*a).iter().copied().reduce(of_two).unwrap_or(0);
                warp.registers.set_words(*to, &[value; LANES], if all_known { Mask::MAX } else { 0 }, Mask::MAX);
                Ok(())
            }
            Collective::MultiplyMatrices { factor, d, a, b, c } => {
                self.whole_warp(line, warp)?;
                multiply(*factor, warp, d, a, b, c);
                Ok(())
            }
            Collective::LoadMatrices { transposed, to, base, offset } => {
                self.whole_warp(line, warp)?;
                self.load_matrices(line, warp, *transposed, to, (*base, *offset))
            }
        }
    }

    fn whole_warp(&self, line: usize, warp: &Warp) -> Result<(), Fault> {
        if warp.all == Mask::MAX {
            return Ok(());
        }
        let there = warp.all.count_ones();
        Err(self.fault(line, warp.first, format!("needs the 32 lanes of a warp, and there are {there}")))
    }

    fn shuffle(
        &self,
        line: usize,
        warp: &mut Warp,
        exchange: Exchange,
        to: Register,
        [a, which]: [Register; 2],
    ) -> Result<(), Fault> {
        let words = warp.registers.words();
        let nobody = warp.all & !words.known(which);
        if nobody != 0 {
            let lane = nobody.trailing_zeros() as usize;
            return Err(self.fault(line, warp.first + lane, "exchanges with a lane that nobody wrote down"));
        }
        let (values, which) = (words.at(a), words.at(which));
        let (mut out, mut known) = ([0; LANES], 0);
        for lane in lanes(warp.all) {
            let which = which[lane] as usize;
            // Beyond the warp's ends a lane keeps its own.
            let other = match exchange {
                Exchange::Butterfly => lane ^ which,
                Exchange::Index => which,
                Exchange::Down => Some(lane + which).filter(|other| *other < LANES).unwrap_or(lane),
                Exchange::Up => lane.checked_sub(which).unwrap_or(lane),
            };
            if other < LANES && warp.all >> other & 1 == 1 {
                out[lane] = values[other];
                known |= (words.known(a) >> other & 1) << lane;
            }
        }
        warp.registers.set_words(to, &out, known, warp.all);
        Ok(())
    }

    /// Lane `8 m + r` has the address of row `r` of matrix `m`. Lane `l` gets the elements `2 (l % 4)` and the next of row `l / 4`; of the
    /// transposed matrix if that is asked for.
    fn load_matrices(
        &mut self,
        line: usize,
        warp: &mut Warp,
        transposed: bool,
        to: &[Register],
        (base, offset): (Base, i64),
    ) -> Result<(), Fault> {
        let (addresses, known) = match base {
            Base::Word(r) => (each(warp.registers.words().at(r), u64::from), warp.registers.words().known(r)),
            Base::Long(r) => (*warp.registers.longs().at(r), warp.registers.longs().known(r)),
        };
        // What one lane has written, others get.
        let who = Access { thread: SEVERAL, ..self.access(warp.first) };
        for (m, register) in to.iter().enumerate() {
            let mut rows = [Bytes::default(); MATRIX_ROWS];
            for (r, row) in rows.iter_mut().enumerate() {
                let lane = MATRIX_ROWS * m + r;
                if known >> lane & 1 == 0 {
                    return Err(self.fault(line, warp.first + lane, "an address from what nobody wrote"));
                }
                let read = self.shared.read(addresses[lane].wrapping_add_signed(offset), ROW_BYTES, ROW_BYTES, &who);
                *row = read.map_err(|fault| self.fault(line, warp.first + lane, fault.what))?;
            }
            let (mut out, mut known) = ([0; LANES], 0);
            for (l, out) in out.iter_mut().enumerate() {
                let (row, column) = (l / 4, 2 * (l % 4));
                let places = match transposed {
                    false => [(row, column), (row, column + 1)],
                    true => [(column, row), (column + 1, row)],
                };
                let [(low, low_known), (high, high_known)] = places.map(|(row, column)| {
                    let (row, at) = (&rows[row], 2 * column);
                    let bits = u16::from_le_bytes([row.bits[at], row.bits[at + 1]]);
                    (u32::from(bits), row.written[at] && row.written[at + 1])
                });
                *out = high << 16 | low;
                known |= Mask::from(low_known && high_known) << l;
            }
            warp.registers.set_words(*register, &out, known, Mask::MAX);
        }
        Ok(())
    }
}

/// The numbers of a word along the sum, from its lower end, and how many there are.
pub fn factors(factor: Factor, bits: u32) -> ([f32; 2], usize) {
    match factor {
        // The lower 13 bits are not looked at.
        Factor::Tf32 => ([f32::from_bits(bits & 0xffff_e000), 0.0], 1),
        Factor::Bf16 => ([bits, bits >> 16].map(|half| f32::from_bits(half << 16)), 2),
    }
}

/// `sum + x y`, the product exact, the sum rounded to nearest.
#[inline(always)]
pub fn add_product(sum: f32, x: f32, y: f32) -> f32 {
    (f64::from(x) * f64::from(y) + f64::from(sum)) as f32
}

/// A number of the result is known where all of its row, its column and its addend are.
fn multiply(
    factor: Factor,
    warp: &mut Warp,
    d: &[Register; 4],
    a: &[Register; 4],
    b: &[Register; 2],
    c: &[Register; 4],
) {
    let words = warp.registers.words();
    let packed = factors(factor, 0).1;
    let depth = 8 * packed;
    let mut left = [[0.0f32; MOST_DEPTH]; ROWS];
    let mut right = [[0.0f32; COLUMNS]; MOST_DEPTH];
    let (mut rows_known, mut columns_known) = ([true; ROWS], [true; COLUMNS]);
    for lane in 0..LANES {
        let (g, t) = (lane / 4, lane % 4);
        for (i, register) in a.iter().enumerate() {
            let (row, k) = (g + 8 * (i % 2), packed * (t + 4 * (i / 2)));
            let (numbers, count) = factors(factor, words.at(*register)[lane]);
            left[row][k..k + count].copy_from_slice(&numbers[..count]);
            rows_known[row] &= words.known(*register) >> lane & 1 == 1;
        }
        for (i, register) in b.iter().enumerate() {
            let k = packed * (t + 4 * i);
            let (numbers, count) = factors(factor, words.at(*register)[lane]);
            (0..count).for_each(|next| right[k + next][g] = numbers[next]);
            columns_known[g] &= words.known(*register) >> lane & 1 == 1;
        }
    }
    // Where a lane's numbers of the result stand.
    let place = |i: usize, lane: usize| (lane / 4 + 8 * (i / 2), 2 * (lane % 4) + i % 2);
    let mut sums = [[0.0f32; COLUMNS]; ROWS];
    for (i, register) in c.iter().enumerate() {
        for lane in 0..LANES {
            let (row, column) = place(i, lane);
            sums[row][column] = f32::from_bits(words.at(*register)[lane]);
        }
    }
    pulp::Arch::new().dispatch(
        #[inline(always)]
        || {
            for (row, sums) in left.iter().zip(&mut sums) {
                for (x, column) in row.iter().zip(&right).take(depth) {
                    for (sum, y) in sums.iter_mut().zip(column) {
                        *sum = add_product(*sum, *x, *y);
                    }
                }
            }
        },
    );
    let addends = c.map(|register| words.known(register));
    for (i, to) in d.iter().enumerate() {
        let (mut out, mut known): (Lanes<u32>, Mask) = ([0; LANES], 0);
        for (lane, out) in out.iter_mut().enumerate() {
            let (row, column) = place(i, lane);
            *out = sums[row][column].to_bits();
            known |= Mask::from(rows_known[row] && columns_known[column]) << lane;
        }
        warp.registers.set_words(*to, &out, known & addends[i], Mask::MAX);
    }
}
