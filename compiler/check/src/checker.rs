//! The state of a check: what has been said, what has been built, and the body under construction.
//!
//! Evaluation is a walk over the syntax tree by methods of [`Checker`], one file an idea. A function, layer, loss or initial value is
//! built in a [`Body`] of its own; bodies stack while applications nest, and a term of the HIR belongs to the body it was made in.

use crate::hir::{self, Hir, IndexId, LocalId, Name, Type};
use crate::item::Constants;
use crate::local::Carried;
use crate::nonempty::Need;
use crate::prove::Facts;
use crate::range::Read;
use crate::scope::{FileAt, Items};
use crate::value::{Value, error_expr, expr};
use crate::{Modules, Options, hir::DataFacts};
use bdl_dims::Dim;
use bdl_grammar::{Diagnostic, SourceMap, Span, ast};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

pub(crate) struct Checker<'a> {
    pub sources: &'a SourceMap,
    pub items: Items<'a>,
    pub facts: &'a [DataFacts],
    pub options: &'a Options,
    pub diagnostics: Vec<Diagnostic>,
    said: HashSet<(&'static str, Span)>,
    pub hir: Hir,
    /// Parameters and state of the program at hand.
    pub store: hir::Store,
    /// How often each instance has been applied in the function tree at hand, for the sites of draws.
    pub applied: HashMap<Name, usize>,
    /// What that count begins with: steps of one block draw differently.
    pub first_application: usize,
    pub bodies: Vec<Body<'a>>,
    /// Applications that are open, outermost first: `(call, what)`.
    pub calls: Vec<(Span, String)>,
    /// Names that the objective at hand mentions, of fields too: `net.size` makes a parameter that only the loss reads.
    pub mentioned: HashSet<&'a str>,
    /// Definitions with mistakes of their own: their applications give no further messages.
    pub poisoned: HashSet<(FileAt, String)>,
    pub constants: Constants<'a>,
    /// Metrics whose report was refused: what looks at them is not refused again.
    pub refused_metrics: HashSet<&'a str>,
    /// A definition is checked on its own: sizes are names, and hyper-parameters may be unknown.
    pub generic: bool,
    /// Sizes that are numbers where an entry's signature names them.
    pub given_sizes: Vec<(String, i64)>,
    /// Fields of text of the `train` block at hand: nothing computes with them.
    pub texts: Vec<Name>,
}

/// A function under construction.
pub(crate) struct Body<'a> {
    pub file: FileAt,
    pub kind: BodyKind,
    /// The instance whose parameters are declared here; a `fn` has its caller's.
    pub path: Option<Name>,
    pub locals: Vec<hir::Local>,
    /// How many blocks were open where a local or an index was made.
    pub(crate) local_depth: Vec<usize>,
    pub indices: Vec<IndexInfo>,
    pub scopes: Vec<HashMap<&'a str, Binding<'a>>>,
    /// `let`s of the open blocks.
    pub blocks: Vec<Vec<hir::Let>>,
    /// The axes that `..` stands for.
    pub pack: Option<Vec<hir::Axis>>,
    /// Names that stand nowhere plain are solved for (`2 * T`), once the plain ones are bound.
    pub solving: bool,
    /// The indices of `..` in the binders that are open, innermost last.
    pub pack_indices: Vec<Vec<IndexId>>,
    pub laws: Facts,
    /// Reads whose indices do not all have a range yet.
    pub reads: Vec<Read>,
    /// Sizes that must be at least 1, looked at when the ranges are known.
    pub needs: Vec<Need>,
    pub declared: Vec<Declared<'a>>,
    pub updates: Vec<(hir::StateId, hir::Expr)>,
    /// Layers applied so far, by kind, for `conv1d_2`.
    pub ordinals: HashMap<String, usize>,
    /// Which application of its instance this is, and how many draws it has made.
    pub application: usize,
    pub draws: u32,
    /// Layers given as hyper-parameters, by path, with the types that the signature gives them.
    pub promises: Vec<(Name, &'a ast::Type)>,
    /// What the open scans emit.
    pub emits: Vec<Option<hir::Expr>>,
    /// An optimizer's parameter: its name and type, and the value that `update` gives it.
    pub optimized: Option<(String, hir::TensorType)>,
    pub new_value: Option<hir::Expr>,
    /// `next x` of the scan or iterate that is open.
    pub steps: Vec<HashMap<&'a str, Option<LocalId>>>,
    /// Inputs beside the written ones.
    pub carried: Vec<Carried>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyKind {
    Fn,
    Layer,
    Optimizer,
    /// A loss, prediction or penalty: fields of the data are inputs.
    Objective,
    /// Initial values.
    Init,
}

/// What a name stands for inside a body.
#[derive(Clone, Debug)]
pub(crate) enum Binding<'a> {
    Value(Value<'a>),
    Index(IndexId),
    /// A parameter or state, by its position in `declared`.
    Declared(usize),
    /// `other` of `other in batch`.
    Other(IndexId),
}

/// `param w: f32[C] = zeros` before anything reads it.
#[derive(Clone, Debug)]
pub(crate) struct Declared<'a> {
    pub name: &'a ast::Name,
    pub declare: &'a ast::Declare,
    pub is_state: bool,
    /// Once something reads it.
    pub made: Option<hir::Expr>,
    pub updated: Option<Span>,
}

