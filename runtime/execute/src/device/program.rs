//! A plan with its functions and memory on a device: made once, run once a batch.

use super::profile::Profile;
use super::recorded::{Recorded, depends_on_lengths, is_recordable};
use super::{Device, Loaded, Resident};
use crate::compiled::{Compiled, compile};
use crate::error::Error;
use crate::memory::{Buffer, size_of_dtype, write_number};
use crate::program::{Data, Inputs, bind_sizes};
use crate::size::Size;
use crate::store::Store;
use crate::tables;
use bdl_plan::{
    Argument, DType, DeviceCode, DeviceKernel, Distribution, Name, OF_EPILOGUE, Origin, Pack, Parts, Place, Plan,
    Products, Share, Table,
};
use std::collections::HashMap;
use std::sync::Arc;

/// Slots of the arena begin at multiples of this.
const ALIGN: usize = 256;

/// A function with its arguments' places.
#[derive(Clone, Debug)]
pub(super) struct Function {
    pub loaded: Loaded,
    pub arguments: Vec<Given>,
    pub threads: u32,
    pub shared_units: u32,
    pub share: Shares,
}

impl Function {
    /// Of a contraction: does it run its epilogue too?
    pub fn runs_epilogue(&self) -> bool {
        self.arguments.iter().any(|given| matches!(given, Given::Buffer(i) if *i >= OF_EPILOGUE as usize))
    }
}

/// A [`Share`] with positions for names.
#[derive(Clone, Debug)]
pub(super) enum Shares {
    Points { each: u32, along: Size, parts: u32, bytes: u32 },
    Tile { rows: u32, columns: u32, parts: Parts, bytes: u32 },
}

/// A [`Recurrence`] with positions for names.
pub(super) struct Recurrent {
    pub packs: Vec<Packed>,
    pub function: Function,
    pub buffers: Vec<usize>,
    pub rows: Size,
}

/// A [`Pack`] with positions for names.
pub(super) struct Packed {
    pub function: Function,
    pub weights: (usize, Size),
    pub elements: i64,
}

/// An [`Argument`] with positions for names.
#[derive(Clone, Debug)]
pub(super) enum Given {
    Buffer(usize),
    Size(usize),
    Lengths(usize),
    Grid,
    RowBlocks,
    Parts,
    PartLength,
    Partials,
    Counters,
    Moment,
    Positions,
    Site,
    PerExample,
    SharedUnits,
}

/// Memory on the device that grows.
#[derive(Clone, Copy, Default)]
pub(super) struct Block {
    pub address: u64,
    pub bytes: usize,
}

impl Block {
    /// At least so many bytes; the old content is lost when it grows.
    pub fn reserve<D: Device>(&mut self, device: &mut D, bytes: usize) -> Result<u64, Error> {
        let bytes = bytes.max(1);
        if self.bytes < bytes {
            if self.bytes > 0 {
                device.free(self.address);
            }
            *self = Block::default();
            *self = Block { address: device.allocate(bytes)?, bytes };
        }
        Ok(self.address)
    }
}

/// A plan ready to run on a device.
pub struct DeviceProgram {
    pub(super) plan: Arc<Plan>,
    pub(super) compiled: Compiled<usize>,
    pub(super) kernels: Vec<Vec<Function>>,
    pub(super) contractions: Vec<Option<Function>>,
    /// By the number of the scan's launch.
    pub(super) recurrences: HashMap<usize, Recurrent>,
    pub(super) draws: Vec<((Distribution, DType), Function)>,
    /// One, or one for each slot where a device keeps them apart.
    arena: Vec<Block>,
    /// Of literals, tables and inputs, by buffer.
    own: Vec<Block>,
    /// Lists of per-example sizes, by position of the size.
    pub(super) lists: HashMap<usize, Block>,
    pub(super) moment: Block,
    pub(super) position_list: Block,
    /// Partial sums of the tiles of one contraction, and how many parts of each tile are done (0 between launches).
    pub(super) partials: Block,
    pub(super) counters: Block,
    pub(super) recorded: Recorded,
    pub(super) is_recordable: bool,
    pub(super) depends_on_lengths: bool,
    pub(super) profile: Option<Profile>,
    host: Vec<Option<Buffer>>,
    tables: tables::Scratch,
    pub(super) sizes: Vec<i64>,
    pub(super) lengths: HashMap<usize, Vec<i64>>,
    pub(super) positions: Vec<i64>,
    pub(super) addresses: Vec<u64>,
    pub(super) lens: Vec<usize>,
    /// For each `iterate`: how many examples it left at its bound since that was last asked.
    pub(super) unfinished: Vec<usize>,
    /// For each contraction, in the last run.
    pub(super) flop: Vec<u64>,
}

