//! What `bdl check` shows of a model: its layers one after the other, with shapes, parameters and arithmetic as formulas.
//!
//! A row is one application of a layer in the model's own body, whatever is applied inside it. FLOP counts each addition,
//! multiplication, comparison and function of a number as one, for one example forward; what stands under `for` or a reduction counts
//! once for each value of the indices. A reduction, or a layer that is applied, is computed once for all values of an index that it does not mention: the
//! maximum of a row in `for i, j: x[i, j] - max[k] x[i, k]`. It is an estimate of the work, before anything else is shared or fused.

use crate::hir::visit::{children, each};
use crate::hir::{Expr, ExprKind, Function, FunctionId, Hir, IndexId, IndexKind, Let, LocalId, Store, Sub, Type};
use bdl_dims::Dim;
use std::collections::{BTreeSet, HashMap};

/// One line of the table.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// `Conv1d(32, kernel: 9)`.
    pub shown: String,
    /// `net.conv1d_1`.
    pub path: String,
    pub result: Type,
    /// Numbers in its parameters; those of an instance that stands twice are counted where it stands first.
    pub parameters: Dim,
    /// Operations of one example.
    pub flops: Dim,
    /// Numbers that a training step keeps of one example: its result.
    pub kept: Dim,
}

/// A model: inputs, rows, totals.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    pub inputs: Vec<(String, Type)>,
    pub rows: Vec<Row>,
    pub result: Type,
    pub parameters: Dim,
    pub flops: Dim,
    pub kept: Dim,
}

/// The table of a function: of a model's own, or of an entry.
///
/// ```text
/// dna                    f32[60, 4]
/// Conv1d(32, kernel: 9)  f32[52, 32]    1,184 parameters    123 k FLOP
/// ```
pub fn table(hir: &Hir, store: &Store, model: FunctionId) -> Option<Table> {
    let function = hir.functions.get(model.0 as usize)?;
    let inputs = function.inputs.iter().filter_map(|id| function.locals.get(id.0 as usize));
    let inputs = inputs.map(|local| (local.name.to_string(), local.ty.clone())).collect();
    let mut applied = Vec::new();
    layers_in_order(hir, &function.body, &mut applied);
    let mut counted = BTreeSet::new();
    let rows: Vec<Row> = applied
        .into_iter()
        .filter_map(|id| hir.functions.get(id.0 as usize))
        .map(|layer| Row {
            shown: layer.shown.clone(),
            path: layer.path.as_deref().unwrap_or_default().to_string(),
            result: layer.body.ty.clone(),
            parameters: parameters(hir, store, layer, &mut counted),
            flops: flops_of(hir, layer),
            kept: elements(&layer.body.ty),
        })
        .collect();
    let kept = rows.iter().map(|row| row.kept.clone()).sum();
    let all = parameters(hir, store, function, &mut BTreeSet::new());
    Some(Table {
        inputs,
        result: function.body.ty.clone(),
        parameters: all,
        flops: flops_of(hir, function),
        kept,
        rows,
    })
}

/// The model that a training program applies first: the function of its loss that has this path.
pub fn model_of(hir: &Hir, loss: FunctionId, path: &str) -> Option<FunctionId> {
    let mut waiting = vec![loss];
    let mut seen = BTreeSet::new();
    while let Some(id) = waiting.pop() {
        let function = hir.functions.get(id.0 as usize)?;
        if !seen.insert(id) {
            continue;
        }
        if function.path.as_deref() == Some(path) {
            return Some(id);
        }
        waiting.extend(called(function));
    }
    None
}

fn called(function: &Function) -> Vec<FunctionId> {
    let mut found = Vec::new();
    let values = std::iter::once(&function.body).chain(function.updates.iter().map(|(_, value)| value));
    for value in values {
        each(value, &mut |part| {
            if let ExprKind::Apply { function, .. } = &part.kind {
                found.push(*function);
            }
        });
    }
    found
}

/// Layers applied in a term, innermost argument first, as values flow. What a `fn` applies inside belongs here too.
fn layers_in_order(hir: &Hir, expr: &Expr, out: &mut Vec<FunctionId>) {
    for child in children(expr) {
        layers_in_order(hir, child, out);
    }
    let ExprKind::Apply { function: id, .. } = &expr.kind else { return };
    let Some(function) = hir.functions.get(id.0 as usize) else { return };
    if function.path.is_some() { out.push(*id) } else { layers_in_order(hir, &function.body, out) }
}

/// Numbers in the parameters that a function and everything it applies read, each parameter once.
fn parameters(hir: &Hir, store: &Store, function: &Function, counted: &mut BTreeSet<u32>) -> Dim {
    let mut total = Dim::zero();
    let mut waiting = vec![function];
    while let Some(function) = waiting.pop() {
        each(&function.body, &mut |part| {
            if let ExprKind::Param(id) = &part.kind
                && counted.insert(id.0)
                && let Some(param) = store.params.get(id.0 as usize)
            {
                total = total.clone() + param.ty.shape.iter().map(|axis| axis.size.clone()).product();
            }
        });
        waiting.extend(called(function).into_iter().filter_map(|id| hir.functions.get(id.0 as usize)));
    }
    total
}

fn elements(ty: &Type) -> Dim {
    match ty {
        Type::Tensor(tensor) => tensor.shape.iter().map(|axis| axis.size.clone()).product(),
        Type::Record(fields) => fields.iter().map(|(_, ty)| elements(ty)).sum(),
        Type::Error => Dim::zero(),
    }
}

fn flops_of(hir: &Hir, function: &Function) -> Dim {
    Counter { hir, function, of_local: HashMap::new() }.count(&function.body, &[])
}

