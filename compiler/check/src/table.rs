//! What `bdl check` shows of a model: its layers one after the other, with shapes, parameters and arithmetic as formulas.
//!
//! A row is one application of a layer in the model's own body, whatever is applied inside it. FLOP counts each addition,
//! multiplication, comparison and function of a number as one, for one example forward; what stands under `for` or a reduction counts
//! once for each value of the indices. It is an estimate of the work, before anything is shared or fused.

use crate::hir::visit::{children, each};
use crate::hir::{Expr, ExprKind, Function, FunctionId, Hir, IndexId, IndexKind, Store, Type};
use bdl_dims::Dim;
use std::collections::BTreeSet;

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
    flops(hir, function, &function.body)
}

fn flops(hir: &Hir, function: &Function, expr: &Expr) -> Dim {
    let inside = |expr: &Expr| -> Dim { children(expr).into_iter().map(|child| flops(hir, function, child)).sum() };
    match &expr.kind {
        ExprKind::For { indices, body } => times(function, indices) * flops(hir, function, body),
        ExprKind::Reduce { op: _, indices, filter, default: _, body } => {
            // One addition (or comparison) for each element, beside the body's own work.
            let filter = filter.as_ref().map_or_else(Dim::zero, |filter| flops(hir, function, filter));
            times(function, indices) * (flops(hir, function, body) + filter + elements(&body.ty))
        }
        ExprKind::Unary(_, _) | ExprKind::Binary(_, _, _) | ExprKind::If(_, _, _) => inside(expr) + elements(&expr.ty),
        ExprKind::Apply { function: id, args: _ } => {
            inside(expr) + hir.functions.get(id.0 as usize).map_or_else(Dim::zero, |callee| flops_of(hir, callee))
        }
        ExprKind::Scan(scan) => {
            let starts: Dim = scan.carried.iter().map(|(_, start)| flops(hir, function, start)).sum();
            let steps = scan.lets.iter().map(|binding| &binding.value).chain(&scan.next).chain(&scan.emit);
            let step: Dim = steps.map(|value| flops(hir, function, value)).sum();
            starts + scan.extent.clone() * step
        }
        ExprKind::Iterate(iterate) => iterate.at_most.clone() * inside(expr),
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
        | ExprKind::Block { .. }
        | ExprKind::Subscript { .. }
        | ExprKind::Record(_)
        | ExprKind::Field(_, _)
        | ExprKind::OfExample(_, _)
        | ExprKind::Builtin(_, _)
        | ExprKind::List(_) => inside(expr),
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
