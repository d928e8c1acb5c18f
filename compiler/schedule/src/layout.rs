//! Where a tensor lies.
//!
//! Shared and fixed-size tensors are row-major. A tensor `[B, T, C]` whose `T` differs from example to example is packed: each example's
//! block one after the other, a single per-example axis outermost inside a block, so element `(b, t, c)` lies at
//! `(offsets_T[b] + t) * C + c` where `offsets_T` is a table that the executor fills once a batch and `rows_T` its last entry.
//! A view has the buffer of its input and strides of its own.
//!
//! ```text
//! x [B, 60, 4]     240 * b + 4 * t + c
//! x [B, T, 4]      4 * (offsets_T[b] + t) + c                  length 4 * rows_T
//! p [B, T, T]      offsets_TT[b] + T[b] * t + s                length rows_TT
//! x [B, 4, T]      4 * (offsets_T[b] + t) + c                  the per-example axis goes outermost
//! s [B, 4, T, T]   4 * offsets_TT[b] + T[b] * (T[b] * h + t) + s     of two, none does: heads of attention are matrices
//! ```
//!
//! **Rows.** In the body of a loop over running examples an index over the batch runs over the loop's rows, and a tensor of the body holds
//! a row where others hold an example ([`Layout::depth`]): what runs lies together, which a contraction needs. Tensors of outside are
//! read through the orders of the loops, a row at a time; packed ones always lie by example.
//!
//! Deliberately absent: which buffers share memory (`memory`).

use crate::Target;
use crate::error::Error;
use bdl_dims::{Atom, Dim};
use bdl_equations as eq;
use bdl_plan as plan;
use rustc_hash::FxHashMap as HashMap;
use std::collections::BTreeMap;

/// Placeholder of a buffer that `memory` has not placed yet.
pub(crate) const UNPLACED: plan::Place = plan::Place::Slot(plan::SlotId(u32::MAX));

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Layout {
    pub buffer: plan::BufferId,
    /// Of the first element. May name the step of the enclosing scan.
    pub offset: Dim,
    /// Elements from one position of an axis to the next. Names per-example sizes only behind a per-example axis.
    pub strides: Vec<Dim>,
    pub packed: Option<Packed>,
    /// What its batch axis counts: 0 examples, d the rows of the d-th of the loops over running examples around it.
    pub depth: usize,
}

/// A loop over running examples that is open.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    /// Table of the row of the loop around (at last: the example) that each row is.
    pub order: plan::BufferId,
    /// How many rows there are.
    pub count: Dim,
}

/// Axis 0 is the batch and its examples differ in length.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Packed {
    /// Product of the per-example dims: rows of one example.
    pub rows: Dim,
    /// Elements a row.
    pub inner: Dim,
}

/// Buffers, tables and sizes of the plan being made, and where each tensor lies in them.
pub(crate) struct Storage {
    pub real: plan::DType,
    pub target: Target,
    pub batch: Option<eq::Name>,
    kinds: HashMap<eq::Name, eq::SizeKind>,
    pub sizes: Vec<plan::SizeName>,
    pub buffers: Vec<plan::Buffer>,
    pub layouts: Vec<Option<Layout>>,
    totals: BTreeMap<Dim, Dim>,
    names: HashMap<String, u32>,
    /// Views and the tensor whose elements they show.
    views: HashMap<eq::TensorId, eq::TensorId>,
    /// Loops over running examples around what is being scheduled, outermost first.
    pub frames: Vec<Frame>,
}

