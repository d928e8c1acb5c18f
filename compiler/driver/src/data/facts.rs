//! What the checker is told about a data block: a type for every field.
//!
//! With the file at hand the types come from it: `dna` is `f32[60, 4]`. Without it they are symbolic: `f32[dna.len?, 4]`; `bdl check` still
//! proves what holds for every file and assumes what only the file can tell. A sequence column whose rows have lengths of their own gives a per-example
//! size; fields whose lengths agree row by row share its name, so that a model may give both one dimension.

use bdl_check::hir::{Axis, DataFacts, Field, Name, Scalar, TensorType, Type};
use bdl_data::{Column, DataSpec, Draw, FieldDim, FieldSpec, Fitted, Formula, Kind, Missing, Origin, Source, Step};
use bdl_dims::Dim;
use std::sync::Arc;

/// A per-example size of a data set.
#[derive(Clone, Debug, PartialEq)]
pub struct Length {
    /// The name that dimensions mention.
    pub name: Name,
    /// The size in each row.
    pub of_row: Arc<Vec<u32>>,
    /// Fields and axes that have this size, row by row.
    pub axes: Vec<(String, usize)>,
}

pub type Lengths = Vec<Length>;

/// Types of the fields of a data set that was read.
pub fn of_data(facts: &bdl_data::DataFacts) -> (DataFacts, Lengths) {
    let mut lengths: Lengths = Vec::new();
    let mut fields = Vec::new();
    let mut texts = Vec::new();
    for field in &facts.fields {
        let classes = || {
            let names: Vec<String> = field.classes.iter().map(|class| class.name.clone()).collect();
            Scalar::Category(Dim::from(names.len() as i64), Some(Arc::new(names)))
        };
        let scalar = match &field.kind {
            Kind::Number => Scalar::F32,
            Kind::Truth => Scalar::Bool,
            Kind::Category => classes(),
            Kind::Letters { alphabet, letters } => Scalar::Letter(alphabet.as_str().into(), *letters as i64),
            Kind::Index(below) => Scalar::Index(Dim::from(*below as i64)),
            Kind::IndexOf(target) => match facts.field(target).and_then(|target| target.dims.first()) {
                Some(FieldDim::Fixed(size)) => Scalar::Index(Dim::from(*size as i64)),
                Some(FieldDim::PerRow(rows)) => Scalar::Index(Dim::var(name_of(&mut lengths, target, 0, rows))),
                None => Scalar::I32,
            },
            Kind::Text => {
                texts.push(field.name.as_str().into());
                continue;
            }
        };
        let mut shape = Vec::new();
        for (at, dim) in field.dims.iter().enumerate() {
            let size = match dim {
                FieldDim::Fixed(size) => Dim::from(*size as i64),
                FieldDim::PerRow(rows) => Dim::var(name_of(&mut lengths, &field.name, at, rows)),
            };
            shape.push(Axis { size, names: field.axis_names.get(at).cloned().flatten(), origin: None });
        }
        let ty = Type::Tensor(TensorType { scalar, optional: field.optional, shape });
        fields.push(Field { name: field.name.as_str().into(), ty, one_hot: field.one_hot });
    }
    (DataFacts { name: facts.name.as_str().into(), rows: Some(facts.rows), fields, texts }, lengths)
}

fn name_of(lengths: &mut Lengths, field: &str, axis: usize, rows: &Arc<Vec<u32>>) -> Name {
    if let Some(known) = lengths.iter_mut().find(|known| known.of_row == *rows) {
        if !known.axes.iter().any(|(name, at)| name == field && *at == axis) {
            known.axes.push((field.to_string(), axis));
        }
        return known.name.clone();
    }
    let name: Name = if axis == 0 { format!("{field}.len") } else { format!("{field}.len{}", axis + 1) }.into();
    lengths.push(Length { name: name.clone(), of_row: rows.clone(), axes: vec![(field.to_string(), axis)] });
    name
}

/// Which fields shared which per-example sizes in the data that a model was trained on: `(name, fields and axes)`.
pub type Shared = Vec<(String, Vec<(String, usize)>)>;

