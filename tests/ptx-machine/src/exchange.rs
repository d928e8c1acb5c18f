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
use crate::arithmetic::binary;
use crate::instruction::{Collective, Exchange, Factor, Operand};
use crate::launch::Block;
use crate::memory::{Access, SEVERAL};
use crate::thread::Thread;

const LANES: usize = 32;
/// Of a product: rows and columns.
const ROWS: usize = 16;
const COLUMNS: usize = 8;
/// Of a matrix of `ldmatrix`: rows, and the bytes of each.
const MATRIX_ROWS: usize = 8;
const ROW_BYTES: usize = 16;

impl Block<'_> {
    /// All lanes of a warp have arrived at an instruction, of this line; `first` is the number of the warp's first thread.
    pub fn exchange(
        &mut self,
        collective: &Collective,
        line: usize,
        lanes: &mut [Thread],
        first: usize,
    ) -> Result<(), Fault> {
        match collective {
            Collective::Barrier => Ok(()),
            Collective::Shuffle { exchange, to, a, which } => {
                self.shuffle(line, lanes, first, *exchange, *to, [*a, *which])
            }
            Collective::Reduce { op, ty, to, a } => {
                self.whole_warp(line, lanes, first)?;
                let values = self.values(lanes, first, *a);
                let value = values.iter().map(|(bits, _)| *bits).reduce(|x, y| binary(*op, *ty, x, y)).unwrap_or(0);
                let known = values.iter().all(|(_, known)| *known);
                lanes.iter_mut().for_each(|lane| lane.set(*to, value, known));
                Ok(())
            }
            Collective::MultiplyMatrices { factor, d, a, b, c } => {
                self.whole_warp(line, lanes, first)?;
                let a = a.map(|register| self.values(lanes, first, Operand::Register(register)));
                let b = b.map(|register| self.values(lanes, first, Operand::Register(register)));
                let c = c.map(|operand| self.values(lanes, first, operand));
                multiply(*factor, lanes, d, &a, &b, &c);
                Ok(())
            }
            Collective::LoadMatrices { transposed, to, base, offset } => {
                self.whole_warp(line, lanes, first)?;
                self.load_matrices(line, lanes, first, *transposed, to, (*base, *offset))
            }
        }
    }

    fn whole_warp(&self, line: usize, lanes: &[Thread], first: usize) -> Result<(), Fault> {
        if lanes.len() == LANES {
            return Ok(());
        }
        Err(self.fault(line, first, format!("needs the 32 lanes of a warp, and there are {}", lanes.len())))
    }

    /// Of each lane, the bits and whether somebody wrote them.
    fn values(&self, lanes: &[Thread], first: usize, operand: Operand) -> Vec<(u64, bool)> {
        let of_lane = |(i, lane): (usize, &Thread)| lane.value(operand, (first + i) as u32, self.place);
        lanes.iter().enumerate().map(of_lane).collect()
    }

    fn shuffle(
        &self,
        line: usize,
        lanes: &mut [Thread],
        first: usize,
        exchange: Exchange,
        to: u32,
        [a, which]: [Operand; 2],
    ) -> Result<(), Fault> {
        let (values, which) = (self.values(lanes, first, a), self.values(lanes, first, which));
        for (lane, own) in lanes.iter_mut().enumerate() {
            let (which, known) = which[lane];
            if !known {
                return Err(self.fault(line, first + lane, "exchanges with a lane that nobody wrote down"));
            }
            let which = which as usize;
            // Beyond the warp's ends a lane keeps its own.
            let other = match exchange {
                Exchange::Butterfly => lane ^ which,
                Exchange::Index => which,
                Exchange::Down => Some(lane + which).filter(|other| *other < LANES).unwrap_or(lane),
                Exchange::Up => lane.checked_sub(which).unwrap_or(lane),
            };
            let (value, known) = values.get(other).copied().unwrap_or((0, false));
            own.set(to, value, known);
        }
        Ok(())
    }

    /// Lane `8 m + r` has the address of row `r` of matrix `m`. Lane `l` gets the elements `2 (l % 4)` and the next of row `l / 4`; of the
    /// transposed matrix if that is asked for.
    fn load_matrices(
        &mut self,
        line: usize,
        lanes: &mut [Thread],
        first: usize,
        transposed: bool,
        to: &[u32],
        (base, offset): (Operand, i64),
    ) -> Result<(), Fault> {
        let addresses = self.values(lanes, first, base);
        for (m, register) in to.iter().enumerate() {
            let mut rows = Vec::with_capacity(MATRIX_ROWS);
            for r in 0..MATRIX_ROWS {
                let lane = MATRIX_ROWS * m + r;
                let (address, known) = addresses[lane];
                if !known {
                    return Err(self.fault(line, first + lane, "an address from what nobody wrote"));
                }
                // What one lane has written, others get.
                let who = Access { thread: SEVERAL, ..self.access(first as u32) };
                let row = self.shared.read(address.wrapping_add_signed(offset), ROW_BYTES, ROW_BYTES, &who);
                rows.push(row.map_err(|fault| self.fault(line, first + lane, fault.what))?);
            }
            for (l, lane) in lanes.iter_mut().enumerate() {
                let (row, column) = (l / 4, 2 * (l % 4));
                let places = match transposed {
                    false => [(row, column), (row, column + 1)],
                    true => [(column, row), (column + 1, row)],
                };
                let [(low, low_known), (high, high_known)] = places.map(|(row, column)| {
                    let (row, at) = (&rows[row], 2 * column);
                    let bits = u16::from_le_bytes([row.bits[at], row.bits[at + 1]]);
                    (u64::from(bits), row.written[at] && row.written[at + 1])
                });
                lane.set(*register, high << 16 | low, low_known && high_known);
            }
        }
        Ok(())
    }
}

