//! The body of a loop over lanes as a block of wide code, where it can be one.

use super::super::Emitter;
use super::super::lanes::Reduction;
use super::super::ops::fused_factors;
use super::super::tiles::Key;
use super::{Body, Inner, Scalar, Stream, Truth};
use crate::calls::unary_name;
use crate::facts::call_of;
use crate::wide::block::{Block, Loop, RowGuard, Step, Target};
use crate::wide::instruction::{Arithmetic, Predicate, Rounding, Shift, Vectors};
use bdl_dims::Dim;
use bdl_kernels::isa::Isa;
use bdl_kernels::vector_math::Function;
use bdl_kernels::vector_math::formula::{At, Step as Formula, formula};
use bdl_plan::{
    Address, AddressTerm, BinaryOp, CHAIN, CompareOp, DType, Guard, LoopIndex, LoopMode, Monoid, Stmt, UnaryOp,
    ValueId, ValueOp, ValueType, VariableId, chained, constant_extent,
};
use std::collections::HashMap;

/// Rows with more lanes are not asked for.
const LONGEST_AHEAD: i64 = 1024;
/// A loop with fewer lanes is not worth the call.
const FEWEST_LANES: i64 = 16;
/// Nor is one with fewer lanes times operations.
const LEAST_WORK: i64 = 256;

/// Translates a body. Every method gives `None` for what wide code does not do.
pub struct Builder<'e, 'a> {
    emitter: &'e Emitter<'a>,
    vectors: Vectors,
    index: LoopIndex,
    extent: Option<i64>,
    steps: Vec<Step>,
    streams: Vec<Stream<'a>>,
    scalars: Vec<Scalar>,
    truths: Vec<Truth<'a>>,
    loops: Vec<Loop>,
    inner: Vec<Inner<'a>>,
    /// Inside of the last of `inner`.
    in_loop: bool,
    reductions: Vec<(VariableId, Monoid)>,
    /// Has the loop earlier parts, which reduce, too?
    in_tiles: bool,
    values: HashMap<ValueId, usize>,
    /// What variables of a lane hold now; while a loop adds to one, its cell.
    variables: HashMap<VariableId, usize>,
    cells: HashMap<VariableId, usize>,
    /// Integers that a loop inside reads, the same for all lanes: rows of a gather.
    numbers: HashMap<ValueId, usize>,
}

/// A number by which a row is found, the step that reads it, and the bytes of a row.
type Row = (ValueId, usize, i32);

/// Where an address lies.
#[derive(Clone, Copy)]
struct Located {
    stream: usize,
    displacement: i32,
    /// In the row of a number, of so many bytes.
    row: Option<(usize, i32)>,
}

impl<'a> Emitter<'a> {
    /// A builder for a loop over `index` with so many operations for each lane, where the machine has wide vectors and the loop is long enough
    /// for them.
    pub fn wide_builder(
        &self,
        index: LoopIndex,
        extent: Option<i64>,
        operations: i64,
        reductions: &[Reduction],
        in_tiles: bool,
    ) -> Option<Builder<'_, 'a>> {
        let is_long = extent.is_none_or(|n| n >= FEWEST_LANES && n * operations >= LEAST_WORK);
        let vectors = match Isa::current() {
            Isa::Avx512 if reductions.is_empty() => Vectors::Zmm,
            // The order of a reduction is that of eight lanes.
            Isa::Avx512 => Vectors::Ymm,
            Isa::Avx2 => Vectors::YmmAvx2,
            Isa::Portable => return None,
        };
        (is_long && cfg!(target_arch = "x86_64")).then(|| Builder {
            vectors,
            emitter: self,
            index,
            extent,
            steps: Vec::new(),
            streams: Vec::new(),
            scalars: Vec::new(),
            truths: Vec::new(),
            loops: Vec::new(),
            inner: Vec::new(),
            in_loop: false,
            reductions: reductions.iter().map(|r| (r.variable, r.monoid)).collect(),
            in_tiles,
            values: HashMap::new(),
            variables: HashMap::new(),
            cells: HashMap::new(),
            numbers: HashMap::new(),
        })
    }
}

