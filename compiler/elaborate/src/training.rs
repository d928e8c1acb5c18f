//! One training step of an objective: its loss, the gradients of what it moves, and their optimisers.
//!
//! The loss of a batch is  sum over b of loss[b] / sum over b of per[b] + penalties.  What an objective moves is what its optimisers name
//! and nothing has frozen; the state of other parts (`over`) stays too.

use crate::context::{Elaborator, Result, broken, not_built, origin, shape_of};
use crate::join::join;
use crate::names;
use crate::program::{Forward, Objective, Since, Step, batched, finished, number_like, scalar, totals, within};
use crate::value::{Pointwise, Value};
use bdl_check::hir::{self, Clip, Hir, Train, Until, is_under};
use bdl_equations::convolution::Convolutions;
use bdl_equations::{BinaryOp, CompareOp, DType, Expr, Name, Origin, PieceBuilder, Program, Sub, TensorId, UnaryOp};
use std::collections::BTreeSet;

/// The programs of one objective.
pub(crate) fn objective(
    hir: &Hir,
    train: &Train,
    objective: &hir::Objective,
    convolutions: Convolutions,
) -> Result<Objective> {
    Ok(Objective { name: objective.name.clone(), steps: steps(hir, train, objective, convolutions)? })
}

/// The gradient program of one objective, of the time when most of it moves.
pub(crate) fn gradient(
    hir: &Hir,
    train: &Train,
    objective: &hir::Objective,
    convolutions: Convolutions,
) -> Result<Program> {
    let last = stretches(train).last().copied().unwrap_or_default();
    training(hir, train, objective, &frozen_in(train, last), Kind::Gradient, convolutions)
}

/// The steps of an objective by the time from which each holds.
fn steps(
    hir: &Hir,
    train: &Train,
    objective: &hir::Objective,
    convolutions: Convolutions,
) -> Result<Vec<(Since, Step)>> {
    let mut steps = Vec::new();
    for first in stretches(train).iter().filter(|_| objective.optimizer.is_some()) {
        let frozen = frozen_in(train, *first);
        let step = if train.parts > 1 {
            let (accumulate, step) = join(
                || training(hir, train, objective, &frozen, Kind::Accumulate, convolutions),
                || applied(hir, train, objective, &frozen),
            );
            Step { accumulate: Some(accumulate?), step: step? }
        } else {
            Step { accumulate: None, step: training(hir, train, objective, &frozen, Kind::Step, convolutions)? }
        };
        steps.push((*first, step));
    }
    Ok(steps)
}

/// What a program does with the gradient of a batch.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Gives it.
    Gradient,
    /// Lets the optimisers use it.
    Step,
    /// Adds that of the loss's sum to the sums of the parts before.
    Accumulate,
}

/// The times at which something begins to move, and the first.
fn stretches(train: &Train) -> Vec<Since> {
    let starts = |of: &dyn Fn(Until) -> Option<i64>| {
        let until =
            train.frozen.iter().filter_map(|frozen| frozen.until).filter_map(of).map(|count| count.max(0) as u64);
        let starts: BTreeSet<u64> = std::iter::once(0).chain(until).collect();
        starts
    };
    let epochs = starts(&|until| match until {
        Until::Epoch(count) => Some(count),
        Until::Step(_) => None,
    });
    let steps = starts(&|until| match until {
        Until::Epoch(_) => None,
        Until::Step(count) => Some(count),
    });
    // How many steps an epoch has, only the run knows.
    epochs.into_iter().flat_map(|epoch| steps.iter().map(move |&step| Since { epoch, step })).collect()
}

/// What does not move from then on.
fn frozen_in(train: &Train, since: Since) -> Vec<Name> {
    let frozen = train.frozen.iter().filter(|frozen| match frozen.until {
        None => true,
        Some(Until::Epoch(until)) => since.epoch < until.max(0) as u64,
        Some(Until::Step(until)) => since.step < until.max(0) as u64,
    });
    frozen.map(|frozen| frozen.path.clone()).collect()
}

/// The parameters that a step moves, and the states.
struct Moves<'t> {
    train: &'t Train,
    objective: &'t hir::Objective,
    frozen: &'t [Name],
}

impl Moves<'_> {
    fn state(&self, path: &str) -> bool {
        let over = &self.objective.over;
        (over.is_empty() || over.iter().any(|prefix| is_under(path, prefix)))
            && !self.frozen.iter().any(|prefix| is_under(path, prefix))
    }

    fn param(&self, id: hir::ParamId) -> bool {
        self.state(&self.train.store.params[id.0 as usize].path)
    }

    fn optimised(&self, id: hir::ParamId) -> bool {
        let optimizer = self.objective.optimizer.as_ref();
        self.param(id) && optimizer.is_some_and(|o| o.parts.iter().any(|part| part.param == id))
    }
}