/// Bytes on the device that a run takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Need {
    /// Tensors of the run: arena, literals, tables, inputs, lists, partial sums.
    pub own: usize,
    /// Parameters and state, which programs share by name.
    pub shared: Vec<(Name, usize)>,
}

impl DeviceProgram {
    /// Errors: plan and code do not fit together; the device's compiler refuses a function.
    pub fn new<D: Device>(device: &mut D, plan: Arc<Plan>, code: &DeviceCode) -> Result<DeviceProgram, Error> {
        let compiled = compile(&plan, Products::Exact, &|kernel| code.kernel(kernel).map(|_| kernel.0 as usize))?;
        let all: Vec<&DeviceKernel> = code.all().collect();
        let most_shared = device.most_shared();
        let mut loaded = device.load(&all)?.into_iter();
        // In the order of `all`.
        let mut function = |kernel: &DeviceKernel| -> Result<Function, Error> {
            let loaded = loaded.next().ok_or_else(|| Error::Plan("a function that was not loaded".to_string()))?;
            let position = |name: &bdl_plan::Name| {
                let found = compiled.names.iter().position(|n| n == name);
                found.ok_or_else(|| Error::Plan(format!("the size `{name}` is not declared")))
            };
            let arguments = kernel.arguments.iter().map(|argument| {
                Ok(match argument {
                    Argument::Buffer(i) => Given::Buffer(*i as usize),
                    Argument::Size(name) => Given::Size(position(name)?),
                    Argument::Lengths(name) => Given::Lengths(position(name)?),
                    Argument::Grid => Given::Grid,
                    Argument::RowBlocks => Given::RowBlocks,
                    Argument::Parts => Given::Parts,
                    Argument::PartLength => Given::PartLength,
                    Argument::Partials => Given::Partials,
                    Argument::Counters => Given::Counters,
                    Argument::Moment => Given::Moment,
                    Argument::Positions => Given::Positions,
                    Argument::Site => Given::Site,
                    Argument::PerExample => Given::PerExample,
                    Argument::SharedUnits => Given::SharedUnits,
                })
            });
            let arguments = arguments.collect::<Result<_, Error>>()?;
            let share = match &kernel.share {
                Share::Points { each, along, parts, bytes } => {
                    let along = Size::new(along, &compiled.names)?;
                    Shares::Points { each: *each, along, parts: *parts, bytes: *bytes }
                }
                Share::Tile { rows, columns, parts, bytes } => {
                    Shares::Tile { rows: *rows, columns: *columns, parts: *parts, bytes: *bytes }
                }
            };
            let shared_units = kernel.units_in(most_shared);
            Ok(Function { loaded, arguments, threads: kernel.threads, shared_units, share })
        };
        let mut kernels = Vec::new();
        for pieces in &code.kernels {
            kernels.push(pieces.iter().map(&mut function).collect::<Result<Vec<_>, _>>()?);
        }
        let contractions = code
            .contractions
            .iter()
            .map(|kernel| kernel.as_ref().map(&mut function).transpose())
            .collect::<Result<Vec<_>, _>>()?;
        let draws = code
            .draws
            .iter()
            .map(|(which, kernel)| Ok((*which, function(kernel)?)))
            .collect::<Result<Vec<_>, Error>>()?;
        let mut recurrences = HashMap::new();
        for (number, made) in &code.recurrences {
            let pack = |pack: &Pack| {
                let weights = (pack.from.buffer.0 as usize, Size::new(&pack.from.offset, &compiled.names)?);
                Ok(Packed { function: function(&pack.kernel)?, weights, elements: i64::from(pack.elements) })
            };
            let packs = made.packs.iter().map(pack).collect::<Result<Vec<_>, Error>>()?;
            let buffers = made.buffers.iter().map(|buffer| buffer.0 as usize).collect();
            let rows = Size::new(&made.rows, &compiled.names)?;
            recurrences.insert(*number, Recurrent { packs, function: function(&made.function)?, buffers, rows });
        }
        if contractions.len() != compiled.contraction_count {
            return Err(Error::Plan("another number of contractions than the code has".to_string()));
        }
        let count = plan.buffers.len();
        Ok(DeviceProgram {
            sizes: vec![0; plan.sizes.len()],
            unfinished: vec![0; compiled.iterations.len()],
            flop: vec![0; compiled.contraction_count],
            kernels,
            contractions,
            recurrences,
            draws,
            arena: Vec::new(),
            own: vec![Block::default(); count],
            lists: HashMap::new(),
            moment: Block::default(),
            position_list: Block::default(),
            partials: Block::default(),
            counters: Block::default(),
            recorded: Recorded::default(),
            profile: None,
            is_recordable: is_recordable(&compiled.launches),
            depends_on_lengths: depends_on_lengths(&compiled.launches),
            host: (0..count).map(|_| None).collect(),
            tables: tables::Scratch::default(),
            lengths: HashMap::new(),
            positions: Vec::new(),
            addresses: vec![0; count],
            lens: vec![0; count],
            plan,
            compiled,
        })
    }

    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// Bytes that this program holds on the device.
    pub fn bytes(&self) -> usize {
        let lists = self.lists.values().chain([&self.moment, &self.position_list, &self.partials, &self.counters]);
        self.arena.iter().chain(&self.own).chain(lists).map(|block| block.bytes).sum()
    }

