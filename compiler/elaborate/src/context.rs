//! What elaboration carries along: the program being built, the index variables, and how an equation is made.
//!
//! An equation computes exactly over the variables that its body mentions. Under `for t`, `sum[k] x[t + k] * w[k]` becomes
//! `s[t] = sum[k] ...` and the expression goes on as `s[t]`; a sum that does not mention `t` becomes an equation without it, so what
//! does not depend on an index is never computed for each of its values.

use crate::value::{Pointwise, Value, mentioned, number};
use bdl_check::hir::{self, Hir, Store};
use bdl_dims::Dim;
use bdl_equations::interpret::scalar;
use bdl_equations::{
    Affine, BATCH, CompareOp, Condition, DType, Equation, Expr, Index, IndexId, Monoid, Name, Node, Origin, Piece,
    Program, Read, Role, SizeKind, Sub, TensorId,
};
use bdl_grammar::{Diagnostic, Span};
use rustc_hash::{FxHashMap as HashMap, FxHashSet as HashSet};
use std::collections::{BTreeMap, BTreeSet};

pub(crate) type Result<T> = std::result::Result<T, Box<Diagnostic>>;

/// An index variable: a placeholder axis, an index of `for`, or one that a reduction binds.
#[derive(Clone, Debug)]
pub(crate) struct Var {
    pub name: Name,
    pub range: Dim,
    /// The batch variable whose example the range belongs to; `None` is the example at hand.
    pub example: Option<IndexId>,
}

/// Elaborates the functions of one training program or entry into one equation program.
pub(crate) struct Elaborator<'h> {
    pub hir: &'h Hir,
    pub store: &'h Store,
    pub program: Program,
    /// The value of `training`.
    pub training: bool,
    /// Paths of instances in which it is false all the same.
    pub frozen: Vec<Name>,
    /// Do draws belong to the example at hand (everywhere but in initial values and optimisers)?
    pub draws_per_example: bool,
    pub vars: Vec<Var>,
    /// Tensors with one value an example, before batching.
    per_example: HashSet<TensorId>,
    /// Where the open applications stand, outermost first.
    pub calls: Vec<Span>,
    /// What the integers of a field are below.
    pub bounds: HashMap<TensorId, Dim>,
    params: BTreeMap<hir::ParamId, TensorId>,
    states: BTreeMap<hir::StateId, TensorId>,
    consts: BTreeMap<hir::ConstId, TensorId>,
    /// `update`s of the functions elaborated so far: the last one of a state counts.
    pub updates: BTreeMap<hir::StateId, Pointwise>,
    /// How many of the open loops are `iterate`s or have a length of the example's own: a reduction over the batch takes the examples that run.
    pub running: usize,
    /// The `for` indices that a draw here depends on.
    pub draws: Vec<IndexId>,
    /// The open indices over other examples, outermost first, by the names that sizes of theirs begin with.
    pub others: Vec<(Name, IndexId)>,
    /// The other example that is the one at hand just now.
    pub home: Option<IndexId>,
    /// The last fault was a tensor along the lengths of two examples.
    pub along_two: bool,
    /// What stands for a parameter while a number is elaborated that is differentiated by it for each value of an index.
    pub copies: Vec<(hir::ParamId, Pointwise)>,
    /// Sizes of the example as values, for others to read.
    pub lengths: HashMap<Dim, TensorId>,
    names: HashMap<Name, u32>,
    /// What was made before the open loops, outermost first.
    pub around: Vec<Vec<Node>>,
    /// Literals of constants: they stand before everything else, also before the loop that first read them.
    pub prologue: Vec<Node>,
}

/// An elaborator's program before an attempt that may have to be made again.
pub(crate) struct Saved {
    program: Program,
    params: BTreeMap<hir::ParamId, TensorId>,
    states: BTreeMap<hir::StateId, TensorId>,
    consts: BTreeMap<hir::ConstId, TensorId>,
    prologue: Vec<Node>,
    per_example: HashSet<TensorId>,
    lengths: HashMap<Dim, TensorId>,
}

