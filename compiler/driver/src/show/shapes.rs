//! The table of `bdl check`: layers with their shapes, parameters, arithmetic and memory, as numbers or as formulas in named sizes.
//!
//! Rows, parameters and arithmetic are the checker's. What an example keeps is what its tensors take until the gradient has used them; the
//! last line is the arena that the plan needs.

use super::number;
use crate::error::Failure;
use crate::memory::PROCESS_BYTES;
use crate::pipeline;
use bdl_check::hir::{FunctionId, Hir, Train};
use bdl_check::{Table, show_type};
use bdl_dims::Dim;
use bdl_elaborate::Programs;
use bdl_plan::{Place, Plan, SizeKind};
use bdl_schedule::{Real, Target};
use serde_json::{Value, json};

/// The tables of a `train` block: one a model.
pub fn table(hir: &Hir, train: &Train, programs: &Programs, real: Real) -> Result<String, Failure> {
    let plan = largest(programs, real)?;
    let width = match real {
        Real::F32 => 4,
        Real::F64 => 8,
    };
    let mut out = String::new();
    for (name, shown) in &train.models {
        let Some((id, table)) = of_model(hir, train, name) else { continue };
        let hyper =
            train.hyper.iter().filter_map(|(key, value)| Some((key.strip_prefix(&**name)?.strip_prefix('.')?, value)));
        let hyper: Vec<String> = hyper.map(|(key, value)| format!("{key} = {value}")).collect();
        let heading = if hyper.is_empty() {
            shown.clone()
        } else {
            format!("{}({})", hir.functions[id.0 as usize].name, hyper.join(", "))
        };
        out.push_str(&model(&heading, name, &table, &plan, width));
    }
    out.push_str(&memory(&plan, width));
    Ok(out)
}

/// The plan of the step that needs most memory.
fn largest(programs: &Programs, real: Real) -> Result<Plan, Failure> {
    // Any size would do to compare steps of the same block.
    let size = |_: &str| Some(64);
    let mut best: Option<(usize, Plan)> = None;
    for program in programs.steps() {
        let plan = pipeline::plan(program, real, Target::Processor)?;
        let bytes = bdl_execute::peak_bytes(&plan, &size).unwrap_or(0);
        if best.as_ref().is_none_or(|(most, _)| bytes > *most) {
            best = Some((bytes, plan));
        }
    }
    match best {
        Some((_, plan)) => Ok(plan),
        None => pipeline::plan(&programs.eval, real, Target::Processor),
    }
}

/// A model where the loss applies it, or a prediction.
fn of_model(hir: &Hir, train: &Train, name: &str) -> Option<(FunctionId, Table)> {
    let id = train.roots().find_map(|root| bdl_check::model_of(hir, root, name))?;
    Some((id, bdl_check::table(hir, &train.store, id)?))
}

/// Parameters, arithmetic and memory of a `train` block as one JSON object; sizes that are not numbers are formulas.
pub fn json(hir: &Hir, train: &Train, programs: &Programs, real: Real) -> Result<Value, Failure> {
    let plan = largest(programs, real)?;
    let size = |size: &Dim| size.as_const().map_or_else(|| json!(size.to_string()), |n| json!(n));
    let tables = train.models.iter().filter_map(|(name, _)| of_model(hir, train, name)).map(|(_, table)| table);
    let nothing = (Dim::zero(), Dim::zero());
    let (parameters, flop) = tables.fold(nothing, |(p, f), table| (p + table.parameters, f + table.flops));
    let peak = bdl_execute::peak_formula(&plan);
    Ok(json!({
        "train": &*train.name,
        "parameters": size(&parameters),
        "flop_per_example": size(&flop),
        "peak_bytes": peak.to_string(),
        "process_bytes": PROCESS_BYTES,
        "bytes_per_example": size(&per_example(&peak, &plan)),
    }))
}