#[derive(Clone, Debug)]
pub(crate) struct IndexInfo {
    pub name: Name,
    pub span: Span,
    pub kind: hir::IndexKind,
    /// The axis it runs along, once known; names and origin included.
    pub range: Option<hir::Axis>,
    /// The range was written (`t < n`, `t in n`).
    pub written: bool,
    /// The read that gave the range, and the tensor it reads.
    pub fixed_by: Option<(Span, String)>,
    /// Said to have no range.
    pub failed: bool,
    pub depth: usize,
}

impl<'a> Body<'a> {
    pub fn new(file: FileAt, kind: BodyKind, path: Option<Name>) -> Body<'a> {
        Body {
            file,
            kind,
            path,
            locals: Vec::new(),
            local_depth: Vec::new(),
            indices: Vec::new(),
            scopes: vec![HashMap::new()],
            blocks: vec![Vec::new()],
            pack: None,
            solving: false,
            pack_indices: Vec::new(),
            laws: Facts::default(),
            reads: Vec::new(),
            needs: Vec::new(),
            declared: Vec::new(),
            updates: Vec::new(),
            ordinals: HashMap::new(),
            application: 0,
            draws: 0,
            promises: Vec::new(),
            emits: Vec::new(),
            optimized: None,
            new_value: None,
            steps: Vec::new(),
            carried: Vec::new(),
        }
    }

    pub fn bind(&mut self, name: &'a str, binding: Binding<'a>) {
        if let Some(scope) = self.scopes.last_mut() {
            scope.insert(name, binding);
        }
    }

    /// Binds for the whole of the function.
    pub fn bind_outermost(&mut self, name: &'a str, binding: Binding<'a>) {
        if let Some(scope) = self.scopes.first_mut() {
            scope.insert(name, binding);
        }
    }

    pub fn find(&self, name: &str) -> Option<&Binding<'a>> {
        self.scopes.iter().rev().find_map(|scope| scope.get(name))
    }

    pub fn new_local(&mut self, name: impl Into<Name>, ty: Type, span: Span) -> LocalId {
        self.locals.push(hir::Local { name: name.into(), ty, span });
        self.local_depth.push(self.blocks.len());
        LocalId((self.locals.len() - 1) as u32)
    }

    /// A local that belongs to the block at `depth` (1 is the outermost).
    pub fn new_local_at(&mut self, name: impl Into<Name>, ty: Type, span: Span, depth: usize) -> LocalId {
        let local = self.new_local(name, ty, span);
        self.local_depth[local.0 as usize] = depth;
        local
    }

    pub fn local(&self, id: LocalId, span: Span) -> hir::Expr {
        expr(hir::ExprKind::Local(id), self.locals[id.0 as usize].ty.clone(), span)
    }

    pub fn new_index(
        &mut self,
        name: &str,
        kind: hir::IndexKind,
        range: Option<hir::Axis>,
        written: bool,
        span: Span,
    ) -> IndexId {
        let depth = self.blocks.len() + 1;
        self.indices.push(IndexInfo {
            name: name.into(),
            span,
            kind,
            range,
            written,
            fixed_by: None,
            failed: false,
            depth,
        });
        IndexId((self.indices.len() - 1) as u32)
    }

    pub fn index(&self, id: IndexId) -> &IndexInfo {
        &self.indices[id.0 as usize]
    }

    /// The innermost block that the term depends on: its value may be computed there, once.
    pub fn depth_of(&self, of: &hir::Expr) -> usize {
        let mut depth = 1;
        hir::visit::each(of, &mut |part| {
            let own = match &part.kind {
                hir::ExprKind::Local(id) => self.local_depth[id.0 as usize],
                hir::ExprKind::Index(id) | hir::ExprKind::OfExample(id, _) => self.indices[id.0 as usize].depth,
                hir::ExprKind::Subscript { base: _, subs } => {
                    let indices = subs.iter().filter_map(|sub| match sub {
                        hir::Sub::Affine { terms, .. } => {
                            terms.iter().map(|(id, _)| self.indices[id.0 as usize].depth).max()
                        }
                        hir::Sub::Data { .. } | hir::Sub::Range { .. } | hir::Sub::All => None,
                    });
                    indices.max().unwrap_or(1)
                }
                hir::ExprKind::Number(_)
                | hir::ExprKind::Bool(_)
                | hir::ExprKind::Size(_)
                | hir::ExprKind::Param(_)
                | hir::ExprKind::State(_)
                | hir::ExprKind::NextState(_)
                | hir::ExprKind::Const(_)
                | hir::ExprKind::Ambient(_)
                | hir::ExprKind::Block { .. }
                | hir::ExprKind::For { .. }
                | hir::ExprKind::Reduce { .. }
                | hir::ExprKind::Unary(_, _)
                | hir::ExprKind::Binary(_, _, _)
                | hir::ExprKind::If(_, _, _)
                | hir::ExprKind::Record(_)
                | hir::ExprKind::Field(_, _)
                | hir::ExprKind::Apply { .. }
                | hir::ExprKind::Builtin(_, _)
                | hir::ExprKind::List(_)
                | hir::ExprKind::Scan(_)
                | hir::ExprKind::Iterate(_) => 1,
            };
            depth = depth.max(own);
        });
        depth.min(self.blocks.len())
    }
}

