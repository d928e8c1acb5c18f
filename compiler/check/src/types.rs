//! Types as written to types of the HIR, and the meeting of a signature with what is given to it.
//!
//! `layer Dense(units: dim)(x: f32[.., C])` applied to `f32[60, 32]`: a name that is not bound yet (`C`) is bound where it stands
//! plain, `..` takes the leading axes, and every other dimension (`units`, `2 * C`) is computed and compared.

use crate::checker::{Binding, Checker, because};
use crate::hir::{Axis, Name, Scalar, TensorType, Type};
use crate::range::with_origin;
use crate::scope::FileAt;
use crate::signature::Linear;
use crate::value::{Size, Value, show_scalar, show_tensor, show_type};
use bdl_dims::Dim;
use bdl_grammar::ast::{self, ItemKind, TypeKind};
use bdl_grammar::{Diagnostic, Span};
use std::sync::Arc;

/// Letters of the alphabets that are always there, in order.
pub const ALPHABETS: [(&str, &str); 3] = [("DNA", "ACGT"), ("RNA", "ACGU"), ("Protein", "ACDEFGHIKLMNPQRSTVWY")];

/// What a hyper-parameter or input is, as far as its type word says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Dim,
    /// `same`, `valid` or a number of zeros.
    Padding,
    Word,
    /// A number that may move during training.
    Schedule,
    /// A tensor type without brackets.
    Scalar,
    Tensor,
    Record,
    List,
    Function,
    Error,
}

pub(crate) fn kind_of(ty: &ast::Type) -> Kind {
    match &ty.kind {
        TypeKind::Word { name, args: _, optional: _, dims } => match (name.text.as_str(), dims) {
            ("dim", _) => Kind::Dim,
            ("padding", _) => Kind::Padding,
            ("word" | "text", _) => Kind::Word,
            ("schedule", _) => Kind::Schedule,
            (_, None) => Kind::Scalar,
            (_, Some(_)) => Kind::Tensor,
        },
        TypeKind::Record(_) => Kind::Record,
        TypeKind::List(_) => Kind::List,
        TypeKind::Layer { .. } | TypeKind::Fn { .. } => Kind::Function,
        TypeKind::Error => Kind::Error,
    }
}

/// The type of the layers or functions in a list: `[layer(f32[C]) -> f32[C]]`.
pub(crate) fn listed_function(ty: &ast::Type) -> Option<&ast::Type> {
    match &ty.kind {
        TypeKind::List(inner) => Some(&**inner).filter(|inner| kind_of(inner) == Kind::Function),
        TypeKind::Word { .. }
        | TypeKind::Record(_)
        | TypeKind::Layer { .. }
        | TypeKind::Fn { .. }
        | TypeKind::Error => None,
    }
}

/// Where a type stands, for messages.
pub(crate) struct Meeting<'m> {
    /// The value's place.
    pub span: Span,
    /// "`Dense` takes `x`".
    pub what: &'m str,
}

const SCALARS: [&str; 14] = [
    "f32", "f64", "bf16", "i32", "bool", "logit", "prob", "count", "category", "index", "DNA", "RNA", "Protein", "dim",
];

impl<'a> Checker<'a> {
    // -------------------------------------------------------------------------------------------- reading types

    /// The type as written, every dimension computed. `None` after a message.
    pub fn read_type(&mut self, ty: &'a ast::Type) -> Option<Type> {
        match &ty.kind {
            TypeKind::Word { name, args, optional, dims } => {
                if let Some(alias) = self.alias(name) {
                    if self.items.is_recursive(alias.1, &alias.0.name.text) {
                        return None;
                    }
                    return self
                        .with_alias(alias, dims.as_deref(), ty.span, |checker, target| checker.read_type(target));
                }
                let scalar = self.read_scalar(name, args)?;
                let shape = match dims {
                    Some(dims) => self.read_shape(dims)?,
                    None => Vec::new(),
                };
                Some(Type::Tensor(TensorType { scalar, optional: *optional, shape }))
            }
            TypeKind::Record(fields) => {
                let mut read = Vec::new();
                for field in fields {
                    read.push((Name::from(field.name.text.as_str()), self.read_type(&field.ty)?));
                }
                Some(Type::Record(read))
            }
            TypeKind::List(_) | TypeKind::Layer { .. } | TypeKind::Fn { .. } => {
                self.say(
                    Diagnostic::error("type-mismatch", "a list, layer or function has no place here")
                        .primary(ty.span, "expected the type of a value"),
                );
                None
            }
            TypeKind::Error => None,
        }
    }

