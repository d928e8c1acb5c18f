//! Other examples of the batch: whose value is read, and whose size a range has.
//!
//! What is read of other examples only is computed once for every example, and read there:
//!
//! ```text
//! logsumexp[other in batch] (mean[s] other.h[s, f])        m[f] = mean[s < T] h[s, f];   .. m@other[f]
//! sum[other in batch, s] x[t] * other.x[s]                 y[t] = sum[other < B, s < T of other] x[t] * x@other[s]
//! ```
//!
//! While such an expression is elaborated, the other example is the *home*: it is elaborated as any expression of the example at hand
//! is, layers, loops and sorting included. Where both examples meet, a range keeps its owner ([`Var::example`](crate::context::Var)), and a
//! size of the other example as a number is a value that is read there.

use crate::context::{Elaborator, Reducing, Result, Scope, broken, not_built, origin, span_of};
use crate::value::{Pointwise, Value, mentioned, number};
use bdl_check::hir::{self, Builtin, ExprKind, IndexKind, Sub};
use bdl_dims::{Atom, Dim};
use bdl_equations::{Affine, Condition, DType, Expr, IndexId, Node, Origin, Read, SELF, SizeKind};
use bdl_grammar::{Diagnostic, Span};
use rustc_hash::FxHashSet as HashSet;

/// A size in the program's own names, and the batch variable whose example has it where that is not the home.
pub(crate) type Owned = (Dim, Option<IndexId>);

impl<'h> Elaborator<'h> {
    // ------------------------------------------------------------------------------------------------ sizes

    /// Whose size it is that a name of the HIR means: the name in the program, and the example.
    fn owner_of(&self, name: &str) -> (hir::Name, Option<IndexId>) {
        let Some(other) = self.hir.others.iter().find(|other| *other.name == *name) else { return (name.into(), None) };
        let (of, inner) = self.owner_of(&other.of);
        if !self.is_per_example_size(&Dim::var(of.clone())) {
            return (of, None);
        }
        // `other.x` of a value that is read of an example already is that one's.
        let open = self.others.iter().rev().find(|(name, _)| *name == other.example).map(|(_, var)| *var);
        (of, inner.or(open))
    }

    /// The size by the program's names. `None` where two examples' sizes meet in it.
    fn owned(&self, size: &Dim) -> Option<Owned> {
        if self.hir.others.is_empty() {
            return Some((size.clone(), None));
        }
        let mut owners: Vec<Option<IndexId>> = Vec::new();
        for name in size.names() {
            let (of, owner) = self.owner_of(&name);
            if self.is_per_example_size(&Dim::var(of)) {
                owners.push(owner.filter(|owner| self.home != Some(*owner)));
            }
        }
        owners.dedup();
        match owners.as_slice() {
            [] => Some((self.renamed(size), None)),
            [owner] => Some((self.renamed(size), *owner)),
            [_, _, ..] => None,
        }
    }

    fn renamed(&self, size: &Dim) -> Dim {
        size.substitute(&|name| {
            let (of, _) = self.owner_of(name);
            (*of != *name).then(|| Dim::var(of))
        })
    }

    /// The range that an index or an axis has.
    pub fn sized(&self, size: &Dim, span: Span) -> Result<Owned> {
        self.owned(size)
            .ok_or_else(|| not_built(span, &format!("an axis along the lengths of two examples (`{size}`)")))
    }

    /// A variable over a size of the HIR.
    pub fn sized_var(&mut self, name: &str, size: &Dim, span: Span) -> Result<IndexId> {
        let (range, owner) = self.sized(size, span)?;
        let var = self.var(name, range);
        self.own(var, owner);
        Ok(var)
    }

    fn own(&mut self, var: IndexId, owner: Option<IndexId>) {
        if let Some(owner) = owner {
            self.set_example(var, owner);
        }
    }

    /// A variable with the range of another one.
    pub fn var_like(&mut self, var: IndexId) -> IndexId {
        let (name, range, owner) = (self.var_name(var), self.range(var).clone(), self.example_of(var));
        let new = self.var(&name, range);
        self.own(new, owner);
        new
    }

    /// The example that the range of a variable belongs to, where it is not the home.
    pub fn foreign(&self, var: IndexId) -> Option<IndexId> {
        self.example_of(var).filter(|owner| self.home != Some(*owner))
    }

    /// Is the range of a variable a length of the example at hand?
    fn is_own(&self, var: IndexId) -> bool {
        self.example_of(var).is_none() && self.is_per_example_size(self.range(var))
    }