impl<'a> Checker<'a> {
    /// Begins a program with tables of its own.
    pub fn start_program(&mut self) {
        self.store = hir::Store::default();
        self.applied.clear();
        self.first_application = 0;
        self.bodies.clear();
        self.calls.clear();
        self.texts.clear();
    }

    pub fn body(&mut self) -> &mut Body<'a> {
        let at = self.bodies.len() - 1;
        &mut self.bodies[at]
    }

    pub fn here(&self) -> &Body<'a> {
        &self.bodies[self.bodies.len() - 1]
    }

    pub fn text(&self, span: Span) -> &'a str {
        self.sources.slice(span)
    }

    /// Says something, once; a mistake that shows inside the standard library also points at the user's application.
    pub fn say(&mut self, mut diagnostic: Diagnostic) {
        let Some(span) = diagnostic.span() else {
            self.diagnostics.push(diagnostic);
            return;
        };
        let at = match self.users_call(span).cloned() {
            Some((call, what)) => {
                diagnostic = diagnostic.secondary(call, format!("in this application of {what}"));
                call
            }
            None => span,
        };
        if self.said.insert((diagnostic.code, at)) {
            self.diagnostics.push(diagnostic);
        }
    }

    /// For a place in the standard library: the user's application that led there.
    fn users_call(&self, span: Span) -> Option<&(Span, String)> {
        if !self.items.is_stdlib(span.file) {
            return None;
        }
        self.calls.iter().rev().find(|(call, _)| !self.items.is_stdlib(call.file))
    }

    /// The place, or the user's application that led there.
    pub fn of_user(&self, span: Span) -> Span {
        self.users_call(span).map_or(span, |(call, _)| *call)
    }

    /// Has an error been said at all?
    pub fn errors(&self) -> usize {
        self.diagnostics.iter().filter(|d| d.is_error()).count()
    }

    pub fn fail(&mut self, diagnostic: Diagnostic) -> Value<'a> {
        self.say(diagnostic);
        Value::Error
    }

    pub fn fail_expr(&mut self, diagnostic: Diagnostic, span: Span) -> hir::Expr {
        self.say(diagnostic);
        error_expr(span)
    }

    /// Runs `inside` with a scope of its own.
    pub fn scoped<T>(&mut self, inside: impl FnOnce(&mut Self) -> T) -> T {
        self.body().scopes.push(HashMap::new());
        let result = inside(self);
        self.body().scopes.pop();
        result
    }

    /// Runs `inside` in a block of its own: `let`s that it makes come before its value.
    pub fn in_block(&mut self, inside: impl FnOnce(&mut Self) -> hir::Expr) -> hir::Expr {
        self.body().blocks.push(Vec::new());
        let value = self.scoped(inside);
        let lets = self.body().blocks.pop().unwrap_or_default();
        with_lets(lets, value)
    }

    /// The term as a local, computed once, in the outermost block that knows what it needs.
    pub fn hoist(&mut self, name: &str, value: hir::Expr) -> hir::Expr {
        let trivial = matches!(
            value.kind,
            hir::ExprKind::Local(_) | hir::ExprKind::Param(_) | hir::ExprKind::State(_) | hir::ExprKind::Number(_)
        );
        if trivial || value.is_error() {
            return value;
        }
        let body = self.body();
        let depth = body.depth_of(&value);
        let span = value.span;
        let local = body.new_local_at(name, value.ty.clone(), span, depth);
        body.blocks[depth - 1].push(hir::Let { local, value });
        body.local(local, span)
    }

    /// `let name = value` in the innermost block.
    pub fn let_local(&mut self, name: &str, value: hir::Expr, span: Span) -> LocalId {
        let body = self.body();
        let local = body.new_local(name, value.ty.clone(), span);
        if let Some(block) = body.blocks.last_mut() {
            block.push(hir::Let { local, value });
        }
        local
    }

    pub fn facts(&self) -> &Facts {
        &self.here().laws
    }

    pub fn proves_equal(&self, left: &Dim, right: &Dim) -> bool {
        self.facts().proves_equal(left, right)
    }

    /// The number of the next draw here: a hash of the instance, its application and the draw's ordinal.
    pub fn next_site(&mut self) -> u32 {
        let body = self.body();
        let ordinal = body.draws;
        body.draws += 1;
        let key = format!("{}#{}#{}", body.path.as_deref().unwrap_or(""), body.application, ordinal);
        fnv(&key)
    }
}

