//! Launches in order. What the host decides (which rows of a loop run, how many blocks) it decides from sizes, as the CPU's executor does.

use super::Device;
use super::program::{DeviceProgram, Function, Given, Shares};
use crate::compiled::{
    CompiledContraction, CompiledEnds, CompiledIterate, CompiledLaunch, CompiledOp, CompiledRunning, CompiledUse,
};
use crate::draw::site_at;
use crate::error::Error;
use crate::library;
use crate::memory::{Buffer, size_of_dtype};
use crate::program::{clear_example, set_example};
use crate::rows::{Longest, Rows};
use crate::size::Size;
use bdl_plan::{AxisRole, Parts};

/// The state of a walk through the launches.
pub(super) struct Walk {
    pub sizes: Vec<i64>,
    /// The batch, and the rows of each open loop over running examples.
    pub rows: Vec<Rows>,
}

/// What an argument may mean beside buffers and sizes.
#[derive(Clone, Copy, Default)]
pub(super) struct Extra {
    pub grid: i64,
    pub row_blocks: i64,
    pub parts: i64,
    pub part_length: i64,
    pub site: u32,
    pub per_example: i64,
    pub first_example: u64,
}

pub(super) fn blocks_of(count: i64, each: u32) -> Result<u32, Error> {
    let blocks = (count.max(0) as u64).div_ceil(u64::from(each));
    u32::try_from(blocks)
        .ok()
        .filter(|blocks| *blocks <= i32::MAX as u32)
        .ok_or_else(|| Error::Device(format!("a launch over {count} points is too large for a device")))
}

/// Blocks that keep a large GPU busy, where a sum has parts of one length alone.
const BUSY: i64 = 264;
/// Room for partial sums that is worth it.
const MOST_PARTIALS: i64 = 256 << 20;

/// The blocks of a contraction.
struct Tiles {
    batch: i64,
    row_blocks: i64,
    column_blocks: i64,
    /// Of each tile's sum, and their length.
    parts: i64,
    part_length: i64,
    /// Of a tile's partial sums.
    bytes: i64,
    /// Of a tile whose sum has parts.
    counters: i64,
}

impl Tiles {
    fn count(&self) -> i64 {
        self.batch * self.row_blocks * self.column_blocks
    }
}

/// In how many parts a sum is computed, and how long they are. `tile`: bytes of a tile's partial sums.
fn parts_of(parts: Parts, sum: i64, tiles: i64, tile: i64) -> (i64, i64) {
    let whole = (1, sum.max(1));
    let tiles = tiles.max(1);
    let cut = |length: i64| ((sum + length - 1) / length, length);
    let fits = |(count, length): (i64, i64)| {
        if count > 1 && count * tiles * tile <= MOST_PARTIALS { (count, length) } else { whole }
    };
    match parts {
        Parts::Whole => whole,
        Parts::Fixed { length } => cut(i64::from(length)).max((1, 0)),
        Parts::Each { .. } if tiles >= BUSY => whole,
        Parts::Any { enough, .. } if tiles > i64::from(enough / 2) => whole,
        Parts::Each { unit } => fits(cut(i64::from(unit))),
        Parts::Any { unit, enough } => {
            let unit = i64::from(unit);
            let wanted = (i64::from(enough) / tiles).max(1);
            let units = (sum + unit - 1) / unit;
            let each = ((units + wanted - 1) / wanted).max(1);
            fits(cut(each * unit))
        }
    }
}

impl DeviceProgram {
    pub(super) fn run_launches<D: Device>(&mut self, device: &mut D) -> Result<(), Error> {
        self.flop.fill(0);
        let mut batch = Rows::default();
        batch.be_batch(self.positions.len());
        let mut walk = Walk { sizes: self.sizes.clone(), rows: vec![batch] };
        let launches = std::mem::take(&mut self.compiled.launches);
        let done = self.walk(device, &mut walk, &launches);
        self.compiled.launches = launches;
        done.and_then(|()| self.settle_times(device))
    }

    fn walk<D: Device>(
        &mut self,
        device: &mut D,
        walk: &mut Walk,
        list: &[CompiledLaunch<usize>],
    ) -> Result<(), Error> {
        list.iter().try_for_each(|launch| match self.profile {
            None => self.one(device, walk, launch),
            Some(_) => {
                let from = device.mark()?;
                self.one(device, walk, launch)?;
                self.note_time(device, launch.number, from)
            }
        })
    }

