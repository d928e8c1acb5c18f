//! `split random(train: 0.7, valid: 0.15, test: 0.15)`: how the rows of a data block are cut into parts.

use crate::checker::Checker;
use crate::hir::{DataFacts, Split};
use crate::suggest::nearest;
use crate::walk;
use bdl_grammar::ast::{self, ArgKind};
use bdl_grammar::{Diagnostic, Span};

/// Every way to split, by its word.
pub const SPLITS: [&str; 9] =
    ["random", "kfold", "leave_one_out", "given", "by", "time", "scaffold", "identity", "entries"];

/// `train: 0.7, valid: 0.15, test: 0.15, seed: 0`.
#[derive(Default)]
struct Shares {
    train: Option<f64>,
    valid: Option<f64>,
    test: Option<f64>,
    seed: u64,
}

impl Shares {
    /// False if there is no such share.
    fn take(&mut self, name: &str, value: f64) -> bool {
        match name {
            "train" => self.train = Some(value),
            "valid" => self.valid = Some(value),
            "test" => self.test = Some(value),
            "seed" => self.seed = value as u64,
            _ => return false,
        }
        true
    }

    fn given(&self) -> bool {
        self.train.is_some() || self.valid.is_some() || self.test.is_some()
    }

    /// They sum to 1; what trains may be left out.
    fn parts(&self, checker: &mut Checker, span: Span) -> Option<[f64; 3]> {
        let (valid, test) = (self.valid.unwrap_or(0.0), self.test.unwrap_or(0.0));
        let train = self.train.unwrap_or(1.0 - valid - test);
        let total = train + valid + test;
        let fits = [train, valid, test].iter().all(|share| (0.0..=1.0).contains(share)) && (total - 1.0).abs() <= 1e-6;
        if !fits || train == 0.0 || valid + test == 0.0 {
            checker.say(
                Diagnostic::error("wrong-number", format!("the parts are {train}, {valid} and {test}"))
                    .primary(span, "these are the parts")
                    .help("shares lie between 0 and 1 and sum to 1: `train: 0.7, valid: 0.15, test: 0.15`"),
            );
            return None;
        }
        Some([train, valid, test])
    }
}

impl<'a> Checker<'a> {
    pub(crate) fn split(&mut self, e: &'a ast::Expr, facts: &DataFacts) -> Option<Split> {
        let Some((name, args)) = walk::application(e) else { return self.no_split(e.span, "a split is expected") };
        match name.text.as_str() {
            "random" => self.random_split(args, facts, e.span),
            "kfold" => self.kfold(args, facts, e.span),
            "leave_one_out" => Some(Split::LeaveOneOut),
            "given" => self.given_split(args, facts, e.span),
            "by" => self.by_split(args, facts, e.span),
            "time" => self.time_split(args, facts, e.span),
            "identity" => self.identity_split(args, facts, e.span),
            "entries" => self.entries_split(args, facts, e.span),
            "scaffold" => self.scaffold_split(args, facts, e.span),
            _ => {
                let near = nearest(&name.text, SPLITS);
                let help = near
                    .map_or("write `split random(train: 0.7, valid: 0.15, test: 0.15)`".to_string(), |near| {
                        format!("did you mean `{near}`?")
                    });
                self.say(
                    Diagnostic::error("unknown-name", format!("there is no split `{name}`"))
                        .primary(name.span, "not known")
                        .help(help),
                );
                None
            }
        }
    }

    fn no_split(&mut self, span: Span, label: &str) -> Option<Split> {
        self.say(
            Diagnostic::error("wrong-arguments", "this is no split")
                .primary(span, label)
                .help("write `split random(train: 0.7, valid: 0.15, test: 0.15)`"),
        );
        None
    }