/// The values of one function's locals and indices.
pub(crate) struct Scope<'h> {
    pub function: &'h hir::Function,
    /// Prefix of the names of what is computed here: the instance path, or that of the caller.
    pub prefix: Name,
    pub locals: Vec<Option<Value>>,
    /// Indices as affine forms: a variable, or the step number of a scan.
    pub indices: Vec<Option<Affine>>,
    /// Values of `next s`, and the states whose update is being elaborated.
    pub next: BTreeMap<hir::StateId, Pointwise>,
    pub pending: HashSet<hir::StateId>,
    /// Locals that `grad` differentiates by: they must be tensors of their own.
    pub roots: HashSet<hir::LocalId>,
    /// What a value here may differ by: the indices of the open `for`s and reductions, and those that the arguments mention.
    pub open: Vec<IndexId>,
}

/// What an equation is besides its body.
pub(crate) struct Reducing {
    pub monoid: Monoid,
    pub bound: Vec<IndexId>,
    pub filter: Vec<Condition>,
    pub empty: Option<f64>,
}

/// A part of a tensor that is written in several: its own free axes, the scalar there, and where it goes.
pub(crate) struct Part {
    pub axes: Vec<IndexId>,
    pub body: Expr,
    pub at: Vec<Affine>,
}

impl Reducing {
    /// Nothing bound, nothing filtered.
    pub fn none() -> Reducing {
        Reducing { monoid: Monoid::Sum, bound: Vec::new(), filter: Vec::new(), empty: None }
    }
}

