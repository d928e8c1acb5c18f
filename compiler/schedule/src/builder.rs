//! A kernel while it is written: numbering, scopes, no value computed twice, nothing computed in a loop that does not depend on it.
//!
//! The open bodies form a stack of frames, one for the kernel and one for each open loop or `If`. A value goes into the outermost
//! frame in which everything it depends on is known: asking for `1 / sqrt(v[c] + eps)` inside a loop over rows puts it before the
//! loop, because the loop's statement is only written when it is closed. Loads go outwards only where the caller promises that their
//! address is inside the buffer whether or not the loop runs, and never if the kernel writes the buffer.
//!
//! Deliberately absent: equations (`scalar`), and what is looped over (`loops`).

use crate::form;
use bdl_dims::Dim;
use bdl_plan::*;
use rustc_hash::{FxHashMap as HashMap, FxHashSet as HashSet};

pub(crate) struct Builder {
    kernel: Kernel,
    slices: Vec<Slice>,
    written: HashSet<BufferId>,
    frames: Vec<Frame>,
    /// The frame that each value was put in.
    levels: Vec<usize>,
    /// The frame inside of each loop index.
    index_levels: Vec<usize>,
}

struct Frame {
    stmts: Vec<Stmt>,
    known: HashMap<String, ValueId>,
    /// Loads of what the kernel writes, as long as nothing is stored there.
    loaded: HashMap<(BufferId, String), ValueId>,
    stored: HashSet<BufferId>,
    opened: Opened,
}

impl Frame {
    fn new(opened: Opened) -> Frame {
        let (known, loaded, stored) = (HashMap::default(), HashMap::default(), HashSet::default());
        Frame { stmts: Vec::new(), known, loaded, stored, opened }
    }
}

enum Opened {
    Kernel,
    Loop { index: LoopIndex, from: Bound, to: Bound, mode: LoopMode },
    If(ValueId),
}

/// May a load be moved out of loops and conditions?
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// The address is inside whenever its indices and values exist.
    Always,
    /// Only where the program would read.
    Here,
}

impl Builder {
    /// `written`: every buffer that the kernel stores to.
    pub fn new(name: &str, grid_name: &str, grid: Dim, grid_mode: LoopMode, written: HashSet<BufferId>) -> Builder {
        Builder {
            kernel: Kernel {
                name: name.into(),
                buffers: Vec::new(),
                sizes: Vec::new(),
                indices: vec![grid_name.into()],
                grid,
                grid_mode,
                values: Vec::new(),
                variables: Vec::new(),
                body: Vec::new(),
            },
            slices: Vec::new(),
            written,
            frames: vec![Frame::new(Opened::Kernel)],
            levels: Vec::new(),
            index_levels: vec![0],
        }
    }

    pub fn finish(mut self) -> (Kernel, Vec<Slice>) {
        debug_assert_eq!(self.frames.len(), 1, "a loop was left open");
        if let Some(frame) = self.frames.pop() {
            self.kernel.body = frame.stmts;
        }
        crate::tidy::tidy(&mut self.kernel, &mut self.slices);
        (self.kernel, self.slices)
    }

    pub const GRID: LoopIndex = LoopIndex(0);

    // -------------------------------------------------------------------------------------------- parameters

    /// The parameter for `buffer` from `offset` on.
    pub fn buffer(&mut self, buffer: BufferId, offset: &Dim, name: &str, dtype: DType) -> u32 {
        if let Some(at) = self.slices.iter().position(|s| s.buffer == buffer && s.offset == *offset) {
            return at as u32;
        }
        self.slices.push(Slice { buffer, offset: offset.clone() });
        self.kernel.buffers.push(KernelBuffer { name: name.into(), dtype, access: Access::Read });
        self.slices.len() as u32 - 1
    }

    pub fn ty(&self, value: ValueId) -> ValueType {
        self.kernel.values[value.0 as usize]
    }

    // -------------------------------------------------------------------------------------------- values

    fn level_of_term(&self, term: AddressTerm) -> usize {
        match term {
            AddressTerm::Index(index) => self.index_levels[index.0 as usize],
            AddressTerm::Value(value) => self.levels[value.0 as usize],
        }
    }

    fn level_of_form(&self, form: &Address) -> usize {
        form.terms.iter().map(|(t, _)| self.level_of_term(*t)).max().unwrap_or(0)
    }

