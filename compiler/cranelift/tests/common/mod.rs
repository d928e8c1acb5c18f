//! Random kernels that never leave their buffers, and running them in both ways.

#![allow(dead_code)]

use bdl_cranelift::compile;
use bdl_dims::Dim;
use bdl_execute::reference::{Array, run_kernel};
use bdl_plan::{
    Access, Address, AddressTerm, BinaryOp, Bound, CompareOp, DType, Guard, Kernel, KernelBuffer, KernelId, LoopIndex,
    LoopMode, Monoid, Stmt, UnaryOp, ValueId, ValueOp, ValueType, VariableId,
};

/// A small generator (xorshift64*, Vigna 2016): the same kernels on every run.
pub struct Random(pub u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        (0..3).for_each(|_| {
            random.next();
        });
        random
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn pick<'x, T>(&mut self, from: &'x [T]) -> &'x T {
        &from[self.below(from.len())]
    }
}

pub const TYPES: [ValueType; 5] = [ValueType::F32, ValueType::F64, ValueType::I32, ValueType::I64, ValueType::Bool];
const DTYPES: [DType; 6] = [DType::F32, DType::F64, DType::BF16, DType::I32, DType::I64, DType::Bool];
/// Integers read from memory and remainders stay below this, to serve as subscripts.
const SUBSCRIPTS: i64 = 37;
/// Room before and behind what loops reach.
const ROOM: i64 = 160;

