//! Convolutions with fewer products.
//!
//! Two neighbouring positions and two neighbouring taps of `y[t] = sum[k] x[t + k] w[k]` meet in four products. Three do:
//!
//! ```text
//! y[2 t]     = sum[k] (x[2 (t + k)] - x[2 (t + k) + 1]) w[2 k]         + sum[k] x[2 (t + k) + 1] (w[2 k] + w[2 k + 1])
//! y[2 t + 1] = sum[k] (x[2 (t + k) + 2] - x[2 (t + k) + 1]) w[2 k + 1] + the same
//! ```
//!
//! So a convolution becomes three of half as many positions and half as many taps, and each of those three again: 3/4 of the products, then
//! 9/16. What stands for it is a [`Scheme`]; `y`, its input and its filter may have any other axes beside (channels). As these are equations,
//! the derivatives have as few products.
//!
//! Differences and sums of neighbours are rounded, so that values differ from the written sum by rounding, as those of another order of the
//! same sum do; nothing is divided, and in exact arithmetic both are the same. (An input that is infinite makes its neighbours NaN, too.)
//!
//! Source: the short fast FIR algorithms of Mou and Duhamel (1991), transposed.
//!
//! Deliberately absent: the choice by measurement (three constants, such as [`INPUT_ELEMENT`]), strides,
//! bodies of loops, one-hot data, lengths of the example's own, which differ, and images.

use crate::builder::{PieceBuilder, fresh_index};
use crate::data::{
    Affine, BinaryOp, DType, Equation, Expr, Index, IndexId, Monoid, Name, Node, Piece, Program, Read, Role, Sub,
    Tensor, TensorId, View,
};
use bdl_dims::Dim;

/// Whether convolutions are computed as they are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Convolutions {
    #[default]
    AsWritten,
    /// Wide ones with fewer products and more sums: where a product of contractions costs its arithmetic, as on processors.
    FewerProducts,
}

/// What an element of a sum of inputs costs, in multiplications of a contraction: it is written, read and kept for the derivative, which has one
/// like it. Measured with 32 to 300 channels and 3 to 11 taps on a Zen 4.
const INPUT_ELEMENT: i64 = 56;

/// The same of an element of a product, which is written and read once.
const PRODUCT_ELEMENT: i64 = 14;

/// The same of an element of a product's filter, which all examples of a batch share: as if there were about 16 of them.
const FILTER_ELEMENT: i64 = 4;

/// A scheme of more phases makes long programs (eight have 27 products).
const MOST_PHASES: i64 = 8;

/// A way to compute `phases` neighbouring positions: `y[P t + r] = sum over products p with r in output, and k, of
/// (sum over (o, s) in input of s x[P (t + k) + o]) (sum over r in filter of w[P k + r])`.
#[derive(Clone, Debug, PartialEq)]
struct Scheme {
    phases: i64,
    products: Vec<Product>,
}

#[derive(Clone, Debug, PartialEq)]
struct Product {
    /// Offsets and signs of the positions that are added.
    input: Vec<(i64, f64)>,
    /// Phases of the taps that are added, ascending.
    filter: Vec<i64>,
    /// Phases of the positions that the product is added to.
    output: Vec<i64>,
}

impl Scheme {
    fn pairs() -> Scheme {
        let product = |input: &[(i64, f64)], filter: &[i64], output: &[i64]| Product {
            input: input.to_vec(),
            filter: filter.to_vec(),
            output: output.to_vec(),
        };
        let products = vec![
            product(&[(0, 1.0), (1, -1.0)], &[0], &[0]),
            product(&[(1, 1.0)], &[0, 1], &[0, 1]),
            product(&[(2, 1.0), (1, -1.0)], &[1], &[1]),
        ];
        Scheme { phases: 2, products }
    }

