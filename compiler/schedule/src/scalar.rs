//! A scalar expression of an equation as values of a kernel.
//!
//! The indices of the equation are bound to forms over the kernel's loops ([`Env`]); a read composes its subscripts with the layout of
//! its tensor into one address. Types follow the operands: a truth value or an integer that meets a real becomes one, `/` and the
//! functions are real, an index is an integer until it meets a real.
//!
//! ```text
//! relu(h[b, t, f] + v[f])      %0 = load h[2048 * b + 32 * t + f]; %1 = load v[f]; %2 = add %0 %1; ...
//! x[b, t + k - 4 else 0, c]    load x[...] if 0 <= t + k - 4 < 60 else 0
//! ```

use crate::builder::{Builder, Reach, value_type};
use crate::error::Error;
use crate::form;
use crate::layout::{Layout, Storage};
use bdl_dims::Dim;
use bdl_equations as eq;
use bdl_plan::{self as plan, Address, Guard, ValueId, ValueOp, ValueType};

/// The upper end of a guard that only asks for `>= 0`.
const OPEN: i64 = i32::MAX as i64;

/// What the indices of a piece are in the kernel.
pub(crate) struct Env<'p> {
    pub piece: &'p eq::Piece,
    /// One form an index; meaningless before its loop is open.
    pub bind: Vec<Address>,
    /// Indices whose loops are not open yet.
    pub open: Vec<bool>,
    /// A batch index and a per-example index that run together over all packed rows.
    pub rows: Option<Rows>,
    /// In loops over running examples: each batch index as a row of every loop around, from the example (depth 0) on.
    pub depths: Vec<(eq::IndexId, Vec<Address>)>,
    /// Conditions that hold only in some lanes: attached to every load.
    pub lane_guards: Vec<Guard>,
    pub origin: &'p eq::Origin,
}

impl Env<'_> {
    /// The example that a subscript names as a row of the loop at this depth.
    pub fn row_of(&self, sub: &eq::Sub, depth: usize) -> Option<Address> {
        let (_, forms) = self.depths.iter().find(|(index, _)| is_index(sub, *index))?;
        forms.get(depth).cloned()
    }
}

#[derive(Clone)]
pub(crate) struct Rows {
    pub batch: eq::IndexId,
    pub position: eq::IndexId,
    /// Rows of one example, e.g. `T`.
    pub rows: Dim,
    /// The packed row, over all examples.
    pub row: Address,
}

#[derive(Clone, Copy)]
pub(crate) enum Val {
    /// A number that takes the type of what it meets.
    Literal(f64),
    Is(ValueId),
}

/// Writes expressions into a kernel.
pub(crate) struct Writer<'p, 's> {
    pub program: &'p eq::Program,
    pub storage: &'s mut Storage,
    pub builder: Builder,
    /// What this iteration already computed: a tensor, the forms of its subscripts, its value (or the variable it is in).
    pub forwards: Vec<Forward>,
    /// The precision of numbers that are written and meet no others: f64 in what an f64 is made of.
    pub written: ValueType,
}

/// Subscripts as forms over the kernel.
pub(crate) struct Subscripts {
    pub forms: Vec<Address>,
    pub guards: Vec<Guard>,
    pub reach: Reach,
}

pub(crate) struct Forward {
    pub tensor: eq::TensorId,
    pub subs: Vec<Address>,
    pub value: ValueId,
}

