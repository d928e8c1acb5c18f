//! The body of a loop over lanes as straight-line code on whole vectors: steps, each a value for those behind it.
//!
//! A block that reduces has vectors of 8 lanes, because that is the order of a reduction (see `emit/lanes`); the caller gives it whole ones.
//!
//! What a block takes from outside lies in a table: pointers of the streams, counts of the loops, scalars, truth values, and accumulators of 8
//! lanes.

use super::instruction::{Arithmetic, Predicate, Rounding, Shift, Vectors};

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
    /// As `Load`, in the row of a number, of so many bytes.
    LoadRow {
        stream: usize,
        displacement: i32,
        row: (Value, i32),
        guard: Option<RowGuard>,
    },
    /// Number so-and-so of the scalars, in all lanes.
    Scalar(usize),
    /// Number so-and-so of the truth values that all lanes share.
    Truth(usize),
    Arithmetic(Arithmetic, Value, Value),
    /// a * b + c, one rounding.
    Fused(Value, Value, Value),
    /// c - a * b, one rounding.
    FusedLess(Value, Value, Value),
    /// Of the bits of each lane.
    Shift(Shift, Value, u8),
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

/// Only where `0 <= number + offset < extent`, else another value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RowGuard {
    pub offset: i32,
    pub extent: i32,
    pub otherwise: Value,
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
    /// Are all lanes of an accumulator alike when the function begins?
    pub begins: bool,
    pub vectors: Vectors,
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

    /// By scalar: how many steps read it, those in loops counted several times.
    pub fn scalar_uses(&self) -> Vec<usize> {
        let mut uses = vec![0; self.scalars];
        let mut weight = 1;
        for step in &self.steps {
            match step {
                Step::Begin(_) => weight = 8,
                Step::End(_) => weight = 1,
                step => {
                    for value in self.operands(*step) {
                        if let Step::Scalar(scalar) = self.steps[value] {
                            uses[scalar] += weight;
                        }
                    }
                }
            }
        }
        uses
    }

    /// By value: the last step that reads it. A loop reads what it takes from outside until its end.
    pub fn last_uses(&self) -> Vec<usize> {
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

    pub fn operands(&self, step: Step) -> Vec<Value> {
        let cell = |target| match target {
            Target::Cell(cell) => Some(cell),
            Target::Accumulator(_) => None,
        };
        match step {
            Step::Load { .. } | Step::LoadShared { .. } | Step::Prefetch { .. } | Step::Scalar(_) | Step::Truth(_) => {
                Vec::new()
            }
            Step::Number { stream: _, displacement: _, row } => row.into_iter().map(|(number, _)| number).collect(),
            Step::LoadRow { stream: _, displacement: _, row: (number, _), guard } => {
                guard.iter().map(|guard| guard.otherwise).chain([number]).collect()
            }
            Step::LoadWhere { condition, stream: _, displacement: _, otherwise } => vec![condition, otherwise],
            Step::Store { stream: _, displacement: _, value } => vec![value],
            Step::Arithmetic(_, a, b)
            | Step::Compare(_, a, b)
            | Step::CompareIntegers(_, a, b)
            | Step::And(a, b)
            | Step::Or(a, b) => vec![a, b],
            Step::Fused(a, b, c) | Step::FusedLess(a, b, c) => vec![a, b, c],
            Step::Sqrt(a) | Step::Round(_, a) | Step::Not(a) | Step::Cell(a) | Step::Shift(_, a, _) => vec![a],
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
