//! `bdl emit FILE --stage STAGE`: every stage of the compiler as readable text.
//!
//! A reader can follow one equation from text to machine code: every line of equations, plan and code names the place in the file
//! that it came from.

use super::{Context, print};
use crate::cli::{Gpu, Stage, target};
use crate::error::Failure;
use crate::pipeline::{self, Checked, ReadData};
use bdl_check::hir::Train;
use bdl_elaborate::Programs;
use bdl_equations::Program;
use bdl_grammar::FileId;
use bdl_plan::Origin;
use bdl_ptx::{Generation, Wanted};
use bdl_schedule::Target;

pub fn run(context: &Context, written: &str, stages: &[Stage], only: Option<&str>, gpu: Gpu) -> Result<u8, Failure> {
    let generation = match gpu {
        Gpu::Any => Generation::Any,
        Gpu::Hopper => Generation::Hopper,
    };
    let (file, name) = target(written);
    let mut request = context.request(name.clone());
    request.read_data = ReadData::WhereThere;
    let checked = pipeline::check(&file, &request)?;
    if stages.iter().any(|stage| *stage != Stage::Ast) {
        checked.require_sound(context.coloured)?;
    }
    let mut text = String::new();
    let mut programs = None;
    for stage in stages {
        if stages.len() > 1 {
            text.push_str(&format!("// {}\n\n", heading(*stage)));
        }
        text.push_str(&show(context, &checked, name.as_deref(), *stage, (only, generation), &mut programs)?);
        if stages.len() > 1 {
            text.push('\n');
        }
    }
    print(&text)
}

fn heading(stage: Stage) -> &'static str {
    match stage {
        Stage::Ast => "the program as it was parsed",
        Stage::Hir => "names, types and dimensions resolved",
        Stage::Equations => "one evaluation as equations",
        Stage::Gradient => "the loss and its gradient as equations",
        Stage::Plan => "kernels, buffers and launches of a training step",
        Stage::Clif => "the kernels of a training step for the code generator",
        Stage::Asm => "the kernels of a training step as machine code",
        Stage::Ptx => "the kernels for GPUs",
    }
}

fn show(
    context: &Context,
    checked: &Checked,
    name: Option<&str>,
    stage: Stage,
    (only, generation): (Option<&str>, Generation),
    programs: &mut Option<Programs>,
) -> Result<String, Failure> {
    match stage {
        Stage::Ast => return Ok(bdl_grammar::print(&checked.source.modules.main)),
        Stage::Hir => return Ok(bdl_check::hir::text::print(&checked.hir)),
        Stage::Equations | Stage::Gradient | Stage::Plan | Stage::Clif | Stage::Asm | Stage::Ptx => {}
    }
    let train: &Train = checked.train(name)?;
    let programs = match programs {
        Some(programs) => programs,
        None => programs.insert(pipeline::elaborate(checked, train)?),
    };
    let step: &Program = programs.step().unwrap_or(&programs.eval);
    let keep = |name: &str| only.is_none_or(|wanted| name.contains(wanted));
    match stage {
        Stage::Equations => Ok(lines(&placed(&bdl_equations::text::print(&programs.eval), checked), only)),
        Stage::Gradient => {
            let gradients = pipeline::gradients(checked, train)?;
            let texts: Vec<String> = gradients.iter().map(bdl_equations::text::print).collect();
            Ok(lines(&placed(&texts.join("\n"), checked), only))
        }
        Stage::Plan => Ok(pipeline::plan(step, context.real, context.target())?.to_string()),
        Stage::Clif | Stage::Asm => {
            let plan = pipeline::plan(step, context.real, Target::Processor)?;
            let mut text = String::new();
            for kernel in plan.kernels.iter().filter(|kernel| keep(&kernel.name)) {
                let code = if stage == Stage::Clif {
                    bdl_cranelift::clif_text(kernel)
                } else {
                    bdl_cranelift::asm_text(kernel)
                };
                let code = code.map_err(|error| Failure::bug(error.to_string()))?;
                text.push_str(&format!("; {}\n{}\n", kernel.name, code.trim_end()));
            }
            Ok(text)
        }
        Stage::Ptx => {
            let note = |origin: &Origin| source_line(origin, checked);
            let plan = pipeline::plan(step, context.real, Target::Gpu)?;
            let wanted = Wanted { products: context.products, generation, batch: u32::try_from(train.batch).ok() };
            let mut code = pipeline::ptx(&plan, context.real, wanted, &note)?;
            code.kernels.iter_mut().for_each(|pieces| pieces.retain(|kernel| keep(&kernel.entry)));
            code.contractions.retain(|kernel| kernel.as_ref().is_some_and(|kernel| keep(&kernel.entry)));
            code.draws.retain(|(_, kernel)| keep(&kernel.entry));
            code.recurrences.retain(|(_, made)| keep(&made.function.entry));
            Ok(bdl_ptx::module(&code))
        }
        Stage::Ast | Stage::Hir => Ok(String::new()),
    }
}

/// Where a launch came from: what it computes, the place, and the line that stands there.
fn source_line(origin: &Origin, checked: &Checked) -> Vec<String> {
    let sources = &checked.source.sources;
    if origin.start == origin.end || sources.files().all(|(id, _)| id.0 != origin.file) {
        return vec![origin.what.to_string()];
    }
    let file = FileId(origin.file);
    let (line, column) = sources.line_column(file, origin.start);
    let name = sources.name(file);
    let name = name.rsplit('/').next().unwrap_or(name);
    let text = sources.text(file).lines().nth(line - 1).unwrap_or("").trim();
    vec![format!("{}  {name}:{line}:{column}  {text}", origin.what)]
}

/// The text with places in bytes (`@0:383..407`) as people look them up (`splice.bdl:11:8`).
fn placed(text: &str, checked: &Checked) -> String {
    let sources = &checked.source.sources;
    let place = |token: &str| {
        let (file, range) = token.strip_prefix('@')?.split_once(':')?;
        let (start, _) = range.split_once("..")?;
        let (file, start) = (FileId(file.parse().ok()?), start.parse::<u32>().ok()?);
        let (line, column) = sources.line_column(file, start);
        let name = sources.name(file);
        Some(format!("{}:{line}:{column}", name.rsplit('/').next().unwrap_or(name)))
    };
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        match line.split_once("// @") {
            Some((equation, comment)) => {
                let (token, what) = comment.split_once(' ').unwrap_or((comment, ""));
                let shown = place(&format!("@{token}")).unwrap_or_else(|| format!("@{token}"));
                out.push_str(&format!("{equation}// {shown} {what}"));
                out.truncate(out.trim_end().len());
            }
            None => out.push_str(line),
        }
        out.push('\n');
    }
    out
}

/// Only the lines that mention `only`.
fn lines(text: &str, only: Option<&str>) -> String {
    match only {
        None => text.to_string(),
        Some(wanted) => text.lines().filter(|line| line.contains(wanted)).map(|line| format!("{line}\n")).collect(),
    }
}