/// The rows of a model, and its memory beside each.
fn model(heading: &str, name: &str, table: &Table, plan: &Plan, width: i64) -> String {
    let under =
        |path: &str, name: &str| name == path || name.strip_prefix(path).is_some_and(|rest| rest.starts_with('.'));
    let keeps = |path: &str| -> Dim {
        let own =
            plan.buffers.iter().filter(|buffer| matches!(buffer.place, Place::Slot(_)) && under(path, &buffer.name));
        own.map(|buffer| per_example(&buffer.len, plan).scale(width)).sum()
    };
    let mut cells =
        vec![[heading.to_string(), String::new(), "parameters".into(), "FLOP".into(), "an example keeps".into()]];
    for (input, ty) in &table.inputs {
        cells.push([format!("  {input}"), show_type(ty), String::new(), String::new(), String::new()]);
    }
    for row in &table.rows {
        let kept = if row.path.is_empty() { Dim::zero() } else { keeps(&row.path) };
        cells.push([
            format!("  {}", row.shown),
            show_type(&row.result),
            count(&row.parameters),
            short(&row.flops),
            bytes(&kept),
        ]);
    }
    cells.push(["  total".into(), String::new(), count(&table.parameters), short(&table.flops), bytes(&keeps(name))]);
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

/// What one more example adds to a size; packed rows (`rows_T`) are the example's own (`T`).
fn per_example(size: &Dim, plan: &Plan) -> Dim {
    let total = |name: &str| {
        plan.sizes.iter().find(|known| *known.name == *name).and_then(|known| match &known.kind {
            SizeKind::Total(of_example) => Some(of_example.clone()),
            SizeKind::Batch => Some(Dim::one()),
            SizeKind::Built | SizeKind::PerExample | SizeKind::Step | SizeKind::Running => None,
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

/// `one step at batch B: 0.9 MB + B × 42 kB, of which weights and optimiser 0.8 MB; beside it the data, and about 26 MB for bdl itself`
fn memory(plan: &Plan, width: i64) -> String {
    let shared = plan.buffers.iter().filter(|buffer| matches!(buffer.place, Place::Param | Place::State));
    let weights: Dim = shared.map(|buffer| buffer.len.scale(width)).sum();
    let peak = bdl_execute::peak_formula(plan);
    let fixed = without_examples(&peak, plan) + weights.clone();
    format!(
        "  one step at batch B: {} + B × {}, of which weights and optimiser {}; beside it the data, and about {} for bdl itself\n",
        bytes(&fixed),
        factor(&bytes(&per_example(&peak, plan))),
        bytes(&weights),
        number::bytes(PROCESS_BYTES as f64)
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
        None => formula(size, &number::short),
    }
}

fn bytes(size: &Dim) -> String {
    match size.as_const() {
        Some(0) => String::new(),
        Some(n) => number::bytes(n as f64),
        None => formula(size, &number::bytes),
    }
}

/// In brackets, if it is a sum.
fn factor(formula: &str) -> String {
    if formula.contains(" + ") || formula.contains(" - ") { format!("({formula})") } else { formula.to_string() }
}

/// A size as people write it: `267 k × T + 536 × T²`.
fn formula(size: &Dim, number: &dyn Fn(f64) -> String) -> String {
    let mut text = String::new();
    for (monomial, coefficient) in size.terms() {
        let mut powers: Vec<(String, usize)> = Vec::new();
        for atom in monomial {
            let name = match Dim::atom(atom.clone()).to_string() {
                name if name.contains(' ') => format!("({name})"),
                name => name,
            };
            match powers.iter_mut().find(|(known, _)| *known == name) {
                Some((_, power)) => *power += 1,
                None => powers.push((name, 1)),
            }
        }
        let powers = powers.into_iter().map(|(name, power)| match power {
            1 => name,
            2 => format!("{name}²"),
            3 => format!("{name}³"),
            _ => format!("{name}^{power}"),
        });
        let own = number(coefficient.unsigned_abs() as f64);
        let part = [own].into_iter().chain(powers).collect::<Vec<String>>().join(" × ");
        let sign = match (text.is_empty(), coefficient < 0) {
            (true, true) => "-",
            (true, false) => "",
            (false, true) => " - ",
            (false, false) => " + ",
        };
        text.push_str(sign);
        text.push_str(&part);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_an_example_read_as_formulas() {
        let t = Dim::var("T");
        let size = t.scale(266_502) + (t.clone() * t.clone()).scale(536) + Dim::from(12);
        let said = short(&size);
        assert!(said.contains("267 k × T") && said.contains("536 × T²") && said.contains(" + "), "{said}");
        assert_eq!(bytes(&(Dim::var("S") * t.clone()).scale(4096)), "4.1 kB × S × T");
        assert_eq!(short(&t.floor_div(&Dim::from(2)).scale(3)), "3 × (T / 2)");
        assert_eq!(
            (factor("3 B × T"), factor("1 B + 3 B × T")),
            ("3 B × T".to_string(), "(1 B + 3 B × T)".to_string())
        );
        assert_eq!(bytes(&Dim::zero()), "");
    }
}