    pub fn read_shape(&mut self, dims: &'a [ast::Dim]) -> Option<Vec<Axis>> {
        let mut shape = Vec::new();
        for dim in dims {
            match dim {
                ast::Dim::Rest(span) => match self.here().pack.clone() {
                    Some(pack) => shape.extend(pack),
                    None => {
                        self.say(
                            Diagnostic::error("no-pack", "`..` stands for nothing here")
                                .primary(*span, "no input of this signature has leading dimensions `..`")
                                .help("give an input the type `f32[.., n]`, or name every dimension"),
                        );
                        return None;
                    }
                },
                ast::Dim::Expr(expr) => shape.push(self.axis_of(expr)?),
            }
        }
        Some(shape)
    }

    fn axis_of(&mut self, expr: &'a ast::Expr) -> Option<Axis> {
        let size = self.size(expr)?;
        if let Some(constant) = size.dim.as_const()
            && constant < 0
        {
            self.say(
                Diagnostic::error("negative-size", format!("this size is {constant}"))
                    .primary(expr.span, "a size is a natural number"),
            );
            return None;
        }
        let origin = size.origin.or_else(|| because(expr.span, ""));
        Some(Axis { size: size.dim, names: size.names, origin })
    }

    fn read_scalar(&mut self, name: &'a ast::Name, args: &'a [ast::Expr]) -> Option<Scalar> {
        let scalar = match name.text.as_str() {
            "f32" => Scalar::F32,
            "f64" => Scalar::F64,
            "bf16" => Scalar::BF16,
            "i32" => Scalar::I32,
            "bool" => Scalar::Bool,
            "logit" => Scalar::Logit,
            "prob" => Scalar::Prob,
            "count" => Scalar::Count,
            "category" | "index" => {
                let [count] = args else {
                    self.say(
                        Diagnostic::error("type-mismatch", format!("`{name}` needs a number: how many there are"))
                            .primary(name.span, "how many?")
                            .help(format!("write `{name}(3)`")),
                    );
                    return None;
                };
                let size = self.size(count)?;
                if name.text == "index" { Scalar::Index(size.dim) } else { Scalar::Category(size.dim, None) }
            }
            word => {
                if let Some((name, letters)) = ALPHABETS.iter().find(|(name, _)| *name == word) {
                    return Some(Scalar::Letter((*name).into(), letters.len() as i64));
                }
                if let Some(def) = self.items.find(self.here().file, word)
                    && let ItemKind::Alphabet(alphabet) = &def.item.kind
                {
                    return Some(Scalar::Letter(word.into(), alphabet.letters.len() as i64));
                }
                self.unknown_type(name);
                return None;
            }
        };
        if !args.is_empty() && !matches!(scalar, Scalar::Category(_, _) | Scalar::Index(_)) {
            self.say(
                Diagnostic::error("type-mismatch", format!("`{name}` takes nothing in parentheses"))
                    .primary(name.span, "brackets say the shape: `f32[3]`"),
            );
            return None;
        }
        Some(scalar)
    }

    fn unknown_type(&mut self, name: &ast::Name) {
        let near = crate::suggest::nearest(&name.text, SCALARS);
        let mut diagnostic = Diagnostic::error("unknown-type", format!("there is no type `{name}`"))
            .primary(name.span, "not a type, an alphabet, or a record defined with `type`");
        diagnostic = match near {
            Some(near) => diagnostic.help(format!("did you mean `{near}`?")),
            None => {
                diagnostic.help("values are `f32`, `bool`, `category(3)`, `index(V)`, `DNA`, `logit`, `prob`, `count`")
            }
        };
        self.say(diagnostic);
    }

    fn alias(&self, name: &ast::Name) -> Option<(&'a ast::TypeAlias, FileAt)> {
        if SCALARS.contains(&name.text.as_str()) {
            return None;
        }
        let def = self.items.find(self.here().file, &name.text)?;
        if let ItemKind::Type(alias) = &def.item.kind { Some((alias, def.file)) } else { None }
    }

