//! Random programs with matching random values, for tests: printed = parsed, simplified = original, gradient = differences,
//! compiled = interpreted.
//!
//! ```
//! use bdl_equations::{interpret::interpret, random::{Case, Options}, verify};
//! let case = Case::new(42, Options::default());
//! verify(&case.program).unwrap();
//! let values = interpret(&case.program, &case.world()).unwrap();
//! assert!(values.output("loss").unwrap().scalar().unwrap().is_finite());
//! ```
//!
//! A program chains a few equations over parameters and inputs made on demand: affine reads with strides, dilation, flips and guards,
//! data reads, all monoids, filters, pieces. Everything stays finite: functions are applied where they are defined and results are kept
//! small. The same seed gives the same case. The output `loss` is one number.

mod loops;

use crate::builder::PieceBuilder;
use crate::data::{
    Affine, BinaryOp, CompareOp, Condition, DType, Equation, Expr, IndexId, Monoid, Node, Origin, Piece, Program, Role,
    SizeKind, TensorId, UnaryOp,
};
use crate::interpret::{Array, Value, World};
use bdl_dims::Dim;

/// What kind of programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// A leading batch axis, and sizes that differ from example to example.
    pub batched: bool,
    /// Only what has a derivative almost everywhere, without jumps.
    pub smooth: bool,
    /// The number of equations before the loss.
    pub equations: usize,
    /// How many in a hundred of them are loops.
    pub loops: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options { batched: true, smooth: false, equations: 4, loops: 0 }
    }
}

/// A program and values for all its inputs.
#[derive(Clone, Debug)]
pub struct Case {
    pub program: Program,
    /// Sizes that are one number.
    pub sizes: Vec<(String, i64)>,
    /// The sizes of each example.
    pub examples: Vec<Vec<(String, i64)>>,
    /// Inputs and parameters by name.
    pub values: Vec<(String, Value)>,
}

impl Case {
    pub fn new(seed: u64, options: Options) -> Case {
        let mut numbers = Random::new(seed);
        let examples = if options.batched { 1 + numbers.below(3) } else { 0 };
        let mut program = Program::new(format!("random_{seed}"));
        program.size("N", SizeKind::Built);
        let mut case = Case {
            sizes: vec![("N".into(), 2 + numbers.below(3) as i64)],
            examples: Vec::new(),
            values: Vec::new(),
            program,
        };
        if options.batched {
            case.program.size("B", SizeKind::Batch);
            case.program.size("T", SizeKind::PerExample);
            case.examples = (0..examples).map(|_| vec![("T".into(), 1 + numbers.below(4) as i64)]).collect();
        }
        let mut maker = Maker { case, numbers, options, pool: Vec::new(), open: Vec::new() };
        for number in 0..options.equations.max(1) {
            if options.loops > 0 && maker.numbers.chance(options.loops) {
                maker.a_loop(number);
            } else {
                maker.equation(number);
            }
        }
        maker.loss();
        maker.case
    }

    /// What the interpreter runs the program in.
    pub fn world(&self) -> World<'static> {
        let mut world = World::new();
        for (name, value) in &self.sizes {
            world.size(name, *value);
        }
        world.examples(self.examples.iter().map(|of| of.iter().map(|(n, v)| (n.as_str(), *v)).collect()).collect());
        for (name, value) in &self.values {
            world.set(name, value.clone());
        }
        world
    }
}

/// A small generator of repeatable numbers (Marsaglia 2003, xorshift64*).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        let mut random = Random(seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        for _ in 0..4 {
            random.bits();
        }
        random
    }

    pub fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, n: usize) -> usize {
        ((self.bits() >> 33) as usize) % n.max(1)
    }

    /// True so many times in a hundred.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// In [-1, 1).
    pub fn real(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }
}

struct Maker {
    case: Case,
    numbers: Random,
    options: Options,
    /// Computed tensors that later equations may read.
    pool: Vec<TensorId>,
    /// Loops around what is being made.
    open: Vec<loops::Open>,
}

/// The indices of the piece being made.
struct Scope {
    piece: PieceBuilder,
    indices: Vec<(IndexId, Dim)>,
    /// The batch index that per-example reads use.
    batch: Option<IndexId>,
}

impl Maker {
    fn program(&mut self) -> &mut Program {
        &mut self.case.program
    }