    fn level_of(&self, op: &ValueOp) -> usize {
        let of = |v: &ValueId| self.levels[v.0 as usize];
        match op {
            ValueOp::Const(_) | ValueOp::Size(_) => 0,
            ValueOp::Index(index) => self.index_levels[index.0 as usize],
            // A variable's value is what it is here.
            ValueOp::Variable(_) => self.frames.len() - 1,
            ValueOp::Load { at, guards, .. } => {
                guards.iter().map(|g| self.level_of_form(&g.form)).fold(self.level_of_form(at), usize::max)
            }
            ValueOp::Unary(_, a) | ValueOp::Convert(a) => of(a),
            ValueOp::Binary(_, a, b) | ValueOp::Compare(_, a, b) => of(a).max(of(b)),
            ValueOp::Select(c, a, b) => of(c).max(of(a)).max(of(b)),
        }
    }

    /// The value of `op`, computed as far outside as it can be, once.
    pub fn value(&mut self, op: ValueOp, ty: ValueType) -> ValueId {
        let level = match &op {
            // A division by zero must not happen where the program divides nothing.
            ValueOp::Binary(BinaryOp::FloorDiv | BinaryOp::Rem, _, _)
                if ty != ValueType::F32 && ty != ValueType::F64 =>
            {
                self.frames.len() - 1
            }
            _other => self.level_of(&op),
        };
        self.place(op, ty, level)
    }

    pub fn load(&mut self, buffer: u32, at: Address, guards: Vec<Guard>, otherwise: f64, reach: Reach) -> ValueId {
        let ty = value_type(self.kernel.buffers[buffer as usize].dtype);
        let of = self.slices[buffer as usize].buffer;
        let written = self.written.contains(&of);
        let op = ValueOp::Load { buffer, at, guards, otherwise };
        let here = self.frames.len() - 1;
        if written {
            // What it holds may change where a body inside ends; of one body's own statements, stores come last.
            let key = (of, format!("{ty:?} {op:?}"));
            if let Some(known) = self.frames[here].loaded.get(&key) {
                return *known;
            }
            let value = self.append(op, ty, here);
            self.frames[here].loaded.insert(key, value);
            return value;
        }
        let level = match reach {
            Reach::Always => self.level_of(&op),
            Reach::Here => self.level_of(&op).max(self.certain()),
        };
        self.place(op, ty, level)
    }

    /// The outermost frame that runs only if this point is reached.
    fn certain(&self) -> usize {
        let mut level = self.frames.len() - 1;
        while level > 0 {
            let runs = match &self.frames[level].opened {
                Opened::Loop { from: Bound::Size(from), to: Bound::Size(to), .. } => {
                    from.is_zero() && to.as_const().is_some_and(|n| n > 0)
                }
                Opened::Loop { .. } | Opened::Kernel | Opened::If(_) => false,
            };
            if !runs {
                break;
            }
            level -= 1;
        }
        level
    }

    fn place(&mut self, op: ValueOp, ty: ValueType, level: usize) -> ValueId {
        if matches!(op, ValueOp::Variable(_)) {
            return self.append(op, ty, level);
        }
        let key = format!("{ty:?} {op:?}");
        if let Some(known) = self.frames.iter().find_map(|f| f.known.get(&key)) {
            return *known;
        }
        let value = self.append(op, ty, level);
        self.frames[level].known.insert(key, value);
        value
    }

    fn append(&mut self, op: ValueOp, ty: ValueType, level: usize) -> ValueId {
        let value = ValueId(self.kernel.values.len() as u32);
        self.kernel.values.push(ty);
        self.levels.push(level);
        self.frames[level].stmts.push(Stmt::Let { value, op });
        value
    }

    pub fn constant(&mut self, number: f64, ty: ValueType) -> ValueId {
        self.value(ValueOp::Const(number), ty)
    }

    pub fn convert(&mut self, value: ValueId, ty: ValueType) -> ValueId {
        if self.ty(value) == ty { value } else { self.value(ValueOp::Convert(value), ty) }
    }

