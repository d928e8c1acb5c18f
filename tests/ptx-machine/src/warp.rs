//! The instructions of a warp: lanes that are at one place go on together, those further back first.

use crate::Fault;
use crate::copies::Copies;
use crate::instruction::{Function, Op};
use crate::launch::Block;
use crate::memory::Memory;
use crate::registers::{LANES, Lanes, Mask, Registers, lanes};
use crate::warpgroup::{Products, WARPGROUP};

/// Where a lane is, by the number of an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Runs(usize),
    AtBarrier(usize),
    /// At an exchange or a barrier of the warp.
    AtExchange(usize),
    /// At an instruction of the warpgroup.
    AtWarpgroup(usize),
    Done,
}

pub struct Warp {
    /// The number of its first thread.
    pub first: usize,
    /// The lanes there are: fewer than 32 in the last warp of a block.
    pub all: Mask,
    pub states: Lanes<State>,
    pub registers: Registers,
    pub copies: Vec<Copies>,
    /// Instructions since this was last taken, of all lanes.
    pub count: u64,
    /// Instructions, however many lanes took part.
    steps: u64,
}

/// Instructions of a warp in a block, after which it is taken to run for ever.
const MOST_STEPS: u64 = 1 << 32;

/// Lanes that run, by where they are.
struct Groups {
    /// All but the one whose turn it is.
    others: Vec<(usize, Mask)>,
    /// The first of their places.
    next: usize,
}

impl Groups {
    fn add(&mut self, at: usize, mask: Mask) {
        if mask == 0 {
            return;
        }
        match self.others.iter_mut().find(|(place, _)| *place == at) {
            Some((_, own)) => *own |= mask,
            None => self.others.push((at, mask)),
        }
        self.next = self.next.min(at);
    }

    /// Those at the first place.
    fn take(&mut self) -> Option<(usize, Mask)> {
        let first = self.others.iter().position(|(at, _)| *at == self.next)?;
        let taken = self.others.swap_remove(first);
        self.next = self.others.iter().map(|(at, _)| *at).min().unwrap_or(usize::MAX);
        Some(taken)
    }
}

impl Warp {
    /// Of a block of so many threads.
    pub fn new(function: &Function, number: usize, threads: usize) -> Warp {
        let first = number * LANES;
        let there = (threads - first).min(LANES);
        Warp {
            first,
            all: Mask::MAX >> (LANES - there),
            states: [State::Done; LANES],
            registers: Registers::new(function),
            copies: (0..LANES).map(|_| Copies::default()).collect(),
            count: 0,
            steps: 0,
        }
    }

    /// As a block at this place finds it.
    pub fn restart(&mut self, function: &Function, place: [u32; 3]) {
        self.registers.restart(function, self.first as u32, place);
        self.states = std::array::from_fn(|lane| if self.all >> lane & 1 == 1 { State::Runs(0) } else { State::Done });
        self.copies.iter_mut().for_each(Copies::clear);
        (self.count, self.steps) = (0, 0);
    }

    /// Those of its lanes that can go on.
    pub fn running(&self) -> Mask {
        let runs = |lane: &usize| matches!(self.states[*lane], State::Runs(_));
        (0..LANES).filter(runs).fold(0, |mask, lane| mask | 1 << lane)
    }

    /// All its lanes wait at the instruction of this number, and it is over.
    pub fn go_on(&mut self, behind: usize) {
        lanes(self.all).for_each(|lane| self.states[lane] = State::Runs(behind + 1));
    }

    /// Runs these lanes until each of them waits or is done.
    pub fn run(&mut self, mask: Mask, block: &mut Block, memory: &mut Memory) -> Result<(), Fault> {
        let code = &block.function.code;
        let mut groups = Groups { others: Vec::new(), next: usize::MAX };
        for lane in lanes(mask) {
            if let State::Runs(at) = self.states[lane] {
                groups.add(at, 1 << lane);
            }
        }
        while let Some((mut at, mut mask)) = groups.take() {
            while mask != 0 {
                if at >= groups.next {
                    groups.add(at, mask);
                    break;
                }
                let Some(instruction) = code.get(at) else {
                    return Err(self.fault(block, 0, mask, "ran behind the function's end"));
                };
                self.count += u64::from(mask.count_ones());
                self.steps += 1;
                if self.steps > MOST_STEPS {
                    return Err(self.fault(block, instruction.line, mask, "does not end"));
                }
                let active = match instruction.guard {
                    None => mask,
                    Some((register, holds)) => {
                        let (truth, known) = self.registers.truth(register);
                        if mask & !known != 0 {
                            let what = "decides by what nobody wrote";
                            return Err(self.fault(block, instruction.line, mask & !known, what));
                        }
                        mask & if holds { truth } else { !truth }
                    }
                };
                if active != 0 {
                    let stopped = match &instruction.op {
                        Op::Branch { to } if active == mask => {
                            at = *to;
                            continue;
                        }
                        Op::Branch { to } => {
                            groups.add(*to, active);
                            mask &= !active;
                            None
                        }
                        Op::Return => {
                            self.may_return(block, instruction.line, active)?;
                            Some(State::Done)
                        }
                        Op::Barrier => Some(State::AtBarrier(at)),
                        Op::Collective(_) => Some(State::AtExchange(at)),
                        Op::OfWarpgroup(_) => {
                            if self.first / WARPGROUP >= block.products.len() {
                                let what = "needs the 128 threads of a warpgroup";
                                return Err(self.fault(block, instruction.line, active, what));
                            }
                            Some(State::AtWarpgroup(at))
                        }
                        Op::Transfer(transfer) => {
                            self.transfer(transfer, (instruction.line, active), block, memory)?;
                            None
                        }
                        Op::Compute(compute) => {
                            self.compute(compute, (instruction.line, active), block)?;
                            None
                        }
                    };
                    if let Some(state) = stopped {
                        lanes(active).for_each(|lane| self.states[lane] = state);
                        mask &= !active;
                    }
                }
                at += 1;
            }
        }
        Ok(())
    }

    /// A fault of the first of these lanes.
    pub fn fault(&self, block: &Block, line: usize, mask: Mask, what: impl Into<String>) -> Fault {
        block.fault(line, self.first + mask.trailing_zeros() as usize, what)
    }

    fn may_return(&self, block: &Block, line: usize, mask: Mask) -> Result<(), Fault> {
        for lane in lanes(mask) {
            if let Some(copy) = self.copies[lane].unfinished() {
                let what = format!("returns, and has not waited for the asynchronous copy of line {copy}");
                return Err(self.fault(block, line, 1 << lane, what));
            }
        }
        let products = block.products.get(self.first / WARPGROUP);
        if let Some(product) = products.and_then(Products::unfinished) {
            let what = format!("returns, and has not waited for the product of line {product}");
            return Err(self.fault(block, line, mask, what));
        }
        Ok(())
    }
}
