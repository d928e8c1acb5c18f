//! One kernel, statement by statement.

use super::{Array, Fault, Number};
use bdl_dims::Dim;
use bdl_kernels::vector_math as vm;
use bdl_plan::{
    Address, AddressTerm, BinaryOp, Bound, CHAIN, CompareOp, Guard, Kernel, LoopIndex, LoopMode, Monoid, Stmt, UnaryOp,
    ValueId, ValueOp, ValueType, VariableId, chained, constant_extent,
};
use std::cmp::Ordering;
use std::collections::HashMap;

/// The order of reductions, which is the back end's to choose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Of machine code: element i of whole blocks of 8 goes to accumulator i % 8, the rest directly into the variable. Long sums are taken in
    /// chains, as everywhere.
    Vector,
    /// Of a GPU: iteration i of the loops named goes to accumulator i % count. So many as the second number says, beside one another, are joined
    /// first: by halves of a `Lanes` loop, of other loops in order. What they give is joined in order.
    Gpu(Vec<(LoopIndex, usize, usize)>),
}

impl Order {
    /// How many accumulators a loop's reductions go to, and how many of them are joined first.
    fn accumulators(&self, index: LoopIndex, mode: LoopMode) -> Option<(usize, usize)> {
        match self {
            Order::Vector => (mode == LoopMode::Lanes).then_some((8, 8)),
            Order::Gpu(loops) => {
                let found = loops.iter().find(|(known, _, _)| *known == index);
                found.map(|(_, count, first)| (*count, *first))
            }
        }
    }
}

/// Runs grid points `begin..end` in the order of machine code; see [`run_kernel_in`].
pub fn run_kernel(
    kernel: &Kernel,
    arrays: &mut [Array],
    buffers: &[(usize, i64)],
    sizes: &dyn Fn(&str) -> Option<i64>,
    begin: i64,
    end: i64,
) -> Result<(), Fault> {
    run_kernel_in(Order::Vector, kernel, arrays, buffers, sizes, begin, end)
}

/// Runs grid points `begin..end`. Buffers are those of the kernel, in order, each with the element its slice begins at; every access
/// is checked against the array.
pub fn run_kernel_in(
    order: Order,
    kernel: &Kernel,
    arrays: &mut [Array],
    buffers: &[(usize, i64)],
    sizes: &dyn Fn(&str) -> Option<i64>,
    begin: i64,
    end: i64,
) -> Result<(), Fault> {
    if buffers.len() != kernel.buffers.len() {
        return Err(Fault(format!("`{}` has {} buffers, not {}", kernel.name, kernel.buffers.len(), buffers.len())));
    }
    let mut machine = Machine {
        order,
        kernel,
        arrays,
        buffers,
        sizes,
        values: vec![None; kernel.values.len()],
        variables: vec![None; kernel.variables.len()],
        indices: vec![None; kernel.indices.len()],
        lane_variable: vec![false; kernel.variables.len()],
        products: vec![None; kernel.values.len()],
        lane: None,
    };
    // The points of a GPU's grid share nothing, lanes or not.
    machine.find(&kernel.body, machine.order == Order::Vector && kernel.grid_mode == LoopMode::Lanes);
    machine.run_loop(LoopIndex(0), (begin, end), None, kernel.grid_mode, &kernel.body)
}

/// Values joined half with half.
fn by_halves(monoid: Monoid, mut level: Vec<Number>) -> Result<Number, Fault> {
    while level.len() > 1 {
        let half = level.len() / 2;
        level = (0..half).map(|j| combine(monoid, level[j], level[j + half])).collect::<Result<_, _>>()?;
    }
    level.first().copied().ok_or_else(|| Fault("a reduction over no accumulators".to_string()))
}

/// Values joined one after the other.
fn in_order(monoid: Monoid, values: &[Number]) -> Result<Number, Fault> {
    let mut values = values.iter().copied();
    let first = values.next().ok_or_else(|| Fault("a reduction over no accumulators".to_string()))?;
    values.try_fold(first, |total, value| combine(monoid, total, value))
}

struct Lane {
    number: i64,
    /// Lanes that go to accumulators.
    whole: i64,
    /// How many accumulators there are.
    count: usize,
    /// How many of them are joined first.
    joined: usize,
    accumulators: HashMap<VariableId, (Monoid, Vec<Number>)>,
}

