//! Products that four warps together ask for, of matrices in shared memory (`wgmma`), and the groups in which they wait for them.
//!
//! ```text
//! mma_async   ──► open ──commit_group──► groups ──wait_group n──► all but the last n groups are over
//! ```
//!
//! A product may happen at any time until the wait that covers it:
//!
//! | found | how |
//! |---|---|
//! | shared memory that is written meanwhile | it is read at the first and at the last possible moment, and nobody may have written between |
//! | a sum that is used meanwhile | its register counts as never written until the wait |
//! | a sum that was written and not told of (`wgmma.fence`) | each register of a sum knows |
//! | shared memory that tensor cores need not see yet | each byte must have been followed by its thread's `fence.proxy.async`, and that by a barrier |
//! | a warp that does not take part | all 128 threads wait at one instruction, or nobody goes on |
//!
//! Matrices lie as a descriptor says (PTX ISA, "Matrix Descriptor Format"): rows of 64 or 128 bytes along the sum, eight of them a group, whose chunks of
//! sixteen bytes change places by bits 7 to 9 (7 and 8) of their address. Fragments of the sums lie as those of `mma.m16n8` do, eight columns beside
//! eight columns, sixteen rows to each warp.

use crate::Fault;
use crate::access::{Access, SEVERAL};
use crate::exchange::{add_product, factors};
use crate::instruction::{Factor, OfWarpgroup, Register};
use crate::launch::Block;
use crate::registers::{Mask, Registers};
use crate::warp::Warp;
use std::collections::VecDeque;

pub const WARPGROUP: usize = 128;
const ROWS: usize = 64;
/// Bytes of a row that one product takes, and those of a chunk.
const TAKEN: usize = 32;
const CHUNK: usize = 16;

/// A matrix in shared memory: where it begins, how far groups of eight rows lie apart, bytes of a row.
#[derive(Clone, Copy, Debug)]
struct Matrix {
    start: u64,
    group: u64,
    row: u64,
}

impl Matrix {
    fn of(descriptor: u64) -> Result<Matrix, String> {
        let row = match descriptor >> 62 {
            1 => 128,
            2 => 64,
            layout => return Err(format!("a matrix in the layout {layout}, which is not known")),
        };
        let (start, group) = ((descriptor & 0x3fff) << 4, (descriptor >> 32 & 0x3fff) << 4);
        if descriptor >> 49 & 7 != 0 || !group.is_multiple_of(8 * row) {
            return Err(format!("a matrix whose groups do not begin at multiples of {}", 8 * row));
        }
        Ok(Matrix { start, group, row })
    }

    /// Where a chunk of a row lies.
    fn place(&self, row: usize, chunk: usize) -> u64 {
        let (group, inside) = (row as u64 / 8, row as u64 % 8);
        let at = self.start + group * self.group + inside * self.row + (chunk * CHUNK) as u64;
        // Bits 7 and 8 of rows of 64 bytes, 7 to 9 of those of 128.
        let turn = at >> 7 & (self.row / CHUNK as u64 - 1);
        at ^ turn << 4
    }
}

/// What a product reads, and when it was asked for.
struct Asked {
    /// With as many rows.
    matrices: [(Matrix, usize); 2],
    read: [Vec<u8>; 2],
    at: Access,
    sums: Vec<Register>,
    line: usize,
}

/// The products of one warpgroup that are not over.
#[derive(Default)]
pub struct Products {
    open: Vec<Asked>,
    groups: VecDeque<Vec<Asked>>,
}

impl Products {
    /// The line of a product that nobody has waited for.
    pub fn unfinished(&self) -> Option<usize> {
        self.groups.iter().flatten().chain(&self.open).next().map(|asked| asked.line)
    }
}