    /// Each of its convolutions by `inner`.
    fn then(&self, inner: &Scheme) -> Scheme {
        let places = |outer: &[i64], inner: &[i64]| {
            let mut all: Vec<i64> = inner.iter().flat_map(|b| outer.iter().map(move |a| a + self.phases * b)).collect();
            all.sort_unstable();
            all
        };
        let mut products = Vec::new();
        for a in &self.products {
            for b in &inner.products {
                let each = b
                    .input
                    .iter()
                    .flat_map(|(ob, sb)| a.input.iter().map(move |(oa, sa)| (oa + self.phases * ob, sa * sb)));
                products.push(Product {
                    input: each.collect(),
                    filter: places(&a.filter, &b.filter),
                    output: places(&a.output, &b.output),
                });
            }
        }
        Scheme { phases: self.phases * inner.phases, products }
    }

    /// How many taps a product's filter has, of `taps`.
    fn taps(&self, product: &Product, taps: i64) -> i64 {
        let first = product.filter.first().copied().unwrap_or(0);
        (taps - first + self.phases - 1).div_euclid(self.phases)
    }
}

/// Computes each convolution by the scheme that costs least, but those of one-hot data: kernels add what letters choose, which sums of letters do not.
/// Gives how many are no longer as they were written.
pub fn fewer_products(program: &mut Program) -> usize {
    let is_one_hot = |tensor: &Tensor| matches!(tensor.role, Role::Input { one_hot: true, .. });
    let one_hot: Vec<bool> = program.tensors.iter().map(is_one_hot).collect();
    rewrite(program, &|convolution| {
        let is_made_of_letters = one_hot.get(convolution.input.tensor.0 as usize).is_some_and(|is| *is);
        if is_made_of_letters { None } else { convolution.scheme() }
    })
}

/// Computes each convolution `phases` positions at a time (a power of two), whatever it costs: for tests of what [`fewer_products`] chooses among.
pub fn in_phases(program: &mut Program, phases: i64) -> usize {
    let mut scheme = Scheme::pairs();
    while scheme.phases < phases {
        scheme = scheme.then(&Scheme::pairs());
    }
    rewrite(program, &|convolution| {
        let fits =
            scheme.phases <= convolution.taps.min(convolution.positions) && convolution.groups(&scheme).is_some();
        fits.then(|| scheme.clone())
    })
}

fn rewrite(program: &mut Program, scheme: &dyn Fn(&Convolution) -> Option<Scheme>) -> usize {
    let mut changes = 0;
    for node in std::mem::take(&mut program.nodes) {
        let found = if let Node::Equation(equation) = &node { Convolution::all(program, equation) } else { Vec::new() };
        let schemes = found.into_iter().filter_map(|convolution| Some((scheme(&convolution)?, convolution)));
        match schemes.min_by_key(|(scheme, convolution)| convolution.cost(scheme)) {
            Some((scheme, convolution)) => {
                convolution.write(program, &scheme);
                changes += 1;
            }
            None => program.nodes.push(node),
        }
    }
    changes
}

/// `y[.., t, ..] = sum[.., k, ..] x[.., a (t + k) + o, ..] * w[.., k, ..]` with a fixed number of positions and taps.
///
/// A dilation is an axis more: with t = d i + r the sum over `x[.., a (t + d k) + o, ..]` is one over `x[.., a d (i + k) + a r + o, ..]`.
struct Convolution<'e> {
    equation: &'e Equation,
    /// As that of the equation, or with the axis that a dilation is behind the position.
    piece: Piece,
    input: Read,
    filter: Read,
    dilation: i64,
    /// How many positions were written, and how many there are for each of the dilation's remainders.
    written: i64,
    position: IndexId,
    positions: i64,
    tap: IndexId,
    taps: i64,
    /// The elements of the input and of the result at a position: of an example, as far as sizes are known.
    input_elements: i64,
    output_elements: i64,
    /// Those of the filter at a tap.
    filter_elements: i64,
    /// Multiplications at a position and a tap.
    multiplications: i64,
}