    fn one<D: Device>(&mut self, device: &mut D, walk: &mut Walk, launch: &CompiledLaunch<usize>) -> Result<(), Error> {
        let bytes_of =
            |p: &DeviceProgram, buffer: usize| p.lens[buffer] * size_of_dtype(p.compiled.buffers[buffer].dtype);
        match &launch.op {
            CompiledOp::Kernel(kernel) => self.kernel(device, walk, kernel),
            CompiledOp::Contract(contraction) => self.contract(device, walk, contraction),
            CompiledOp::Scan { extent, running, body, .. } if self.recurrences.contains_key(&launch.number) => {
                self.recurrence(device, walk, launch.number, (extent, running, body))
            }
            CompiledOp::Draw { out, distribution, site, steps, per_example, offsets } => {
                let dtype = self.compiled.buffers[*out].dtype;
                let found = self.draws.iter().find(|(which, _)| *which == (*distribution, dtype));
                let (_, function) = found.ok_or_else(|| Error::Plan("no code for a draw".to_string()))?;
                let function = function.clone();
                let site = site_at(*site, steps.iter().map(|at| walk.sizes[*at]));
                let (out, len) = (self.addresses[*out], self.lens[*out] as i64);
                match (per_example, offsets) {
                    (None, _) => self.draw(device, walk, &function, (out, len), 0, (site, 0)),
                    (Some(each), None) => {
                        let each = each.at(&walk.sizes).max(1);
                        self.draw(device, walk, &function, (out, len), each, (site, 0))
                    }
                    // Examples of different length, one after the other.
                    (Some(each), Some(_)) => {
                        let mut first = 0;
                        for example in 0..self.positions.len() {
                            set_example(&mut walk.sizes, &self.lengths, example);
                            let own = each.at(&walk.sizes).max(0);
                            clear_example(&mut walk.sizes, &self.lengths);
                            let at = out + (first * size_of_dtype(dtype) as i64) as u64;
                            self.draw(device, walk, &function, (at, own), own, (site, example as u64))?;
                            first += own;
                        }
                        Ok(())
                    }
                }
            }
            CompiledOp::Copy { from, to } => {
                let bytes = bytes_of(self, *to).min(bytes_of(self, *from));
                device.copy(self.addresses[*to], self.addresses[*from], bytes)
            }
            CompiledOp::Clear { buffer } => device.clear(self.addresses[*buffer], bytes_of(self, *buffer)),
            CompiledOp::Order { out, by } => {
                let longest = self.longest_first(walk, by);
                let order: Vec<u32> = longest.order.iter().map(|(row, _)| *row).collect();
                self.write_order(device, *out, &order)
            }
            CompiledOp::Scan { step, extent, reversed, running, ends, body } => {
                let longest = running.as_ref().map(|_| self.longest_first(walk, extent));
                let extent = longest.as_ref().map_or_else(|| extent.at(&walk.sizes), Longest::steps);
                let extent = match ends {
                    Some(CompiledEnds::After { steps }) => {
                        let mut count = [0u8; 4];
                        device.read(self.addresses[*steps], &mut count)?;
                        extent.min(i64::from(i32::from_ne_bytes(count)))
                    }
                    Some(CompiledEnds::When { .. }) | None => extent,
                };
                let mut made = extent;
                for i in 0..extent {
                    let now = if *reversed { extent - 1 - i } else { i };
                    walk.sizes[*step] = now;
                    if let (Some(longest), Some(running)) = (&longest, running) {
                        let count = longest.running(now);
                        walk.sizes[running.count] = count as i64;
                        let mut rows = Rows::default();
                        longest.rows_into(count, &mut rows);
                        walk.rows.push(rows);
                    }
                    let done = self.walk(device, walk, body);
                    if longest.is_some() {
                        walk.rows.pop();
                    }
                    done?;
                    if let Some(CompiledEnds::When { until, .. }) = ends {
                        let rows = walk.rows.last().map_or(1, |rows| rows.examples.len()).min(self.lens[*until]);
                        let mut holds = vec![0u8; rows];
                        device.read(self.addresses[*until], &mut holds)?;
                        if holds.iter().all(|holds| *holds != 0) {
                            made = i;
                            break;
                        }
                    }
                }
                if let Some(CompiledEnds::When { steps, .. }) = ends {
                    device.write(self.addresses[*steps], &(made as i32).to_ne_bytes())?;
                }
                Ok(())
            }
            CompiledOp::Iterate(iterate) => self.iterate(device, walk, iterate),
            CompiledOp::Sort { out, input, offsets, rows, columns, descending } => {
                let source = self.fetched(device, *input)?;
                let mut sorted = Buffer::zeros(self.compiled.buffers[*out].dtype, self.lens[*out])?;
                let rows = rows.at(&walk.sizes).max(0) as usize;
                let (from, to) = (source.pointer(), sorted.pointer().cast::<i32>());
                match offsets {
                    None => {
                        let columns = columns.at(&walk.sizes).max(0) as usize;
                        // SAFETY: both buffers hold `rows` rows of `columns` elements.
                        unsafe { library::sort_rows(from, source.dtype, to, 0, rows, columns, *descending) }
                    }
                    Some(_) => {
                        let mut first = 0;
                        for example in 0..self.positions.len() {
                            set_example(&mut walk.sizes, &self.lengths, example);
                            let columns = columns.at(&walk.sizes).max(0) as usize;
                            let from = from.wrapping_add(first * size_of_dtype(source.dtype));
                            // SAFETY: the example's own elements, one example after the other.
                            unsafe {
                                let to = to.wrapping_add(first);
                                library::sort_side_by_side(from, source.dtype, to, rows, columns, *descending);
                            }
                            first += rows * columns;
                        }
                        clear_example(&mut walk.sizes, &self.lengths);
                    }
                }
                device.write(self.addresses[*out], sorted.as_bytes_mut())
            }
            CompiledOp::Library { routine, out, input, rows, columns } => {
                let source = self.fetched(device, *input)?;
                let mut made = Buffer::zeros(self.compiled.buffers[*out].dtype, self.lens[*out])?;
                let (rows, columns) = (rows.at(&walk.sizes).max(0) as usize, columns.at(&walk.sizes).max(0) as usize);
                let (from, to) = ((source.pointer().cast_const(), source.dtype), (made.pointer(), made.dtype));
                // SAFETY: both buffers hold rows * columns elements.
                unsafe { library::routine(*routine, from, to, rows, columns) }
                device.write(self.addresses[*out], made.as_bytes_mut())
            }
        }
    }

