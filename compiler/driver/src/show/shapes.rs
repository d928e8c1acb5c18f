//! The table of `bdl check`: layers with their shapes, parameters, arithmetic and memory, as numbers or as formulas in named sizes.
//!
//! Arithmetic is counted on the equations: an equation costs its points times the operations of its body, one more where it reduces.
//! What an example keeps is what its tensors take until the gradient has used them; the last line is the arena that the plan needs.

use super::number;
use crate::error::Failure;
use crate::pipeline;
use bdl_check::hir::visit;
use bdl_check::hir::{ExprKind, Function, FunctionId, Hir, Train};
use bdl_check::show_type;
use bdl_dims::Dim;
use bdl_elaborate::Programs;
use bdl_equations::{BATCH, Expr, Node, Piece, Program};
use bdl_plan::{Place, Plan, SizeKind};
use bdl_schedule::Real;
use serde_json::{Value, json};

/// One line of the table.
struct Row {
    what: String,
    ty: String,
    /// Where its parameters and equations are named; empty for an input.
    path: String,
}

/// The tables of a `train` block: one a model.
pub fn table(hir: &Hir, train: &Train, programs: &Programs, real: Real) -> Result<String, Failure> {
    let step = programs.step.as_ref().unwrap_or(&programs.eval);
    let plan = pipeline::plan(step, real)?;
    let width = match real {
        Real::F32 => 4,
        Real::F64 => 8,
    };
    let mut out = String::new();
    for (name, shown) in &train.models {
        let roots = std::iter::once(train.loss).chain(train.predictions.iter().map(|prediction| prediction.function));
        let Some(model) = roots.into_iter().find_map(|root| find(hir, root, name)) else { continue };
        let hyper: Vec<String> = train
            .hyper
            .iter()
            .filter_map(|(key, value)| Some(format!("{} = {value}", key.strip_prefix(&format!("{name}."))?)))
            .collect();
        let heading = if hyper.is_empty() { shown.clone() } else { format!("{}({})", model.name, hyper.join(", ")) };
        out.push_str(&lines(&heading, name, model, hir, train, programs, &plan, width));
    }
    out.push_str(&memory(&plan, width));
    Ok(out)
}

/// Parameters, arithmetic and memory of a `train` block as one JSON object; sizes that are not numbers are formulas.
pub fn json(train: &Train, programs: &Programs, real: Real) -> Result<Value, Failure> {
    let plan = pipeline::plan(programs.step.as_ref().unwrap_or(&programs.eval), real)?;
    let size = |size: &Dim| size.as_const().map_or_else(|| json!(size.to_string()), |n| json!(n));
    let parameters: Dim = train
        .store
        .params
        .iter()
        .map(|param| param.ty.shape.iter().map(|axis| axis.size.clone()).product::<Dim>())
        .sum();
    let peak = bdl_execute::peak_formula(&plan);
    Ok(json!({
        "train": &*train.name,
        "parameters": size(&parameters),
        "flop_per_example": size(&cost(&programs.eval, |_| true)),
        "peak_bytes": peak.to_string(),
        "bytes_per_example": size(&per_example(&peak, &plan)),
    }))
}

/// The function of the model called `name`, from wherever it is applied.
fn find<'h>(hir: &'h Hir, root: FunctionId, name: &str) -> Option<&'h Function> {
    let function = hir.functions.get(root.0 as usize)?;
    if function.path.as_deref() == Some(name) {
        return Some(function);
    }
    applied(function).into_iter().find_map(|id| find(hir, id, name))
}

/// The functions that a function applies, in the order in which they stand.
fn applied(function: &Function) -> Vec<FunctionId> {
    let mut found = Vec::new();
    visit::each(&function.body, &mut |expr| {
        if let ExprKind::Apply { function, .. } = &expr.kind {
            found.push(*function);
        }
    });
    found
}

fn lines(
    heading: &str,
    name: &str,
    model: &Function,
    hir: &Hir,
    train: &Train,
    programs: &Programs,
    plan: &Plan,
    width: i64,
) -> String {
    let mut rows = Vec::new();
    for input in &model.inputs {
        let local = &model.locals[input.0 as usize];
        rows.push(Row { what: local.name.to_string(), ty: show_type(&local.ty), path: String::new() });
    }
    visit::each(&model.body, &mut |expr| {
        let ExprKind::Apply { function, .. } = &expr.kind else { return };
        let callee = &hir.functions[function.0 as usize];
        let Some(path) = &callee.path else { return };
        rows.push(Row { what: callee.shown.clone(), ty: show_type(&expr.ty), path: path.to_string() });
    });
    // `visit` meets the outermost application of a pipe first; data flows the other way.
    let inputs = model.inputs.len();
    rows[inputs..].sort_by_key(|row| first_equation(&programs.eval, &row.path).unwrap_or(usize::MAX));
    rows.dedup_by(|a, b| a.path == b.path && !a.path.is_empty());

    let under =
        |path: &str, name: &str| name == path || name.strip_prefix(path).is_some_and(|rest| rest.starts_with('.'));
    let parameters = |path: &str| -> Dim {
        let own = train.store.params.iter().filter(|param| under(path, &param.path));
        own.map(|param| param.ty.shape.iter().map(|axis| axis.size.clone()).product::<Dim>()).sum()
    };
    let flop = |path: &str| -> Dim { cost(&programs.eval, |name| under(path, name)) };
    let keeps = |path: &str| -> Dim {
        let own =
            plan.buffers.iter().filter(|buffer| matches!(buffer.place, Place::Slot(_)) && under(path, &buffer.name));
        own.map(|buffer| per_example(&buffer.len, plan).scale(width)).sum()
    };
    let numbers = |path: &str| [count(&parameters(path)), short(&flop(path)), bytes(&keeps(path))];
    let mut cells =
        vec![[heading.to_string(), String::new(), "parameters".into(), "FLOP".into(), "an example keeps".into()]];
    for row in &rows {
        let [p, f, k] = if row.path.is_empty() { Default::default() } else { numbers(&row.path) };
        cells.push([format!("  {}", row.what), row.ty.clone(), p, f, k]);
    }
    let [p, f, k] = numbers(name);
    cells.push(["  total".into(), String::new(), p, f, k]);
    aligned(&cells)
}