impl<'p> Writer<'p, '_> {
    /// The working precision.
    pub fn real(&self) -> ValueType {
        value_type(self.storage.real)
    }

    /// From here on numbers are for a value of this type.
    pub fn write_for(&mut self, ty: ValueType) {
        self.written = if ty == ValueType::F64 { ty } else { self.real() };
    }

    // -------------------------------------------------------------------------------------------- forms

    /// The example that per-example names of the piece speak of: the free batch index, or the only one there is.
    pub fn home(&self, env: &Env) -> Option<eq::IndexId> {
        let at = env.piece.indices.iter().position(|i| self.storage.is_batch(&i.range))?;
        Some(eq::IndexId(at as u32))
    }

    pub fn affine(&mut self, env: &Env, affine: &eq::Affine) -> Result<Address, Error> {
        let mut sum = Address::default();
        for (index, coefficient) in &affine.terms {
            let bound = self.bound(env, *index)?;
            sum = form::add(sum, &form::scale(&bound, &Dim::from(*coefficient)));
        }
        let home = self.home(env);
        let offset = self.size_form(env, &affine.offset, home)?;
        Ok(form::add(sum, &offset))
    }

    fn bound(&self, env: &Env, index: eq::IndexId) -> Result<Address, Error> {
        if !env.open[index.0 as usize] {
            let name = &env.piece.indices[index.0 as usize].name;
            return Err(malformed(env, format!("index `{name}` is used outside of its loop")));
        }
        Ok(env.bind[index.0 as usize].clone())
    }

    /// A size as a form; per-example sizes are those of the example that `example` names.
    pub fn size_form(&mut self, env: &Env, dim: &Dim, example: Option<eq::IndexId>) -> Result<Address, Error> {
        if !self.storage.names_example(dim) {
            return Ok(form::constant(dim.clone()));
        }
        let Some(example) = example else {
            return Err(malformed(env, format!("the size `{dim}` belongs to an example and none is at hand")));
        };
        let at = self.bound(env, example)?;
        Ok(self.length_of(dim, at))
    }

    /// The size of one example. Tables hold products of sizes, which are never negative; sums of them are formed here.
    fn length_of(&mut self, dim: &Dim, example: Address) -> Address {
        let mut sum = Address::default();
        for (own, shared) in self.storage.by_example(dim) {
            let part = match own {
                None => form::constant(shared),
                Some(own) => {
                    let table = self.storage.table(plan::Table::Lengths(own));
                    form::scale(&form::value(self.table_load(table, example.clone())), &shared)
                }
            };
            sum = form::add(sum, &part);
        }
        sum
    }

    pub fn table_load(&mut self, table: plan::BufferId, at: Address) -> ValueId {
        self.load_table(table, at, Reach::Always)
    }

    /// [`table_load`](Writer::table_load) that stays inside the loop it is in.
    pub fn table_load_here(&mut self, table: plan::BufferId, at: Address) -> ValueId {
        self.load_table(table, at, Reach::Here)
    }

    fn load_table(&mut self, table: plan::BufferId, at: Address, reach: Reach) -> ValueId {
        let buffer = &self.storage.buffers[table.0 as usize];
        let parameter = self.builder.buffer(table, &Dim::zero(), &buffer.name, buffer.dtype);
        self.builder.load(parameter, at, Vec::new(), 0.0, reach)
    }

    // -------------------------------------------------------------------------------------------- accesses

    /// The forms of `subs`, and the guards that keep them inside `shape` if they may leave.
    pub fn subscripts(
        &mut self,
        env: &Env,
        subs: &[eq::Sub],
        shape: &[Dim],
        guarded: bool,
    ) -> Result<Subscripts, Error> {
        if subs.len() != shape.len() {
            return Err(malformed(env, format!("{} subscripts for {} axes", subs.len(), shape.len())));
        }
        let mut all = Subscripts { forms: Vec::new(), guards: Vec::new(), reach: Reach::Always };
        for (sub, dim) in subs.iter().zip(shape) {
            let form = match sub {
                eq::Sub::Affine(affine) => self.affine(env, affine)?,
                eq::Sub::Data(data) => {
                    let value = self.expr(env, data)?;
                    form::value(self.integer(value))
                }
            };
            if !self.inside(env, subs, sub, dim) {
                if guarded {
                    let extent = self.length_of_axis(dim, &all.forms);
                    all.guards.extend(range_guards(&form, &extent));
                } else {
                    all.reach = Reach::Here;
                }
            }
            all.forms.push(form);
        }
        Ok(all)
    }

    /// Address in `layout` of the element at `forms`, which `subs` became.
    pub fn address(&mut self, env: &Env, layout: &Layout, subs: &[eq::Sub], forms: &[Address]) -> Address {
        // The axes that `rows` walks together.
        let together = env.rows.as_ref().and_then(|rows| {
            let packed = layout.packed.as_ref().filter(|p| p.rows == rows.rows)?;
            // On the axis that is packed: an index of the same range may stand on another one, too.
            let is_packed = |axis: &usize| layout.strides[*axis] == packed.inner;
            let position = (1..subs.len()).filter(is_packed).find(|axis| is_index(&subs[*axis], rows.position))?;
            is_index(&subs[0], rows.batch).then(|| (position, form::scale(&rows.row, &packed.inner)))
        });
        let mut at = Address::default();
        for (axis, form) in forms.iter().enumerate() {
            if together.as_ref().is_some_and(|(position, _)| axis == 0 || axis == *position) {
                continue;
            }
            let row = (axis == 0 && layout.depth > 0).then(|| env.row_of(&subs[0], layout.depth)).flatten();
            let form = row.as_ref().unwrap_or(form);
            match (axis, &layout.packed) {
                (0, Some(packed)) => {
                    let table = self.storage.table(plan::Table::Offsets(packed.rows.clone()));
                    let base = form::value(self.table_load(table, form.clone()));
                    at = form::add(at, &form::scale(&base, &packed.inner));
                }
                (_, _) => {
                    let stride = self.length_of_axis(&layout.strides[axis], forms);
                    let part = self.builder.product(form, &stride);
                    at = form::add(at, &part);
                }
            }
        }
        if self.storage.names_example(&layout.offset) {
            // The step of a loop in a stack of ragged values: `parameter` cannot say it.
            let offset = self.length_of_axis(&layout.offset, forms);
            at = form::add(at, &offset);
        }
        match &together {
            Some((_, row)) => form::add(at, row),
            None => at,
        }
    }

    /// The kernel's parameter for what lies in `layout`.
    pub fn parameter(&mut self, layout: &Layout) -> u32 {
        let buffer = &self.storage.buffers[layout.buffer.0 as usize];
        let offset = if self.storage.names_example(&layout.offset) { Dim::zero() } else { layout.offset.clone() };
        self.builder.buffer(layout.buffer, &offset, &buffer.name, buffer.dtype)
    }

    /// A size of a tensor's axis: of the example in its first subscript.
    fn length_of_axis(&mut self, dim: &Dim, forms: &[Address]) -> Address {
        match forms.first() {
            Some(example) => self.length_of(dim, example.clone()),
            None => form::constant(dim.clone()),
        }
    }

    /// Does this subscript stay inside for every value of its index?
    fn inside(&self, env: &Env, subs: &[eq::Sub], sub: &eq::Sub, dim: &Dim) -> bool {
        let eq::Sub::Affine(affine) = sub else { return false };
        match affine.terms.as_slice() {
            [] => match (affine.offset.as_const(), dim.as_const()) {
                (Some(at), Some(extent)) => 0 <= at && at < extent,
                (_, _) => false,
            },
            [(index, 1)] if affine.offset.is_zero() => {
                let range = env.piece.range(*index);
                runs_along(self.program, env.piece, *index, dim, subs)
                    || matches!((range.as_const(), dim.as_const()), (Some(range), Some(extent)) if range <= extent)
            }
            _many => false,
        }
    }

    fn read(&mut self, env: &Env, read: &eq::Read) -> Result<Val, Error> {
        let tensor = &self.program.tensors[read.tensor.0 as usize];
        let shape = &tensor.shape;
        let subs = self.subscripts(env, &read.subs, shape, read.otherwise.is_some())?;
        let known = self.forwards.iter().rev().find(|f| f.tensor == read.tensor && f.subs == subs.forms);
        let known = known.map(|known| known.value);
        let value = match known {
            Some(value) => value,
            None => self.loaded(env, read, subs)?,
        };
        // In arithmetic a bf16 is a number of the working precision.
        let is_bf16 = tensor.dtype == eq::DType::BF16;
        Ok(Val::Is(if is_bf16 { self.builder.convert(value, self.real()) } else { value }))
    }

    fn loaded(&mut self, env: &Env, read: &eq::Read, mut subs: Subscripts) -> Result<ValueId, Error> {
        let layout = self.storage.place(self.program, read.tensor).clone();
        let at = self.address(env, &layout, &read.subs, &subs.forms);
        subs.guards.extend(env.lane_guards.iter().cloned());
        let parameter = self.parameter(&layout);
        Ok(self.builder.load(parameter, at, subs.guards, read.otherwise.unwrap_or(0.0), subs.reach))
    }

    // -------------------------------------------------------------------------------------------- types

    pub fn typed(&mut self, value: Val, ty: ValueType) -> ValueId {
        match value {
            Val::Literal(number) => self.builder.constant(number, ty),
            Val::Is(value) if ty == ValueType::Bool && self.builder.ty(value) != ValueType::Bool => {
                let zero = self.builder.constant(0.0, self.builder.ty(value));
                self.builder.value(ValueOp::Compare(plan::CompareOp::Ne, value, zero), ValueType::Bool)
            }
            Val::Is(value) => self.builder.convert(value, ty),
        }
    }

    fn integer(&mut self, value: Val) -> ValueId {
        match value {
            Val::Is(value) if matches!(self.builder.ty(value), ValueType::I32 | ValueType::I64) => value,
            other => self.typed(other, ValueType::I64),
        }
    }

    pub fn type_of(&self, value: Val) -> Option<ValueType> {
        match value {
            Val::Literal(_) => None,
            Val::Is(value) => Some(self.builder.ty(value)),
        }
    }

    /// The type in which `a` and `b` meet, at least `least`.
    fn meet(&self, a: Val, b: Val) -> ValueType {
        let whole = |v: Val| matches!(v, Val::Literal(n) if n == n.trunc() && n.abs() < 2e9);
        match (self.type_of(a), self.type_of(b)) {
            (None, None) => self.written,
            (Some(t), None) => literal_type(t, whole(b), self.written),
            (None, Some(t)) => literal_type(t, whole(a), self.written),
            (Some(s), Some(t)) => {
                let widest = if rank(s) >= rank(t) { s } else { t };
                // An integer beside a real that is narrower is still that real.
                if widest == ValueType::Bool { ValueType::I32 } else { widest }
            }
        }
    }

    // -------------------------------------------------------------------------------------------- expressions

    pub fn expr(&mut self, env: &Env, expr: &eq::Expr) -> Result<Val, Error> {
        Ok(match expr {
            eq::Expr::Const(number) => Val::Literal(*number),
            eq::Expr::Number(affine) => {
                let form = self.affine(env, affine)?;
                match form::as_size(&form).and_then(Dim::as_const) {
                    Some(number) => Val::Literal(number as f64),
                    None => Val::Is(self.builder.number(&form)),
                }
            }
            eq::Expr::Read(read) => self.read(env, read)?,
            eq::Expr::Unary(op, a) => {
                let a = self.expr(env, a)?;
                self.unary(*op, a)
            }
            eq::Expr::Binary(op, a, b) => {
                let (a, b) = (self.expr(env, a)?, self.expr(env, b)?);
                Val::Is(self.binary(*op, a, b))
            }
            eq::Expr::Compare(op, a, b) => {
                let (a, b) = (self.expr(env, a)?, self.expr(env, b)?);
                let ty = self.meet(a, b);
                let (a, b) = (self.typed(a, ty), self.typed(b, ty));
                Val::Is(self.builder.value(ValueOp::Compare(compare_op(*op), a, b), ValueType::Bool))
            }
            eq::Expr::Select(c, a, b) => {
                let c = self.expr(env, c)?;
                let c = self.typed(c, ValueType::Bool);
                let (a, b) = (self.expr(env, a)?, self.expr(env, b)?);
                let both_truth = [a, b].iter().all(|v| matches!(self.type_of(*v), None | Some(ValueType::Bool)))
                    && [a, b].iter().any(|v| self.type_of(*v) == Some(ValueType::Bool));
                let ty = if both_truth { ValueType::Bool } else { self.meet(a, b) };
                let (a, b) = (self.typed(a, ty), self.typed(b, ty));
                Val::Is(self.builder.value(ValueOp::Select(c, a, b), ty))
            }
        })
    }

    fn unary(&mut self, op: eq::UnaryOp, a: Val) -> Val {
        use eq::UnaryOp as E;
        use plan::UnaryOp as P;
        let (op, ty) = match op {
            E::Not => (P::Not, ValueType::Bool),
            E::ToReal => return Val::Is(self.typed(a, self.real())),
            E::ToF64 => return Val::Is(self.typed(a, ValueType::F64)),
            E::ToBf16 => {
                let narrow = self.typed(a, ValueType::F32);
                let rounded = self.builder.value(ValueOp::Unary(P::Bf16, narrow), ValueType::F32);
                return Val::Is(self.builder.convert(rounded, self.real()));
            }
            E::ToInt => {
                return Val::Is(match self.type_of(a) {
                    Some(ValueType::I32 | ValueType::I64) => self.integer(a),
                    Some(_) | None => self.typed(a, ValueType::I32),
                });
            }
            E::Neg | E::Abs | E::Sign => {
                let ty = match self.type_of(a) {
                    None => self.written,
                    Some(ValueType::Bool) => ValueType::I32,
                    Some(ty) => ty,
                };
                (
                    if op == E::Neg {
                        P::Neg
                    } else if op == E::Abs {
                        P::Abs
                    } else {
                        P::Sign
                    },
                    ty,
                )
            }
            E::Freeze => return a,
            E::Floor | E::Round if matches!(self.type_of(a), Some(ValueType::I32 | ValueType::I64)) => return a,
            E::Floor => (P::Floor, self.real_of(a)),
            E::Round => (P::Round, self.real_of(a)),
            E::Exp => (P::Exp, self.real_of(a)),
            E::Expm1 => (P::Expm1, self.real_of(a)),
            E::Log => (P::Log, self.real_of(a)),
            E::Log1p => (P::Log1p, self.real_of(a)),
            E::Sqrt => (P::Sqrt, self.real_of(a)),
            E::Tanh => (P::Tanh, self.real_of(a)),
            E::Sigmoid => (P::Sigmoid, self.real_of(a)),
            E::Softplus => (P::Softplus, self.real_of(a)),
            E::Erf => (P::Erf, self.real_of(a)),
            E::Sin => (P::Sin, self.real_of(a)),
            E::Cos => (P::Cos, self.real_of(a)),
            E::Lgamma => (P::Lgamma, self.real_of(a)),
            E::Digamma => (P::Digamma, self.real_of(a)),
            E::Trigamma => (P::Trigamma, self.real_of(a)),
        };
        let a = self.typed(a, ty);
        Val::Is(self.builder.value(ValueOp::Unary(op, a), ty))
    }

    /// The value's own real type, or that of written numbers.
    fn real_of(&self, a: Val) -> ValueType {
        match self.type_of(a) {
            Some(ty @ (ValueType::F32 | ValueType::F64)) => ty,
            Some(_) | None => self.written,
        }
    }

    pub fn binary(&mut self, op: eq::BinaryOp, a: Val, b: Val) -> ValueId {
        use eq::BinaryOp as E;
        let meet = self.meet(a, b);
        let real = if matches!(meet, ValueType::F32 | ValueType::F64) { meet } else { self.written };
        let (op, ty) = match op {
            E::Add => (plan::BinaryOp::Add, meet),
            E::Sub => (plan::BinaryOp::Sub, meet),
            E::Mul => (plan::BinaryOp::Mul, meet),
            E::Div => (plan::BinaryOp::Div, real),
            E::FloorDiv => (plan::BinaryOp::FloorDiv, meet),
            E::Rem => (plan::BinaryOp::Rem, meet),
            E::Pow => (plan::BinaryOp::Pow, real),
            E::Min => (plan::BinaryOp::Min, meet),
            E::Max => (plan::BinaryOp::Max, meet),
            E::And => (plan::BinaryOp::And, ValueType::Bool),
            E::Or => (plan::BinaryOp::Or, ValueType::Bool),
        };
        let (a, b) = (self.typed(a, ty), self.typed(b, ty));
        self.builder.value(ValueOp::Binary(op, a, b), ty)
    }

    /// Does the condition hold at this point?
    pub fn condition(&mut self, env: &Env, condition: &eq::Condition) -> Result<ValueId, Error> {
        Ok(match condition {
            eq::Condition::NonNegative(affine) => {
                let form = self.affine(env, affine)?;
                let (number, zero) = (self.builder.number(&form), self.builder.constant(0.0, ValueType::I64));
                self.builder.value(ValueOp::Compare(plan::CompareOp::Ge, number, zero), ValueType::Bool)
            }
            eq::Condition::Equal(affine, data) => {
                let form = self.affine(env, affine)?;
                let number = Val::Is(self.builder.number(&form));
                let data = self.expr(env, data)?;
                let ty = self.meet(number, data);
                let (number, data) = (self.typed(number, ty), self.typed(data, ty));
                self.builder.value(ValueOp::Compare(plan::CompareOp::Eq, number, data), ValueType::Bool)
            }
            eq::Condition::Holds(expr) => {
                let value = self.expr(env, expr)?;
                self.typed(value, ValueType::Bool)
            }
        })
    }
}