    /// Fills `len` elements from an address on, `each` of them an example (0: all are of example 0), beginning with example `first`.
    fn draw<D: Device>(
        &self,
        device: &mut D,
        walk: &Walk,
        function: &Function,
        (out, len): (u64, i64),
        each: i64,
        (site, first): (u32, u64),
    ) -> Result<(), Error> {
        // Every example begins a new block of four numbers.
        let (examples, own) = if each == 0 { (1, len) } else { ((len + each - 1) / each, each) };
        let blocks = blocks_of(examples * ((own + 3) / 4), function.threads)?;
        let extra = Extra { grid: len, site, per_example: each, first_example: first, ..Extra::default() };
        self.call(device, walk, function, &[out], [blocks, 1], extra)
    }

    /// A buffer of the device on the host.
    fn fetched<D: Device>(&self, device: &mut D, at: usize) -> Result<Buffer, Error> {
        let mut buffer = Buffer::zeros(self.compiled.buffers[at].dtype, self.lens[at])?;
        device.read(self.addresses[at], buffer.as_bytes_mut())?;
        Ok(buffer)
    }

    /// The address of a slice's first element.
    pub(super) fn slice(&self, walk: &Walk, (buffer, offset): &(usize, Size)) -> u64 {
        let bytes = offset.at(&walk.sizes) * size_of_dtype(self.compiled.buffers[*buffer].dtype) as i64;
        self.addresses[*buffer].wrapping_add_signed(bytes)
    }