    /// A small range; a per-example one only where there is a batch index.
    fn range(&mut self, batch: bool) -> Dim {
        match self.numbers.below(6) {
            0 => Dim::var("N"),
            1 | 2 if batch => Dim::var("T"),
            3 if batch => Dim::var("T") + Dim::one(),
            _ => Dim::from(1 + self.numbers.below(4) as i64),
        }
    }

    fn equation(&mut self, number: usize) {
        // What all examples share has no derivative in a loop that each runs by itself.
        let alone = self.options.smooth && self.open.iter().any(|o| o.by_example);
        let own = self.options.batched && (self.numbers.chance(75) || alone);
        let mut scope = Scope { piece: PieceBuilder::new(), indices: Vec::new(), batch: None };
        if own {
            scope.batch = Some(scope.piece.free("b", Dim::var("B")));
        }
        for name in ["i", "j", "l"].into_iter().take(self.numbers.below(3) + usize::from(!own && number == 0)) {
            let range = self.range(own);
            let index = scope.piece.free(name, range.clone());
            scope.indices.push((index, range));
        }
        let free = scope.indices.len();
        let reduces_batch = self.options.batched && !own && self.numbers.chance(60);
        if reduces_batch {
            scope.batch = Some(scope.piece.bound("b", Dim::var("B")));
        }
        for name in ["k", "m"].into_iter().take(self.numbers.below(3)) {
            let range = self.range(scope.batch.is_some());
            let index = scope.piece.bound(name, range.clone());
            scope.indices.push((index, range));
        }
        let reduces = reduces_batch || scope.indices.len() > free;
        let (monoid, mut dtype) = self.monoid(&scope, reduces, reduces_batch, scope.indices.len() - free);
        let truth = matches!(monoid, Monoid::Any | Monoid::All);
        let mut body = if truth { self.condition(&mut scope) } else { self.expr(&mut scope, 3) };
        if monoid == Monoid::Prod {
            body = Expr::Const(1.0) + body.unary(UnaryOp::Tanh) * Expr::Const(0.125);
        }
        if !reduces && !self.options.smooth && self.numbers.chance(25) {
            (dtype, body) = (DType::BF16, body.unary(UnaryOp::ToBf16));
        }
        if self.numbers.chance(30) {
            self.filter(&mut scope, free + usize::from(own));
        }
        // Nothing infinite from an empty maximum.
        if matches!(monoid, Monoid::Max | Monoid::Min) || self.numbers.chance(10) && dtype == DType::Real {
            scope.piece.empty(0.25);
        }
        let mut piece = scope.piece.reduce(monoid, body);
        if !reduces {
            piece.empty = None;
        }
        let origin =
            Origin { file: 1, start: number as u32, end: number as u32 + 1, what: Some("random equation".into()) };
        let out = self.place(piece, dtype, number, origin);
        if matches!(dtype, DType::Real | DType::BF16) {
            self.pool.push(out);
        }
    }

    fn monoid(&mut self, scope: &Scope, reduces: bool, over_batch: bool, bound: usize) -> (Monoid, DType) {
        if !reduces {
            return (Monoid::Sum, DType::Real);
        }
        let _ = scope;
        match self.numbers.below(12) {
            0 | 1 => (Monoid::Max, DType::Real),
            2 => (Monoid::Min, DType::Real),
            3 => (Monoid::Prod, DType::Real),
            4 if !self.options.smooth => {
                let n = self.numbers.below(bound + usize::from(over_batch)) as u32;
                (if self.numbers.chance(50) { Monoid::ArgMax(n) } else { Monoid::ArgMin(n) }, DType::I32)
            }
            5 if !self.options.smooth => (if self.numbers.chance(50) { Monoid::Any } else { Monoid::All }, DType::Bool),
            _ => (Monoid::Sum, DType::Real),
        }
    }

