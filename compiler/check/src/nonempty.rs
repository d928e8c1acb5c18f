//! What has no value over nothing: a mean, an element of an axis that is clamped to, a number below 0.
//!
//! Each leaves a [`Need`]: a size that must be at least 1. It is looked at once the ranges of its indices are known, and holds where
//! the sizes say so, or where an index around it runs over nothing otherwise:
//!
//! ```text
//! for t: x[clamp(t - 1)] * y[t]        t < T, so where anything is read T is at least 1
//! ```
//!
//! What depends on a size that only the data know is handed on as a [`SizeLaw`], and every example is held to it: without it the program
//! would read what stands beside the axis. A definition that is checked on its own takes for granted that nothing is empty.

use crate::checker::{Binding, Checker};
use crate::hir::{Expr, ExprKind, IndexId, SizeLaw};
use crate::prove::Facts;
use crate::range::is_ranged;
use bdl_dims::Dim;
use bdl_grammar::{Diagnostic, Span};

/// A size that must be at least 1, or the sizes that a reduction's indices run to.
#[derive(Clone, Debug)]
pub(crate) struct Need {
    of: Of,
    /// What there is none of otherwise: ``"`mean` of nothing"``.
    what: String,
    span: Span,
    /// What is known where it stands.
    facts: Facts,
    /// The indices that are open there.
    around: Vec<IndexId>,
}

#[derive(Clone, Debug)]
enum Of {
    /// A reduction over these has no value over nothing.
    Indices(Vec<IndexId>),
    Size(Dim),
}

impl<'a> Checker<'a> {
    /// A reduction over `indices` needs something to reduce.
    pub fn need_some(&mut self, indices: &[IndexId], what: String, span: Span) {
        self.push_need(Of::Indices(indices.to_vec()), what, span);
    }

    /// `size` must be at least 1.
    pub fn need_positive(&mut self, size: &Dim, what: String, span: Span) {
        self.push_need(Of::Size(size.clone()), what, span);
    }

    fn push_need(&mut self, of: Of, what: String, span: Span) {
        let (facts, around) = (self.facts().clone(), self.open_indices());
        self.body().needs.push(Need { of, what, span, facts, around });
        self.settle_needs();
    }

    /// Every index that is open here.
    fn open_indices(&self) -> Vec<IndexId> {
        let body = self.here();
        let named = body.scopes.iter().flat_map(|scope| scope.values()).filter_map(|binding| match binding {
            Binding::Index(id) => Some(*id),
            Binding::Value(_) | Binding::Declared(_) | Binding::Other(_) => None,
        });
        named.chain(body.pack_indices.iter().flatten().copied()).collect()
    }

    /// What is known where something is computed for each value of the open indices: that there is one.
    pub fn facts_inside(&self) -> Facts {
        let mut facts = self.facts().clone();
        for id in self.open_indices() {
            if let Some(size) = self.range_or_read(id) {
                facts.assume(size - Dim::one());
            }
        }
        facts
    }

    /// Looks at every need whose sizes are known, and forgets it.
    pub fn settle_needs(&mut self) {
        let needs = std::mem::take(&mut self.body().needs);
        let mut open = Vec::new();
        for need in needs {
            let waits = |id: &IndexId| {
                let info = self.here().index(*id);
                info.range.is_none() && is_ranged(&info.kind)
            };
            let own: &[IndexId] = if let Of::Indices(indices) = &need.of { indices } else { &[] };
            if own.iter().chain(&need.around).any(waits) {
                open.push(need);
            } else {
                self.settle(&need);
            }
        }
        self.body().needs.extend(open);
    }

    fn settle(&mut self, need: &Need) {
        let mut facts = need.facts.clone();
        for id in &need.around {
            let info = self.here().index(*id);
            if let (Some(range), false) = (&info.range, info.failed) {
                facts.assume(range.size.clone() - Dim::one());
            }
        }
        match &need.of {
            Of::Size(size) => self.hold(size, None, need, &facts),
            Of::Indices(indices) => {
                for id in indices {
                    let info = self.here().index(*id);
                    if let (Some(range), false) = (&info.range, info.failed) {
                        self.hold(&range.size.clone(), Some(*id), need, &facts);
                    }
                }
            }
        }
    }

