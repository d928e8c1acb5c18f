//! The programs of a `train` block.
//!
//! | program | is | gives | updates |
//! |---|---|---|---|
//! | `init` | first values of parameters and state, shared | each by its path | |
//! | `step` | one training step, `training` = true | `loss_sum per_sum loss` | parameters, state |
//! | `eval` | `training` = false | `loss_sum per_sum`, every prediction by name | |
//! | `predict` | predictions alone, reading only what they need | every prediction by name | |
//! | `gradient` | a step without its updates | `loss_sum per_sum loss`, `grad.<path>` for each parameter | |
//!
//! The loss of a batch is  sum over b of loss[b] / sum over b of per[b] + penalties.  `step steps epoch epochs` are inputs of those
//! names, scalars that the trainer supplies; they exist in a program only where something reads them. A parameter that no program
//! reads is not created.

use crate::context::{Elaborator, Result, broken, dtype_of, not_built, origin, shape_of};
use crate::names;
use crate::value::{Pointwise, Value};
use bdl_check::hir::{self, Clip, Entry, Hir, Store, Train, Type};
use bdl_equations::simplify::{rounds, simplify};
use bdl_equations::{
    BATCH, BinaryOp, DType, Expr, Name, Origin, PieceBuilder, Program, Role, SizeKind, Sub, TensorId, UnaryOp,
};
use bdl_grammar::{Diagnostic, Span};
use std::collections::HashSet;

/// What a `train` block runs. The programs share parameters and state by name.
#[derive(Clone, Debug, PartialEq)]
pub struct Programs {
    pub init: Program,
    /// `None` where the block has no optimiser and only evaluates.
    pub step: Option<Program>,
    pub eval: Program,
    pub predict: Program,
    pub gradient: Program,
}

/// The programs of one `train` block, batched, differentiated and simplified.
///
/// Errors: `not-built-yet` for a construct that the language has and this version does not; `internal` where the HIR breaks a promise
/// of the checker.
pub fn programs(hir: &Hir, train: &Train) -> std::result::Result<Programs, Diagnostic> {
    build(hir, train).map_err(|error| *error)
}

/// The forward equations of a function or model applied to its inputs, for one example: outputs `y`, or the fields of a record.
///
/// Inputs are named as the function names them. Errors as for [`programs`].
pub fn entry(hir: &Hir, entry: &Entry, training: bool) -> std::result::Result<Program, Diagnostic> {
    differentiable_entry(hir, entry, training).map(finished)
}

/// As [`entry`], still with `freeze`: to be differentiated, then simplified.
pub fn differentiable_entry(hir: &Hir, entry: &Entry, training: bool) -> std::result::Result<Program, Diagnostic> {
    forward_of(hir, entry, training).map_err(|error| *error)
}

/// The first values of the parameters and state of an entry, each an output by its path.
pub fn entry_init(hir: &Hir, entry: &Entry) -> std::result::Result<Program, Diagnostic> {
    let paths = entry.store.params.iter().map(|p| &p.path).chain(entry.store.states.iter().map(|s| &s.path));
    init(hir, &entry.store, &paths.cloned().collect()).map_err(|error| *error)
}

fn build(hir: &Hir, train: &Train) -> Result<Programs> {
    let gradient = training(hir, train, false)?;
    let step = match &train.optimizer {
        Some(_) => Some(training(hir, train, true)?),
        None => None,
    };
    let eval = evaluation(hir, train, true)?;
    let predict = evaluation(hir, train, false)?;
    let all = [Some(&gradient), step.as_ref(), Some(&eval), Some(&predict)];
    let used =
        all.into_iter().flatten().flat_map(|p| &p.tensors).filter(|t| matches!(t.role, Role::Param | Role::State));
    let used: HashSet<Name> = used.map(|t| t.name.clone()).collect();
    let init = init(hir, &train.store, &used)?;
    Ok(Programs { init, step, eval, predict, gradient })
}

// ------------------------------------------------------------------------------------------------ initial values

