//! Blocks, warps and threads: who runs next, and what barriers and exchanges wait for.

use crate::Fault;
use crate::instruction::{Collective, Function, Op};
use crate::memory::{Access, Allocation, Memory};
use crate::thread::{Stop, Thread, run};
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
    /// Shuffles the order in which warps and threads run.
    pub order: u64,
}

/// What a launch did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    pub instructions: u64,
}

/// Instructions of one thread, after which it is taken to run for ever.
const MOST_INSTRUCTIONS: u64 = 1 << 32;

/// Of every array in shared memory.
pub const SHARED_ALIGNMENT: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Runs,
    /// Waits at the instruction of this number.
    AtBarrier(usize),
    AtExchange(usize),
    /// At an instruction of the warpgroup.
    AtWarpgroup(usize),
    Done,
}

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
    let number = memory.next_launch();
    let mut count = Count::default();
    let [across, down, deep] = launch.blocks;
    let blocks = u64::from(across) * u64::from(down) * u64::from(deep);
    let mut shuffle = Shuffle(launch.order);
    let mut threads: Vec<Thread> = Vec::new();
    for i in shuffle.order(blocks as usize) {
        let mut block = Block {
            function,
            parameters: launch.parameters,
            place: [i as u32 % across, i as u32 / across % down, i as u32 / across / down],
            shared: Allocation::new(0, shared),
            access: Access { launch: number, block: i as u32, ..Access::default() },
            warp_barriers: vec![0; launch.threads.div_ceil(32) as usize],
            fences: vec![0; launch.threads as usize],
            proxy_fences: vec![Vec::new(); launch.threads as usize],
            products: (0..launch.threads as usize / WARPGROUP).map(|_| Products::default()).collect(),
        };
        memory.next_block();
        threads.resize_with(launch.threads as usize, || Thread::new(function.registers));
        threads.iter_mut().for_each(Thread::restart);
        block.run(&mut threads, memory, &mut shuffle, &mut count)?;
    }
    Ok(count)
}

pub struct Block<'f> {
    pub function: &'f Function,
    pub parameters: &'f [u64],
    /// In x, y and z.
    pub place: [u32; 3],
    pub shared: Allocation,
    access: Access,
    warp_barriers: Vec<u32>,
    /// Of each thread: how many fences it has passed.
    fences: Vec<u32>,
    /// Of each thread: when it told tensor cores of what it had written.
    pub proxy_fences: Vec<Vec<(u64, Access)>>,
    /// Of each warpgroup.
    pub products: Vec<Products>,
}

impl Block<'_> {
    /// Who this thread is, now.
    pub fn access(&self, thread: u32) -> Access {
        let warp_barriers = self.warp_barriers[thread as usize / 32];
        Access { thread, warp: thread / 32, warp_barriers, fences: self.fences[thread as usize], ..self.access }
    }

    /// What this thread wrote to shared memory is seen by tensor cores that are asked behind a barrier.
    pub fn proxy_fence(&mut self, thread: u32) {
        let now = (self.shared.now(), self.access(thread));
        self.proxy_fences[thread as usize].push(now);
    }

    pub fn fence(&mut self, thread: u32) {
        self.fences[thread as usize] += 1;
    }

    fn run(
        &mut self,
        threads: &mut [Thread],
        memory: &mut Memory,
        shuffle: &mut Shuffle,
        count: &mut Count,
    ) -> Result<(), Fault> {
        let mut states = vec![State::Runs; threads.len()];
        let warps = threads.len().div_ceil(32);
        loop {
            for warp in shuffle.order(warps) {
                self.run_warp(warp, threads, &mut states, memory, shuffle, count)?;
            }
            if self.run_warpgroups(threads, &mut states)? {
                continue;
            }
            let waiting: Vec<usize> = (0..states.len()).filter(|t| states[*t] != State::Done).collect();
            let Some(first) = waiting.first() else { return Ok(()) };
            // Every warp ran until nothing in it could go on.
            let State::AtBarrier(at) = states[*first] else {
                return Err(self.fault(0, *first, "waits for an exchange that its warp or warpgroup does not reach"));
            };
            let line = self.function.code[at].line;
            if let Some(other) = waiting.iter().find(|t| states[**t] != states[*first]) {
                return Err(self.fault(line, *other, "waits elsewhere while others wait at this barrier"));
            }
            if let Some(gone) = states.iter().position(|s| *s == State::Done) {
                return Err(self.fault(line, gone, "has returned, while others wait at this barrier"));
            }
            self.access.barriers += 1;
            for t in waiting {
                threads[t].at += 1;
                states[t] = State::Runs;
            }
        }
    }

    /// Runs what whole warpgroups wait at. Did any?
    fn run_warpgroups(&mut self, threads: &mut [Thread], states: &mut [State]) -> Result<bool, Fault> {
        let function = self.function;
        let mut any = false;
        for first in (0..threads.len() / WARPGROUP).map(|number| number * WARPGROUP) {
            let State::AtWarpgroup(at) = states[first] else { continue };
            let own = first..first + WARPGROUP;
            let instruction = &function.code[at];
            let Op::OfWarpgroup(what) = &instruction.op else { continue };
            if states[own.clone()].iter().any(|state| *state != State::AtWarpgroup(at)) {
                continue;
            }
            self.of_warpgroup(what, instruction.line, &mut threads[own.clone()], first)?;
            for t in own {
                threads[t].at += 1;
                states[t] = State::Runs;
            }
            any = true;
        }
        Ok(any)
    }

    /// Runs the threads of a warp until all of them are done or wait for the block.
    fn run_warp(
        &mut self,
        warp: usize,
        threads: &mut [Thread],
        states: &mut [State],
        memory: &mut Memory,
        shuffle: &mut Shuffle,
        count: &mut Count,
    ) -> Result<(), Fault> {
        let lanes = 32 * warp..threads.len().min(32 * (warp + 1));
        loop {
            for lane in shuffle.order(lanes.len()) {
                let t = lanes.start + lane;
                if states[t] != State::Runs {
                    continue;
                }
                let stop = run(&mut threads[t], self, t as u32, memory, MOST_INSTRUCTIONS)?;
                states[t] = match stop {
                    Stop::Done => State::Done,
                    Stop::Barrier => State::AtBarrier(threads[t].at),
                    Stop::Exchange => State::AtExchange(threads[t].at),
                    Stop::Warpgroup => State::AtWarpgroup(threads[t].at),
                };
            }
            let at = lanes.clone().find_map(|t| match states[t] {
                State::AtExchange(at) => Some(at),
                State::Runs | State::AtBarrier(_) | State::AtWarpgroup(_) | State::Done => None,
            });
            let Some(at) = at else {
                count.instructions += lanes.map(|t| std::mem::take(&mut threads[t].count)).sum::<u64>();
                return Ok(());
            };
            let function = self.function;
            let instruction = &function.code[at];
            if let Some(t) = lanes.clone().find(|t| states[*t] != State::AtExchange(at)) {
                let line = instruction.line;
                return Err(self.fault(line, t, "does not take part in this exchange of its warp"));
            }
            if let Op::Collective(collective) = &instruction.op {
                self.exchange(collective, instruction.line, &mut threads[lanes.clone()], lanes.start)?;
                if matches!(collective, Collective::Barrier) {
                    self.warp_barriers[warp] += 1;
                }
            }
            for t in lanes.clone() {
                threads[t].at += 1;
                states[t] = State::Runs;
            }
        }
    }

    pub fn fault(&self, line: usize, thread: usize, what: impl Into<String>) -> Fault {
        Fault { what: what.into(), line, thread: Some((self.access.block, thread as u32)) }
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
