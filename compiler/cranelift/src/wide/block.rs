//! The body of a loop over lanes as straight-line code on whole vectors, and the function that runs it over many lanes.
//!
//! ```text
//! fn(table, n):                       table: pointers of the streams, counts, scalars, truths, then accumulators of 8 lanes
//!   registers <- pointers, scalars, accumulators
//!   for blocks of 16 (8) lanes:       the steps, one instruction or a few each
//!   the n % 16 lanes left:            the steps once more, loads and stores under a mask
//!   table <- accumulators
//! ```
//!
//! A block that reduces has vectors of 8 lanes, because that is the order of a reduction (see `emit/lanes`); the caller gives it whole ones.
//! A block with a loop inside (a sum over rows for each column) takes up to four vectors at a time, so that a row is read in longer pieces.
//!
//! Registers: a value takes the lowest free one and gives it back after its last use; scalars and accumulators hold theirs all along. A
//! block that needs more than there are is refused, and runs as narrow code.

use super::instruction::{
    Arithmetic, General, Instruction, Mask, Memory, Predicate, RAX, RBP, RBX, RCX, RDI, RDX, RSI, Rounding, Vector,
    Vectors,
};
use bdl_plan::CHAIN;
use std::collections::BTreeSet;

/// A value of a block: the number of the step that makes it.
pub type Value = usize;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    /// What lies at `displacement` bytes from the stream's pointer, lane by lane.
    Load {
        stream: usize,
        displacement: i32,
    },
    /// The same where the truth value holds, else `otherwise`; nothing is read there.
    LoadWhere {
        condition: Value,
        stream: usize,
        displacement: i32,
        otherwise: Value,
    },
    Store {
        stream: usize,
        displacement: i32,
        value: Value,
    },
    /// Brings nearer what lies there.
    Prefetch {
        stream: usize,
        displacement: i32,
    },
    /// What all lanes read at the stream's pointer.
    LoadShared {
        stream: usize,
        displacement: i32,
    },
    /// A number of 32 bits there, or in the row of another number, of so many bytes.
    Number {
        stream: usize,
        displacement: i32,
        row: Option<(Value, i32)>,
    },
    /// A truth value: `0 <= number + offset < extent`.
    Inside {
        number: Value,
        offset: i32,
        extent: i32,
    },
    /// As `Load` or, with a truth value and what stands for the others, `LoadWhere`, in the row of a number.
    LoadRow {
        stream: usize,
        displacement: i32,
        row: (Value, i32),
        condition: Option<(Value, Value)>,
    },
    /// Number so-and-so of the scalars, in all lanes.
    Scalar(usize),
    /// Number so-and-so of the truth values that all lanes share.
    Truth(usize),
    Arithmetic(Arithmetic, Value, Value),
    /// a * b + c, one rounding.
    Fused(Value, Value, Value),
    Sqrt(Value),
    Round(Rounding, Value),
    /// A truth value.
    Compare(Predicate, Value, Value),
    CompareIntegers(Predicate, Value, Value),
    And(Value, Value),
    Or(Value, Value),
    Not(Value),
    /// `yes` where the truth value holds, else `no`.
    Select {
        condition: Value,
        yes: Value,
        no: Value,
    },
    /// The value where the truth value holds, else 0.
    Keep {
        condition: Value,
        value: Value,
    },
    /// A register of its own that begins with a value, for a loop to add to.
    Cell(Value),
    /// target + value
    AddTo {
        target: Target,
        value: Value,
    },
    /// target * value
    MultiplyInto {
        target: Target,
        value: Value,
    },
    /// target + a * b, one rounding
    MultiplyAdd {
        target: Target,
        a: Value,
        b: Value,
    },
    /// The greater or lesser, the value where it is NaN and the target where both are equal.
    Extreme {
        target: Target,
        op: Arithmetic,
        value: Value,
    },
    /// What follows, up to `End`, as often as loop number so-and-so says.
    Begin(usize),
    End(usize),
}

/// What changes while a loop runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    Accumulator(usize),
    /// The step that made the cell.
    Cell(Value),
}

/// A loop inside of a block; none is inside another.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Loop {
    /// How often it runs: a number above 0, or what the table says.
    pub count: Option<i64>,
    /// Streams that it moves along, by so many bytes each time.
    pub moves: Vec<(usize, i32)>,
    /// Cells whose sums are taken in chains, each with the cell of the chain.
    pub chains: Vec<(Value, Value)>,
}