/// Two columns of text, then columns of numbers.
fn aligned(rows: &[[String; 5]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let [a, b, c, d, e] = [width(0).max(24), width(1).max(12), width(2), width(3).max(8), width(4)];
    let mut out = String::new();
    for [what, ty, p, f, k] in rows {
        out.push_str(format!("{what:a$}  {ty:b$}  {p:>c$}  {f:>d$}  {k:>e$}").trim_end());
        out.push('\n');
    }
    out
}

fn first_equation(program: &Program, path: &str) -> Option<usize> {
    program.nodes.iter().position(|node| {
        node.writes_deep().iter().any(|id| {
            let name = &program.get(*id).name;
            **name == *path || name.strip_prefix(path).is_some_and(|rest| rest.starts_with('.'))
        })
    })
}

/// Operations of the equations whose results are named so, for one example.
fn cost(program: &Program, wanted: impl Fn(&str) -> bool) -> Dim {
    fn of(nodes: &[Node], program: &Program, wanted: &dyn Fn(&str) -> bool) -> Dim {
        nodes
            .iter()
            .map(|node| match node {
                Node::Equation(equation) if wanted(&program.get(equation.out).name) => {
                    equation.pieces.iter().map(piece).sum()
                }
                Node::Scan(scan) => of(&scan.body, program, wanted) * scan.extent.clone(),
                Node::Iterate(iterate) => of(&iterate.body, program, wanted) * iterate.at_most.clone(),
                Node::Equation(_)
                | Node::Draw(_)
                | Node::View(_)
                | Node::Sort(_)
                | Node::Literal(_)
                | Node::Library(_) => Dim::zero(),
            })
            .sum()
    }
    of(&program.nodes, program, &wanted)
}

fn piece(piece: &Piece) -> Dim {
    let points: Dim = piece.indices.iter().map(|index| one(&index.range)).product();
    let reduces = i64::from(piece.indices.len() > piece.free);
    points.scale(operations(&piece.body) + reduces)
}

fn operations(expr: &Expr) -> i64 {
    match expr {
        Expr::Const(_) | Expr::Number(_) | Expr::Read(_) => 0,
        Expr::Unary(_, a) => 1 + operations(a),
        Expr::Binary(_, a, b) | Expr::Compare(_, a, b) => 1 + operations(a) + operations(b),
        Expr::Select(a, b, c) => 1 + operations(a) + operations(b) + operations(c),
    }
}

/// A size with a batch of one example.
fn one(size: &Dim) -> Dim {
    size.substitute(&|name| (name == BATCH).then(Dim::one))
}

/// What one more example adds to a size; packed rows (`rows_T`) are the example's own (`T`).
fn per_example(size: &Dim, plan: &Plan) -> Dim {
    let total = |name: &str| {
        plan.sizes.iter().find(|known| *known.name == *name).and_then(|known| match &known.kind {
            SizeKind::Total(of_example) => Some(of_example.clone()),
            SizeKind::Batch => Some(Dim::one()),
            SizeKind::Built | SizeKind::PerExample | SizeKind::Step => None,
        })
    };
    size.substitute(&total) - without_examples(size, plan)
}

/// What is left of a size when the batch is empty.
fn without_examples(size: &Dim, plan: &Plan) -> Dim {
    size.substitute(&|name| {
        let of_batch = |kind: &SizeKind| matches!(kind, SizeKind::Total(_) | SizeKind::Batch);
        plan.sizes.iter().any(|known| *known.name == *name && of_batch(&known.kind)).then(Dim::zero)
    })
}

/// `one step at batch B: 0.9 MB + B × 42 kB, of which weights and optimiser 0.8 MB`
fn memory(plan: &Plan, width: i64) -> String {
    let shared = plan.buffers.iter().filter(|buffer| matches!(buffer.place, Place::Param | Place::State));
    let weights: Dim = shared.map(|buffer| buffer.len.scale(width)).sum();
    let peak = bdl_execute::peak_formula(plan);
    let fixed = without_examples(&peak, plan) + weights.clone();
    format!(
        "  one step at batch B: {} + B × {}, of which weights and optimiser {}\n",
        bytes(&fixed),
        bytes(&per_example(&peak, plan)),
        bytes(&weights)
    )
}

fn count(size: &Dim) -> String {
    match size.as_const() {
        Some(0) => String::new(),
        Some(n) => number::grouped(n.max(0) as u64),
        None => size.to_string(),
    }
}

fn short(size: &Dim) -> String {
    match size.as_const() {
        Some(0) => String::new(),
        Some(n) => number::short(n as f64),
        None => size.to_string(),
    }
}

fn bytes(size: &Dim) -> String {
    match size.as_const() {
        Some(0) => String::new(),
        Some(n) => number::bytes(n as f64),
        None => format!("({size}) B"),
    }
}