impl Lane {
    /// Adds each accumulator of the sums to what those before it came to.
    fn end_chains(&mut self, sums: &[VariableId], wholes: &mut HashMap<VariableId, Vec<Number>>) -> Result<(), Fault> {
        let zero = Number::F32(0.0);
        for sum in sums {
            let Some((_, own)) = self.accumulators.get_mut(sum) else { continue };
            let whole = wholes.entry(*sum).or_insert_with(|| vec![zero; self.count]);
            for (whole, own) in whole.iter_mut().zip(own) {
                *whole = combine(Monoid::Sum, *whole, *own)?;
                *own = zero;
            }
        }
        Ok(())
    }
}

struct Machine<'k, 'a> {
    order: Order,
    kernel: &'k Kernel,
    arrays: &'a mut [Array],
    buffers: &'a [(usize, i64)],
    sizes: &'a dyn Fn(&str) -> Option<i64>,
    values: Vec<Option<Number>>,
    variables: Vec<Option<Number>>,
    indices: Vec<Option<i64>>,
    lane_variable: Vec<bool>,
    /// Factors of values that are products of reals.
    products: Vec<Option<(ValueId, ValueId)>>,
    lane: Option<Lane>,
}

impl<'k> Machine<'k, '_> {
    fn find(&mut self, body: &'k [Stmt], lanes: bool) {
        for stmt in body {
            match stmt {
                Stmt::Loop { index, mode, body, .. } => {
                    self.find(body, lanes || self.order.accumulators(*index, *mode).is_some())
                }
                Stmt::If { body, .. } => self.find(body, lanes),
                Stmt::Variable { variable, .. } => self.lane_variable[variable.0 as usize] = lanes,
                Stmt::Let { value, op } => {
                    let real = matches!(self.kernel.values[value.0 as usize], ValueType::F32 | ValueType::F64);
                    if let (true, ValueOp::Binary(BinaryOp::Mul, x, y)) = (real, op) {
                        self.products[value.0 as usize] = Some((*x, *y));
                    }
                }
                Stmt::Combine { .. } | Stmt::Assign { .. } | Stmt::Store { .. } => {}
            }
        }
    }

    fn fault<T>(&self, what: impl std::fmt::Display) -> Result<T, Fault> {
        Err(Fault(format!("kernel `{}`: {what}", self.kernel.name)))
    }

    fn run_loop(
        &mut self,
        index: LoopIndex,
        (from, to): (i64, i64),
        extent: Option<i64>,
        mode: LoopMode,
        body: &'k [Stmt],
    ) -> Result<(), Fault> {
        let count = self.order.accumulators(index, mode);
        let longest = CHAIN * count.map_or(1, |(count, _)| count as i64);
        let sums = chained(self.kernel, extent, longest, body);
        // The threads of a GPU go on with their accumulators from one chain to the next; otherwise a chain is a loop of its own.
        if sums.is_empty() || (count.is_some() && self.order != Order::Vector) {
            return self.run_part(index, (from, to), mode, body, &sums);
        }
        for from in (from..to).step_by(longest as usize) {
            let part = (from, to.min(from + longest));
            if count.is_some() {
                self.run_part(index, part, mode, body, &[])?;
                continue;
            }
            let zero = Number::F32(0.0);
            let wholes: Vec<Number> =
                sums.iter().map(|sum| Ok(std::mem::replace(self.target(*sum)?, zero))).collect::<Result<_, Fault>>()?;
            self.run_part(index, part, mode, body, &[])?;
            for (sum, whole) in sums.iter().zip(wholes) {
                let own = self.target(*sum)?;
                *own = combine(Monoid::Sum, whole, *own)?;
            }
        }
        Ok(())
    }

    /// What takes the values that are combined into a variable here.
    fn target(&mut self, variable: VariableId) -> Result<&mut Number, Fault> {
        let ty = self.kernel.variables[variable.0 as usize];
        if !self.lane_variable[variable.0 as usize]
            && let Some(lane) = &mut self.lane
            && lane.number < lane.whole
        {
            let (at, count) = (lane.number as usize % lane.count, lane.count);
            let new = || (Monoid::Sum, vec![identity(Monoid::Sum, ty); count]);
            let (_, accumulators) = lane.accumulators.entry(variable).or_insert_with(new);
            return Ok(&mut accumulators[at]);
        }
        let known = self.variables.get_mut(variable.0 as usize).and_then(Option::as_mut);
        known.ok_or_else(|| Fault(format!("variable {} is used where it is not in scope", variable.0)))
    }

    /// One chain, or a loop without chains. The accumulators that a GPU's threads have of `sums` end theirs on the way.
    fn run_part(
        &mut self,
        index: LoopIndex,
        (from, to): (i64, i64),
        mode: LoopMode,
        body: &'k [Stmt],
        sums: &[VariableId],
    ) -> Result<(), Fault> {
        let n = (to - from).max(0);
        let count = self.order.accumulators(index, mode);
        let mut wholes: HashMap<VariableId, Vec<Number>> = HashMap::new();
        if let Some((count, joined)) = count {
            if self.lane.is_some() {
                return self.fault("a Lanes loop inside another");
            }
            let whole = match self.order {
                Order::Vector => n - n % count as i64,
                Order::Gpu(_) => n,
            };
            self.lane = Some(Lane { number: 0, whole, count, joined, accumulators: HashMap::new() });
        }
        for i in from..to {
            if let (Some((count, _)), Some(lane)) = (count, &mut self.lane)
                && i > from
                && (i - from) % (CHAIN * count as i64) == 0
            {
                lane.end_chains(sums, &mut wholes)?;
            }
            self.indices[index.0 as usize] = Some(i);
            if let (Some(_), Some(lane)) = (count, &mut self.lane) {
                lane.number = i - from;
            }
            self.body(body)?;
        }
        self.indices[index.0 as usize] = None;
        if count.is_some()
            && let Some(mut lane) = self.lane.take()
        {
            lane.end_chains(sums, &mut wholes)?;
            for (variable, whole) in wholes {
                lane.accumulators.insert(variable, (Monoid::Sum, whole));
            }
            for (variable, (monoid, accumulators)) in lane.accumulators {
                let mut total: Option<Number> = None;
                for group in accumulators.chunks(lane.joined) {
                    let own = match mode {
                        LoopMode::Lanes => by_halves(monoid, group.to_vec())?,
                        LoopMode::Serial => in_order(monoid, group)?,
                    };
                    total = Some(match total {
                        None => own,
                        Some(total) => combine(monoid, total, own)?,
                    });
                }
                let (Some(total), old) = (total, self.variable(variable)?) else { continue };
                self.variables[variable.0 as usize] = Some(combine(monoid, old, total)?);
            }
        }
        Ok(())
    }

    fn body(&mut self, body: &'k [Stmt]) -> Result<(), Fault> {
        body.iter().try_for_each(|stmt| self.stmt(stmt))
    }

    fn stmt(&mut self, stmt: &'k Stmt) -> Result<(), Fault> {
        match stmt {
            Stmt::Loop { index, from, to, mode, body } => {
                let extent = constant_extent(from, to);
                let (from, to) = (self.bound(from)?, self.bound(to)?);
                self.run_loop(*index, (from, to), extent, *mode, body)
            }
            Stmt::Let { value, op } => {
                let number = self.op(op, self.kernel.values[value.0 as usize])?;
                self.values[value.0 as usize] = Some(number);
                Ok(())
            }
            Stmt::Variable { variable, start } => {
                self.variables[variable.0 as usize] = Some(self.value(*start)?);
                Ok(())
            }
            Stmt::Combine { variable, monoid, value } => self.combine(*variable, *monoid, *value),
            Stmt::Assign { variable, value } => {
                self.variables[variable.0 as usize] = Some(self.value(*value)?);
                Ok(())
            }
            Stmt::Store { buffer, at, value } => {
                let at = self.address(at)?;
                let number = self.value(*value)?;
                let (array, i) = self.element(*buffer, at)?;
                self.arrays[array].store(i, number)
            }
            Stmt::If { condition, body } => match self.value(*condition)? {
                Number::Bool(true) => self.body(body),
                Number::Bool(false) => Ok(()),
                other => self.fault(format_args!("{other:?} is no condition")),
            },
        }
    }

    fn combine(&mut self, variable: VariableId, monoid: Monoid, value: ValueId) -> Result<(), Fault> {
        let factors = match (monoid, self.products[value.0 as usize]) {
            (Monoid::Sum, Some((x, y))) => Some((self.value(x)?, self.value(y)?)),
            (_, _) => None,
        };
        let number = self.value(value)?;
        let new = |old: Number| match (factors, old) {
            (Some((Number::F32(x), Number::F32(y))), Number::F32(old)) => Ok(Number::F32(x.mul_add(y, old))),
            (Some((Number::F64(x), Number::F64(y))), Number::F64(old)) => Ok(Number::F64(x.mul_add(y, old))),
            (_, old) => combine(monoid, old, number),
        };
        if !self.lane_variable[variable.0 as usize]
            && let Some(lane) = &mut self.lane
            && lane.number < lane.whole
        {
            let ty = self.kernel.variables[variable.0 as usize];
            let count = lane.count;
            let (_, accumulators) =
                lane.accumulators.entry(variable).or_insert_with(|| (monoid, vec![identity(monoid, ty); count]));
            let own = &mut accumulators[lane.number as usize % count];
            *own = new(*own)?;
            return Ok(());
        }
        let old = self.variable(variable)?;
        self.variables[variable.0 as usize] = Some(new(old)?);
        Ok(())
    }

    fn value(&self, value: ValueId) -> Result<Number, Fault> {
        match self.values.get(value.0 as usize).copied().flatten() {
            Some(number) => Ok(number),
            None => self.fault(format_args!("v{} is not known", value.0)),
        }
    }

    fn variable(&self, variable: VariableId) -> Result<Number, Fault> {
        match self.variables.get(variable.0 as usize).copied().flatten() {
            Some(number) => Ok(number),
            None => self.fault(format_args!("variable {} is not declared", variable.0)),
        }
    }

    fn integer(&self, value: ValueId) -> Result<i64, Fault> {
        match self.value(value)? {
            Number::I32(x) => Ok(i64::from(x)),
            Number::I64(x) => Ok(x),
            other => self.fault(format_args!("{other:?} is no integer")),
        }
    }

    fn dim(&self, dim: &Dim) -> Result<i64, Fault> {
        match dim.eval(self.sizes) {
            Some(n) => Ok(n),
            None => self.fault(format_args!("the size {dim} is not known")),
        }
    }

    fn bound(&self, bound: &Bound) -> Result<i64, Fault> {
        match bound {
            Bound::Size(dim) => self.dim(dim),
            Bound::Value(value) => self.integer(*value),
        }
    }

    fn address(&self, at: &Address) -> Result<i64, Fault> {
        let mut total = self.dim(&at.offset)?;
        for (term, stride) in &at.terms {
            let term = match term {
                AddressTerm::Index(index) => match self.indices[index.0 as usize] {
                    Some(i) => i,
                    None => return self.fault(format_args!("index {} is outside of its loop", index.0)),
                },
                AddressTerm::Value(value) => self.integer(*value)?,
            };
            total += term * self.dim(stride)?;
        }
        Ok(total)
    }

    fn element(&self, buffer: u32, at: i64) -> Result<(usize, usize), Fault> {
        let Some((array, offset)) = self.buffers.get(buffer as usize).copied() else {
            return self.fault(format_args!("buffer {buffer} does not exist"));
        };
        let place = at + offset;
        if !(0..self.arrays[array].len() as i64).contains(&place) {
            let name = &self.kernel.buffers[buffer as usize].name;
            return self.fault(format_args!("element {place} of `{name}`, which has {}", self.arrays[array].len()));
        }
        Ok((array, place as usize))
    }

    fn op(&self, op: &ValueOp, ty: ValueType) -> Result<Number, Fault> {
        match op {
            ValueOp::Const(value) => Ok(constant(*value, ty)),
            ValueOp::Size(dim) => Ok(Number::I64(self.dim(dim)?)),
            ValueOp::Index(index) => match self.indices[index.0 as usize] {
                Some(i) => Ok(Number::I64(i)),
                None => self.fault(format_args!("index {} is outside of its loop", index.0)),
            },
            ValueOp::Variable(variable) => self.variable(*variable),
            ValueOp::Load { buffer, at, guards, otherwise } => {
                for Guard { form, extent } in guards {
                    if !(0..self.dim(extent)?).contains(&self.address(form)?) {
                        return Ok(constant(*otherwise, ty));
                    }
                }
                let (array, i) = self.element(*buffer, self.address(at)?)?;
                Ok(self.arrays[array].load(i))
            }
            ValueOp::Unary(unary, a) => unary_op(*unary, self.value(*a)?),
            ValueOp::Binary(binary, a, b) => binary_op(*binary, self.value(*a)?, self.value(*b)?),
            ValueOp::Compare(compare, a, b) => compare_op(*compare, self.value(*a)?, self.value(*b)?).map(Number::Bool),
            ValueOp::Select(c, a, b) => match self.value(*c)? {
                Number::Bool(true) => self.value(*a),
                Number::Bool(false) => self.value(*b),
                other => self.fault(format_args!("{other:?} is no condition")),
            },
            ValueOp::Convert(a) => Ok(convert(self.value(*a)?, ty)),
        }
    }
}