/// Types of the fields of the data that a model was trained on, from what was stored with the run.
pub fn of_fitted(fitted: &Fitted, shared: &Shared) -> DataFacts {
    let mut facts = DataFacts { name: fitted.data.as_str().into(), rows: None, fields: Vec::new(), texts: Vec::new() };
    for field in &fitted.fields {
        let scalar = match &field.kind {
            Kind::Number => Scalar::F32,
            Kind::Truth => Scalar::Bool,
            Kind::Category => {
                Scalar::Category(Dim::from(field.classes.len() as i64), Some(Arc::new(field.classes.clone())))
            }
            Kind::Letters { alphabet, letters } => Scalar::Letter(alphabet.as_str().into(), *letters as i64),
            Kind::Index(below) => Scalar::Index(Dim::from(*below as i64)),
            Kind::IndexOf(target) => {
                let target = fitted.field(target).and_then(|known| Some((&known.name, known.dims.first()?)));
                target.map_or(Scalar::I32, |(name, size)| Scalar::Index(stored_size(name, 0, size, shared)))
            }
            Kind::Text => {
                facts.texts.push(field.name.as_str().into());
                continue;
            }
        };
        let size = |(axis, size): (usize, &Option<usize>)| {
            // The columns of `columns(..)` name the axis that they make.
            let named = axis == 0 && *size == Some(field.columns.len()) && !matches!(field.kind, Kind::Letters { .. });
            let names = named.then(|| Arc::new(field.columns.clone()));
            Axis { size: stored_size(&field.name, axis, size, shared), names, origin: None }
        };
        let shape = field.dims.iter().enumerate().map(size).collect();
        let ty = Type::Tensor(TensorType { scalar, optional: field.optional, shape });
        facts.fields.push(Field { name: field.name.as_str().into(), ty, one_hot: field.one_hot });
    }
    facts
}

fn stored_size(field: &str, axis: usize, size: &Option<usize>, shared: &Shared) -> Dim {
    let of_this = |axes: &[(String, usize)]| axes.iter().any(|(name, at)| *name == *field && *at == axis);
    match size {
        Some(size) => Dim::from(*size as i64),
        None => {
            let known = shared.iter().find(|(_, axes)| of_this(axes)).map(|(name, _)| name.clone());
            Dim::var(known.unwrap_or_else(|| format!("{field}.len")))
        }
    }
}

/// The same sizes in new rows: each from a field that is there.
pub fn lengths_like(shared: &Shared, data: &bdl_data::DataFacts) -> Lengths {
    let mut lengths = Vec::new();
    for (name, axes) in shared {
        let of_row = axes.iter().find_map(|(field, axis)| match data.field(field)?.dims.get(*axis)? {
            FieldDim::PerRow(rows) => Some(rows.clone()),
            FieldDim::Fixed(size) => Some(Arc::new(vec![*size as u32; data.rows])),
        });
        if let Some(of_row) = of_row {
            lengths.push(Length { name: name.as_str().into(), of_row, axes: axes.clone() });
        }
    }
    lengths
}

/// Types of the fields of a data set whose file is not there.
pub fn symbolic(spec: &DataSpec) -> DataFacts {
    let mut facts = DataFacts { name: spec.name.as_str().into(), rows: None, fields: Vec::new(), texts: Vec::new() };
    if let Source::Synthetic { rows, .. } = spec.source {
        facts.rows = Some(rows);
    }
    for field in &spec.fields {
        let ty = symbolic_field(field, &facts).map(|mut ty| {
            let steps = matches!(field.origin, Origin::Field(_));
            if spec.group.is_some() && !steps {
                let rows = Axis { size: Dim::var("rows?"), names: None, origin: None };
                ty.shape.insert(0, rows);
            }
            ty
        });
        match ty {
            Some(ty) => {
                let one_hot = matches!(field.steps.last(), Some(Step::OneHotText(_) | Step::OneHot));
                facts.fields.push(Field { name: field.name.as_str().into(), ty: Type::Tensor(ty), one_hot });
            }
            None => facts.texts.push(field.name.as_str().into()),
        }
    }
    let hidden = |name: &str| spec.fields.iter().any(|field| field.hidden && field.name == name);
    facts.fields.retain(|field| !hidden(&field.name));
    facts.texts.retain(|name| !hidden(name));
    facts
}

