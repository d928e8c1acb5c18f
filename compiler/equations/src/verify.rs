//! The invariants of a program, and the check of each. The pipeline verifies after every pass.
//!
//! 1. *Names.* Size names are unique, tensor names are unique, every size in a shape, range or offset is declared; a step name is
//!    used only inside its loop.
//! 2. *Ids.* Every tensor id and index id exists; the terms of an affine form are sorted by index and have no zero coefficients.
//! 3. *Order.* Every computed tensor is written by exactly one node, before it is read; tensors of a loop's body are read only in it.
//! 4. *Shapes.* A read has one subscript an axis; output subscripts are as many as axes, name only free indices and are injective where
//!    that can be seen. Views, sorts, literals, carried values and stacks agree in
//!    shape with what they connect.
//! 5. *Types.* Boolean, integer and real expressions do not mix without `real(..)` and `int(..)`; filters are Boolean, data subscripts
//!    integer, and the body has the type of its tensor. A body of a bf16 tensor is rounded, and no node makes a bf16 of another real in silence.
//! 6. *Bounds.* No read without `else` leaves its tensor, and no output subscript leaves its own, as far as intervals decide; what they
//!    cannot decide is accepted (data subscripts are checked once a batch).
//! 7. *Pieces.* Pieces of one equation do not write the same element, as far as can be decided.
//! 8. *Batch.* The example of a range is a batch index of the piece. In a batched program reads name their example by subscript only.
//! 9. *Updates* go to parameters and state, once each, with a value of the same type and shape.
//!
//! Deliberately absent: anything a run with numbers finds better (the interpreter holds reads and writes to their promises).

use crate::bounds::{Domain, disjoint};
use crate::data::{
    Affine, Carried, Condition, DType, Ends, Equation, Expr, IndexId, Monoid, Name, Node, Piece, Program, Read, Role,
    Scan, SizeKind, Sub, TensorId,
};
use crate::text::print_node;
use crate::types::{self, Kind};
use bdl_dims::Dim;
use rustc_hash::FxHashSet as HashSet;
use std::fmt;