    /// The iterations that reached their bound before their condition held, and for how many examples, since this was last asked.
    pub fn take_unfinished(&mut self) -> Vec<(Origin, usize)> {
        self.compiled.take_unfinished(&mut self.unfinished)
    }

    /// For each contraction of the plan: the floating-point operations that the last run spent in it. A product with an addition counts as two.
    pub fn flop(&self) -> &[u64] {
        &self.flop
    }

    /// What a run on a batch of these sizes takes; nothing is allocated, and the inputs' buffers are not looked at.
    pub fn need(&mut self, inputs: &Inputs) -> Result<Need, Error> {
        bind_sizes(&self.compiled, inputs, &mut self.sizes, &mut self.lengths, &mut self.positions)?;
        let lists = 8 * inputs.batch * (self.lengths.len() + 1);
        let mut need = Need { own: self.slot_offsets().0 + lists, shared: Vec::new() };
        for (buffer, compiled) in self.plan.buffers.iter().zip(&self.compiled.buffers) {
            let bytes = compiled.len.at(&self.sizes).max(0) as usize * size_of_dtype(buffer.dtype);
            match buffer.place {
                Place::Param | Place::State => need.shared.push((buffer.name.clone(), bytes)),
                Place::Input { .. } | Place::Literal(_) | Place::Table(_) => {
                    need.own += bytes.next_multiple_of(ALIGN);
                }
                Place::Slot(_) | Place::Blocks => {}
            }
        }
        let mut sizes = self.sizes.clone();
        need.own += self.partial_bytes(&mut sizes, &self.compiled.launches)?;
        Ok(need)
    }

    /// Runs the plan. Parameters and state that the store lacks are made of zeros first; afterwards the device holds the new ones.
    pub fn run<D: Device>(
        &mut self,
        device: &mut D,
        resident: &mut Resident,
        store: &mut Store,
        inputs: &Inputs,
    ) -> Result<DeviceOutputs, Error> {
        bind_sizes(&self.compiled, inputs, &mut self.sizes, &mut self.lengths, &mut self.positions)?;
        self.bind(device, resident, store, inputs)?;
        self.run_recorded(device)?;
        let mut outputs = DeviceOutputs { buffers: Vec::new() };
        for (name, id) in &self.plan.outputs {
            let at = id.0 as usize;
            let mut buffer = Buffer::zeros(self.plan.buffers[at].dtype, self.lens[at])?;
            device.read(self.addresses[at], buffer.as_bytes_mut())?;
            outputs.buffers.push((name.clone(), buffer));
        }
        Ok(outputs)
    }

