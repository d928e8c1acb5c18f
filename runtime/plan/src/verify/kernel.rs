//! Types and scopes of a kernel.
//!
//! | operation | operands -> result |
//! |---|---|
//! | `neg abs floor round sign` | a number -> the same |
//! | `sqrt exp ..` | a real -> the same |
//! | `not`, `and or` | truth -> truth (`and`, `or` also bits of integers) |
//! | `add sub mul div floordiv rem min max` | two numbers of one type -> the same |
//! | `pow` | two reals of one type -> the same |
//! | comparisons | two of one type -> truth |
//! | `select` | truth, two of one type -> that |
//! | `load` | the buffer's type in registers (`bf16` is widened to f32) |

use super::{Checked, ensure};
use crate::data::{
    Access, Address, AddressTerm, BinaryOp, Bound, DType, Kernel, LoopIndex, LoopMode, Monoid, Stmt, UnaryOp, ValueId,
    ValueOp, ValueType, VariableId,
};
use bdl_dims::Dim;

pub fn check(kernel: &Kernel) -> Checked {
    for (i, size) in kernel.sizes.iter().enumerate() {
        ensure(!kernel.sizes[..i].contains(size), || format!("the size `{size}` is an argument twice"))?;
    }
    ensure(!kernel.indices.is_empty(), || "the grid has no index".to_string())?;
    let mut checker = Checker {
        kernel,
        values: vec![false; kernel.values.len()],
        defined: vec![false; kernel.values.len()],
        variables: vec![false; kernel.variables.len()],
        declared: vec![false; kernel.variables.len()],
        open: vec![false; kernel.indices.len()],
        used: vec![false; kernel.indices.len()],
        lanes: None,
    };
    checker.dim(&kernel.grid)?;
    checker.used[0] = true;
    checker.scoped_loop(LoopIndex(0), kernel.grid_mode, &kernel.body)?;
    for (what, all) in [("value", &checker.defined), ("variable", &checker.declared)] {
        if let Some(missing) = all.iter().position(|d| !d) {
            return Err(format!("{what} {missing} is never defined"));
        }
    }
    Ok(())
}

/// What a `Lanes` loop does to variables from outside of it.
#[derive(Default)]
struct Lanes {
    /// Variables in scope when the loop began.
    outer: Vec<bool>,
    combined: Vec<(VariableId, Monoid)>,
    read: Vec<VariableId>,
}

struct Checker<'k> {
    kernel: &'k Kernel,
    /// In scope now.
    values: Vec<bool>,
    /// Ever.
    defined: Vec<bool>,
    variables: Vec<bool>,
    declared: Vec<bool>,
    open: Vec<bool>,
    used: Vec<bool>,
    lanes: Option<Lanes>,
}