/// `0 <= form < extent`, also where the extent is only known as a value.
pub(crate) fn range_guards(of: &Address, extent: &Address) -> Vec<Guard> {
    if let Some(size) = form::as_size(extent) {
        return vec![Guard { form: of.clone(), extent: size.clone() }];
    }
    let below = form::add(form::add(extent.clone(), &form::scale(of, &Dim::from(-1))), &form::constant(Dim::from(-1)));
    vec![non_negative(of.clone()), non_negative(below)]
}

/// `0 <= form`.
pub(crate) fn non_negative(form: Address) -> Guard {
    Guard { form, extent: Dim::from(OPEN) }
}

/// Is the subscript exactly this index?
/// Does the index run along exactly this axis of what is read at `subs`: to the same size, of the same example?
pub(crate) fn runs_along(
    program: &eq::Program,
    piece: &eq::Piece,
    index: eq::IndexId,
    dim: &Dim,
    subs: &[eq::Sub],
) -> bool {
    let owner = || piece.indices[index.0 as usize].example.or_else(|| eq::bounds::main_batch_index(program, piece));
    let of_owner = || owner().is_some_and(|owner| subs.first().is_some_and(|sub| is_index(sub, owner)));
    piece.range(index) == dim && (!program.is_per_example_size(dim) || of_owner())
}

