//! A block as a function in machine code.
//!
//! ```text
//! fn(table, n):
//!   registers <- pointers, scalars, accumulators
//!   for blocks of 16 (8) lanes:       the steps, one instruction or a few each
//!   the n % 16 lanes left:            the steps once more, loads and stores under a mask; with AVX2 the caller's
//!   table <- accumulators
//! ```
//!
//! A block with a loop inside (a sum over rows for each column) takes up to four vectors at a time, so that a row is read in longer pieces.
//!
//! Registers: a value takes the lowest free one and gives it back after its last use. The scalars that are used most, and accumulators, hold
//! theirs all along; other scalars are read where they are wanted. A block that needs more registers than there are is refused, and runs as
//! narrow code.

use super::block::{Block, Step};
use super::instruction::{General, Instruction, Mask, Memory, RAX, RBP, RBX, RCX, RDI, RDX, RSI, Vector, Vectors};
use super::select::Body;

/// Machine code of a block.
#[derive(Clone, Debug, PartialEq)]
pub struct Function {
    pub bytes: Vec<u8>,
    pub instructions: Vec<Instruction>,
    vectors: Vectors,
}

/// Registers for pointers and counts; those from the fifth on belong to the caller.
pub const GENERAL: [General; 10] =
    [General(8), General(9), General(10), General(11), RBX, RBP, General(12), General(13), General(14), General(15)];
const FREE_GENERAL: usize = 4;
/// The mask of the lanes left over; those before it are for values.
const REST: Mask = Mask(7);
/// Vectors at a time where a block has a loop inside.
const TOGETHER: [usize; 3] = [4, 2, 1];
/// Registers that scalars do not take, if there are more of them than would be left.
const FOR_VALUES: [usize; 4] = [4, 8, 14, 32];

/// A block needs more registers than there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyValues;

/// Where the pointer of a stream is found.
#[derive(Clone, Copy, PartialEq)]
pub enum Pointer {
    Register(General),
    /// In the table: taken into a register where it is wanted.
    Table,
}

/// Which registers hold what all along.
pub struct Registers {
    pub pointers: Vec<Pointer>,
    /// For numbers.
    pub free: Vec<General>,
    /// For the count of a loop, and what is left of it after the chain under way.
    pub counts: [General; 2],
    /// Of the caller, to be restored.
    saved: Vec<General>,
    /// By scalar: its register, if it has one.
    pub scalars: Vec<Option<Vector>>,
    pub accumulators: Vec<Vector>,
    /// As many vectors, from 0 on, are for values.
    pub values: u8,
}

impl Function {
    /// One instruction a line.
    pub fn text(&self) -> String {
        self.instructions.iter().map(|i| format!("  {}\n", i.display(self.vectors))).collect()
    }
}

impl Block {
    /// The function, for a loop of so many lanes if that is known.
    ///
    /// Errors: more values at once than there are registers.
    pub fn function(&self, extent: Option<i64>) -> Result<Function, TooManyValues> {
        let together: Vec<usize> = if self.loops.is_empty() || self.accumulators > 0 {
            vec![1]
        } else {
            let fits = |n: &usize| extent.is_none_or(|lanes| lanes >= *n as i64 * self.vectors.lanes()) || *n == 1;
            TOGETHER.into_iter().filter(fits).collect()
        };
        for together in together {
            for for_values in FOR_VALUES {
                let registers = self.registers(for_values)?;
                if let Ok(function) = self.function_with(&registers, together) {
                    return Ok(function);
                }
                // Scalars have none to give any more.
                if registers.scalars.iter().all(Option::is_none) {
                    break;
                }
            }
        }
        Err(TooManyValues)
    }

    fn function_with(&self, registers: &Registers, together: usize) -> Result<Function, TooManyValues> {
        let vectors = self.vectors;
        let mut code = Function { bytes: Vec::new(), instructions: Vec::new(), vectors };

        registers.saved.iter().for_each(|r| code.push(Instruction::Push(*r)));
        for (stream, pointer) in registers.pointers.iter().enumerate() {
            if let Pointer::Register(to) = *pointer {
                code.push(Instruction::LoadGeneral { to, at: table(8 * stream as i32) });
            }
        }
        for (scalar, to) in registers.scalars.iter().enumerate() {
            if let Some(to) = *to {
                code.push(Instruction::Broadcast { to, at: table(self.scalar_at(scalar)) });
            }
        }
        for (accumulator, to) in registers.accumulators.iter().enumerate() {
            let at = table(self.accumulator_at(accumulator));
            code.push(if self.begins {
                // Four bytes of what was just stored come at once, all of it only when the stores are done.
                Instruction::Broadcast { to: *to, at }
            } else {
                Instruction::Load { to: *to, at, lanes: None }
            });
        }
        // Bytes done.
        code.push(Instruction::Set { to: RDX, value: 0 });
        code.blocks(&Body::of(self, registers, together, None)?, together);
        if together > 1 {
            code.blocks(&Body::of(self, registers, 1, None)?, 1);
        }
        if self.takes_rest() {
            let mut rest = vec![
                Instruction::Set { to: RAX, value: 1 },
                Instruction::ShiftLeftByCount { to: RAX },
                Instruction::AddTo { to: RAX, value: -1 },
                Instruction::MaskFrom { to: REST, from: RAX },
            ];
            rest.extend(Body::of(self, registers, 1, Some(REST))?);
            code.push(Instruction::Move { to: RCX, from: RSI });
            code.push(Instruction::AndWith { to: RCX, value: vectors.lanes() as i32 - 1 });
            code.push(Instruction::JumpIfZero(length(&rest, vectors)));
            rest.into_iter().for_each(|i| code.push(i));
        }
        for (accumulator, from) in registers.accumulators.iter().enumerate() {
            let at = table(self.accumulator_at(accumulator));
            code.push(Instruction::Store { at, from: *from, lanes: None });
        }
        code.push(Instruction::ZeroUpper);
        registers.saved.iter().rev().for_each(|r| code.push(Instruction::Pop(*r)));
        code.push(Instruction::Return);
        Ok(code)
    }