fn init(hir: &Hir, store: &Store, used: &HashSet<Name>) -> Result<Program> {
    let mut elaborator = Elaborator::new("init", hir, store, true);
    elaborator.draws_per_example = false;
    let params = store.params.iter().map(|p| (&p.path, &p.ty, p.init, p.span));
    let states = store.states.iter().map(|s| (&s.path, &s.ty, s.init, s.span));
    for (path, ty, function, span) in params.chain(states) {
        if !used.contains(path) {
            continue;
        }
        let function = elaborator.function(function, span)?;
        let value = elaborator.call(function, Vec::new(), path, span)?;
        let Value::Tensor(value) = value else { return Err(broken(span, "an initial value that is a record")) };
        let value = elaborator.fitted(value, &shape_of(ty));
        let value = Pointwise { hint: None, dtype: dtype_of(&ty.scalar), ..value };
        let made = origin(span, format!("initial value of `{path}`"));
        let (tensor, _) = elaborator.whole_tensor(&value, path, made)?;
        elaborator.program.outputs.push((path.clone(), tensor));
    }
    Ok(finished(elaborator.take()))
}

// ------------------------------------------------------------------------------------------------ one example

/// The functions of a `train` block elaborated for one example, and its data as values.
struct Forward<'h> {
    elaborator: Elaborator<'h>,
    inputs: Vec<(Value, Span)>,
}

impl<'h> Forward<'h> {
    fn new(name: &str, hir: &'h Hir, train: &'h Train, training: bool) -> Result<Forward<'h>> {
        let mut elaborator = Elaborator::new(name, hir, &train.store, training);
        let mut inputs = Vec::new();
        for field in &train.inputs {
            inputs.push((elaborator.field(&field.name, &field.ty, train.span)?, train.span));
        }
        Ok(Forward { elaborator, inputs })
    }

    /// The scalar that a function of the data gives, as a tensor called `name`.
    fn scalar(&mut self, function: hir::FunctionId, name: &str, inputs: bool, span: Span) -> Result<TensorId> {
        let function = self.elaborator.function(function, span)?;
        let inputs = if inputs { self.inputs.clone() } else { Vec::new() };
        let value = self.elaborator.call(function, inputs, &"".into(), span)?;
        let Value::Tensor(value) = value else { return Err(broken(span, "a loss that is a record")) };
        if !value.axes.is_empty() {
            return Err(broken(span, "a loss that is not a single number"));
        }
        let value = Pointwise { hint: None, ..value };
        let (tensor, _) = self.elaborator.whole_tensor(&value, name, origin(function.span, format!("`{name}`")))?;
        Ok(tensor)
    }

    fn predictions(&mut self, train: &'h Train) -> Result<()> {
        for prediction in &train.predictions {
            let function = self.elaborator.function(prediction.function, train.span)?;
            let value = self.elaborator.call(function, self.inputs.clone(), &"".into(), function.span)?;
            self.elaborator.give(&prediction.name, value, function.span)?;
        }
        Ok(())
    }
}

impl<'h> Elaborator<'h> {
    /// A field of the data as a value: an input for each tensor in it.
    fn field(&mut self, name: &str, ty: &Type, span: Span) -> Result<Value> {
        match ty {
            Type::Tensor(tensor) if tensor.optional => Err(not_built(span, "an optional value in a model")),
            Type::Tensor(tensor) => {
                let input = self.input(name, dtype_of(&tensor.scalar), shape_of(tensor), true);
                Ok(Value::Tensor(self.whole(input)))
            }
            Type::Record(fields) => {
                let mut values = Vec::new();
                for (field, ty) in fields {
                    values.push((field.clone(), self.field(&names::inside(name, field), ty, span)?));
                }
                Ok(Value::Record(values))
            }
            Type::Error => Err(broken(span, "a field with an error reached elaboration")),
        }
    }