pub(crate) fn is_index(sub: &eq::Sub, index: eq::IndexId) -> bool {
    matches!(sub, eq::Sub::Affine(a) if a.terms == [(index, 1)] && a.offset.is_zero())
}

fn rank(ty: ValueType) -> u8 {
    match ty {
        ValueType::Bool => 0,
        ValueType::I32 => 1,
        ValueType::I64 => 2,
        ValueType::F32 => 3,
        ValueType::F64 => 4,
    }
}

fn literal_type(other: ValueType, whole: bool, real: ValueType) -> ValueType {
    match other {
        ValueType::F32 | ValueType::F64 => other,
        ValueType::Bool if whole => ValueType::I32,
        ValueType::I32 | ValueType::I64 if whole => other,
        ValueType::Bool | ValueType::I32 | ValueType::I64 => real,
    }
}

fn compare_op(op: eq::CompareOp) -> plan::CompareOp {
    match op {
        eq::CompareOp::Eq => plan::CompareOp::Eq,
        eq::CompareOp::Ne => plan::CompareOp::Ne,
        eq::CompareOp::Lt => plan::CompareOp::Lt,
        eq::CompareOp::Le => plan::CompareOp::Le,
        eq::CompareOp::Gt => plan::CompareOp::Gt,
        eq::CompareOp::Ge => plan::CompareOp::Ge,
    }
}

pub(crate) fn malformed(env: &Env, problem: String) -> Error {
    Error::Malformed { problem, origin: env.origin.clone() }
}