fn constant(value: f64, ty: ValueType) -> Number {
    match ty {
        ValueType::F32 => Number::F32(value as f32),
        ValueType::F64 => Number::F64(value),
        ValueType::I32 => Number::I32(value as i32),
        ValueType::I64 => Number::I64(value as i64),
        ValueType::Bool => Number::Bool(value != 0.0),
    }
}

fn identity(monoid: Monoid, ty: ValueType) -> Number {
    match (monoid, ty) {
        (Monoid::Sum | Monoid::Any, ty) => constant(0.0, ty),
        (Monoid::Prod | Monoid::All, ty) => constant(1.0, ty),
        (Monoid::Max, ValueType::I32) => Number::I32(i32::MIN),
        (Monoid::Max, ValueType::I64) => Number::I64(i64::MIN),
        (Monoid::Min, ValueType::I32) => Number::I32(i32::MAX),
        (Monoid::Min, ValueType::I64) => Number::I64(i64::MAX),
        (Monoid::Max, ty) => constant(f64::NEG_INFINITY, ty),
        (Monoid::Min, ty) => constant(f64::INFINITY, ty),
    }
}

fn combine(monoid: Monoid, x: Number, y: Number) -> Result<Number, Fault> {
    let op = match monoid {
        Monoid::Sum => BinaryOp::Add,
        Monoid::Prod => BinaryOp::Mul,
        Monoid::Max => BinaryOp::Max,
        Monoid::Min => BinaryOp::Min,
        Monoid::Any => BinaryOp::Or,
        Monoid::All => BinaryOp::And,
    };
    binary_op(op, x, y)
}

