//! Which optimiser changes which parameter.

use super::entries::{Entries, Objective};
use super::{Stage, Wanted};
use crate::checker::Checker;
use crate::hir;
use crate::scope::FileAt;
use crate::suggest::nearest;
use crate::walk;
use bdl_grammar::ast::{self, ItemKind};
use bdl_grammar::{Diagnostic, Span};
use std::collections::BTreeSet;

impl<'a> Checker<'a> {
    /// Parameters that only predictions read are never trained.
    pub(super) fn untrained(&mut self, trained: usize, entries: &Entries<'a>) {
        let paths: Vec<String> = self.store.params[trained..].iter().map(|param| param.path.to_string()).collect();
        let (Some(first), Some((_, value))) = (paths.first(), entries.predictions.first()) else { return };
        self.say(
            Diagnostic::warning("no-gradient", format!("`{first}` is not part of the loss and keeps its first value"))
                .primary(value.span, "predictions read parameters that the loss does not")
                .note(format!("not trained: {}", paths.join(", ")))
                .help("let the loss use the same instance as the prediction"),
        );
    }

    /// A path such as `net.trunk` that some parameter or state lies under.
    pub(super) fn path_of_parameters(&mut self, path: &'a ast::Expr) -> Option<hir::Name> {
        let Some(names) = path.as_path() else {
            self.say(
                Diagnostic::error("unknown-name", "a path of parameters is expected")
                    .primary(path.span, "such as `net.trunk`"),
            );
            return None;
        };
        let text = names.iter().map(|name| name.text.as_str()).collect::<Vec<_>>().join(".");
        let params = self.store.params.iter().map(|param| &param.path);
        let paths: Vec<&hir::Name> = params.chain(self.store.states.iter().map(|state| &state.path)).collect();
        if paths.iter().any(|known| hir::is_under(known, &text)) {
            return Some(text.into());
        }
        // What there is: every beginning of a path with as many words.
        let words = names.len();
        let mut known: Vec<String> =
            paths.iter().map(|path| path.split('.').take(words).collect::<Vec<_>>().join(".")).collect();
        known.dedup();
        let mut diagnostic = Diagnostic::error("unknown-name", format!("no parameter lies under `{text}`"))
            .primary(path.span, "not the path of a model or a part of one")
            .note(format!("there are {}", known.join(", ")));
        if let Some(near) = nearest(&text, known.iter().map(String::as_str)) {
            diagnostic = diagnostic.help(format!("did you mean `{near}`?"));
        }
        self.say(diagnostic);
        None
    }

    /// `frozen net.trunk until epoch 3`.
    pub(super) fn frozen(&mut self, entries: &Entries<'a>) -> Vec<hir::Frozen> {
        let mut frozen: Vec<hir::Frozen> = Vec::new();
        for (value, until) in &entries.frozen {
            let path = self.path_of_parameters(value);
            let until = match until {
                Some(until) => match self.until(until) {
                    Some(until) => Some(until),
                    None => continue,
                },
                None => None,
            };
            frozen.extend(path.map(|path| hir::Frozen { path, until }));
        }
        frozen
    }

    fn until(&mut self, until: &'a ast::Until) -> Option<hir::Until> {
        let of_steps = match until.unit.text.as_str() {
            "epoch" | "epochs" => false,
            "step" | "steps" => true,
            _ => {
                self.say(
                    Diagnostic::error("unknown-name", format!("`{}` is no unit of time", until.unit))
                        .primary(until.unit.span, "`epoch` or `step` is expected")
                        .help("write `until epoch 3` or `until step 1000`"),
                );
                return None;
            }
        };
        let count = self.count(&until.count, if of_steps { "until step" } else { "until epoch" })?;
        Some(if of_steps { hir::Until::Step(count) } else { hir::Until::Epoch(count) })
    }