    fn random_split(&mut self, args: &'a [ast::Arg], facts: &DataFacts, span: Span) -> Option<Split> {
        let (mut train, mut valid, mut test, mut seed) = (None, None, None, 0u64);
        let (mut balance, mut groups) = (None, None);
        for arg in args {
            let ArgKind::Named { name, value } = &arg.kind else {
                return self.no_split(arg.span, "its parts have names: `train: 0.7`");
            };
            match name.text.as_str() {
                "train" | "valid" | "test" => {
                    let share = self.plain_number(value)?;
                    if !(0.0..=1.0).contains(&share) {
                        self.say(
                            Diagnostic::error("wrong-number", format!("a share is between 0 and 1, not {share}"))
                                .primary(value.span, "a share of the rows"),
                        );
                        return None;
                    }
                    let slot = match name.text.as_str() {
                        "train" => &mut train,
                        "valid" => &mut valid,
                        _ => &mut test,
                    };
                    *slot = Some(share);
                }
                "balance" => balance = Some(self.field_name(value, facts)?),
                "groups" => groups = Some(self.field_name(value, facts)?),
                "seed" => seed = self.plain_number(value)? as u64,
                other => {
                    return self.no_split(
                        arg.span,
                        &format!("`{other}` is none of train, valid, test, balance, groups, seed"),
                    );
                }
            }
        }
        let given = train.unwrap_or(0.0) + valid.unwrap_or(0.0) + test.unwrap_or(0.0);
        let missing = train.is_none();
        let train = train.unwrap_or((1.0 - given).max(0.0));
        let total = train + valid.unwrap_or(0.0) + test.unwrap_or(0.0);
        if (total - 1.0).abs() > 1e-6 {
            self.say(
                Diagnostic::error("wrong-number", format!("the parts sum to {:.4}, not to 1", total))
                    .primary(span, if missing { "parts of the whole" } else { "these are the parts" })
                    .help("every row belongs to one part: 0.7 + 0.15 + 0.15 = 1"),
            );
            return None;
        }
        Some(Split::Random { train, valid: valid.unwrap_or(0.0), test: test.unwrap_or(0.0), balance, groups, seed })
    }

    fn kfold(&mut self, args: &'a [ast::Arg], facts: &DataFacts, span: Span) -> Option<Split> {
        let (mut folds, mut repeats, mut seed, mut balance, mut groups) = (None, 1, 0u64, None, None);
        for (position, arg) in args.iter().enumerate() {
            match &arg.kind {
                ArgKind::Positional(value) if position == 0 => folds = Some(self.count(value, "kfold")?),
                ArgKind::Named { name, value } => match name.text.as_str() {
                    "repeats" => repeats = self.count(value, "repeats")?,
                    "balance" => balance = Some(self.field_name(value, facts)?),
                    "groups" => groups = Some(self.field_name(value, facts)?),
                    "seed" => seed = self.plain_number(value)? as u64,
                    other => {
                        return self
                            .no_split(arg.span, &format!("`{other}` is none of repeats, balance, groups, seed"));
                    }
                },
                ArgKind::Positional(_) | ArgKind::Each { .. } | ArgKind::Hole => {
                    return self.no_split(arg.span, "`kfold(5)` takes the number of folds");
                }
            }
        }
        match folds {
            Some(folds) if folds >= 2 => Some(Split::KFold { folds, repeats, balance, groups, seed }),
            Some(_) | None => self.no_split(span, "`kfold(5)` takes the number of folds, at least 2"),
        }
    }

    fn given_split(&mut self, args: &'a [ast::Arg], facts: &DataFacts, span: Span) -> Option<Split> {
        let [ast::Arg { kind: ArgKind::Positional(e), .. }] = args else {
            return self.no_split(span, "`given(part)` takes a field that says train, valid or test");
        };
        Some(Split::Given { field: self.field_name(e, facts)? })
    }

    /// `by(chrom, valid: ["chr8"], test: ["chr9"])`.
    fn by_split(&mut self, args: &'a [ast::Arg], facts: &DataFacts, span: Span) -> Option<Split> {
        let (mut field, mut valid, mut test) = (None, Vec::new(), Vec::new());
        for arg in args {
            match &arg.kind {
                ArgKind::Positional(e) if field.is_none() => field = Some(self.field_name(e, facts)?),
                ArgKind::Named { name, value } if name.text == "valid" => valid = self.names_of(value)?,
                ArgKind::Named { name, value } if name.text == "test" => test = self.names_of(value)?,
                ArgKind::Positional(_) | ArgKind::Named { .. } | ArgKind::Each { .. } | ArgKind::Hole => {
                    return self.no_split(arg.span, "`by` takes a field, `valid:` and `test:`");
                }
            }
        }
        if let Some(both) = valid.iter().find(|name| test.contains(name)) {
            return self.no_split(span, &format!("`{both}` cannot validate and test at once"));
        }
        match field {
            Some(field) if !(valid.is_empty() && test.is_empty()) => Some(Split::By { field, valid, test }),
            Some(_) | None => self.no_split(span, "write `by(chrom, valid: [\"chr8\"], test: [\"chr9\"])`"),
        }
    }