struct Counter<'h> {
    hir: &'h Hir,
    function: &'h Function,
    /// The indices that the locals of blocks and loops depend on.
    of_local: HashMap<LocalId, BTreeSet<IndexId>>,
}

impl Counter<'_> {
    /// Operations of the expression for all values of the indices around it.
    fn count(&mut self, expr: &Expr, around: &[IndexId]) -> Dim {
        match &expr.kind {
            ExprKind::For { indices, body } => self.count(body, &[around, indices].concat()),
            ExprKind::Reduce { op: _, indices, filter, default: _, body } => {
                // One addition (or comparison) for each element, beside the body's own work.
                let all = [self.needed(expr, around).as_slice(), indices].concat();
                let filter = filter.as_ref().map_or_else(Dim::zero, |filter| self.count(filter, &all));
                self.count(body, &all) + filter + times(self.function, &all) * elements(&body.ty)
            }
            ExprKind::Unary(_, _) | ExprKind::Binary(_, _, _) | ExprKind::If(_, _, _) => {
                self.inside(expr, around) + times(self.function, around) * elements(&expr.ty)
            }
            ExprKind::Apply { function: id, args: _ } => {
                let callee = self.hir.functions.get(id.0 as usize);
                let own = callee.map_or_else(Dim::zero, |callee| flops_of(self.hir, callee));
                self.inside(expr, around) + times(self.function, &self.needed(expr, around)) * own
            }
            ExprKind::Scan(scan) => {
                let starts: Dim = scan.carried.iter().map(|(_, start)| self.count(start, around)).sum();
                self.carry(&scan.carried, around);
                let mut step = self.lets(&scan.lets, around);
                for value in scan.next.iter().chain(&scan.emit) {
                    step = step + self.count(value, around);
                }
                starts + scan.extent.clone() * step
            }
            ExprKind::Iterate(iterate) => {
                self.carry(&iterate.carried, around);
                iterate.at_most.clone() * self.inside(expr, around)
            }
            ExprKind::Block { lets, value } => self.lets(lets, around) + self.count(value, around),
            ExprKind::Number(_)
            | ExprKind::Bool(_)
            | ExprKind::Size(_)
            | ExprKind::Index(_)
            | ExprKind::Local(_)
            | ExprKind::Param(_)
            | ExprKind::State(_)
            | ExprKind::NextState(_)
            | ExprKind::Const(_)
            | ExprKind::Ambient(_)
            | ExprKind::Subscript { .. }
            | ExprKind::Record(_)
            | ExprKind::Field(_, _)
            | ExprKind::OfExample(_, _)
            | ExprKind::Builtin(_, _)
            | ExprKind::List(_) => self.inside(expr, around),
        }
    }

    fn inside(&mut self, expr: &Expr, around: &[IndexId]) -> Dim {
        children(expr).into_iter().map(|child| self.count(child, around)).sum()
    }

    fn lets(&mut self, lets: &[Let], around: &[IndexId]) -> Dim {
        let mut total = Dim::zero();
        for Let { local, value } in lets {
            total = total + self.count(value, around);
            let mentioned = self.mentioned(value);
            self.of_local.insert(*local, mentioned);
        }
        total
    }

    /// What a loop carries may depend on everything around it.
    fn carry(&mut self, carried: &[(LocalId, Expr)], around: &[IndexId]) {
        for (local, _) in carried {
            self.of_local.insert(*local, around.iter().copied().collect());
        }
    }

    /// The indices around an expression that it mentions, itself or by a local.
    fn needed(&self, expr: &Expr, around: &[IndexId]) -> Vec<IndexId> {
        let mentioned = self.mentioned(expr);
        around.iter().copied().filter(|index| mentioned.contains(index)).collect()
    }

    fn mentioned(&self, expr: &Expr) -> BTreeSet<IndexId> {
        let mut all = BTreeSet::new();
        each(expr, &mut |inner| match &inner.kind {
            ExprKind::Index(index) | ExprKind::OfExample(index, _) => drop(all.insert(*index)),
            ExprKind::Local(local) => all.extend(self.of_local.get(local).into_iter().flatten()),
            ExprKind::Subscript { base: _, subs } => {
                for sub in subs {
                    match sub {
                        Sub::Affine { terms, .. } => all.extend(terms.iter().map(|(index, _)| *index)),
                        Sub::Data { .. } | Sub::Range { .. } | Sub::All => {}
                    }
                }
            }
            ExprKind::Number(_)
            | ExprKind::Bool(_)
            | ExprKind::Size(_)
            | ExprKind::Param(_)
            | ExprKind::State(_)
            | ExprKind::NextState(_)
            | ExprKind::Const(_)
            | ExprKind::Ambient(_)
            | ExprKind::Block { .. }
            | ExprKind::For { .. }
            | ExprKind::Reduce { .. }
            | ExprKind::Unary(_, _)
            | ExprKind::Binary(_, _, _)
            | ExprKind::If(_, _, _)
            | ExprKind::Record(_)
            | ExprKind::Field(_, _)
            | ExprKind::Apply { .. }
            | ExprKind::Builtin(_, _)
            | ExprKind::List(_)
            | ExprKind::Scan(_)
            | ExprKind::Iterate(_) => {}
        });
        all
    }
}

/// How often the body of these indices runs for one example.
fn times(function: &Function, indices: &[IndexId]) -> Dim {
    let sizes = indices.iter().filter_map(|id| function.indices.get(id.0 as usize)).map(|index| match &index.kind {
        IndexKind::Range(size) | IndexKind::Step(size) => size.clone(),
        IndexKind::Batch | IndexKind::Other => Dim::one(),
    });
    sizes.product()
}
