//! One training step of an objective: its loss, the gradients of what it moves, and their optimisers.
//!
//! The loss of a batch is  sum over b of loss[b] / sum over b of per[b] + penalties.  What an objective moves is what its optimisers name
//! and nothing has frozen; the state of other parts (`over`) stays too.

use crate::context::{Elaborator, Result, broken, not_built, origin, shape_of};
use crate::names;
use crate::program::{Forward, Objective, finished, scalar, totals, within};
use crate::value::{Pointwise, Value};
use bdl_check::hir::{self, Clip, Hir, Train, is_under};
use bdl_equations::{BinaryOp, DType, Expr, Name, Origin, PieceBuilder, Program, Sub, TensorId, UnaryOp};

/// The programs of one objective.
pub(crate) fn objective(hir: &Hir, train: &Train, objective: &hir::Objective) -> Result<Objective> {
    let mut steps = Vec::new();
    let starts = stretches(train);
    if objective.optimizer.is_some() {
        for first in &starts {
            steps.push((*first, training(hir, train, objective, &frozen_in(train, *first), true)?));
        }
    }
    let last = starts.last().copied().unwrap_or(0);
    let gradient = training(hir, train, objective, &frozen_in(train, last), false)?;
    Ok(Objective { name: objective.name.clone(), steps, gradient })
}

/// The epochs in which something begins to move, and 0.
fn stretches(train: &Train) -> Vec<u64> {
    let until = train.frozen.iter().filter_map(|frozen| frozen.epochs).map(|epochs| epochs.max(0) as u64);
    let mut starts: Vec<u64> = std::iter::once(0).chain(until).collect();
    starts.sort_unstable();
    starts.dedup();
    starts
}

/// What does not move in an epoch.
fn frozen_in(train: &Train, epoch: u64) -> Vec<Name> {
    let frozen = train.frozen.iter().filter(|frozen| frozen.epochs.is_none_or(|until| epoch < until.max(0) as u64));
    frozen.map(|frozen| frozen.path.clone()).collect()
}

fn training(
    hir: &Hir,
    train: &Train,
    objective: &hir::Objective,
    frozen: &[Name],
    with_updates: bool,
) -> Result<Program> {
    let span = train.span;
    let mut forward =
        Forward::new(&within(&objective.name, if with_updates { "step" } else { "gradient" }), hir, train, true)?;
    forward.elaborator.frozen = frozen.to_vec();
    let loss = forward.scalar(objective.loss, "loss_each", true, span)?;
    let per = forward.scalar(objective.per, "per_each", true, span)?;
    let mut penalties = Vec::new();
    for penalty in &objective.penalties {
        penalties.push(forward.scalar(*penalty, "penalty", false, span)?);
    }
    let mut elaborator = forward.elaborator;
    let is_frozen = |path: &str| frozen.iter().any(|prefix| is_under(path, prefix));
    let is_over = |path: &str| objective.over.is_empty() || objective.over.iter().any(|prefix| is_under(path, prefix));
    if with_updates {
        elaborator.layer_updates(&|path| is_over(path) && !is_frozen(path))?;
    }
    let mut program = bdl_equations::batch(&elaborator.take());
    let (loss_sum, per_sum) = totals(&mut program, "", loss, per, span);
    let mean = scalar(loss_sum) / scalar(per_sum);
    let value = penalties.into_iter().fold(mean, |sum, penalty| sum + scalar(penalty));
    let loss = program.define("loss", DType::Real, PieceBuilder::new().sum(value), origin(span, "loss".into()));
    program.outputs.push(("loss".into(), loss));
    elaborator.resume(program);

    let moved: Vec<(hir::ParamId, TensorId)> = elaborator
        .params_used()
        .filter(|(id, _)| {
            let path = &train.store.params[id.0 as usize].path;
            let optimised = objective.optimizer.as_ref().is_none_or(|o| o.parts.iter().any(|part| part.param == *id));
            is_over(path) && !is_frozen(path) && (optimised || !with_updates)
        })
        .collect();
    let tensors: Vec<TensorId> = moved.iter().map(|(_, tensor)| *tensor).collect();
    let gradients = elaborator.differentiated(loss, &tensors, span)?;
    let found: Vec<(hir::ParamId, TensorId, TensorId)> =
        moved.into_iter().zip(gradients).map(|((id, w), g)| (id, w, g)).collect();
    if with_updates {
        elaborator.draws_per_example = false;
        elaborator.optimise(train, objective, &found)?;
    } else {
        for (id, _, g) in found {
            let path = &train.store.params[id.0 as usize].path;
            elaborator.program.outputs.push((names::gradient(path), g));
        }
    }
    Ok(finished(elaborator.take()))
}

impl<'h> Elaborator<'h> {
    /// The `update`s of the functions elaborated so far become updates of the program, where the state moves.
    pub fn layer_updates(&mut self, moves: &dyn Fn(&str) -> bool) -> Result<()> {
        for (id, value) in std::mem::take(&mut self.updates) {
            let state = &self.store.states[id.0 as usize];
            if !moves(&state.path) {
                continue;
            }
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
    fn optimise(
        &mut self,
        train: &'h Train,
        objective: &'h hir::Objective,
        gradients: &[(hir::ParamId, TensorId, TensorId)],
    ) -> Result<()> {
        let Some(optimizer) = &objective.optimizer else { return Ok(()) };
        let clipping = self.clipping(train, objective, gradients)?;
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
        self.layer_updates(&|_| true)
    }

    fn clipping(
        &mut self,
        train: &'h Train,
        objective: &'h hir::Objective,
        gradients: &[(hir::ParamId, TensorId, TensorId)],
    ) -> Result<Clipping> {
        let Some(clip) = &objective.clip else { return Ok(Clipping::None) };
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