    fn names_of(&mut self, e: &'a ast::Expr) -> Option<Vec<String>> {
        let items: Vec<&'a ast::Expr> =
            if let ast::ExprKind::List(items) = &e.kind { items.iter().collect() } else { vec![e] };
        let mut names = Vec::new();
        for item in items {
            match &item.kind {
                ast::ExprKind::Str(text) => names.push(text.clone()),
                ast::ExprKind::Int(number) => names.push(number.to_string()),
                ast::ExprKind::Bool(truth) => names.push(truth.to_string()),
                ast::ExprKind::Name(_)
                | ast::ExprKind::Float(_)
                | ast::ExprKind::Quantity { .. }
                | ast::ExprKind::Next(_)
                | ast::ExprKind::Unary { .. }
                | ast::ExprKind::Binary { .. }
                | ast::ExprKind::Pipe { .. }
                | ast::ExprKind::Call { .. }
                | ast::ExprKind::Subscript { .. }
                | ast::ExprKind::Field { .. }
                | ast::ExprKind::List(_)
                | ast::ExprKind::Record(_)
                | ast::ExprKind::For { .. }
                | ast::ExprKind::Reduce { .. }
                | ast::ExprKind::If { .. }
                | ast::ExprKind::Else { .. }
                | ast::ExprKind::Except { .. }
                | ast::ExprKind::Block(_)
                | ast::ExprKind::Scan(_)
                | ast::ExprKind::Iterate(_)
                | ast::ExprKind::Error => {
                    self.no_split(item.span, "a value of the field is expected, such as \"chr8\"");
                    return None;
                }
            }
        }
        Some(names)
    }

    /// `time(day, valid: 0.1, test: 0.1, gap: 7)`, or `time(day, folds: 5)`.
    fn time_split(&mut self, args: &'a [ast::Arg], facts: &DataFacts, span: Span) -> Option<Split> {
        let (mut field, mut valid, mut test, mut gap, mut folds) = (None, 0.0, 0.0, 0.0, 1);
        for arg in args {
            match &arg.kind {
                ArgKind::Positional(e) if field.is_none() => field = Some(self.field_name(e, facts)?),
                ArgKind::Named { name, value } => match name.text.as_str() {
                    "valid" => valid = self.plain_number(value)?,
                    "test" => test = self.plain_number(value)?,
                    "gap" => gap = self.plain_number(value)?,
                    "folds" => folds = self.count(value, "folds")?,
                    other => {
                        return self.no_split(arg.span, &format!("`{other}` is none of valid, test, gap, folds"));
                    }
                },
                ArgKind::Positional(_) | ArgKind::Each { .. } | ArgKind::Hole => {
                    return self.no_split(arg.span, "`time` takes a field, `valid:`, `test:`, `gap:` and `folds:`");
                }
            }
        }
        if valid < 0.0 || test < 0.0 || valid + test >= 1.0 || gap < 0.0 {
            return self
                .no_split(span, "shares are between 0 and 1 and leave some rows to train on; a gap is not negative");
        }
        if folds > 1 && valid + test > 0.0 {
            return self
                .no_split(span, "`folds:` makes parts of equal size; `valid:` and `test:` are for a single cut");
        }
        match field {
            Some(field) if folds > 1 || valid + test > 0.0 => Some(Split::Time { field, valid, test, gap, folds }),
            Some(_) | None => self.no_split(span, "write `time(day, valid: 0.1, test: 0.1)`"),
        }
    }