impl Storage {
    pub fn new(program: &eq::Program, real: plan::DType, target: Target) -> Storage {
        let mut storage = Storage {
            real,
            target,
            batch: program.sizes.iter().find(|s| s.kind == eq::SizeKind::Batch).map(|s| s.name.clone()),
            kinds: program.sizes.iter().map(|s| (s.name.clone(), s.kind)).collect(),
            sizes: Vec::new(),
            buffers: Vec::new(),
            layouts: vec![None; program.tensors.len()],
            totals: BTreeMap::new(),
            names: HashMap::default(),
            views: HashMap::default(),
            frames: Vec::new(),
        };
        // These are bound by name: no other buffer may take it.
        for tensor in program.tensors.iter().filter(|t| t.role != eq::Role::Computed) {
            storage.names.insert(tensor.name.to_string(), 1);
        }
        for size in &program.sizes {
            let kind = match size.kind {
                eq::SizeKind::Built => plan::SizeKind::Built,
                eq::SizeKind::Batch => plan::SizeKind::Batch,
                eq::SizeKind::PerExample => plan::SizeKind::PerExample,
                eq::SizeKind::Step => plan::SizeKind::Step,
            };
            storage.sizes.push(plan::SizeName { name: size.name.clone(), kind });
        }
        storage
    }

    pub fn is_per_example(&self, name: &str) -> bool {
        self.kinds.get(name) == Some(&eq::SizeKind::PerExample)
    }

    pub fn names_example(&self, dim: &Dim) -> bool {
        dim.mentions_any(&|name| self.is_per_example(name))
    }

    pub fn is_batch(&self, dim: &Dim) -> bool {
        self.batch.is_some() && dim.as_var() == self.batch.as_ref()
    }

    pub fn depth(&self) -> usize {
        self.frames.len()
    }

    /// How far an index of this range runs here: over the rows of the loop, where it runs over the batch.
    pub fn range_here(&self, range: &Dim) -> Dim {
        match self.frames.last() {
            Some(frame) if self.is_batch(range) => frame.count.clone(),
            Some(_) | None => range.clone(),
        }
    }

    /// Does a tensor of this shape hold rows of a loop, and not examples?
    fn by_rows(&self, shape: &[Dim]) -> bool {
        shape.first().is_some_and(|d| self.is_batch(d)) && self.packing(shape).is_none()
    }

    /// `dim` as a sum of products: sizes of the example (`None` for 1), times a factor that all examples share.
    pub fn by_example(&self, dim: &Dim) -> Vec<(Option<Dim>, Dim)> {
        let mut parts: Vec<(Option<Dim>, Dim)> = Vec::new();
        for (monomial, coefficient) in dim.terms() {
            let (own, shared): (Vec<Atom>, Vec<Atom>) =
                monomial.iter().cloned().partition(|a| self.atom_names_example(a));
            let shared = shared.into_iter().map(Dim::atom).product::<Dim>().scale(coefficient);
            let own = (!own.is_empty()).then(|| own.into_iter().map(Dim::atom).product::<Dim>());
            match parts.iter_mut().find(|(o, _)| *o == own) {
                Some((_, factor)) => *factor = factor.clone() + shared,
                None => parts.push((own, shared)),
            }
        }
        parts
    }

    /// Sum of `dim` over the examples of the batch: a new size name for each product of per-example names.
    pub fn total(&mut self, dim: &Dim) -> Dim {
        let batch = self.batch.clone().map_or_else(Dim::one, Dim::var);
        let mut sum = Dim::zero();
        for (own, shared) in self.by_example(dim) {
            let Some(key) = own else {
                sum = sum + shared * batch.clone();
                continue;
            };
            let total = match self.totals.get(&key) {
                Some(total) => total.clone(),
                None => {
                    let name: plan::Name = self.fresh(&format!("rows_{}", word(&key.to_string()))).into();
                    self.sizes.push(plan::SizeName { name: name.clone(), kind: plan::SizeKind::Total(key.clone()) });
                    self.totals.insert(key, Dim::var(name.clone()));
                    Dim::var(name)
                }
            };
            sum = sum + shared * total;
        }
        sum
    }

    fn atom_names_example(&self, atom: &Atom) -> bool {
        match atom {
            Atom::Var(name) => self.is_per_example(name),
            Atom::Floor(n, d) => self.names_example(n) || self.names_example(d),
        }
    }