impl<'e> Convolution<'e> {
    /// What the equation is a convolution along.
    fn all(program: &Program, equation: &'e Equation) -> Vec<Convolution<'e>> {
        let [piece] = equation.pieces.as_slice() else { return Vec::new() };
        let is_sum = piece.monoid == Monoid::Sum && piece.filter.is_empty() && piece.empty.is_none();
        let Expr::Binary(BinaryOp::Mul, a, b) = &piece.body else { return Vec::new() };
        let (Expr::Read(a), Expr::Read(b)) = (&**a, &**b) else { return Vec::new() };
        let is_plain = |read: &Read| {
            let subs = read.subs.iter().all(|sub| matches!(sub, Sub::Affine(_)));
            subs && read.example.is_none() && program.get(read.tensor).dtype == DType::Real
        };
        let own = |size: &Dim| program.is_per_example_size(size);
        let of_examples = piece.indices.iter().any(|index| index.example.is_some() || own(&index.range))
            || [a, b].iter().any(|read| program.get(read.tensor).shape.iter().any(own));
        let is_real = program.get(equation.out).dtype == DType::Real;
        if !is_sum || !piece.is_plain() || of_examples || !is_real || !is_plain(a) || !is_plain(b) {
            return Vec::new();
        }
        let along = piece.bound_ids().flat_map(|tap| piece.free_ids().map(move |position| (position, tap)));
        let each = along.flat_map(|along| [(a, b, along), (b, a, along)]);
        each.filter_map(|(input, filter, along)| Convolution::along(program, equation, piece, (input, filter), along))
            .collect()
    }

    fn along(
        program: &Program,
        equation: &'e Equation,
        piece: &Piece,
        (input, filter): (&Read, &Read),
        (position, tap): (IndexId, IndexId),
    ) -> Option<Convolution<'e>> {
        let written = piece.range(position).as_const()?;
        let taps = piece.range(tap).as_const()?;
        let mentioning = |read: &Read, index: IndexId| forms(read).filter(|form| form.mentions(index)).count();
        // One subscript of the input goes along both; one of the filter goes along the tap alone.
        let both = forms(input).find(|form| form.mentions(position) && form.mentions(tap))?;
        let alone = forms(filter).find(|form| form.mentions(tap))?;
        let dilation = both.coefficient(tap) / both.coefficient(position);
        let fits = both.coefficient(tap) == dilation * both.coefficient(position)
            && dilation > 0
            && (both.terms.len(), alone.terms.len()) == (2, 1)
            && (mentioning(input, position), mentioning(input, tap)) == (1, 1)
            && (mentioning(filter, position), mentioning(filter, tap)) == (0, 1)
            // Of an image, whose few taps an axis save a sixth, filters and sums cost more than that (resnet18: 29 ms a step, 43 along one axis).
            && forms(input).filter(|form| form.terms.len() > 1).count() == 1
            && filter.otherwise.is_none()
            && input.otherwise.is_none_or(|value| value == 0.0);
        let of_batch = |id: &IndexId| program.is_batch(piece.range(*id)) && mentioning(filter, *id) > 0;
        // A filter of each example's own would be prepared for each.
        if !fits || written < 2 || taps < 2 || piece.ids().any(|id| of_batch(&id)) {
            return None;
        }
        let known = |wanted: &dyn Fn(IndexId) -> bool| -> i64 {
            let ids = piece.ids().filter(|id| *id != position && *id != tap && wanted(*id));
            ids.filter_map(|id| piece.range(id).as_const()).fold(dilation, i64::saturating_mul)
        };
        let free = piece.free as u32;
        let convolution = Convolution {
            equation,
            piece: piece.clone(),
            input: input.clone(),
            filter: filter.clone(),
            dilation,
            written,
            position,
            positions: (written + dilation - 1) / dilation,
            tap,
            taps,
            input_elements: other_axes(program, input, position).fold(dilation, i64::saturating_mul),
            output_elements: known(&|id| id.0 < free),
            filter_elements: other_axes(program, filter, tap).fold(1, i64::saturating_mul),
            multiplications: known(&|_| true),
        };
        Some(if dilation > 1 { convolution.by_remainders() } else { convolution })
    }