    /// Makes a value an output, a record as one output a field.
    fn give(&mut self, name: &str, value: Value, span: Span) -> Result<()> {
        match value {
            Value::Tensor(value) => {
                let value = Pointwise { hint: None, ..value };
                let (tensor, _) = self.whole_tensor(&value, name, origin(span, format!("`{name}`")))?;
                self.program.outputs.push((name.into(), tensor));
                Ok(())
            }
            Value::Record(fields) => {
                fields.into_iter().try_for_each(|(field, value)| self.give(&names::inside(name, &field), value, span))
            }
        }
    }

    /// A value spread to a shape of which its own is the end.
    fn fitted(&mut self, value: Pointwise, shape: &[bdl_dims::Dim]) -> Pointwise {
        let missing = shape.len().saturating_sub(value.axes.len());
        let mut axes = self.axes(&shape[..missing]);
        axes.extend(&value.axes);
        Pointwise { axes, ..value }
    }

    /// d loss / d each of `wrt`, by equations that are added to the program.
    pub fn differentiated(&mut self, loss: TensorId, wrt: &[TensorId], span: Span) -> Result<Vec<TensorId>> {
        bdl_equations::differentiate(&mut self.program, loss, wrt).map_err(|error| {
            let at = error.origin().map_or(span, |o| Span::new(bdl_grammar::FileId(o.file), o.start, o.end));
            Box::new(
                Diagnostic::error("no-derivative", format!("this cannot be differentiated: {error}"))
                    .primary(at, "here"),
            )
        })
    }
}

fn forward_of(hir: &Hir, entry: &Entry, training: bool) -> Result<Program> {
    let mut elaborator = Elaborator::new(&entry.name, hir, &entry.store, training);
    let function = elaborator.function(entry.function, Span::default())?;
    let mut inputs = Vec::new();
    for input in &function.inputs {
        let local = &function.locals[input.0 as usize];
        inputs.push((elaborator.field(&local.name, &local.ty, local.span)?, local.span));
    }
    let value = elaborator.call(function, inputs, &"".into(), function.span)?;
    elaborator.layer_updates()?;
    match value {
        Value::Tensor(value) => elaborator.give("y", Value::Tensor(value), function.span)?,
        Value::Record(fields) => {
            fields.into_iter().try_for_each(|(name, field)| elaborator.give(&name, field, function.span))?;
        }
    }
    let mut program = elaborator.take();
    rounds(&mut program);
    Ok(program)
}

// ------------------------------------------------------------------------------------------------ evaluation

fn evaluation(hir: &Hir, train: &Train, with_loss: bool) -> Result<Program> {
    let mut forward = Forward::new(if with_loss { "eval" } else { "predict" }, hir, train, false)?;
    if !with_loss {
        forward.predictions(train)?;
        return Ok(finished(bdl_equations::batch(&forward.elaborator.take())));
    }
    let loss = forward.scalar(train.loss, "loss_each", true, train.span)?;
    let per = forward.scalar(train.per, "per_each", true, train.span)?;
    forward.predictions(train)?;
    let mut program = bdl_equations::batch(&forward.elaborator.take());
    totals(&mut program, loss, per, train.span);
    Ok(finished(program))
}

/// Adds `loss_sum` and `per_sum` and makes them outputs.
fn totals(program: &mut Program, loss: TensorId, per: TensorId, span: Span) -> (TensorId, TensorId) {
    let loss = total(program, loss, "loss_sum", span);
    let per = total(program, per, "per_sum", span);
    program.outputs.push(("loss_sum".into(), loss));
    program.outputs.push(("per_sum".into(), per));
    (loss, per)
}

/// The sum over the batch of a scalar; a shared one counts once for every example.
fn total(program: &mut Program, each: TensorId, name: &str, span: Span) -> TensorId {
    let made = origin(span, format!("sum of `{}` over the batch", program.get(each).name));
    let batch = program.size(BATCH, SizeKind::Batch);
    let mut piece = PieceBuilder::new();
    let body = if program.is_per_example(each) {
        let b = piece.bound("b", batch);
        real(program, each, Expr::read(each, [b]))
    } else {
        real(program, each, scalar(each)) * Expr::number(batch)
    };
    program.define(name, DType::Real, piece.sum(body), made)
}

