//! The programs of a `train` block.
//!
//! | program | is | gives | updates |
//! |---|---|---|---|
//! | `init` | first values of parameters and state, shared | each by its path | |
//! | `step` | one training step, `training` = true | `loss_sum per_sum loss` | parameters, state |
//! | `gradient` | a step without its updates, made by [`gradients`] where somebody asks | `loss_sum per_sum loss`, `grad.<path>` for each parameter | |
//! | `eval` | `training` = false | `loss_sum per_sum`, every prediction by name | |
//! | `predict` | predictions alone, reading only what they need | every prediction by name | |
//!
//! Each objective (`step critic { .. }`) has a `step` and a `gradient` of its own; `eval` then gives `critic.loss_sum critic.per_sum` for
//! each. What is frozen for some time makes a `step` for each stretch of time.
//!
//! The loss of a batch is  sum over b of loss[b] / sum over b of per[b] + penalties.  `step steps epoch epochs` are inputs of those
//! names, scalars that the trainer supplies; they exist in a program only where something reads them. A parameter that no program
//! reads is not created.

use crate::context::{Elaborator, Result, broken, dtype_of, origin, shape_of};
use crate::join::join;
use crate::names;
use crate::value::{Pointwise, Value};
use bdl_check::hir::{self, Entry, Hir, Store, Train, Type};
use bdl_equations::convolution::{Convolutions, fewer_products};
use bdl_equations::simplify::{drop_unused, rounds, simplify, thaw};
use bdl_equations::{BATCH, DType, Expr, Name, PieceBuilder, Program, Role, SizeKind, Sub, TensorId, UnaryOp};
use bdl_grammar::{Diagnostic, Span};
use rustc_hash::FxHashSet as HashSet;

/// What a `train` block runs. The programs share parameters and state by name.
#[derive(Clone, Debug, PartialEq)]
pub struct Programs {
    pub init: Program,
    /// One an objective, in the order of the block.
    pub objectives: Vec<Objective>,
    pub eval: Program,
    pub predict: Program,
    /// A loss, a prediction or a score looks across the batch: it is evaluated with all rows as one.
    pub eval_at_once: bool,
    /// A loss does: it is another one in batches of another size.
    pub loss_across: bool,
}

/// The programs of one loss.
#[derive(Clone, Debug, PartialEq)]
pub struct Objective {
    /// Empty where the block has no `step`.
    pub name: Name,
    /// By the time from which each holds, from the start on; empty where the block has no optimiser.
    pub steps: Vec<(Since, Step)>,
}

/// The epoch and the step of the run from which on something holds: both must be reached. Of several the greatest holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Since {
    pub epoch: u64,
    pub step: u64,
}

/// A training step.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Where a batch is computed in parts: what each part runs. `step` then has no examples.
    pub accumulate: Option<Program>,
    pub step: Program,
}

impl Step {
    /// What runs on examples.
    pub fn main(&self) -> &Program {
        self.accumulate.as_ref().unwrap_or(&self.step)
    }
}

impl Programs {
    /// The first training step, which stands for all where one is shown.
    pub fn step(&self) -> Option<&Program> {
        self.objectives.iter().flat_map(|objective| &objective.steps).map(|(_, step)| step.main()).next()
    }

    /// What a batch may run: of each objective, its steps' programs over examples.
    pub fn steps(&self) -> impl Iterator<Item = &Program> {
        self.objectives.iter().flat_map(|objective| &objective.steps).map(|(_, step)| step.main())
    }

    /// Leaves what is said about the programs: once they are compiled, nobody looks at their equations.
    pub fn clear(&mut self) {
        let nothing = || Program::new("");
        (self.init, self.eval, self.predict) = (nothing(), nothing(), nothing());
        self.objectives.clear();
    }

    pub fn all(&self) -> impl Iterator<Item = &Program> {
        let steps = self.objectives.iter().flat_map(|objective| &objective.steps);
        let steps = steps.flat_map(|(_, step)| step.accumulate.iter().chain([&step.step]));
        [&self.init, &self.eval, &self.predict].into_iter().chain(steps)
    }
}