/// `None` for text.
fn symbolic_field(field: &FieldSpec, facts: &DataFacts) -> Option<TensorType> {
    let axis = |size: Dim| Axis { size, names: None, origin: None };
    let mut ty = TensorType { scalar: Scalar::F32, optional: field.missing == Missing::Keep, shape: Vec::new() };
    match &field.origin {
        Origin::Column(Column::Of(lookup, _)) => ty.optional |= lookup.optional,
        Origin::Column(Column::Name(_) | Column::Number(_)) => {}
        Origin::Columns { of, .. } => {
            ty.optional |= of.as_ref().is_some_and(|lookup| lookup.optional);
            ty.shape.push(axis(Dim::var(format!("{}.columns?", field.name))))
        }
        Origin::Formula(formula) => ty = symbolic_formula(formula, facts, ty.optional),
        Origin::Field(earlier) => {
            if let Some(Field { ty: Type::Tensor(known), .. }) =
                facts.fields.iter().find(|f| &*f.name == earlier.as_str())
            {
                ty = known.clone();
            }
        }
        Origin::Draw { draw, dims } => {
            ty.scalar = match draw {
                Draw::Normal | Draw::Uniform => Scalar::F32,
                Draw::Bernoulli(_) => Scalar::Bool,
                Draw::Category(classes) => Scalar::Category(Dim::from(*classes as i64), None),
                Draw::Letters(alphabet) => Scalar::Letter(alphabet.name().into(), alphabet.len() as i64),
                Draw::Index(below) => Scalar::Index(Dim::from(*below as i64)),
            };
            ty.shape = dims.iter().map(|size| axis(Dim::from(*size as i64))).collect();
        }
    }
    // The question mark tells the checker that the size is not known yet, so that what is asked of it is assumed.
    let found = |what: &str| Dim::var(format!("{}.{what}?", field.name));
    for step in &field.steps {
        match step {
            Step::Truth { .. } => ty.scalar = Scalar::Bool,
            Step::Category { classes, unknown } => ty.scalar = category(classes, unknown, found("classes")),
            Step::Tokens { classes, unknown } => {
                ty.scalar = category(classes, unknown, found("words"));
                ty.shape.push(axis(found("len")));
            }
            Step::Numbers { width } => {
                ty.scalar = Scalar::F32;
                ty.shape.push(axis(found("len")));
                ty.shape.extend(width.map(|width| axis(Dim::from(width as i64))));
            }
            Step::Indices { of, .. } => {
                let target = facts.fields.iter().find(|field| *field.name == **of);
                let size = target.and_then(|field| match &field.ty {
                    Type::Tensor(target) => target.shape.first().map(|axis| axis.size.clone()),
                    Type::Record(_) | Type::Error => None,
                });
                ty.scalar = Scalar::Index(size.unwrap_or_else(|| Dim::var(format!("{of}.len?"))));
                ty.shape.push(axis(found("len")));
            }
            Step::Letters(alphabet) => {
                ty.scalar = Scalar::Letter(alphabet.name().into(), alphabet.len() as i64);
                ty.shape.push(axis(found("len")));
            }
            Step::OneHotText(alphabet) => {
                ty.shape.push(axis(found("len")));
                ty.shape.push(axis(Dim::from(alphabet.len() as i64)));
            }
            Step::OneHot => {
                let width = match &ty.scalar {
                    Scalar::Letter(_, letters) => Dim::from(*letters),
                    Scalar::Category(classes, _) => classes.clone(),
                    Scalar::Index(below) => below.clone(),
                    Scalar::F32
                    | Scalar::F64
                    | Scalar::BF16
                    | Scalar::I32
                    | Scalar::Bool
                    | Scalar::Logit
                    | Scalar::Prob
                    | Scalar::Count => found("classes"),
                };
                ty.scalar = Scalar::F32;
                ty.shape.push(axis(width));
            }
            Step::Text => return None,
            Step::Impute(_) => ty.optional = false,
            Step::Number
            | Step::Counts
            | Step::Log1p
            | Step::Log
            | Step::Sqrt
            | Step::Arith(_)
            | Step::Standardize
            | Step::MinMax => {
                ty.scalar = Scalar::F32;
            }
        }
    }
    Some(ty)
}

fn category(classes: &Option<Vec<String>>, unknown: &Option<String>, found: Dim) -> Scalar {
    match classes {
        Some(names) => {
            let names: Vec<String> = names.iter().chain(unknown).cloned().collect();
            Scalar::Category(Dim::from(names.len() as i64), Some(Arc::new(names)))
        }
        None => Scalar::Category(found, None),
    }
}

/// Element by element, so the shape is that of an operand that has one.
fn symbolic_formula(formula: &Formula, facts: &DataFacts, kept: bool) -> TensorType {
    let known = |name: &str| {
        let field = facts.fields.iter().find(|field| *field.name == *name)?;
        if let Type::Tensor(ty) = &field.ty { Some(ty) } else { None }
    };
    let truth = |name: &str| known(name).map(|ty| ty.scalar == Scalar::Bool);
    let scalar = if formula.is_truth(&truth).unwrap_or(false) { Scalar::Bool } else { Scalar::F32 };
    let optional = kept || formula.is_optional(&|name| known(name).is_some_and(|ty| ty.optional));
    let shapes = formula.fields().into_iter().filter_map(known).map(|ty| ty.shape.clone());
    TensorType { scalar, optional, shape: shapes.max_by_key(Vec::len).unwrap_or_default() }
}