#[derive(Clone, Debug, Default)]
pub struct Block {
    pub steps: Vec<Step>,
    pub loops: Vec<Loop>,
    pub streams: usize,
    pub scalars: usize,
    pub truths: usize,
    /// Of 8 lanes each; a block with any has vectors of so many.
    pub accumulators: usize,
    pub vectors: Vectors,
}

/// Machine code of a block.
#[derive(Clone, Debug, PartialEq)]
pub struct Function {
    pub bytes: Vec<u8>,
    /// One instruction a line.
    pub text: String,
}

/// Registers for pointers and counts; those from the fifth on belong to the caller.
const GENERAL: [General; 10] =
    [General(8), General(9), General(10), General(11), RBX, RBP, General(12), General(13), General(14), General(15)];
const FREE_GENERAL: usize = 4;
/// Masks of values; the last of the seven is that of the lanes left over.
const MASKS: u8 = 6;
const REST: Mask = Mask(7);
/// Vectors at a time where a block has a loop inside.
const TOGETHER: [usize; 3] = [4, 2, 1];

/// A block needs more registers than there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyValues;

/// Where the pointer of a stream is found.
#[derive(Clone, Copy, PartialEq)]
enum Pointer {
    Register(General),
    /// In the table: taken into a register where it is wanted.
    Table,
}

/// Which registers hold what all along.
struct Registers {
    pointers: Vec<Pointer>,
    /// For numbers.
    free: Vec<General>,
    /// For the count of a loop, and what is left of it after the chain under way.
    counts: [General; 2],
    /// Of the caller, to be restored.
    saved: Vec<General>,
}

impl Block {
    /// Does the function take any number of lanes, and not only whole vectors?
    pub fn takes_rest(&self) -> bool {
        self.accumulators == 0 && self.vectors.has_masks()
    }

    /// Where in the table the count of a loop lies, in bytes.
    pub fn count_at(&self, number: usize) -> i32 {
        8 * (self.streams + number) as i32
    }

    pub fn scalar_at(&self, scalar: usize) -> i32 {
        self.count_at(self.loops.len()) + 4 * scalar as i32
    }

    /// 0 or all ones.
    pub fn truth_at(&self, truth: usize) -> i32 {
        self.scalar_at(self.scalars) + 4 * truth as i32
    }

    pub fn accumulator_at(&self, accumulator: usize) -> i32 {
        self.truth_at(self.truths) + 32 * accumulator as i32
    }

    pub fn table_bytes(&self) -> u32 {
        self.accumulator_at(self.accumulators) as u32
    }

    /// The function, for a loop of so many lanes if that is known.
    ///
    /// Errors: more values at once than there are registers.
    pub fn function(&self, extent: Option<i64>) -> Result<Function, TooManyValues> {
        if self.loops.is_empty() || self.accumulators > 0 {
            return self.function_of(1);
        }
        let fits = |vectors: usize| extent.is_none_or(|n| n >= vectors as i64 * self.vectors.lanes());
        let functions = TOGETHER.into_iter().filter(|n| fits(*n)).map(|n| self.function_of(n));
        functions.reduce(|most, fewer| most.or(fewer)).unwrap_or_else(|| self.function_of(1))
    }