    /// The parameters that a step's loss and penalties read.
    fn params_read(&self, objective: &hir::Objective) -> BTreeSet<hir::ParamId> {
        let mut read = BTreeSet::new();
        let mut seen = BTreeSet::new();
        let mut waiting: Vec<hir::FunctionId> = vec![objective.loss, objective.per];
        waiting.extend(&objective.penalties);
        while let Some(id) = waiting.pop() {
            let Some(function) = self.hir.functions.get(id.0 as usize).filter(|_| seen.insert(id.0)) else { continue };
            let mut look = |expr: &hir::Expr| match &expr.kind {
                hir::ExprKind::Param(id) => {
                    read.insert(*id);
                }
                hir::ExprKind::Apply { function, .. } => waiting.push(*function),
                hir::ExprKind::Number(_)
                | hir::ExprKind::Bool(_)
                | hir::ExprKind::Size(_)
                | hir::ExprKind::Index(_)
                | hir::ExprKind::Local(_)
                | hir::ExprKind::State(_)
                | hir::ExprKind::NextState(_)
                | hir::ExprKind::Const(_)
                | hir::ExprKind::Ambient(_)
                | hir::ExprKind::Block { .. }
                | hir::ExprKind::For { .. }
                | hir::ExprKind::Reduce { .. }
                | hir::ExprKind::Subscript { .. }
                | hir::ExprKind::Unary(_, _)
                | hir::ExprKind::Binary(_, _, _)
                | hir::ExprKind::If(_, _, _)
                | hir::ExprKind::Record(_)
                | hir::ExprKind::Field(_, _)
                | hir::ExprKind::OfExample(_, _)
                | hir::ExprKind::Builtin(_, _)
                | hir::ExprKind::List(_)
                | hir::ExprKind::Scan(_)
                | hir::ExprKind::Iterate(_) => {}
            };
            hir::visit::each(&function.body, &mut look);
            function.updates.iter().for_each(|(_, update)| hir::visit::each(update, &mut look));
        }
        read
    }

    /// Optimisers that are not applied to anything are looked up all the same: their mistakes are no others'.
    pub(super) fn optimizers_known(&mut self, written: &Objective<'a>) {
        for (value, _) in &written.optimizers {
            if let Some((def, file, args)) = self.optimizer_of(value) {
                self.hypers(&def.name, &def.hyper, &def.inputs, file, args, value.span);
            }
        }
    }

