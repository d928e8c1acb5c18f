//! Walking over pieces, nodes and programs: what a node writes and reads, where it came from, and rewriting its parts.

use crate::data::{
    Affine, Carried, Condition, Ends, Equation, Expr, IndexId, Monoid, Node, Origin, Piece, Read, TensorId,
};
use bdl_dims::Dim;

impl Piece {
    pub fn bound(&self) -> usize {
        self.indices.len() - self.free
    }

    pub fn range(&self, id: IndexId) -> &Dim {
        &self.indices[id.0 as usize].range
    }

    pub fn free_ids(&self) -> impl Iterator<Item = IndexId> + use<> {
        (0..self.free as u32).map(IndexId)
    }

    pub fn bound_ids(&self) -> impl Iterator<Item = IndexId> + use<> {
        (self.free as u32..self.indices.len() as u32).map(IndexId)
    }

    pub fn ids(&self) -> impl Iterator<Item = IndexId> + use<> {
        (0..self.indices.len() as u32).map(IndexId)
    }

    /// Is the output subscripted by the free indices themselves, in order?
    pub fn is_plain(&self) -> bool {
        self.at.len() == self.free && self.at.iter().zip(self.free_ids()).all(|(a, i)| a.as_index() == Some(i))
    }

    /// One value an output element: nothing bound, nothing filtered, plain subscripts.
    pub fn is_pointwise(&self) -> bool {
        self.bound() == 0 && self.filter.is_empty() && self.is_plain()
    }

    /// Calls `f` on the body and on the expressions of the filter.
    pub fn visit_exprs<'p>(&'p self, f: &mut dyn FnMut(&'p Expr)) {
        f(&self.body);
        for condition in &self.filter {
            match condition {
                Condition::NonNegative(_) => {}
                Condition::Equal(_, e) | Condition::Holds(e) => f(e),
            }
        }
    }

    /// Rewrites the body and the expressions of the filter.
    pub fn map_exprs(self, f: &mut dyn FnMut(Expr) -> Expr) -> Piece {
        let filter = self
            .filter
            .into_iter()
            .map(|condition| match condition {
                Condition::NonNegative(a) => Condition::NonNegative(a),
                Condition::Equal(a, e) => Condition::Equal(a, f(e)),
                Condition::Holds(e) => Condition::Holds(f(e)),
            })
            .collect();
        Piece { filter, body: f(self.body), ..self }
    }

    /// Every read of the body and the filter.
    pub fn reads(&self) -> Vec<&Read> {
        let mut reads = Vec::new();
        self.visit_exprs(&mut |e| {
            e.visit(&mut |e| {
                if let Expr::Read(read) = e {
                    reads.push(read);
                }
            });
        });
        reads
    }

    /// Calls `f` on every affine form: output subscripts, filter, body.
    pub fn visit_affine<'p>(&'p self, f: &mut dyn FnMut(&'p Affine)) {
        self.at.iter().for_each(&mut *f);
        for condition in &self.filter {
            match condition {
                Condition::NonNegative(a) | Condition::Equal(a, _) => f(a),
                Condition::Holds(_) => {}
            }
        }
        self.visit_exprs(&mut |e| e.visit_affine(f));
    }

    /// Does the index occur in the body or the filter?
    pub fn uses(&self, index: IndexId) -> bool {
        let mut found = self.filter.iter().any(|c| match c {
            Condition::NonNegative(a) | Condition::Equal(a, _) => a.mentions(index),
            Condition::Holds(_) => false,
        });
        self.visit_exprs(&mut |e| found |= e.mentions(index));
        found || self.indices.iter().any(|i| i.example == Some(index))
    }
}

impl Condition {
    pub fn map(self, form: &dyn Fn(&Affine) -> Affine, expr: &mut dyn FnMut(Expr) -> Expr) -> Condition {
        match self {
            Condition::NonNegative(a) => Condition::NonNegative(form(&a)),
            Condition::Equal(a, e) => Condition::Equal(form(&a), expr(e)),
            Condition::Holds(e) => Condition::Holds(expr(e)),
        }
    }

    /// This condition with every index replaced by an affine form.
    pub fn replace_indices(self, by: &dyn Fn(IndexId) -> Affine) -> Condition {
        self.map(&|a| a.replace(by), &mut |e| e.replace_indices(by))
    }

    pub fn mentions(&self, index: IndexId) -> bool {
        match self {
            Condition::NonNegative(a) => a.mentions(index),
            Condition::Equal(a, e) => a.mentions(index) || e.mentions(index),
            Condition::Holds(e) => e.mentions(index),
        }
    }
}