    pub(super) fn call<D: Device>(
        &self,
        device: &mut D,
        walk: &Walk,
        function: &Function,
        buffers: &[u64],
        blocks: [u32; 2],
        extra: Extra,
    ) -> Result<(), Error> {
        if blocks.contains(&0) {
            return Ok(());
        }
        let list = |at: &usize| self.lists.get(at).map_or(0, |block| block.address);
        let arguments = function.arguments.iter().map(|given| match given {
            Given::Buffer(i) => buffers.get(*i).copied().unwrap_or(0),
            Given::Size(at) => walk.sizes[*at] as u64,
            Given::Lengths(at) => list(at),
            Given::Grid => extra.grid as u64,
            Given::RowBlocks => extra.row_blocks as u64,
            Given::Parts => extra.parts as u64,
            Given::PartLength => extra.part_length as u64,
            Given::Partials => self.partials.address,
            Given::Counters => self.counters.address,
            Given::Moment => self.moment.address,
            Given::Positions => self.position_list.address + 8 * extra.first_example,
            Given::Site => u64::from(extra.site),
            Given::PerExample => extra.per_example as u64,
            Given::SharedUnits => u64::from(function.shared_units),
        });
        let arguments: Vec<u64> = arguments.collect();
        device.launch(function.loaded, blocks, function.threads, &arguments)
    }

    fn kernel<D: Device>(&mut self, device: &mut D, walk: &Walk, kernel: &CompiledUse<usize>) -> Result<(), Error> {
        let buffers: Vec<u64> = kernel.buffers.iter().map(|slice| self.slice(walk, slice)).collect();
        for piece in 0..self.kernels[kernel.function].len() {
            let Shares::Points { each, along, parts, bytes } = &self.kernels[kernel.function][piece].share else {
                return Err(Error::Plan("a kernel with the code of a contraction".to_string()));
            };
            let grid = kernel.grid.at(&walk.sizes).max(0) * along.at(&walk.sizes).max(0);
            if grid > i64::from(u32::MAX) {
                return Err(Error::Device(format!("a launch over {grid} points is too large for a device")));
            }
            let (groups, parts, bytes) = (i64::from(blocks_of(grid, *each)?), i64::from(*parts), i64::from(*bytes));
            if parts > 1 {
                self.reserve_partials(device, groups * parts * bytes, groups)?;
            }
            let extra = Extra { grid, ..Extra::default() };
            let function = &self.kernels[kernel.function][piece];
            self.call(device, walk, function, &buffers, [blocks_of(groups * parts, 1)?, 1], extra)?;
        }
        Ok(())
    }

    /// Room for what blocks leave for the last one of their group.
    fn reserve_partials<D: Device>(&mut self, device: &mut D, bytes: i64, counters: i64) -> Result<(), Error> {
        self.partials.reserve(device, bytes as usize)?;
        let counters = 4 * counters as usize;
        if self.counters.bytes < counters {
            let address = self.counters.reserve(device, counters)?;
            device.clear(address, counters)?;
        }
        Ok(())
    }

    fn contract<D: Device>(
        &mut self,
        device: &mut D,
        walk: &mut Walk,
        c: &CompiledContraction<usize>,
    ) -> Result<(), Error> {
        let (tiles, flop) = self.tiles(&mut walk.sizes, c)?;
        self.flop[c.number] += flop;
        if tiles.parts > 1 {
            let count = tiles.count();
            self.reserve_partials(device, count * tiles.parts * tiles.bytes, count * tiles.counters)?;
        }
        let blocks = [blocks_of(tiles.batch * tiles.row_blocks, 1)?, blocks_of(tiles.column_blocks * tiles.parts, 1)?];
        if blocks[1] > 65_535 {
            let columns = tiles.column_blocks;
            return Err(Error::Device(format!(
                "a product with {columns} tiles beside one another is too large for a device"
            )));
        }
        // Where the example's sizes say where an operand begins, its code adds that.
        let of_example = |size: &Size| self.lengths.keys().any(|at| size.mentions(*at));
        let operand = |slice: &(usize, Size)| match of_example(&slice.1) {
            true => self.addresses[slice.0],
            false => self.slice(walk, slice),
        };
        let mut buffers: Vec<u64> = [&c.out, &c.a, &c.b].into_iter().map(operand).collect();
        buffers.extend(c.form.ragged().map_or([0; 3], |(_, tables)| tables.map(|table| self.addresses[table])));
        let runs_epilogue = self.contraction(c.number)?.runs_epilogue();
        let epilogue = c.epilogue.as_ref().filter(|_| runs_epilogue);
        let of_epilogue = epilogue.into_iter().flat_map(|epilogue| &epilogue.buffers);
        buffers.extend(of_epilogue.map(|slice| self.slice(walk, slice)));
        let Tiles { row_blocks, parts, part_length, .. } = tiles;
        let extra = Extra { row_blocks, parts, part_length, ..Extra::default() };
        self.call(device, walk, self.contraction(c.number)?, &buffers, blocks, extra)?;
        match &c.epilogue {
            Some(epilogue) if !runs_epilogue => self.kernel(device, walk, epilogue),
            Some(_) | None => Ok(()),
        }
    }

