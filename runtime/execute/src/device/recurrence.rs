//! A scan that is one function: its weights are laid out, then blocks take their rows through all steps.

use super::Device;
use super::launches::{Extra, Walk, blocks_of};
use super::program::{DeviceProgram, Packed, Recurrent, Shares};
use crate::compiled::{CompiledLaunch, CompiledOp, CompiledRunning};
use crate::error::Error;
use crate::program::{clear_example, set_example};
use crate::size::Size;

/// Copies of weights begin at multiples of this.
const ALIGN: usize = 256;

/// Extent, running rows and body of a scan.
type Scanned<'s> = (&'s Size, &'s Option<CompiledRunning>, &'s [CompiledLaunch<usize>]);

impl Packed {
    fn bytes(&self) -> usize {
        (4 * self.elements as usize).next_multiple_of(ALIGN)
    }
}

impl Recurrent {
    /// Bytes of the copies of weights.
    pub fn pack_bytes(&self) -> usize {
        self.packs.iter().map(Packed::bytes).sum()
    }
}

impl DeviceProgram {
    pub(super) fn recurrence<D: Device>(
        &mut self,
        device: &mut D,
        walk: &mut Walk,
        number: usize,
        scanned: Scanned,
    ) -> Result<(), Error> {
        self.count_flop(walk, scanned);
        let bytes = self.recurrences.get(&number).map_or(0, Recurrent::pack_bytes);
        if bytes > 0 {
            self.partials.reserve(device, bytes)?;
        }
        let Some(recurrent) = self.recurrences.get(&number) else { return Ok(()) };
        let mut buffers: Vec<u64> = recurrent.buffers.iter().map(|buffer| self.addresses[*buffer]).collect();
        let mut copy = self.partials.address;
        for pack in &recurrent.packs {
            let (blocks, grid) = self.points(walk, &pack.function.share, pack.elements)?;
            let extra = Extra { grid, ..Extra::default() };
            self.call(device, walk, &pack.function, &[self.slice(walk, &pack.weights), copy], [blocks, 1], extra)?;
            buffers.push(copy);
            copy += pack.bytes() as u64;
        }
        if let (_, Some(running), _) = scanned {
            buffers.push(self.addresses[running.order]);
        }
        let rows = recurrent.rows.at(&walk.sizes).max(0);
        let (blocks, grid) = self.points(walk, &recurrent.function.share, rows)?;
        let extra = Extra { grid, ..Extra::default() };
        self.call(device, walk, &recurrent.function, &buffers, [blocks, 1], extra)
    }

    /// Blocks and points of a launch whose grid has so many indices.
    fn points(&self, walk: &Walk, share: &Shares, grid: i64) -> Result<(u32, i64), Error> {
        match share {
            Shares::Points { each, along, .. } => {
                let points = grid * along.at(&walk.sizes).max(0);
                Ok((blocks_of(points, *each)?, points))
            }
            Shares::Tile { .. } => Err(Error::Plan("a scan with the code of a contraction".to_string())),
        }
    }

    /// Floating-point operations of the body's contractions: those of all steps of each row.
    fn count_flop(&mut self, walk: &mut Walk, (extent, running, body): Scanned) {
        let rows = walk.rows.last().map_or(0, |rows| rows.examples.len()) as i64;
        let steps = match running {
            None => extent.at(&walk.sizes).max(0) * rows,
            Some(_) => {
                let examples = walk.rows.last().map(|rows| rows.examples.clone()).unwrap_or_default();
                let of = |example: u32| {
                    set_example(&mut walk.sizes, &self.lengths, example as usize);
                    extent.at(&walk.sizes).max(0)
                };
                let steps = examples.into_iter().map(of).sum();
                clear_example(&mut walk.sizes, &self.lengths);
                steps
            }
        };
        if let Some(running) = running {
            walk.sizes[running.count] = rows;
        }
        for launch in body {
            if let CompiledOp::Contract(c) = &launch.op {
                let all: i64 = c.form.axes.iter().map(|axis| axis.extent.at(&walk.sizes).max(0)).product();
                let each = if rows > 0 { all / rows } else { 0 };
                self.flop[c.number] += 2 * (each * steps) as u64;
            }
        }
    }
}
