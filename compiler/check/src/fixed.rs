//! Fixed knowledge: `const mask: bool[G, P] = gmt("reactome.gmt")`, and `align`, which brings a named axis into another order.
//!
//! Files are read by the driver before anything is checked ([`FileTable`]); this crate touches no disk. A constant from a file is a
//! table of the program's store; its sizes are numbers, and names that its type leaves open are bound to them.

use crate::builtin::Given;
use crate::checker::{Checker, because};
use crate::hir::{self, Axis, Const, ConstId, ExprKind, IndexKind, Scalar, Sub, TensorType, Type};
use crate::types::Meeting;
use crate::value::{Value, expr, show_scalar, show_tensor, tensor};
use bdl_dims::Dim;
use bdl_grammar::ast::{self, ArgKind};
use bdl_grammar::{Diagnostic, FileId, Span};
use std::sync::Arc;

/// Functions that stand for the contents of a file.
pub const FILE_SOURCES: [&str; 4] = ["csv", "tsv", "npy", "gmt"];

/// What the driver found in a file that a `const` names.
#[derive(Clone, Debug, PartialEq)]
pub struct FileTable {
    /// The file of the program that names it.
    pub from: FileId,
    /// As written.
    pub path: String,
    pub shape: Vec<usize>,
    /// Row-major.
    pub values: Vec<f64>,
    /// Names along each axis, where the file gives any.
    pub names: Vec<Option<Arc<Vec<String>>>>,
}

/// A path as written, and where.
#[derive(Clone, Debug, PartialEq)]
pub struct WrittenFile<'c> {
    pub text: &'c str,
    pub span: Span,
}

/// The kind of file that a constant comes from, and its path: `csv("weights.csv")`.
pub fn file_of(constant: &ast::Const) -> Option<(&str, WrittenFile<'_>)> {
    let ast::ExprKind::Call { callee, args } = &constant.value.kind else { return None };
    let ast::ExprKind::Name(word) = &callee.kind else { return None };
    let path = args.iter().find_map(|arg| match &arg.kind {
        ArgKind::Positional(ast::Expr { kind: ast::ExprKind::Str(text), span }) => {
            Some(WrittenFile { text, span: *span })
        }
        ArgKind::Positional(_) | ArgKind::Named { .. } | ArgKind::Each { .. } | ArgKind::Hole => None,
    })?;
    FILE_SOURCES.contains(&word.text.as_str()).then_some((word.text.as_str(), path))
}