    fn function_of(&self, together: usize) -> Result<Function, TooManyValues> {
        let vectors = self.vectors;
        let registers = self.registers()?;
        let mut code = Assembler { vectors, code: Function { bytes: Vec::new(), text: String::new() } };

        registers.saved.iter().for_each(|r| code.push(Instruction::Push(*r)));
        for (stream, pointer) in registers.pointers.iter().enumerate() {
            if let Pointer::Register(to) = *pointer {
                code.push(Instruction::LoadGeneral { to, at: table(8 * stream as i32) });
            }
        }
        for scalar in 0..self.scalars {
            code.push(Instruction::Broadcast { to: self.scalar(scalar)?, at: table(self.scalar_at(scalar)) });
        }
        for accumulator in 0..self.accumulators {
            let at = table(self.accumulator_at(accumulator));
            code.push(Instruction::Load { to: self.accumulator(accumulator)?, at, lanes: None });
        }
        // Bytes done.
        code.push(Instruction::Set { to: RDX, value: 0 });
        code.blocks(&Body::of(self, &registers, together, None)?, together);
        if together > 1 {
            code.blocks(&Body::of(self, &registers, 1, None)?, 1);
        }
        if self.takes_rest() {
            let mut rest = vec![
                Instruction::Set { to: RAX, value: 1 },
                Instruction::ShiftLeftByCount { to: RAX },
                Instruction::AddTo { to: RAX, value: -1 },
                Instruction::MaskFrom { to: REST, from: RAX },
            ];
            rest.extend(Body::of(self, &registers, 1, Some(REST))?);
            code.push(Instruction::Move { to: RCX, from: RSI });
            code.push(Instruction::AndWith { to: RCX, value: vectors.lanes() as i32 - 1 });
            code.push(Instruction::JumpIfZero(length(&rest, vectors)));
            rest.into_iter().for_each(|i| code.push(i));
        }
        for accumulator in 0..self.accumulators {
            let at = table(self.accumulator_at(accumulator));
            code.push(Instruction::Store { at, from: self.accumulator(accumulator)?, lanes: None });
        }
        code.push(Instruction::ZeroUpper);
        registers.saved.iter().rev().for_each(|r| code.push(Instruction::Pop(*r)));
        code.push(Instruction::Return);
        Ok(code.code)
    }

    fn registers(&self) -> Result<Registers, TooManyValues> {
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
        Ok(Registers { pointers, free, counts: [a, b], saved })
    }

    /// Scalars lie in the highest registers.
    fn scalar(&self, scalar: usize) -> Result<Vector, TooManyValues> {
        self.pinned(scalar)
    }

    /// Below them the accumulators.
    fn accumulator(&self, accumulator: usize) -> Result<Vector, TooManyValues> {
        self.pinned(self.scalars + accumulator)
    }

    /// Number so-and-so from the highest register downwards; some are left for values.
    fn pinned(&self, number: usize) -> Result<Vector, TooManyValues> {
        let registers = usize::from(self.vectors.registers());
        if number + 4 < registers { Ok(Vector((registers - 1 - number) as u8)) } else { Err(TooManyValues) }
    }

    /// By value: the last step that reads it. A loop reads what it takes from outside until its end.
    fn last_uses(&self) -> Vec<usize> {
        let mut ends = vec![None; self.steps.len()];
        let mut begin = None;
        for (number, step) in self.steps.iter().enumerate() {
            if let Step::Begin(_) = step {
                begin = Some(number);
            }
            if let (Step::End(_), Some(begin)) = (step, begin) {
                ends[begin..number].fill(Some((begin, number)));
            }
        }
        let mut last: Vec<usize> = (0..self.steps.len()).collect();
        for (number, step) in self.steps.iter().enumerate() {
            self.operands(*step).into_iter().for_each(|value| {
                last[value] = last[value].max(match ends[number] {
                    Some((begin, end)) if value < begin => end,
                    Some(_) | None => number,
                });
            });
        }
        last
    }

    fn operands(&self, step: Step) -> Vec<Value> {
        let cell = |target| match target {
            Target::Cell(cell) => Some(cell),
            Target::Accumulator(_) => None,
        };
        match step {
            Step::Load { .. } | Step::LoadShared { .. } | Step::Prefetch { .. } | Step::Scalar(_) | Step::Truth(_) => {
                Vec::new()
            }
            Step::Number { stream: _, displacement: _, row } => row.into_iter().map(|(number, _)| number).collect(),
            Step::Inside { number, offset: _, extent: _ } => vec![number],
            Step::LoadRow { stream: _, displacement: _, row: (number, _), condition } => {
                condition.into_iter().flat_map(|(truth, otherwise)| [truth, otherwise]).chain([number]).collect()
            }
            Step::LoadWhere { condition, stream: _, displacement: _, otherwise } => vec![condition, otherwise],
            Step::Store { stream: _, displacement: _, value } => vec![value],
            Step::Arithmetic(_, a, b)
            | Step::Compare(_, a, b)
            | Step::CompareIntegers(_, a, b)
            | Step::And(a, b)
            | Step::Or(a, b) => vec![a, b],
            Step::Fused(a, b, c) => vec![a, b, c],
            Step::Sqrt(a) | Step::Round(_, a) | Step::Not(a) | Step::Cell(a) => vec![a],
            Step::Select { condition, yes, no } => vec![condition, yes, no],
            Step::Keep { condition, value } => vec![condition, value],
            Step::AddTo { target, value }
            | Step::MultiplyInto { target, value }
            | Step::Extreme { target, op: _, value } => [Some(value), cell(target)].into_iter().flatten().collect(),
            Step::MultiplyAdd { target, a, b } => [Some(a), Some(b), cell(target)].into_iter().flatten().collect(),
            Step::Begin(number) | Step::End(number) => {
                self.loops[number].chains.iter().flat_map(|(whole, chain)| [*whole, *chain]).collect()
            }
        }
    }
}