fn register(dtype: DType) -> ValueType {
    match dtype {
        DType::F32 | DType::BF16 => ValueType::F32,
        DType::F64 => ValueType::F64,
        DType::I32 => ValueType::I32,
        DType::I64 => ValueType::I64,
        DType::Bool => ValueType::Bool,
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mix {
    /// All types and operations.
    All,
    /// Reals of 32 bits mostly: what models are made of.
    Plain,
    /// What loops on vectors of 512 bits do.
    Wide,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Style {
    pub mix: Mix,
    /// Calls of slice functions.
    pub calls: bool,
    pub grid: LoopMode,
}

pub struct Generator {
    pub random: Random,
    style: Style,
    kernel: Kernel,
    /// In scope, by type.
    scope: Vec<(ValueId, ValueType)>,
    variables: Vec<(VariableId, ValueType, bool)>,
    indices: Vec<LoopIndex>,
    lanes: Option<LoopIndex>,
    /// Buffers that are read only, then one to write for each type.
    outputs: Vec<u32>,
    stores: i64,
}

pub fn size(name: &str) -> Dim {
    Dim::var(name)
}

impl Generator {
    pub fn new(seed: u64, style: Style) -> Generator {
        let mut buffers = Vec::new();
        for dtype in DTYPES {
            buffers.push(KernelBuffer { name: format!("in_{dtype:?}").into(), dtype, access: Access::Read });
        }
        let mut outputs = Vec::new();
        for dtype in DTYPES {
            outputs.push(buffers.len() as u32);
            buffers.push(KernelBuffer { name: format!("out_{dtype:?}").into(), dtype, access: Access::Update });
        }
        let kernel = Kernel {
            name: format!("random_{seed}").into(),
            buffers,
            sizes: vec!["N".into(), "R".into(), "S".into()],
            indices: vec!["g".into()],
            grid: if style.grid == LoopMode::Lanes { size("N") } else { size("R") },
            grid_mode: style.grid,
            values: Vec::new(),
            variables: Vec::new(),
            body: Vec::new(),
        };
        Generator {
            random: Random::new(seed),
            style,
            kernel,
            scope: Vec::new(),
            variables: Vec::new(),
            indices: vec![LoopIndex(0)],
            lanes: (style.grid == LoopMode::Lanes).then_some(LoopIndex(0)),
            outputs,
            stores: 0,
        }
    }

    pub fn finish(mut self) -> (Kernel, i64) {
        let body = self.block(if self.style.grid == LoopMode::Lanes { 1 } else { 0 });
        self.kernel.body = body;
        (self.kernel, self.stores)
    }

    fn types(&mut self) -> ValueType {
        match self.style.mix {
            Mix::Plain | Mix::Wide if !self.random.one_in(5) => ValueType::F32,
            Mix::Wide => *self.random.pick(&[ValueType::F32, ValueType::I32, ValueType::Bool]),
            Mix::Plain | Mix::All => *self.random.pick(&TYPES),
        }
    }

    fn let_value(&mut self, body: &mut Vec<Stmt>, ty: ValueType, op: ValueOp) -> ValueId {
        let value = ValueId(self.kernel.values.len() as u32);
        self.kernel.values.push(ty);
        body.push(Stmt::Let { value, op });
        self.scope.push((value, ty));
        value
    }

    /// A value of the type: one in scope, or a new one.
    fn some(&mut self, body: &mut Vec<Stmt>, ty: ValueType) -> ValueId {
        let known: Vec<ValueId> = self.scope.iter().filter(|(_, t)| *t == ty).map(|(v, _)| *v).collect();
        if !known.is_empty() && !self.random.one_in(4) {
            return *self.random.pick(&known);
        }
        if self.random.one_in(5) {
            let constant = [0.0, 1.0, -1.5, 2.0, 0.25, 7.0][self.random.below(6)];
            return self.let_value(body, ty, ValueOp::Const(constant));
        }
        if self.is_wide() && ty == ValueType::Bool {
            let (a, b) = (self.some(body, ValueType::F32), self.some(body, ValueType::F32));
            return self.let_value(body, ty, ValueOp::Compare(CompareOp::Lt, a, b));
        }
        self.load(body, ty)
    }

    fn is_wide(&self) -> bool {
        self.style.mix == Mix::Wide
    }

    /// 0..SUBSCRIPTS, whatever the value is.
    fn subscript(&mut self, body: &mut Vec<Stmt>) -> ValueId {
        let ty = if self.random.one_in(2) { ValueType::I32 } else { ValueType::I64 };
        let x = self.some(body, ty);
        let n = self.let_value(body, ty, ValueOp::Const(SUBSCRIPTS as f64));
        self.let_value(body, ty, ValueOp::Binary(BinaryOp::Rem, x, n))
    }

    fn load(&mut self, body: &mut Vec<Stmt>, ty: ValueType) -> ValueId {
        let buffer = loop {
            let buffer = self.random.below(DTYPES.len());
            if register(DTYPES[buffer]) == ty && !(self.is_wide() && DTYPES[buffer] == DType::BF16) {
                break buffer as u32;
            }
        };
        let mut at = Address { terms: Vec::new(), offset: Dim::from(self.random.below(20) as i64) };
        for index in self.indices.clone() {
            let stride = if self.lanes == Some(index) {
                if self.is_wide() {
                    [1, 1, 1, 0][self.random.below(4)]
                } else {
                    [1, 1, 1, 0, 2, 3, -1][self.random.below(7)]
                }
            } else {
                [0, 1, 3, 5][self.random.below(4)]
            };
            if self.random.one_in(8) && !(self.is_wide() && self.lanes.is_some()) {
                at.terms.push((AddressTerm::Index(index), size("S")));
            } else if stride != 0 {
                at.terms.push((AddressTerm::Index(index), Dim::from(stride)));
            }
        }
        if self.random.one_in(6) && !self.is_wide() {
            let value = self.subscript(body);
            at.terms.push((AddressTerm::Value(value), Dim::from(1 + self.random.below(2) as i64)));
        }
        let mut guards = Vec::new();
        let negative = at.terms.iter().any(|(_, s)| s.as_const().is_some_and(|s| s < 0));
        if self.is_wide() && self.lanes.is_some() {
            at.offset = at.offset + Dim::from(10);
            if self.random.one_in(4) {
                // Shared by all lanes; what it keeps out lies inside, too.
                let row = self.indices.first().copied().filter(|index| self.lanes != Some(*index));
                let form = Address {
                    terms: row.map(|index| (AddressTerm::Index(index), Dim::one())).into_iter().collect(),
                    offset: size("N").scale(self.random.below(2) as i64) + Dim::from(self.random.below(9) as i64 - 4),
                };
                guards.push(Guard { form, extent: size("N") + Dim::one() });
            }
        } else if negative || self.random.one_in(4) {
            // The place itself must be inside of part of the buffer.
            let shift = self.random.below(30) as i64 - 15;
            at.offset = at.offset + Dim::from(shift);
            let extent = [
                Dim::from(5),
                Dim::from(40),
                size("N"),
                size("N") + Dim::from(7),
                Dim::from(0),
                size("N") - Dim::from(9),
            ];
            guards.push(Guard { form: at.clone(), extent: self.random.pick(&extent).clone() });
            if self.random.one_in(3) {
                let form = Address {
                    terms: vec![(AddressTerm::Index(*self.random.pick(&self.indices.clone())), Dim::one())],
                    offset: Dim::from(self.random.below(9) as i64 - 4),
                };
                guards.push(Guard { form, extent: Dim::from(11) });
            }
        } else {
            at.offset = at.offset + Dim::from(10);
        }
        let otherwise = [0.0, 1.0, -3.5, f64::NEG_INFINITY][self.random.below(4)];
        let otherwise = if ty == ValueType::F32 || ty == ValueType::F64 { otherwise } else { otherwise.max(-1.0) };
        self.let_value(body, ty, ValueOp::Load { buffer, at, guards, otherwise })
    }

    fn compute(&mut self, body: &mut Vec<Stmt>) -> ValueId {
        let ty = self.types();
        let op = match self.random.below(10) {
            0 if self.is_wide() => {
                let truth = self.some(body, ValueType::Bool);
                return self.let_value(body, ValueType::F32, ValueOp::Convert(truth));
            }
            0 => {
                let from = *self.random.pick(&TYPES);
                ValueOp::Convert(self.some(body, from))
            }
            1 => {
                let (c, a, b) = (self.some(body, ValueType::Bool), self.some(body, ty), self.some(body, ty));
                ValueOp::Select(c, a, b)
            }
            2 | 3 => {
                let mut from = self.types();
                if self.is_wide() && from == ValueType::Bool {
                    from = ValueType::I32;
                }
                let ops = match from {
                    ValueType::Bool => {
                        [CompareOp::Eq, CompareOp::Ne, CompareOp::Lt, CompareOp::Ge, CompareOp::Eq, CompareOp::Gt]
                    }
                    _ => [CompareOp::Eq, CompareOp::Ne, CompareOp::Lt, CompareOp::Le, CompareOp::Gt, CompareOp::Ge],
                };
                let (a, b) = (self.some(body, from), self.some(body, from));
                let op = *self.random.pick(&ops);
                return self.let_value(body, ValueType::Bool, ValueOp::Compare(op, a, b));
            }
            4 if !self.is_wide() && (self.lanes.is_some() || self.random.one_in(2)) => {
                let index = *self.random.pick(&self.indices.clone());
                return self.let_value(body, ValueType::I64, ValueOp::Index(index));
            }
            5 | 6 if !(self.is_wide() && ty == ValueType::I32) => {
                let a = self.some(body, ty);
                ValueOp::Unary(self.unary(ty), a)
            }
            _ => {
                let (a, b) = (self.some(body, ty), self.some(body, ty));
                ValueOp::Binary(self.binary(ty), a, b)
            }
        };
        self.let_value(body, ty, op)
    }

    fn unary(&mut self, ty: ValueType) -> UnaryOp {
        use UnaryOp::*;
        match ty {
            ValueType::F32 if !self.is_wide() && self.random.one_in(8) => Bf16,
            ValueType::F32 | ValueType::F64 => {
                if self.style.calls && self.random.one_in(2) {
                    *self.random.pick(&[
                        Exp, Expm1, Log, Log1p, Tanh, Sigmoid, Softplus, Erf, Sin, Cos, Lgamma, Digamma, Trigamma,
                    ])
                } else {
                    let all = [Neg, Abs, Floor, Round, Sqrt, Sign];
                    *self.random.pick(if self.is_wide() { &all[..5] } else { &all[..] })
                }
            }
            ValueType::I32 | ValueType::I64 => *self.random.pick(&[Neg, Abs, Floor, Round, Sign]),
            ValueType::Bool => Not,
        }
    }

    fn binary(&mut self, ty: ValueType) -> BinaryOp {
        use BinaryOp::*;
        match ty {
            ValueType::F32 | ValueType::F64 => {
                if self.style.calls && self.random.one_in(8) {
                    Pow
                } else {
                    let all = [Add, Add, Sub, Mul, Mul, Div, Min, Max, FloorDiv, Rem];
                    *self.random.pick(if self.is_wide() { &all[..8] } else { &all[..] })
                }
            }
            ValueType::I32 | ValueType::I64 => {
                let all = [Add, Sub, Mul, FloorDiv, Rem, Min, Max];
                *self.random.pick(if self.is_wide() { &all[..3] } else { &all[..] })
            }
            ValueType::Bool => *self.random.pick(&[And, Or]),
        }
    }

    fn monoid(&mut self, ty: ValueType) -> Monoid {
        match ty {
            ValueType::Bool => *self.random.pick(&[Monoid::Any, Monoid::All]),
            _ => *self.random.pick(&[Monoid::Sum, Monoid::Sum, Monoid::Sum, Monoid::Prod, Monoid::Max, Monoid::Min]),
        }
    }

    /// Statements of one body, ending with a store where lanes are open.
    fn block(&mut self, depth: usize) -> Vec<Stmt> {
        let (scope, variables) = (self.scope.len(), self.variables.len());
        let mut body = Vec::new();
        let count = 2 + self.random.below(7);
        for _ in 0..count {
            match self.random.below(12) {
                0 if depth < 3 && !(self.is_wide() && self.lanes.is_some()) => self.inner_loop(&mut body, depth),
                1 if depth < 4 && !self.is_wide() => {
                    let condition = self.some(&mut body, ValueType::Bool);
                    let inner = self.block(4);
                    body.push(Stmt::If { condition, body: inner });
                }
                2 | 3 => self.reduction(&mut body, depth),
                _ => {
                    self.compute(&mut body);
                }
            }
        }
        if self.lanes.is_none() && depth == 0 {
            self.inner_lanes(&mut body);
        }
        if self.lanes.is_some() || depth == 0 {
            self.store(&mut body);
            if self.random.one_in(3) {
                self.store(&mut body);
            }
        }
        self.scope.truncate(scope);
        self.variables.truncate(variables);
        body
    }

    fn open(&mut self) -> LoopIndex {
        let index = LoopIndex(self.kernel.indices.len() as u32);
        self.kernel.indices.push(format!("i{}", index.0).into());
        index
    }

    fn inner_loop(&mut self, body: &mut Vec<Stmt>, depth: usize) {
        let index = self.open();
        let to = if self.random.one_in(3) && self.lanes.is_none() {
            // At most 4 rounds: a subscript below 37 modulo 5.
            let subscript = self.subscript(body);
            let ty = self.scope.iter().find(|(v, _)| *v == subscript).map_or(ValueType::I64, |(_, t)| *t);
            let n = self.let_value(body, ty, ValueOp::Const(5.0));
            Bound::Value(self.let_value(body, ty, ValueOp::Binary(BinaryOp::Rem, subscript, n)))
        } else {
            Bound::Size(Dim::from(self.random.below(4) as i64))
        };
        self.indices.push(index);
        let inner = self.block(depth.max(1) + 1);
        self.indices.pop();
        body.push(Stmt::Loop { index, from: Bound::Size(Dim::zero()), to, mode: LoopMode::Serial, body: inner });
    }

    fn inner_lanes(&mut self, body: &mut Vec<Stmt>) {
        let index = self.open();
        self.indices.push(index);
        self.lanes = Some(index);
        let inner = self.block(1);
        self.lanes = None;
        self.indices.pop();
        let to = if self.random.one_in(3) {
            Bound::Size(Dim::from([1, 3, 4, 8, 12, 16, 20, 24][self.random.below(8)]))
        } else {
            Bound::Size(size("N"))
        };
        body.push(Stmt::Loop { index, from: Bound::Size(Dim::zero()), to, mode: LoopMode::Lanes, body: inner });
    }

    /// Declares a variable, combines into it in a loop (of lanes where that is possible), and reads it.
    fn reduction(&mut self, body: &mut Vec<Stmt>, depth: usize) {
        let ty = if self.is_wide() { ValueType::F32 } else { self.types() };
        let start = self.some(body, ty);
        let variable = VariableId(self.kernel.variables.len() as u32);
        self.kernel.variables.push(ty);
        body.push(Stmt::Variable { variable, start });
        let monoid = self.monoid(ty);
        let index = self.open();
        let lanes = self.lanes.is_none() && self.random.one_in(2);
        let (mode, to) = if lanes {
            (LoopMode::Lanes, size("N"))
        } else {
            let of_size = self.is_wide() && self.random.one_in(2);
            (LoopMode::Serial, if of_size { size("R") } else { Dim::from(1 + self.random.below(3) as i64) })
        };
        self.indices.push(index);
        if lanes {
            self.lanes = Some(index);
        }
        let scope = self.scope.len();
        let mut inner = Vec::new();
        for _ in 0..1 + self.random.below(4) {
            self.compute(&mut inner);
        }
        if self.random.one_in(2) && (ty == ValueType::F32 || ty == ValueType::F64) {
            let (x, y) = (self.some(&mut inner, ty), self.some(&mut inner, ty));
            let product = self.let_value(&mut inner, ty, ValueOp::Binary(BinaryOp::Mul, x, y));
            inner.push(Stmt::Combine { variable, monoid, value: product });
        } else {
            let value = self.some(&mut inner, ty);
            let combine = Stmt::Combine { variable, monoid, value };
            if self.random.one_in(4) && !self.is_wide() {
                let condition = self.some(&mut inner, ValueType::Bool);
                inner.push(Stmt::If { condition, body: vec![combine] });
            } else {
                inner.push(combine);
            }
        }
        if !lanes && depth > 0 && !self.is_wide() && self.random.one_in(4) {
            let value = self.some(&mut inner, ty);
            inner.push(Stmt::Assign { variable, value });
        }
        self.scope.truncate(scope);
        self.indices.pop();
        if lanes {
            self.lanes = None;
        }
        body.push(Stmt::Loop { index, from: Bound::Size(Dim::zero()), to: Bound::Size(to), mode, body: inner });
        self.let_value(body, ty, ValueOp::Variable(variable));
    }

    /// Each store has its own part of its buffer; iterations of the grid and of lanes are apart.
    fn store(&mut self, body: &mut Vec<Stmt>) {
        let ty = match self.types() {
            ValueType::Bool if self.is_wide() => ValueType::F32,
            ty => ty,
        };
        let value = self.some(body, ty);
        let buffer = loop {
            let i = self.random.below(DTYPES.len());
            if register(DTYPES[i]) == ty && !(self.is_wide() && DTYPES[i] == DType::BF16) {
                break self.outputs[i];
            }
        };
        let part = (size("N") + Dim::from(30)).scale(8);
        let mut at = Address { terms: Vec::new(), offset: part.scale(self.stores) };
        self.stores += 1;
        // Rows of the grid are N + 30 apart, lanes inside of a row; other loops write the same place again.
        if self.style.grid == LoopMode::Serial {
            at.terms.push((AddressTerm::Index(LoopIndex(0)), (size("N") + Dim::from(30)).scale(2)));
        }
        if let Some(lanes) = self.lanes {
            let stride = if self.is_wide() { 1 } else { [1, 1, 1, 2][self.random.below(4)] };
            at.terms.push((AddressTerm::Index(lanes), Dim::from(stride)));
        }
        if self.random.one_in(4) {
            let old =
                self.let_value(body, ty, ValueOp::Load { buffer, at: at.clone(), guards: vec![], otherwise: 0.0 });
            if ty == ValueType::F32 || ty == ValueType::F64 {
                let sum = self.let_value(body, ty, ValueOp::Binary(BinaryOp::Add, old, value));
                body.push(Stmt::Store { buffer, at, value: sum });
                return;
            }
        }
        body.push(Stmt::Store { buffer, at, value });
    }
}

/// Buffers for a random kernel at a size.
pub fn arrays(random: &mut Random, kernel: &Kernel, stores: i64, n: i64) -> Vec<Array> {
    let reads = (4 * n + ROOM + 2 * SUBSCRIPTS) as usize;
    let writes = ((n + 30) * 8 * stores.max(1) + 64) as usize;
    kernel
        .buffers
        .iter()
        .map(|buffer| {
            let len = if buffer.access == Access::Read { reads } else { writes };
            let numbers: Vec<f64> = (0..len)
                .map(|_| match buffer.dtype {
                    DType::I32 | DType::I64 => {
                        random.below(SUBSCRIPTS as usize) as f64 - if random.one_in(3) { 20.0 } else { 0.0 }
                    }
                    DType::Bool => random.below(2) as f64,
                    DType::F32 | DType::F64 | DType::BF16 => match random.below(40) {
                        0 => 0.0,
                        1 => -0.0,
                        2 => f64::NAN,
                        3 => f64::INFINITY,
                        4 => -1e30,
                        _ => random.below(4001) as f64 / 1000.0 - 2.0,
                    },
                })
                .collect();
            Array::from_f64(buffer.dtype, &numbers)
        })
        .collect()
}

/// Runs compiled code and the interpreter and compares every byte. `sizes` in the kernel's order: N, R, S.
pub fn check(kernel: &Kernel, arrays: &[Array], sizes: &[i64]) {
    let code = compile(std::slice::from_ref(kernel)).unwrap_or_else(|e| panic!("{e}\n{kernel:#?}"));
    check_code(&code, kernel, arrays, sizes);
}

pub fn check_code(code: &bdl_cranelift::Code, kernel: &Kernel, arrays: &[Array], sizes: &[i64]) {
    let function = code.kernels().get(KernelId(0)).unwrap();
    let named = |name: &str| kernel.sizes.iter().position(|n| &**n == name).map(|i| sizes[i]);
    let grid = kernel.grid.eval(&named).unwrap();
    let mut expected = arrays.to_vec();
    let buffers: Vec<(usize, i64)> = (0..arrays.len()).map(|i| (i, 0)).collect();
    run_kernel(kernel, &mut expected, &buffers, &named, 0, grid).unwrap_or_else(|e| panic!("{e}\n{kernel:#?}"));
    let mut found = arrays.to_vec();
    let pointers: Vec<*mut u8> = found.iter_mut().map(Array::pointer).collect();
    // SAFETY: the interpreter has just checked every access of this kernel at these sizes.
    unsafe { function(pointers.as_ptr(), sizes.as_ptr(), 0, grid) };
    for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
        if !found.same_bits(expected) {
            let at = (0..found.len()).find(|i| {
                found.at(*i).to_bits() != expected.at(*i).to_bits()
                    && !(found.at(*i).is_nan() && expected.at(*i).is_nan())
            });
            let at = at.unwrap_or(0);
            panic!(
                "`{}` at sizes {sizes:?}: {} [{at}] is {} and should be {}\n{kernel}",
                kernel.name,
                kernel.buffers[i].name,
                found.at(at),
                expected.at(at),
            );
        }
    }
}