impl<'h> Elaborator<'h> {
    pub fn new(name: &str, hir: &'h Hir, store: &'h Store, training: bool) -> Elaborator<'h> {
        Elaborator {
            hir,
            store,
            program: Program::new(name),
            training,
            frozen: Vec::new(),
            draws_per_example: true,
            vars: Vec::new(),
            per_example: HashSet::default(),
            calls: Vec::new(),
            bounds: HashMap::default(),
            params: BTreeMap::new(),
            states: BTreeMap::new(),
            consts: BTreeMap::new(),
            updates: BTreeMap::new(),
            running: 0,
            draws: Vec::new(),
            others: Vec::new(),
            home: None,
            along_two: false,
            copies: Vec::new(),
            lengths: HashMap::default(),
            names: HashMap::default(),
            around: Vec::new(),
            prologue: Vec::new(),
        }
    }

    /// What an attempt at a loop may change.
    pub fn save(&self) -> Saved {
        Saved {
            program: self.program.clone(),
            params: self.params.clone(),
            states: self.states.clone(),
            consts: self.consts.clone(),
            prologue: self.prologue.clone(),
            per_example: self.per_example.clone(),
            lengths: self.lengths.clone(),
        }
    }

    pub fn restore(&mut self, saved: Saved) {
        self.program = saved.program;
        self.params = saved.params;
        self.states = saved.states;
        self.consts = saved.consts;
        self.prologue = saved.prologue;
        self.per_example = saved.per_example;
        self.lengths = saved.lengths;
    }

    /// The program made so far.
    pub fn take(&mut self) -> Program {
        let mut program = std::mem::replace(&mut self.program, Program::new(""));
        let mut nodes = std::mem::take(&mut self.prologue);
        nodes.append(&mut program.nodes);
        program.nodes = nodes;
        program
    }

    /// Goes on in a program that a pass made of the one that was taken: parameters, state and constants are found by their names.
    pub fn resume(&mut self, program: Program) {
        let store = self.store;
        self.params.clear();
        self.states.clear();
        self.consts.clear();
        self.lengths.clear();
        for (place, param) in store.params.iter().enumerate() {
            if let Some(tensor) = program.find(&param.path) {
                self.params.insert(hir::ParamId(place as u32), tensor);
            }
        }
        for (place, state) in store.states.iter().enumerate() {
            if let Some(tensor) = program.find(&state.path) {
                self.states.insert(hir::StateId(place as u32), tensor);
            }
        }
        self.per_example = program.ids().filter(|id| program.is_per_example(*id)).collect();
        self.names = program.tensors.iter().map(|t| (t.name.clone(), 1)).collect();
        self.program = program;
    }

    // ------------------------------------------------------------------------------------------------ variables and sizes

    pub fn var(&mut self, name: &str, range: Dim) -> IndexId {
        self.vars.push(Var { name: name.into(), range, example: None });
        IndexId(self.vars.len() as u32 - 1)
    }

    /// A variable that runs over the examples of the batch.
    pub fn batch_var(&mut self, name: &str) -> IndexId {
        let range = self.program.size(BATCH, SizeKind::Batch);
        self.var(name, range)
    }

    pub fn range(&self, var: IndexId) -> &Dim {
        &self.vars[var.0 as usize].range
    }

    pub fn is_batch_var(&self, var: IndexId) -> bool {
        self.range(var).as_var().is_some_and(|name| &**name == BATCH)
    }

    pub fn var_name(&self, var: IndexId) -> Name {
        self.vars[var.0 as usize].name.clone()
    }

    /// Says whose size the range of a bound variable is.
    pub fn set_example(&mut self, var: IndexId, example: IndexId) {
        if self.is_per_example_size(self.range(var)) {
            self.vars[var.0 as usize].example = Some(example);
        }
    }

    pub fn example_of(&self, var: IndexId) -> Option<IndexId> {
        self.vars[var.0 as usize].example
    }

    /// One fresh placeholder an axis.
    pub fn axes(&mut self, shape: &[Dim]) -> Vec<IndexId> {
        const NAMES: [&str; 6] = ["i", "j", "k", "l", "m", "n"];
        shape.iter().enumerate().map(|(axis, size)| self.var(NAMES[axis % NAMES.len()], size.clone())).collect()
    }

    pub fn shape(&self, value: &Pointwise) -> Vec<Dim> {
        value.axes.iter().map(|a| self.range(*a).clone()).collect()
    }

    pub fn is_per_example_size(&self, size: &Dim) -> bool {
        size.mentions_any(&|name| self.kind_of_size(name) == SizeKind::PerExample)
    }

    fn kind_of_size(&self, name: &str) -> SizeKind {
        if let Some(kind) = self.program.size_kind(name) {
            return kind;
        }
        match self.hir.sizes.iter().find(|(n, _)| &**n == name) {
            Some((_, hir::SizeKind::PerExample)) => SizeKind::PerExample,
            Some((_, hir::SizeKind::Built)) | None => SizeKind::Built,
        }
    }

    /// Declares every name that a size mentions.
    pub fn declare_sizes(&mut self, size: &Dim) {
        for name in size.names() {
            let kind = self.kind_of_size(&name);
            self.program.size(name, kind);
        }
    }

    // ------------------------------------------------------------------------------------------------ tensors from outside

    /// The whole of a tensor as a value.
    pub fn whole(&mut self, tensor: TensorId) -> Pointwise {
        let (shape, dtype) = (self.program.get(tensor).shape.clone(), self.program.get(tensor).dtype);
        let axes = self.axes(&shape);
        let body = Expr::read(tensor, axes.iter().copied());
        Pointwise { axes, body, dtype, known: None, hint: None }
    }

    pub fn input(&mut self, name: &str, dtype: DType, shape: Vec<Dim>, role: Role) -> TensorId {
        shape.iter().for_each(|s| self.declare_sizes(s));
        let name = self.unique(name);
        let tensor = self.program.tensor(&name, dtype, shape, role);
        if matches!(role, Role::Input { per_example: true, .. }) {
            self.per_example.insert(tensor);
        }
        tensor
    }

    /// A scalar that the trainer supplies.
    pub fn ambient(&mut self, name: &str) -> Pointwise {
        let tensor = match self.program.find(name) {
            Some(tensor) => tensor,
            None => self.input(name, DType::Real, Vec::new(), Role::Input { per_example: false, one_hot: false }),
        };
        self.whole(tensor)
    }

    pub fn param(&mut self, id: hir::ParamId) -> TensorId {
        if let Some(tensor) = self.params.get(&id) {
            return *tensor;
        }
        let param = &self.store.params[id.0 as usize];
        let tensor = self.stored(&param.path, &param.ty, Role::Param);
        self.params.insert(id, tensor);
        tensor
    }

    pub fn state(&mut self, id: hir::StateId) -> TensorId {
        if let Some(tensor) = self.states.get(&id) {
            return *tensor;
        }
        let state = &self.store.states[id.0 as usize];
        let tensor = self.stored(&state.path, &state.ty, Role::State);
        self.states.insert(id, tensor);
        tensor
    }

    fn stored(&mut self, path: &str, ty: &hir::TensorType, role: Role) -> TensorId {
        let shape = shape_of(ty);
        shape.iter().for_each(|s| self.declare_sizes(s));
        let name = self.unique(path);
        self.program.tensor(&name, dtype_of(&ty.scalar), shape, role)
    }

    pub fn constant(&mut self, id: hir::ConstId) -> TensorId {
        if let Some(tensor) = self.consts.get(&id) {
            return *tensor;
        }
        let constant = &self.store.consts[id.0 as usize];
        let name = self.unique(&constant.path);
        let tensor = self.program.computed(&name, dtype_of(&constant.ty.scalar), shape_of(&constant.ty));
        let dtype = dtype_of(&constant.ty.scalar);
        let values = constant.values.iter().map(|value| scalar::stored(dtype, *value)).collect();
        let literal = bdl_equations::Literal { out: tensor, values, origin: Origin::default() };
        self.prologue.push(Node::Literal(literal));
        self.consts.insert(id, tensor);
        tensor
    }

    /// Parameters that something read, in the order of the store.
    pub fn params_used(&self) -> impl Iterator<Item = (hir::ParamId, TensorId)> + '_ {
        self.params.iter().map(|(id, tensor)| (*id, *tensor))
    }

    // ------------------------------------------------------------------------------------------------ equations

    /// `hint`, or `hint_2`, `hint_3`... when a tensor has that name.
    pub fn unique(&mut self, hint: &str) -> Name {
        let name: Name = hint.into();
        let count = self.names.entry(name.clone()).or_insert(0);
        *count += 1;
        if *count == 1 {
            return name;
        }
        let mut number = *count;
        loop {
            let next: Name = format!("{hint}_{number}").into();
            if !self.names.contains_key(&next) {
                self.names.insert(hint.into(), number);
                self.names.insert(next.clone(), 1);
                return next;
            }
            number += 1;
        }
    }

    /// Has the value one for every example?
    pub fn is_per_example(&self, tensor: TensorId) -> bool {
        self.per_example.contains(&tensor)
    }

    pub fn mark_per_example(&mut self, tensor: TensorId) {
        self.per_example.insert(tensor);
    }

    /// The variables of `exprs` that are in scope here, outermost first, without `except`. The examples whose sizes these (and `except`) run
    /// to are among them.
    pub fn context_of(&self, exprs: &[&Expr], except: &[IndexId]) -> Vec<IndexId> {
        let mut all: BTreeSet<IndexId> = exprs.iter().flat_map(|e| mentioned(e)).collect();
        let owners: Vec<IndexId> = all.iter().chain(except).filter_map(|var| self.foreign(*var)).collect();
        all.extend(owners);
        all.into_iter().filter(|i| !except.contains(i)).collect()
    }

    /// One piece over index variables, with indices of its own.
    pub fn piece(&self, free: &[IndexId], how: &Reducing, body: &Expr, at: Option<&[Affine]>) -> Piece {
        let order: Vec<IndexId> = free.iter().chain(&how.bound).copied().collect();
        let place = |var: IndexId| {
            let at = order.iter().position(|v| *v == var);
            debug_assert!(at.is_some(), "{var:?} `{}` is not bound here: {body:?}", self.var_name(var));
            IndexId(at.unwrap_or(0) as u32)
        };
        let by = |var: IndexId| Affine::from(place(var));
        let mut indices: Vec<Index> = Vec::new();
        for var in &order {
            let Var { name, range, example } = &self.vars[var.0 as usize];
            let name = bdl_equations::builder::fresh_index(&indices, name);
            let example = example.filter(|e| self.home != Some(*e)).map(place);
            indices.push(Index { name, range: range.clone(), example });
        }
        let at = match at {
            Some(forms) => forms.iter().map(|f| f.replace(&by)).collect(),
            None => (0..free.len() as u32).map(|i| IndexId(i).into()).collect(),
        };
        let filter = how.filter.iter().map(|c| c.clone().replace_indices(&by)).collect();
        let body = body.clone().replace_indices(&by);
        Piece { indices, free: free.len(), at, monoid: how.monoid, filter, body, empty: how.empty }
    }

    /// What is made from here on belongs to the body of a loop.
    pub fn open_loop(&mut self) {
        self.around.push(std::mem::take(&mut self.program.nodes));
    }

    /// The nodes of the body; what is made from here on stands behind the loop.
    pub fn close_loop(&mut self) -> Vec<Node> {
        std::mem::replace(&mut self.program.nodes, self.around.pop().unwrap_or_default())
    }

    /// Adds an equation over `free` (what the context names, then the axes of the value) and gives its tensor.
    pub fn equation(
        &mut self,
        hint: &str,
        dtype: DType,
        free: &[IndexId],
        how: &Reducing,
        body: &Expr,
        origin: Origin,
    ) -> Result<TensorId> {
        if let Some(var) = free.iter().find(|var| self.foreign(**var).is_some()) {
            let what = format!("a whole tensor along another example's own length (`{}`)", self.var_name(*var));
            return Err(not_built(span_of(&origin), &what));
        }
        let piece = self.piece(free, how, &typed(body, dtype), None);
        let shape: Vec<Dim> = free.iter().map(|v| self.range(*v).clone()).collect();
        let name = self.unique(hint);
        self.declare_piece_sizes(&piece);
        let out = self.program.computed(&name, dtype, shape.iter().cloned());
        self.note_dependence(out, &piece, &shape);
        self.program.nodes.push(Node::Equation(Equation { out, pieces: vec![piece], origin }));
        Ok(out)
    }

    /// An equation over the variables of the context and the axes, as the value that it computes.
    #[allow(clippy::too_many_arguments)] // those of `equation`, apart from each other
    pub fn computed(
        &mut self,
        hint: &str,
        dtype: DType,
        context: &[IndexId],
        axes: &[IndexId],
        how: &Reducing,
        body: &Expr,
        origin: Origin,
    ) -> Result<Pointwise> {
        let free: Vec<IndexId> = context.iter().chain(axes).copied().collect();
        if let Some(owner) = free.iter().find_map(|var| self.foreign(*var)) {
            return self.computed_for(owner, hint, dtype, context, axes, how, body, origin);
        }
        let tensor = self.equation(hint, dtype, &free, how, body, origin)?;
        Ok(self.read_back(tensor, context, axes, dtype))
    }

    /// A tensor over `axes` in disjoint parts; what the parts mention of the context comes first.
    pub fn pieces(
        &mut self,
        hint: &str,
        dtype: DType,
        axes: &[IndexId],
        parts: Vec<Part>,
        origin: Origin,
    ) -> Result<Pointwise> {
        let own: Vec<IndexId> = parts.iter().flat_map(|p| p.axes.iter().copied()).collect();
        let bodies: Vec<&Expr> = parts.iter().map(|p| &p.body).collect();
        let context = self.context_of(&bodies, &own);
        let along = |var: &&IndexId| self.foreign(**var).is_some();
        if let Some(var) = context.iter().chain(&own).chain(axes).find(along) {
            let name = self.var_name(*var);
            let what = format!(
                "a list or concatenation along another example's own length (`{name}`) and of the example at hand"
            );
            return Err(not_built(span_of(&origin), &what));
        }
        let shape: Vec<Dim> = context.iter().chain(axes).map(|v| self.range(*v).clone()).collect();
        let name = self.unique(hint);
        shape.iter().for_each(|s| self.declare_sizes(s));
        let out = self.program.computed(&name, dtype, shape.iter().cloned());
        let mut pieces = Vec::new();
        for part in parts {
            let free: Vec<IndexId> = context.iter().chain(&part.axes).copied().collect();
            let at: Vec<Affine> = context.iter().map(|v| Affine::from(*v)).chain(part.at).collect();
            let piece = self.piece(&free, &Reducing::none(), &typed(&part.body, dtype), Some(&at));
            self.declare_piece_sizes(&piece);
            self.note_dependence(out, &piece, &shape);
            pieces.push(piece);
        }
        self.program.nodes.push(Node::Equation(Equation { out, pieces, origin }));
        Ok(self.read_back(out, &context, axes, dtype))
    }

    fn declare_piece_sizes(&mut self, piece: &Piece) {
        let mut sizes: Vec<Dim> = piece.indices.iter().map(|i| i.range.clone()).collect();
        piece.visit_affine(&mut |form| sizes.push(form.offset.clone()));
        sizes.iter().for_each(|s| self.declare_sizes(s));
    }

    /// Remembers whether `out` has one value an example.
    pub fn note_dependence(&mut self, out: TensorId, piece: &Piece, shape: &[Dim]) {
        let over_batch = piece.indices.iter().any(|i| i.range.as_var().is_some_and(|n| &**n == BATCH));
        let mut depends = shape.iter().any(|s| self.is_per_example_size(s));
        depends |= piece.reads().iter().any(|r| r.example.is_none() && self.per_example.contains(&r.tensor));
        depends |= piece.indices.iter().any(|i| i.example.is_none() && self.is_per_example_size(&i.range));
        if !over_batch {
            // A size that no batch index owns is the example's own.
            piece.visit_affine(&mut |form| depends |= self.is_per_example_size(&form.offset));
        }
        if depends {
            self.per_example.insert(out);
        }
    }

    pub fn add(&mut self, node: Node) {
        self.program.nodes.push(node);
    }

    /// The value as a tensor of its own: axes are the variables of the context that it mentions, then its own.
    pub fn materialise(&mut self, value: &Pointwise, hint: &str, origin: Origin) -> Result<Pointwise> {
        let context = self.context_of(&[&value.body], &value.axes);
        let hint = value.hint.clone().unwrap_or_else(|| hint.into());
        self.computed(&hint, value.dtype, &context, &value.axes, &Reducing::none(), &value.body, origin)
    }

    /// As [`Elaborator::materialise`]; of an optional value two tensors, the second saying where it is known.
    pub fn kept(&mut self, value: &Pointwise, hint: &str, origin: Origin) -> Result<Pointwise> {
        let made = self.materialise(value, hint, origin.clone())?;
        let Some(known) = value.whether_known() else { return Ok(made) };
        let known = self.materialise(&known, &crate::names::known(hint), origin)?;
        Ok(Pointwise { known: Some(known.at_indices(&made.axes)), ..made })
    }

    /// A tensor over context variables and axes as a value with those axes (and fresh placeholders).
    pub fn read_back(&mut self, tensor: TensorId, context: &[IndexId], axes: &[IndexId], dtype: DType) -> Pointwise {
        let fresh: Vec<IndexId> = axes.iter().map(|a| self.var_like(*a)).collect();
        let subs: Vec<Sub> = context.iter().chain(&fresh).map(|v| Sub::from(*v)).collect();
        Pointwise { axes: fresh, body: Expr::Read(Read::new(tensor, subs)), dtype, known: None, hint: None }
    }

    /// A tensor that holds exactly this value, for nodes that take whole tensors: its leading axes are the given context variables.
    pub fn whole_tensor(&mut self, value: &Pointwise, hint: &str, origin: Origin) -> Result<(TensorId, Vec<IndexId>)> {
        let context = self.context_of(&[&value.body], &value.axes);
        if let Expr::Read(read) = &value.body {
            let plain = read.otherwise.is_none()
                && (value.dtype == DType::BF16) == (self.program.get(read.tensor).dtype == DType::BF16)
                && read.example.is_none()
                && read.subs.len() == context.len() + value.axes.len()
                && read
                    .subs
                    .iter()
                    .zip(context.iter().chain(&value.axes))
                    .zip(&self.program.get(read.tensor).shape)
                    .all(|((sub, var), size)| {
                        matches!(sub, Sub::Affine(f) if f.as_index() == Some(*var)) && self.range(*var) == size
                    });
            if plain {
                return Ok((read.tensor, context));
            }
        }
        let hint = value.hint.clone().unwrap_or_else(|| hint.into());
        let free: Vec<IndexId> = context.iter().chain(&value.axes).copied().collect();
        let tensor = self.equation(&hint, value.dtype, &free, &Reducing::none(), &value.body, origin)?;
        Ok((tensor, context))
    }

    /// A constant or computed size as a scalar.
    pub fn size(&self, size: Dim) -> Expr {
        number(Affine::from(size))
    }
}