/// One element through a slice function.
macro_rules! through {
    ($x:expr, $f32:path, $f64:path) => {
        match $x {
            Number::F32(x) => {
                let mut y = [0.0];
                $f32(&[x], &mut y);
                Ok(Number::F32(y[0]))
            }
            Number::F64(x) => {
                let mut y = [0.0];
                $f64(&[x], &mut y);
                Ok(Number::F64(y[0]))
            }
            other => Err(Fault(format!("an element function of {other:?}"))),
        }
    };
}

/// One expression for reals, one for integers, each in both widths.
macro_rules! number {
    ($x:expr, |$r:ident| $real:expr, |$i:ident| $integer:expr) => {
        match $x {
            Number::F32($r) => Ok(Number::F32($real)),
            Number::F64($r) => Ok(Number::F64($real)),
            Number::I32($i) => Ok(Number::I32($integer)),
            Number::I64($i) => Ok(Number::I64($integer)),
            Number::Bool(_) => Err(Fault("arithmetic of a truth value".to_string())),
        }
    };
}

fn unary_op(op: UnaryOp, x: Number) -> Result<Number, Fault> {
    match op {
        UnaryOp::Exp => through!(x, vm::exp_f32, vm::exp_f64),
        UnaryOp::Expm1 => through!(x, vm::expm1_f32, vm::expm1_f64),
        UnaryOp::Log => through!(x, vm::log_f32, vm::log_f64),
        UnaryOp::Log1p => through!(x, vm::log1p_f32, vm::log1p_f64),
        UnaryOp::Tanh => through!(x, vm::tanh_f32, vm::tanh_f64),
        UnaryOp::Sigmoid => through!(x, vm::sigmoid_f32, vm::sigmoid_f64),
        UnaryOp::Softplus => through!(x, vm::softplus_f32, vm::softplus_f64),
        UnaryOp::Erf => through!(x, vm::erf_f32, vm::erf_f64),
        UnaryOp::Sin => through!(x, vm::sin_f32, vm::sin_f64),
        UnaryOp::Cos => through!(x, vm::cos_f32, vm::cos_f64),
        UnaryOp::Lgamma => through!(x, vm::lgamma_f32, vm::lgamma_f64),
        UnaryOp::Digamma => through!(x, vm::digamma_f32, vm::digamma_f64),
        UnaryOp::Trigamma => through!(x, vm::trigamma_f32, vm::trigamma_f64),
        UnaryOp::Not => match x {
            Number::Bool(x) => Ok(Number::Bool(!x)),
            other => Err(Fault(format!("{op:?} of {other:?}"))),
        },
        UnaryOp::Neg => number!(x, |x| -x, |x| x.wrapping_neg()),
        UnaryOp::Abs => number!(x, |x| x.abs(), |x| x.wrapping_abs()),
        UnaryOp::Floor => number!(x, |x| x.floor(), |x| x),
        UnaryOp::Round => number!(x, |x| x.round_ties_even(), |x| x),
        UnaryOp::Sign => {
            number!(
                x,
                |x| if x == 0.0 {
                    0.0
                } else if x.is_nan() {
                    x
                } else {
                    x.signum()
                },
                |x| x.signum()
            )
        }
        UnaryOp::Bf16 => match x {
            Number::F32(x) => Ok(Number::F32(crate::memory::f32_of(crate::memory::bf16_of(x)))),
            other => Err(Fault(format!("{op:?} of {other:?}"))),
        },
        UnaryOp::Sqrt => match x {
            Number::F32(x) => Ok(Number::F32(x.sqrt())),
            Number::F64(x) => Ok(Number::F64(x.sqrt())),
            other => Err(Fault(format!("{op:?} of {other:?}"))),
        },
    }
}

