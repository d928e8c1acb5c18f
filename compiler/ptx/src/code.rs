//! A plan in, its functions out.

use crate::contract::{contraction, runs_epilogue};
use crate::draw::draw;
use crate::emit;
use crate::fission::pieces;
use crate::recurrence::recurrences;
use crate::text::Needs;
use bdl_plan::{
    DType, DeviceCode, DeviceKernel, Distribution, KernelUse, Name, Op, Origin, Plan, Products, contractions,
    each_launch,
};
use std::collections::HashMap;
use std::sync::Arc;

pub use bdl_plan::KernelError as Error;

/// For which processors code is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Generation {
    /// Every one that has what each kernel says it needs.
    #[default]
    Any,
    /// Hopper, sm_90a, alone: what later ones do not have.
    Hopper,
}

impl Generation {
    /// Of a processor of this compute capability.
    pub fn of(capability: (i32, i32)) -> Generation {
        if capability == (9, 0) { Generation::Hopper } else { Generation::Any }
    }
}

/// What code is made for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    pub products: Products,
    pub generation: Generation,
    /// Examples that come at a time as a rule: tiles are chosen for so many. It must be the same wherever the same bits are wanted; `None`: nothing is
    /// known.
    pub batch: Option<u32>,
}

/// The PTX of every kernel, contraction and draw of a plan. `note` gives the lines that stand above the code of what came from a place in the
/// program.
///
/// Errors: the first that a GPU cannot run.
pub fn compile(plan: &Plan, wanted: Wanted, note: &dyn Fn(&Origin) -> Vec<String>) -> Result<DeviceCode, Error> {
    let mut origins: Vec<Vec<&Origin>> = vec![Vec::new(); plan.kernels.len()];
    let mut draws: Vec<(Distribution, DType, Name)> = Vec::new();
    each_launch(&plan.launches, &mut |launch| {
        let mut used = |kernel: &KernelUse| {
            if let Some(of) = origins.get_mut(kernel.kernel.0 as usize)
                && !of.contains(&&launch.origin)
            {
                of.push(&launch.origin);
            }
        };
        match &launch.op {
            Op::Kernel(kernel) => used(kernel),
            Op::Contract(c) => c.epilogue.iter().filter(|_| !runs_epilogue(plan, c)).for_each(used),
            Op::Draw(d) => {
                let dtype = plan.buffers[d.out.0 as usize].dtype;
                if !draws.iter().any(|(of, ty, _)| (*of, *ty) == (d.distribution, dtype)) {
                    draws.push((d.distribution, dtype, launch.origin.what.clone()));
                }
            }
            Op::Copy { .. }
            | Op::Clear { .. }
            | Op::Order { .. }
            | Op::Scan(_)
            | Op::Iterate(_)
            | Op::Sort(_)
            | Op::Library { .. } => {}
        }
    });
    let mut code = DeviceCode { recurrences: recurrences(plan, wanted.products, note), ..DeviceCode::default() };
    let alone = launched_alone(plan, &code);
    for (i, kernel) in plan.kernels.iter().enumerate() {
        let comments: Vec<String> = origins[i].iter().flat_map(|origin| note(origin)).collect();
        code.kernels.push(if alone.kernels[i] { pieces_of(kernel, &comments)? } else { Vec::new() });
    }
    // Layers of one shape are one function, which has the name of the first.
    let mut known: HashMap<Arc<str>, DeviceKernel> = HashMap::new();
    for ((c, launch), alone) in contractions(plan).into_iter().zip(alone.contractions) {
        if !alone {
            code.contractions.push(None);
            continue;
        }
        let name = plan.buffers[c.out.buffer.0 as usize].name.clone();
        let make = |called: &str, comments: &[String]| {
            contraction(plan, c, called, comments, wanted).map_err(|what| Error { kernel: name.clone(), what })
        };
        let nameless = make("", &[])?;
        let made = match known.get(&nameless.text) {
            Some(made) => made.clone(),
            None => {
                let mut comments = note(&launch.origin);
                comments.extend(form(plan, c));
                let made = make(&name, &comments)?;
                known.insert(nameless.text, made.clone());
                made
            }
        };
        code.contractions.push(Some(DeviceKernel { arguments: nameless.arguments, ..made }));
    }
    for (distribution, dtype, what) in draws {
        let made = draw(distribution, dtype).map_err(|why| Error { kernel: what, what: why })?;
        code.draws.push(((distribution, dtype), made));
    }
    Ok(code)
}

/// What is launched by itself, and not only as a part of a recurrence or of the contraction before it.
struct Alone {
    /// By kernel.
    kernels: Vec<bool>,
    /// In the order of [`contractions`].
    contractions: Vec<bool>,
}