    /// As the convolution along `i`, where the position is `d i + r`.
    fn by_remainders(mut self) -> Convolution<'e> {
        let (position, dilation) = (self.position, self.dilation);
        let remainder = IndexId(position.0 + 1);
        let moved = |id: IndexId| if id > position { IndexId(id.0 + 1) } else { id };
        let whole = Affine::from(position).scale(dilation) + remainder.into();
        let by = |id: IndexId| if id == position { whole.clone() } else { moved(id).into() };
        self.input = map_forms(self.input, &|form| form.replace(&by));
        self.filter = map_forms(self.filter, &|form| form.replace(&by));
        self.tap = moved(self.tap);
        let name = fresh_index(&self.piece.indices, "r");
        let index = Index { name, range: dilation.into(), example: None };
        self.piece.indices.insert(remainder.0 as usize, index);
        self.piece.free += 1;
        self
    }

    /// The scheme that costs least, if that is not to compute what is written.
    fn scheme(&self) -> Option<Scheme> {
        let as_written = self.positions.saturating_mul(self.taps).saturating_mul(self.multiplications);
        let mut best = (as_written, None);
        let mut scheme = Scheme::pairs();
        while scheme.phases <= self.taps.min(self.positions).min(MOST_PHASES) {
            if let Some(cost) = self.cost(&scheme).filter(|cost| *cost < best.0) {
                best = (cost, Some(scheme.clone()));
            }
            scheme = scheme.then(&Scheme::pairs());
        }
        best.1
    }

    /// The number of positions of a phase; none where positions beyond the last would be read that the input does not have.
    fn groups(&self, scheme: &Scheme) -> Option<i64> {
        let groups = (self.positions + scheme.phases - 1) / scheme.phases;
        let is_whole = groups * scheme.phases * self.dilation == self.written;
        (is_whole || self.input.otherwise.is_some()).then_some(groups)
    }

    /// In multiplications.
    fn cost(&self, scheme: &Scheme) -> Option<i64> {
        let groups = self.groups(scheme)?;
        let each = scheme.products.iter().map(|product| {
            let taps = scheme.taps(product, self.taps);
            let products = groups.saturating_mul(taps).saturating_mul(self.multiplications);
            let sums = if as_it_is(product).is_some() { 0 } else { groups + taps - 1 };
            let inputs = INPUT_ELEMENT.saturating_mul(sums).saturating_mul(self.input_elements);
            let outputs = PRODUCT_ELEMENT.saturating_mul(groups).saturating_mul(self.output_elements);
            let filters = FILTER_ELEMENT.saturating_mul(taps).saturating_mul(self.filter_elements);
            [products, inputs, outputs, filters].into_iter().fold(0, i64::saturating_add)
        });
        Some(each.fold(0, i64::saturating_add))
    }

    fn write(&self, program: &mut Program, scheme: &Scheme) {
        let Some(groups) = self.groups(scheme) else { return };
        let products: Vec<TensorId> =
            scheme.products.iter().map(|product| self.product(program, scheme, product, groups)).collect();
        let free = &self.piece.indices[..self.piece.free];
        let place = self.position.0 as usize;
        let mut shape: Vec<Dim> = free.iter().map(|index| index.range.clone()).collect();
        shape[place] = groups.into();
        // The phases stand behind the positions, which makes one axis of both and the remainders.
        let mut of_phases = shape.clone();
        of_phases.insert(place + 1, scheme.phases.into());
        let phases = program.computed(&self.hint(program, "phases"), DType::Real, of_phases);
        let pieces = (0..scheme.phases).map(|phase| {
            let mut piece = PieceBuilder::new();
            let ids: Vec<IndexId> =
                free.iter().zip(&shape).map(|(index, size)| piece.free(&index.name, size.clone())).collect();
            let mut at: Vec<Affine> = ids.iter().map(|id| (*id).into()).collect();
            at.insert(place + 1, phase.into());
            piece.at(at);
            let of_phase = scheme.products.iter().zip(&products).filter(|(product, _)| product.output.contains(&phase));
            let sum = of_phase.map(|(_, tensor)| Expr::read(*tensor, ids.iter().copied())).reduce(|sum, e| sum + e);
            piece.sum(sum.unwrap_or(Expr::Const(0.0)))
        });
        let (out, origin) = (self.equation.out, self.equation.origin.clone());
        let equation = Equation { out: phases, pieces: pieces.collect(), origin: origin.clone() };
        program.nodes.push(Node::Equation(equation));
        let computed = groups * scheme.phases * self.dilation;
        if computed == self.written {
            program.nodes.push(Node::View(View { out, input: phases, origin }));
            return;
        }
        let mut shape = program.get(out).shape.clone();
        shape[place] = computed.into();
        let more = program.computed(&self.hint(program, "more"), DType::Real, shape);
        program.nodes.push(Node::View(View { out: more, input: phases, origin: origin.clone() }));
        let mut piece = PieceBuilder::new();
        let written = self.equation.pieces.iter().flat_map(|piece| &piece.indices[..piece.free]);
        let ids: Vec<IndexId> = written.map(|index| piece.free(&index.name, index.range.clone())).collect();
        program.equation(out, piece.sum(Expr::read(more, ids)), origin);
    }

    /// The equations of one product: what is made of the input and of the filter, and their convolution.
    fn product(&self, program: &mut Program, scheme: &Scheme, product: &Product, groups: i64) -> TensorId {
        let taps = scheme.taps(product, self.taps);
        let input = self.input_of(program, scheme, product, groups + taps - 1);
        let filter = self.filter_of(program, scheme, product, taps);
        let mut piece = PieceBuilder::new();
        for id in self.piece.ids() {
            let index = &self.piece.indices[id.0 as usize];
            let range = if id == self.position {
                groups.into()
            } else if id == self.tap {
                taps.into()
            } else {
                index.range.clone()
            };
            if (id.0 as usize) < self.piece.free {
                piece.free(&index.name, range);
            } else {
                piece.bound(&index.name, range);
            }
        }
        let body = input.at(&(Affine::from(self.position) + self.tap.into())) * filter.at(&self.tap.into());
        let hint = self.hint(program, "product");
        program.define(&hint, DType::Real, piece.sum(body), self.equation.origin.clone())
    }

    /// `sum of s x[.., a (P i + o) + .., ..]` for so many i.
    fn input_of(&self, program: &mut Program, scheme: &Scheme, product: &Product, length: i64) -> Sequence {
        // The position stands for position and tap.
        let read = self.input.clone();
        let read = map_forms(read, &|form| form.substitute(self.tap, &Affine::zero()));
        let x = Sequence { read, along: self.position, step: scheme.phases };
        if let Some(offset) = as_it_is(product) {
            return x.shifted(offset);
        }
        let terms = product.input.iter().map(|(offset, sign)| (x.shifted(*offset), *sign));
        self.combined(program, "input", &x, length, terms)
    }

    /// `sum of w[.., P k + r, ..]` for so many k, where taps beyond the last are 0.
    fn filter_of(&self, program: &mut Program, scheme: &Scheme, product: &Product, length: i64) -> Sequence {
        let w = Sequence { read: self.filter.clone(), along: self.tap, step: scheme.phases };
        if let [phase] = product.filter.as_slice() {
            return w.shifted(*phase);
        }
        let terms = product.filter.iter().filter(|phase| **phase < self.taps).map(|phase| {
            let mut taps = w.shifted(*phase);
            if scheme.phases * (length - 1) + phase >= self.taps {
                taps.read.otherwise = Some(0.0);
            }
            (taps, 1.0)
        });
        self.combined(program, "filter", &w, length, terms)
    }

    /// The sum of sequences of one tensor, times their signs, as a tensor: along the sequence as long as asked for, along the other axes as that
    /// tensor, so that what is read there for several indices (`i + k`) is there once.
    fn combined(
        &self,
        program: &mut Program,
        what: &str,
        of: &Sequence,
        length: i64,
        terms: impl Iterator<Item = (Sequence, f64)>,
    ) -> Sequence {
        let mut piece = PieceBuilder::new();
        // The new tensor's subscripts, those of the read of it, and what the indices of the sequence are in the new piece.
        let (mut own, mut subs, mut along) = (Vec::new(), Vec::new(), Vec::new());
        let mut is_inside = true;
        for (sub, size) in of.read.subs.iter().zip(program.get(of.read.tensor).shape.clone()) {
            let Sub::Affine(form) = sub else { continue };
            if !form.mentions(of.along) {
                let index = form.as_index().map(|id| &self.piece.indices[id.0 as usize]);
                is_inside &= index.is_some_and(|index| index.range == size);
                let name = index.map_or("i", |index| &index.name);
                own.push(Affine::from(piece.free(name, size)));
                subs.push(form.clone());
                continue;
            }
            for (id, _) in &form.terms {
                let index = &self.piece.indices[id.0 as usize];
                let range = if *id == of.along { length.into() } else { index.range.clone() };
                along.push((*id, piece.free(&index.name, range)));
                subs.push((*id).into());
            }
            own.push(Affine::zero());
        }
        let sum = terms.map(|(term, sign)| {
            let place = Affine::from(of.along).scale(of.step);
            let subs = forms(&term.read).zip(&own).map(|(form, own)| {
                if form.mentions(of.along) {
                    form.substitute(of.along, &place).replace(&within(&along))
                } else {
                    own.clone()
                }
            });
            let value = Expr::Read(Read { otherwise: term.read.otherwise, ..Read::new(of.read.tensor, subs) });
            if sign < 0.0 { -value } else { value }
        });
        let sum = sum.reduce(|sum, term| sum + term).unwrap_or(Expr::Const(0.0));
        let hint = self.hint(program, what);
        let tensor = program.define(&hint, DType::Real, piece.sum(sum), self.equation.origin.clone());
        let otherwise = if is_inside { None } else { of.read.otherwise };
        let read = Read { otherwise, ..Read::new(tensor, subs) };
        Sequence { read, along: of.along, step: 1 }
    }

    fn hint(&self, program: &Program, what: &str) -> Name {
        format!("{}.{what}", program.get(self.equation.out).name).into()
    }
}