    /// A name that no other buffer or size has.
    pub fn fresh(&mut self, wanted: &str) -> String {
        match self.names.get_mut(wanted) {
            None => {
                self.names.insert(wanted.to_string(), 1);
                wanted.to_string()
            }
            Some(count) => {
                *count += 1;
                let name = format!("{wanted}_{count}");
                self.fresh(&name)
            }
        }
    }

    pub fn table(&mut self, table: plan::Table) -> plan::BufferId {
        let batch = self.batch.clone().map_or_else(Dim::one, Dim::var);
        if let Some(at) = self.buffers.iter().position(|b| matches!(&b.place, plan::Place::Table(t) if *t == table)) {
            return plan::BufferId(at as u32);
        }
        let (name, dtype, len) = match &table {
            plan::Table::Lengths(dim) => (format!("lengths_{}", word(&dim.to_string())), plan::DType::I64, batch),
            plan::Table::Offsets(dim) => {
                (format!("offsets_{}", word(&dim.to_string())), plan::DType::I64, batch + Dim::one())
            }
            plan::Table::Owner(dim) => {
                let total = self.total(dim);
                (format!("owner_{}", word(&dim.to_string())), plan::DType::I32, total)
            }
            plan::Table::SortedBy { keys } => {
                let keys = &self.buffers[keys.0 as usize];
                (format!("sorted_by_{}", keys.name), plan::DType::I32, keys.len.clone())
            }
            plan::Table::Runs { keys, groups } => {
                let keys = &self.buffers[keys.0 as usize];
                (format!("runs_{}", keys.name), plan::DType::I32, groups.clone() + Dim::one())
            }
            plan::Table::Positions => ("positions".to_string(), plan::DType::I64, batch),
        };
        let name = self.fresh(&name).into();
        self.buffers.push(plan::Buffer {
            name,
            dtype,
            shape: vec![len.clone()],
            len,
            place: plan::Place::Table(table),
        });
        plan::BufferId(self.buffers.len() as u32 - 1)
    }

    pub fn dtype(&self, dtype: eq::DType) -> plan::DType {
        match dtype {
            eq::DType::Real => self.real,
            eq::DType::F32 => plan::DType::F32,
            eq::DType::F64 => plan::DType::F64,
            eq::DType::BF16 => plan::DType::BF16,
            eq::DType::I32 => plan::DType::I32,
            eq::DType::Bool => plan::DType::Bool,
        }
    }

    /// Elements of a tensor of this shape, packed where it is ragged.
    pub fn elements(&mut self, shape: &[Dim]) -> Dim {
        match self.packing(shape) {
            None => shape.iter().cloned().product(),
            Some(packed) => self.total(&packed.rows) * packed.inner,
        }
    }

    fn packing(&self, shape: &[Dim]) -> Option<Packed> {
        let (first, rest) = shape.split_first()?;
        if !self.is_batch(first) || !rest.iter().any(|d| self.names_example(d)) {
            return None;
        }
        let (rows, inner): (Vec<Dim>, Vec<Dim>) = rest.iter().cloned().partition(|d| self.names_example(d));
        Some(Packed { rows: rows.into_iter().product(), inner: inner.into_iter().product() })
    }

    /// The usual layout of a tensor of this shape in `buffer`.
    pub fn row_major(&self, shape: &[Dim], buffer: plan::BufferId, offset: Dim) -> Layout {
        let packed = self.packing(shape);
        let mut strides = vec![Dim::zero(); shape.len()];
        let mut step = Dim::one();
        // A single axis of the example's length goes outermost, so that all examples' rows lie end to end; else axes lie in order.
        let skip = usize::from(packed.is_some());
        let axes = (skip..shape.len()).rev();
        let is_row = |axis: &usize| self.names_example(&shape[*axis]);
        let rows: Vec<usize> = axes.clone().filter(|axis| packed.is_some() && is_row(axis)).collect();
        let order: Vec<usize> = match rows.as_slice() {
            [row] => axes.filter(|axis| axis != row).chain([*row]).collect(),
            _ => axes.collect(),
        };
        for axis in order {
            strides[axis] = step.clone();
            step = step * shape[axis].clone();
        }
        Layout { buffer, offset, strides, packed, depth: 0 }
    }