    fn bind<D: Device>(
        &mut self,
        device: &mut D,
        resident: &mut Resident,
        store: &mut Store,
        inputs: &Inputs,
    ) -> Result<(), Error> {
        let offsets = self.bind_arena(device)?;
        let plan = self.plan.clone();
        // Where the host has what tables are computed from.
        let mut pointers: Vec<*mut u8> = vec![std::ptr::null_mut(); plan.buffers.len()];
        for (at, buffer) in plan.buffers.iter().enumerate() {
            let compiled = &self.compiled.buffers[at];
            let len = compiled.len.at(&self.sizes).max(0);
            let bytes = len as usize * size_of_dtype(buffer.dtype);
            self.lens[at] = len as usize;
            self.addresses[at] = match &buffer.place {
                Place::Param | Place::State => {
                    let mut shape: Vec<i64> = compiled.shape.iter().map(|d| d.at(&self.sizes)).collect();
                    if shape.iter().product::<i64>() != len {
                        shape = vec![len];
                    }
                    let entry = store.insert(&buffer.name, buffer.dtype, shape)?;
                    entry.trained |= matches!(buffer.place, Place::Param);
                    let address = resident.address(device, store, &buffer.name)?;
                    if is_key(&plan, at) {
                        // What tables are made of is what the device holds now.
                        let host = self.host[at].insert(Buffer::zeros(buffer.dtype, len as usize)?);
                        device.read(address, host.as_bytes_mut())?;
                        pointers[at] = host.pointer();
                    }
                    address
                }
                Place::Input { .. } => {
                    let found = inputs.buffers.iter().find(|(n, _)| *n == &*buffer.name);
                    let (_, data) =
                        found.ok_or_else(|| Error::Missing { what: "input", name: buffer.name.to_string() })?;
                    if data.len() as i64 != len {
                        let (name, found) = (buffer.name.to_string(), data.len() as i64);
                        return Err(Error::Length { name, expected: len, found });
                    }
                    let address = self.own[at].reserve(device, bytes)?;
                    if data.dtype() == buffer.dtype {
                        pointers[at] = data.pointer().cast_mut();
                        device.write(address, data.as_bytes())?;
                    } else {
                        let host = self.host[at].insert(converted(data, buffer.dtype)?);
                        pointers[at] = host.pointer();
                        device.write(address, &host.as_bytes()[..bytes])?;
                    }
                    address
                }
                Place::Slot(slot) => {
                    let room = self.compiled.slots[slot.0 as usize].at(&self.sizes).max(0);
                    if bytes as i64 > room {
                        return Err(Error::Plan(format!("`{}` is longer than its slot", buffer.name)));
                    }
                    offsets[slot.0 as usize]
                }
                Place::Blocks => {
                    return Err(Error::Plan(format!("`{}` is in blocks, which no device has", buffer.name)));
                }
                Place::Literal(values) => {
                    if values.len() as i64 != len {
                        return Err(Error::Plan(format!("`{}` has {} numbers", buffer.name, values.len())));
                    }
                    let is_new = self.own[at].bytes == 0;
                    let address = self.own[at].reserve(device, bytes)?;
                    if is_new {
                        let mut literal = Buffer::zeros(buffer.dtype, values.len())?;
                        literal.set(&buffer.name, values.iter().copied())?;
                        device.write(address, &literal.as_bytes()[..bytes])?;
                        pointers[at] = self.host[at].insert(literal).pointer();
                    } else {
                        pointers[at] = self.host[at].as_ref().map_or(std::ptr::null_mut(), Buffer::pointer);
                    }
                    address
                }
                Place::Table(_) => {
                    self.host[at] = Some(Buffer::zeros(buffer.dtype, len as usize)?);
                    self.own[at].reserve(device, bytes)?
                }
            };
        }
        let scratch = &mut self.tables;
        tables::fill(
            &self.compiled,
            &plan,
            &self.sizes,
            &self.lengths,
            inputs,
            &mut self.host,
            &mut pointers,
            scratch,
        )?;
        for (at, buffer) in plan.buffers.iter().enumerate() {
            if let (Place::Table(_), Some(host)) = (&buffer.place, &self.host[at]) {
                device.write(self.addresses[at], host.as_bytes())?;
            }
        }
        self.write_lists(device, inputs)
    }

    /// Where each slot begins.
    fn bind_arena<D: Device>(&mut self, device: &mut D) -> Result<Vec<u64>, Error> {
        if device.separates_slots() {
            self.arena.resize(self.compiled.slots.len(), Block::default());
            let mut starts = Vec::new();
            for (block, slot) in self.arena.iter_mut().zip(&self.compiled.slots) {
                // A new one each time: as long as it must be, and unwritten.
                if block.bytes > 0 {
                    device.free(block.address);
                }
                *block = Block::default();
                starts.push(block.reserve(device, slot.at(&self.sizes).max(0) as usize)?);
            }
            return Ok(starts);
        }
        let (bytes, offsets) = self.slot_offsets();
        self.arena.resize(1, Block::default());
        let start = self.arena[0].reserve(device, bytes)?;
        device.forget(start, bytes)?;
        Ok(offsets.iter().map(|offset| start + *offset as u64).collect())
    }

