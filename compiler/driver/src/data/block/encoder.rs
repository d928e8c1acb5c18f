//! Encoders and steps: the words that may stand before a column or after `|>`.

use super::Lower;
use bdl_data::{FieldSpec, Formula, Function, Impute, Origin, Step};
use bdl_grammar::ast::{Arg, ArgKind, ExprKind};
use bdl_grammar::{Diagnostic, Span};

/// Every encoder and step of its own word; functions of numbers such as `exp` stand beside them.
pub const ENCODERS: [&str; 16] = [
    "number",
    "numbers",
    "text",
    "truth",
    "category",
    "tokens",
    "index",
    "onehot",
    "letters",
    "counts",
    "log1p",
    "log",
    "sqrt",
    "standardize",
    "minmax",
    "impute",
];

impl Lower<'_> {
    /// Adds the step `word(args)` to a field.
    pub(super) fn step(&mut self, mut field: FieldSpec, word: &str, args: &[Arg], span: Span) -> Option<FieldSpec> {
        let mut positional = Vec::new();
        let mut named = Vec::new();
        for arg in args {
            match &arg.kind {
                ArgKind::Named { name, value } if name.text == "missing" => field.missing = self.missing(value)?,
                ArgKind::Named { name, value } => named.push((name, value)),
                ArgKind::Positional(value) => positional.push(value),
                ArgKind::Each { .. } | ArgKind::Hole => {
                    self.say(arg.span, "data-expression", format!("not an argument of `{word}`"));
                    return None;
                }
            }
        }
        let step = match word {
            "number" => Step::Number,
            "counts" => Step::Counts,
            "text" => Step::Text,
            "truth" => {
                let (mut yes, mut no) = (None, None);
                for (name, value) in std::mem::take(&mut named) {
                    match name.text.as_str() {
                        "yes" => yes = Some(self.cell(value)?),
                        "no" => no = Some(self.cell(value)?),
                        _ => named.push((name, value)),
                    }
                }
                Step::Truth { yes, no }
            }
            "category" | "tokens" => {
                let (mut classes, mut unknown) = (None, None);
                for (name, value) in std::mem::take(&mut named) {
                    match name.text.as_str() {
                        "classes" => classes = Some(self.texts(value)?),
                        "unknown" => unknown = Some(self.text(value)?),
                        _ => named.push((name, value)),
                    }
                }
                if word == "category" { Step::Category { classes, unknown } } else { Step::Tokens { classes, unknown } }
            }
            "numbers" => {
                let mut width = None;
                for (name, value) in std::mem::take(&mut named) {
                    match name.text.as_str() {
                        "width" => width = Some(self.natural(value)?.max(1) as usize),
                        _ => named.push((name, value)),
                    }
                }
                Step::Numbers { width }
            }
            "index" => {
                let (mut of, mut first) = (None, 0);
                for (name, value) in std::mem::take(&mut named) {
                    match (name.text.as_str(), &value.kind) {
                        ("of", ExprKind::Name(field)) if self.fields.contains(&field.text) => of = Some(&field.text),
                        ("of", _) => {
                            self.unknown_field(value.span);
                            return None;
                        }
                        ("first", _) => first = self.natural(value)? as i64,
                        (_, _) => named.push((name, value)),
                    }
                }
                let Some(of) = of else {
                    self.say(
                        span,
                        "data-expression",
                        "into which field do they point: `index(column(\"src\"), of: atoms)`",
                    );
                    return None;
                };
                Step::Indices { of: of.clone(), first }
            }
            "onehot" => match positional.pop() {
                Some(alphabet) => Step::OneHotText(self.alphabet(alphabet)?),
                None => Step::OneHot,
            },
            "letters" => match positional.pop() {
                Some(alphabet) => Step::Letters(self.alphabet(alphabet)?),
                None => {
                    self.say(span, "data-expression", "which letters: `letters(column(\"s\"), Protein)`");
                    return None;
                }
            },
            "log1p" => Step::Log1p,
            "log" => Step::Log,
            "sqrt" => Step::Sqrt,
            "standardize" => Step::Standardize,
            "minmax" => Step::MinMax,
            "impute" => {
                let Some(how) = positional.pop() else {
                    self.say(span, "data-expression", "with what: `impute(mean)`, `impute(median)` or `impute(0)`");
                    return None;
                };
                let word = if let ExprKind::Name(name) = &how.kind { name.text.as_str() } else { "" };
                Step::Impute(match word {
                    "mean" => Impute::Mean,
                    "median" => Impute::Median,
                    _ => Impute::Constant(self.number(how)?),
                })
            }
            "molecule" | "pca" | "window" | "most_variable" => {
                self.not_built(span, &format!("the encoder `{word}`"));
                return None;
            }
            other => {
                // A function of numbers, such as `|> exp`.
                if let (Some(function), [], []) = (Function::named(other), positional.as_slice(), named.as_slice()) {
                    let name = std::mem::take(&mut field.name);
                    if field.steps.is_empty() && matches!(field.origin, Origin::Column(_)) {
                        field.steps.push(Step::Number);
                    }
                    let of = self.hide(&name, field, span);
                    let formula = Formula::Apply(function, Box::new(Formula::Field(of)));
                    return Some(FieldSpec::new(&name, Origin::Formula(formula)));
                }
                self.diagnostics.push(
                    Diagnostic::error("unknown-name", format!("there is no encoder `{other}`"))
                        .primary(span, "not an encoder")
                        .help(format!(
                            "encoders are {}; functions such as exp, abs, round work too",
                            ENCODERS.join(", ")
                        )),
                );
                return None;
            }
        };
        if let Some(extra) = positional.first() {
            self.say(extra.span, "data-expression", format!("`{word}` takes no such argument"));
            return None;
        }
        if let Some((name, _)) = named.first() {
            self.say(name.span, "unknown-option", format!("`{word}` has no option `{}`", name.text));
            return None;
        }
        field.steps.push(step);
        Some(field)
    }
}