impl Block<'_> {
    /// All threads of the warpgroup of this number have arrived at an instruction, of this line.
    pub fn of_warpgroup(
        &mut self,
        what: &OfWarpgroup,
        line: usize,
        warps: &mut [Warp],
        number: usize,
    ) -> Result<(), Fault> {
        let first = number * WARPGROUP;
        match what {
            OfWarpgroup::Fence => warps.iter_mut().for_each(|warp| warp.registers.tell_sums()),
            OfWarpgroup::Commit => {
                let products = &mut self.products[number];
                products.groups.push_back(std::mem::take(&mut products.open));
            }
            OfWarpgroup::Await { left } => {
                while self.products[number].groups.len() > *left {
                    for asked in self.products[number].groups.pop_front().unwrap_or_default() {
                        self.finish(&asked, first)?;
                    }
                }
                let products = &self.products[number];
                let pending = products.groups.iter().flatten().chain(&products.open);
                let pending: Vec<Register> = pending.flat_map(|asked| asked.sums.iter().copied()).collect();
                warps.iter_mut().for_each(|warp| warp.registers.settle_sums(&pending));
            }
            OfWarpgroup::Multiply { factor, sums, a, b, adds } => {
                let asked = self.ask(line, warps, first, (*factor, sums), [*a, *b], *adds)?;
                self.products[number].open.push(asked);
            }
        }
        Ok(())
    }

    /// The bytes of a matrix, row by row, and whether each was written.
    fn matrix(&mut self, matrix: Matrix, rows: usize, now: &Access) -> Result<(Vec<u8>, Vec<bool>), Fault> {
        let (mut bytes, mut written) = (Vec::new(), Vec::new());
        for row in 0..rows {
            for chunk in 0..TAKEN / CHUNK {
                let at = matrix.place(row, chunk);
                self.shared.told_to_tensor_cores(at, CHUNK, now, &self.proxy_fences)?;
                let found = self.shared.read(at, CHUNK, CHUNK, now)?;
                bytes.extend(found.bits);
                written.extend(found.written);
            }
        }
        Ok((bytes, written))
    }

    fn ask(
        &mut self,
        line: usize,
        warps: &mut [Warp],
        first: usize,
        (factor, sums): (Factor, &[Register]),
        descriptors: [Register; 2],
        adds: Register,
    ) -> Result<Asked, Fault> {
        let columns = 2 * sums.len();
        let mut matrices = Vec::new();
        for (descriptor, rows) in descriptors.into_iter().zip([ROWS, columns]) {
            let own = warps[0].registers.longs().at(descriptor)[0];
            let is_own = |registers: &Registers| {
                let longs = registers.longs();
                longs.known(descriptor) == Mask::MAX && longs.at(descriptor).iter().all(|bits| *bits == own)
            };
            if !warps.iter().all(|warp| is_own(&warp.registers)) {
                return Err(self.fault(line, first, "a descriptor that is not one for the whole warpgroup"));
            }
            matrices.push((Matrix::of(own).map_err(|what| self.fault(line, first, what))?, rows));
        }
        // What one thread has written, all get.
        let now = Access { thread: SEVERAL, warp: SEVERAL, ..self.access(first) };
        let mut found = Vec::new();
        for (matrix, rows) in &matrices {
            let read = self.matrix(*matrix, *rows, &now);
            found.push(read.map_err(|fault| self.fault(line, first, fault.what))?);
        }
        let [(a, a_written), (b, b_written)] = <[_; 2]>::try_from(found).unwrap_or_default();
        let numbers = |bytes: &[u8]| -> Vec<f32> {
            let words = bytes.chunks(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]));
            let of_word = |word| {
                let (numbers, count) = factors(factor, word);
                numbers.into_iter().take(count)
            };
            words.flat_map(of_word).collect()
        };
        let is_known =
            |written: &[bool]| -> Vec<bool> { written.chunks(TAKEN).map(|row| row.iter().all(|w| *w)).collect() };
        let (left, right) = (numbers(&a), numbers(&b));
        let (left_known, right_known) = (is_known(&a_written), is_known(&b_written));
        let depth = left.len() / ROWS;
        for (number, warp) in warps.iter_mut().enumerate() {
            let (adds, adds_known) = warp.registers.truth(adds);
            if adds_known != Mask::MAX {
                return Err(self.fault(line, warp.first, "decides by what nobody wrote"));
            }
            for (at, register) in sums.iter().enumerate() {
                let taken = warp.registers.take_sum(*register, line);
                let (mut values, before) = taken.map_err(|what| self.fault(line, warp.first, what))?;
                let mut known = 0;
                for (lane, value) in values.iter_mut().enumerate() {
                    let (g, t, adds) = (lane / 4, lane % 4, adds >> lane & 1 == 1);
                    let (row, column) = (16 * number + g + 8 * (at / 2 % 2), 8 * (at / 4) + 2 * t + at % 2);
                    let mut sum = if adds { f32::from_bits(*value) } else { 0.0 };
                    let (x, y) = (&left[row * depth..][..depth], &right[column * depth..][..depth]);
                    for (x, y) in x.iter().zip(y) {
                        sum = add_product(sum, *x, *y);
                    }
                    *value = sum.to_bits();
                    let is_known = (before >> lane & 1 == 1 || !adds) && left_known[row] && right_known[column];
                    known |= Mask::from(is_known) << lane;
                }
                warp.registers.give_sum(*register, &values, known);
            }
        }
        let matrices = <[_; 2]>::try_from(matrices).map_err(|_| self.fault(line, first, "two matrices"))?;
        Ok(Asked { matrices, read: [a, b], at: now, sums: sums.to_vec(), line })
    }

    /// The last moment of a product: what it reads must be what it was.
    fn finish(&mut self, asked: &Asked, first: usize) -> Result<(), Fault> {
        let now = Access { thread: SEVERAL, warp: SEVERAL, ..self.access(first) };
        for ((matrix, rows), before) in asked.matrices.iter().zip(&asked.read) {
            for row in 0..*rows {
                for chunk in 0..TAKEN / CHUNK {
                    let at = matrix.place(row, chunk);
                    let same = self.shared.was_left_alone(at, CHUNK, &asked.at)
                        && self
                            .shared
                            .read(at, CHUNK, CHUNK, &now)
                            .is_ok_and(|found| found.bits[..] == before[row * TAKEN + chunk * CHUNK..][..CHUNK]);
                    if !same {
                        let what = format!(
                            "what the product of line {} reads was written before its warpgroup waited for it",
                            asked.line
                        );
                        return Err(self.fault(asked.line, first, what));
                    }
                }
            }
        }
        Ok(())
    }
}
