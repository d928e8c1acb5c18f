//! Blocks, warps and threads: who runs next, and what barriers and exchanges wait for.

use crate::Fault;
use crate::access::Access;
use crate::allocation::Allocation;
use crate::instruction::{Collective, Function, Op};
use crate::memory::Memory;
use crate::registers::{LANES, lanes};
use crate::warp::{State, Warp};
use crate::warpgroup::{Products, WARPGROUP};

/// How a function is launched.
#[derive(Clone, Debug)]
pub struct Launch<'p> {
    /// Blocks in x, y and z.
    pub blocks: [u32; 3],
    /// Threads a block.
    pub threads: u32,
    /// Bytes of shared memory a block, behind what the function declares.
    pub shared: usize,
    pub parameters: &'p [u64],
    /// Shuffles the order in which blocks, warps and threads run; in order for 0.
    pub order: u64,
}

/// What a launch did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    pub instructions: u64,
}

/// Instructions for which lanes of a launch's first block run one after the other, which takes them much longer.
const MOST_ALONE: u64 = 1 << 16;

/// Of every array in shared memory.
pub const SHARED_ALIGNMENT: usize = 16;

/// Errors: the first fault; memory then holds what was written until then.
pub fn launch(function: &Function, memory: &mut Memory, launch: &Launch) -> Result<Count, Fault> {
    if launch.threads > function.threads {
        return Err(Fault::new(format!("{} threads a block of at most {}", launch.threads, function.threads)));
    }
    if launch.parameters.len() != function.parameters.len() {
        let (given, wanted) = (launch.parameters.len(), function.parameters.len());
        return Err(Fault::new(format!("{given} parameters for {wanted}")));
    }
    if launch.shared > 0 && !function.has_dynamic_shared {
        return Err(Fault::new(format!(
            "{} bytes of shared memory, for which the function has no name",
            launch.shared
        )));
    }
    // The name stands for an address that is aligned.
    let shared = match launch.shared {
        0 => function.shared,
        bytes => function.shared.next_multiple_of(function.dynamic_alignment) + bytes,
    };
    memory.next_launch();
    let mut count = Count::default();
    let [across, down, deep] = launch.blocks;
    let blocks = u64::from(across) * u64::from(down) * u64::from(deep);
    let mut shuffle = Shuffle(launch.order);
    let threads = launch.threads as usize;
    let mut warps: Vec<Warp> =
        (0..threads.div_ceil(LANES)).map(|number| Warp::new(function, number, threads)).collect();
    let mut block = Block {
        function,
        parameters: launch.parameters,
        place: [0; 3],
        shared: Allocation::shared(shared, function.has_products),
        number: 0,
        alone_left: 0,
        barriers: 0,
        warp_barriers: vec![0; warps.len()],
        fences: vec![0; threads],
        proxy_fences: vec![Vec::new(); threads],
        products: (0..threads / WARPGROUP).map(|_| Products::default()).collect(),
    };
    if shuffle.is_alone() {
        block.alone_left = MOST_ALONE;
    }
    for i in shuffle.order(blocks as usize) {
        memory.next_block();
        block.restart(i as u32, launch.blocks);
        warps.iter_mut().for_each(|warp| warp.restart(function, block.place));
        block.run(&mut warps, memory, &mut shuffle, &mut count)?;
        block.alone_left = 0;
    }
    Ok(count)
}

pub struct Block<'f> {
    pub function: &'f Function,
    pub parameters: &'f [u64],
    /// In x, y and z.
    pub place: [u32; 3],
    pub shared: Allocation,
    number: u32,
    /// So many instructions, lanes run one after the other.
    alone_left: u64,
    /// How many it has passed.
    barriers: u32,
    /// Of each warp.
    warp_barriers: Vec<u32>,
    /// Of each thread: how many fences it has passed.
    fences: Vec<u32>,
    /// Of each thread: when it told tensor cores of what it had written.
    pub proxy_fences: Vec<Vec<(u64, Access)>>,
    /// Of each warpgroup.
    pub products: Vec<Products>,
}