fn launched_alone(plan: &Plan, code: &DeviceCode) -> Alone {
    let mut alone = Alone { kernels: vec![false; plan.kernels.len()], contractions: Vec::new() };
    let mut number = 0;
    // Launches before this one are in the body of a recurrence.
    let mut behind = 0;
    each_launch(&plan.launches, &mut |launch| {
        let own = number;
        number += 1;
        let is_inside = own < behind;
        if let (Op::Scan(scan), false, true) =
            (&launch.op, is_inside, code.recurrences.iter().any(|(scan, _)| *scan == own))
        {
            behind = number;
            each_launch(&scan.body, &mut |_| behind += 1);
        }
        let mut used = |kernel: &KernelUse| {
            if let Some(known) = alone.kernels.get_mut(kernel.kernel.0 as usize) {
                *known |= !is_inside;
            }
        };
        match &launch.op {
            Op::Kernel(kernel) => used(kernel),
            Op::Contract(c) => {
                c.epilogue.iter().filter(|_| !runs_epilogue(plan, c)).for_each(used);
                alone.contractions.push(!is_inside);
            }
            Op::Draw(_)
            | Op::Copy { .. }
            | Op::Clear { .. }
            | Op::Order { .. }
            | Op::Scan(_)
            | Op::Iterate(_)
            | Op::Sort(_)
            | Op::Library { .. } => {}
        }
    });
    alone
}

/// The contraction as the plan prints it.
fn form(plan: &Plan, c: &bdl_plan::Contraction) -> Vec<String> {
    let name = |slice: &bdl_plan::Slice| plan.buffers[slice.buffer.0 as usize].name.clone();
    let sign = if c.accumulate { "+=" } else { "=" };
    let mut lines = vec![format!("{} {sign} {} * {}", name(&c.out), name(&c.a), name(&c.b))];
    for axis in &c.axes {
        let role = match axis.role {
            bdl_plan::AxisRole::Batch => "batch",
            bdl_plan::AxisRole::M => "m",
            bdl_plan::AxisRole::N => "n",
            bdl_plan::AxisRole::K => "k",
        };
        lines.push(format!("  {role} {}: {} (out {}, a {}, b {})", axis.name, axis.extent, axis.out, axis.a, axis.b));
    }
    lines
}

/// All functions of a plan as one module, each text once: what `ptxas` takes. Entries of one name are told apart by a number.
pub fn module(code: &DeviceCode) -> String {
    let mut seen: Vec<&str> = Vec::new();
    let mut names: Vec<String> = Vec::new();
    let mut needs = Needs::LEAST;
    let mut functions = String::new();
    // What functions share by name.
    let mut outside: Vec<&str> = Vec::new();
    for kernel in code.all() {
        if seen.contains(&&*kernel.text) {
            continue;
        }
        seen.push(&kernel.text);
        let mut name = kernel.entry.to_string();
        while names.contains(&name) {
            name = format!("{}_{}", kernel.entry, names.len());
        }
        for line in kernel.text.lines() {
            if let Some(version) = line.strip_prefix(".version ") {
                let (major, minor) = version.split_once('.').unwrap_or((version, "0"));
                let version = (major.parse().unwrap_or(0), minor.parse().unwrap_or(0));
                needs.version = needs.version.max(version);
            } else if let Some(target) = line.strip_prefix(".target sm_") {
                needs.only |= target.ends_with('a');
                needs.target = needs.target.max(target.trim_end_matches('a').parse().unwrap_or(0));
            } else if line == format!(".visible .entry {}(", kernel.entry) {
                functions.push_str(&format!(".visible .entry {name}(\n"));
            } else if line.starts_with(".extern ") {
                if !outside.contains(&line) {
                    outside.push(line);
                }
            } else if line != ".address_size 64" {
                functions.push_str(line);
                functions.push('\n');
            }
        }
        functions.push('\n');
        names.push(name);
    }
    let outside: String = outside.iter().map(|line| format!("{line}\n")).collect();
    format!("{}{outside}\n{}", needs.header(), functions.trim_end()) + "\n"
}

/// The functions of one kernel, in the order in which they run.
pub fn kernels(kernel: &bdl_plan::Kernel) -> Result<Vec<DeviceKernel>, Error> {
    pieces_of(kernel, &[])
}

fn pieces_of(kernel: &bdl_plan::Kernel, comments: &[String]) -> Result<Vec<DeviceKernel>, Error> {
    let made = pieces(kernel).iter().map(|piece| emit::kernel(piece, comments)).collect::<Result<_, _>>();
    made.map_err(|what| Error { kernel: kernel.name.clone(), what })
}
