//! Which instructions a step becomes, and in which registers its value lies.

use super::block::{Block, RowGuard, Step, Target, Value};
use super::function::{GENERAL, Pointer, Registers, TooManyValues, length, table};
use super::instruction::{Arithmetic, Fused, General, Instruction, Mask, Memory, Predicate, RAX, RDX, Vector};
use bdl_plan::CHAIN;
use std::collections::BTreeSet;

/// Masks of values; the one behind them is that of the lanes left over.
const MASKS: u8 = 6;

/// Where a value lives.
#[derive(Clone, Copy)]
enum Place {
    Vector(Vector),
    Mask(Mask),
    General(General),
}

/// Where a truth value lives: in a mask where there are any.
#[derive(Clone, Copy)]
enum Truth {
    Mask(Mask),
    Vector(Vector),
}

/// The instructions of one block while they are being chosen.
pub struct Body<'b> {
    block: &'b Block,
    registers: &'b Registers,
    /// Vectors at a time.
    together: usize,
    rest: Option<Mask>,
    /// By step and vector.
    places: Vec<Vec<Option<Place>>>,
    /// By step: the last one that reads its value.
    last_use: Vec<usize>,
    free_vectors: BTreeSet<u8>,
    free_masks: BTreeSet<u8>,
    free_general: Vec<General>,
    /// While the vectors of a row are loaded: is its number inside of its guard?
    inside: Option<Truth>,
    /// Registers that the loop under way moves streams with.
    moving: Vec<(usize, General)>,
    /// Where the loop under way began: its first chain, and its body.
    begun: (usize, usize),
    code: Vec<Instruction>,
}

