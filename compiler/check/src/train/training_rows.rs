//! What happens to training rows only: `rows`, `weights`, `augment`, in the `train` block or in the data block that it reads.

use super::Entries;
use super::entries::Written;
use crate::checker::Checker;
use crate::hir::{self, DataFacts, Name, Resample, ResampleHow, Scalar, Type};
use crate::scope::FileAt;
use crate::value::{expr, scalar_type};
use crate::walk;
use bdl_grammar::Diagnostic;
use bdl_grammar::ast::{self, ArgKind, DataEntryKind};

/// Neighbours that SMOTE looks at unless the program says otherwise, as in the paper.
const NEIGHBOURS: i64 = 5;

/// Which rows train, what each counts, and how their fields are changed.
#[derive(Default)]
pub(super) struct TrainingRows<'a> {
    pub resample: Option<Resample>,
    /// The field whose classes count the same.
    pub weights: Option<Name>,
    pub augment: Vec<(&'a ast::Name, &'a ast::Expr)>,
}

impl<'a> Checker<'a> {
    pub(super) fn training_rows(&mut self, entries: &Entries<'a>, facts: &DataFacts, file: FileAt) -> TrainingRows<'a> {
        let mut written: Written<'a> = entries.training_rows.clone();
        let block = self.items.find_data(file, &facts.name);
        for entry in block.iter().flat_map(|block| &block.entries) {
            let (word, span) = match &entry.kind {
                DataEntryKind::Rows(e) if written.rows.is_none() => {
                    written.rows = Some(e);
                    continue;
                }
                DataEntryKind::Weights(e) if written.weights.is_none() => {
                    written.weights = Some(e);
                    continue;
                }
                DataEntryKind::Augment(fields) if written.augment.is_empty() => {
                    written.augment = fields.iter().collect();
                    continue;
                }
                DataEntryKind::Rows(_) => ("rows", entry.span),
                DataEntryKind::Weights(_) => ("weights", entry.span),
                DataEntryKind::Augment(_) => ("augment", entry.span),
                DataEntryKind::Field(_)
                | DataEntryKind::Let(_)
                | DataEntryKind::Keep(_)
                | DataEntryKind::Distinct(_)
                | DataEntryKind::Word { .. }
                | DataEntryKind::Error => continue,
            };
            self.say(
                Diagnostic::error("duplicate-name", format!("`{word}` stands twice"))
                    .primary(span, "here again")
                    .help("it stands once: in the data block, or in the `train` block"),
            );
        }
        let resample = written.rows.and_then(|e| self.resample(e, facts));
        let weights = written.weights.and_then(|e| self.balanced(e, facts));
        if let (Some(rows), Some(weights), Some(_), Some(_)) = (written.rows, written.weights, &resample, &weights) {
            self.say(
                Diagnostic::warning("weighted-twice", "small classes are made up for twice")
                    .primary(weights.span, "each row of a small class counts more")
                    .secondary(rows.span, "and there are more rows of it")
                    .help("leave one of the two out"),
            );
        }
        let mut augment: Vec<(&'a ast::Name, &'a ast::Expr)> = Vec::new();
        for field in written.augment {
            let known = facts.fields.iter().any(|known| *known.name == *field.name.text);
            if !known {
                let names: Vec<String> = facts.fields.iter().map(|field| field.name.to_string()).collect();
                self.say(
                    Diagnostic::error("unknown-name", format!("`{}` has no field `{}`", facts.name, field.name))
                        .primary(field.name.span, "`augment` changes fields that there are")
                        .note(format!("its fields are {}", names.join(", "))),
                );
                continue;
            }
            if augment.iter().any(|(name, _)| name.text == field.name.text) {
                self.say(
                    Diagnostic::error("duplicate-name", format!("`{}` is augmented twice", field.name))
                        .primary(field.name.span, "here again"),
                );
                continue;
            }
            augment.push((&field.name, &field.value));
        }
        TrainingRows { resample, weights, augment }
    }

    /// `smote(y, k: 5)`, `oversample(y)`, `undersample(y)`.
    fn resample(&mut self, e: &'a ast::Expr, facts: &DataFacts) -> Option<Resample> {
        let wrong = |this: &mut Self| {
            this.say(
                Diagnostic::error("wrong-arguments", "`rows` says how the classes of a field come equally often")
                    .primary(e.span, "not such a way")
                    .help("write `rows smote(y)`, `rows oversample(y)` or `rows undersample(y)`"),
            );
            None
        };
        let Some((word, args)) = walk::application(e) else { return wrong(self) };
        let Some((ast::Arg { kind: ArgKind::Positional(field), .. }, options)) = args.split_first() else {
            return wrong(self);
        };
        let how = match word.text.as_str() {
            "oversample" if options.is_empty() => ResampleHow::Over,
            "undersample" if options.is_empty() => ResampleHow::Under,
            "smote" => match options {
                [] => ResampleHow::Smote { neighbours: NEIGHBOURS },
                [ast::Arg { kind: ArgKind::Named { name, value }, .. }] if name.text == "k" => {
                    ResampleHow::Smote { neighbours: self.count(value, "k")? }
                }
                _ => return wrong(self),
            },
            _ => return wrong(self),
        };
        Some(Resample { field: self.class_field(field, facts)?, how })
    }

    /// `balanced(y)`.
    fn balanced(&mut self, e: &'a ast::Expr, facts: &DataFacts) -> Option<Name> {
        match walk::application(e) {
            Some((word, [ast::Arg { kind: ArgKind::Positional(field), .. }])) if word.text == "balanced" => {
                self.class_field(field, facts)
            }
            Some(_) | None => {
                self.say(
                    Diagnostic::error("wrong-arguments", "`weights` says what a training row counts")
                        .primary(e.span, "not such a way")
                        .help("write `weights balanced(y)`: rows of a class count n / (classes * rows of the class)"),
                );
                None
            }
        }
    }

    /// A field that is one class or truth value a row.
    fn class_field(&mut self, e: &'a ast::Expr, facts: &DataFacts) -> Option<Name> {
        let name = self.field_name(e, facts)?;
        let field = facts.fields.iter().find(|field| field.name == name);
        let fits = field.is_some_and(|field| match &field.ty {
            Type::Tensor(ty) => ty.shape.is_empty() && matches!(ty.scalar, Scalar::Category(..) | Scalar::Bool),
            Type::Record(_) | Type::Error => false,
        });
        if fits {
            return Some(name);
        }
        let shown = field.map_or("text".to_string(), |field| crate::value::show_type(&field.ty));
        self.say(
            Diagnostic::error("type-mismatch", "classes are made equal, so one class or truth value a row is needed")
                .primary(e.span, format!("this is {shown}"))
                .help("read the column with `category(..)` or `truth(..)`"),
        );
        None
    }

    /// In training the augmented value of a field, otherwise the field. Both have one type.
    pub(super) fn augmented(&mut self, name: &ast::Name, value: hir::Expr, field: hir::Expr) -> hir::Expr {
        let span = value.span;
        let fits = match (&value.ty, &field.ty) {
            (Type::Tensor(new), Type::Tensor(old)) => {
                let number = |scalar: &Scalar| scalar.is_real() || scalar.is_whole();
                let kind = new.scalar == old.scalar || number(&new.scalar) && old.scalar.is_real();
                kind && new.shape.len() == old.shape.len()
            }
            (Type::Error, _) | (_, Type::Error) => return field,
            (Type::Record(_), _) | (_, Type::Record(_)) => false,
        };
        if !fits {
            let (new, old) = (crate::value::show_type(&value.ty), crate::value::show_type(&field.ty));
            self.say(
                Diagnostic::error("type-mismatch", format!("`augment` makes another kind of value of `{name}`"))
                    .primary(span, format!("this is {new}, and `{name}` is {old}"))
                    .help("an augmented field keeps its type and shape"),
            );
            return field;
        }
        let training = expr(hir::ExprKind::Ambient(hir::Ambient::Training), scalar_type(Scalar::Bool), span);
        self.if_run(training, value, field, span)
    }
}