    /// `identity(seq, below: 0.3, train: 0.7, valid: 0.15, test: 0.15)`, or `identity(seq, below: 0.3, folds: 5)`.
    fn identity_split(&mut self, args: &'a [ast::Arg], facts: &DataFacts, span: Span) -> Option<Split> {
        let (mut field, mut below, mut folds, mut balance) = (None, None, 1, None);
        let mut shares = Shares::default();
        for arg in args {
            match &arg.kind {
                ArgKind::Positional(e) if field.is_none() => field = Some(self.field_name(e, facts)?),
                ArgKind::Named { name, value } => match name.text.as_str() {
                    "below" => below = Some(self.plain_number(value)?),
                    "folds" => folds = self.count(value, "folds")?,
                    "balance" => balance = Some(self.field_name(value, facts)?),
                    other if !shares.take(other, self.plain_number(value)?) => {
                        return self.no_split(
                            arg.span,
                            &format!("`{other}` is none of below, train, valid, test, folds, balance, seed"),
                        );
                    }
                    _ => {}
                },
                ArgKind::Positional(_) | ArgKind::Each { .. } | ArgKind::Hole => {
                    return self.no_split(arg.span, "`identity` takes a field of sequences, `below:` and shares");
                }
            }
        }
        let (Some(field), Some(below)) = (field, below) else {
            return self.no_split(span, "write `identity(seq, below: 0.3, train: 0.7, valid: 0.15, test: 0.15)`");
        };
        if !(below > 0.0 && below <= 1.0) {
            return self.no_split(span, "`below:` is an identity between 0 and 1, such as 0.3");
        }
        if folds > 1 && shares.given() {
            return self.no_split(span, "`folds:` makes parts of equal size; shares are for a single cut");
        }
        let [train, valid, test] = if folds > 1 { [1.0, 0.0, 0.0] } else { shares.parts(self, span)? };
        Some(Split::Identity { field, below, train, valid, test, folds, balance, seed: shares.seed })
    }

    /// `scaffold(smiles, train: 0.8, valid: 0.1, test: 0.1)`, or `scaffold(smiles, folds: 5)`.
    fn scaffold_split(&mut self, args: &'a [ast::Arg], facts: &DataFacts, span: Span) -> Option<Split> {
        let (mut field, mut folds, mut balance) = (None, 1, None);
        let mut shares = Shares::default();
        for arg in args {
            match &arg.kind {
                ArgKind::Positional(e) if field.is_none() => field = Some(self.field_name(e, facts)?),
                ArgKind::Named { name, value } => match name.text.as_str() {
                    "folds" => folds = self.count(value, "folds")?,
                    "balance" => balance = Some(self.field_name(value, facts)?),
                    other if !shares.take(other, self.plain_number(value)?) => {
                        let known = "train, valid, test, folds, balance, seed";
                        return self.no_split(arg.span, &format!("`{other}` is none of {known}"));
                    }
                    _ => {}
                },
                ArgKind::Positional(_) | ArgKind::Each { .. } | ArgKind::Hole => {
                    return self.no_split(arg.span, "`scaffold` takes a field of molecules and shares");
                }
            }
        }
        let Some(field) = field else {
            return self.no_split(span, "write `scaffold(smiles, train: 0.8, valid: 0.1, test: 0.1)`");
        };
        if folds > 1 && shares.given() {
            return self.no_split(span, "`folds:` makes parts of equal size; shares are for a single cut");
        }
        let [train, valid, test] = if folds > 1 { [1.0, 0.0, 0.0] } else { shares.parts(self, span)? };
        Some(Split::Scaffold { field, train, valid, test, folds, balance, seed: shares.seed })
    }

    /// `entries(y, train: 0.6, valid: 0.2, test: 0.2)`.
    fn entries_split(&mut self, args: &'a [ast::Arg], facts: &DataFacts, span: Span) -> Option<Split> {
        let mut field = None;
        let mut shares = Shares::default();
        for arg in args {
            match &arg.kind {
                ArgKind::Positional(e) if field.is_none() => field = Some(self.field_name(e, facts)?),
                ArgKind::Named { name, value } => {
                    let number = self.plain_number(value)?;
                    if !shares.take(&name.text, number) {
                        return self.no_split(arg.span, &format!("`{name}` is none of train, valid, test, seed"));
                    }
                }
                ArgKind::Positional(_) | ArgKind::Each { .. } | ArgKind::Hole => {
                    return self.no_split(arg.span, "`entries` takes a field with an axis, and shares");
                }
            }
        }
        let Some(field) = field else {
            return self.no_split(span, "write `entries(y, train: 0.6, valid: 0.2, test: 0.2)`");
        };
        let [train, valid, test] = shares.parts(self, span)?;
        Some(Split::Entries { field, train, valid, test, seed: shares.seed })
    }
}