/// Truth values and integers as numbers (`per event`).
fn real(program: &Program, tensor: TensorId, read: Expr) -> Expr {
    match program.get(tensor).dtype {
        DType::Real | DType::F32 | DType::F64 | DType::BF16 => read,
        DType::I32 | DType::Bool => read.unary(UnaryOp::ToReal),
    }
}

/// A read of a tensor without axes.
fn scalar(tensor: TensorId) -> Expr {
    Expr::read(tensor, Vec::<Sub>::new())
}

// ------------------------------------------------------------------------------------------------ training

fn training(hir: &Hir, train: &Train, with_updates: bool) -> Result<Program> {
    let span = train.span;
    let mut forward = Forward::new(if with_updates { "step" } else { "gradient" }, hir, train, true)?;
    let loss = forward.scalar(train.loss, "loss_each", true, span)?;
    let per = forward.scalar(train.per, "per_each", true, span)?;
    let mut penalties = Vec::new();
    for penalty in &train.penalties {
        penalties.push(forward.scalar(*penalty, "penalty", false, span)?);
    }
    let mut elaborator = forward.elaborator;
    if with_updates {
        elaborator.layer_updates()?;
    }
    let mut program = bdl_equations::batch(&elaborator.take());
    let (loss_sum, per_sum) = totals(&mut program, loss, per, span);
    let mean = scalar(loss_sum) / scalar(per_sum);
    let value = penalties.into_iter().fold(mean, |sum, penalty| sum + scalar(penalty));
    let loss = program.define("loss", DType::Real, PieceBuilder::new().sum(value), origin(span, "loss".into()));
    program.outputs.push(("loss".into(), loss));
    elaborator.resume(program);

    let wrt: Vec<(hir::ParamId, TensorId)> = match (&train.optimizer, with_updates) {
        (Some(optimizer), true) => optimizer.parts.iter().filter_map(|p| elaborator.known_param(p.param)).collect(),
        (_, _) => elaborator.params_used().collect(),
    };
    let tensors: Vec<TensorId> = wrt.iter().map(|(_, tensor)| *tensor).collect();
    let gradients = elaborator.differentiated(loss, &tensors, span)?;
    let found: Vec<(hir::ParamId, TensorId, TensorId)> =
        wrt.into_iter().zip(gradients).map(|((id, w), g)| (id, w, g)).collect();
    if with_updates {
        elaborator.draws_per_example = false;
        elaborator.optimise(train, &found)?;
    } else {
        for (id, _, g) in found {
            let path = &train.store.params[id.0 as usize].path;
            elaborator.program.outputs.push((names::gradient(path), g));
        }
    }
    Ok(finished(elaborator.take()))
}

impl<'h> Elaborator<'h> {
    /// The tensor of a parameter, if something read it.
    fn known_param(&self, id: hir::ParamId) -> Option<(hir::ParamId, TensorId)> {
        self.params_used().find(|(known, _)| *known == id)
    }

    /// The `update`s of the functions elaborated so far become updates of the program.
    fn layer_updates(&mut self) -> Result<()> {
        for (id, value) in std::mem::take(&mut self.updates) {
            let state = &self.store.states[id.0 as usize];
            let target = self.state(id);
            let made = origin(state.span, format!("update of `{}`", state.path));
            let value = self.fitted(value, &shape_of(&state.ty));
            let (tensor, context) = self.whole_tensor(&value, &names::next(&state.path), made)?;
            if !context.is_empty() {
                return Err(not_built(state.span, "a state whose update differs under `for`"));
            }
            if tensor != target {
                self.program.updates.push((target, tensor));
            }
        }
        Ok(())
    }