    /// The optimisers of an objective, each for the parameters under its own paths; one without `over` takes what no other does.
    pub(super) fn optimizers(
        &mut self,
        written: &Objective<'a>,
        objective: &hir::Objective,
        frozen: &[hir::Frozen],
    ) -> Option<hir::Optimizer> {
        let read = self.params_read(objective);
        let under = |paths: &[hir::Name], path: &str| paths.is_empty() || paths.iter().any(|p| hir::is_under(path, p));
        let moves = |path: &str| !frozen.iter().any(|f| f.until.is_none() && hir::is_under(path, &f.path));
        let trained: Vec<hir::ParamId> =
            read.into_iter().filter(|id| under(&objective.over, &self.store.params[id.0 as usize].path)).collect();
        if trained.is_empty() && !objective.over.is_empty() {
            let span = written.over.first().map(|path| path.span).unwrap_or_default();
            self.say(
                Diagnostic::error(
                    "unknown-name",
                    format!(
                        "the loss of `{}` reads no parameter under `{}`",
                        objective.name,
                        objective.over.join("`, `")
                    ),
                )
                .primary(span, "nothing to train"),
            );
        }
        let mut taken: Vec<(hir::ParamId, Span)> = Vec::new();
        let mut groups = Vec::new();
        for (value, over) in &written.optimizers {
            let paths: Vec<hir::Name> = over.iter().filter_map(|path| self.path_of_parameters(path)).collect();
            if paths.len() < over.len() {
                continue;
            }
            let of_group =
                |id: &&hir::ParamId| !paths.is_empty() && under(&paths, &self.store.params[id.0 as usize].path);
            let own: Vec<hir::ParamId> = trained.iter().filter(of_group).copied().collect();
            if own.is_empty() && !paths.is_empty() {
                self.say(
                    Diagnostic::error(
                        "unknown-name",
                        format!("the loss reads no parameter under `{}`", paths.join("`, `")),
                    )
                    .primary(value.span, "nothing to train"),
                );
            }
            for id in &own {
                if let Some((_, first)) = taken.iter().find(|(known, _)| known == id) {
                    let path = &self.store.params[id.0 as usize].path;
                    self.say(
                        Diagnostic::error("duplicate-name", format!("two optimizers change `{path}`"))
                            .primary(value.span, "this one too")
                            .secondary(*first, "this one already does")
                            .help("divide the parameters with `over net.trunk`; an optimizer without `over` takes the rest"),
                    );
                    break;
                }
            }
            taken.extend(own.iter().map(|id| (*id, value.span)));
            groups.push((*value, paths.is_empty(), own));
        }
        if let [(_, true, _), (second, true, _), ..] =
            groups.iter().filter(|(_, rest, _)| *rest).collect::<Vec<_>>()[..]
        {
            self.say(
                Diagnostic::error("duplicate-name", "two optimizers change every parameter")
                    .primary(second.span, "this one too")
                    .help("divide the parameters with `over net.trunk`; an optimizer without `over` takes the rest"),
            );
            return None;
        }
        let mut parts: Vec<hir::OptimizerPart> = Vec::new();
        let mut shown = Vec::new();
        for (value, rest, own) in groups {
            let Some((def, file, args)) = self.optimizer_of(value) else { continue };
            let Some((hyper, text)) = self.hypers(&def.name, &def.hyper, &def.inputs, file, args, value.span) else {
                continue;
            };
            shown.push(text.clone());
            let left = || trained.iter().filter(|id| !taken.iter().any(|(known, _)| known == *id)).copied().collect();
            let own = if rest { left() } else { own };
            for id in own {
                let param = self.store.params[id.0 as usize].clone();
                if !moves(&param.path) {
                    continue;
                }
                let path = match &*objective.name {
                    "" => param.path.to_string(),
                    step => format!("{step}.{}", param.path),
                };
                let Some(function) = self.optimizer_part(def, file, &hyper, &text, &param.ty, &path, value.span) else {
                    break;
                };
                parts.push(hir::OptimizerPart { param: id, function });
            }
        }
        if written.optimizers.is_empty() { None } else { Some(hir::Optimizer { shown: shown.join(", "), parts }) }
    }

    /// Parameters of a block that trains which no optimiser changes, and which nobody froze.
    pub(super) fn unmoved(&mut self, entries: &Entries<'a>, objectives: &[hir::Objective], frozen: &[hir::Frozen]) {
        let read: BTreeSet<hir::ParamId> =
            objectives.iter().flat_map(|objective| self.params_read(objective)).collect();
        let parts = objectives.iter().filter_map(|objective| objective.optimizer.as_ref()).flat_map(|o| &o.parts);
        let moved: BTreeSet<hir::ParamId> = parts.map(|part| part.param).collect();
        let still: Vec<String> = read
            .difference(&moved)
            .map(|id| self.store.params[id.0 as usize].path.to_string())
            .filter(|path| !frozen.iter().any(|f| hir::is_under(path, &f.path)))
            .collect();
        let optimizers = entries.objectives().flat_map(|objective| &objective.optimizers);
        let Some((value, _)) = optimizers.into_iter().next() else { return };
        let Some(first) = still.first().filter(|_| !moved.is_empty()) else { return };
        self.say(
            Diagnostic::warning("no-gradient", format!("no optimizer changes `{first}`"))
                .primary(value.span, "it is under none of the paths of the optimizers")
                .note(format!("not trained: {}", still.join(", ")))
                .help(format!(
                    "say that it stays: `frozen {}`; or add an optimizer without `over` for the rest",
                    first.rsplit_once('.').map_or(first.as_str(), |(instance, _)| instance)
                )),
        );
    }