fn training(
    hir: &Hir,
    train: &Train,
    objective: &hir::Objective,
    frozen: &[Name],
    kind: Kind,
    convolutions: Convolutions,
) -> Result<Program> {
    let span = train.span;
    let moves = Moves { train, objective, frozen };
    let name = match kind {
        Kind::Gradient => "gradient",
        Kind::Step => "step",
        Kind::Accumulate => "accumulate",
    };
    let mut forward = Forward::new(&within(&objective.name, name), hir, train, true)?;
    forward.elaborator.frozen = frozen.to_vec();
    if train.weights.is_some() {
        forward.weigh();
    }
    let (loss, per) = forward.loss(objective.loss, objective.per, &|name| name.into(), span)?;
    let mut penalties = Vec::new();
    for penalty in objective.penalties.iter().filter(|_| kind != Kind::Accumulate) {
        penalties.push(forward.scalar(*penalty, "penalty", false, span)?);
    }
    let mut elaborator = forward.elaborator;
    if kind != Kind::Gradient {
        elaborator.layer_updates(&|path| moves.state(path))?;
    }
    let mut program = batched(&elaborator.take(), convolutions);
    let (loss_sum, per_sum) = totals(&mut program, "", loss, per, span);
    let goal = if kind == Kind::Accumulate {
        loss_sum
    } else {
        let counted = divisor(&program, per, per_sum);
        let mean = scalar(loss_sum) / number_like(&program, loss_sum, counted);
        let dtype = program.get(loss_sum).dtype;
        let loss = sum_of(&mut program, (mean, dtype), &penalties, span);
        program.outputs.push(("loss".into(), loss));
        loss
    };
    elaborator.resume(program);

    let wanted = |id: hir::ParamId| if kind == Kind::Gradient { moves.param(id) } else { moves.optimised(id) };
    let moved: Vec<(hir::ParamId, TensorId)> = elaborator.params_used().filter(|(id, _)| wanted(*id)).collect();
    let found = elaborator.gradients(goal, moved, span)?;
    match kind {
        Kind::Step => {
            elaborator.draws_per_example = false;
            elaborator.optimise(train, objective, &found)?;
        }
        Kind::Gradient => {
            for (id, _, g) in found {
                let path = &train.store.params[id.0 as usize].path;
                elaborator.program.outputs.push((names::gradient(path), g));
            }
        }
        Kind::Accumulate => {
            elaborator.accumulate(&hir::accumulated(&objective.name, "per"), per_sum, span)?;
            for (id, _, g) in found {
                let path = &train.store.params[id.0 as usize].path;
                elaborator.accumulate(&hir::accumulated(&objective.name, path), g, span)?;
            }
        }
    }
    Ok(finished(elaborator.take()))
}

/// The step after all parts of a batch: the summed gradients over the summed weights, with those of the penalties, for the optimisers.
fn applied(hir: &Hir, train: &Train, objective: &hir::Objective, frozen: &[Name]) -> Result<Program> {
    let span = train.span;
    let moves = Moves { train, objective, frozen };
    let mut elaborator = Elaborator::new(&within(&objective.name, "step"), hir, &train.store, true);
    elaborator.frozen = frozen.to_vec();
    let mut forward = Forward { elaborator, inputs: Vec::new(), weight: None };
    let mut penalties = Vec::new();
    for penalty in &objective.penalties {
        penalties.push(forward.scalar(*penalty, "penalty", false, span)?);
    }
    let mut elaborator = forward.elaborator;
    let mut program = bdl_equations::batch(&elaborator.take());
    let goal = sum_of(&mut program, (Expr::Const(0.0), DType::Real), &penalties, span);
    elaborator.resume(program);
    let optimised: Vec<hir::ParamId> =
        (0..train.store.params.len() as u32).map(hir::ParamId).filter(|id| moves.optimised(*id)).collect();
    let moved = optimised.into_iter().map(|id| (id, elaborator.param(id))).collect();
    let per = elaborator.state_called(&hir::accumulated(&objective.name, "per"), span)?;
    let mut found = elaborator.gradients(goal, moved, span)?;
    let mut sums = vec![per];
    for (id, _, g) in &mut found {
        let path = &train.store.params[id.0 as usize].path;
        let sum = elaborator.state_called(&hir::accumulated(&objective.name, path), span)?;
        let (per, of_penalties) = (scalar(per), elaborator.whole(*g));
        let whole = elaborator.whole(sum);
        let mean = whole.map(DType::Real, |sum| sum / per);
        let both = vec![mean, elaborator.in_precision(of_penalties, DType::Real)];
        let total = elaborator.broadcast(both, DType::Real, span, |args| {
            args.into_iter().reduce(|a, b| a + b).unwrap_or(Expr::Const(0.0))
        })?;
        (*g, _) =
            elaborator.whole_tensor(&total, &names::gradient(path), origin(span, format!("gradient by `{path}`")))?;
        sums.push(sum);
    }
    elaborator.draws_per_example = false;
    elaborator.optimise(train, objective, &found)?;
    for sum in sums {
        let name = elaborator.program.get(sum).name.clone();
        let zero = elaborator.whole(sum).map(DType::Real, |_| Expr::Const(0.0));
        let made = origin(span, format!("`{name}` for the next batch"));
        let (zero, _) = elaborator.whole_tensor(&zero, &names::next(&name), made)?;
        elaborator.program.updates.push((sum, zero));
    }
    Ok(finished(elaborator.take()))
}