fn table(displacement: i32) -> Memory {
    Memory { base: RDI, index: None, displacement }
}

/// In bytes.
fn length(instructions: &[Instruction], vectors: Vectors) -> i32 {
    let mut bytes = Vec::new();
    instructions.iter().for_each(|i| i.encode(vectors, &mut bytes));
    bytes.len() as i32
}

struct Assembler {
    vectors: Vectors,
    code: Function,
}

impl Assembler {
    fn push(&mut self, instruction: Instruction) {
        instruction.encode(self.vectors, &mut self.code.bytes);
        self.code.text += &format!("  {}\n", instruction.display(self.vectors));
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

/// Where a value lives.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Vector(Vector),
    Mask(Mask),
    General(General),
}

/// The instructions of one block while they are being chosen.
struct Body<'b> {
    block: &'b Block,
    registers: &'b Registers,
    /// Vectors at a time.
    together: usize,
    rest: Option<Mask>,
    /// By step and vector.
    places: Vec<Vec<Option<Place>>>,
    free_vectors: BTreeSet<u8>,
    free_masks: BTreeSet<u8>,
    free_general: Vec<General>,
    /// Registers that the loop under way moves streams with.
    moving: Vec<(usize, General)>,
    /// Where the loop under way began: its first chain, and its body.
    begun: (usize, usize),
    code: Vec<Instruction>,
}

impl<'b> Body<'b> {
    fn of(
        block: &'b Block,
        registers: &'b Registers,
        together: usize,
        rest: Option<Mask>,
    ) -> Result<Vec<Instruction>, TooManyValues> {
        let pinned = (block.scalars + block.accumulators) as u8;
        let mut body = Body {
            block,
            registers,
            together,
            rest,
            places: vec![vec![None; together]; block.steps.len()],
            free_vectors: (0..block.vectors.registers().saturating_sub(pinned)).collect(),
            free_masks: (1..=MASKS).collect(),
            free_general: registers.free.clone(),
            moving: Vec::new(),
            begun: (0, 0),
            code: Vec::new(),
        };
        let last_use = block.last_uses();
        for (number, step) in block.steps.iter().enumerate() {
            match *step {
                Step::Begin(number) => body.begin(number),
                Step::End(number) => body.end(number),
                step => (0..together).try_for_each(|vector| body.step(number, vector, step))?,
            }
            let ends = |value: &Value| last_use[*value] == number;
            block.operands(*step).iter().copied().filter(ends).for_each(|value| body.free(value));
            // Also what the loop took from outside.
            if let Step::End(_) = step {
                (0..number).filter(ends).for_each(|value| body.free(value));
            }
            if last_use[number] == number {
                body.free(number);
            }
        }
        Ok(body.code)
    }

    fn free(&mut self, value: Value) {
        let is_scalar = matches!(self.block.steps[value], Step::Scalar(_));
        for place in &mut self.places[value] {
            match place.take() {
                Some(Place::Vector(v)) if !is_scalar => {
                    self.free_vectors.insert(v.0);
                }
                Some(Place::Mask(m)) => {
                    self.free_masks.insert(m.0);
                }
                Some(Place::General(r)) => self.free_general.push(r),
                Some(Place::Vector(_)) | None => {}
            }
        }
    }

    fn vector(&mut self) -> Result<Vector, TooManyValues> {
        self.free_vectors.pop_first().map(Vector).ok_or(TooManyValues)
    }

    fn mask(&mut self) -> Result<Mask, TooManyValues> {
        self.free_masks.pop_first().map(Mask).ok_or(TooManyValues)
    }

    fn of_vector(&self, value: Value, vector: usize) -> Vector {
        match self.places[value][vector] {
            Some(Place::Vector(v)) => v,
            Some(Place::Mask(_) | Place::General(_)) | None => unreachable!("step {value} gives no vector"),
        }
    }