// ------------------------------------------------------------------------------------------------ small translations

pub(crate) fn dtype_of(scalar: &hir::Scalar) -> DType {
    match scalar {
        hir::Scalar::F32 | hir::Scalar::Logit | hir::Scalar::Prob | hir::Scalar::Count => DType::Real,
        hir::Scalar::F64 => DType::F64,
        hir::Scalar::BF16 => DType::BF16,
        hir::Scalar::I32 | hir::Scalar::Category(_, _) | hir::Scalar::Index(_) | hir::Scalar::Letter(_, _) => {
            DType::I32
        }
        hir::Scalar::Bool => DType::Bool,
    }
}

/// Truth values that are constants (1 and 0 while elaborating) as comparisons, because a constant in an equation is a number.
fn typed(body: &Expr, dtype: DType) -> Expr {
    if dtype != DType::Bool {
        return body.clone();
    }
    match body {
        Expr::Const(value) => Expr::Const(*value).compare(CompareOp::Eq, Expr::Const(1.0)),
        Expr::Select(c, a, b) => c.as_ref().clone().select(typed(a, dtype), typed(b, dtype)),
        Expr::Number(_) | Expr::Read(_) | Expr::Unary(_, _) | Expr::Binary(_, _, _) | Expr::Compare(_, _, _) => {
            body.clone()
        }
    }
}

pub(crate) fn shape_of(ty: &hir::TensorType) -> Vec<Dim> {
    ty.shape.iter().map(|axis| axis.size.clone()).collect()
}

pub(crate) fn origin(span: Span, what: String) -> Origin {
    Origin { file: span.file.0, start: span.start, end: span.end, what: Some(what.into()) }
}

pub(crate) fn span_of(origin: &Origin) -> Span {
    Span::new(bdl_grammar::FileId(origin.file), origin.start, origin.end)
}

/// A construct that the language has and this version does not.
pub(crate) fn not_built(span: Span, what: &str) -> Box<Diagnostic> {
    Box::new(Diagnostic::error("not-built-yet", format!("{what} is not built yet")).primary(span, "used here"))
}

/// Something that the checker promised not to let through.
pub(crate) fn broken(span: Span, what: &str) -> Box<Diagnostic> {
    let text = format!("bdl is at fault: {what}");
    Box::new(Diagnostic::error("internal", text).primary(span, "while elaborating this"))
}
