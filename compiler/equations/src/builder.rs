//! Making programs: declare sizes and tensors, then add nodes.
//!
//! ```
//! use bdl_equations::*;
//! // y[b, f] = sum[c] x[b, c] * w[c, f]
//! let mut program = Program::new("forward");
//! let b = program.size("B", SizeKind::Batch);
//! let x = program.tensor("x", DType::Real, [b.clone(), 4.into()], Role::Input { per_example: true, one_hot: false });
//! let w = program.tensor("w", DType::Real, [4.into(), 3.into()], Role::Param);
//! let mut piece = PieceBuilder::new();
//! let (i, f, c) = (piece.free("b", b), piece.free("f", 3), piece.bound("c", 4));
//! let y = program.define("y", DType::Real, piece.sum(Expr::read(x, [i, c]) * Expr::read(w, [c, f])), Origin::default());
//! program.outputs.push(("y".into(), y));
//! assert_eq!(program.get(y).shape.len(), 2);
//! ```

use crate::data::{
    Affine, Condition, DType, Equation, Expr, Index, IndexId, Monoid, Name, Node, Origin, Piece, Program, Role,
    SizeKind, SizeName, Tensor, TensorId,
};
use bdl_dims::Dim;

impl Program {
    pub fn new(name: impl Into<Name>) -> Program {
        Program {
            name: name.into(),
            sizes: Vec::new(),
            tensors: Vec::new(),
            nodes: Vec::new(),
            outputs: Vec::new(),
            updates: Vec::new(),
        }
    }

    /// Declares a size (once; a second declaration of the same name keeps the first kind) and gives it as a [`Dim`].
    pub fn size(&mut self, name: impl Into<Name>, kind: SizeKind) -> Dim {
        let name = name.into();
        if self.size_kind(&name).is_none() {
            self.sizes.push(SizeName { name: name.clone(), kind });
        }
        Dim::var(name)
    }

    pub fn size_kind(&self, name: &str) -> Option<SizeKind> {
        self.sizes.iter().find(|s| &*s.name == name).map(|s| s.kind)
    }

    /// Does the size name something that differs from example to example?
    pub fn is_per_example_size(&self, dim: &Dim) -> bool {
        dim.mentions_any(&|name| self.size_kind(name) == Some(SizeKind::PerExample))
    }

    /// Is this exactly the number of examples in the batch?
    pub fn is_batch(&self, dim: &Dim) -> bool {
        dim.as_var().is_some_and(|name| self.size_kind(name) == Some(SizeKind::Batch))
    }

    /// Does the equation reduce over the batch? In a loop over running examples it then speaks of those that run, so that it is not the same
    /// equation outside.
    pub fn is_over_batch(&self, equation: &Equation) -> bool {
        equation.pieces.iter().any(|piece| piece.bound_ids().any(|i| self.is_batch(piece.range(i))))
    }

    /// After batching: has the tensor a value for every example?
    pub fn is_per_example(&self, id: TensorId) -> bool {
        self.get(id).shape.first().is_some_and(|dim| self.is_batch(dim))
    }

    /// # Panics
    /// If `id` is not of this program: that is a bug of the caller; `verify` says so for programs that were read as text.
    pub fn get(&self, id: TensorId) -> &Tensor {
        &self.tensors[id.0 as usize]
    }

    pub fn find(&self, name: &str) -> Option<TensorId> {
        self.tensors.iter().position(|t| &*t.name == name).map(|at| TensorId(at as u32))
    }

    /// Every tensor id, in order.
    pub fn ids(&self) -> impl Iterator<Item = TensorId> + use<> {
        (0..self.tensors.len() as u32).map(TensorId)
    }

    /// A name that no tensor has yet: `hint`, or `hint_2`, `hint_3`...
    pub fn fresh(&self, hint: &str) -> Name {
        // One walk over all names, because large models make thousands of tensors with few hints.
        let number_of = |name: &str| match name.as_bytes().get(hint.len()) {
            None => (name == hint).then_some(1),
            Some(b'_') if name.as_bytes().last().is_some_and(u8::is_ascii_digit) => {
                let number = name.strip_prefix(hint)?.strip_prefix('_').filter(|n| !n.starts_with('0'));
                number.and_then(|n| n.parse::<u32>().ok())
            }
            Some(_) => None,
        };
        let mut taken: Vec<u32> = self.tensors.iter().filter_map(|t| number_of(&t.name)).collect();
        taken.sort_unstable();
        // The first number that is missing.
        let mut number = 1;
        for taken in taken {
            number += u32::from(taken == number);
        }
        match number {
            1 => hint.into(),
            _ => format!("{hint}_{number}").into(),
        }
    }