    /// `average 0.999`: a state beside each parameter that moves.
    pub(super) fn average(
        &mut self,
        decay: &'a ast::Expr,
        stage: &mut Stage<'a>,
        objectives: &[hir::Objective],
    ) -> Option<hir::FunctionId> {
        let fields = std::mem::take(&mut stage.fields);
        let function = self.objective(stage, "average", decay, Wanted::Number);
        stage.fields = fields;
        if let hir::ExprKind::Number(value) = self.hir.functions[function?.0 as usize].body.kind
            && !(0.0..1.0).contains(&value)
        {
            self.say(
                Diagnostic::error(
                    "wrong-number",
                    format!("an average decays by a factor from 0 to below 1, not {value}"),
                )
                .primary(decay.span, "the weight of what was before")
                .help("write `average 0.999`"),
            );
        }
        let parts = objectives.iter().filter_map(|objective| objective.optimizer.as_ref()).flat_map(|o| &o.parts);
        let moved: BTreeSet<hir::ParamId> = parts.map(|part| part.param).collect();
        for id in moved {
            let hir::Param { path, ty, init, span } = self.store.params[id.0 as usize].clone();
            let path = hir::average_of(&path);
            self.store.states.push(hir::State { path, ty, init, span });
        }
        function
    }

    /// `batch 64 in 4 parts`: a sum beside each gradient, and of what the loss is divided by.
    pub(super) fn accumulated(&mut self, span: Span, objectives: &[hir::Objective]) {
        for objective in objectives {
            let Some(optimizer) = &objective.optimizer else { continue };
            let alone = hir::Objective { loss: objective.per, penalties: Vec::new(), ..objective.clone() };
            if !self.params_read(&alone).is_empty() {
                self.not_built(
                    span,
                    "a batch in parts whose loss is divided by what is trained",
                    "leave out the parts",
                );
            }
            let params = optimizer.parts.iter().map(|part| &self.store.params[part.param.0 as usize]);
            let mut sums: Vec<(hir::Name, hir::TensorType)> =
                params.map(|param| (hir::accumulated(&objective.name, &param.path), param.ty.clone())).collect();
            let number = hir::TensorType { scalar: hir::Scalar::F32, optional: false, shape: Vec::new() };
            sums.push((hir::accumulated(&objective.name, "per"), number));
            for (path, ty) in sums {
                let zeros = crate::value::expr(
                    hir::ExprKind::Builtin(hir::Builtin::Fill(0.0), Vec::new()),
                    hir::Type::Tensor(ty.clone()),
                    span,
                );
                self.hir.functions.push(hir::Function {
                    name: "zeros".into(),
                    shown: format!("initial {path}"),
                    path: None,
                    locals: Vec::new(),
                    indices: Vec::new(),
                    inputs: Vec::new(),
                    body: zeros,
                    updates: Vec::new(),
                    span,
                });
                let init = hir::FunctionId((self.hir.functions.len() - 1) as u32);
                self.store.states.push(hir::State { path, ty, init, span });
            }
        }
    }

    fn optimizer_of(&mut self, value: &'a ast::Expr) -> Option<(&'a ast::Optimizer, FileAt, &'a [ast::Arg])> {
        let Some((name, args)) = walk::application(value) else { return self.no_optimizer(value) };
        let file = self.here().file;
        match self.items.find(file, &name.text) {
            Some(def) => {
                let ItemKind::Optimizer(optimizer) = &def.item.kind else { return self.no_optimizer(value) };
                if self.poisoned.contains(&(def.file, name.text.clone())) {
                    return None;
                }
                Some((optimizer, def.file, args))
            }
            None => {
                let names: Vec<&str> = self.items.visible(file);
                let optimizers = names.into_iter().filter(|name| {
                    self.items.find(file, name).is_some_and(|def| matches!(def.item.kind, ItemKind::Optimizer(_)))
                });
                let optimizers: Vec<&str> = optimizers.collect();
                let mut diagnostic = Diagnostic::error("unknown-name", format!("there is no optimizer `{name}`"))
                    .primary(name.span, "not known")
                    .note(format!("there are {}", optimizers.join(", ")));
                if let Some(near) = nearest(&name.text, optimizers) {
                    diagnostic = diagnostic.help(format!("did you mean `{near}`?"));
                }
                self.say(diagnostic);
                None
            }
        }
    }

    fn no_optimizer<T>(&mut self, value: &'a ast::Expr) -> Option<T> {
        self.say(
            Diagnostic::error("not-a-function", format!("`{}` is no optimizer", self.text(value.span)))
                .primary(value.span, "an `optimizer` is expected")
                .help("write `optimizer adam(1e-3)`"),
        );
        None
    }
}