    /// The layout of `tensor`, in a new buffer if it has none yet.
    pub fn place(&mut self, program: &eq::Program, tensor: eq::TensorId) -> &Layout {
        let at = tensor.0 as usize;
        if self.layouts[at].is_none() {
            let t = &program.tensors[at];
            let place = match t.role {
                eq::Role::Input { per_example, one_hot: _ } => plan::Place::Input { per_example },
                eq::Role::Param => plan::Place::Param,
                eq::Role::State => plan::Place::State,
                eq::Role::Computed => UNPLACED,
            };
            let buffer = self.buffer(&t.name, t.dtype, &t.shape, place);
            let mut layout = self.row_major(&t.shape, buffer, Dim::zero());
            if t.role == eq::Role::Computed && self.by_rows(&t.shape) {
                layout.depth = self.depth();
            }
            self.layouts[at] = Some(layout);
        }
        self.layouts[at].get_or_insert_with(|| unreachable!("placed just above"))
    }

    pub fn buffer(&mut self, name: &str, dtype: eq::DType, shape: &[Dim], place: plan::Place) -> plan::BufferId {
        let len = self.elements(shape);
        let name = match place {
            // Bound by name: never renamed.
            plan::Place::Param | plan::Place::State | plan::Place::Input { .. } => name.to_string(),
            plan::Place::Slot(_) | plan::Place::Blocks | plan::Place::Literal(_) | plan::Place::Table(_) => {
                self.fresh(name)
            }
        };
        let dtype = self.dtype(dtype);
        self.buffers.push(plan::Buffer { name: name.into(), dtype, len, shape: shape.to_vec(), place });
        plan::BufferId(self.buffers.len() as u32 - 1)
    }

    /// `out` becomes another shape of `input`'s elements. False where the two orders in memory differ.
    pub fn alias(&mut self, program: &eq::Program, out: eq::TensorId, input: eq::TensorId) -> Result<bool, Error> {
        let from = self.place(program, input).clone();
        let (old, new) = (&program.tensors[input.0 as usize].shape, &program.tensors[out.0 as usize].shape);
        let usual = Layout { depth: from.depth, ..self.row_major(old, from.buffer, from.offset.clone()) };
        let changes_rows = from.depth > 0 && !self.by_rows(new);
        if from != usual || changes_rows || !self.in_order(old) || !self.in_order(new) {
            return Ok(false);
        }
        self.layouts[out.0 as usize] =
            Some(Layout { depth: from.depth, ..self.row_major(new, from.buffer, from.offset) });
        self.views.insert(out, self.view_of(input));
        Ok(true)
    }

    /// `tensor`, and every view of it, lies in `buffer` instead.
    pub fn move_to(&mut self, tensor: eq::TensorId, buffer: plan::BufferId) {
        let shown = self.views.iter().filter(|(_, root)| **root == tensor).map(|(view, _)| *view);
        for moved in shown.chain([tensor]).collect::<Vec<_>>() {
            if let Some(layout) = &mut self.layouts[moved.0 as usize] {
                layout.buffer = buffer;
            }
        }
    }

    /// The tensor that a view shows; a tensor that is no view shows itself.
    pub fn view_of(&self, tensor: eq::TensorId) -> eq::TensorId {
        self.views.get(&tensor).copied().unwrap_or(tensor)
    }

    /// Is the order in memory the order of the subscripts?
    pub fn in_order(&self, shape: &[Dim]) -> bool {
        let Some(_) = self.packing(shape) else { return true };
        shape[1..].iter().filter(|d| self.names_example(d)).count() > 1 || self.names_example(&shape[1])
    }
}

/// A text as one word: letters, digits and `_`.
fn word(text: &str) -> String {
    text.replace(" * ", "")
        .chars()
        .filter(|c| !c.is_whitespace())
        .map(|c| if c.is_alphanumeric() { c } else { '_' })
        .collect()
}
