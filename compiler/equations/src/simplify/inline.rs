//! Copies: a tensor whose equation is only a read, a constant or a size is read through.
//!
//! `z[t, f] = y[t + 1, f]; w[t] = z[2 * t, 0]` becomes `w[t] = y[2 * t + 1, 0]`, and `z` is dropped when nothing else needs it. This is
//! also how padding, slicing and flipping as tensors of their own disappear.

use super::{Pass, each_equation};
use crate::bounds::main_batch_index;
use crate::data::{Affine, DType, Expr, Node, Piece, Program, Read, Sub, TensorId};
use rustc_hash::FxHashMap as HashMap;

/// Replaces reads of copies by reads of what they copy. The copies' own equations stay until `drop_unused`.
pub fn inline_copies(program: &mut Program) -> Pass {
    let mut copies: HashMap<TensorId, Expr> = HashMap::default();
    let mut nodes = std::mem::take(&mut program.nodes);
    collect(program, &nodes, &mut copies);
    let mut changes = 0;
    let snapshot: &Program = program;
    each_equation(&mut nodes, &mut |equation| {
        for piece in &mut equation.pieces {
            if !piece.reads().iter().any(|r| copies.contains_key(&r.tensor)) {
                continue;
            }
            let shape = piece.clone();
            let new = shape.clone().map_exprs(&mut |e| e.map_reads(&mut |r| through(snapshot, &shape, r, &copies)));
            if new != *piece {
                changes += 1;
                *piece = new;
            }
        }
    });
    program.nodes = nodes;
    changes
}

fn collect(program: &Program, nodes: &[Node], copies: &mut HashMap<TensorId, Expr>) {
    for node in nodes {
        if let Node::Equation(n) = node
            && let [piece] = n.pieces.as_slice()
            && piece.is_pointwise()
            && covers(program, n.out, piece)
            && is_copy(program, n.out, &piece.body)
        {
            copies.insert(n.out, piece.body.clone());
        }
        for inner in node.inner() {
            collect(program, std::slice::from_ref(inner), copies);
        }
    }
}

/// Does the piece write the whole tensor?
fn covers(program: &Program, out: TensorId, piece: &Piece) -> bool {
    program.get(out).shape.iter().zip(&piece.indices).all(|(dim, index)| *dim == index.range)
}

fn is_copy(program: &Program, out: TensorId, body: &Expr) -> bool {
    match body {
        Expr::Const(_) => true,
        // A written number has the precision of what it meets.
        Expr::Number(form) => {
            let is_f64 = program.get(out).dtype == DType::F64;
            form.terms.is_empty() && !program.is_per_example_size(&form.offset) && !is_f64
        }
        Expr::Read(read) => {
            let affine = read.subs.iter().all(|s| matches!(s, Sub::Affine(_)));
            let (of, out) = (program.get(read.tensor).dtype, program.get(out).dtype);
            // A bf16 is a real.
            affine && read.example.is_none() && (of == out || of == DType::BF16 && out == DType::Real)
        }
        Expr::Unary(_, _) | Expr::Binary(_, _, _) | Expr::Compare(_, _, _) | Expr::Select(_, _, _) => false,
    }
}

/// What a read of a copy reads in truth.
fn through(program: &Program, piece: &Piece, read: Read, copies: &HashMap<TensorId, Expr>) -> Expr {
    let Some(body) = copies.get(&read.tensor) else { return Expr::Read(read) };
    if read.otherwise.is_some() || read.example.is_some() {
        return Expr::Read(read);
    }
    let inner = match body {
        Expr::Const(_) | Expr::Number(_) => return body.clone(),
        Expr::Read(inner) => inner,
        Expr::Unary(_, _) | Expr::Binary(_, _, _) | Expr::Compare(_, _, _) | Expr::Select(_, _, _) => {
            return Expr::Read(read);
        }
    };
    let mut subs = Vec::new();
    for sub in &inner.subs {
        let Sub::Affine(form) = sub else { return Expr::Read(read) };
        // Sizes in the copy's subscripts are those of the example that it was read for.
        if program.is_per_example_size(&form.offset) {
            let example = match read.subs.first() {
                Some(Sub::Affine(first)) if program.is_per_example(read.tensor) => first.as_index(),
                Some(Sub::Affine(_) | Sub::Data(_)) | None => None,
            };
            if example != main_batch_index(program, piece) {
                return Expr::Read(read);
            }
        }
        // An axis that is itself passed on may be subscripted by data, a form of it may not.
        let mut replaced = Some(Affine::from(form.offset.clone()));
        for (index, c) in &form.terms {
            match (&read.subs[index.0 as usize], replaced) {
                (Sub::Affine(by), Some(sum)) => replaced = Some(sum + by.scale(*c)),
                (_, _) => replaced = None,
            }
            if replaced.is_none() {
                break;
            }
        }
        match (replaced, form.as_index().map(|i| &read.subs[i.0 as usize])) {
            (Some(form), _) => subs.push(Sub::Affine(form)),
            (None, Some(data @ Sub::Data(_))) => subs.push(data.clone()),
            (None, _) => return Expr::Read(read),
        }
    }
    through(program, piece, Read { tensor: inner.tensor, subs, otherwise: inner.otherwise, example: None }, copies)
}