    /// Numbers are the same for all vectors.
    fn of_number(&self, value: Value) -> General {
        match self.places[value][0] {
            Some(Place::General(r)) => r,
            Some(Place::Vector(_) | Place::Mask(_)) | None => unreachable!("step {value} gives no number"),
        }
    }

    /// The row of a number, in rax.
    fn row(&mut self, stream: usize, (number, bytes): (Value, i32)) {
        self.code.push(Instruction::Multiply { to: RAX, from: self.of_number(number), value: bytes });
        self.code.push(match self.pointer(stream) {
            Pointer::Register(from) => Instruction::AddGeneral { to: RAX, from },
            Pointer::Table => Instruction::AddFrom { to: RAX, at: table(8 * stream as i32) },
        });
    }

    fn target(&self, target: Target, vector: usize) -> Result<Vector, TooManyValues> {
        match target {
            Target::Accumulator(accumulator) => self.block.accumulator(accumulator),
            Target::Cell(cell) => Ok(self.of_vector(cell, vector)),
        }
    }

    fn pointer(&self, stream: usize) -> Pointer {
        let moving = self.moving.iter().find(|(moved, _)| *moved == stream);
        moving.map_or(self.registers.pointers[stream], |(_, register)| Pointer::Register(*register))
    }

    /// A register with the pointer of a stream.
    fn base(&mut self, stream: usize) -> General {
        match self.pointer(stream) {
            Pointer::Register(base) => base,
            Pointer::Table => {
                self.code.push(Instruction::LoadGeneral { to: RAX, at: table(8 * stream as i32) });
                RAX
            }
        }
    }

    fn stream(&mut self, stream: usize, displacement: i32, vector: usize) -> Memory {
        let base = self.base(stream);
        let displacement = displacement + vector as i32 * self.block.vectors.bytes() as i32;
        Memory { base, index: Some(RDX), displacement }
    }

    /// `count, left = count, 0`, or with chains `left = count`, and for each chain `count = min(left, CHAIN)`.
    fn begin(&mut self, number: usize) {
        let described = &self.block.loops[number];
        let [count, left] = self.registers.counts;
        let first = GENERAL.len() - self.registers.counts.len() - described.moves.len();
        for (i, (stream, _)) in described.moves.iter().enumerate() {
            let to = GENERAL[first + i];
            self.code.push(Instruction::LoadGeneral { to, at: table(8 * *stream as i32) });
            self.moving.push((*stream, to));
        }
        let whole = if described.chains.is_empty() { count } else { left };
        match described.count {
            Some(n) => self.code.push(Instruction::Set { to: whole, value: n as i32 }),
            None => {
                self.code.push(Instruction::LoadGeneral { to: whole, at: table(self.block.count_at(number)) });
                self.code.push(Instruction::Test(whole));
                // How far is known at the end.
                self.code.push(Instruction::JumpIfNotAboveZero(0));
            }
        }
        let outside = self.code.len();
        if !described.chains.is_empty() {
            for (_, chain) in &described.chains {
                for vector in 0..self.together {
                    let to = self.of_vector(*chain, vector);
                    self.code.push(Instruction::Arithmetic { op: Arithmetic::Xor, to, a: to, b: to });
                }
            }
            self.code.push(Instruction::Move { to: count, from: left });
            self.code.push(Instruction::Set { to: RAX, value: CHAIN as i32 });
            self.code.push(Instruction::CompareGeneral { a: count, b: RAX });
            self.code.push(Instruction::MoveIfGreater { to: count, from: RAX });
        }
        self.begun = (outside, self.code.len());
    }

    fn end(&mut self, number: usize) {
        let described = &self.block.loops[number];
        let vectors = self.block.vectors;
        let [count, left] = self.registers.counts;
        let (outside, inside) = self.begun;
        for ((_, by), (_, register)) in described.moves.iter().zip(std::mem::take(&mut self.moving)) {
            self.code.push(Instruction::AddTo { to: register, value: *by });
        }
        self.code.push(Instruction::AddTo { to: count, value: -1 });
        let back = length(&self.code[inside..], vectors) + length(&[Instruction::JumpIfNotZero(0)], vectors);
        self.code.push(Instruction::JumpIfNotZero(-back));
        if !described.chains.is_empty() {
            for (whole, chain) in &described.chains {
                for vector in 0..self.together {
                    let (to, b) = (self.of_vector(*whole, vector), self.of_vector(*chain, vector));
                    self.code.push(Instruction::Arithmetic { op: Arithmetic::Add, to, a: to, b });
                }
            }
            self.code.push(Instruction::AddTo { to: left, value: -(CHAIN as i32) });
            let back = length(&self.code[outside..], vectors) + length(&[Instruction::JumpIfAboveZero(0)], vectors);
            self.code.push(Instruction::JumpIfAboveZero(-back));
        }
        if described.count.is_none() {
            let over = length(&self.code[outside..], vectors);
            self.code[outside - 1] = Instruction::JumpIfNotAboveZero(over);
        }
    }