    /// Declares a tensor under a fresh name.
    pub fn tensor(&mut self, hint: &str, dtype: DType, shape: impl IntoIterator<Item = Dim>, role: Role) -> TensorId {
        let name = self.fresh(hint);
        self.tensors.push(Tensor { name, dtype, shape: shape.into_iter().collect(), role });
        TensorId(self.tensors.len() as u32 - 1)
    }

    /// Declares a tensor that a node is about to write.
    pub fn computed(&mut self, hint: &str, dtype: DType, shape: impl IntoIterator<Item = Dim>) -> TensorId {
        self.tensor(hint, dtype, shape, Role::Computed)
    }

    /// Adds the equation of one piece that writes `out`.
    pub fn equation(&mut self, out: TensorId, piece: Piece, origin: Origin) {
        self.nodes.push(Node::Equation(Equation { out, pieces: vec![piece], origin }));
    }

    /// Declares a tensor whose shape is the ranges of the piece's free indices, and adds the equation that writes it.
    /// The piece must cover it plainly (`at` = the free indices), as [`PieceBuilder`] makes them.
    pub fn define(&mut self, hint: &str, dtype: DType, piece: Piece, origin: Origin) -> TensorId {
        let shape: Vec<Dim> = piece.indices[..piece.free].iter().map(|i| i.range.clone()).collect();
        let out = self.computed(hint, dtype, shape);
        self.equation(out, piece, origin);
        out
    }
}

/// Collects the indices of one piece: all free ones first, then the bound ones, outermost first.
#[derive(Clone, Debug, Default)]
pub struct PieceBuilder {
    indices: Vec<Index>,
    free: usize,
    filter: Vec<Condition>,
    at: Option<Vec<Affine>>,
    empty: Option<f64>,
}

impl PieceBuilder {
    pub fn new() -> PieceBuilder {
        PieceBuilder::default()
    }

    /// Adds a free index. The name is made unique in the piece.
    ///
    /// # Panics
    /// If a bound index was added before: free indices come first.
    pub fn free(&mut self, name: &str, range: impl Into<Dim>) -> IndexId {
        assert_eq!(self.free, self.indices.len(), "free indices come before bound ones");
        self.free += 1;
        self.push(name, range.into(), None)
    }

    pub fn bound(&mut self, name: &str, range: impl Into<Dim>) -> IndexId {
        self.push(name, range.into(), None)
    }

    /// A bound index whose range is a size of the example that the batch index `example` names.
    pub fn bound_of(&mut self, name: &str, range: impl Into<Dim>, example: IndexId) -> IndexId {
        self.push(name, range.into(), Some(example))
    }

    /// One free index an axis of `shape`, named by `names` (cut or continued as needed).
    pub fn free_axes(&mut self, shape: &[Dim]) -> Vec<IndexId> {
        const NAMES: [&str; 6] = ["i", "j", "k", "l", "m", "n"];
        shape.iter().enumerate().map(|(axis, dim)| self.free(NAMES[axis % NAMES.len()], dim.clone())).collect()
    }

    fn push(&mut self, name: &str, range: Dim, example: Option<IndexId>) -> IndexId {
        let name = fresh_index(&self.indices, name);
        self.indices.push(Index { name, range, example });
        IndexId(self.indices.len() as u32 - 1)
    }

    /// Only points where this holds take part.
    pub fn filter(&mut self, condition: Condition) {
        self.filter.push(condition);
    }

    /// Where the value goes; the free indices themselves unless said.
    pub fn at(&mut self, subs: impl IntoIterator<Item = Affine>) {
        self.at = Some(subs.into_iter().collect());
    }

    /// The value where no point takes part.
    pub fn empty(&mut self, value: f64) {
        self.empty = Some(value);
    }

    pub fn reduce(self, monoid: Monoid, body: Expr) -> Piece {
        let at = self.at.unwrap_or_else(|| (0..self.free as u32).map(|i| IndexId(i).into()).collect());
        Piece { indices: self.indices, free: self.free, at, monoid, filter: self.filter, body, empty: self.empty }
    }

    /// The sum over the bound indices, or the plain value where nothing is bound.
    pub fn sum(self, body: Expr) -> Piece {
        self.reduce(Monoid::Sum, body)
    }
}

/// `hint`, or `hint1`, `hint2`... when another index already has that name.
pub fn fresh_index(taken: &[Index], hint: &str) -> Name {
    let free = |name: &str| taken.iter().all(|i| &*i.name != name);
    if free(hint) {
        return hint.into();
    }
    let mut number = 1u32;
    loop {
        let name = format!("{hint}{number}");
        if free(&name) {
            return name.into();
        }
        number += 1;
    }
}
