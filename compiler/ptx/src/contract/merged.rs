//! Axes that walk on where the next one ends become one: `[B, T, C]` summed over B and T is one sum over B * T rows.

use super::is_batch;
use bdl_plan::{AxisRole, Clip, Contraction, ContractionAxis};

/// The contraction with fewer axes of rows, columns and sum. The order of points, and with it that of sums, stays.
pub fn merged(c: &Contraction) -> Contraction {
    let clipped =
        |at: usize| c.clips.iter().any(|clip| clip.terms.iter().any(|(axis, k)| *axis as usize == at && *k != 0));
    // By axis: the axis that it has become a part of.
    let mut into: Vec<usize> = (0..c.axes.len()).collect();
    let mut axes: Vec<Option<ContractionAxis>> = c.axes.iter().cloned().map(Some).collect();
    for role in [AxisRole::M, AxisRole::N, AxisRole::K] {
        let own = (0..c.axes.len()).filter(|i| c.axes[*i].role == role && !is_batch(&c.axes[*i]));
        let own: Vec<usize> = own.collect();
        for pair in own.windows(2) {
            let (outer_at, inner_at) = (pair[0], pair[1]);
            let (Some(outer), Some(inner)) = (&axes[outer_at], &axes[inner_at]) else { continue };
            let walks_on = [(&outer.out, &inner.out), (&outer.a, &inner.a), (&outer.b, &inner.b)]
                .into_iter()
                .all(|(outer, step)| *outer == step.clone() * inner.extent.clone());
            if walks_on && !clipped(outer_at) && !clipped(inner_at) {
                let extent = outer.extent.clone() * inner.extent.clone();
                let name = format!("{}_{}", outer.name, inner.name).into();
                axes[inner_at] = Some(ContractionAxis { name, extent, ..inner.clone() });
                axes[outer_at] = None;
                into[outer_at] = inner_at;
            }
        }
    }
    let mut places = vec![0u32; axes.len()];
    let mut kept = Vec::new();
    for (at, axis) in axes.into_iter().enumerate() {
        if let Some(axis) = axis {
            places[at] = kept.len() as u32;
            kept.push(axis);
        }
    }
    let clips = c.clips.iter().map(|clip| Clip {
        terms: clip.terms.iter().filter(|(_, k)| *k != 0).map(|(axis, k)| (places[into[*axis as usize]], *k)).collect(),
        ..clip.clone()
    });
    Contraction { axes: kept, clips: clips.collect(), ..c.clone() }
}