    fn step(&mut self, number: Value, vector: usize, step: Step) -> Result<(), TooManyValues> {
        use Instruction as I;
        let lanes = self.rest;
        let instruction = match step {
            Step::Load { stream, displacement } => {
                let at = self.stream(stream, displacement, vector);
                I::Load { to: self.gives(number, vector)?, at, lanes }
            }
            Step::LoadWhere { condition, stream, displacement, otherwise } => {
                let at = self.stream(stream, displacement, vector);
                self.load_where(number, vector, at, condition, otherwise)?
            }
            Step::LoadRow { stream, displacement, row, condition } => {
                if vector == 0 {
                    self.row(stream, row);
                }
                let displacement = displacement + vector as i32 * self.block.vectors.bytes() as i32;
                let at = Memory { base: RAX, index: Some(RDX), displacement };
                match condition {
                    Some((condition, otherwise)) => self.load_where(number, vector, at, condition, otherwise)?,
                    None => I::Load { to: self.gives(number, vector)?, at, lanes },
                }
            }
            Step::LoadShared { stream, displacement } => {
                let at = Memory { base: self.base(stream), index: None, displacement };
                I::Broadcast { to: self.gives(number, vector)?, at }
            }
            Step::Number { .. } if vector > 0 => return Ok(()),
            Step::Number { stream, displacement, row } => {
                let base = match row {
                    Some(row) => {
                        self.row(stream, row);
                        RAX
                    }
                    None => self.base(stream),
                };
                let to = self.free_general.pop().ok_or(TooManyValues)?;
                self.places[number][0] = Some(Place::General(to));
                I::LoadSigned { to, at: Memory { base, index: None, displacement } }
            }
            Step::Inside { number: of, offset, extent } => {
                self.code.push(I::Move { to: RAX, from: self.of_number(of) });
                self.code.push(I::AddTo { to: RAX, value: offset });
                self.code.push(I::CompareWith { a: RAX, value: extent });
                self.code.push(I::OnesIfBelow(RAX));
                match self.gives_truth(number, vector)? {
                    Place::Mask(to) => I::MaskFrom { to, from: RAX },
                    Place::Vector(to) => {
                        self.code.push(I::ToLowest { to, from: RAX });
                        I::SpreadLowest { to, from: to }
                    }
                    Place::General(_) => return Ok(()),
                }
            }
            Step::Prefetch { stream, displacement } => I::Prefetch(self.stream(stream, displacement, vector)),
            Step::Store { stream, displacement, value } => {
                let at = self.stream(stream, displacement, vector);
                I::Store { at, from: self.of_vector(value, vector), lanes }
            }
            Step::Scalar(scalar) => {
                self.places[number][vector] = Some(Place::Vector(self.block.scalar(scalar)?));
                return Ok(());
            }
            Step::Truth(truth) => {
                let at = table(self.block.truth_at(truth));
                match self.gives_truth(number, vector)? {
                    Place::Mask(to) => I::MaskLoad { to, at },
                    Place::Vector(to) => I::Broadcast { to, at },
                    Place::General(_) => return Ok(()),
                }
            }
            Step::Arithmetic(op, a, b) => {
                let (a, b) = (self.of_vector(a, vector), self.of_vector(b, vector));
                I::Arithmetic { op, to: self.gives(number, vector)?, a, b }
            }
            Step::Fused(a, b, c) => {
                let (a, b, from) = (self.of_vector(a, vector), self.of_vector(b, vector), self.of_vector(c, vector));
                let to = self.gives(number, vector)?;
                self.code.push(I::Copy { to, from });
                I::MultiplyAdd { to, a, b }
            }
            Step::Sqrt(a) => {
                let from = self.of_vector(a, vector);
                I::Sqrt { to: self.gives(number, vector)?, from }
            }
            Step::Round(rounding, a) => {
                let from = self.of_vector(a, vector);
                I::Round { to: self.gives(number, vector)?, from, rounding }
            }
            Step::Cell(a) => {
                let from = self.of_vector(a, vector);
                I::Copy { to: self.gives(number, vector)?, from }
            }
            Step::Compare(predicate, a, b) => {
                let (a, b) = (self.of_vector(a, vector), self.of_vector(b, vector));
                match self.gives_truth(number, vector)? {
                    Place::Mask(to) => I::Compare { to, predicate, a, b },
                    Place::Vector(to) => I::CompareLanes { to, predicate, a, b },
                    Place::General(_) => return Ok(()),
                }
            }
            Step::CompareIntegers(predicate, a, b) => {
                let (a, b) = (self.of_vector(a, vector), self.of_vector(b, vector));
                match self.gives_truth(number, vector)? {
                    Place::Mask(to) => I::CompareIntegers { to, predicate, a, b },
                    Place::Vector(to) => self.compare_integers(to, predicate, a, b)?,
                    Place::General(_) => return Ok(()),
                }
            }
            Step::And(a, b) => match (self.of_truth(a, vector), self.of_truth(b, vector)) {
                (Place::Mask(a), Place::Mask(b)) => I::MaskAnd { to: self.gives_mask(number, vector)?, a, b },
                (_, _) => self.of_bits(number, vector, Arithmetic::And, a, b)?,
            },
            Step::Or(a, b) => match (self.of_truth(a, vector), self.of_truth(b, vector)) {
                (Place::Mask(a), Place::Mask(b)) => I::MaskOr { to: self.gives_mask(number, vector)?, a, b },
                (_, _) => self.of_bits(number, vector, Arithmetic::Or, a, b)?,
            },
            Step::Not(a) => match self.of_truth(a, vector) {
                Place::Mask(from) => I::MaskNot { to: self.gives_mask(number, vector)?, from },
                Place::Vector(from) => {
                    let to = self.gives(number, vector)?;
                    self.inverted(to, from)?
                }
                Place::General(_) => return Ok(()),
            },
            Step::Select { condition, yes, no } => {
                let (yes, no) = (self.of_vector(yes, vector), self.of_vector(no, vector));
                let condition = self.of_truth(condition, vector);
                let to = self.gives(number, vector)?;
                blend(to, condition, no, yes)
            }
            Step::Keep { condition, value } => match self.of_truth(condition, vector) {
                Place::Mask(mask) => {
                    let from = self.of_vector(value, vector);
                    I::Keep { to: self.gives(number, vector)?, mask, from }
                }
                Place::Vector(_) | Place::General(_) => {
                    self.of_bits(number, vector, Arithmetic::And, condition, value)?
                }
            },
            Step::AddTo { target, value } => {
                let (to, b) = (self.target(target, vector)?, self.of_vector(value, vector));
                I::Arithmetic { op: Arithmetic::Add, to, a: to, b }
            }
            Step::MultiplyInto { target, value } => {
                let (to, b) = (self.target(target, vector)?, self.of_vector(value, vector));
                I::Arithmetic { op: Arithmetic::Mul, to, a: to, b }
            }
            Step::MultiplyAdd { target, a, b } => {
                let (a, b) = (self.of_vector(a, vector), self.of_vector(b, vector));
                I::MultiplyAdd { to: self.target(target, vector)?, a, b }
            }
            Step::Extreme { target, op, value } => {
                let (to, value) = (self.target(target, vector)?, self.of_vector(value, vector));
                let (predicate, a, b) = (Predicate::Unordered, value, value);
                // The instruction gives its second operand where one is NaN or both are equal.
                let extreme = I::Arithmetic { op, to, a: value, b: to };
                if self.block.vectors.has_masks() {
                    let mask = self.mask()?;
                    self.code.extend([I::Compare { to: mask, predicate, a, b }, extreme]);
                    self.free_masks.insert(mask.0);
                    blend(to, Place::Mask(mask), to, value)
                } else {
                    let truth = self.vector()?;
                    self.code.extend([I::CompareLanes { to: truth, predicate, a, b }, extreme]);
                    self.free_vectors.insert(truth.0);
                    blend(to, Place::Vector(truth), to, value)
                }
            }
            Step::Begin(_) | Step::End(_) => return Ok(()),
        };
        self.code.push(instruction);
        Ok(())
    }