/// Parameters whose gradient is 0 whatever the data: a loss reads them, but no way that can be differentiated leads to them.
pub fn warnings(gradients: &[Program], train: &Train) -> Vec<Diagnostic> {
    let mut warnings = Vec::new();
    let moved = |name: &str| {
        gradients.iter().any(|gradient| {
            let output = gradient.outputs.iter().find(|(output, _)| **output == *names::gradient(name));
            output.is_some_and(|(_, id)| !is_zero(gradient, *id))
        })
    };
    let read = |name: &str| {
        let outputs = gradients.iter().flat_map(|gradient| &gradient.outputs);
        outputs.into_iter().any(|(output, _)| **output == *names::gradient(name))
    };
    for param in train.store.params.iter().filter(|param| read(&param.path) && !moved(&param.path)) {
        warnings.push(
            Diagnostic::warning("no-gradient", format!("the gradient of `{}` is 0, whatever the data", param.path))
                .primary(param.span, "training does not move it")
                .help("is it read behind `freeze`, a comparison, or rounding only?"),
        );
    }
    warnings
}

/// The programs of one `train` block, batched, differentiated and simplified. Those that train and evaluate compute `convolutions` so;
/// predictions, which may be of one example, prepare no filters.
///
/// Errors: `not-built-yet` for a construct that the language has and this version does not; `internal` where the HIR breaks a promise
/// of the checker.
pub fn programs(hir: &Hir, train: &Train, convolutions: Convolutions) -> std::result::Result<Programs, Diagnostic> {
    build(hir, train, convolutions).map_err(|error| *error)
}

/// The program `predict` of a `train` block alone.
///
/// Errors as for [`programs`].
pub fn predict(hir: &Hir, train: &Train) -> std::result::Result<Program, Diagnostic> {
    predictions(hir, train).map_err(|error| *error)
}

/// The first values of what a program of the block stores, each an output by its path.
///
/// Errors as for [`programs`].
pub fn first_values(hir: &Hir, train: &Train, program: &Program) -> std::result::Result<Program, Diagnostic> {
    let stored = program.tensors.iter().filter(|t| matches!(t.role, Role::Param | Role::State));
    init(hir, &train.store, &stored.map(|t| t.name.clone()).collect()).map_err(|error| *error)
}

/// The gradient program of each objective, in the order of the block. No run needs them: they are for looking at gradients and for checking
/// them, and take as long to make as the steps.
///
/// Errors as for [`programs`].
pub fn gradients(
    hir: &Hir,
    train: &Train,
    convolutions: Convolutions,
) -> std::result::Result<Vec<Program>, Diagnostic> {
    let gradient = |objective| crate::training::gradient(hir, train, objective, convolutions);
    let each = train.objectives.iter().map(gradient);
    each.collect::<Result<Vec<Program>>>().map_err(|error| *error)
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

fn build(hir: &Hir, train: &Train, convolutions: Convolutions) -> Result<Programs> {
    let objectives = || {
        let made = |objective| crate::training::objective(hir, train, objective, convolutions);
        let each = train.objectives.iter().map(made);
        each.collect::<Result<Vec<Objective>>>()
    };
    // Mostly all that is stored is read.
    let store = &train.store;
    let params = store.params.iter().map(|param| param.path.clone());
    let all: HashSet<Name> = params.chain(store.states.iter().map(|state| state.path.clone())).collect();
    let others = || {
        let (evaluated, predicted) = join(|| evaluation(hir, train, convolutions), || predictions(hir, train));
        (evaluated, predicted, init(hir, store, &all))
    };
    let (objectives, (evaluated, predicted, init_of_all)) = join(objectives, others);
    let objectives = objectives?;
    let (eval, eval_at_once, loss_across) = evaluated?;
    let predict = predicted?;
    let nothing = Program::new("init");
    let mut programs = Programs { init: nothing, objectives, eval, predict, eval_at_once, loss_across };
    // Without an optimiser no step reads what the loss alone reads in training, but its gradient does.
    let untrained = train.objectives.iter().filter(|objective| objective.optimizer.is_none());
    let of_losses = untrained.map(|objective| crate::training::gradient(hir, train, objective, convolutions));
    let of_losses = of_losses.collect::<Result<Vec<Program>>>()?;
    let made = programs.all().chain(&of_losses);
    let stored = made.flat_map(|p| &p.tensors).filter(|t| matches!(t.role, Role::Param | Role::State));
    let used: HashSet<Name> = stored.map(|t| t.name.clone()).collect();
    programs.init = if all.is_subset(&used) { init_of_all? } else { init(hir, store, &used)? };
    Ok(programs)
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
        let value = elaborator.in_precision(value, dtype_of(&ty.scalar));
        let value = Pointwise { hint: None, dtype: dtype_of(&ty.scalar), ..value };
        let made = origin(span, format!("initial value of `{path}`"));
        let (tensor, _) = elaborator.whole_tensor(&value, path, made)?;
        elaborator.program.outputs.push((path.clone(), tensor));
    }
    Ok(finished(elaborator.take()))
}