    fn contraction(&self, number: usize) -> Result<&Function, Error> {
        let found = self.contractions.get(number).and_then(Option::as_ref);
        found.ok_or_else(|| Error::Plan("a contraction without code".to_string()))
    }

    /// The tiles of a contraction at these sizes, and its floating-point operations.
    fn tiles(&self, sizes: &mut [i64], c: &CompiledContraction<usize>) -> Result<(Tiles, u64), Error> {
        let Shares::Tile { rows, columns, parts, bytes } = self.contraction(c.number)?.share else {
            return Err(Error::Plan("a contraction with the code of a kernel".to_string()));
        };
        let is_ragged = c.form.ragged().is_some();
        let examples = if is_ragged { self.positions.len() } else { 1 };
        let (mut row_count, mut column_count, mut sum, mut batch, mut flop) = (0i64, 0i64, 0i64, 1i64, 0u64);
        for example in 0..examples {
            if is_ragged {
                set_example(sizes, &self.lengths, example);
            }
            let all = c.form.axes.iter().filter(|axis| axis.offsets.is_none());
            flop += 2 * all.map(|axis| axis.extent.at(sizes).max(0)).product::<i64>() as u64;
            let extent = |role: AxisRole| {
                let axes = c.form.axes.iter().filter(|axis| axis.role == role && axis.offsets.is_none());
                axes.map(|axis| axis.extent.at(sizes).max(0)).product::<i64>()
            };
            row_count = row_count.max(extent(AxisRole::M));
            column_count = column_count.max(extent(AxisRole::N));
            sum = sum.max(extent(AxisRole::K));
            batch = extent(AxisRole::Batch);
        }
        if is_ragged {
            clear_example(sizes, &self.lengths);
            batch *= examples as i64;
        }
        let row_blocks = i64::from(blocks_of(row_count, rows)?);
        let column_blocks = i64::from(blocks_of(column_count, columns)?);
        let bytes = i64::from(bytes);
        let (count, part_length) = parts_of(parts, sum, batch * row_blocks * column_blocks, bytes);
        let counters = i64::from(parts.counters(u32::try_from(count).unwrap_or(u32::MAX)));
        Ok((Tiles { batch, row_blocks, column_blocks, parts: count, part_length, bytes, counters }, flop))
    }

    /// The most room that launches take for what blocks leave for the last of their group, at these sizes.
    pub(super) fn partial_bytes(&self, sizes: &mut [i64], list: &[CompiledLaunch<usize>]) -> Result<usize, Error> {
        let of_kernel = |sizes: &[i64], kernel: &CompiledUse<usize>| -> Result<i64, Error> {
            let mut most = 0;
            for piece in &self.kernels[kernel.function] {
                if let Shares::Points { each, along, parts: parts @ 2.., bytes } = &piece.share {
                    let groups = i64::from(blocks_of(kernel.grid.at(sizes).max(0) * along.at(sizes).max(0), *each)?);
                    most = most.max(groups * (4 + i64::from(*parts) * i64::from(*bytes)));
                }
            }
            Ok(most)
        };
        let mut most = 0;
        for launch in list {
            let here = match &launch.op {
                CompiledOp::Kernel(kernel) => of_kernel(sizes, kernel)? as usize,
                CompiledOp::Contract(c) => {
                    let (tiles, _) = self.tiles(sizes, c)?;
                    let own = if tiles.parts > 1 { tiles.count() * (4 + tiles.parts * tiles.bytes) } else { 0 };
                    let epilogue = c.epilogue.as_ref().map_or(Ok(0), |kernel| of_kernel(sizes, kernel))?;
                    own.max(epilogue) as usize
                }
                CompiledOp::Scan { running, body, .. } => match self.recurrences.get(&launch.number) {
                    Some(recurrent) => recurrent.pack_bytes(),
                    None => {
                        self.all_run(sizes, running);
                        self.partial_bytes(sizes, body)?
                    }
                },
                CompiledOp::Iterate(iterate) => {
                    self.all_run(sizes, &iterate.running);
                    self.partial_bytes(sizes, &iterate.condition)?.max(self.partial_bytes(sizes, &iterate.body)?)
                }
                CompiledOp::Draw { .. }
                | CompiledOp::Copy { .. }
                | CompiledOp::Clear { .. }
                | CompiledOp::Order { .. }
                | CompiledOp::Sort { .. }
                | CompiledOp::Library { .. } => 0,
            };
            most = most.max(here);
        }
        Ok(most)
    }