/// `loss`: a value and the penalties, an f64 if one of them is.
fn sum_of(program: &mut Program, value: (Expr, DType), penalties: &[TensorId], span: bdl_grammar::Span) -> TensorId {
    let penalties = penalties.iter().map(|penalty| (scalar(*penalty), program.get(*penalty).dtype));
    let terms: Vec<(Expr, DType)> = std::iter::once(value).chain(penalties).collect();
    let is_f64 = terms.iter().any(|(_, dtype)| *dtype == DType::F64);
    let each = terms.into_iter().map(|(term, dtype)| match (is_f64, dtype, term.as_const()) {
        (true, DType::Real | DType::F32 | DType::BF16, None) => term.unary(UnaryOp::ToF64),
        (_, _, _) => term,
    });
    let value = each.reduce(|sum, term| sum + term).unwrap_or(Expr::Const(0.0));
    let dtype = if is_f64 { DType::F64 } else { DType::Real };
    program.define("loss", dtype, PieceBuilder::new().sum(value), origin(span, "loss".into()))
}

/// What the summed loss is divided by: where nothing in the batch counts (no label, no event) the loss is 0.
fn divisor(program: &Program, per: TensorId, per_sum: TensorId) -> Expr {
    let counts = scalar(per_sum);
    match program.is_per_example(per) {
        true => counts.clone().compare(CompareOp::Ne, Expr::Const(0.0)).select(counts, Expr::Const(1.0)),
        false => counts,
    }
}

impl<'h> Elaborator<'h> {
    /// Parameters with their gradients.
    fn gradients(
        &mut self,
        goal: TensorId,
        moved: Vec<(hir::ParamId, TensorId)>,
        span: bdl_grammar::Span,
    ) -> Result<Vec<(hir::ParamId, TensorId, TensorId)>> {
        let tensors: Vec<TensorId> = moved.iter().map(|(_, tensor)| *tensor).collect();
        let gradients = self.differentiated(goal, &tensors, span)?;
        Ok(moved.into_iter().zip(gradients).map(|((id, w), g)| (id, w, g)).collect())
    }

    fn state_called(&mut self, path: &str, span: bdl_grammar::Span) -> Result<TensorId> {
        let found = self.store.states.iter().position(|state| *state.path == *path);
        let id = found.ok_or_else(|| broken(span, "a state that the checker did not make"))?;
        Ok(self.state(hir::StateId(id as u32)))
    }

    /// Adds a tensor to a state.
    fn accumulate(&mut self, path: &str, by: TensorId, span: bdl_grammar::Span) -> Result<()> {
        let sum = self.state_called(path, span)?;
        let (old, by) = (self.whole(sum), self.whole(by));
        let by = self.in_precision(by, old.dtype);
        let new = self.broadcast(vec![old, by], DType::Real, span, |args| {
            args.into_iter().reduce(|a, b| a + b).unwrap_or(Expr::Const(0.0))
        })?;
        let (new, _) = self.whole_tensor(&new, &names::next(path), origin(span, format!("sum of `{path}`")))?;
        self.program.updates.push((sum, new));
        Ok(())
    }

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
            if let Some(decay) = train.average {
                self.average(train, decay, &param.path, new)?;
            }
        }
        self.layer_updates(&|_| true)
    }

    /// a = decay a + (1 - decay) w, w being the new value of a parameter; a = w after the first step.
    fn average(&mut self, train: &'h Train, decay: hir::FunctionId, path: &str, new: TensorId) -> Result<()> {
        let function = self.function(decay, train.span)?;
        let made = origin(function.span, format!("moving average of `{path}`"));
        let Value::Tensor(decay) = self.call(function, Vec::new(), &"average".into(), train.span)? else {
            return Err(broken(train.span, "a decay that is a record"));
        };
        let average = self.state_called(&hir::average_of(path), train.span)?;
        let step = self.ambient("step");
        let (old, new) = (self.whole(average), self.whole(new));
        let value = self.broadcast(vec![old, new], DType::Real, train.span, |mut args| {
            let (Some(new), Some(old)) = (args.pop(), args.pop()) else { return Expr::Const(0.0) };
            let decay = decay.body.clone();
            let moved = decay.clone() * old + (Expr::Const(1.0) - decay) * new.clone();
            step.body.clone().compare(CompareOp::Eq, Expr::Const(0.0)).select(new, moved)
        })?;
        let (value, _) = self.whole_tensor(&value, &names::next(&hir::average_of(path)), made)?;
        self.program.updates.push((average, value));
        Ok(())
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