    /// Clips the gradients and applies the optimiser to each parameter.
    fn optimise(&mut self, train: &'h Train, gradients: &[(hir::ParamId, TensorId, TensorId)]) -> Result<()> {
        let Some(optimizer) = &train.optimizer else { return Ok(()) };
        let clipping = self.clipping(train, gradients)?;
        for part in &optimizer.parts {
            let Some((_, w, g)) = gradients.iter().find(|(id, _, _)| *id == part.param) else { continue };
            let function = self.function(part.function, train.span)?;
            let param = &train.store.params[part.param.0 as usize];
            let gradient = self.whole(*g);
            let gradient = match &clipping {
                Clipping::None => gradient,
                Clipping::Scale(factor) => {
                    let factor = scalar(*factor);
                    gradient.map(DType::Real, |g| g * factor)
                }
                Clipping::Bound(limit) => {
                    let limit = scalar(*limit);
                    gradient.map(DType::Real, |g| g.binary(BinaryOp::Min, limit.clone()).binary(BinaryOp::Max, -limit))
                }
            };
            let inputs = vec![(Value::Tensor(self.whole(*w)), train.span), (Value::Tensor(gradient), train.span)];
            let value = self.call(function, inputs, &param.path, train.span)?;
            let Value::Tensor(value) = value else {
                return Err(broken(train.span, "an optimiser whose result is a record"));
            };
            let made = origin(function.span, format!("new value of `{}`", param.path));
            let value = Pointwise { hint: None, ..value };
            let (new, _) = self.whole_tensor(&value, &names::next(&param.path), made)?;
            if new != *w {
                self.program.updates.push((*w, new));
            }
        }
        self.layer_updates()
    }

    fn clipping(&mut self, train: &'h Train, gradients: &[(hir::ParamId, TensorId, TensorId)]) -> Result<Clipping> {
        let Some(clip) = &train.clip else { return Ok(Clipping::None) };
        let limit = match clip {
            Clip::Norm(function) | Clip::Value(function) => self.function(*function, train.span)?,
        };
        let made = origin(limit.span, "clipping".into());
        let value = self.call(limit, Vec::new(), &"clip".into(), train.span)?;
        let Value::Tensor(value) = value else { return Err(broken(train.span, "a clip that is a record")) };
        let (limit, _) = self.whole_tensor(&Pointwise { hint: None, ..value }, "clip.limit", made.clone())?;
        match clip {
            Clip::Value(_) => Ok(Clipping::Bound(limit)),
            Clip::Norm(_) => Ok(Clipping::Scale(norm_scale(&mut self.program, limit, gradients, &made))),
        }
    }
}

enum Clipping {
    None,
    /// Every gradient is multiplied by this scalar.
    Scale(TensorId),
    /// Every element is kept within plus and minus this scalar.
    Bound(TensorId),
}

/// min(1, limit / (norm + 1e-6)), norm being that of all gradients together. Source: PyTorch's `clip_grad_norm_`.
fn norm_scale(
    program: &mut Program,
    limit: TensorId,
    gradients: &[(hir::ParamId, TensorId, TensorId)],
    made: &Origin,
) -> TensorId {
    let mut total = Expr::Const(0.0);
    for (_, w, g) in gradients {
        let shape = program.get(*g).shape.clone();
        let mut piece = PieceBuilder::new();
        let subs: Vec<Sub> = shape
            .iter()
            .zip(["i", "j", "k", "l", "m", "n"])
            .map(|(size, name)| piece.bound(name, size.clone()).into())
            .collect();
        let body = Expr::read(*g, subs).squared();
        let name = format!("clip.{}", program.get(*w).name);
        let part = program.define(&name, DType::Real, piece.sum(body), made.clone());
        total = total + scalar(part);
    }
    let norm = total.unary(UnaryOp::Sqrt) + Expr::Const(1e-6);
    let scale = Expr::Const(1.0).binary(BinaryOp::Min, scalar(limit) / norm);
    program.define("clip.scale", DType::Real, PieceBuilder::new().sum(scale), made.clone())
}

// ------------------------------------------------------------------------------------------------ passes

/// The last form of a program: nothing is differentiated any more.
fn finished(mut program: Program) -> Program {
    simplify(&mut program);
    program
}