    /// Writes the piece as it is, or flipped, or as the first of two pieces.
    fn place(&mut self, mut piece: Piece, dtype: DType, number: usize, origin: Origin) -> TensorId {
        let mut shape: Vec<Dim> = piece.indices[..piece.free].iter().map(|i| i.range.clone()).collect();
        let name = format!("y{number}");
        let last = shape.len().wrapping_sub(1);
        let splittable = shape.last().is_some_and(|d| !self.case.program.is_batch(d));
        if !splittable {
            let out = self.program().computed(&name, dtype, shape);
            self.program().equation(out, piece, origin);
            return out;
        }
        let index = IndexId(last as u32);
        let range = shape[last].clone();
        let mut pieces = Vec::new();
        let is_real = matches!(dtype, DType::Real | DType::BF16);
        let kept = |body: Expr| if dtype == DType::BF16 { body.unary(UnaryOp::ToBf16) } else { body };
        match self.numbers.below(10) {
            0 => piece.at[last] = Affine::from(range - Dim::one()) - index.into(),
            1 => {
                // Two halves, one behind the other.
                let mut other = piece.clone();
                other.at[last] = Affine::from(index) + range.clone().into();
                other.body = kept(Expr::Const(0.5) * piece.body.clone());
                shape[last] = range.scale(2);
                if is_real {
                    pieces.push(other);
                }
            }
            2 => {
                // Even and odd places.
                let mut other = piece.clone();
                piece.at[last] = Affine::from(index) * 2;
                other.at[last] = Affine::from(index) * 2 + 1.into();
                other.body = kept(piece.body.clone() + Expr::Const(0.25));
                shape[last] = range.scale(2);
                if is_real {
                    pieces.push(other);
                }
            }
            _ => {}
        }
        pieces.insert(0, piece);
        let out = self.program().computed(&name, dtype, shape);
        self.program().nodes.push(Node::Equation(Equation { out, pieces, origin }));
        out
    }

    // ------------------------------------------------------------------------------------------------ expressions

    fn expr(&mut self, scope: &mut Scope, depth: usize) -> Expr {
        if depth == 0 || self.numbers.chance(20) {
            return self.leaf(scope);
        }
        let a = self.expr(scope, depth - 1);
        let kinds = if self.options.smooth { 13 } else { 18 };
        let tame = |e: Expr| e.unary(UnaryOp::Tanh);
        match self.numbers.below(kinds) {
            0 | 1 => a + self.expr(scope, depth - 1),
            2 => a - self.expr(scope, depth - 1),
            3 | 4 => a * self.expr(scope, depth - 1),
            5 => a / (self.expr(scope, depth - 1).squared() + Expr::Const(1.5)),
            6 => tame(a),
            7 => a.unary(UnaryOp::Sigmoid),
            8 => tame(a).unary(UnaryOp::Exp),
            9 => (a.squared() + Expr::Const(0.5)).unary(UnaryOp::Sqrt),
            10 => (a.squared() + Expr::Const(0.5)).unary(UnaryOp::Log),
            11 => a.unary(if self.numbers.chance(50) { UnaryOp::Sin } else { UnaryOp::Cos }),
            12 => match self.numbers.below(5) {
                0 => a.unary(UnaryOp::Softplus),
                1 => a.unary(UnaryOp::Erf),
                2 if !self.options.smooth => a.unary(UnaryOp::Freeze),
                3 => {
                    let wide = tame(a).unary(UnaryOp::ToF64);
                    (wide.clone() * wide + Expr::Const(0.1)).unary(UnaryOp::ToReal)
                }
                _ => -a,
            },
            13 => a.unary(match self.numbers.below(5) {
                0 => UnaryOp::Abs,
                1 => UnaryOp::Sign,
                2 => UnaryOp::Round,
                3 => UnaryOp::ToBf16,
                _ => UnaryOp::Floor,
            }),
            14 => {
                let op = if self.numbers.chance(50) { BinaryOp::Max } else { BinaryOp::Min };
                let b = self.expr(scope, depth - 1);
                a.binary(op, b)
            }
            15 => {
                let op = if self.numbers.chance(50) { BinaryOp::Rem } else { BinaryOp::FloorDiv };
                a.binary(op, Expr::Const(0.75))
            }
            _ => {
                let condition = self.condition(scope);
                let b = self.expr(scope, depth - 1);
                condition.select(a, b)
            }
        }
    }

    /// A Boolean expression.
    fn condition(&mut self, scope: &mut Scope) -> Expr {
        let op = [CompareOp::Lt, CompareOp::Le, CompareOp::Gt, CompareOp::Ge, CompareOp::Ne][self.numbers.below(5)];
        let first = self.leaf(scope).compare(op, Expr::Const((self.numbers.real() * 8.0).round() / 8.0));
        match self.numbers.below(5) {
            0 => first.unary(UnaryOp::Not),
            1 => {
                let other = self.leaf(scope).compare(CompareOp::Lt, Expr::Const(0.5));
                first.binary(if self.numbers.chance(50) { BinaryOp::And } else { BinaryOp::Or }, other)
            }
            _ => first,
        }
    }