/// The numbers of a register along the sum, from its lower end.
pub fn factors(factor: Factor, bits: u64) -> Vec<f32> {
    match factor {
        // The lower 13 bits are not looked at.
        Factor::Tf32 => vec![f32::from_bits(bits as u32 & 0xffff_e000)],
        Factor::Bf16 => [bits as u32, bits as u32 >> 16].map(|half| f32::from_bits(half << 16)).to_vec(),
    }
}

type Fragment<const N: usize> = [Vec<(u64, bool)>; N];

/// A number of the result is known where all of its row, its column and its addend are.
fn multiply(factor: Factor, lanes: &mut [Thread], d: &[u32; 4], a: &Fragment<4>, b: &Fragment<2>, c: &Fragment<4>) {
    let packed = match factor {
        Factor::Tf32 => 1,
        Factor::Bf16 => 2,
    };
    let depth = 8 * packed;
    let mut left = vec![(0.0f32, false); ROWS * depth];
    let mut right = vec![(0.0f32, false); depth * COLUMNS];
    for lane in 0..LANES {
        let (g, t) = (lane / 4, lane % 4);
        for (i, register) in a.iter().enumerate() {
            let (bits, known) = register[lane];
            let (row, k) = (g + 8 * (i % 2), packed * (t + 4 * (i / 2)));
            for (next, x) in factors(factor, bits).into_iter().enumerate() {
                left[row * depth + k + next] = (x, known);
            }
        }
        for (i, register) in b.iter().enumerate() {
            let (bits, known) = register[lane];
            let k = packed * (t + 4 * i);
            for (next, x) in factors(factor, bits).into_iter().enumerate() {
                right[(k + next) * COLUMNS + g] = (x, known);
            }
        }
    }
    for (l, lane) in lanes.iter_mut().enumerate() {
        let (g, t) = (l / 4, l % 4);
        for (i, to) in d.iter().enumerate() {
            let (row, column) = (g + 8 * (i / 2), 2 * t + i % 2);
            let (bits, mut known) = c[i][l];
            let mut sum = f32::from_bits(bits as u32);
            for k in 0..depth {
                let ((x, x_known), (y, y_known)) = (left[row * depth + k], right[k * COLUMNS + column]);
                sum = (f64::from(x) * f64::from(y) + f64::from(sum)) as f32;
                known = known && x_known && y_known;
            }
            lane.set(*to, u64::from(sum.to_bits()), known);
        }
    }
}