    /// With so many vectors for values, if there are more scalars than would leave them.
    fn registers(&self, for_values: usize) -> Result<Registers, TooManyValues> {
        let moved = self.loops.iter().map(|l| l.moves.len()).max().unwrap_or(0);
        let counts = if self.loops.is_empty() { 0 } else { 2 };
        // A loop takes the last ones.
        let left = GENERAL.len().checked_sub(moved + counts).ok_or(TooManyValues)?;
        let moves = |stream: usize| self.loops.iter().any(|l| l.moves.iter().any(|(moved, _)| *moved == stream));
        let mut free = GENERAL[..left].iter();
        let pointers: Vec<Pointer> = (0..self.streams)
            .map(|stream| if moves(stream) { None } else { free.next() })
            .map(|register| register.map_or(Pointer::Table, |r| Pointer::Register(*r)))
            .collect();
        let held = left - free.len();
        let free = GENERAL[held..left].to_vec();
        let has_numbers = self.steps.iter().any(|step| matches!(step, Step::Number { .. }));
        let in_loops = if self.loops.is_empty() { GENERAL.len() } else { left };
        let is_used = |i: usize| i < held || i >= in_loops || has_numbers && i < left;
        let saved = GENERAL.iter().enumerate().filter(|(i, _)| *i >= FREE_GENERAL && is_used(*i));
        let saved = saved.map(|(_, r)| *r).collect();
        let [.., a, b] = GENERAL;
        // Accumulators lie in the highest vectors, below them the scalars that are used most.
        let below = usize::from(self.vectors.registers()).checked_sub(self.accumulators).ok_or(TooManyValues)?;
        let accumulators = (below..below + self.accumulators).map(|i| Vector(i as u8)).collect();
        let mut by_uses: Vec<(usize, usize)> = self.scalar_uses().into_iter().enumerate().collect();
        by_uses.sort_by_key(|(_, uses)| std::cmp::Reverse(*uses));
        by_uses.truncate(below.saturating_sub(for_values));
        let mut scalars = vec![None; self.scalars];
        for (place, (scalar, _)) in by_uses.iter().enumerate() {
            scalars[*scalar] = Some(Vector((below - 1 - place) as u8));
        }
        let values = (below - by_uses.len()) as u8;
        Ok(Registers { pointers, free, counts: [a, b], saved, scalars, accumulators, values })
    }
}

/// In the table.
pub fn table(displacement: i32) -> Memory {
    Memory { base: RDI, index: None, displacement }
}

/// In bytes.
pub fn length(instructions: &[Instruction], vectors: Vectors) -> i32 {
    let mut bytes = Vec::new();
    instructions.iter().for_each(|i| i.encode(vectors, &mut bytes));
    bytes.len() as i32
}

impl Function {
    fn push(&mut self, instruction: Instruction) {
        instruction.encode(self.vectors, &mut self.bytes);
        self.instructions.push(instruction);
    }

    /// The body as long as there are so many whole vectors left.
    fn blocks(&mut self, body: &[Instruction], together: usize) {
        let lanes = together as i64 * self.vectors.lanes();
        let next = Instruction::AddTo { to: RDX, value: 4 * lanes as i32 };
        let done = Instruction::CompareGeneral { a: RDX, b: RCX };
        let round = length(body, self.vectors) + length(&[next, done, Instruction::JumpIfBelow(0)], self.vectors);
        for instruction in [
            Instruction::Move { to: RCX, from: RSI },
            Instruction::AndWith { to: RCX, value: -(lanes as i32) },
            Instruction::ShiftLeft { to: RCX, by: 2 },
            done,
            Instruction::JumpIfNotBelow(round),
        ] {
            self.push(instruction);
        }
        body.iter().for_each(|i| self.push(*i));
        self.push(next);
        self.push(done);
        self.push(Instruction::JumpIfBelow(-round));
    }
}