    fn filter(&mut self, scope: &mut Scope, free: usize) {
        let Some((index, range)) = scope.indices.last().cloned() else { return };
        match self.numbers.below(if self.options.smooth { 3 } else { 4 }) {
            0 => {
                let form = Affine::from(range) - 2.into() - index.into();
                scope.piece.filter(Condition::NonNegative(form));
            }
            1 => {
                let (other, _) = scope.indices[self.numbers.below(scope.indices.len())].clone();
                scope.piece.filter(Condition::NonNegative(Affine::from(index) * 2 - other.into()));
            }
            2 => {
                // A free index that equals data: a segment reduction. The keys may match nothing.
                let Some((target, range)) = scope.indices.first().cloned() else { return };
                if (target.0 as usize) < free
                    && index != target
                    && let Some(most) = range.as_const()
                {
                    let key = self.keys(scope, most + 1);
                    scope.piece.filter(Condition::Equal(target.into(), key));
                }
            }
            _ => {
                let holds = self.condition(scope);
                scope.piece.filter(Condition::Holds(holds));
            }
        }
    }

    fn leaf(&mut self, scope: &mut Scope) -> Expr {
        match self.numbers.below(10) {
            0 => Expr::Const((self.numbers.real() * 16.0).round() / 8.0),
            1 if !scope.indices.is_empty() => {
                let (index, _) = scope.indices[self.numbers.below(scope.indices.len())];
                Expr::number(index) / Expr::Const(4.0)
            }
            2..=4 if !self.pool.is_empty() => {
                let tensor = self.pool[self.numbers.below(self.pool.len())];
                self.read_existing(scope, tensor)
            }
            _ => self.read_new(scope),
        }
    }

    /// A read of an equation's result: exact where an index fits, guarded elsewhere.
    fn read_existing(&mut self, scope: &mut Scope, tensor: TensorId) -> Expr {
        let own = self.case.program.is_per_example(tensor);
        let mut shape = self.case.program.get(tensor).shape.clone();
        let mut subs: Vec<crate::Sub> = Vec::new();
        if own {
            let Some(batch) = scope.batch else { return self.read_new(scope) };
            subs.push(batch.into());
            shape.remove(0);
        }
        let mut guard = false;
        for dim in shape {
            let fitting: Vec<IndexId> = scope.indices.iter().filter(|(_, r)| *r == dim).map(|(i, _)| *i).collect();
            if !fitting.is_empty() && self.numbers.chance(70) {
                subs.push(fitting[self.numbers.below(fitting.len())].into());
            } else if let (Some(most), true) = (dim.as_const(), self.numbers.chance(40)) {
                if self.numbers.chance(50) {
                    subs.push(self.keys(scope, most).into());
                } else {
                    subs.push((self.numbers.below(most as usize) as i64).into());
                }
            } else {
                guard = true;
                subs.push(self.form(scope, true).into());
            }
        }
        let otherwise = [0.0, 0.0, 0.5][self.numbers.below(3)];
        if guard { Expr::read_or(tensor, subs, otherwise) } else { Expr::read(tensor, subs) }
    }

    /// A read of a new parameter or input that is just large enough.
    fn read_new(&mut self, scope: &mut Scope) -> Expr {
        let own = scope.batch.is_some() && self.numbers.chance(60);
        let mut subs: Vec<Affine> = Vec::new();
        let mut shape: Vec<Dim> = Vec::new();
        for _ in 0..1 + self.numbers.below(2) {
            let form = self.form(scope, false);
            let last = form.terms.iter().fold(form.offset.clone(), |sum, (i, c)| {
                let range = scope.indices.iter().find(|(x, _)| x == i).map_or_else(Dim::one, |(_, r)| r.clone());
                sum + (range - Dim::one()).scale(*c)
            });
            if self.case.program.is_per_example_size(&last) && !own {
                continue;
            }
            shape.push(last + Dim::one());
            subs.push(form);
        }
        if let Some((step, extent)) = self.step(own) {
            shape.push(extent);
            subs.push(step);
        }
        if let Some(batch) = scope.batch.filter(|_| own) {
            shape.insert(0, Dim::var("B"));
            subs.insert(0, batch.into());
        }
        let role = if own { Role::Input { per_example: true, one_hot: shape.len() % 2 == 1 } } else { Role::Param };
        let tensor = self.input(if own { "x" } else { "w" }, DType::Real, shape, role, None);
        Expr::read(tensor, subs)
    }