/// A tensor along an index of the convolution's piece, at every so manieth place.
struct Sequence {
    read: Read,
    along: IndexId,
    step: i64,
}

impl Sequence {
    fn shifted(&self, offset: i64) -> Sequence {
        let by_offset = |form: &Affine| form.substitute(self.along, &(Affine::from(self.along) + offset.into()));
        Sequence { read: map_forms(self.read.clone(), &by_offset), along: self.along, step: self.step }
    }

    fn at(&self, place: &Affine) -> Expr {
        let place = place.scale(self.step);
        Expr::Read(map_forms(self.read.clone(), &|form| form.substitute(self.along, &place)))
    }
}

/// The offset of the input where nothing is added to it.
fn as_it_is(product: &Product) -> Option<i64> {
    match product.input.as_slice() {
        [(offset, sign)] if *sign == 1.0 => Some(*offset),
        _ => None,
    }
}

/// Indices of one piece as those of another.
fn within(known: &[(IndexId, IndexId)]) -> impl Fn(IndexId) -> Affine {
    |id| known.iter().find(|(of, _)| *of == id).map_or(id, |(_, own)| *own).into()
}

/// The sizes, as far as they are known, of the axes that the index is no part of.
fn other_axes(program: &Program, read: &Read, index: IndexId) -> impl Iterator<Item = i64> {
    let sizes = program.get(read.tensor).shape.iter();
    forms(read).zip(sizes).filter(move |(form, _)| !form.mentions(index)).filter_map(|(_, size)| size.as_const())
}

fn forms(read: &Read) -> impl Iterator<Item = &Affine> {
    read.subs.iter().filter_map(|sub| match sub {
        Sub::Affine(form) => Some(form),
        Sub::Data(_) => None,
    })
}

fn map_forms(mut read: Read, f: &dyn Fn(&Affine) -> Affine) -> Read {
    for sub in &mut read.subs {
        match sub {
            Sub::Affine(form) => *form = f(form),
            Sub::Data(_) => {}
        }
    }
    read
}