    fn hold(&mut self, size: &Dim, index: Option<IndexId>, need: &Need, facts: &Facts) {
        // Sizes of data that are not there are taken for granted, like everything asked of them.
        if size.mentions("?") || facts.proves_positive(size) {
            return;
        }
        let never = facts.proves(&-size.clone());
        let doubtful = index.is_some() && !facts.all_positive(size).proves_positive(size);
        if never || doubtful {
            return self.say_empty(size, index, need, never);
        }
        if !self.generic {
            let least = size.clone() - Dim::one();
            // The same size is asked for in many places: the first says it.
            if !self.hir.laws.iter().any(|known| known.least == least) {
                let span = self.of_user(need.span);
                let shown = format!("{size} >= 1");
                self.need(SizeLaw { least, shown, message: need.what.clone(), span });
            }
        }
    }

    fn say_empty(&mut self, size: &Dim, index: Option<IndexId>, need: &Need, never: bool) {
        let Some(id) = index else {
            return self.say(
                Diagnostic::error("out-of-range", need.what.clone())
                    .primary(need.span, format!("the size is {size} here"))
                    .help("at least 1 is needed"),
            );
        };
        let info = self.here().index(id);
        let (name, at) = (info.name.clone(), info.span);
        let op = self.text(need.span);
        let (what, label) = match never {
            true => (format!("this `{op}` is over nothing, and has no value"), format!("`{name}` runs to {size}")),
            false => (
                format!("this `{op}` may be over nothing, and then it has no value"),
                format!("`{name}` runs to {size}, which may be 0"),
            ),
        };
        let mut help = format!("say what it is then, `{op}[{name} else 0] ..`");
        if !never {
            help.push_str(&format!(", or state a law: `where {size} >= 1 else \"..\"`"));
        }
        self.say(
            Diagnostic::error("empty-reduction", what).primary(need.span, label).secondary(at, "this index").help(help),
        );
    }

    /// Is the whole number one of `0..size`, so that it may have the type `index(size)`? A written number is where the size is large
    /// enough, and of sizes that only the data know that is demanded of every example.
    pub fn is_below(&mut self, term: &Expr, size: &Dim, what: &str) -> bool {
        let at = if let ExprKind::Number(number) = &term.kind {
            if *number < 0.0 || number.fract() != 0.0 || *number >= 2f64.powi(53) {
                return false;
            }
            Dim::from(*number as i64)
        } else if let ExprKind::Size(dim) = &term.kind {
            if !self.facts().proves(dim) {
                return false;
            }
            dim.clone()
        } else {
            let below = term.tensor().and_then(|tensor| tensor.scalar.below());
            return below.is_some_and(|below| self.facts().proves(&(size.clone() - below)));
        };
        let least = size.clone() - Dim::one() - at.clone();
        let facts = self.facts_inside();
        if facts.proves(&least) {
            return true;
        }
        if facts.proves(&(-least.clone() - Dim::one())) {
            return false;
        }
        if !self.generic {
            let (message, span) = (format!("{what} {at}, which must be below {size}"), self.of_user(term.span));
            self.need(SizeLaw { least: least.clone(), shown: format!("{size} > {at}"), message, span });
        }
        self.body().laws.assume(least);
        true
    }

    /// A size that something is made with must not be negative. `None` after a message.
    pub fn need_natural(&mut self, size: &Dim, span: Span) -> Option<()> {
        let facts = self.facts_inside();
        if size.mentions("?") || facts.proves(size) {
            return Some(());
        }
        if facts.proves(&(-size.clone() - Dim::one())) {
            self.say(
                Diagnostic::error("negative-size", format!("there is nothing of size {size}"))
                    .primary(span, "a size is at least 0"),
            );
            return None;
        }
        if !self.generic {
            let (message, span) = (format!("{size} is a size"), self.of_user(span));
            self.need(SizeLaw { least: size.clone(), shown: format!("{size} >= 0"), message, span });
        }
        self.body().laws.assume(size.clone());
        Some(())
    }
}