    /// Does the value run along an axis of another example?
    pub fn is_foreign(&self, value: &Pointwise) -> bool {
        let used = mentioned(&value.body).into_iter().chain(value.axes.iter().copied());
        used.into_iter().any(|var| self.foreign(var).is_some())
    }

    /// A size of the HIR as a number: an affine form, and what other examples' sizes add to it.
    pub fn number_of(&mut self, size: &Dim, span: Span) -> Result<Expr> {
        if let Some((size, owner)) = self.owned(size) {
            return self.number_at(size, owner);
        }
        let mut sum = Expr::Const(0.0);
        let terms: Vec<(Vec<Atom>, i64)> = size.terms().map(|(monomial, c)| (monomial.to_vec(), c)).collect();
        for (monomial, coefficient) in terms {
            let mut product = Expr::Const(coefficient as f64);
            for atom in monomial {
                let Some((atom, owner)) = self.owned(&Dim::atom(atom)) else {
                    return Err(not_built(span, &format!("a quotient of two examples' lengths (`{size}`)")));
                };
                product = product * self.number_at(atom, owner)?;
            }
            sum = sum + product;
        }
        Ok(sum)
    }

    /// The range of a variable as a number.
    pub fn number_of_range(&mut self, var: IndexId) -> Result<Expr> {
        self.number_at(self.range(var).clone(), self.foreign(var))
    }

    /// A size as a number, of the example that has it. One of another example is a value that is read there; so is one of the example at hand
    /// where another one is open, because a number beside a batch index is that example's (see [`bdl_equations::data`]).
    pub fn number_at(&mut self, size: Dim, owner: Option<IndexId>) -> Result<Expr> {
        let alone = self.others.is_empty() || self.home.is_some() || !self.is_per_example_size(&size);
        if owner.is_none() && alone {
            return Ok(number(Affine::from(size)));
        }
        self.length(size, owner)
    }

    /// A size of an example as a value that is read there.
    fn length(&mut self, size: Dim, owner: Option<IndexId>) -> Result<Expr> {
        let tensor = match self.lengths.get(&size) {
            Some(tensor) => *tensor,
            None => {
                // Before everything else: what stands in a loop is not there outside of it.
                let nodes = std::mem::take(&mut self.program.nodes);
                let body = number(Affine::from(size.clone()));
                let made = origin(Span::default(), format!("{size} as a number"));
                let made = self.equation("length", DType::I32, &[], &Reducing::none(), &body, made);
                let made_nodes: Vec<Node> = std::mem::replace(&mut self.program.nodes, nodes);
                self.prologue.extend(made_nodes);
                let tensor = made?;
                self.lengths.insert(size, tensor);
                tensor
            }
        };
        let mut read = Read::new(tensor, Vec::<bdl_equations::Sub>::new());
        read.example = owner;
        Ok(Expr::Read(read))
    }

    // ------------------------------------------------------------------------------------------------ where both examples meet