    /// Reads the lanes of a truth value; the others are those of another value.
    fn load_where(
        &mut self,
        number: Value,
        vector: usize,
        at: Memory,
        condition: Value,
        otherwise: Value,
    ) -> Result<Instruction, TooManyValues> {
        let (condition, from) = (self.of_truth(condition, vector), self.of_vector(otherwise, vector));
        let to = self.gives(number, vector)?;
        let condition = match condition {
            Place::Mask(mask) => mask,
            Place::Vector(mask) => {
                self.code.push(Instruction::LoadBy { to, at, mask });
                return Ok(Instruction::BlendBy { to, mask, no: from, yes: to });
            }
            Place::General(_) => return Err(TooManyValues),
        };
        self.code.push(Instruction::Copy { to, from });
        let Some(rest) = self.rest else { return Ok(Instruction::LoadInto { to, at, mask: condition }) };
        let mask = self.mask()?;
        self.code.push(Instruction::MaskAnd { to: mask, a: condition, b: rest });
        self.free_masks.insert(mask.0);
        Ok(Instruction::LoadInto { to, at, mask })
    }

    /// Two truth values in vectors, or one and a value.
    fn of_bits(
        &mut self,
        number: Value,
        vector: usize,
        op: Arithmetic,
        a: Value,
        b: Value,
    ) -> Result<Instruction, TooManyValues> {
        let (a, b) = (self.of_vector(a, vector), self.of_vector(b, vector));
        Ok(Instruction::Arithmetic { op, to: self.gives(number, vector)?, a, b })
    }