    /// A form as an `I64` value.
    pub fn number(&mut self, form: &Address) -> ValueId {
        let mut sum: Option<ValueId> = None;
        for (term, coefficient) in &form.terms {
            let mut part = match term {
                AddressTerm::Index(index) => self.value(ValueOp::Index(*index), ValueType::I64),
                AddressTerm::Value(value) => self.convert(*value, ValueType::I64),
            };
            if coefficient.as_const() != Some(1) {
                let factor = self.size(coefficient);
                part = self.value(ValueOp::Binary(BinaryOp::Mul, part, factor), ValueType::I64);
            }
            sum = Some(match sum {
                None => part,
                Some(sum) => self.value(ValueOp::Binary(BinaryOp::Add, sum, part), ValueType::I64),
            });
        }
        match sum {
            None => self.size(&form.offset),
            Some(sum) if form.offset.is_zero() => sum,
            Some(sum) => {
                let offset = self.size(&form.offset);
                self.value(ValueOp::Binary(BinaryOp::Add, sum, offset), ValueType::I64)
            }
        }
    }

    pub fn size(&mut self, dim: &Dim) -> ValueId {
        match dim.as_const() {
            Some(number) => self.constant(number as f64, ValueType::I64),
            None => self.value(ValueOp::Size(dim.clone()), ValueType::I64),
        }
    }

    /// `a * b` of forms: a size times a form where one is a size, else a value.
    pub fn product(&mut self, a: &Address, b: &Address) -> Address {
        if let Some(size) = form::as_size(a) {
            return form::scale(b, size);
        }
        if let Some(size) = form::as_size(b) {
            return form::scale(a, size);
        }
        let (a, b) = (self.number(a), self.number(b));
        form::value(self.value(ValueOp::Binary(BinaryOp::Mul, a, b), ValueType::I64))
    }

    // -------------------------------------------------------------------------------------------- statements

    fn push(&mut self, stmt: Stmt) {
        let here = self.frames.len() - 1;
        self.frames[here].stmts.push(stmt);
    }

    pub fn variable(&mut self, start: f64, ty: ValueType) -> VariableId {
        let start = self.constant(start, ty);
        self.variable_from(start)
    }

    pub fn variable_from(&mut self, start: ValueId) -> VariableId {
        let variable = VariableId(self.kernel.variables.len() as u32);
        self.kernel.variables.push(self.ty(start));
        self.push(Stmt::Variable { variable, start });
        variable
    }

    pub fn read_variable(&mut self, variable: VariableId) -> ValueId {
        let ty = self.kernel.variables[variable.0 as usize];
        self.value(ValueOp::Variable(variable), ty)
    }

    pub fn combine(&mut self, variable: VariableId, monoid: Monoid, value: ValueId) {
        self.push(Stmt::Combine { variable, monoid, value });
    }

    pub fn assign(&mut self, variable: VariableId, value: ValueId) {
        self.push(Stmt::Assign { variable, value });
    }

    pub fn store(&mut self, buffer: u32, at: Address, value: ValueId) {
        let here = self.frames.len() - 1;
        self.frames[here].stored.insert(self.slices[buffer as usize].buffer);
        self.push(Stmt::Store { buffer, at, value });
    }

    pub fn open_loop(&mut self, name: &str, from: Bound, to: Bound, mode: LoopMode) -> LoopIndex {
        let index = LoopIndex(self.kernel.indices.len() as u32);
        self.kernel.indices.push(name.into());
        self.index_levels.push(self.frames.len());
        self.frames.push(Frame::new(Opened::Loop { index, from, to, mode }));
        index
    }

    pub fn open_if(&mut self, condition: ValueId) {
        self.frames.push(Frame::new(Opened::If(condition)));
    }

    /// Ends the innermost open loop or condition.
    pub fn close(&mut self) {
        let Some(frame) = self.frames.pop_if(|frame| !matches!(frame.opened, Opened::Kernel)) else { return };
        let body = frame.stmts;
        if let Some(around) = self.frames.last_mut() {
            around.loaded.retain(|(of, _), _| !frame.stored.contains(of));
            around.stored.extend(frame.stored);
        }
        match frame.opened {
            Opened::Kernel => {}
            Opened::Loop { index, from, to, mode } => self.push(Stmt::Loop { index, from, to, mode, body }),
            Opened::If(condition) => self.push(Stmt::If { condition, body }),
        }
    }
}

/// What a buffer's element is in a register.
pub(crate) fn value_type(dtype: DType) -> ValueType {
    match dtype {
        DType::F32 | DType::BF16 => ValueType::F32,
        DType::F64 => ValueType::F64,
        DType::I32 => ValueType::I32,
        DType::I64 => ValueType::I64,
        DType::Bool => ValueType::Bool,
    }
}