    /// A tensor along axes of another example and the example at hand, as a tensor of that one: it has one value for each example, and is
    /// read at the one at hand.
    ///
    /// ```text
    /// sum[o in batch] (max[s] (sum[c] q[c] * o.x[s, c]))       e[h < B, s < T] = sum[c] q@h[c] * x[s, c];   .. e@o[self, s]
    /// ```
    #[allow(clippy::too_many_arguments)] // those of `computed`
    pub fn computed_for(
        &mut self,
        owner: IndexId,
        hint: &str,
        dtype: DType,
        context: &[IndexId],
        axes: &[IndexId],
        how: &Reducing,
        body: &Expr,
        origin: Origin,
    ) -> Result<Pointwise> {
        let free: Vec<IndexId> = context.iter().chain(axes).copied().collect();
        if let Some(var) =
            free.iter().find(|var| self.is_own(**var) || self.foreign(**var).is_some_and(|other| other != owner))
        {
            let what = format!("a tensor along the lengths of two examples (`{}`)", self.var_name(*var));
            self.along_two = true;
            return Err(not_built(span_of(&origin), &what));
        }
        if self.hir.sizes.iter().any(|(name, _)| &**name == SELF) {
            return Err(not_built(span_of(&origin), "a size called `self` beside an axis of another example's length"));
        }
        let here = self.batch_var("here");
        let body = self.moved(body.clone(), owner, here)?;
        let mut filter = Vec::new();
        for condition in &how.filter {
            filter.push(match condition {
                Condition::NonNegative(form) => Condition::NonNegative(form.clone().size_as_index(SELF, here)),
                Condition::Equal(form, data) => {
                    let form = form.clone().size_as_index(SELF, here);
                    Condition::Equal(form, self.moved(data.clone(), owner, here)?)
                }
                Condition::Holds(holds) => Condition::Holds(self.moved(holds.clone(), owner, here)?),
            });
        }
        // What the example at hand binds by its own length belongs to `here` now.
        let bound: Vec<IndexId> = how.bound.iter().copied().filter(|var| self.is_own(*var)).collect();
        bound.iter().for_each(|var| self.set_example(*var, here));
        let outside = self.home.replace(owner);
        let kept: Vec<IndexId> = context.iter().copied().filter(|var| *var != owner).collect();
        let free: Vec<IndexId> =
            std::iter::once(here).chain(kept.iter().copied()).chain(axes.iter().copied()).collect();
        let how = Reducing { monoid: how.monoid, bound: how.bound.clone(), filter, empty: how.empty };
        let tensor = self.equation(hint, dtype, &free, &how, &body, origin);
        self.home = outside;
        bound.iter().for_each(|var| self.vars[var.0 as usize].example = None);
        let tensor = tensor?;
        self.mark_per_example(tensor);
        let fresh: Vec<IndexId> = axes.iter().map(|axis| self.var_like(*axis)).collect();
        let here = Affine::from(self.program.size(SELF, SizeKind::PerExample));
        let places = kept.iter().chain(&fresh).map(|var| Affine::from(*var));
        let read = Read { example: Some(owner), ..Read::new(tensor, std::iter::once(here).chain(places)) };
        Ok(Pointwise { axes: fresh, body: Expr::Read(read), dtype, known: None, hint: None })
    }

    /// The expression from the other example's side: what it reads of that one is at hand, what was at hand is that of `here`.
    fn moved(&mut self, expr: Expr, owner: IndexId, here: IndexId) -> Result<Expr> {
        let expr = expr.map_affine(&|form| form.clone().size_as_index(SELF, here));
        let mut fault = None;
        let expr = expr.map_reads(&mut |mut read| {
            read.example = match read.example {
                Some(example) if example == owner => None,
                None if self.is_per_example(read.tensor) => {
                    // Sizes in its subscripts stay those of the example that is read.
                    for sub in &mut read.subs {
                        let bdl_equations::Sub::Affine(form) = sub else { continue };
                        if !self.is_per_example_size(&form.offset) {
                            continue;
                        }
                        let rest = Affine { terms: form.terms.clone(), offset: Dim::zero() };
                        match self.length(form.offset.clone(), Some(here)) {
                            Ok(length) => *sub = bdl_equations::Sub::Data(Box::new(number(rest) + length)),
                            Err(error) => fault = Some(error),
                        }
                    }
                    Some(here)
                }
                same => same,
            };
            Expr::Read(read)
        });
        match fault {
            Some(error) => Err(error),
            None => Ok(expr),
        }
    }

    // ------------------------------------------------------------------------------------------------ values

    /// `other.x`: x as it is for the example that the index names.
    pub fn of_example(&mut self, scope: &mut Scope<'h>, index: hir::IndexId, inner: &'h hir::Expr) -> Result<Value> {
        let Some(batch) = self.index(scope, index, inner.span)?.as_index() else {
            return Err(broken(inner.span, "an example is named by something that is not an index"));
        };
        self.at_home(scope, batch, inner)
    }

    /// The expression, which mentions nothing of the example at hand, computed for every example and read at the one that `batch` names.
    pub fn at_home(&mut self, scope: &mut Scope<'h>, batch: IndexId, inner: &'h hir::Expr) -> Result<Value> {
        if self.home == Some(batch) {
            return self.expr(scope, inner);
        }
        let outside = self.home.replace(batch);
        let hint = format!("{}.other", scope.prefix);
        let value = self.expr(scope, inner).and_then(|value| self.computed_there(value, &hint, inner.span));
        self.home = outside;
        Ok(self.read_there(value?, batch))
    }