impl Monoid {
    /// The value of a reduction over no points.
    pub fn identity(self) -> f64 {
        match self {
            Monoid::Sum | Monoid::Any | Monoid::ArgMax(_) | Monoid::ArgMin(_) => 0.0,
            Monoid::Prod | Monoid::All => 1.0,
            Monoid::Max => f64::NEG_INFINITY,
            Monoid::Min => f64::INFINITY,
        }
    }
}

impl Equation {
    pub fn reads(&self) -> Vec<&Read> {
        self.pieces.iter().flat_map(Piece::reads).collect()
    }
}

impl Node {
    pub fn origin(&self) -> &Origin {
        match self {
            Node::Equation(n) => &n.origin,
            Node::Scan(n) => &n.origin,
            Node::Iterate(n) => &n.origin,
            Node::Draw(n) => &n.origin,
            Node::View(n) => &n.origin,
            Node::Sort(n) => &n.origin,
            Node::Literal(n) => &n.origin,
            Node::Library(n) => &n.origin,
        }
    }

    /// What the node defines for the nodes after it (of a loop: last values and stacks, not the tensors of its body).
    pub fn writes(&self) -> Vec<TensorId> {
        match self {
            Node::Equation(n) => vec![n.out],
            Node::Draw(n) => vec![n.out],
            Node::View(n) => vec![n.out],
            Node::Sort(n) => vec![n.out],
            Node::Literal(n) => vec![n.out],
            Node::Library(n) => vec![n.out],
            Node::Scan(n) => {
                let own = n.carried.iter().map(|c| c.last).chain(n.stacks.iter().map(|(_, out)| *out));
                own.chain(n.ends.and_then(Ends::writes)).collect()
            }
            Node::Iterate(n) => n.carried.iter().map(|c| c.last).collect(),
        }
    }

    /// The nodes inside a loop, in the order in which they run.
    pub fn inner(&self) -> impl Iterator<Item = &Node> {
        let (first, second): (&[Node], &[Node]) = match self {
            Node::Scan(n) => (&n.body, &[]),
            Node::Iterate(n) => (&n.condition, &n.body),
            Node::Equation(_) | Node::Draw(_) | Node::View(_) | Node::Sort(_) | Node::Literal(_) | Node::Library(_) => {
                (&[], &[])
            }
        };
        first.iter().chain(second)
    }

    fn carried(&self) -> &[Carried] {
        match self {
            Node::Scan(n) => &n.carried,
            Node::Iterate(n) => &n.carried,
            Node::Equation(_) | Node::Draw(_) | Node::View(_) | Node::Sort(_) | Node::Literal(_) | Node::Library(_) => {
                &[]
            }
        }
    }

    /// Every tensor the node defines, also inside a loop.
    pub fn writes_deep(&self) -> Vec<TensorId> {
        let mut all = self.writes();
        all.extend(self.carried().iter().map(|c| c.inside));
        all.extend(self.inner().flat_map(Node::writes_deep));
        all
    }

    /// Every tensor the node mentions as a value that is needed, also inside a loop, with repetition.
    pub fn reads_deep(&self) -> Vec<TensorId> {
        let mut all: Vec<TensorId> = match self {
            Node::Equation(n) => n.reads().iter().map(|r| r.tensor).collect(),
            Node::View(n) => vec![n.input],
            Node::Sort(n) => vec![n.input],
            Node::Library(n) => n.inputs.clone(),
            Node::Draw(_) | Node::Literal(_) => Vec::new(),
            Node::Scan(n) => n.stacks.iter().map(|(inside, _)| *inside).chain(n.ends.map(Ends::reads)).collect(),
            Node::Iterate(n) => vec![n.until],
        };
        all.extend(self.carried().iter().flat_map(|c| [c.start, c.next]));
        all.extend(self.inner().flat_map(Node::reads_deep));
        all
    }
}

impl Ends {
    /// What the loop defines for the nodes after it.
    pub fn writes(self) -> Option<TensorId> {
        match self {
            Ends::When { until: _, steps } => Some(steps),
            Ends::After(_) => None,
        }
    }

    /// What the loop takes: a value of its body, or one from outside.
    pub fn reads(self) -> TensorId {
        match self {
            Ends::When { until, steps: _ } => until,
            Ends::After(steps) => steps,
        }
    }

    /// With other names of what it takes.
    pub fn map_reads(self, now: &dyn Fn(TensorId) -> TensorId) -> Ends {
        match self {
            Ends::When { until, steps } => Ends::When { until: now(until), steps },
            Ends::After(steps) => Ends::After(now(steps)),
        }
    }

    /// With other names of what it defines.
    pub fn map_writes(self, now: &dyn Fn(TensorId) -> TensorId) -> Ends {
        match self {
            Ends::When { until, steps } => Ends::When { until, steps: now(steps) },
            Ends::After(steps) => Ends::After(steps),
        }
    }
}