/// A broken invariant: a bug of whoever made the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyError {
    pub invariant: Invariant,
    pub what: String,
    /// The node in text form, when the fault lies in one.
    pub node: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Invariant {
    Names,
    Ids,
    Order,
    Shapes,
    Types,
    Bounds,
    Pieces,
    Batch,
    Updates,
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invariant {:?}: {}", self.invariant, self.what)?;
        match &self.node {
            Some(node) => write!(f, "\n  in: {node}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for VerifyError {}

/// Checks every invariant; gives the first that does not hold.
pub fn verify(program: &Program) -> Result<(), VerifyError> {
    let mut check = Check { program, written: HashSet::default(), steps: Vec::new(), known: Vec::new() };
    check.declarations().map_err(|(invariant, what)| VerifyError { invariant, what, node: None })?;
    check.nodes(&program.nodes)?;
    check.ends().map_err(|(invariant, what)| VerifyError { invariant, what, node: None })
}

/// Do tensors of these types hold the same numbers, so that one may stand for the other without a conversion?
fn alike(a: DType, b: DType) -> bool {
    types::of_dtype(a) == types::of_dtype(b) && (a == DType::BF16) == (b == DType::BF16)
}

type Checked = Result<(), (Invariant, String)>;

fn fault<T>(invariant: Invariant, what: impl Into<String>) -> Result<T, (Invariant, String)> {
    Err((invariant, what.into()))
}

struct Check<'p> {
    program: &'p Program,
    /// What may be read at this place.
    written: HashSet<TensorId>,
    steps: Vec<Name>,
    /// Sizes that are at least 0 here: `extent - 1 - step`.
    known: Vec<Dim>,
}

impl Check<'_> {
    fn declarations(&mut self) -> Checked {
        let mut names = HashSet::default();
        for size in &self.program.sizes {
            if !names.insert(&size.name) {
                return fault(Invariant::Names, format!("the size `{}` is declared twice", size.name));
            }
        }
        let mut names = HashSet::default();
        for (tensor, id) in self.program.tensors.iter().zip(self.program.ids()) {
            if !names.insert(&tensor.name) {
                return fault(Invariant::Names, format!("two tensors are called `{}`", tensor.name));
            }
            for name in tensor.shape.iter().flat_map(Dim::names) {
                if self.program.size_kind(&name).is_none() {
                    let what = format!("the shape of `{}` names the undeclared size `{name}`", tensor.name);
                    return fault(Invariant::Names, what);
                }
            }
            match tensor.role {
                Role::Computed => {}
                Role::Input { .. } | Role::Param | Role::State => {
                    self.written.insert(id);
                }
            }
        }
        Ok(())
    }

    fn ends(&self) -> Checked {
        for (name, id) in &self.program.outputs {
            self.readable(*id).map_err(|(i, what)| (i, format!("output `{name}`: {what}")))?;
        }
        let mut targets = HashSet::default();
        for (target, value) in &self.program.updates {
            self.exists(*target)?;
            self.readable(*value)?;
            let (t, v) = (self.program.get(*target), self.program.get(*value));
            match t.role {
                Role::Param | Role::State => {}
                Role::Input { .. } | Role::Computed => {
                    return fault(Invariant::Updates, format!("`{}` is neither parameter nor state", t.name));
                }
            }
            if !targets.insert(*target) {
                return fault(Invariant::Updates, format!("`{}` is updated twice", t.name));
            }
            if t.shape != v.shape || !alike(t.dtype, v.dtype) {
                return fault(
                    Invariant::Updates,
                    format!("`{}` and its new value `{}` differ in shape or type", t.name, v.name),
                );
            }
        }
        Ok(())
    }

    fn exists(&self, id: TensorId) -> Checked {
        if (id.0 as usize) < self.program.tensors.len() {
            return Ok(());
        }
        fault(Invariant::Ids, format!("there is no tensor number {}", id.0))
    }

    fn readable(&self, id: TensorId) -> Checked {
        self.exists(id)?;
        if self.written.contains(&id) {
            return Ok(());
        }
        fault(Invariant::Order, format!("`{}` is read before it is written", self.program.get(id).name))
    }

    fn write(&mut self, id: TensorId) -> Checked {
        self.exists(id)?;
        let tensor = self.program.get(id);
        match tensor.role {
            Role::Computed => {}
            Role::Input { .. } | Role::Param | Role::State => {
                return fault(Invariant::Order, format!("`{}` is not a computed tensor but is written", tensor.name));
            }
        }
        if !self.written.insert(id) {
            return fault(Invariant::Order, format!("`{}` is written twice", tensor.name));
        }
        Ok(())
    }

    fn nodes(&mut self, nodes: &[Node]) -> Result<(), VerifyError> {
        for node in nodes {
            let named = |(invariant, what)| VerifyError { invariant, what, node: Some(print_node(self.program, node)) };
            match node {
                Node::Scan(_) | Node::Iterate(_) => self.looping(node)?,
                Node::Equation(_)
                | Node::Draw(_)
                | Node::View(_)
                | Node::Sort(_)
                | Node::Literal(_)
                | Node::Library(_) => {
                    self.leaf(node).map_err(named)?;
                }
            }
        }
        Ok(())
    }

    fn leaf(&mut self, node: &Node) -> Checked {
        for id in node.reads_deep() {
            self.readable(id)?;
        }
        for id in node.writes() {
            self.exists(id)?;
        }
        let p = self.program;
        let elements = |id: TensorId| p.get(id).shape.iter().cloned().product::<Dim>();
        match node {
            Node::Equation(n) => self.equation(n)?,
            Node::Draw(n) => {
                let dtype = p.get(n.out).dtype;
                if !types::of_dtype(dtype).is_real() || dtype == DType::BF16 {
                    return fault(Invariant::Types, "a draw gives real numbers");
                }
            }
            Node::View(n) => {
                let (a, b) = (p.get(n.out), p.get(n.input));
                if !alike(a.dtype, b.dtype) {
                    return fault(Invariant::Types, "a view keeps the type");
                }
                // What floor divisions hide is left to the run.
                let gap = elements(n.out) - elements(n.input);
                if gap.as_const().is_some_and(|n| n != 0) || p.is_per_example(n.out) != p.is_per_example(n.input) {
                    return fault(Invariant::Shapes, "a view keeps the number of elements");
                }
            }
            Node::Sort(n) => {
                if p.get(n.out).shape != p.get(n.input).shape || p.get(n.out).dtype != DType::I32 {
                    return fault(Invariant::Shapes, "a sort gives an i32 tensor of the same shape");
                }
            }
            Node::Literal(n) => {
                if p.get(n.out).dtype == DType::BF16 && !n.values.iter().all(|value| types::has_bf16(*value)) {
                    return fault(Invariant::Types, "a number that no bf16 is");
                }
                if elements(n.out).as_const().is_some_and(|count| count != n.values.len() as i64) {
                    return fault(
                        Invariant::Shapes,
                        format!("{} numbers for {} elements", n.values.len(), elements(n.out)),
                    );
                }
            }
            Node::Library(n) => {
                if n.inputs.iter().any(|i| p.get(*i).shape != p.get(n.out).shape) || n.inputs.len() != 1 {
                    return fault(Invariant::Shapes, "`orthogonal` takes one tensor and keeps its shape");
                }
            }
            Node::Scan(_) | Node::Iterate(_) => {}
        }
        for id in node.writes() {
            self.write(id)?;
        }
        Ok(())
    }

    // ------------------------------------------------------------------------------------------------ loops

    fn looping(&mut self, node: &Node) -> Result<(), VerifyError> {
        let outside = self.written.clone();
        let named = |(invariant, what)| VerifyError { invariant, what, node: Some(print_node(self.program, node)) };
        let (step, carried, extent) = match node {
            Node::Scan(n) => (&n.step, &n.carried, &n.extent),
            Node::Iterate(n) => (&n.step, &n.carried, &n.at_most),
            Node::Equation(_) | Node::Draw(_) | Node::View(_) | Node::Sort(_) | Node::Literal(_) | Node::Library(_) => {
                return Ok(());
            }
        };
        if self.program.size_kind(step) != Some(SizeKind::Step) || self.steps.contains(step) {
            let what = format!("`{step}` must be a step name that no enclosing loop uses");
            return Err(named((Invariant::Names, what)));
        }
        self.sizes(extent).map_err(named)?;
        for c in carried {
            self.readable(c.start).map_err(named)?;
        }
        if let Node::Scan(Scan { ends: Some(Ends::After(steps)), .. }) = node {
            self.readable(*steps).and_then(|()| self.is_count(*steps)).map_err(named)?;
        }
        for c in carried {
            self.exists(c.inside).map_err(named)?;
            let named = |(invariant, what)| VerifyError { invariant, what, node: Some(print_node(self.program, node)) };
            let tensor = self.program.get(c.inside);
            if tensor.role != Role::Computed || !self.written.insert(c.inside) {
                return Err(named((Invariant::Order, format!("`{}` is written twice", tensor.name))));
            }
        }
        self.steps.push(step.clone());
        self.known.push(extent.clone() - Dim::one() - Dim::var(step.clone()));
        match node {
            Node::Scan(n) => self.nodes(&n.body)?,
            Node::Iterate(n) => {
                self.nodes(&n.condition)?;
                self.readable(n.until).map_err(|(invariant, what)| VerifyError { invariant, what, node: None })?;
                self.nodes(&n.body)?;
            }
            Node::Equation(_) | Node::Draw(_) | Node::View(_) | Node::Sort(_) | Node::Literal(_) | Node::Library(_) => {
            }
        }
        self.steps.pop();
        self.known.pop();
        let mut finish = || -> Checked {
            for c in carried {
                self.readable(c.next)?;
                self.carried(c)?;
            }
            if let Node::Scan(Scan { ends: Some(Ends::When { until, steps }), .. }) = node {
                self.readable(*until)?;
                self.is_count(*steps)?;
                let tensor = self.program.get(*until);
                let of_example = self.program.is_per_example(*until);
                if tensor.dtype != DType::Bool || tensor.shape.len() != usize::from(of_example) {
                    return fault(Invariant::Types, format!("`{}` is no truth value", tensor.name));
                }
            }
            if let Node::Scan(n) = node {
                for (inside, outside) in &n.stacks {
                    self.readable(*inside)?;
                    self.exists(*outside)?;
                    self.stack(*inside, *outside, extent)?;
                }
            }
            // What the body defined is out of reach, and stays taken.
            self.written = outside.clone();
            for id in node.writes() {
                self.write(id)?;
            }
            Ok(())
        };
        let finished = finish();
        finished.map_err(|(invariant, what)| VerifyError {
            invariant,
            what,
            node: Some(print_node(self.program, node)),
        })
    }

    fn carried(&self, c: &Carried) -> Checked {
        let inside = self.program.get(c.inside);
        for id in [c.start, c.next, c.last] {
            self.exists(id)?;
            let other = self.program.get(id);
            if other.shape != inside.shape || !alike(other.dtype, inside.dtype) {
                let what =
                    format!("`{}` and `{}` of one carried value differ in shape or type", other.name, inside.name);
                return fault(Invariant::Shapes, what);
            }
        }
        Ok(())
    }

    /// A number of steps.
    fn is_count(&self, id: TensorId) -> Checked {
        self.exists(id)?;
        let tensor = self.program.get(id);
        if tensor.dtype == DType::I32 && tensor.shape.is_empty() {
            return Ok(());
        }
        fault(Invariant::Types, format!("`{}` is no number of steps", tensor.name))
    }

    fn stack(&self, inside: TensorId, outside: TensorId, extent: &Dim) -> Checked {
        let (row, all) = (self.program.get(inside), self.program.get(outside));
        let mut shape = row.shape.clone();
        shape.insert(usize::from(self.program.is_per_example(inside)), extent.clone());
        if !alike(row.dtype, all.dtype) {
            return fault(Invariant::Types, format!("`{}` and its stack `{}` differ in type", row.name, all.name));
        }
        if shape != all.shape {
            let what = format!("the stack `{}` of `{}` must have the steps as its first own axis", all.name, row.name);
            return fault(Invariant::Shapes, what);
        }
        Ok(())
    }

    // ------------------------------------------------------------------------------------------------ equations

    fn equation(&self, equation: &Equation) -> Checked {
        for piece in &equation.pieces {
            self.piece(equation.out, piece)?;
        }
        for (n, a) in equation.pieces.iter().enumerate() {
            for b in &equation.pieces[..n] {
                let same_place = a.at == b.at && a.indices[..a.free] == b.indices[..b.free];
                if same_place && !disjoint(self.program, a, b, &self.known) {
                    return fault(Invariant::Pieces, "two pieces write the same elements");
                }
            }
        }
        Ok(())
    }

    fn piece(&self, out: TensorId, piece: &Piece) -> Checked {
        let p = self.program;
        let mut names = HashSet::default();
        if piece.free > piece.indices.len() {
            return fault(Invariant::Ids, "more free indices than indices");
        }
        for index in &piece.indices {
            if !names.insert(&index.name) {
                return fault(Invariant::Names, format!("two indices are called `{}`", index.name));
            }
            self.sizes(&index.range)?;
            if let Some(example) = index.example {
                let batch = piece.indices.get(example.0 as usize).is_some_and(|e| p.is_batch(&e.range));
                if !batch {
                    return fault(
                        Invariant::Batch,
                        format!("the range of `{}` belongs to what is not a batch index", index.name),
                    );
                }
            }
        }
        let mut forms = Vec::new();
        piece.visit_affine(&mut |form| forms.push(form));
        for form in forms {
            self.form(piece, form)?;
        }
        match piece.monoid {
            Monoid::ArgMax(n) | Monoid::ArgMin(n) if n as usize >= piece.bound().max(1) => {
                return fault(Invariant::Ids, format!("there is no bound index number {n}"));
            }
            Monoid::ArgMax(_) | Monoid::ArgMin(_) => {}
            Monoid::Sum | Monoid::Prod | Monoid::Max | Monoid::Min | Monoid::Any | Monoid::All => {}
        }
        for read in piece.reads() {
            self.read(piece, read)?;
        }
        self.types(out, piece)?;
        self.output(out, piece)?;
        self.bounds(piece)
    }

    fn sizes(&self, dim: &Dim) -> Checked {
        for name in dim.names() {
            match self.program.size_kind(&name) {
                None => return fault(Invariant::Names, format!("the size `{name}` is not declared")),
                Some(SizeKind::Step) if !self.steps.contains(&name) => {
                    return fault(Invariant::Names, format!("the step `{name}` is used outside its loop"));
                }
                Some(SizeKind::Built | SizeKind::Batch | SizeKind::PerExample | SizeKind::Step) => {}
            }
        }
        Ok(())
    }

    fn form(&self, piece: &Piece, form: &Affine) -> Checked {
        self.sizes(&form.offset)?;
        if form.terms.iter().any(|(i, c)| i.0 as usize >= piece.indices.len() || *c == 0) {
            return fault(Invariant::Ids, "an affine form names an index that is not there, or has a zero coefficient");
        }
        if !form.terms.is_sorted_by(|a, b| a.0 < b.0) {
            return fault(Invariant::Ids, "the terms of an affine form are not sorted");
        }
        Ok(())
    }

    fn read(&self, piece: &Piece, read: &Read) -> Checked {
        let tensor = self.program.get(read.tensor);
        if read.subs.len() != tensor.shape.len() {
            let what = format!("`{}` has {} axes but {} subscripts", tensor.name, tensor.shape.len(), read.subs.len());
            return fault(Invariant::Shapes, what);
        }
        if let Some(example) = read.example {
            let batch = piece.indices.get(example.0 as usize).is_some_and(|e| self.program.is_batch(&e.range));
            if !batch || self.program.is_per_example(read.tensor) {
                return fault(
                    Invariant::Batch,
                    format!("the read of `{}` names an example in a way it may not", tensor.name),
                );
            }
        }
        Ok(())
    }

    fn types(&self, out: TensorId, piece: &Piece) -> Checked {
        let p = self.program;
        let wrong = |what: String| fault(Invariant::Types, what);
        let kind = |e: &Expr| types::of_expr(p, e).map_err(|what| (Invariant::Types, what));
        for condition in &piece.filter {
            match condition {
                Condition::NonNegative(_) => {}
                Condition::Equal(_, data) => {
                    if !matches!(kind(data)?, Kind::Integer | Kind::Whole) {
                        return wrong("a filter compares an index with what is not an integer".into());
                    }
                }
                Condition::Holds(e) => {
                    if kind(e)? != Kind::Truth {
                        return wrong("a filter is not Boolean".into());
                    }
                }
            }
        }
        let body = kind(&piece.body)?;
        let value = match piece.monoid {
            Monoid::ArgMax(_) | Monoid::ArgMin(_) => Kind::Integer,
            Monoid::Any | Monoid::All if piece.bound() > 0 && body != Kind::Truth => {
                return wrong("`any` and `all` are of Booleans".into());
            }
            Monoid::Sum | Monoid::Prod | Monoid::Max | Monoid::Min | Monoid::Any | Monoid::All => body,
        };
        let tensor = p.get(out);
        if !value.fits(types::of_dtype(tensor.dtype)) {
            return wrong(format!(
                "`{}` is {:?} but its body is {value:?}",
                tensor.name,
                types::of_dtype(tensor.dtype)
            ));
        }
        let is_rounded = match piece.monoid {
            Monoid::Sum | Monoid::Prod if piece.bound() > 0 => false,
            Monoid::Sum | Monoid::Prod | Monoid::Max | Monoid::Min => types::is_bf16(p, &piece.body),
            Monoid::Any | Monoid::All | Monoid::ArgMax(_) | Monoid::ArgMin(_) => false,
        };
        if tensor.dtype == DType::BF16 && !(is_rounded && piece.empty.is_none_or(types::has_bf16)) {
            return wrong(format!("`{}` is bf16 but its body is not rounded (write `bf16(..)`)", tensor.name));
        }
        Ok(())
    }

    fn output(&self, out: TensorId, piece: &Piece) -> Checked {
        let tensor = self.program.get(out);
        if piece.at.len() != tensor.shape.len() {
            let what = format!("`{}` has {} axes but {} subscripts", tensor.name, tensor.shape.len(), piece.at.len());
            return fault(Invariant::Shapes, what);
        }
        let domain = Domain::of(self.program, piece, &self.known).unfiltered();
        for (form, dim) in piece.at.iter().zip(&tensor.shape) {
            if form.terms.iter().any(|(i, _)| i.0 as usize >= piece.free) {
                return fault(Invariant::Shapes, "an output subscript names a bound index");
            }
            let above = Affine::from(dim.clone()) - Affine::from(1) - form.clone();
            if domain.somewhere_negative(form) || domain.somewhere_negative(&above) {
                return fault(Invariant::Bounds, format!("an output subscript leaves `{}`", tensor.name));
            }
        }
        // A free index that no subscript names would write the same element again and again.
        for index in piece.free_ids() {
            let named = piece.at.iter().any(|a| a.mentions(index));
            if !named && piece.range(index).as_const().is_none_or(|n| n > 1) {
                return fault(
                    Invariant::Shapes,
                    format!("no output subscript names `{}`", self.index_name(piece, index)),
                );
            }
        }
        Ok(())
    }

    fn index_name(&self, piece: &Piece, index: IndexId) -> Name {
        piece.indices[index.0 as usize].name.clone()
    }

    fn bounds(&self, piece: &Piece) -> Checked {
        let domain = Domain::of(self.program, piece, &self.known);
        // A filter may keep every point at which a read would leave from taking part.
        if !piece.filter.is_empty() {
            return Ok(());
        }
        let mut reads = Vec::new();
        unconditional(&piece.body, &mut reads);
        for read in reads {
            if read.otherwise.is_some() {
                continue;
            }
            let shape = domain.shape(self.program, read);
            for (sub, dim) in read.subs.iter().zip(&shape) {
                let Sub::Affine(form) = sub else { continue };
                let above = Affine::from(dim.clone()) - Affine::from(1) - form.clone();
                if domain.somewhere_negative(form) || domain.somewhere_negative(&above) {
                    let name = &self.program.get(read.tensor).name;
                    return fault(Invariant::Bounds, format!("a read of `{name}` without `else` leaves it"));
                }
            }
        }
        Ok(())
    }
}

/// The reads that happen at every point: not those in a branch of an `if`.
fn unconditional<'e>(e: &'e Expr, reads: &mut Vec<&'e Read>) {
    match e {
        Expr::Const(_) | Expr::Number(_) => {}
        Expr::Read(read) => {
            reads.push(read);
            for sub in &read.subs {
                match sub {
                    Sub::Affine(_) => {}
                    Sub::Data(data) => unconditional(data, reads),
                }
            }
        }
        Expr::Unary(_, a) => unconditional(a, reads),
        Expr::Binary(_, a, b) | Expr::Compare(_, a, b) => {
            unconditional(a, reads);
            unconditional(b, reads);
        }
        Expr::Select(c, _, _) => unconditional(c, reads),
    }
}