    /// Bytes of the arena, and where each slot begins in it.
    fn slot_offsets(&self) -> (usize, Vec<usize>) {
        let (mut at, mut offsets) = (0usize, Vec::new());
        for slot in &self.compiled.slots {
            offsets.push(at);
            let bytes = (slot.at(&self.sizes).max(0) as usize).checked_next_multiple_of(ALIGN).unwrap_or(usize::MAX);
            at = at.saturating_add(bytes);
        }
        (at, offsets)
    }

    /// What functions read beside buffers: per-example sizes, positions in the epoch, seed and step.
    fn write_lists<D: Device>(&mut self, device: &mut D, inputs: &Inputs) -> Result<(), Error> {
        let scans = self.recurrences.values().map(|recurrent| &recurrent.function);
        let all = self.kernels.iter().flatten().chain(self.contractions.iter().flatten());
        let all = all.chain(self.draws.iter().map(|(_, f)| f)).chain(scans);
        let mut wanted: Vec<usize> = all
            .flat_map(|function| &function.arguments)
            .filter_map(|given| if let Given::Lengths(at) = given { Some(*at) } else { None })
            .collect();
        wanted.sort_unstable();
        wanted.dedup();
        for at in wanted {
            let list = self.lengths.get(&at).cloned().unwrap_or_default();
            let block = self.lists.entry(at).or_default();
            write_integers(device, block, &list)?;
        }
        if !self.draws.is_empty() {
            write_integers(device, &mut self.position_list, &self.positions)?;
            write_integers(device, &mut self.moment, &[inputs.seed as i64, inputs.step as i64])?;
        }
        Ok(())
    }

    /// Addresses of lists of per-example sizes, by position of the size.
    pub(super) fn list_addresses(&self) -> Vec<u64> {
        let mut lists: Vec<(usize, u64)> = self.lists.iter().map(|(at, block)| (*at, block.address)).collect();
        lists.sort_unstable();
        lists.into_iter().map(|(_, address)| address).collect()
    }

    /// Gives the memory back.
    pub fn release<D: Device>(&mut self, device: &mut D) {
        self.recorded.release(device);
        let shared = [&mut self.moment, &mut self.position_list, &mut self.partials, &mut self.counters];
        let lists = self.lists.values_mut().chain(shared);
        for block in self.arena.iter_mut().chain(&mut self.own).chain(lists).filter(|block| block.bytes > 0) {
            device.free(block.address);
            *block = Block::default();
        }
    }
}

fn write_integers<D: Device>(device: &mut D, block: &mut Block, list: &[i64]) -> Result<(), Error> {
    let bytes: Vec<u8> = list.iter().flat_map(|x| x.to_le_bytes()).collect();
    let address = block.reserve(device, bytes.len())?;
    device.write(address, &bytes)
}

/// Do tables sort by this buffer?
fn is_key(plan: &Plan, at: usize) -> bool {
    plan.buffers.iter().any(|buffer| match &buffer.place {
        Place::Table(Table::SortedBy { keys } | Table::Runs { keys, .. }) => keys.0 as usize == at,
        Place::Table(Table::Lengths(_) | Table::Offsets(_) | Table::Owner(_) | Table::Positions)
        | Place::Param
        | Place::State
        | Place::Input { .. }
        | Place::Slot(_)
        | Place::Blocks
        | Place::Literal(_) => false,
    })
}

/// The caller's data, of another type, as elements of the plan's.
fn converted(data: &Data, dtype: DType) -> Result<Buffer, Error> {
    let mut buffer = Buffer::zeros(dtype, data.len())?;
    for i in 0..data.len() {
        // SAFETY: the buffer has room for `len` elements of its type.
        unsafe { write_number(buffer.as_bytes_mut().as_mut_ptr(), dtype, i, data.number(i)) }
    }
    Ok(buffer)
}

/// What a run gave, on the host.
pub struct DeviceOutputs {
    buffers: Vec<(Arc<str>, Buffer)>,
}

impl DeviceOutputs {
    pub fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.buffers.iter().map(|(name, _)| name)
    }

    pub fn get(&self, name: &str) -> Option<&Buffer> {
        self.buffers.iter().find(|(n, _)| **n == *name).map(|(_, buffer)| buffer)
    }

    pub fn numbers(&self, name: &str) -> Option<Vec<f64>> {
        self.get(name).map(Buffer::to_f64)
    }

    /// The first element of an output: a loss, a count.
    pub fn number(&self, name: &str) -> Option<f64> {
        self.get(name).filter(|buffer| !buffer.is_empty()).map(|buffer| buffer.number(0))
    }
}