    /// Runs `inside` on what an alias stands for, its dimensions bound.
    fn with_alias<T>(
        &mut self,
        (alias, _): (&'a ast::TypeAlias, FileAt),
        dims: Option<&'a [ast::Dim]>,
        span: Span,
        inside: impl FnOnce(&mut Self, &'a ast::Type) -> Option<T>,
    ) -> Option<T> {
        let given = dims.unwrap_or(&[]);
        if given.len() != alias.dims.len() && !given.is_empty() {
            self.say(
                Diagnostic::error("rank-mismatch", format!("`{}` has {} dimensions", alias.name, alias.dims.len()))
                    .primary(span, format!("{} are given", given.len()))
                    .secondary(alias.name.span, "defined here"),
            );
            return None;
        }
        // `Graph[V, E]`: its own names stand for the dimensions given. Names that are the same need no binding.
        let mut renamed = Vec::new();
        for (name, dim) in alias.dims.iter().zip(given) {
            let ast::Dim::Expr(expr) = dim else { continue };
            let same = matches!(&expr.kind, ast::ExprKind::Name(word) if word.text == name.text);
            if !same && let Some(size) = self.try_size(expr) {
                renamed.push((name.text.as_str(), Binding::Value(Value::Size(size))));
            }
        }
        for (name, binding) in renamed {
            self.body().bind(name, binding);
        }
        inside(self, &alias.ty)
    }

    // -------------------------------------------------------------------------------------------- binding

    /// Binds names and `..` of the signature that stand plain, as `given` says. Says nothing.
    pub fn bind_type(&mut self, ty: &'a ast::Type, given: &Type) {
        match (&ty.kind, given) {
            (TypeKind::Word { name, args, optional: _, dims }, given) => {
                if let Some(alias) = self.alias(name) {
                    if self.items.is_recursive(alias.1, &alias.0.name.text) {
                        return;
                    }
                    let given = given.clone();
                    let _ = self.with_alias(alias, dims.as_deref(), ty.span, |checker, target| {
                        checker.bind_type(target, &given);
                        Some(())
                    });
                    return;
                }
                let Type::Tensor(tensor) = given else { return };
                self.bind_shape(dims.as_deref().unwrap_or(&[]), &tensor.shape);
                if let ([arg], Some(below)) = (args.as_slice(), tensor.scalar.below()) {
                    self.bind_size(arg, Size::of(below));
                }
            }
            (TypeKind::Record(fields), Type::Record(given)) => {
                for field in fields {
                    if let Some((_, ty)) = given.iter().find(|(name, _)| **name == *field.name.text) {
                        self.bind_type(&field.ty, ty);
                    }
                }
            }
            (TypeKind::Record(_), Type::Tensor(_) | Type::Error)
            | (TypeKind::List(_) | TypeKind::Layer { .. } | TypeKind::Fn { .. } | TypeKind::Error, _) => {}
        }
    }

    fn bind_shape(&mut self, dims: &'a [ast::Dim], shape: &[Axis]) {
        let rest = dims.iter().position(|dim| matches!(dim, ast::Dim::Rest(_)));
        let pairs: Vec<(&'a ast::Dim, &Axis)> = match rest {
            Some(at) => {
                let after = dims.len() - at - 1;
                if shape.len() < at + after {
                    return;
                }
                if self.here().pack.is_none() {
                    self.body().pack = Some(shape[at..shape.len() - after].to_vec());
                }
                dims[..at]
                    .iter()
                    .zip(&shape[..at])
                    .chain(dims[at + 1..].iter().zip(&shape[shape.len() - after..]))
                    .collect()
            }
            None if dims.len() == shape.len() => dims.iter().zip(shape).collect(),
            None => return,
        };
        for (dim, axis) in pairs {
            if let ast::Dim::Expr(expr) = dim {
                let (dim, names, origin) = (axis.size.clone(), axis.names.clone(), axis.origin.clone());
                self.bind_size(expr, Size { dim, names, origin });
            }
        }
    }

    fn bind_size(&mut self, expr: &'a ast::Expr, size: Size) {
        if let ast::ExprKind::Name(name) = &expr.kind {
            if self.is_free(name) {
                self.body().bind(&name.text, Binding::Value(Value::Size(size)));
            }
        } else if self.here().solving {
            self.solve_size(expr, &size);
        }
    }

    /// `2 * T + 1` meets 9: T is 4, where T is the only name that means nothing yet and stands to the first power.
    fn solve_size(&mut self, expr: &'a ast::Expr, size: &Size) {
        let mut free: Vec<&'a ast::Name> = Vec::new();
        crate::walk::names(expr, &mut |name| {
            if self.is_free(name) && !free.iter().any(|known| known.text == name.text) {
                free.push(name);
            }
        });
        let [name] = free.as_slice() else { return };
        let Some(Linear { slope, offset }) = self.linear_in(expr, &name.text) else { return };
        if slope.as_const().is_none_or(|slope| slope < 1) {
            return;
        }
        let solved = (size.dim.clone() - offset.clone()).floor_div(&slope);
        if self.proves_equal(&(slope * solved.clone() + offset), &size.dim) {
            let found = Size::from(solved, size.origin.clone());
            self.body().bind(&name.text, Binding::Value(Value::Size(found)));
        }
    }

    /// A name that means nothing yet may stand for a dimension.
    pub fn is_free(&self, name: &ast::Name) -> bool {
        self.here().find(&name.text).is_none() && !self.is_constant_item(&name.text)
    }

    fn is_constant_item(&self, name: &str) -> bool {
        self.items.find(self.here().file, name).is_some_and(|def| match &def.item.kind {
            ItemKind::Let(_) | ItemKind::Const(_) => true,
            ItemKind::Use(_)
            | ItemKind::Data(_)
            | ItemKind::Fn(_)
            | ItemKind::Layer(_)
            | ItemKind::Model(_)
            | ItemKind::Optimizer(_)
            | ItemKind::Train(_)
            | ItemKind::Tune(_)
            | ItemKind::Expect(_)
            | ItemKind::Type(_)
            | ItemKind::Alphabet(_)
            | ItemKind::Error => false,
        })
    }

    // -------------------------------------------------------------------------------------------- meeting

    /// Does a value of type `given` fit where the signature says `ty`? The type that it then has inside, or `None` after a message.
    /// Names of the signature are bound already.
    pub fn fit(&mut self, ty: &'a ast::Type, given: &Type, meeting: &Meeting) -> Option<Type> {
        if *given == Type::Error {
            return None;
        }
        // Whole records first: by their fields.
        if let TypeKind::Word { name, args: _, optional: _, dims } = &ty.kind
            && let Some(alias) = self.alias(name)
        {
            if self.items.is_recursive(alias.1, &alias.0.name.text) {
                return None;
            }
            let given = given.clone();
            return self
                .with_alias(alias, dims.as_deref(), ty.span, |checker, target| checker.fit(target, &given, meeting));
        }
        match (&ty.kind, given) {
            (TypeKind::Record(fields), Type::Record(given)) => {
                let mut fitted = Vec::new();
                for field in fields {
                    let Some((name, ty)) = given.iter().find(|(name, _)| **name == *field.name.text) else {
                        self.say(
                            Diagnostic::error(
                                "unknown-field",
                                format!("{} needs a field `{}`", meeting.what, field.name),
                            )
                            .primary(meeting.span, format!("this has {}", show_type(&Type::Record(given.clone()))))
                            .secondary(field.span, "asked for here"),
                        );
                        return None;
                    };
                    fitted.push((name.clone(), self.fit(&field.ty, ty, meeting)?));
                }
                Some(Type::Record(fitted))
            }
            (TypeKind::Word { .. }, Type::Tensor(tensor)) => {
                if !self.is_bound_type(ty)
                    && (self.refuses_form(ty, tensor, meeting) || self.refuses_size(ty, &tensor.shape, meeting))
                {
                    return None;
                }
                let wanted = self.read_type(ty)?;
                let Type::Tensor(wanted) = wanted else { return None };
                self.fit_tensor(&wanted, tensor, Some(ty.span), meeting).map(Type::Tensor)
            }
            (TypeKind::Word { .. }, Type::Record(_)) | (TypeKind::Record(_), Type::Tensor(_)) => {
                self.say(
                    Diagnostic::error("type-mismatch", format!("{} {}", meeting.what, self.text(ty.span)))
                        .primary(meeting.span, format!("this is {}", show_type(given)))
                        .help(if matches!(given, Type::Record(_)) {
                            "read one of its fields with a dot"
                        } else {
                            "write a record: `(a: .., b: ..)`"
                        }),
                );
                None
            }
            (TypeKind::List(_) | TypeKind::Layer { .. } | TypeKind::Fn { .. }, _) => {
                self.say(
                    Diagnostic::error("type-mismatch", format!("{} {}", meeting.what, self.text(ty.span)))
                        .primary(meeting.span, format!("this is {}", show_type(given))),
                );
                None
            }
            (TypeKind::Error, _) | (TypeKind::Word { .. } | TypeKind::Record(_), Type::Error) => None,
        }
    }

    /// A value whose number of axes or kind differs binds no name of the signature; what differs is what to say, not the missing name.
    fn refuses_form(&mut self, ty: &'a ast::Type, given: &TensorType, meeting: &Meeting) -> bool {
        let TypeKind::Word { name: _, args, optional: _, dims } = &ty.kind else { return false };
        let dims = dims.as_deref().unwrap_or(&[]);
        let written = dims.iter().filter(|dim| !matches!(dim, ast::Dim::Rest(_))).count();
        let ranks_fit = if written < dims.len() { given.shape.len() >= written } else { given.shape.len() == written };
        let kinds_fit = args.is_empty() || given.scalar.below().is_some();
        let (code, here) = match (kinds_fit, ranks_fit) {
            (true, true) => return false,
            (true, false) => ("rank-mismatch", format!("{}, not {}", axes(given.shape.len()), axes(written))),
            (false, _) => ("type-mismatch", format!("this is {}", show_tensor(given))),
        };
        let message = format!("{} {}, but this is {}", meeting.what, self.text(ty.span), show_tensor(given));
        let mut diagnostic = Diagnostic::error(code, message).primary(meeting.span, here);
        if !self.items.is_stdlib(ty.span.file) {
            diagnostic = diagnostic.secondary(ty.span, "asked for here");
        }
        if kinds_fit && given.shape.is_empty() {
            diagnostic =
                diagnostic.help("one number is not a list of them: let the layer before it give several, `Dense(n)`");
        }
        self.say(diagnostic);
        true
    }

    pub fn fit_tensor(
        &mut self,
        wanted: &TensorType,
        given: &TensorType,
        asked: Option<Span>,
        meeting: &Meeting,
    ) -> Option<TensorType> {
        // What may be missing takes what is there; messages need not speak of it.
        let wanted = &TensorType { optional: wanted.optional && given.optional, ..wanted.clone() };
        let kinds = (&wanted.scalar, &given.scalar);
        if let (Scalar::Bool, Scalar::Category(_, _)) | (Scalar::Category(_, _), Scalar::Bool) = kinds {
            // One choice or separate questions: their shapes differ for that reason, so the kinds are what to speak of.
            self.fit_scalar(wanted, given, asked, meeting)?;
        }
        let shape = self.fit_shape(wanted, given, asked, meeting)?;
        let scalar = self.fit_scalar(wanted, given, asked, meeting)?;
        if given.optional && !wanted.optional {
            self.say(
                Diagnostic::error("optional-value", "this value may be missing")
                    .primary(meeting.span, format!("{} is {}", self.text(meeting.span), show_tensor(given)))
                    .help(format!(
                        "say what it is then, `{} else 0`, or ask with `known(..)`",
                        self.text(meeting.span)
                    )),
            );
            return None;
        }
        Some(TensorType { scalar, optional: given.optional, shape })
    }

    fn fit_shape(
        &mut self,
        wanted: &TensorType,
        given: &TensorType,
        asked: Option<Span>,
        meeting: &Meeting,
    ) -> Option<Vec<Axis>> {
        if wanted.shape.len() != given.shape.len() {
            let mut diagnostic = Diagnostic::error(
                "rank-mismatch",
                format!("{} {}, but this is {}", meeting.what, show_tensor(wanted), show_tensor(given)),
            )
            .primary(meeting.span, format!("{}, not {}", axes(given.shape.len()), axes(wanted.shape.len())));
            if let Some(asked) = asked
                && !self.items.is_stdlib(asked.file)
            {
                diagnostic = diagnostic.secondary(asked, "asked for here");
            }
            let diagnostic = if given.shape.len() > wanted.shape.len() && wanted.shape.is_empty() {
                diagnostic.help("reduce its axes (`sum[t] ..`, `mean[t] ..`), or take one element: `x[0]`")
            } else if given.shape.len() > wanted.shape.len() {
                diagnostic.help("`flatten` makes one axis of all; `for t: f(x[t])` applies it along an axis")
            } else {
                diagnostic
            };
            self.say(diagnostic);
            return None;
        }
        let mut shape = Vec::new();
        for (wants, has) in wanted.shape.iter().zip(&given.shape) {
            if !self.agree(&wants.size, &has.size, meeting.span) {
                let mut diagnostic = Diagnostic::error(
                    "dim-mismatch",
                    format!("{} {}, but this is {}", meeting.what, show_tensor(wanted), show_tensor(given)),
                )
                .primary(meeting.span, format!("{} meets {}", has.size, wants.size));
                diagnostic = with_origin(diagnostic, wants);
                diagnostic = with_origin(diagnostic, has);
                let known = self.facts().proves_different(&wants.size, &has.size);
                let help = if known {
                    self.how_to_agree(wants, has)
                } else {
                    format!(
                        "nothing says that {} and {} are equal; use one name for both, or state a law: `where {} == {} else \"..\"`",
                        has.size, wants.size, has.size, wants.size
                    )
                };
                self.say(diagnostic.help(help));
                return None;
            }
            self.names_agree(wants, has, asked.unwrap_or(meeting.span), meeting.span);
            shape.push(Axis {
                size: wants.size.clone(),
                names: has.names.clone().or(wants.names.clone()),
                origin: has.origin.clone().or(wants.origin.clone()),
            });
        }
        Some(shape)
    }

    /// Where one of the two sizes was written as a number, that is the one to change.
    fn how_to_agree(&self, wants: &Axis, has: &Axis) -> String {
        let written =
            |axis: &Axis| axis.origin.as_ref().is_some_and(|origin| self.text(origin.span) == axis.size.to_string());
        match (written(wants), written(has)) {
            (_, true) => format!("write {} instead of {}", wants.size, has.size),
            (true, false) => format!("write {} instead of {}", has.size, wants.size),
            (false, false) => format!("make the two sizes equal: {} and {}", has.size, wants.size),
        }
    }

    /// Scalar kinds that may stand for one another: a logit, probability or count is a number; a number becomes a logit or
    /// probability where a type says so; a letter is a choice among its alphabet; a category or letter is an index.
    fn fit_scalar(
        &mut self,
        wanted: &TensorType,
        given: &TensorType,
        asked: Option<Span>,
        meeting: &Meeting,
    ) -> Option<Scalar> {
        let (want, has) = (&wanted.scalar, &given.scalar);
        let fits = match (want, has) {
            (Scalar::Logit, Scalar::Prob | Scalar::Count) => false,
            (want, has) if want.is_real() => has.is_real(),
            (Scalar::Bool, Scalar::Bool) | (Scalar::I32, Scalar::I32 | Scalar::Index(_)) => true,
            (Scalar::Category(wants, _), Scalar::Category(has, _)) => {
                let (wants, has) = (wants.clone(), has.clone());
                if !self.agree(&wants, &has, meeting.span) {
                    return self.classes_differ(&wants, &has, wanted, given, asked, meeting);
                }
                true
            }
            (Scalar::Category(wants, _), Scalar::Letter(_, letters)) => {
                let (wants, has) = (wants.clone(), Dim::from(*letters));
                if !self.agree(&wants, &has, meeting.span) {
                    return self.classes_differ(&wants, &has, wanted, given, asked, meeting);
                }
                true
            }
            (Scalar::Letter(wants, _), Scalar::Letter(has, _)) => wants == has,
            (Scalar::Index(below), has) => match has.below() {
                Some(has) => {
                    if !self.facts().proves(&(below.clone() - has.clone())) {
                        self.say(
                            Diagnostic::error(
                                "dim-mismatch",
                                format!("{} {}, but this is {}", meeting.what, show_tensor(wanted), show_tensor(given)),
                            )
                            .primary(meeting.span, format!("values below {has}, where they must be below {below}"))
                            .help("a data subscript must be provably inside the axis that it selects from"),
                        );
                        return None;
                    }
                    true
                }
                None => false,
            },
            (_, _) => false,
        };
        if fits {
            // Names of classes and the kind of index stay the value's own.
            return Some(match (want, has) {
                // What is written for numbers computes with those that it is given.
                (Scalar::F32, Scalar::F64) => Scalar::F64,
                (Scalar::Category(_, _) | Scalar::Letter(_, _) | Scalar::Index(_), has) => has.clone(),
                (want, _) => want.clone(),
            });
        }
        self.say(scalar_mismatch(want, has, wanted, given, meeting, self.text(meeting.span)));
        None
    }

    fn classes_differ(
        &mut self,
        wants: &Dim,
        has: &Dim,
        wanted: &TensorType,
        given: &TensorType,
        asked: Option<Span>,
        meeting: &Meeting,
    ) -> Option<Scalar> {
        let mut diagnostic = Diagnostic::error(
            "dim-mismatch",
            format!("{} {}, but this is {}", meeting.what, show_tensor(wanted), show_tensor(given)),
        )
        .primary(meeting.span, format!("{has} classes meet {wants}"));
        // Where a name of the signature stands for both, its first meeting says where the other number is from.
        if let Some(origin) = self.origin_of(wants) {
            diagnostic = diagnostic.secondary(origin.span, format!("{wants} comes from here"));
        }
        let _ = asked;
        self.say(
            diagnostic.help(format!("a choice among {has} classes needs {has} scores: let the last layer give {has}")),
        );
        None
    }

    fn origin_of(&self, dim: &Dim) -> Option<Arc<crate::hir::SizeOrigin>> {
        self.here().scopes.iter().rev().flat_map(|scope| scope.values()).find_map(|binding| match binding {
            Binding::Value(Value::Size(size)) if size.dim == *dim => size.origin.clone(),
            Binding::Value(_) | Binding::Index(_) | Binding::Declared(_) | Binding::Other(_) => None,
        })
    }
}

fn axes(count: usize) -> String {
    match count {
        0 => "a single number".to_string(),
        1 => "1 axis".to_string(),
        count => format!("{count} axes"),
    }
}

fn scalar_mismatch(
    want: &Scalar,
    has: &Scalar,
    wanted: &TensorType,
    given: &TensorType,
    meeting: &Meeting,
    text: &str,
) -> Diagnostic {
    let message = format!("{} {}, but this is {}", meeting.what, show_tensor(wanted), show_tensor(given));
    match (want, has) {
        (Scalar::Logit, Scalar::Prob) => {
            Diagnostic::error("probabilities-to-logit-loss", format!("{} logits, but these are probabilities", meeting.what))
                .primary(meeting.span, "already between 0 and 1")
                .note("a logit loss applies softmax or sigmoid itself, and does so without losing digits; applied twice, it trains badly and says nothing")
                .help("give it the scores from before `softmax` or `sigmoid`")
        }
        (Scalar::Bool, Scalar::Category(count, _)) => Diagnostic::error("choice-or-questions", message)
            .primary(meeting.span, format!("one choice among {count}, where separate yes-or-no questions are expected"))
            .help("for one choice of K use `cross_entropy`; for separate questions make the target with `truth(..)`"),
        (Scalar::Category(_, _), Scalar::Bool) => Diagnostic::error("choice-or-questions", message)
            .primary(meeting.span, "yes-or-no questions, where one choice is expected")
            .help("for separate questions use `binary_cross_entropy`; for one choice make the target with `category(..)`"),
        (want, Scalar::Bool) if want.is_real() => Diagnostic::error("type-mismatch", message)
            .primary(meeting.span, "a truth value is no number")
            .help(format!("write `f32({text})` to count yes as 1 and no as 0")),
        (want, Scalar::I32 | Scalar::Index(_)) if want.is_real() => Diagnostic::error("type-mismatch", message)
            .primary(meeting.span, "whole numbers")
            .help(format!("write `f32({text})`")),
        (want, Scalar::Letter(_, _)) if want.is_real() => Diagnostic::error("type-mismatch", message)
            .primary(meeting.span, "letters are no numbers")
            .help("`|> onehot` gives one number for each letter, and `|> Embedding(..)` a learned row"),
        (want, Scalar::Category(_, _)) if want.is_real() => Diagnostic::error("type-mismatch", message)
            .primary(meeting.span, "a category is no number")
            .help("`|> onehot` gives one number for each class"),
        (want, has) => Diagnostic::error("type-mismatch", message)
            .primary(meeting.span, format!("{} where {} is expected", show_scalar(has), show_scalar(want))),
    }
}