/// Rounded down; 0 where the divisor is 0.
fn floor_div(x: i64, y: i64) -> i64 {
    if y == 0 {
        return 0;
    }
    let quotient = x.wrapping_div(y);
    if x.wrapping_rem(y) != 0 && (x < 0) != (y < 0) { quotient - 1 } else { quotient }
}

fn binary_op(op: BinaryOp, x: Number, y: Number) -> Result<Number, Fault> {
    macro_rules! real {
        ($T:ident, $pow:path, $x:expr, $y:expr) => {{
            let (x, y) = ($x, $y);
            Ok(Number::$T(match op {
                BinaryOp::Add => x + y,
                BinaryOp::Sub => x - y,
                BinaryOp::Mul => x * y,
                BinaryOp::Div => x / y,
                BinaryOp::FloorDiv => (x / y).floor(),
                BinaryOp::Rem => x - y * (x / y).floor(),
                BinaryOp::Pow => {
                    let mut z = [0.0];
                    $pow(&[x], &[y], &mut z);
                    z[0]
                }
                BinaryOp::Max => {
                    if y > x || y.is_nan() {
                        y
                    } else {
                        x
                    }
                }
                BinaryOp::Min => {
                    if y < x || y.is_nan() {
                        y
                    } else {
                        x
                    }
                }
                BinaryOp::And | BinaryOp::Or => return Err(Fault(format!("{op:?} of reals"))),
            }))
        }};
    }
    macro_rules! integer {
        ($T:ident, $t:ty, $x:expr, $y:expr) => {{
            let (x, y) = ($x, $y);
            let quotient = || floor_div(i64::from(x), i64::from(y)) as $t;
            Ok(Number::$T(match op {
                BinaryOp::Add => x.wrapping_add(y),
                BinaryOp::Sub => x.wrapping_sub(y),
                BinaryOp::Mul => x.wrapping_mul(y),
                BinaryOp::Div | BinaryOp::FloorDiv => quotient(),
                BinaryOp::Rem => x.wrapping_sub(y.wrapping_mul(quotient())),
                BinaryOp::Max => x.max(y),
                BinaryOp::Min => x.min(y),
                BinaryOp::And => x & y,
                BinaryOp::Or => x | y,
                BinaryOp::Pow => return Err(Fault("a power of integers".to_string())),
            }))
        }};
    }
    match (x, y) {
        (Number::F32(x), Number::F32(y)) => real!(F32, vm::pow_f32, x, y),
        (Number::F64(x), Number::F64(y)) => real!(F64, vm::pow_f64, x, y),
        (Number::I32(x), Number::I32(y)) => integer!(I32, i32, x, y),
        (Number::I64(x), Number::I64(y)) => integer!(I64, i64, x, y),
        (Number::Bool(x), Number::Bool(y)) => match op {
            BinaryOp::And => Ok(Number::Bool(x && y)),
            BinaryOp::Or => Ok(Number::Bool(x || y)),
            BinaryOp::Add
            | BinaryOp::Sub
            | BinaryOp::Mul
            | BinaryOp::Div
            | BinaryOp::FloorDiv
            | BinaryOp::Rem
            | BinaryOp::Pow
            | BinaryOp::Min
            | BinaryOp::Max => Err(Fault(format!("{op:?} of truth values"))),
        },
        (x, y) => Err(Fault(format!("{op:?} of {x:?} and {y:?}"))),
    }
}