impl Block<'_> {
    fn restart(&mut self, number: u32, [across, down, _]: [u32; 3]) {
        self.number = number;
        self.place = [number % across, number / across % down, number / across / down];
        self.shared.next_block();
        self.barriers = 0;
        self.warp_barriers.fill(0);
        self.fences.fill(0);
        self.proxy_fences.iter_mut().for_each(Vec::clear);
        self.products.iter_mut().for_each(|own| *own = Products::default());
    }

    /// Who this thread is, now.
    #[inline]
    pub fn access(&self, thread: usize) -> Access {
        let warp = thread / LANES;
        Access {
            block: self.number,
            thread: thread as u16,
            warp: warp as u16,
            barriers: self.barriers,
            warp_barriers: self.warp_barriers[warp],
            fences: self.fences[thread],
        }
    }

    /// What this thread wrote to shared memory is seen by tensor cores that are asked behind a barrier.
    pub fn proxy_fence(&mut self, thread: usize) {
        let now = (self.shared.now(), self.access(thread));
        self.proxy_fences[thread].push(now);
    }

    pub fn fence(&mut self, thread: usize) {
        self.fences[thread] += 1;
    }

    fn run(
        &mut self,
        warps: &mut [Warp],
        memory: &mut Memory,
        shuffle: &mut Shuffle,
        count: &mut Count,
    ) -> Result<(), Fault> {
        loop {
            for warp in shuffle.order(warps.len()) {
                self.run_warp(&mut warps[warp], memory, shuffle, count)?;
            }
            if self.run_warpgroups(warps)? {
                continue;
            }
            let threads = || warps.iter().flat_map(|warp| lanes(warp.all).map(|l| (warp.first + l, warp.states[l])));
            let Some((first, state)) = threads().find(|(_, state)| *state != State::Done) else { return Ok(()) };
            // Every warp ran until nothing in it could go on.
            let State::AtBarrier(at) = state else {
                return Err(self.fault(0, first, "waits for an exchange that its warp or warpgroup does not reach"));
            };
            let line = self.function.code[at].line;
            if let Some((other, _)) = threads().find(|(_, other)| *other != State::Done && *other != state) {
                return Err(self.fault(line, other, "waits elsewhere while others wait at this barrier"));
            }
            if let Some((gone, _)) = threads().find(|(_, other)| *other == State::Done) {
                return Err(self.fault(line, gone, "has returned, while others wait at this barrier"));
            }
            self.barriers += 1;
            warps.iter_mut().for_each(|warp| warp.go_on(at));
        }
    }

    /// Runs what whole warpgroups wait at. Did any?
    fn run_warpgroups(&mut self, warps: &mut [Warp]) -> Result<bool, Fault> {
        let function = self.function;
        let mut any = false;
        for (number, own) in warps.chunks_exact_mut(WARPGROUP / LANES).enumerate() {
            let first = own[0].states[0];
            let State::AtWarpgroup(at) = first else { continue };
            let instruction = &function.code[at];
            let Op::OfWarpgroup(what) = &instruction.op else { continue };
            if own.iter().any(|warp| warp.states.iter().any(|state| *state != first)) {
                continue;
            }
            self.of_warpgroup(what, instruction.line, own, number)?;
            own.iter_mut().for_each(|warp| warp.go_on(at));
            any = true;
        }
        Ok(any)
    }

    /// Runs the threads of a warp until all of them are done or wait for the block.
    fn run_warp(
        &mut self,
        warp: &mut Warp,
        memory: &mut Memory,
        shuffle: &mut Shuffle,
        count: &mut Count,
    ) -> Result<(), Fault> {
        loop {
            match warp.running() {
                0 => {}
                running if self.alone_left > 0 => {
                    for lane in shuffle.order(LANES).into_iter().filter(|lane| running >> lane & 1 == 1) {
                        warp.run(1 << lane, self, memory)?;
                    }
                }
                running => warp.run(running, self, memory)?,
            }
            self.alone_left = self.alone_left.saturating_sub(warp.count);
            count.instructions += std::mem::take(&mut warp.count);
            let at = lanes(warp.all).find_map(|lane| match warp.states[lane] {
                State::AtExchange(at) => Some(at),
                State::Runs(_) | State::AtBarrier(_) | State::AtWarpgroup(_) | State::Done => None,
            });
            let Some(at) = at else { return Ok(()) };
            let function = self.function;
            let instruction = &function.code[at];
            if let Some(lane) = lanes(warp.all).find(|lane| warp.states[*lane] != State::AtExchange(at)) {
                let what = "does not take part in this exchange of its warp";
                return Err(self.fault(instruction.line, warp.first + lane, what));
            }
            if let Op::Collective(collective) = &instruction.op {
                self.exchange(collective, instruction.line, warp)?;
                if matches!(collective, Collective::Barrier) {
                    self.warp_barriers[warp.first / LANES] += 1;
                }
            }
            warp.go_on(at);
        }
    }

    pub fn fault(&self, line: usize, thread: usize, what: impl Into<String>) -> Fault {
        Fault { what: what.into(), line, thread: Some((self.number, thread as u32)) }
    }
}

/// A small generator (xorshift64*, Vigna 2016).
struct Shuffle(u64);

impl Shuffle {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % n
    }

    /// Does the first block of a launch have its lanes run one after the other? One launch in eight does.
    fn is_alone(&mut self) -> bool {
        self.0 != 0 && self.below(8) == 0
    }

    /// `0..n` in some order; in order for a seed of 0.
    fn order(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        if self.0 != 0 {
            for i in (1..n).rev() {
                order.swap(i, self.below(i + 1));
            }
        }
        order
    }
}