// ------------------------------------------------------------------------------------------------ one example

/// The functions of a `train` block elaborated for one example, and its data as values.
pub(crate) struct Forward<'h> {
    pub elaborator: Elaborator<'h>,
    pub inputs: Vec<(Value, Span)>,
    /// What each example counts in the loss of a training step, where examples do not count the same.
    pub weight: Option<Pointwise>,
}

impl<'h> Forward<'h> {
    pub fn new(name: &str, hir: &'h Hir, train: &'h Train, training: bool) -> Result<Forward<'h>> {
        let mut elaborator = Elaborator::new(name, hir, &train.store, training);
        let mut inputs = Vec::new();
        for field in &train.inputs {
            inputs.push((elaborator.field(&field.name, &field.ty, field.one_hot, train.span)?, train.span));
        }
        Ok(Forward { elaborator, inputs, weight: None })
    }

    /// Examples count as the input [`hir::ROW_WEIGHT`] says.
    pub fn weigh(&mut self) {
        let role = Role::Input { per_example: true, one_hot: false };
        let weight = self.elaborator.input(hir::ROW_WEIGHT, DType::Real, Vec::new(), role);
        self.weight = Some(self.elaborator.whole(weight));
    }

    /// The loss of an example and what it counts, as tensors called so after `prefix`. One whose loss is missing has the loss 0 and
    /// counts nothing.
    pub fn loss(
        &mut self,
        loss: hir::FunctionId,
        per: hir::FunctionId,
        prefix: &dyn Fn(&str) -> Name,
        span: Span,
    ) -> Result<(TensorId, TensorId)> {
        let (each, count) = (self.value(loss, true, span)?, self.value(per, true, span)?);
        let [each, count] = match each.whether_known() {
            None => [each, count],
            Some(known) => [each, count].map(|value| {
                let body = known.body.clone().select(value.body, Expr::Const(0.0));
                Pointwise { body, known: None, ..value }
            }),
        };
        let [each, count] = match &self.weight {
            None => [each, count],
            Some(weight) => [each, count].map(|value| {
                // A truth value counts as 1 (`per event`).
                let (number, dtype) = match value.dtype {
                    DType::Bool | DType::I32 => (value.body.unary(UnaryOp::ToReal), DType::Real),
                    DType::Real | DType::F32 | DType::BF16 => (value.body, DType::Real),
                    DType::F64 => (value.body, DType::F64),
                };
                let weight = self.elaborator.in_precision(weight.clone(), dtype).body;
                Pointwise { body: weight * number, dtype, ..value }
            }),
        };
        let count = self.elaborator.in_precision(count, DType::Real);
        let each = self.named(each, &prefix("loss_each"), loss, span)?;
        Ok((each, self.named(count, &prefix("per_each"), per, span)?))
    }

    fn named(&mut self, value: Pointwise, name: &str, function: hir::FunctionId, span: Span) -> Result<TensorId> {
        let made = origin(self.elaborator.function(function, span)?.span, format!("`{name}`"));
        let value = Pointwise { hint: None, ..value };
        self.elaborator.whole_tensor(&value, name, made).map(|(tensor, _)| tensor)
    }

    /// The scalar that a function of the data gives, as a tensor called `name`.
    pub fn scalar(&mut self, function: hir::FunctionId, name: &str, inputs: bool, span: Span) -> Result<TensorId> {
        let value = self.value(function, inputs, span)?;
        self.named(value, name, function, span)
    }

    fn value(&mut self, function: hir::FunctionId, inputs: bool, span: Span) -> Result<Pointwise> {
        let function = self.elaborator.function(function, span)?;
        let inputs = if inputs { self.inputs.clone() } else { Vec::new() };
        let value = self.elaborator.call(function, inputs, &"".into(), span)?;
        let Value::Tensor(value) = value else { return Err(broken(span, "a loss that is a record")) };
        if !value.axes.is_empty() {
            return Err(broken(span, "a loss that is not a single number"));
        }
        Ok(value)
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
    fn field(&mut self, name: &str, ty: &Type, one_hot: bool, span: Span) -> Result<Value> {
        match ty {
            Type::Tensor(tensor) => {
                let role = Role::Input { per_example: true, one_hot };
                let input = self.input(name, dtype_of(&tensor.scalar), shape_of(tensor), role);
                self.bounds.extend(tensor.scalar.below().map(|bound| (input, bound)));
                let value = self.whole(input);
                if !tensor.optional {
                    return Ok(Value::Tensor(value));
                }
                let role = Role::Input { per_example: true, one_hot: false };
                let known = self.input(&names::known(name), DType::Bool, shape_of(tensor), role);
                let known = self.whole(known).at_indices(&value.axes);
                Ok(Value::Tensor(Pointwise { known: Some(known), ..value }))
            }
            Type::Record(fields) => {
                let mut values = Vec::new();
                for (field, ty) in fields {
                    values.push((field.clone(), self.field(&names::inside(name, field), ty, one_hot, span)?));
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
                let known = value.whether_known();
                let value = Pointwise { hint: None, ..value };
                let (tensor, _) = self.whole_tensor(&value, name, origin(span, format!("`{name}`")))?;
                self.program.outputs.push((name.into(), tensor));
                known.map_or(Ok(()), |known| self.give(&names::known(name), Value::Tensor(known), span))
            }
            Value::Record(fields) => {
                fields.into_iter().try_for_each(|(field, value)| self.give(&names::inside(name, &field), value, span))
            }
        }
    }

    /// A value spread to a shape of which its own is the end.
    pub fn fitted(&mut self, value: Pointwise, shape: &[bdl_dims::Dim]) -> Pointwise {
        let missing = shape.len().saturating_sub(value.axes.len());
        let mut axes = self.axes(&shape[..missing]);
        axes.extend(&value.axes);
        Pointwise { axes, ..value }
    }

    /// A `grad` of one example's value that other examples have a part in.
    fn across_batch(&self, origin: &bdl_equations::Origin, span: Span) -> Box<Diagnostic> {
        let own = |span: &&Span| !self.hir.library.contains(&span.file);
        let at = std::iter::once(&span).chain(self.calls.iter().rev()).find(own).copied().unwrap_or(span);
        let mut diagnostic = Diagnostic::error(
            "grad-across-batch",
            "this gradient is of a value that the other examples of the batch change",
        )
        .primary(at, "the gradient of one example would be one by all of them");
        if let Some(what) = &origin.what {
            diagnostic = diagnostic.note(format!("the {what} is taken over the batch"));
        }
        Box::new(diagnostic.help(
            "normalise within the example (`LayerNorm()` in the place of `BatchNorm()`), or take the gradient of something that all share, such as `mean[batch] f(x)`",
        ))
    }

    /// d loss / d each of `wrt`, by equations that are added to the program.
    pub fn differentiated(&mut self, loss: TensorId, wrt: &[TensorId], span: Span) -> Result<Vec<TensorId>> {
        bdl_equations::differentiate(&mut self.program, loss, wrt).map_err(|error| {
            if let bdl_equations::DifferentiateError::BatchFirst { origin } = &error {
                return self.across_batch(origin, span);
            }
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
        inputs.push((elaborator.field(&local.name, &local.ty, false, local.span)?, local.span));
    }
    let value = elaborator.call(function, inputs, &"".into(), function.span)?;
    elaborator.layer_updates(&|_| true)?;
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

fn predictions(hir: &Hir, train: &Train) -> Result<Program> {
    let mut forward = Forward::new("predict", hir, train, false)?;
    forward.predictions(train)?;
    Ok(finished(bdl_equations::batch(&forward.elaborator.take())))
}

/// The program, and whether it looks across the batch: anything of it, and the losses.
fn evaluation(hir: &Hir, train: &Train, convolutions: Convolutions) -> Result<(Program, bool, bool)> {
    let mut forward = Forward::new("eval", hir, train, false)?;
    let mut losses = Vec::new();
    for objective in &train.objectives {
        let named = |name: &str| within(&objective.name, name).into();
        let (loss, per) = forward.loss(objective.loss, objective.per, &named, train.span)?;
        losses.push((objective.name.clone(), loss, per));
    }
    forward.predictions(train)?;
    for fit in &train.fits {
        let function = forward.elaborator.function(fit.of, fit.span)?;
        let value = forward.elaborator.call(function, forward.inputs.clone(), &"".into(), fit.span)?;
        forward.elaborator.give(&fit_output(&fit.name), value, fit.span)?;
    }
    for (at, report) in train.reports.iter().enumerate() {
        if let Some(own) = report.own {
            let name = metric_output(at);
            // Beside a metric that may be missing stands where it is known.
            let value = forward.value(own, true, train.span)?;
            forward.elaborator.give(&name, Value::Tensor(value), train.span)?;
        }
    }
    let mut program = batched(&forward.elaborator.take(), convolutions);
    // Whether something looks across the batch shows once what `training` decides is decided.
    let others = program.outputs.len();
    for (name, loss, per) in &losses {
        program.outputs.extend([(within(name, "loss_each").into(), *loss), (within(name, "per_each").into(), *per)]);
    }
    thaw(&mut program);
    rounds(&mut program);
    let at_once = looks_across(&program);
    let of_losses = program.outputs.split_off(others);
    let simplified: Vec<TensorId> = of_losses.iter().map(|(_, id)| *id).collect();
    let mut alone = Program { outputs: of_losses, ..program.clone() };
    drop_unused(&mut alone);
    let across = looks_across(&alone);
    for ((name, _, _), each) in losses.iter().zip(simplified.chunks_exact(2)) {
        totals(&mut program, name, each[0], each[1], train.span);
    }
    Ok((finished(program), at_once, across))
}

/// Does any equation reduce over the batch, also inside of loops?
fn looks_across(program: &Program) -> bool {
    fn any(program: &Program, node: &bdl_equations::Node) -> bool {
        matches!(node, bdl_equations::Node::Equation(e) if program.is_over_batch(e))
            || node.inner().any(|n| any(program, n))
    }
    program.nodes.iter().any(|node| any(program, node))
}

/// The output of `eval` that a `fit` looks at.
pub fn fit_output(name: &str) -> String {
    format!("fit.of.{name}")
}

/// The output of `eval` that is the value of the n-th report, where that is a metric of one's own.
pub fn metric_output(report: usize) -> String {
    format!("metric.{report}")
}

/// Is a tensor zero by its equation?
fn is_zero(program: &Program, id: TensorId) -> bool {
    program.nodes.iter().any(|node| {
        if let bdl_equations::Node::Equation(equation) = node {
            equation.out == id && equation.pieces.iter().all(|piece| piece.body.as_const() == Some(0.0))
        } else {
            false
        }
    })
}

/// `critic.loss_sum`, or the name alone where the block has no steps.
pub(crate) fn within(objective: &str, name: &str) -> String {
    if objective.is_empty() { name.to_string() } else { format!("{objective}.{name}") }
}

/// Adds `loss_sum` and `per_sum` and makes them outputs.
pub(crate) fn totals(
    program: &mut Program,
    objective: &str,
    loss: TensorId,
    per: TensorId,
    span: Span,
) -> (TensorId, TensorId) {
    let [loss_name, per_name] = ["loss_sum", "per_sum"].map(|name| within(objective, name));
    let loss = total(program, loss, &loss_name, span);
    let per = total(program, per, &per_name, span);
    program.outputs.push((loss_name.into(), loss));
    program.outputs.push((per_name.into(), per));
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
        real(program, each, scalar(each)) * number_like(program, each, Expr::number(batch))
    };
    let dtype = if program.get(each).dtype == DType::F64 { DType::F64 } else { DType::Real };
    program.define(name, dtype, piece.sum(body), made)
}

/// Truth values and integers as numbers (`per event`).
fn real(program: &Program, tensor: TensorId, read: Expr) -> Expr {
    match program.get(tensor).dtype {
        DType::Real | DType::F32 | DType::F64 | DType::BF16 => read,
        DType::I32 | DType::Bool => read.unary(UnaryOp::ToReal),
    }
}

/// A number in the precision of a tensor that it meets.
pub(crate) fn number_like(program: &Program, tensor: TensorId, number: Expr) -> Expr {
    match program.get(tensor).dtype {
        DType::F64 => number.unary(UnaryOp::ToF64),
        DType::Real | DType::F32 | DType::BF16 | DType::I32 | DType::Bool => number,
    }
}

/// A read of a tensor without axes.
pub(crate) fn scalar(tensor: TensorId) -> Expr {
    Expr::read(tensor, Vec::<Sub>::new())
}

// ------------------------------------------------------------------------------------------------ passes

/// From one example to many. Nothing is differentiated yet.
pub(crate) fn batched(program: &Program, convolutions: Convolutions) -> Program {
    let mut program = bdl_equations::batch(program);
    match convolutions {
        Convolutions::AsWritten => {}
        Convolutions::FewerProducts => drop(fewer_products(&mut program)),
    }
    program
}

/// The last form of a program: nothing is differentiated any more.
pub(crate) fn finished(mut program: Program) -> Program {
    simplify(&mut program);
    program
}