    /// As in the first step of a loop.
    fn all_run(&self, sizes: &mut [i64], running: &Option<CompiledRunning>) {
        if let Some(running) = running {
            sizes[running.count] = self.positions.len() as i64;
        }
    }

    fn longest_first(&self, walk: &mut Walk, by: &Size) -> Longest {
        let around = walk.rows.last().cloned().unwrap_or_default();
        let mut longest = Longest::default();
        longest.find(&around, by, &mut walk.sizes, &self.lengths);
        longest
    }

    fn write_order<D: Device>(&self, device: &mut D, out: usize, rows: &[u32]) -> Result<(), Error> {
        let bytes: Vec<u8> = rows.iter().flat_map(|row| (*row as i32).to_le_bytes()).collect();
        device.write(self.addresses[out], &bytes)
    }

    fn iterate<D: Device>(
        &mut self,
        device: &mut D,
        walk: &mut Walk,
        iterate: &CompiledIterate<usize>,
    ) -> Result<(), Error> {
        let around = walk.rows.last().cloned().unwrap_or_default();
        // Without rows of its own the loop has one condition for all.
        let limits: Vec<i64> = match &iterate.running {
            None => vec![iterate.at_most.at(&walk.sizes)],
            Some(_) => {
                let of = |example: &u32| {
                    set_example(&mut walk.sizes, &self.lengths, *example as usize);
                    iterate.at_most.at(&walk.sizes)
                };
                let limits = around.examples.iter().map(of).collect();
                clear_example(&mut walk.sizes, &self.lengths);
                limits
            }
        };
        let mut left: Vec<u32> = (0..limits.len() as u32).collect();
        if let Some(running) = &iterate.running {
            self.write_order(device, running.order, &left)?;
        }
        let mut step = 0;
        while !left.is_empty() {
            walk.sizes[iterate.step] = step;
            self.within(device, walk, &iterate.running, &iterate.condition, &around, &left)?;
            let mut until = vec![0u8; left.len()];
            device.read(self.addresses[iterate.until], &mut until)?;
            let open = left.iter().zip(&until).filter(|(_, holds)| **holds == 0).map(|(row, _)| *row);
            let (next, stopped): (Vec<u32>, Vec<u32>) = open.partition(|row| step < limits[*row as usize]);
            self.unfinished[iterate.number] += stopped.len();
            if let Some(running) = &iterate.running {
                self.write_order(device, running.order, &next)?;
            }
            left = next;
            if left.is_empty() {
                break;
            }
            self.within(device, walk, &iterate.running, &iterate.body, &around, &left)?;
            step += 1;
        }
        Ok(())
    }

    /// Launches for the rows that are left.
    fn within<D: Device>(
        &mut self,
        device: &mut D,
        walk: &mut Walk,
        running: &Option<CompiledRunning>,
        list: &[CompiledLaunch<usize>],
        around: &Rows,
        left: &[u32],
    ) -> Result<(), Error> {
        let Some(running) = running else { return self.walk(device, walk, list) };
        walk.sizes[running.count] = left.len() as i64;
        walk.rows.push(Rows { examples: left.iter().map(|row| around.examples[*row as usize]).collect() });
        let done = self.walk(device, walk, list);
        walk.rows.pop();
        done
    }
}