pub(crate) fn with_lets(lets: Vec<hir::Let>, value: hir::Expr) -> hir::Expr {
    if lets.is_empty() {
        return value;
    }
    let (ty, span) = (value.ty.clone(), value.span);
    expr(hir::ExprKind::Block { lets, value: Box::new(value) }, ty, span)
}

/// Fowler, Noll and Vo's hash, 32 bits, variant 1a: the same on every machine.
fn fnv(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// A reason for a size, in front of those known before.
pub(crate) fn because(span: Span, why: impl Into<String>) -> Option<Arc<hir::SizeOrigin>> {
    Some(Arc::new(hir::SizeOrigin { span, why: why.into(), before: None }))
}

/// Checks a whole program; see [`crate::check`].
pub(crate) fn check(
    sources: &SourceMap,
    files: &Modules,
    facts: &[DataFacts],
    options: &Options,
) -> (Hir, Vec<Diagnostic>) {
    let mut diagnostics = Vec::new();
    let items = Items::new(files, &mut diagnostics);
    let mut checker = Checker {
        sources,
        items,
        facts,
        options,
        diagnostics,
        said: HashSet::new(),
        hir: Hir::default(),
        store: hir::Store::default(),
        applied: HashMap::new(),
        first_application: 0,
        bodies: Vec::new(),
        calls: Vec::new(),
        mentioned: HashSet::new(),
        poisoned: HashSet::new(),
        constants: Constants::default(),
        refused_metrics: HashSet::new(),
        generic: false,
        given_sizes: Vec::new(),
        texts: Vec::new(),
    };
    checker.definitions();
    checker.trains();
    for request in &options.entries {
        checker.entry(request);
    }
    if let Some(asked) = &options.evaluation {
        checker.evaluation(asked);
    }
    checker.hir.sizes = size_kinds(&checker.hir);
    checker.hir.library = files.stdlib.iter().map(|std| std.file.span.file).collect();
    (checker.hir, checker.diagnostics)
}

/// What kind of size each name is: one number for all examples where a parameter's shape depends on it.
fn size_kinds(hir: &Hir) -> Vec<(Name, hir::SizeKind)> {
    let mut kinds: Vec<(Name, hir::SizeKind)> = Vec::new();
    let mut note = |name: Name, kind: hir::SizeKind| match kinds.iter_mut().find(|(known, _)| *known == name) {
        Some((_, known)) if kind == hir::SizeKind::Built => *known = kind,
        Some(_) => {}
        None => kinds.push((name, kind)),
    };
    fn names(ty: &Type, found: &mut Vec<Name>) {
        match ty {
            Type::Tensor(tensor) => {
                found.extend(tensor.shape.iter().flat_map(|axis| axis.size.names()));
                found.extend(tensor.scalar.below().iter().flat_map(Dim::names));
            }
            Type::Record(fields) => fields.iter().for_each(|(_, ty)| names(ty, found)),
            Type::Error => {}
        }
    }
    let stores = hir.trains.iter().map(|train| &train.store).chain(hir.entries.iter().map(|entry| &entry.store));
    for store in stores {
        let types = store
            .params
            .iter()
            .map(|p| &p.ty)
            .chain(store.states.iter().map(|s| &s.ty))
            .chain(store.consts.iter().map(|c| &c.ty));
        for ty in types {
            ty.shape.iter().flat_map(|axis| axis.size.names()).for_each(|name| note(name, hir::SizeKind::Built));
        }
    }
    let mut found = Vec::new();
    for function in &hir.functions {
        function.inputs.iter().for_each(|id| names(&function.locals[id.0 as usize].ty, &mut found));
    }
    hir.trains.iter().flat_map(|train| &train.inputs).for_each(|field| names(&field.ty, &mut found));
    found.retain(|name| hir.others.iter().all(|other| other.name != *name));
    found.into_iter().for_each(|name| note(name, hir::SizeKind::PerExample));
    kinds
}