impl Checker<'_> {
    fn dim(&self, dim: &Dim) -> Checked {
        for name in dim.names() {
            ensure(self.kernel.sizes.contains(&name), || format!("the size `{name}` is no argument"))?;
        }
        Ok(())
    }

    fn value(&self, value: ValueId) -> Result<ValueType, String> {
        let id = value.0 as usize;
        ensure(self.values.get(id) == Some(&true), || format!("%{id} is not in scope"))?;
        Ok(self.kernel.values[id])
    }

    fn of_type(&self, value: ValueId, wanted: ValueType) -> Checked {
        let found = self.value(value)?;
        ensure(found == wanted, || format!("%{} is of {found:?} where {wanted:?} is meant", value.0))
    }

    fn integer(&self, value: ValueId) -> Checked {
        let found = self.value(value)?;
        ensure(is_integer(found), || format!("%{} is of {found:?} where an integer is meant", value.0))
    }

    fn variable(&self, variable: VariableId) -> Result<ValueType, String> {
        let id = variable.0 as usize;
        ensure(self.variables.get(id) == Some(&true), || format!("@{id} is not in scope"))?;
        Ok(self.kernel.variables[id])
    }

    fn address(&self, at: &Address) -> Checked {
        self.dim(&at.offset)?;
        for (term, stride) in &at.terms {
            self.dim(stride)?;
            match term {
                AddressTerm::Index(index) => self.index(*index)?,
                AddressTerm::Value(value) => self.integer(*value)?,
            }
        }
        Ok(())
    }

    fn index(&self, index: LoopIndex) -> Checked {
        ensure(self.open.get(index.0 as usize) == Some(&true), || format!("index {} is outside of its loop", index.0))
    }

    fn buffer(&self, buffer: u32) -> Result<(DType, Access), String> {
        match self.kernel.buffers.get(buffer as usize) {
            Some(b) => Ok((b.dtype, b.access)),
            None => Err(format!("buffer {buffer} does not exist")),
        }
    }

    fn scoped_loop(&mut self, index: LoopIndex, mode: LoopMode, body: &[Stmt]) -> Checked {
        self.open[index.0 as usize] = true;
        match mode {
            LoopMode::Serial => self.scoped(body)?,
            LoopMode::Lanes => {
                ensure(self.lanes.is_none(), || "a Lanes loop inside another".to_string())?;
                self.lanes = Some(Lanes { outer: self.variables.clone(), ..Lanes::default() });
                self.scoped(body)?;
                if let Some(lanes) = self.lanes.take() {
                    for (variable, monoid) in &lanes.combined {
                        let one = lanes.combined.iter().all(|(v, m)| v != variable || m == monoid);
                        ensure(one, || format!("@{} is combined with two monoids in one Lanes loop", variable.0))?;
                        ensure(!lanes.read.contains(variable), || {
                            format!("@{} is read in the Lanes loop that combines into it", variable.0)
                        })?;
                    }
                }
            }
        }
        self.open[index.0 as usize] = false;
        Ok(())
    }

    /// A body: what it defines goes out of scope at its end.
    fn scoped(&mut self, body: &[Stmt]) -> Checked {
        let (values, variables) = (self.values.clone(), self.variables.clone());
        body.iter().try_for_each(|stmt| self.stmt(stmt))?;
        (self.values, self.variables) = (values, variables);
        Ok(())
    }

    fn is_outer(&self, variable: VariableId) -> bool {
        self.lanes.as_ref().is_some_and(|lanes| lanes.outer[variable.0 as usize])
    }

    fn stmt(&mut self, stmt: &Stmt) -> Checked {
        match stmt {
            Stmt::Loop { index, from, to, mode, body } => {
                for bound in [from, to] {
                    match bound {
                        Bound::Size(dim) => self.dim(dim)?,
                        Bound::Value(value) => self.integer(*value)?,
                    }
                }
                let id = index.0 as usize;
                ensure(self.used.get(id) == Some(&false), || format!("index {id} does not exist or has another loop"))?;
                self.used[id] = true;
                self.scoped_loop(*index, *mode, body)
            }
            Stmt::Let { value, op } => {
                let id = value.0 as usize;
                ensure(self.defined.get(id) == Some(&false), || format!("%{id} does not exist or is defined twice"))?;
                self.op(op, self.kernel.values[id]).map_err(|what| format!("%{id}: {what}"))?;
                (self.defined[id], self.values[id]) = (true, true);
                Ok(())
            }
            Stmt::Variable { variable, start } => {
                let id = variable.0 as usize;
                ensure(self.declared.get(id) == Some(&false), || format!("@{id} does not exist or is declared twice"))?;
                self.of_type(*start, self.kernel.variables[id])?;
                (self.declared[id], self.variables[id]) = (true, true);
                Ok(())
            }
            Stmt::Combine { variable, monoid, value } => {
                let ty = self.variable(*variable)?;
                self.of_type(*value, ty)?;
                let fits = match monoid {
                    Monoid::Sum | Monoid::Prod | Monoid::Max | Monoid::Min => ty != ValueType::Bool,
                    Monoid::Any | Monoid::All => ty == ValueType::Bool,
                };
                ensure(fits, || format!("@{} of {ty:?} is combined with {monoid:?}", variable.0))?;
                if self.is_outer(*variable)
                    && let Some(lanes) = &mut self.lanes
                {
                    lanes.combined.push((*variable, *monoid));
                }
                Ok(())
            }
            Stmt::Assign { variable, value } => {
                let ty = self.variable(*variable)?;
                self.of_type(*value, ty)?;
                ensure(!self.is_outer(*variable), || format!("@{} is assigned in a Lanes loop", variable.0))
            }
            Stmt::Store { buffer, at, value } => {
                let (dtype, access) = self.buffer(*buffer)?;
                ensure(access != Access::Read, || format!("buffer {buffer} is only read"))?;
                self.address(at)?;
                self.of_type(*value, register_type(dtype))
            }
            Stmt::If { condition, body } => {
                self.of_type(*condition, ValueType::Bool)?;
                self.scoped(body)
            }
        }
    }

    fn op(&mut self, op: &ValueOp, ty: ValueType) -> Checked {
        let result = |found: ValueType| ensure(found == ty, || format!("is of {found:?} and declared as {ty:?}"));
        match op {
            ValueOp::Const(_) => Ok(()),
            ValueOp::Size(dim) => {
                self.dim(dim)?;
                result(ValueType::I64)
            }
            ValueOp::Index(index) => {
                self.index(*index)?;
                result(ValueType::I64)
            }
            ValueOp::Variable(variable) => {
                result(self.variable(*variable)?)?;
                if self.is_outer(*variable)
                    && let Some(lanes) = &mut self.lanes
                {
                    lanes.read.push(*variable);
                }
                Ok(())
            }
            ValueOp::Load { buffer, at, guards, otherwise: _ } => {
                let (dtype, access) = self.buffer(*buffer)?;
                ensure(access != Access::Write, || format!("buffer {buffer} is only written"))?;
                self.address(at)?;
                for guard in guards {
                    self.address(&guard.form)?;
                    self.dim(&guard.extent)?;
                }
                result(register_type(dtype))
            }
            ValueOp::Unary(op, a) => {
                let of = self.value(*a)?;
                let fits = match op {
                    UnaryOp::Neg | UnaryOp::Abs | UnaryOp::Floor | UnaryOp::Round | UnaryOp::Sign => {
                        of != ValueType::Bool
                    }
                    UnaryOp::Not => of == ValueType::Bool,
                    UnaryOp::Bf16 => of == ValueType::F32,
                    UnaryOp::Sqrt
                    | UnaryOp::Exp
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
                    | UnaryOp::Trigamma => is_real(of),
                };
                ensure(fits, || format!("{op:?} of {of:?}"))?;
                result(of)
            }
            ValueOp::Binary(op, a, b) => {
                let of = self.value(*a)?;
                self.of_type(*b, of)?;
                let fits = match op {
                    BinaryOp::Add
                    | BinaryOp::Sub
                    | BinaryOp::Mul
                    | BinaryOp::Div
                    | BinaryOp::FloorDiv
                    | BinaryOp::Rem
                    | BinaryOp::Min
                    | BinaryOp::Max => of != ValueType::Bool,
                    BinaryOp::Pow => is_real(of),
                    BinaryOp::And | BinaryOp::Or => !is_real(of),
                };
                ensure(fits, || format!("{op:?} of {of:?}"))?;
                result(of)
            }
            ValueOp::Compare(_, a, b) => {
                let of = self.value(*a)?;
                self.of_type(*b, of)?;
                result(ValueType::Bool)
            }
            ValueOp::Select(c, a, b) => {
                self.of_type(*c, ValueType::Bool)?;
                let of = self.value(*a)?;
                self.of_type(*b, of)?;
                result(of)
            }
            ValueOp::Convert(a) => self.value(*a).map(|_| ()),
        }
    }
}

fn is_integer(ty: ValueType) -> bool {
    match ty {
        ValueType::I32 | ValueType::I64 => true,
        ValueType::F32 | ValueType::F64 | ValueType::Bool => false,
    }
}

fn is_real(ty: ValueType) -> bool {
    match ty {
        ValueType::F32 | ValueType::F64 => true,
        ValueType::I32 | ValueType::I64 | ValueType::Bool => false,
    }
}

/// The type of an element in a register.
pub fn register_type(dtype: DType) -> ValueType {
    match dtype {
        DType::F32 | DType::BF16 => ValueType::F32,
        DType::F64 => ValueType::F64,
        DType::I32 => ValueType::I32,
        DType::I64 => ValueType::I64,
        DType::Bool => ValueType::Bool,
    }
}
