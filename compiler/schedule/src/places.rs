//! Which tensors of a kernel lie where another one did.
//!
//! ```text
//! x[i, j] = scores[i, j] / 8 | m[i] = max x[i, j] | e[i, j] = exp(x[i, j] - m[i]) | s[i] = sum e[i, j] | a[i, j] = e[i, j] / s[i]
//! scores, x, e and a lie in one buffer: a row of it holds each in turn
//! ```
//!
//! A contraction's result that only its epilogue reads, and what a kernel computes for itself alone, is done with after the last loop that
//! reads it. What that loop computes element by element may overwrite it: the row is in the cache, and a second buffer of the same size would go to
//! memory and back.
//!
//! Deliberately absent: what other launches read, but as the one that comes to lie in such a place; they find it there.

use crate::layout::{Layout, Storage, UNPLACED};
use crate::loops::{self, Part, Wanted, is_identity};
use bdl_equations as eq;
use rustc_hash::FxHashSet as HashSet;

/// Moves what the kernel computes into places that are free by then. `head` is the contraction's result before it; `settled` stays where it is.
pub(crate) fn share(
    program: &eq::Program,
    storage: &mut Storage,
    head: Option<eq::TensorId>,
    wanted: &Wanted,
    settled: &HashSet<eq::TensorId>,
) {
    let Wanted { parts, needed, .. } = wanted;
    let (sweeps, stored) = (loops::sweep_of_each(parts, wanted.prefix), loops::stored_of_each(wanted));
    let mut heirs: Vec<eq::TensorId> = Vec::new();
    let own =
        (0..parts.len()).filter(|part| stored[*part] && is_whole(program, &parts[*part])).map(|part| parts[part].out);
    for tensor in head.into_iter().chain(own) {
        if needed(tensor) || settled.contains(&tensor) {
            continue;
        }
        let Some(sweep) = last_reading(parts, &sweeps, tensor) else { continue };
        let may_move = |part: &Part, storage: &Storage| {
            let (old, new) = (&program.tensors[tensor.0 as usize], &program.tensors[part.out.0 as usize]);
            let fits = new.shape == old.shape && new.dtype == old.dtype && is_whole(program, part);
            let is_free = storage.layouts[part.out.0 as usize]
                .as_ref()
                .is_none_or(|l| storage.buffers[l.buffer.0 as usize].place == UNPLACED && l.offset.is_zero());
            fits && is_free && !settled.contains(&part.out) && !heirs.contains(&part.out)
        };
        // What others read goes first: it needs a buffer anyway.
        let here =
            || (0..parts.len()).filter(|part| sweeps[*part] == sweep && stored[*part] && parts[*part].out != tensor);
        let found = here().find(|part| may_move(&parts[*part], storage) && needed(parts[*part].out));
        let Some(heir) = found.or_else(|| here().find(|part| may_move(&parts[*part], storage))) else { continue };
        let heir = parts[heir].out;
        let place = storage.place(program, tensor).clone();
        let lies = |l: &Layout| (l.strides.clone(), l.packed.clone(), l.offset.clone(), l.depth);
        let own = storage.place(program, heir).clone();
        if lies(&own) == lies(&place) {
            storage.move_to(heir, place.buffer);
            // Who reads it later looks for its name; a contraction's result keeps that of what it is a part of.
            let of_head = head.is_some_and(|head| storage.place(program, head).buffer == place.buffer);
            if needed(heir) && !of_head {
                let name = storage.buffers[own.buffer.0 as usize].name.clone();
                storage.buffers[own.buffer.0 as usize].name =
                    std::mem::replace(&mut storage.buffers[place.buffer.0 as usize].name, name);
            }
            heirs.push(heir);
        }
    }
}

/// The loop after which nobody reads the tensor: the last one that does, if each of its iterations reads the element of its own indices alone.
fn last_reading(parts: &[Part], sweeps: &[usize], tensor: eq::TensorId) -> Option<usize> {
    let reads =
        |part: &Part| part.piece.reads().into_iter().filter(|r| r.tensor == tensor).cloned().collect::<Vec<_>>();
    let sweep = (0..parts.len()).filter(|part| !reads(&parts[*part]).is_empty()).map(|part| sweeps[part]).max()?;
    let here = (0..parts.len()).filter(|part| sweeps[*part] == sweep);
    let mut all = here.flat_map(|part| reads(&parts[part]).into_iter().map(move |read| (part, read)));
    all.all(|(part, read)| parts[part].piece.filter.is_empty() && is_identity(&read, read.subs.len())).then_some(sweep)
}

/// Does the part alone write its tensor, each element at the indices themselves?
fn is_whole(program: &eq::Program, part: &Part) -> bool {
    let shape = &program.tensors[part.out.0 as usize].shape;
    part.piece.is_plain() && shape.iter().zip(&part.piece.indices).all(|(dim, index)| *dim == index.range)
}