    /// There are only two comparisons of integers that give vectors.
    fn compare_integers(
        &mut self,
        to: Vector,
        predicate: Predicate,
        a: Vector,
        b: Vector,
    ) -> Result<Instruction, TooManyValues> {
        let opposite = match predicate {
            Predicate::Equal => return Ok(Instruction::EqualIntegers { to, a, b }),
            Predicate::Less => return Ok(Instruction::GreaterIntegers { to, a: b, b: a }),
            Predicate::NotEqual => Instruction::EqualIntegers { to, a, b },
            Predicate::LessOrEqual => Instruction::GreaterIntegers { to, a, b },
            // No integer is.
            Predicate::Unordered => return Ok(Instruction::Arithmetic { op: Arithmetic::Xor, to, a: to, b: to }),
        };
        self.code.push(opposite);
        self.inverted(to, to)
    }

    /// A register for a truth value: a mask where there are any.
    fn gives_truth(&mut self, number: Value, vector: usize) -> Result<Place, TooManyValues> {
        Ok(if self.block.vectors.has_masks() {
            Place::Mask(self.gives_mask(number, vector)?)
        } else {
            Place::Vector(self.gives(number, vector)?)
        })
    }

    fn of_truth(&self, value: Value, vector: usize) -> Place {
        match self.places[value][vector] {
            Some(place) => place,
            None => unreachable!("step {value} gives nothing"),
        }
    }

    /// `to` with all bits the other way round.
    fn inverted(&mut self, to: Vector, from: Vector) -> Result<Instruction, TooManyValues> {
        let ones = self.vector()?;
        self.code.push(Instruction::EqualIntegers { to: ones, a: ones, b: ones });
        self.free_vectors.insert(ones.0);
        Ok(Instruction::Arithmetic { op: Arithmetic::Xor, to, a: from, b: ones })
    }

    /// A register for what a step makes.
    fn gives(&mut self, number: Value, vector: usize) -> Result<Vector, TooManyValues> {
        let to = self.vector()?;
        self.places[number][vector] = Some(Place::Vector(to));
        Ok(to)
    }

    fn gives_mask(&mut self, number: Value, vector: usize) -> Result<Mask, TooManyValues> {
        let to = self.mask()?;
        self.places[number][vector] = Some(Place::Mask(to));
        Ok(to)
    }
}

fn blend(to: Vector, condition: Place, no: Vector, yes: Vector) -> Instruction {
    match condition {
        Place::Mask(mask) => Instruction::Blend { to, mask, no, yes },
        Place::Vector(mask) => Instruction::BlendBy { to, mask, no, yes },
        Place::General(_) => unreachable!("a number is no truth value"),
    }
}