/// About how many operations statements are for each lane.
pub fn operations(body: &[&Stmt]) -> i64 {
    let operations = |stmt: &&Stmt| match stmt {
        Stmt::Let { op, .. } if call_of(op).is_some() => 16,
        Stmt::Let { .. } | Stmt::Store { .. } | Stmt::Combine { .. } => 1,
        Stmt::Variable { .. } | Stmt::Assign { .. } => 0,
        // As long as the loop around, as far as anyone knows.
        Stmt::Loop { .. } | Stmt::If { .. } => LEAST_WORK,
    };
    body.iter().map(operations).sum()
}

impl<'a> Builder<'_, 'a> {
    /// `None` where a load that may be left out has no other to stand in for it.
    pub fn finish(self) -> Option<Body<'a>> {
        let is_guarded = |stream: usize| matches!(self.streams[stream], Stream::Guarded(..));
        let moves = |stream: usize| self.loops.iter().any(|l| l.moves.iter().any(|(moved, _)| *moved == stream));
        let spare = self.steps.iter().find_map(|step| {
            let (Step::Load { stream, displacement } | Step::Store { stream, displacement, value: _ }) = *step else {
                return None;
            };
            (!is_guarded(stream) && !moves(stream)).then_some((stream, displacement))
        });
        if spare.is_none() && (0..self.streams.len()).any(is_guarded) {
            return None;
        }
        let block = Block {
            steps: self.steps,
            loops: self.loops,
            streams: self.streams.len(),
            scalars: self.scalars.len(),
            truths: self.truths.len(),
            accumulators: self.reductions.len(),
            begins: !self.in_tiles,
            vectors: self.vectors,
        };
        Some(Body {
            spare,
            block,
            streams: self.streams,
            scalars: self.scalars,
            truths: self.truths,
            inner: self.inner,
            reductions: self.reductions.into_iter().map(|(variable, _)| variable).collect(),
        })
    }

    pub fn statement(&mut self, stmt: &'a Stmt) -> Option<()> {
        match stmt {
            Stmt::Let { value, op } => self.define(*value, op),
            Stmt::Store { buffer, at, value } => {
                let ty = self.emitter.type_of(*value);
                let (stream, displacement) = self.place(*buffer, at, ty)?;
                let value = self.vector(*value)?;
                self.steps.push(Step::Store { stream, displacement, value });
                Some(())
            }
            Stmt::Combine { variable, monoid, value } => self.combine(*variable, *monoid, *value),
            Stmt::Variable { variable, start } if !self.in_loop => self.hold(*variable, *start),
            // Not where a loop goes on with it.
            Stmt::Assign { variable, value } if !self.in_loop => self.hold(*variable, *value),
            Stmt::Loop { index, from, to, mode: LoopMode::Serial, body } if !self.in_loop => {
                self.inner_loop(Inner { index: *index, from, to }, body)
            }
            Stmt::Variable { .. } | Stmt::Assign { .. } | Stmt::Loop { .. } | Stmt::If { .. } => None,
        }
    }

    fn hold(&mut self, variable: VariableId, value: ValueId) -> Option<()> {
        let value = match self.emitter.type_of(value) {
            ValueType::Bool => self.truth(value)?,
            ValueType::F32 | ValueType::F64 | ValueType::I32 | ValueType::I64 => self.vector(value)?,
        };
        self.variables.insert(variable, value);
        Some(())
    }

    /// A loop that combines what it computes into variables of the lane, or stores it.
    fn inner_loop(&mut self, inner: Inner<'a>, body: &'a [Stmt]) -> Option<()> {
        let extent = constant_extent(inner.from, inner.to);
        let count = extent.map(|n| (1..i64::from(i32::MAX)).contains(&n).then_some(n));
        let chained = chained(self.emitter.kernel, extent, CHAIN, body);
        let mut combined: Vec<VariableId> = Vec::new();
        for stmt in body {
            if let Stmt::Combine { variable, .. } = stmt
                && !combined.contains(variable)
            {
                combined.push(*variable);
            }
        }
        let mut chains = Vec::new();
        let mut wholes = Vec::new();
        for variable in combined {
            let start = *self.variables.get(&variable)?;
            let whole = self.push(Step::Cell(start));
            let cell = if chained.contains(&variable) {
                let chain = self.push(Step::Cell(start));
                chains.push((whole, chain));
                chain
            } else {
                whole
            };
            self.cells.insert(variable, cell);
            wholes.push((variable, whole));
        }
        self.loops.push(Loop { count: count.unwrap_or(None), moves: Vec::new(), chains });
        self.inner.push(inner);
        let number = self.loops.len() - 1;
        self.push(Step::Begin(number));
        self.in_loop = true;
        body.iter().try_for_each(|stmt| self.statement(stmt))?;
        self.in_loop = false;
        self.push(Step::End(number));
        self.cells.clear();
        self.variables.extend(wholes);
        // A loop that is known not to run is rare enough for narrow code.
        (count != Some(None)).then_some(())
    }

    pub fn define(&mut self, value: ValueId, op: &'a ValueOp) -> Option<()> {
        let ty = self.emitter.type_of(value);
        let step = match op {
            ValueOp::Load { buffer, at, guards, otherwise: _ } if !self.emitter.facts.varies(value) => {
                // All lanes read the same in each round of a loop inside.
                let Located { stream, displacement, row } = self.locate(*buffer, at, ty, false)?;
                match (ty, row) {
                    (ValueType::I32, _) => {
                        let number = self.push(Step::Number { stream, displacement, row });
                        self.numbers.insert(value, number);
                        return guards.is_empty().then_some(());
                    }
                    (ValueType::F32, None) if guards.is_empty() => self.push(Step::LoadShared { stream, displacement }),
                    (ValueType::F32 | ValueType::F64 | ValueType::I64 | ValueType::Bool, _) => return None,
                }
            }
            op => self.op(op, ty)?,
        };
        self.values.insert(value, step);
        Some(())
    }

    /// A value that an earlier part of the loop left in a tile.
    pub fn read_tile(&mut self, value: ValueId, key: Key) -> Option<()> {
        let fits = matches!(self.emitter.type_of(value), ValueType::F32 | ValueType::I32);
        let stream = self.stream(Stream::Tile(key));
        let step = self.push(Step::Load { stream, displacement: 0 });
        self.values.insert(value, step);
        fits.then_some(())
    }

    /// Leaves a value in a tile for a later part.
    pub fn write_tile(&mut self, value: ValueId, key: Key) -> Option<()> {
        let stream = self.stream(Stream::Tile(key));
        let value = self.vector(value)?;
        self.steps.push(Step::Store { stream, displacement: 0, value });
        Some(())
    }

    fn push(&mut self, step: Step) -> usize {
        self.steps.push(step);
        self.steps.len() - 1
    }

    fn stream(&mut self, stream: Stream<'a>) -> usize {
        match self.streams.iter().position(|known| *known == stream) {
            Some(number) => number,
            None => {
                self.streams.push(stream);
                self.streams.len() - 1
            }
        }
    }

    /// The stream of an address that goes with the lanes, and the bytes from its pointer on.
    fn place(&mut self, buffer: u32, at: &'a Address, ty: ValueType) -> Option<(usize, i32)> {
        let located = self.locate(buffer, at, ty, true)?;
        if !self.in_loop {
            self.ahead(located.stream, located.displacement, at);
        }
        located.row.is_none().then_some((located.stream, located.displacement))
    }

    /// How an address moves: by so many bytes in each round of the loop inside, and in the row of which number.
    fn moves(&self, buffer: u32, at: &Address, ty: ValueType, with_lanes: bool) -> Option<(i32, Option<Row>)> {
        match (self.emitter.dtype(buffer).ok()?, ty) {
            (DType::F32, ValueType::F32) | (DType::I32, ValueType::I32) => {}
            (DType::F32 | DType::F64 | DType::BF16 | DType::I32 | DType::I64 | DType::Bool, _) => return None,
        }
        let bytes = |stride: &Dim| i32::try_from(stride.as_const()?.checked_mul(4)?).ok();
        let (mut along, mut by, mut row) = (0, 0, None);
        for (term, stride) in &at.terms {
            match term {
                AddressTerm::Index(index) if *index == self.index => along += stride.as_const()?,
                AddressTerm::Index(index) if self.in_loop && self.inner.last().is_some_and(|l| l.index == *index) => {
                    by += bytes(stride)?;
                }
                AddressTerm::Index(_) => {}
                AddressTerm::Value(value) if self.emitter.facts.varies(*value) => return None,
                AddressTerm::Value(value) => match (self.numbers.get(value), row) {
                    (Some(number), None) => row = Some((*value, *number, bytes(stride)?)),
                    (Some(_), Some(_)) => return None,
                    (None, _) => {}
                },
            }
        }
        (along == i64::from(with_lanes)).then_some((by, row))
    }

    fn locate(&mut self, buffer: u32, at: &'a Address, ty: ValueType, with_lanes: bool) -> Option<Located> {
        let (by, row) = self.moves(buffer, at, ty, with_lanes)?;
        let apart = |other: &Address| {
            let apart = (at.offset.clone() - other.offset.clone()).as_const()?;
            let bytes = i32::try_from(apart.checked_mul(4)?).ok()?;
            // Room for the vectors of a block, and short of where narrow code would add it to the pointer.
            (other.terms == at.terms && bytes.abs() < 1 << 28).then_some(bytes)
        };
        let value = row.map(|(value, _, _)| value);
        let known = self.streams.iter().enumerate().find_map(|(number, stream)| match stream {
            Stream::Buffer(b, other, of) if *b == buffer && *of == value => apart(other).map(|bytes| (number, bytes)),
            Stream::Buffer(..) | Stream::Guarded(..) | Stream::Tile(_) => None,
        });
        let (stream, displacement) = known.unwrap_or_else(|| (self.stream(Stream::Buffer(buffer, at, value)), 0));
        if let (Some(inner), true) = (self.loops.last_mut(), by != 0)
            && !inner.moves.contains(&(stream, by))
        {
            inner.moves.push((stream, by));
        }
        Some(Located { stream, displacement, row: row.map(|(_, number, bytes)| (number, bytes)) })
    }

    /// Where the next round of the loop around reads another row, asks for its elements.
    fn ahead(&mut self, stream: usize, displacement: i32, at: &Address) {
        let around = at.terms.iter().filter_map(|(term, stride)| match term {
            AddressTerm::Index(index) if *index != self.index => {
                let (_, depth) = self.emitter.indices[index.0 as usize].as_ref()?;
                Some((*depth, stride.as_const()))
            }
            AddressTerm::Index(_) | AddressTerm::Value(_) => None,
        });
        let Some((_, Some(row))) = around.max_by_key(|(depth, _)| *depth) else { return };
        // Rows one after the other come by themselves, and of long ones what comes first is gone before it is wanted.
        let is_short = self.extent.is_some_and(|lanes| lanes <= LONGEST_AHEAD && lanes != row);
        if !is_short || row.abs() > 1 << 24 {
            return;
        }
        let ahead = Step::Prefetch { stream, displacement: displacement + 4 * row as i32 };
        if !self.steps.contains(&ahead) {
            self.push(ahead);
        }
    }

    fn scalar(&mut self, scalar: Scalar) -> usize {
        let number = match self.scalars.iter().position(|known| *known == scalar) {
            Some(number) => number,
            None => {
                self.scalars.push(scalar);
                self.scalars.len() - 1
            }
        };
        match self.steps.iter().position(|step| *step == Step::Scalar(number)) {
            Some(step) => step,
            None => self.push(Step::Scalar(number)),
        }
    }

    fn real(&mut self, value: ValueId) -> Option<usize> {
        (self.emitter.type_of(value) == ValueType::F32).then(|| self.vector(value))?
    }

    fn integer(&mut self, value: ValueId) -> Option<usize> {
        (self.emitter.type_of(value) == ValueType::I32).then(|| self.vector(value))?
    }

    /// A value of 32 bits a lane.
    fn vector(&mut self, value: ValueId) -> Option<usize> {
        match self.emitter.type_of(value) {
            ValueType::F32 | ValueType::I32 => {}
            ValueType::F64 | ValueType::I64 | ValueType::Bool => return None,
        }
        if let Some(step) = self.values.get(&value) {
            return Some(*step);
        }
        if let Some(number) = self.numbers.get(&value) {
            // Read once more, for all lanes.
            let Step::Number { stream, displacement, row: None } = self.steps[*number] else { return None };
            let step = self.push(Step::LoadShared { stream, displacement });
            self.values.insert(value, step);
            return Some(step);
        }
        (!self.emitter.facts.varies(value)).then(|| self.scalar(Scalar::Value(value)))
    }

    fn truth(&mut self, value: ValueId) -> Option<usize> {
        if self.emitter.type_of(value) != ValueType::Bool {
            return None;
        }
        match self.values.get(&value) {
            Some(step) => Some(*step),
            None => (!self.emitter.facts.varies(value)).then(|| self.shared_truth(Truth::Value(value))),
        }
    }

    fn shared_truth(&mut self, truth: Truth<'a>) -> usize {
        let number = match self.truths.iter().position(|known| *known == truth) {
            Some(number) => number,
            None => {
                self.truths.push(truth);
                self.truths.len() - 1
            }
        };
        self.push(Step::Truth(number))
    }

    /// A load, with guards that all lanes share outside of loops, or one that looks at the number whose row is read.
    fn load(
        &mut self,
        buffer: u32,
        at: &'a Address,
        guards: &'a [Guard],
        otherwise: f64,
        ty: ValueType,
    ) -> Option<usize> {
        let otherwise = Scalar::Bits(bits_of(otherwise, ty));
        if guards.is_empty() || self.in_loop {
            let Located { stream, displacement, row } = self.locate(buffer, at, ty, true)?;
            return match (row, guards) {
                (Some(row), []) => Some(self.push(Step::LoadRow { stream, displacement, row, guard: None })),
                (Some(row), [guard]) => {
                    let (offset, extent) = self.range(guard, row.0)?;
                    let otherwise = self.scalar(otherwise);
                    let guard = Some(RowGuard { offset, extent, otherwise });
                    Some(self.push(Step::LoadRow { stream, displacement, row, guard }))
                }
                (None, []) => {
                    if !self.in_loop {
                        self.ahead(stream, displacement, at);
                    }
                    Some(self.push(Step::Load { stream, displacement }))
                }
                (_, _) => None,
            };
        }
        self.moves(buffer, at, ty, true)?;
        let changes = |(term, _): &(AddressTerm, _)| match term {
            AddressTerm::Index(index) => *index == self.index,
            AddressTerm::Value(value) => self.emitter.facts.varies(*value),
        };
        if guards.iter().any(|guard| guard.form.terms.iter().any(changes)) {
            return None;
        }
        // A pointer of its own: where a guard fails it must not lead to memory that is not there, which even masked loads are slow to ignore.
        let stream = self.stream(Stream::Guarded(buffer, at, guards));
        let otherwise = self.scalar(otherwise);
        let condition = self.shared_truth(Truth::Guards(guards));
        Some(self.push(Step::LoadWhere { condition, stream, displacement: 0, otherwise }))
    }

    /// Offset and extent of a guard of a number alone.
    fn range(&mut self, guard: &Guard, number: usize) -> Option<(i32, i32)> {
        let small = |dim: &Dim| i32::try_from(dim.as_const()?).ok();
        let [(AddressTerm::Value(value), stride)] = guard.form.terms.as_slice() else { return None };
        if self.numbers.get(value) != Some(&number) || stride.as_const() != Some(1) {
            return None;
        }
        Some((small(&guard.form.offset)?, small(&guard.extent)?.max(0)))
    }

    /// A function, step by step: the formula that slice functions follow, so the same bits.
    fn function(&mut self, op: UnaryOp, argument: usize) -> Option<usize> {
        let formula = formula(Function::from_name(unary_name(op)?)?)?;
        let mut places: Vec<usize> = Vec::with_capacity(formula.steps.len());
        for step in formula.steps {
            let at = |at: At| places[at as usize];
            let made = match step {
                Formula::Argument(_) => argument,
                Formula::Real(x) => self.scalar(Scalar::Bits((x as f32).to_bits())),
                Formula::Int(bits) => self.scalar(Scalar::Bits(bits as u32)),
                Formula::Bits(a) | Formula::FromBits(a) => at(a),
                Formula::Add(a, b) => self.push(Step::Arithmetic(Arithmetic::Add, at(a), at(b))),
                Formula::Sub(a, b) => self.push(Step::Arithmetic(Arithmetic::Sub, at(a), at(b))),
                Formula::Mul(a, b) => self.push(Step::Arithmetic(Arithmetic::Mul, at(a), at(b))),
                Formula::Div(a, b) => self.push(Step::Arithmetic(Arithmetic::Div, at(a), at(b))),
                Formula::Min(a, b) => self.push(Step::Arithmetic(Arithmetic::Min, at(a), at(b))),
                Formula::Max(a, b) => self.push(Step::Arithmetic(Arithmetic::Max, at(a), at(b))),
                Formula::IntAdd(a, b) => self.push(Step::Arithmetic(Arithmetic::AddIntegers, at(a), at(b))),
                Formula::IntAnd(a, b) => self.push(Step::Arithmetic(Arithmetic::And, at(a), at(b))),
                Formula::IntOr(a, b) => self.push(Step::Arithmetic(Arithmetic::Or, at(a), at(b))),
                Formula::Sqrt(a) => self.push(Step::Sqrt(at(a))),
                Formula::Round(a) => self.push(Step::Round(Rounding::NearestEven, at(a))),
                Formula::Fma(a, b, c) => self.push(Step::Fused(at(a), at(b), at(c))),
                Formula::Fnma(a, b, c) => self.push(Step::FusedLess(at(a), at(b), at(c))),
                Formula::Lt(a, b) => self.push(Step::Compare(Predicate::Less, at(a), at(b))),
                Formula::Le(a, b) => self.push(Step::Compare(Predicate::LessOrEqual, at(a), at(b))),
                Formula::Equal(a, b) => self.push(Step::Compare(Predicate::Equal, at(a), at(b))),
                Formula::Select(condition, yes, no) => {
                    self.push(Step::Select { condition: at(condition), yes: at(yes), no: at(no) })
                }
                Formula::IntIsZero(a) => {
                    let a = at(a);
                    let zero = self.scalar(Scalar::Bits(0));
                    self.push(Step::CompareIntegers(Predicate::Equal, a, zero))
                }
                Formula::MantissaLeft(a) => self.push(Step::Shift(Shift::Left, at(a), 23)),
                Formula::MantissaRight(a) => self.push(Step::Shift(Shift::Right, at(a), 23)),
                // One lane after the other, in f64.
                Formula::FarTurn { .. } => return None,
            };
            places.push(made);
        }
        places.last().copied()
    }

    fn extreme(&mut self, op: Arithmetic, x: usize, y: usize) -> Step {
        // Gives x where both are equal or one is NaN; a NaN in y is passed on.
        let no = self.push(Step::Arithmetic(op, y, x));
        let condition = self.push(Step::Compare(Predicate::Unordered, y, y));
        Step::Select { condition, yes: y, no }
    }

    fn op(&mut self, op: &'a ValueOp, ty: ValueType) -> Option<usize> {
        let step = match (op, ty) {
            (ValueOp::Load { buffer, at, guards, otherwise }, ValueType::F32 | ValueType::I32) => {
                return self.load(*buffer, at, guards, *otherwise, ty);
            }
            (ValueOp::Const(value), ValueType::F32 | ValueType::I32) => {
                return Some(self.scalar(Scalar::Bits(bits_of(*value, ty))));
            }
            // A variable that a loop is adding to has no value yet.
            (ValueOp::Variable(variable), _) if !self.cells.contains_key(variable) => {
                return self.variables.get(variable).copied();
            }
            (ValueOp::Unary(op, a), ValueType::F32) => {
                let a = self.real(*a)?;
                match op {
                    UnaryOp::Neg => {
                        let sign = self.scalar(Scalar::Bits(1 << 31));
                        Step::Arithmetic(Arithmetic::Xor, a, sign)
                    }
                    UnaryOp::Abs => {
                        let all_else = self.scalar(Scalar::Bits(!(1 << 31)));
                        Step::Arithmetic(Arithmetic::And, a, all_else)
                    }
                    UnaryOp::Sqrt => Step::Sqrt(a),
                    UnaryOp::Floor => Step::Round(Rounding::Down, a),
                    UnaryOp::Round => Step::Round(Rounding::NearestEven, a),
                    UnaryOp::Exp
                    | UnaryOp::Expm1
                    | UnaryOp::Log
                    | UnaryOp::Log1p
                    | UnaryOp::Tanh
                    | UnaryOp::Sigmoid
                    | UnaryOp::Softplus
                    | UnaryOp::Erf
                    | UnaryOp::Sin
                    | UnaryOp::Cos
                    | UnaryOp::Lgamma
                    | UnaryOp::Digamma
                    | UnaryOp::Trigamma => return self.function(*op, a),
                    UnaryOp::Not | UnaryOp::Sign | UnaryOp::Bf16 => return None,
                }
            }
            (ValueOp::Binary(op, x, y), ValueType::F32) => {
                let (x, y) = (self.real(*x)?, self.real(*y)?);
                match op {
                    BinaryOp::Add => Step::Arithmetic(Arithmetic::Add, x, y),
                    BinaryOp::Sub => Step::Arithmetic(Arithmetic::Sub, x, y),
                    BinaryOp::Mul => Step::Arithmetic(Arithmetic::Mul, x, y),
                    BinaryOp::Div => Step::Arithmetic(Arithmetic::Div, x, y),
                    BinaryOp::Max => self.extreme(Arithmetic::Max, x, y),
                    BinaryOp::Min => self.extreme(Arithmetic::Min, x, y),
                    BinaryOp::FloorDiv | BinaryOp::Rem | BinaryOp::Pow | BinaryOp::And | BinaryOp::Or => return None,
                }
            }
            (ValueOp::Binary(op, x, y), ValueType::I32) => {
                let op = match op {
                    BinaryOp::Add => Arithmetic::AddIntegers,
                    BinaryOp::Sub => Arithmetic::SubIntegers,
                    BinaryOp::Mul => Arithmetic::MulIntegers,
                    BinaryOp::Div
                    | BinaryOp::FloorDiv
                    | BinaryOp::Rem
                    | BinaryOp::Pow
                    | BinaryOp::Max
                    | BinaryOp::Min
                    | BinaryOp::And
                    | BinaryOp::Or => return None,
                };
                Step::Arithmetic(op, self.integer(*x)?, self.integer(*y)?)
            }
            (ValueOp::Compare(op, x, y), _) => {
                let integers = self.emitter.type_of(*x) == ValueType::I32;
                let (x, y) = (self.vector(*x)?, self.vector(*y)?);
                let (predicate, a, b) = match op {
                    CompareOp::Eq => (Predicate::Equal, x, y),
                    CompareOp::Ne => (Predicate::NotEqual, x, y),
                    CompareOp::Lt => (Predicate::Less, x, y),
                    CompareOp::Le => (Predicate::LessOrEqual, x, y),
                    CompareOp::Gt => (Predicate::Less, y, x),
                    CompareOp::Ge => (Predicate::LessOrEqual, y, x),
                };
                if integers { Step::CompareIntegers(predicate, a, b) } else { Step::Compare(predicate, a, b) }
            }
            (ValueOp::Binary(BinaryOp::And, x, y), ValueType::Bool) => Step::And(self.truth(*x)?, self.truth(*y)?),
            (ValueOp::Binary(BinaryOp::Or, x, y), ValueType::Bool) => Step::Or(self.truth(*x)?, self.truth(*y)?),
            (ValueOp::Unary(UnaryOp::Not, a), ValueType::Bool) => Step::Not(self.truth(*a)?),
            (ValueOp::Select(c, yes, no), ValueType::F32 | ValueType::I32) => {
                Step::Select { condition: self.truth(*c)?, yes: self.vector(*yes)?, no: self.vector(*no)? }
            }
            (ValueOp::Select(c, yes, no), ValueType::Bool) => {
                let (c, yes, no) = (self.truth(*c)?, self.truth(*yes)?, self.truth(*no)?);
                let yes = self.push(Step::And(c, yes));
                let not = self.push(Step::Not(c));
                let no = self.push(Step::And(not, no));
                Step::Or(yes, no)
            }
            (ValueOp::Convert(a), ValueType::F32) => match self.emitter.type_of(*a) {
                ValueType::Bool => {
                    let value = self.scalar(Scalar::Bits(1.0f32.to_bits()));
                    Step::Keep { condition: self.truth(*a)?, value }
                }
                ValueType::F32 | ValueType::F64 | ValueType::I32 | ValueType::I64 => return None,
            },
            (
                ValueOp::Const(_)
                | ValueOp::Size(_)
                | ValueOp::Index(_)
                | ValueOp::Variable(_)
                | ValueOp::Load { .. }
                | ValueOp::Unary(..)
                | ValueOp::Binary(..)
                | ValueOp::Select(..)
                | ValueOp::Convert(_),
                _,
            ) => return None,
        };
        Some(self.push(step))
    }

    fn combine(&mut self, variable: VariableId, monoid: Monoid, value: ValueId) -> Option<()> {
        let def = self.emitter.facts.defs[value.0 as usize];
        let factors = fused_factors(def, self.emitter.type_of(value), monoid);
        let accumulator = self.reductions.iter().position(|(known, with)| *known == variable && *with == monoid);
        let target = match (self.cells.get(&variable), accumulator) {
            (Some(cell), _) => Target::Cell(*cell),
            (None, Some(accumulator)) if !self.in_loop => Target::Accumulator(accumulator),
            (None, _) if self.in_loop => return None,
            (None, _) => {
                let combined = self.combined(variable, monoid, value, factors)?;
                let combined = self.push(combined);
                self.variables.insert(variable, combined);
                return Some(());
            }
        };
        let step = match factors {
            Some((a, b)) => Step::MultiplyAdd { target, a: self.real(a)?, b: self.real(b)? },
            None => {
                let value = self.real(value)?;
                match monoid {
                    Monoid::Sum => Step::AddTo { target, value },
                    Monoid::Prod => Step::MultiplyInto { target, value },
                    Monoid::Max => Step::Extreme { target, op: Arithmetic::Max, value },
                    Monoid::Min => Step::Extreme { target, op: Arithmetic::Min, value },
                    Monoid::Any | Monoid::All => return None,
                }
            }
        };
        self.steps.push(step);
        Some(())
    }

    /// What a variable of the lane holds after a combine outside of loops.
    fn combined(
        &mut self,
        variable: VariableId,
        monoid: Monoid,
        value: ValueId,
        factors: Option<(ValueId, ValueId)>,
    ) -> Option<Step> {
        let old = *self.variables.get(&variable)?;
        if let Some((a, b)) = factors {
            return Some(Step::Fused(self.real(a)?, self.real(b)?, old));
        }
        Some(match monoid {
            Monoid::Sum => Step::Arithmetic(Arithmetic::Add, old, self.real(value)?),
            Monoid::Prod => Step::Arithmetic(Arithmetic::Mul, old, self.real(value)?),
            Monoid::Max => {
                let value = self.real(value)?;
                self.extreme(Arithmetic::Max, old, value)
            }
            Monoid::Min => {
                let value = self.real(value)?;
                self.extreme(Arithmetic::Min, old, value)
            }
            Monoid::Any => Step::Or(old, self.truth(value)?),
            Monoid::All => Step::And(old, self.truth(value)?),
        })
    }
}

/// A constant of an f32 or i32 as it lies in memory.
fn bits_of(value: f64, ty: ValueType) -> u32 {
    if ty == ValueType::F32 { (value as f32).to_bits() } else { value as i32 as u32 }
}
