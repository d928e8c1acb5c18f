//! The end of a step: updates in place where they can be, all together where they cannot, and outputs.
//!
//! A parameter is updated in place by the kernel that computes its new value element by element, once everyone else has read the old
//! one: the clusters are ordered so, unless that closes a circle. All other updates are copies after the last launch.

use crate::error::Error;
use crate::fuse::{self, Unit};
use crate::layout::{Storage, UNPLACED};
use crate::loops::is_identity;
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
        let taken = done.iter().any(|(_, other, _)| *other == value) || storage.layouts[value.0 as usize].is_some();
        if taken || read_at_end.clone().any(|t| storage.view_of(*t) == target) {
            continue;
        }
        let Some([cluster]) = writing.get(&value).map(Vec::as_slice) else { continue };
        let cluster = *cluster;
        if program.tensors[target.0 as usize].dtype != program.tensors[value.0 as usize].dtype {
            continue;
        }
        let mut free = None;
        let elementwise = fusion.clusters[cluster].units.iter().all(|u| match &units[*u] {
            Unit::Piece { piece, contraction: None, .. } => {
                let own = piece
                    .reads()
                    .iter()
                    .filter(|r| storage.view_of(r.tensor) == target)
                    .all(|r| r.tensor == target && is_identity(r, piece.free));
                own && piece.is_plain() && *free.get_or_insert(piece.free) == piece.free
            }
            Unit::Piece { piece, contraction: Some(_), .. } => {
                piece.reads().iter().all(|r| storage.view_of(r.tensor) != target)
            }
            Unit::Cumulative { .. } | Unit::Clear { .. } | Unit::Other(_) => false,
        });
        let mut readers = reading.get(&target).cloned().unwrap_or_default();
        readers.remove(&cluster);
        if !elementwise || readers.iter().any(|r| fusion.contradicts(*r, cluster)) {
            continue;
        }
        for reader in readers {
            fusion.order(reader, cluster);
        }
        done.push((target, value, cluster));
    }
    done
}