impl<'a> Checker<'a> {
    /// A constant from a file; `None` where it is not from one.
    pub fn const_of_file(&mut self, constant: &'a ast::Const) -> Option<Value<'a>> {
        let (word, WrittenFile { text: path, .. }) = file_of(constant)?;
        let span = constant.value.span;
        let Some(table) = self.options.files.iter().find(|table| table.from == span.file && table.path == path) else {
            // The driver has said why it could not be read.
            return Some(Value::Error);
        };
        let axes = table.shape.iter().zip(&table.names).map(|(size, names)| Axis {
            size: Dim::from(*size as i64),
            names: names.clone(),
            origin: because(span, "the file"),
        });
        let mut ty = TensorType { scalar: Scalar::F32, optional: false, shape: axes.collect() };
        if let Some(written) = &constant.ty {
            self.bind_type(written, &Type::Tensor(ty.clone()));
            let Some(Type::Tensor(wanted)) = self.read_type(written) else { return Some(Value::Error) };
            if let Some(wrong) = table.values.iter().find(|value| !holds(&wanted.scalar, **value)) {
                return Some(
                    self.fail(
                        Diagnostic::error("type-mismatch", format!("`{path}` holds {wrong}"))
                            .primary(written.span, format!("no {}", show_scalar(&wanted.scalar))),
                    ),
                );
            }
            ty.scalar = wanted.scalar.clone();
            let mut values = table.values.clone();
            for at in 0..ty.shape.len().min(wanted.shape.len()) {
                let (own, asked) = (&ty.shape[at].names, &wanted.shape[at].names);
                let (Some(own), Some(asked)) = (own.clone(), asked.clone()) else { continue };
                if own == asked {
                    continue;
                }
                // Genes that no set holds are in none of them; of a matrix every row that is asked for must be there.
                let absent = (word == "gmt" && at == 0).then_some(0.0);
                let sizes: Vec<usize> = (0..ty.shape.len())
                    .map(|axis| ty.shape[axis].size.as_const().map_or(0, |size| size as usize))
                    .collect();
                match rearranged(&values, &sizes, at, &own, &asked, absent) {
                    Ok(found) => values = found,
                    Err(name) => {
                        let what = match absent {
                            Some(_) => format!("no name of this axis is in `{path}`"),
                            None => format!("there is no `{name}` in `{path}`"),
                        };
                        return Some(
                            self.fail(
                                Diagnostic::error("axis-names-differ", what)
                                    .primary(span, format!("its names are {}", first_of(&own)))
                                    .secondary(written.span, format!("these are {}", first_of(&asked))),
                            ),
                        );
                    }
                }
                ty.shape[at] = wanted.shape[at].clone();
            }
            // On its own a definition knows its inputs' sizes by name only; whether the file fits them is seen where it is used.
            if self.generic && wanted.shape.len() == ty.shape.len() {
                ty.shape = wanted.shape;
                let name = self.stored_name(&constant.name.text);
                return Some(Value::Run(self.stored_const(name, ty, values, span)));
            }
            let meeting = Meeting { span, what: "this constant is" };
            match self.fit_tensor(&wanted, &ty, Some(written.span), &meeting) {
                Some(fitted) => ty.shape = fitted.shape,
                None => return Some(Value::Error),
            }
            let name = self.stored_name(&constant.name.text);
            return Some(Value::Run(self.stored_const(name, ty, values, span)));
        }
        let values = table.values.clone();
        let name = self.stored_name(&constant.name.text);
        Some(Value::Run(self.stored_const(name, ty, values, span)))
    }

    fn stored_name(&self, name: &str) -> hir::Name {
        match &self.here().path {
            Some(prefix) => crate::instance::join(prefix, name).into(),
            None => name.into(),
        }
    }

    /// The constant of that name and value in the store, made where it is not there.
    fn stored_const(&mut self, name: hir::Name, ty: TensorType, values: Vec<f64>, span: Span) -> hir::Expr {
        let same = |known: &Const| known.values == values && known.ty.shape == ty.shape && known.ty.scalar == ty.scalar;
        let at = self.store.consts.iter().position(same).unwrap_or_else(|| {
            self.store.consts.push(Const { path: name, ty: ty.clone(), values: values.clone() });
            self.store.consts.len() - 1
        });
        expr(ExprKind::Const(ConstId(at as u32)), Type::Tensor(ty), span)
    }

    /// `align(x, to: genes)`: the elements of x along its named axis, in the order of the names of `genes`.
    pub fn align(&mut self, args: Vec<Given<'a>>, span: Span) -> Value<'a> {
        let wrong = || {
            Diagnostic::error("wrong-arguments", "`align` takes a value and the named axis that it is brought to")
                .primary(span, "given otherwise")
                .help("write `align(mask, to: expr)`, where `expr` has the axis in the wanted order")
        };
        let (mut value, mut to) = (None, None);
        for arg in args {
            match arg.name.map(|name| name.text.as_str()) {
                None if value.is_none() => value = Some(arg),
                Some("to") if to.is_none() => to = Some(arg),
                None | Some(_) => return self.fail(wrong()),
            }
        }
        let (Some(value), Some(to)) = (value, to) else { return self.fail(wrong()) };
        let (value_span, to_span) = (value.span, to.span);
        let Some((value, ty)) = self.tensor_arg(value) else { return Value::Error };
        let Some((_, target)) = self.tensor_arg(to) else { return Value::Error };
        let unnamed = |ty: &TensorType, span: Span| {
            Diagnostic::error("axis-names-differ", "`align` goes by names, and no axis here has any")
                .primary(span, format!("this is {}", show_tensor(ty)))
                .help("axes get their names from the data: `columns(..)`, or the header of a file")
        };
        // The axis that shares most names is the one meant.
        let named = target.shape.iter().find_map(|axis| Some((axis, axis.names.clone()?)));
        let names = named.as_ref().map(|(_, names)| names.to_vec()).unwrap_or_default();
        let shared = |axis: &Axis| axis.names.as_ref().map(|own| names.iter().filter(|n| own.contains(n)).count());
        let best = ty.shape.iter().enumerate().filter_map(|(at, axis)| Some((shared(axis)?, at)));
        let best = best.max_by_key(|(count, at)| (*count, std::cmp::Reverse(*at))).map(|(_, at)| at);
        if let (true, Some(to)) = (self.generic && (named.is_none() || best.is_none()), target.shape.first()) {
            // In a definition checked on its own no axis has names yet: the first is taken for the one meant.
            let mut shape = ty.shape.clone();
            shape.iter_mut().skip(best.unwrap_or(0)).take(1).for_each(|axis| *axis = to.clone());
            return Value::Run(expr(ExprKind::Number(f64::NAN), tensor(ty.scalar, shape), span));
        }
        let Some((wanted, _)) = named else { return self.fail(unnamed(&target, to_span)) };
        let Some(at) = best else { return self.fail(unnamed(&ty, value_span)) };
        let own = ty.shape[at].names.clone().unwrap_or_default();
        let place: std::collections::HashMap<&String, usize> = own.iter().enumerate().map(|(at, n)| (n, at)).collect();
        let mut order = Vec::new();
        for name in names.iter() {
            match place.get(name) {
                Some(at) => order.push(*at as f64),
                None => {
                    return self.fail(
                        Diagnostic::error("axis-names-differ", format!("there is no `{name}` to align"))
                            .primary(value_span, format!("its names are {}", first_of(&own)))
                            .secondary(to_span, format!("these are {}", first_of(&names))),
                    );
                }
            }
        }
        if *own == names {
            return Value::Run(value);
        }
        let index = TensorType {
            scalar: Scalar::Index(ty.shape[at].size.clone()),
            optional: false,
            shape: vec![wanted.clone()],
        };
        let name = self.stored_name("align");
        let order = self.stored_const(name, index.clone(), order, span);
        let mut shape = ty.shape.clone();
        shape[at] = wanted.clone();
        let mut indices = Vec::new();
        for axis in &shape {
            let kind = IndexKind::Range(axis.size.clone());
            indices.push(self.body().new_index("i", kind, Some(axis.clone()), true, span));
        }
        let plain =
            |id: hir::IndexId| Sub::Affine { terms: vec![(id, 1)], offset: Dim::zero(), outside: hir::Outside::Never };
        let place = ExprKind::Subscript { base: Box::new(order), subs: vec![plain(indices[at])] };
        let place = expr(place, tensor(index.scalar, Vec::new()), span);
        let mut subs: Vec<Sub> = indices.iter().map(|id| plain(*id)).collect();
        subs[at] = Sub::Data { index: Box::new(place), outside: hir::Outside::Never };
        let element =
            expr(ExprKind::Subscript { base: Box::new(value), subs }, tensor(ty.scalar.clone(), Vec::new()), span);
        Value::Run(expr(ExprKind::For { indices, body: Box::new(element) }, tensor(ty.scalar, shape), span))
    }
}

/// The elements along axis `at` in the order of `asked`; `absent` stands for those that are not there. Errors: the first name that is not there,
/// or with `absent` one where none is.
fn rearranged(
    values: &[f64],
    sizes: &[usize],
    at: usize,
    own: &[String],
    asked: &[String],
    absent: Option<f64>,
) -> Result<Vec<f64>, String> {
    let place: std::collections::HashMap<&String, usize> =
        own.iter().enumerate().map(|(at, name)| (name, at)).collect();
    let places: Vec<Option<usize>> = asked.iter().map(|name| place.get(name).copied()).collect();
    let lacking = asked.iter().zip(&places).find(|(_, place)| place.is_none()).map(|(name, _)| name.clone());
    if let Some(name) = lacking
        && (absent.is_none() || places.iter().all(Option::is_none))
    {
        return Err(name);
    }
    let inner: usize = sizes[at + 1..].iter().product();
    let mut found = Vec::with_capacity(values.len() / own.len().max(1) * asked.len());
    for outer in values.chunks((own.len() * inner).max(1)) {
        for place in &places {
            match place {
                Some(place) => found.extend(&outer[place * inner..(place + 1) * inner]),
                None => found.extend(std::iter::repeat_n(absent.unwrap_or(0.0), inner)),
            }
        }
    }
    Ok(found)
}

fn first_of(names: &[String]) -> String {
    let shown = names.iter().take(4).map(String::as_str).collect::<Vec<_>>().join(", ");
    if names.len() > 4 { format!("{shown}, ..") } else { shown }
}

/// Can a value of this kind be that number?
fn holds(scalar: &Scalar, value: f64) -> bool {
    let whole = value.fract() == 0.0;
    match scalar {
        Scalar::F32 | Scalar::F64 | Scalar::BF16 | Scalar::Logit => true,
        Scalar::Prob => (0.0..=1.0).contains(&value),
        Scalar::Count => value >= 0.0,
        Scalar::I32 => whole,
        Scalar::Bool => value == 0.0 || value == 1.0,
        Scalar::Category(count, _) | Scalar::Index(count) => {
            whole && value >= 0.0 && count.as_const().is_none_or(|count| value < count as f64)
        }
        Scalar::Letter(_, count) => whole && value >= 0.0 && value < *count as f64,
    }
}