    /// The value as something that reads tensors only: a number may mention sizes, and they would be those of the reader.
    fn computed_there(&mut self, value: Value, hint: &str, span: Span) -> Result<Value> {
        match value {
            Value::Record(fields) => {
                let mut all = Vec::new();
                for (name, field) in fields {
                    all.push((name, self.computed_there(field, hint, span)?));
                }
                Ok(Value::Record(all))
            }
            Value::Tensor(tensor) => {
                let context = self.context_of(&[&tensor.body], &tensor.axes);
                if let Some(var) = context.iter().find(|var| self.is_own(**var)) {
                    return Err(self.names_own_place(*var, span));
                }
                let mut sized = false;
                tensor.body.visit_affine(&mut |form| sized |= self.is_per_example_size(&form.offset));
                let simple = !sized && matches!(&tensor.body, Expr::Read(_) | Expr::Const(_));
                let tensor = if simple {
                    tensor
                } else {
                    self.kept(&tensor, hint, origin(span, "a value of another example".into()))?
                };
                Ok(Value::Tensor(tensor))
            }
        }
    }

    /// What a bare `batch` moves to another example: neither has it axes of the example's own length, nor is it read at a place of this
    /// example, unless the read says what stands outside.
    pub fn moves(&self, value: &Pointwise, filter: &[Condition], bound: &[IndexId], span: Span) -> Result<()> {
        if let Some(axis) = value.axes.iter().find(|axis| self.is_own(**axis)) {
            let size = self.range(*axis);
            let diagnostic = Diagnostic::error(
                "dim-mismatch",
                format!("a reduction over examples gives one shape, but each of them has its own {size}"),
            );
            return Err(Box::new(
                diagnostic
                    .primary(span, format!("this has an axis of {size} elements"))
                    .help("name the axis beside the batch, `mean[batch, s] ..`, or reduce along it first"),
            ));
        }
        let data = filter.iter().filter_map(|condition| match condition {
            Condition::NonNegative(_) => None,
            Condition::Equal(_, data) | Condition::Holds(data) => Some(data),
        });
        for body in std::iter::once(&value.body).chain(data) {
            let unguarded = |read: &&Read| read.otherwise.is_none() && self.is_per_example(read.tensor);
            for read in body.reads().into_iter().filter(unguarded) {
                let at = mentioned(&Expr::Read(read.clone()));
                if let Some(var) = at.iter().find(|var| !bound.contains(var) && self.is_own(**var)) {
                    return Err(self.names_own_place(*var, span));
                }
            }
        }
        Ok(())
    }

    fn names_own_place(&self, var: IndexId, span: Span) -> Box<Diagnostic> {
        let (name, size) = (self.var_name(var), self.range(var));
        Box::new(
            Diagnostic::error("out-of-range", format!("another example may have no element `{name}`"))
                .primary(span, format!("this is a value at `{name}`, which runs to this example's {size}"))
                .help(
                    "each example has its own length: read the tensor of the other example, with an index of its own",
                ),
        )
    }

    fn read_there(&mut self, value: Value, batch: IndexId) -> Value {
        match value {
            Value::Record(fields) => {
                let fields = fields.into_iter().map(|(name, field)| (name, self.read_there(field, batch)));
                Value::Record(fields.collect())
            }
            Value::Tensor(tensor) => {
                let axes: Vec<IndexId> = tensor.axes.iter().map(|axis| self.var_like(*axis)).collect();
                axes.iter()
                    .filter(|axis| self.example_of(**axis).is_none())
                    .copied()
                    .collect::<Vec<_>>()
                    .into_iter()
                    .for_each(|axis| self.set_example(axis, batch));
                let subs: Vec<bdl_equations::Sub> = axes.iter().map(|axis| (*axis).into()).collect();
                let known = tensor.known_at(&subs).map(|known| self.of(known, batch));
                let body = self.of(tensor.at(&subs), batch);
                Value::Tensor(Pointwise { axes, body, known, ..tensor })
            }
        }
    }

    /// The expression with its per-example reads taken from the example that `batch` names.
    pub fn of(&self, expr: Expr, batch: IndexId) -> Expr {
        expr.map_reads(&mut |read| {
            let own = read.example.is_none() && self.is_per_example(read.tensor);
            Expr::Read(Read { example: if own { Some(batch) } else { read.example }, ..read })
        })
    }

    /// A value that was bound outside, as it is at home.
    pub fn seen_from_home(&self, value: Value) -> Value {
        let Some(home) = self.home else { return value };
        let back = |expr: Expr| {
            expr.map_reads(&mut |read| {
                Expr::Read(Read { example: read.example.filter(|example| *example != home), ..read })
            })
        };
        match value {
            Value::Record(fields) => {
                Value::Record(fields.into_iter().map(|(name, field)| (name, self.seen_from_home(field))).collect())
            }
            Value::Tensor(tensor) => {
                let (body, known) = (back(tensor.body), tensor.known.map(back));
                Value::Tensor(Pointwise { body, known, ..tensor })
            }
        }
    }