impl<'b> Body<'b> {
    pub fn of(
        block: &'b Block,
        registers: &'b Registers,
        together: usize,
        rest: Option<Mask>,
    ) -> Result<Vec<Instruction>, TooManyValues> {
        let mut body = Body {
            block,
            registers,
            together,
            rest,
            places: vec![vec![None; together]; block.steps.len()],
            free_vectors: (0..registers.values).collect(),
            last_use: block.last_uses(),
            free_masks: (1..=MASKS).collect(),
            free_general: registers.free.clone(),
            inside: None,
            moving: Vec::new(),
            begun: (0, 0),
            code: Vec::new(),
        };
        for (number, step) in block.steps.iter().enumerate() {
            match *step {
                Step::Begin(number) => body.begin(number),
                Step::End(number) => body.end(number),
                step => {
                    let taken = body.take_scalars(step)?;
                    (0..together).try_for_each(|vector| body.step(number, vector, step))?;
                    taken.into_iter().for_each(|scalar| body.give_back(scalar));
                }
            }
            let ended = |body: &Body, value: &Value| body.last_use[*value] == number;
            let mut operands = block.operands(*step);
            operands.retain(|value| ended(&body, value));
            operands.into_iter().for_each(|value| body.free(value));
            // Also what the loop took from outside.
            if let Step::End(_) = step {
                let ended: Vec<Value> = (0..number).filter(|value| ended(&body, value)).collect();
                ended.into_iter().for_each(|value| body.free(value));
            }
            if body.last_use[number] == number {
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

    /// Scalars without a register of their own get one for a step.
    fn take_scalars(&mut self, step: Step) -> Result<Vec<Value>, TooManyValues> {
        let mut taken = Vec::new();
        for value in self.block.operands(step) {
            if let Step::Scalar(scalar) = self.block.steps[value]
                && self.registers.scalars[scalar].is_none()
                && !taken.contains(&value)
            {
                let to = self.vector()?;
                self.code.push(Instruction::Broadcast { to, at: table(self.block.scalar_at(scalar)) });
                self.places[value].fill(Some(Place::Vector(to)));
                taken.push(value);
            }
        }
        Ok(taken)
    }

    fn give_back(&mut self, scalar: Value) {
        if let Some(Place::Vector(v)) = self.places[scalar][0] {
            self.free_vectors.insert(v.0);
        }
        self.places[scalar].fill(None);
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

    /// The row of a number, in rax; of one that its guard keeps out row 0, which is there.
    fn row(&mut self, stream: usize, (number, bytes): (Value, i32)) {
        let number = self.of_number(number);
        if self.inside.is_some() {
            self.code.push(Instruction::AndGeneral { to: RAX, from: number });
            self.code.push(Instruction::Multiply { to: RAX, from: RAX, value: bytes });
        } else {
            self.code.push(Instruction::Multiply { to: RAX, from: number, value: bytes });
        }
        self.code.push(match self.pointer(stream) {
            Pointer::Register(from) => Instruction::AddGeneral { to: RAX, from },
            Pointer::Table => Instruction::AddFrom { to: RAX, at: table(8 * stream as i32) },
        });
    }

    /// A truth value, for all lanes; also all ones or 0 in rax.
    fn guard(&mut self, number: Value, guard: RowGuard) -> Result<Truth, TooManyValues> {
        self.code.push(Instruction::Move { to: RAX, from: self.of_number(number) });
        self.code.push(Instruction::AddTo { to: RAX, value: guard.offset });
        self.code.push(Instruction::CompareWith { a: RAX, value: guard.extent });
        self.code.push(Instruction::OnesIfBelow(RAX));
        if self.block.vectors.has_masks() {
            let to = self.mask()?;
            self.code.push(Instruction::MaskFrom { to, from: RAX });
            return Ok(Truth::Mask(to));
        }
        let to = self.vector()?;
        self.code.push(Instruction::ToLowest { to, from: RAX });
        self.code.push(Instruction::SpreadLowest { to, from: to });
        Ok(Truth::Vector(to))
    }

    fn release(&mut self, truth: Truth) {
        match truth {
            Truth::Vector(v) => self.free_vectors.insert(v.0),
            Truth::Mask(m) => self.free_masks.insert(m.0),
        };
    }

    fn target(&self, target: Target, vector: usize) -> Vector {
        match target {
            Target::Accumulator(accumulator) => self.registers.accumulators[accumulator],
            Target::Cell(cell) => self.of_vector(cell, vector),
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
                let condition = self.of_truth(condition, vector);
                self.load_where(number, vector, at, condition, otherwise)?
            }
            Step::LoadRow { stream, displacement, row, guard } => {
                if vector == 0 {
                    self.inside = guard.map(|guard| self.guard(row.0, guard)).transpose()?;
                    self.row(stream, row);
                }
                let displacement = displacement + vector as i32 * self.block.vectors.bytes() as i32;
                let at = Memory { base: RAX, index: Some(RDX), displacement };
                match (guard, self.inside) {
                    (Some(guard), Some(inside)) => {
                        let load = self.load_where(number, vector, at, inside, guard.otherwise)?;
                        if vector + 1 == self.together {
                            self.release(inside);
                            self.inside = None;
                        }
                        load
                    }
                    (_, _) => I::Load { to: self.gives(number, vector)?, at, lanes },
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
            Step::Prefetch { stream, displacement } => I::Prefetch(self.stream(stream, displacement, vector)),
            Step::Store { stream, displacement, value } => {
                let at = self.stream(stream, displacement, vector);
                I::Store { at, from: self.of_vector(value, vector), lanes }
            }
            Step::Scalar(scalar) => {
                self.places[number][vector] = self.registers.scalars[scalar].map(Place::Vector);
                return Ok(());
            }
            Step::Truth(truth) => {
                let at = table(self.block.truth_at(truth));
                match self.gives_truth(number, vector)? {
                    Truth::Mask(to) => I::MaskLoad { to, at },
                    Truth::Vector(to) => I::Broadcast { to, at },
                }
            }
            Step::Arithmetic(op, a, b) => {
                let (a, b) = (self.of_vector(a, vector), self.of_vector(b, vector));
                I::Arithmetic { op, to: self.gives(number, vector)?, a, b }
            }
            Step::Fused(a, b, c) => {
                self.fused(number, vector, [a, b, c], [Fused::ProductToSum, Fused::SumToProduct])?
            }
            Step::FusedLess(a, b, c) => {
                self.fused(number, vector, [a, b, c], [Fused::ProductFromSum, Fused::SumLessProduct])?
            }
            Step::Shift(shift, a, by) => {
                let from = self.of_vector(a, vector);
                I::Shift { to: self.gives(number, vector)?, from, shift, by }
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
                    Truth::Mask(to) => I::Compare { to, predicate, a, b },
                    Truth::Vector(to) => I::CompareLanes { to, predicate, a, b },
                }
            }
            Step::CompareIntegers(predicate, a, b) => {
                let (a, b) = (self.of_vector(a, vector), self.of_vector(b, vector));
                match self.gives_truth(number, vector)? {
                    Truth::Mask(to) => I::CompareIntegers { to, predicate, a, b },
                    Truth::Vector(to) => self.compare_integers(to, predicate, a, b)?,
                }
            }
            Step::And(a, b) => match (self.of_truth(a, vector), self.of_truth(b, vector)) {
                (Truth::Mask(a), Truth::Mask(b)) => I::MaskAnd { to: self.gives_mask(number, vector)?, a, b },
                (_, _) => self.of_bits(number, vector, Arithmetic::And, a, b)?,
            },
            Step::Or(a, b) => match (self.of_truth(a, vector), self.of_truth(b, vector)) {
                (Truth::Mask(a), Truth::Mask(b)) => I::MaskOr { to: self.gives_mask(number, vector)?, a, b },
                (_, _) => self.of_bits(number, vector, Arithmetic::Or, a, b)?,
            },
            Step::Not(a) => match self.of_truth(a, vector) {
                Truth::Mask(from) => I::MaskNot { to: self.gives_mask(number, vector)?, from },
                Truth::Vector(from) => {
                    let to = self.gives(number, vector)?;
                    self.inverted(to, from)?
                }
            },
            Step::Select { condition, yes, no } => {
                let (yes, no) = (self.of_vector(yes, vector), self.of_vector(no, vector));
                let condition = self.of_truth(condition, vector);
                let to = self.gives(number, vector)?;
                blend(to, condition, no, yes)
            }
            Step::Keep { condition, value } => match self.of_truth(condition, vector) {
                Truth::Mask(mask) => {
                    let from = self.of_vector(value, vector);
                    I::Keep { to: self.gives(number, vector)?, mask, from }
                }
                Truth::Vector(_) => self.of_bits(number, vector, Arithmetic::And, condition, value)?,
            },
            Step::AddTo { target, value } => {
                let (to, b) = (self.target(target, vector), self.of_vector(value, vector));
                I::Arithmetic { op: Arithmetic::Add, to, a: to, b }
            }
            Step::MultiplyInto { target, value } => {
                let (to, b) = (self.target(target, vector), self.of_vector(value, vector));
                I::Arithmetic { op: Arithmetic::Mul, to, a: to, b }
            }
            Step::MultiplyAdd { target, a, b } => {
                let (a, b) = (self.of_vector(a, vector), self.of_vector(b, vector));
                I::Fused { form: Fused::ProductToSum, to: self.target(target, vector), a, b }
            }
            Step::Extreme { target, op, value } => {
                let (to, value) = (self.target(target, vector), self.of_vector(value, vector));
                let (predicate, a, b) = (Predicate::Unordered, value, value);
                // The instruction gives its second operand where one is NaN or both are equal.
                let extreme = I::Arithmetic { op, to, a: value, b: to };
                if self.block.vectors.has_masks() {
                    let mask = self.mask()?;
                    self.code.extend([I::Compare { to: mask, predicate, a, b }, extreme]);
                    self.free_masks.insert(mask.0);
                    blend(to, Truth::Mask(mask), to, value)
                } else {
                    let truth = self.vector()?;
                    self.code.extend([I::CompareLanes { to: truth, predicate, a, b }, extreme]);
                    self.free_vectors.insert(truth.0);
                    blend(to, Truth::Vector(truth), to, value)
                }
            }
            Step::Begin(_) | Step::End(_) => return Ok(()),
        };
        self.code.push(instruction);
        Ok(())
    }

    /// a * b and c, in the register of an operand that nobody reads afterwards, if there is one; `forms` are those that overwrite c and a factor.
    fn fused(
        &mut self,
        number: Value,
        vector: usize,
        [a, b, c]: [Value; 3],
        [over_sum, over_factor]: [Fused; 2],
    ) -> Result<Instruction, TooManyValues> {
        let [at_a, at_b, at_c] = [a, b, c].map(|value| self.of_vector(value, vector));
        let ends = |value: Value, others: [Value; 2]| {
            let is_scalar = matches!(self.block.steps[value], Step::Scalar(_));
            self.last_use[value] == number && !is_scalar && !others.contains(&value)
        };
        let overwritten = [(c, [a, b]), (a, [b, c]), (b, [a, c])].into_iter().find(|(value, rest)| ends(*value, *rest));
        let Some((heir, _)) = overwritten else {
            let to = self.gives(number, vector)?;
            self.code.push(Instruction::Copy { to, from: at_c });
            return Ok(Instruction::Fused { form: over_sum, to, a: at_a, b: at_b });
        };
        let to = self.of_vector(heir, vector);
        self.places[heir][vector] = None;
        self.places[number][vector] = Some(Place::Vector(to));
        Ok(if heir == c {
            Instruction::Fused { form: over_sum, to, a: at_a, b: at_b }
        } else {
            let factor = if heir == a { at_b } else { at_a };
            Instruction::Fused { form: over_factor, to, a: factor, b: at_c }
        })
    }

    /// Reads the lanes of a truth value; the others are those of another value.
    fn load_where(
        &mut self,
        number: Value,
        vector: usize,
        at: Memory,
        condition: Truth,
        otherwise: Value,
    ) -> Result<Instruction, TooManyValues> {
        let from = self.of_vector(otherwise, vector);
        let to = self.gives(number, vector)?;
        let condition = match condition {
            Truth::Mask(mask) => mask,
            Truth::Vector(mask) => {
                self.code.push(Instruction::LoadBy { to, at, mask });
                return Ok(Instruction::BlendBy { to, mask, no: from, yes: to });
            }
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

    /// A register for a truth value.
    fn gives_truth(&mut self, number: Value, vector: usize) -> Result<Truth, TooManyValues> {
        Ok(if self.block.vectors.has_masks() {
            Truth::Mask(self.gives_mask(number, vector)?)
        } else {
            Truth::Vector(self.gives(number, vector)?)
        })
    }

    fn of_truth(&self, value: Value, vector: usize) -> Truth {
        match self.places[value][vector] {
            Some(Place::Mask(mask)) => Truth::Mask(mask),
            Some(Place::Vector(vector)) => Truth::Vector(vector),
            Some(Place::General(_)) | None => unreachable!("step {value} gives no truth value"),
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

fn blend(to: Vector, condition: Truth, no: Vector, yes: Vector) -> Instruction {
    match condition {
        Truth::Mask(mask) => Instruction::Blend { to, mask, no, yes },
        Truth::Vector(mask) => Instruction::BlendBy { to, mask, no, yes },
    }
}
