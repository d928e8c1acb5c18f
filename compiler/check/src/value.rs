//! What an expression is while a program is checked: known now, or computed when the program runs.
//!
//! The checker evaluates: `Conv1d(2 * width, kernel: 5)` is a configured layer, `2 * width` the size 64, `x[t] * 2` a term of the
//! HIR. What is known now steers the rest (`if bias then ..`), and becomes a number of the HIR where it meets the running program.

use crate::hir::{self, Name, SizeOrigin, Type};
use crate::local::LocalFn;
use crate::scope::FileAt;
use bdl_dims::Dim;
use bdl_grammar::{Span, ast};
use std::rc::Rc;
use std::sync::Arc;

/// A size and where it comes from.
#[derive(Clone, Debug)]
pub(crate) struct Size {
    pub dim: Dim,
    /// The names along the axis that it was read off: `f32[G]` is named where G is.
    pub names: Option<Arc<Vec<String>>>,
    pub origin: Option<Arc<SizeOrigin>>,
}

#[derive(Clone, Debug)]
pub(crate) enum Value<'a> {
    /// A term of the running program; it belongs to the body under construction.
    Run(hir::Expr),
    /// A whole number or a size.
    Size(Size),
    Number(f64),
    Bool(bool),
    /// `"text"`, or a word such as `same`.
    Text(Name),
    List(Vec<Value<'a>>),
    Callable(Rc<Callable<'a>>),
    /// Said to be wrong already.
    Error,
}

/// What can be applied.
#[derive(Clone, Debug)]
pub(crate) enum Callable<'a> {
    Fn(&'a ast::Fn, FileAt),
    /// A function written inside a body.
    Local(Rc<LocalFn<'a>>),
    /// A function of the compiler.
    Builtin(&'static str),
    /// A layer before its hyper-parameters are given.
    LayerDef(&'a ast::Layer, FileAt),
    Layer(Layer<'a>),
    /// Several, one after the other.
    Chain(Vec<Value<'a>>),
    /// `GinLayer(128)(_, src, dst)`: `None` is the hole.
    Partial {
        callee: Value<'a>,
        waiting: Vec<Option<Value<'a>>>,
        /// Which of the open bodies the values belong to.
        home: usize,
    },
    /// A function- or layer-valued hyper-parameter without a value, in the check of a definition on its own.
    Unknown {
        result: &'a ast::Type,
        inputs: &'a [ast::Type],
    },
}

/// A layer with its hyper-parameters, and the path of its parameters once it is an instance.
#[derive(Clone, Debug)]
pub(crate) struct Layer<'a> {
    pub def: &'a ast::Layer,
    pub file: FileAt,
    pub hyper: Vec<(&'a str, Value<'a>)>,
    /// `Conv1d(32, kernel: 9)`.
    pub shown: String,
    pub path: Option<Name>,
}

impl Size {
    pub fn of(dim: Dim) -> Size {
        Size { dim, names: None, origin: None }
    }

    /// A size that was written or computed here.
    pub fn from(dim: Dim, origin: Option<Arc<SizeOrigin>>) -> Size {
        Size { dim, names: None, origin }
    }

    pub fn axis(self) -> hir::Axis {
        hir::Axis { size: self.dim, names: self.names, origin: self.origin }
    }
}

impl<'a> Value<'a> {
    pub fn size(dim: Dim) -> Value<'a> {
        Value::Size(Size::of(dim))
    }

    pub fn callable(callable: Callable<'a>) -> Value<'a> {
        Value::Callable(Rc::new(callable))
    }

    /// What it is, for messages.
    pub fn shown(&self) -> String {
        match self {
            Value::Run(expr) => show_type(&expr.ty),
            Value::Size(size) => size.dim.to_string(),
            Value::Number(number) => number.to_string(),
            Value::Bool(truth) => truth.to_string(),
            Value::Text(text) => text.to_string(),
            Value::List(items) => format!("[{}]", items.iter().map(Value::shown).collect::<Vec<_>>().join(", ")),
            Value::Callable(callable) => callable.shown(),
            Value::Error => "?".to_string(),
        }
    }

    /// The number this is, when it is one now.
    pub fn as_number(&self) -> Option<f64> {
        match self {
            Value::Size(size) => size.dim.as_const().map(|c| c as f64),
            Value::Number(number) => Some(*number),
            Value::Run(_) | Value::Bool(_) | Value::Text(_) | Value::List(_) | Value::Callable(_) | Value::Error => {
                None
            }
        }
    }

    /// Nothing of it waits for the running program.
    pub fn is_static(&self) -> bool {
        match self {
            Value::Run(_) => false,
            Value::List(items) => items.iter().all(Value::is_static),
            Value::Size(_) | Value::Number(_) | Value::Bool(_) | Value::Text(_) | Value::Callable(_) | Value::Error => {
                true
            }
        }
    }
}

impl Callable<'_> {
    pub fn shown(&self) -> String {
        match self {
            Callable::Fn(def, _) => format!("`{}`", def.name),
            Callable::Local(local) => format!("`{}`", local.def.name),
            Callable::Builtin(name) => format!("`{name}`"),
            Callable::LayerDef(def, _) => format!("`{}`", def.name),
            Callable::Layer(layer) => format!("`{}`", layer.shown),
            Callable::Chain(layers) => format!("a chain of {}", layers.len()),
            Callable::Partial { callee, .. } => callee.shown(),
            Callable::Unknown { .. } => "a layer".to_string(),
        }
    }
}

/// `f32[T, 4]`, `(mean: f32[8], log_var: f32[8])`.
pub fn show_type(ty: &Type) -> String {
    match ty {
        Type::Tensor(tensor) => show_tensor(tensor),
        Type::Record(fields) => {
            let fields = fields.iter().map(|(name, ty)| format!("{name}: {}", show_type(ty)));
            format!("({})", fields.collect::<Vec<_>>().join(", "))
        }
        Type::Error => "?".to_string(),
    }
}

pub(crate) fn show_tensor(tensor: &hir::TensorType) -> String {
    let scalar = show_scalar(&tensor.scalar);
    let optional = if tensor.optional { "?" } else { "" };
    if tensor.shape.is_empty() {
        format!("{scalar}{optional}")
    } else {
        format!("{scalar}{optional}{}", show_shape(&tensor.shape))
    }
}

pub(crate) fn show_shape(shape: &[hir::Axis]) -> String {
    format!("[{}]", shape.iter().map(|axis| axis.size.to_string()).collect::<Vec<_>>().join(", "))
}

pub(crate) fn show_scalar(scalar: &hir::Scalar) -> String {
    match scalar {
        hir::Scalar::F32 => "f32".to_string(),
        hir::Scalar::F64 => "f64".to_string(),
        hir::Scalar::BF16 => "bf16".to_string(),
        hir::Scalar::I32 => "i32".to_string(),
        hir::Scalar::Bool => "bool".to_string(),
        hir::Scalar::Category(count, _) => format!("category({count})"),
        hir::Scalar::Index(below) => format!("index({below})"),
        hir::Scalar::Letter(name, _) => name.to_string(),
        hir::Scalar::Logit => "logit".to_string(),
        hir::Scalar::Prob => "prob".to_string(),
        hir::Scalar::Count => "count".to_string(),
    }
}

// ------------------------------------------------------------------------------------------------ making terms

pub(crate) fn axis(size: Dim) -> hir::Axis {
    hir::Axis { size, names: None, origin: None }
}

pub(crate) fn tensor(scalar: hir::Scalar, shape: Vec<hir::Axis>) -> Type {
    Type::Tensor(hir::TensorType { scalar, optional: false, shape })
}

pub(crate) fn scalar_type(scalar: hir::Scalar) -> Type {
    tensor(scalar, Vec::new())
}

pub(crate) fn expr(kind: hir::ExprKind, ty: Type, span: Span) -> hir::Expr {
    hir::Expr { kind, ty, span }
}

pub(crate) fn number(value: f64, span: Span) -> hir::Expr {
    expr(hir::ExprKind::Number(value), scalar_type(hir::Scalar::F32), span)
}

pub(crate) fn error_expr(span: Span) -> hir::Expr {
    expr(hir::ExprKind::Number(f64::NAN), Type::Error, span)
}

impl hir::Expr {
    /// Its scalar kind and axes, when it is a tensor.
    pub fn tensor(&self) -> Option<&hir::TensorType> {
        match &self.ty {
            Type::Tensor(tensor) => Some(tensor),
            Type::Record(_) | Type::Error => None,
        }
    }

    pub fn is_error(&self) -> bool {
        matches!(self.ty, Type::Error)
    }
}

impl hir::Scalar {
    /// A real number, whatever its meaning.
    pub fn is_real(&self) -> bool {
        match self {
            hir::Scalar::F32
            | hir::Scalar::F64
            | hir::Scalar::BF16
            | hir::Scalar::Logit
            | hir::Scalar::Prob
            | hir::Scalar::Count => true,
            hir::Scalar::I32
            | hir::Scalar::Bool
            | hir::Scalar::Category(_, _)
            | hir::Scalar::Index(_)
            | hir::Scalar::Letter(_, _) => false,
        }
    }

    /// A whole number that may be computed with.
    pub fn is_whole(&self) -> bool {
        match self {
            hir::Scalar::I32 | hir::Scalar::Index(_) => true,
            hir::Scalar::F32
            | hir::Scalar::F64
            | hir::Scalar::BF16
            | hir::Scalar::Logit
            | hir::Scalar::Prob
            | hir::Scalar::Count
            | hir::Scalar::Bool
            | hir::Scalar::Category(_, _)
            | hir::Scalar::Letter(_, _) => false,
        }
    }

    /// One of finitely many: how many, for subscripts.
    pub fn below(&self) -> Option<Dim> {
        match self {
            hir::Scalar::Category(count, _) => Some(count.clone()),
            hir::Scalar::Index(below) => Some(below.clone()),
            hir::Scalar::Letter(_, count) => Some(Dim::from(*count)),
            hir::Scalar::F32
            | hir::Scalar::F64
            | hir::Scalar::BF16
            | hir::Scalar::I32
            | hir::Scalar::Bool
            | hir::Scalar::Logit
            | hir::Scalar::Prob
            | hir::Scalar::Count => None,
        }
    }
}
