//! The end of a step: updates in place where they can be, all together where they cannot, and outputs.
//!
//! A parameter is updated in place by the kernel that computes its new value, once everyone else has read the old
//! one: the clusters are ordered so, unless that closes a circle. All other updates are copies after the last launch.

use crate::error::Error;
use crate::fuse::{self, Unit};
use crate::layout::{Layout, Storage, UNPLACED};
use crate::loops::{Part, is_identity, sweep_of_each};
use crate::nodes::{Scheduler, Update};
use bdl_equations as eq;
use bdl_plan as plan;
use rustc_hash::FxHashMap as HashMap;
use std::collections::BTreeSet;

impl Scheduler {
    /// All updates take effect together: values that are themselves updated are saved first.
    pub fn updates(&mut self, updates: &[Update], done: &[Update]) -> Result<(), Error> {
        let mut copies = Vec::new();
        for (target, value) in updates.iter().copied().filter(|u| !done.contains(u)) {
            let buffer = self.layout(value).buffer;
            let kept = matches!(self.storage.buffers[buffer.0 as usize].place, plan::Place::Param | plan::Place::State);
            let from = if kept {
                let saved = self.temporary("saved", value);
                self.copy(value, saved, &eq::Origin::default())?;
                saved
            } else {
                value
            };
            copies.push((from, target));
        }
        for (from, to) in copies {
            self.copy(from, to, &eq::Origin::default())?;
        }
        Ok(())
    }

    pub fn outputs(&mut self) -> Result<Vec<(plan::Name, plan::BufferId)>, Error> {
        let mut outputs: Vec<(plan::Name, plan::BufferId)> = Vec::new();
        for (name, tensor) in self.program.outputs.clone() {
            let origin = eq::Origin::default();
            let shape = self.program.tensors[tensor.0 as usize].shape.clone();
            let own = self.whole(tensor, &origin).ok().filter(|buffer| {
                let b = &self.storage.buffers[buffer.0 as usize];
                b.place == UNPLACED && (b.shape == shape || !outputs.iter().any(|(_, o)| o == buffer))
            });
            let buffer = match own {
                Some(buffer) => buffer,
                None => {
                    let kept = self.temporary(&name, tensor);
                    self.copy(tensor, kept, &origin)?;
                    self.whole(kept, &origin)?
                }
            };
            self.storage.buffers[buffer.0 as usize].shape = shape;
            outputs.push((name, buffer));
        }
        Ok(outputs)
    }
}

/// The updates that may write where the old value is: the new value is computed element by element in a kernel that all other readers
/// of the old value can precede. Returns `(target, value, cluster)` and orders the clusters.
pub(crate) fn in_place(
    fusion: &mut fuse::Fusion,
    program: &eq::Program,
    storage: &Storage,
    units: &[Unit],
    updates: &[Update],
) -> Vec<(eq::TensorId, eq::TensorId, usize)> {
    let mut done: Vec<(eq::TensorId, eq::TensorId, usize)> = Vec::new();
    // The clusters of the units that write a tensor, and the clusters that read what lies in its buffer.
    let mut writing: HashMap<eq::TensorId, Vec<usize>> = HashMap::default();
    let mut reading: HashMap<eq::TensorId, BTreeSet<usize>> = HashMap::default();
    for (at, cluster) in fusion.clusters.iter().enumerate() {
        for unit in &cluster.units {
            units[*unit].writes().into_iter().for_each(|t| writing.entry(t).or_default().push(at));
            fusion.reads[*unit].iter().for_each(|t| {
                reading.entry(storage.view_of(*t)).or_default().insert(at);
            });
        }
    }
    for (target, value) in updates.iter().copied() {
        let read_at_end = program.outputs.iter().map(|(_, t)| t).chain(updates.iter().map(|(_, v)| v));
        let taken = done.iter().any(|(_, other, _)| *other == value) || !may_move(storage, value, target);
        if taken || read_at_end.clone().any(|t| storage.view_of(*t) == target) {
            continue;
        }
        let Some([cluster]) = writing.get(&value).map(Vec::as_slice) else { continue };
        let cluster = *cluster;
        if program.tensors[target.0 as usize].dtype != program.tensors[value.0 as usize].dtype {
            continue;
        }
        let reads_first = reads_before_storing(fusion, storage, units, cluster, target, value);
        let mut readers = reading.get(&target).cloned().unwrap_or_default();
        readers.remove(&cluster);
        if !reads_first || readers.iter().any(|r| fusion.contradicts(*r, cluster)) {
            continue;
        }
        for reader in readers {
            fusion.order(reader, cluster);
        }
        done.push((target, value, cluster));
    }
    done
}

/// May the value lie where the target does? Not where its place means something, like that in a stack; one that a contraction was given
/// for its result means nothing.
fn may_move(storage: &Storage, value: eq::TensorId, target: eq::TensorId) -> bool {
    let layouts = &storage.layouts;
    let (own, new) = match (&layouts[value.0 as usize], &layouts[target.0 as usize]) {
        (None, _) => return true,
        (Some(_), None) => return false,
        (Some(own), Some(new)) => (own, new),
    };
    let [old_buffer, new_buffer] = [own, new].map(|l| &storage.buffers[l.buffer.0 as usize]);
    let users = layouts.iter().flatten().filter(|l| l.buffer == own.buffer).count();
    let alike = Layout { buffer: new.buffer, ..own.clone() } == *new;
    users == 1 && alike && old_buffer.place == UNPLACED && old_buffer.len == new_buffer.len
}

/// Does whoever in the cluster reads an element of the target do so before its new value is stored?
fn reads_before_storing(
    fusion: &fuse::Fusion,
    storage: &Storage,
    units: &[Unit],
    cluster: usize,
    target: eq::TensorId,
    value: eq::TensorId,
) -> bool {
    let cluster = &fusion.clusters[cluster];
    let mut parts = Vec::new();
    for unit in &cluster.units {
        match &units[*unit] {
            Unit::Piece { out, piece, origin, contraction: None } => parts.push(Part { out: *out, piece, origin }),
            Unit::Piece { piece, contraction: Some(_), .. } => {
                if piece.reads().iter().any(|r| storage.view_of(r.tensor) == target) {
                    return false;
                }
            }
            Unit::Cumulative { .. } | Unit::Clear { .. } | Unit::Other(_) => return false,
        }
    }
    let Some(first) = parts.first() else { return true };
    let prefix = cluster.rows.unwrap_or(cluster.prefix.len().min(first.piece.free));
    let sweeps = sweep_of_each(&parts, prefix);
    // Stores wait for the end of their sweep's innermost body, or of the kernel's where there is none; another sweep may be another thread's.
    let stored = parts.iter().zip(&sweeps).find(|(part, _)| part.out == value);
    let Some((writer, last)) = stored else {
        // By the contraction, before what follows it.
        return parts.iter().all(|p| p.piece.reads().iter().all(|r| storage.view_of(r.tensor) != target));
    };
    let in_body = |part: &Part| part.piece.free == prefix;
    writer.piece.is_plain()
        && parts.iter().zip(&sweeps).all(|(part, sweep)| {
            let together = sweep == last || in_body(part) && in_body(writer);
            let reads = part.piece.reads();
            let mut of_target = reads.iter().filter(|r| storage.view_of(r.tensor) == target);
            of_target.all(|r| together && r.tensor == target && is_identity(r, part.piece.free))
        })
}