    /// `c * i + d * j + offset`; with `any` the signs are free and the result may leave whatever is read.
    fn form(&mut self, scope: &Scope, any: bool) -> Affine {
        let mut form = Affine::from(self.numbers.below(2) as i64);
        for _ in 0..self.numbers.below(3) {
            if scope.indices.is_empty() {
                break;
            }
            let (index, _) = scope.indices[self.numbers.below(scope.indices.len())];
            let c = [1, 1, 1, 2, 3][self.numbers.below(5)];
            form = form + Affine::from(index) * if any && self.numbers.chance(30) { -c } else { c };
        }
        if any && let Some((step, _)) = self.step(true) {
            form = form + step;
        }
        if any { form - (self.numbers.below(3) as i64).into() } else { form }
    }

    /// Now and then the step of a loop around, and how far it goes. One that only an example knows where `own`.
    fn step(&mut self, own: bool) -> Option<(Affine, Dim)> {
        if self.open.is_empty() || !self.numbers.chance(40) {
            return None;
        }
        let open = &self.open[self.numbers.below(self.open.len())];
        let fits = own || !self.case.program.is_per_example_size(&open.extent);
        fits.then(|| (Affine::from(Dim::var(open.step.clone())), open.extent.clone()))
    }

    /// A read of integer data in `0..below`.
    fn keys(&mut self, scope: &mut Scope, below: i64) -> Expr {
        let own = scope.batch.is_some() && self.numbers.chance(50);
        let wanted =
            scope.indices.iter().rev().find(|(_, r)| own || !self.case.program.is_per_example_size(r)).cloned();
        let (mut subs, mut shape): (Vec<Affine>, Vec<Dim>) =
            wanted.map(|(i, r)| (Affine::from(i), r)).into_iter().unzip();
        if let Some(batch) = scope.batch.filter(|_| own) {
            shape.insert(0, Dim::var("B"));
            subs.insert(0, batch.into());
        }
        let tensor =
            self.input("key", DType::I32, shape, Role::Input { per_example: own, one_hot: false }, Some(below));
        Expr::read(tensor, subs)
    }

    fn input(&mut self, hint: &str, dtype: DType, shape: Vec<Dim>, role: Role, below: Option<i64>) -> TensorId {
        let tensor = self.program().tensor(hint, dtype, shape.iter().cloned(), role);
        let name = self.case.program.get(tensor).name.to_string();
        let mut array = |dims: &[Dim], e: usize| {
            let size = |name: &str| match name {
                "B" => Some(self.case.examples.len() as i64),
                _ => {
                    let own = self.case.examples.get(e).map_or(&[] as &[_], |v| v.as_slice());
                    self.case.sizes.iter().chain(own).find(|(n, _)| n == name).map(|(_, v)| *v)
                }
            };
            let shape: Vec<usize> = dims.iter().map(|d| d.eval(&size).unwrap_or(0).max(0) as usize).collect();
            let count = shape.iter().product::<usize>();
            let value = |numbers: &mut Random| match below {
                Some(n) => numbers.below(n as usize) as f64,
                None => numbers.real() * 1.5,
            };
            Array::new(shape, (0..count).map(|_| value(&mut self.numbers)).collect::<Vec<f64>>())
        };
        let own = shape.first().and_then(Dim::as_var).is_some_and(|v| &**v == "B");
        let value = if own {
            Value::PerExample((0..self.case.examples.len()).map(|e| array(&shape[1..], e)).collect())
        } else {
            Value::Shared(array(&shape, 0))
        };
        self.case.values.push((name, value));
        tensor
    }

    // ------------------------------------------------------------------------------------------------ the loss

    /// The sum over every element of every real result, kept small, each result's own sum first.
    fn loss(&mut self) {
        let mut total = Expr::Const(0.0);
        for (number, tensor) in self.pool.clone().into_iter().enumerate() {
            let shape = self.case.program.get(tensor).shape.clone();
            let mut piece = PieceBuilder::new();
            let subs: Vec<IndexId> = shape.into_iter().map(|dim| piece.bound("z", dim)).collect();
            let body = Expr::read(tensor, subs).unary(UnaryOp::Sin) * Expr::Const(1.0 + number as f64 / 4.0);
            let piece = piece.sum(body);
            let part = self.program().define("part", DType::Real, piece, Origin::default());
            total = total + Expr::read(part, [0i64; 0]);
        }
        let loss = self.program().define("loss", DType::Real, PieceBuilder::new().sum(total), Origin::default());
        self.program().outputs.push(("loss".into(), loss));
    }
}