    // ------------------------------------------------------------------------------------------------ what belongs to one other example

    /// The batch variable of the one example that everything in the expression belongs to, if there is one.
    pub fn belongs_to(&self, scope: &Scope<'h>, expr: &'h hir::Expr) -> Option<IndexId> {
        if self.others.is_empty() || self.home.is_some() {
            return None;
        }
        let mut look = Belonging {
            elaborator: self,
            found: None,
            mixed: false,
            indices: HashSet::default(),
            locals: HashSet::default(),
        };
        look.expr(Some(scope), expr);
        look.found.filter(|_| !look.mixed)
    }
}

/// A walk that finds out whose the values of an expression are.
struct Belonging<'e, 'h> {
    elaborator: &'e Elaborator<'h>,
    found: Option<IndexId>,
    /// The example at hand takes part, or a second other one, or what cannot be said to belong to either.
    mixed: bool,
    indices: HashSet<hir::IndexId>,
    locals: HashSet<hir::LocalId>,
}

impl<'h> Belonging<'_, 'h> {
    fn note(&mut self, example: IndexId) {
        self.mixed |= self.found.is_some_and(|found| found != example);
        self.found = Some(example);
    }

    fn size(&mut self, size: &Dim) {
        for name in size.names() {
            let (of, owner) = self.elaborator.owner_of(&name);
            match owner {
                Some(owner) => self.note(owner),
                None => self.mixed |= self.elaborator.is_per_example_size(&Dim::var(of)),
            }
        }
    }

    fn var(&mut self, var: IndexId) {
        if self.elaborator.is_per_example_size(self.elaborator.range(var)) {
            match self.elaborator.example_of(var) {
                Some(owner) => self.note(owner),
                None => self.mixed = true,
            }
        }
        self.mixed |= self.elaborator.is_batch_var(var);
    }

    fn form(&mut self, form: &Affine, axes: &[IndexId]) {
        form.terms.iter().filter(|(var, _)| !axes.contains(var)).for_each(|(var, _)| self.var(*var));
        self.mixed |= self.elaborator.is_per_example_size(&form.offset);
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Record(fields) => fields.iter().for_each(|(_, field)| self.value(field)),
            Value::Tensor(tensor) => {
                for body in [Some(&tensor.body), tensor.known.as_ref()].into_iter().flatten() {
                    for read in body.reads() {
                        match read.example {
                            Some(example) => self.note(example),
                            None => self.mixed |= self.elaborator.is_per_example(read.tensor),
                        }
                    }
                    let mut forms = Vec::new();
                    body.visit_affine(&mut |form| forms.push(form.clone()));
                    forms.iter().for_each(|form| self.form(form, &tensor.axes));
                }
            }
        }
    }

    fn ty(&mut self, ty: &hir::Type) {
        match ty {
            hir::Type::Tensor(tensor) => tensor.shape.iter().for_each(|axis| self.size(&axis.size)),
            hir::Type::Record(fields) => fields.iter().for_each(|(_, ty)| self.ty(ty)),
            hir::Type::Error => {}
        }
    }

    fn bind(&mut self, function: &hir::Function, index: hir::IndexId) {
        self.indices.insert(index);
        match function.indices.get(index.0 as usize).map(|index| &index.kind) {
            Some(IndexKind::Range(size) | IndexKind::Step(size)) => self.size(size),
            // What an index over the batch reads need not be of the example that is home.
            Some(IndexKind::Batch | IndexKind::Other) | None => self.mixed = true,
        }
    }

    /// `scope` is that of the expression, `None` in the body of a function that it applies.
    fn expr(&mut self, scope: Option<&Scope<'h>>, expr: &'h hir::Expr) {
        if let Some(scope) = scope {
            self.expr_in(Some(scope), scope.function, expr);
        }
    }

    fn expr_in(&mut self, scope: Option<&Scope<'h>>, function: &'h hir::Function, expr: &'h hir::Expr) {
        if self.mixed {
            return;
        }
        match &expr.kind {
            ExprKind::OfExample(index, _) => {
                let named = scope.and_then(|scope| scope.indices.get(index.0 as usize).cloned().flatten());
                match named.and_then(|form| form.as_index()) {
                    Some(example) => self.note(example),
                    None => self.mixed = true,
                }
                return;
            }
            ExprKind::Local(local) if !self.locals.contains(local) => {
                if let Some(scope) = scope {
                    match scope.locals.get(local.0 as usize).and_then(Option::as_ref) {
                        Some(value) => self.value(value),
                        None => self.mixed = true,
                    }
                    return;
                }
            }
            ExprKind::Index(index) if !self.indices.contains(index) => self.index(scope, *index),
            ExprKind::Size(size) => self.size(size),
            ExprKind::Subscript { subs, .. } => subs.iter().for_each(|sub| match sub {
                Sub::Affine { terms, offset, .. } => {
                    terms.iter().for_each(|(index, _)| self.index(scope, *index));
                    self.size(offset);
                }
                Sub::Range { from, len } => [from, len].into_iter().for_each(|size| self.size(size)),
                Sub::Data { .. } | Sub::All => {}
            }),
            ExprKind::Reduce { indices, .. } | ExprKind::For { indices, .. } => {
                indices.iter().for_each(|index| self.bind(function, *index));
            }
            ExprKind::Block { lets, .. } => self.locals.extend(lets.iter().map(|l| l.local)),
            ExprKind::Scan(scan) => {
                self.locals.extend(scan.carried.iter().map(|(local, _)| *local));
                self.locals.extend(scan.lets.iter().map(|l| l.local));
                self.indices.insert(scan.index);
                self.size(&scan.extent);
            }
            ExprKind::Iterate(iterate) => {
                self.locals.extend(iterate.carried.iter().map(|(local, _)| *local));
                self.locals.extend(iterate.lets.iter().map(|l| l.local));
                self.size(&iterate.at_most);
            }
            ExprKind::Apply { function, args: _ } => self.function(*function),
            ExprKind::Builtin(builtin, _) => self.mixed |= !repeats(builtin),
            ExprKind::NextState(_) => self.mixed = true,
            ExprKind::Number(_)
            | ExprKind::Bool(_)
            | ExprKind::Index(_)
            | ExprKind::Local(_)
            | ExprKind::Param(_)
            | ExprKind::State(_)
            | ExprKind::Const(_)
            | ExprKind::Ambient(_)
            | ExprKind::Unary(_, _)
            | ExprKind::Binary(_, _, _)
            | ExprKind::If(_, _, _)
            | ExprKind::Record(_)
            | ExprKind::Field(_, _)
            | ExprKind::List(_) => {}
        }
        self.ty(&expr.ty);
        for child in hir::visit::children(expr) {
            self.expr_in(scope, function, child);
        }
    }

    fn index(&mut self, scope: Option<&Scope<'h>>, index: hir::IndexId) {
        if self.indices.contains(&index) {
            return;
        }
        let Some(scope) = scope else { return };
        match scope.indices.get(index.0 as usize).cloned().flatten() {
            Some(form) => self.form(&form, &[]),
            None => self.mixed = true,
        }
    }

    /// The body of a function, which reads its arguments and nothing else of an example.
    fn function(&mut self, id: hir::FunctionId) {
        let Some(function) = self.elaborator.hir.functions.get(id.0 as usize) else {
            self.mixed = true;
            return;
        };
        self.mixed |= !function.updates.is_empty();
        let outside = (std::mem::take(&mut self.indices), std::mem::take(&mut self.locals));
        self.expr_in(None, function, &function.body);
        (self.indices, self.locals) = outside;
    }
}

/// Is the value that of its arguments alone? (A draw is the example's at hand, and a gradient belongs where it is taken.)
fn repeats(builtin: &Builtin) -> bool {
    match builtin {
        Builtin::Normal { .. }
        | Builtin::Uniform { .. }
        | Builtin::Bernoulli { .. }
        | Builtin::Below { .. }
        | Builtin::Categorical { .. }
        | Builtin::Permutation { .. }
        | Builtin::Orthogonal { .. }
        | Builtin::Grad => false,
        Builtin::Concat(_)
        | Builtin::Stack(_)
        | Builtin::Reshape
        | Builtin::Transpose(_)
        | Builtin::Fill(_)
        | Builtin::Eye
        | Builtin::OneHot
        | Builtin::TopK(_)
        | Builtin::Sort
        | Builtin::Argsort
        | Builtin::Cumsum
        | Builtin::Freeze
        | Builtin::Known
        | Builtin::OrElse
        | Builtin::Missing => true,
    }
}
