//! Random loops: scans over fixed lengths and over the example's own, forwards and reversed, nested; iterations that end at different
//! steps for different examples.
//!
//! The body is made of the same equations as everything else, which may also read new inputs and old results at the step. Carried
//! values are kept small by `tanh`.

use super::{Maker, Scope};
use crate::builder::PieceBuilder;
use crate::data::{
    Carried, CompareOp, DType, Expr, IndexId, Iterate, Name, Node, Origin, Scan, SizeKind, TensorId, UnaryOp,
};
use bdl_dims::Dim;

/// An open loop: the name of its step, how far it runs.
pub(super) struct Open {
    pub step: Name,
    pub extent: Dim,
    /// Does it run over the example's own length, or until data says so?
    pub by_example: bool,
}

impl Maker {
    pub(super) fn a_loop(&mut self, number: usize) {
        let own = self.options.batched;
        let name: Name = format!("s{}", self.case.program.sizes.len()).into();
        self.program().size(name.clone(), SizeKind::Step);
        let iterates = self.numbers.chance(30);
        let inside_examples = self.open.iter().any(|o| o.by_example);
        let extent = match self.numbers.below(5) {
            0 | 1 if own => Dim::var("T"),
            2 if own => Dim::var("T") - Dim::one(),
            _ => Dim::from(1 + self.numbers.below(4) as i64),
        };
        let by_example = own && (iterates || self.case.program.is_per_example_size(&extent));
        let pool = self.pool.len();
        // Carried values and where they start.
        let mut carried = Vec::new();
        for _ in 0..1 + self.numbers.below(2) {
            let mut shape: Vec<Dim> =
                (0..self.numbers.below(3)).map(|_| Dim::from(1 + self.numbers.below(4) as i64)).collect();
            if own && self.numbers.chance(15) {
                shape.insert(0, Dim::var("T"));
            }
            if own {
                shape.insert(0, Dim::var("B"));
            }
            let start = self.value(&format!("start{number}"), &shape);
            let inside = self.program().computed(&format!("h{number}"), DType::Real, shape.iter().cloned());
            let last = self.program().computed(&format!("last{number}"), DType::Real, shape.iter().cloned());
            carried.push((start, inside, last, shape));
        }
        let outside = std::mem::take(&mut self.program().nodes);
        self.open.push(Open { step: name.clone(), extent: extent.clone(), by_example });
        self.pool.extend(carried.iter().map(|(_, inside, _, _)| *inside));
        let until = iterates.then(|| self.stop(number, carried[0].1, &carried[0].3));
        let condition = std::mem::take(&mut self.program().nodes);
        for part in 0..1 + self.numbers.below(2) {
            if self.open.len() < 2 && self.numbers.chance(25) {
                self.a_loop(10 * number + part);
            } else {
                self.equation(10 * number + part);
            }
        }
        let all: Vec<Carried> = carried
            .iter()
            .map(|(start, inside, last, shape)| {
                let next = self.value(&format!("next{number}"), shape);
                Carried { start: *start, inside: *inside, next, last: *last }
            })
            .collect();
        let body = std::mem::replace(&mut self.program().nodes, outside);
        let mut stacks = Vec::new();
        let made: Vec<TensorId> = self.pool.drain(pool..).chain(all.iter().map(|c| c.next)).collect();
        for tensor in made {
            let mut shape = self.case.program.get(tensor).shape.clone();
            let at = usize::from(self.case.program.is_per_example(tensor));
            let stackable = (at == 1 || !(by_example || inside_examples)) && !self.numbers.chance(50);
            if !iterates && stackable {
                shape.insert(at, extent.clone());
                let dtype = self.case.program.get(tensor).dtype;
                stacks.push((tensor, self.program().computed(&format!("all{number}"), dtype, shape)));
            }
        }
        self.open.pop();
        self.pool.extend(all.iter().map(|c| c.last).chain(stacks.iter().map(|(_, outside)| *outside)));
        let origin = Origin { what: Some("random loop".into()), ..Origin::default() };
        let node = match until {
            Some(until) => {
                Node::Iterate(Iterate { step: name, at_most: extent, carried: all, condition, until, body, origin })
            }
            None => {
                let reversed = self.numbers.chance(40);
                let checkpoint = self.numbers.chance(25).then(|| Dim::from(2));
                let ends = None;
                Node::Scan(Scan { step: name, extent, reversed, carried: all, body, stacks, checkpoint, ends, origin })
            }
        };
        self.program().nodes.push(node);
    }

    /// A tensor of this shape with small values, computed from what there is.
    fn value(&mut self, hint: &str, shape: &[Dim]) -> TensorId {
        let mut scope = Scope { piece: PieceBuilder::new(), indices: Vec::new(), batch: None };
        for dim in shape {
            if self.case.program.is_batch(dim) {
                scope.batch = Some(scope.piece.free("b", dim.clone()));
            } else {
                let index = scope.piece.free("i", dim.clone());
                scope.indices.push((index, dim.clone()));
            }
        }
        let body = self.expr(&mut scope, 2).unary(UnaryOp::Tanh);
        let piece = scope.piece.sum(body);
        self.program().define(hint, DType::Real, piece, Origin::default())
    }

    /// Is the sum of squares of a carried value small, or has a random number passed?
    fn stop(&mut self, number: usize, of: TensorId, shape: &[Dim]) -> TensorId {
        let mut piece = PieceBuilder::new();
        let mut subs: Vec<IndexId> = Vec::new();
        for dim in shape {
            let is_batch = self.case.program.is_batch(dim);
            subs.push(if is_batch { piece.free("b", dim.clone()) } else { piece.bound("i", dim.clone()) });
        }
        let size = piece.sum(Expr::read(of, subs).squared());
        let size = self.program().define(&format!("size{number}"), DType::Real, size, Origin::default());
        let mut piece = PieceBuilder::new();
        let at: Vec<IndexId> =
            self.case.program.get(size).shape.clone().into_iter().map(|d| piece.free("b", d)).collect();
        let bound = Expr::Const(0.05 + 0.5 * self.numbers.real().abs());
        let piece = piece.sum(Expr::read(size, at).compare(CompareOp::Lt, bound));
        self.program().define(&format!("until{number}"), DType::Bool, piece, Origin::default())
    }
}
