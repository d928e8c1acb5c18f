//! `where` laws: proved, refuted, or left to the data.
//!
//! A law that the sizes known now decide is decided now. One that speaks of a size only the data know is taken for granted from here
//! on, and handed on in [`Hir::laws`](crate::hir::Hir) so that every example can be held to it.

use crate::checker::Checker;
use crate::hir::{BinaryOp, SizeLaw};
use crate::operators::{at_least, op_of};
use crate::value::Value;
use bdl_dims::Dim;
use bdl_grammar::ast;
use bdl_grammar::{Diagnostic, Span};

/// The application whose sizes must satisfy a law.
pub(crate) struct LawPlace<'m> {
    pub call: Span,
    pub shown: &'m str,
}

enum Verdict {
    Holds,
    Fails,
    /// Not decided: these must not be negative.
    Needs(Vec<Dim>),
    Error,
}

impl<'a> Checker<'a> {
    /// Checks a law of the signature on top of the stack. `None` after a message.
    pub fn meet_law(&mut self, law: &'a ast::Law, place: &LawPlace) -> Option<()> {
        match self.verdict(&law.condition) {
            Verdict::Holds => Some(()),
            Verdict::Error => None,
            Verdict::Fails => {
                let message = law
                    .message
                    .as_ref()
                    .map_or_else(|| format!("`{}` must hold", self.text(law.condition.span)), |m| m.text.clone());
                let values = self.sizes_in(&law.condition);
                let mut diagnostic = Diagnostic::error("law-violated", message.clone())
                    .primary(place.call, format!("`{}` does not satisfy it here{values}", place.shown));
                diagnostic = diagnostic.secondary(law.span, "the law");
                self.say(diagnostic);
                None
            }
            Verdict::Needs(least) => {
                for dim in least {
                    if self.mixes_examples(&dim) {
                        let shown = self.text(law.condition.span).to_string();
                        let message = law.message.as_ref().map_or(shown.clone(), |message| message.text.clone());
                        self.say(
                            Diagnostic::error("law-violated", message)
                                .primary(
                                    place.call,
                                    format!("{dim} may be negative: these are lengths of two examples"),
                                )
                                .secondary(law.span, "the law"),
                        );
                        return None;
                    }
                    if !self.generic && !dim.mentions("?") {
                        let shown = self.text(law.condition.span).to_string();
                        let message = law.message.as_ref().map_or(shown.clone(), |message| message.text.clone());
                        self.need(SizeLaw { least: self.own_size(&dim), shown, message, span: place.call });
                    }
                    self.body().laws.assume(dim);
                }
                Some(())
            }
        }
    }

    /// Are two sizes equal, as far as can be known now? Sizes that only the data know (`dna.len`, or the number of classes where the
    /// file is not there) are taken to be equal where nothing speaks against it, and every example is held to that.
    pub fn agree(&mut self, left: &Dim, right: &Dim, span: Span) -> bool {
        if self.proves_equal(left, right) || left.mentions("?") || right.mentions("?") {
            return true;
        }
        if self.generic || self.facts().proves_different(left, right) {
            return false;
        }
        if self.is_of_other(left) || self.is_of_other(right) {
            // No data make the lengths of two examples equal.
            return false;
        }
        let difference = left.clone() - right.clone();
        let both = [difference.clone(), -difference];
        if both.iter().all(|least| self.hir.laws.iter().any(|known| known.least == *least)) {
            return true;
        }
        for least in both {
            let shown = format!("{left} == {right}");
            let message = format!("{left} must be {right}");
            self.need(SizeLaw { least: least.clone(), shown, message, span });
            self.body().laws.assume(least);
        }
        true
    }

    /// Hands a law on to whoever reads the data.
    pub fn need(&mut self, law: SizeLaw) {
        if !self.hir.laws.iter().any(|known| known.least == law.least && known.message == law.message) {
            self.hir.laws.push(law);
        }
    }

    fn verdict(&mut self, condition: &'a ast::Expr) -> Verdict {
        if let ast::ExprKind::Binary { op, left, right } = &condition.kind {
            if *op == ast::BinaryOp::And {
                return match (self.verdict(left), self.verdict(right)) {
                    (Verdict::Error, _) | (_, Verdict::Error) => Verdict::Error,
                    (Verdict::Fails, _) | (_, Verdict::Fails) => Verdict::Fails,
                    (Verdict::Holds, other) | (other, Verdict::Holds) => other,
                    (Verdict::Needs(mut a), Verdict::Needs(b)) => {
                        a.extend(b);
                        Verdict::Needs(a)
                    }
                };
            }
            let op = op_of(*op);
            let compares = matches!(op, BinaryOp::Eq | BinaryOp::Lt | BinaryOp::Le | BinaryOp::Gt | BinaryOp::Ge);
            if compares && let (Some(left), Some(right)) = (self.try_size(left), self.try_size(right)) {
                if op == BinaryOp::Eq {
                    let difference = left.dim.clone() - right.dim.clone();
                    return if self.proves_equal(&left.dim, &right.dim) {
                        Verdict::Holds
                    } else if self.facts().proves_different(&left.dim, &right.dim) {
                        Verdict::Fails
                    } else {
                        Verdict::Needs(vec![difference.clone(), -difference])
                    };
                }
                if let Some(least) = at_least(op, &left.dim, &right.dim) {
                    return if self.facts().proves(&least) {
                        Verdict::Holds
                    } else if self.facts().proves(&(-least.clone() - Dim::one())) {
                        Verdict::Fails
                    } else {
                        Verdict::Needs(vec![least])
                    };
                }
            }
        }
        match self.eval(condition, None) {
            Value::Bool(true) => Verdict::Holds,
            Value::Bool(false) => Verdict::Fails,
            Value::Error => Verdict::Error,
            Value::Run(_) if self.generic => Verdict::Holds,
            value => {
                let shown = value.shown();
                self.say(
                    Diagnostic::error("not-static", "a law speaks of sizes and hyper-parameters")
                        .primary(condition.span, format!("this is {shown}, known only when the model runs")),
                );
                Verdict::Error
            }
        }
    }

    /// `: T is 5, K is 9`.
    fn sizes_in(&mut self, condition: &'a ast::Expr) -> String {
        let mut names: Vec<&'a ast::Name> = Vec::new();
        crate::walk::names(condition, &mut |name| {
            if !names.iter().any(|known| known.text == name.text) {
                names.push(name);
            }
        });
        let mut shown = Vec::new();
        for name in names {
            if let Some(crate::checker::Binding::Value(Value::Size(size))) = self.here().find(&name.text) {
                let value = size.dim.to_string();
                if value != name.text {
                    shown.push(format!("{name} is {value}"));
                }
            }
        }
        if shown.is_empty() { String::new() } else { format!(": {}", shown.join(", ")) }
    }
}
