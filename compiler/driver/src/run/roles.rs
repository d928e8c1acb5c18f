//! What a `train` block uses each field for: to feed its models, or to compare with what they say.

use bdl_check::hir::visit::children;
use bdl_check::hir::{Expr, ExprKind, FunctionId, Hir, Let, LocalId, ReportArg, Train};
use std::collections::{BTreeMap, BTreeSet};

type Fields = BTreeSet<String>;

/// Fields by what the losses, predictions and metrics of a block do with them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Uses {
    /// What flows into a model.
    pub into_models: Fields,
    /// What flows into a loss beside the models.
    pub beside_models: Fields,
    /// What metrics compare predictions with.
    pub scored: Fields,
}

impl Uses {
    pub fn of(hir: &Hir, train: &Train) -> Uses {
        let mut uses = Uses::default();
        for objective in &train.objectives {
            let read = uses.of_function(hir, objective.loss);
            uses.beside_models.extend(read);
        }
        for prediction in &train.predictions {
            // What a prediction reads beside its models is no truth: `p = sigmoid(net(x) + offset)`.
            uses.of_function(hir, prediction.function);
        }
        for report in &train.reports {
            for arg in &report.args {
                match arg {
                    ReportArg::Field(field) => uses.scored.insert(field.to_string()),
                    ReportArg::Prediction(_) => false,
                };
            }
        }
        uses
    }

    /// The fields that flow into the value of a function whose inputs are fields.
    fn of_function(&mut self, hir: &Hir, id: FunctionId) -> Fields {
        let function = &hir.functions[id.0 as usize];
        let own = |local: &LocalId| Fields::from([function.locals[local.0 as usize].name.to_string()]);
        let args: Vec<Fields> = function.inputs.iter().map(own).collect();
        self.applied(hir, id, args)
    }

    fn applied(&mut self, hir: &Hir, id: FunctionId, args: Vec<Fields>) -> Fields {
        let function = &hir.functions[id.0 as usize];
        let mut known: BTreeMap<LocalId, Fields> = function.inputs.iter().copied().zip(args).collect();
        self.flow(hir, &function.body, &mut known)
    }

    /// The fields on which a value depends other than through a model.
    fn flow(&mut self, hir: &Hir, expr: &Expr, known: &mut BTreeMap<LocalId, Fields>) -> Fields {
        match &expr.kind {
            ExprKind::Local(local) => return known.get(local).cloned().unwrap_or_default(),
            ExprKind::Apply { function, args } => {
                let args: Vec<Fields> = args.iter().map(|arg| self.flow(hir, arg, known)).collect();
                if hir.functions[function.0 as usize].path.is_some() {
                    self.into_models.extend(args.into_iter().flatten());
                    return Fields::new();
                }
                return self.applied(hir, *function, args);
            }
            ExprKind::Block { lets, value } => {
                self.bind(hir, lets, known);
                return self.flow(hir, value, known);
            }
            ExprKind::Scan(scan) => {
                for (local, start) in &scan.carried {
                    let from = self.flow(hir, start, known);
                    known.insert(*local, from);
                }
                self.bind(hir, &scan.lets, known);
                let ends: Vec<&Expr> = scan.next.iter().chain(&scan.emit).collect();
                return ends.into_iter().flat_map(|end| self.flow(hir, end, known)).collect();
            }
            ExprKind::Iterate(iterate) => {
                for (local, start) in &iterate.carried {
                    let from = self.flow(hir, start, known);
                    known.insert(*local, from);
                }
                self.bind(hir, &iterate.lets, known);
                let ends: Vec<&Expr> = iterate.next.iter().chain([&iterate.until]).collect();
                return ends.into_iter().flat_map(|end| self.flow(hir, end, known)).collect();
            }
            ExprKind::Number(_)
            | ExprKind::Bool(_)
            | ExprKind::Size(_)
            | ExprKind::Index(_)
            | ExprKind::Param(_)
            | ExprKind::State(_)
            | ExprKind::NextState(_)
            | ExprKind::Const(_)
            | ExprKind::Ambient(_)
            | ExprKind::For { .. }
            | ExprKind::Reduce { .. }
            | ExprKind::Subscript { .. }
            | ExprKind::Unary(..)
            | ExprKind::Binary(..)
            | ExprKind::If(..)
            | ExprKind::Record(_)
            | ExprKind::Field(..)
            | ExprKind::OfExample(..)
            | ExprKind::Builtin(..)
            | ExprKind::List(_) => {}
        }
        children(expr).into_iter().flat_map(|child| self.flow(hir, child, known)).collect()
    }

    fn bind(&mut self, hir: &Hir, lets: &[Let], known: &mut BTreeMap<LocalId, Fields>) {
        for binding in lets {
            let from = self.flow(hir, &binding.value, known);
            known.insert(binding.local, from);
        }
    }
}