fn compare_op(op: CompareOp, x: Number, y: Number) -> Result<bool, Fault> {
    let order = match (x, y) {
        (Number::F32(x), Number::F32(y)) => x.partial_cmp(&y),
        (Number::F64(x), Number::F64(y)) => x.partial_cmp(&y),
        (Number::I32(x), Number::I32(y)) => Some(x.cmp(&y)),
        (Number::I64(x), Number::I64(y)) => Some(x.cmp(&y)),
        (Number::Bool(x), Number::Bool(y)) => Some(x.cmp(&y)),
        (x, y) => return Err(Fault(format!("{x:?} compared with {y:?}"))),
    };
    Ok(match op {
        CompareOp::Eq => order == Some(Ordering::Equal),
        CompareOp::Ne => order != Some(Ordering::Equal),
        CompareOp::Lt => order == Some(Ordering::Less),
        CompareOp::Le => matches!(order, Some(Ordering::Less | Ordering::Equal)),
        CompareOp::Gt => order == Some(Ordering::Greater),
        CompareOp::Ge => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
    })
}

fn convert(x: Number, ty: ValueType) -> Number {
    match (x, ty) {
        (Number::F32(x), ValueType::F64) => Number::F64(f64::from(x)),
        (Number::F32(x), ValueType::I32) => Number::I32(x.floor() as i32),
        (Number::F32(x), ValueType::I64) => Number::I64(x.floor() as i64),
        (Number::F32(x), ValueType::Bool) => Number::Bool(x != 0.0),
        (Number::F64(x), ValueType::F32) => Number::F32(x as f32),
        (Number::F64(x), ValueType::I32) => Number::I32(x.floor() as i32),
        (Number::F64(x), ValueType::I64) => Number::I64(x.floor() as i64),
        (Number::F64(x), ValueType::Bool) => Number::Bool(x != 0.0),
        (Number::I32(x), ValueType::F32) => Number::F32(x as f32),
        (Number::I32(x), ValueType::F64) => Number::F64(f64::from(x)),
        (Number::I32(x), ValueType::I64) => Number::I64(i64::from(x)),
        (Number::I32(x), ValueType::Bool) => Number::Bool(x != 0),
        (Number::I64(x), ValueType::F32) => Number::F32(x as f32),
        (Number::I64(x), ValueType::F64) => Number::F64(x as f64),
        (Number::I64(x), ValueType::I32) => Number::I32(x as i32),
        (Number::I64(x), ValueType::Bool) => Number::Bool(x != 0),
        (Number::Bool(x), ValueType::F32) => Number::F32(f32::from(u8::from(x))),
        (Number::Bool(x), ValueType::F64) => Number::F64(f64::from(u8::from(x))),
        (Number::Bool(x), ValueType::I32) => Number::I32(i32::from(x)),
        (Number::Bool(x), ValueType::I64) => Number::I64(i64::from(x)),
        (x @ Number::F32(_), ValueType::F32)
        | (x @ Number::F64(_), ValueType::F64)
        | (x @ Number::I32(_), ValueType::I32)
        | (x @ Number::I64(_), ValueType::I64)
        | (x @ Number::Bool(_), ValueType::Bool) => x,
    }
}
