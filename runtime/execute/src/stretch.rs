//! Rows of a nest, several axes of them counted as one, in blocks.
//!
//! A stretch of rows that begins and ends in the middle of an outer axis falls into parts of it:
//!
//! ```text
//! rows 3 .. 17 of axes (4, 5):   row 0: 3 4 | rows 1, 2: all | row 3: 0 1
//! ```

use crate::nest::{MAX_AXES, Nest};
use bdl_plan::AxisRole;

/// Calls `visit(part, from, to)` for parts of rows `from..to` that make up rows `from..to` of the nest, at most `block` rows each, in order.
pub fn stretch(nest: &Nest, from: i64, to: i64, block: i64, visit: &mut impl FnMut(&Nest, i64, i64)) {
    let mut rows = [0; MAX_AXES];
    let mut count = 0;
    for (at, axis) in nest.axes().iter().enumerate() {
        if matches!(axis.role, AxisRole::Batch | AxisRole::M) && axis.extent != 1 {
            rows[count] = at;
            count += 1;
        }
    }
    part(nest, &rows[..count], 0, from, to, block.max(1), visit);
}

fn part(
    nest: &Nest,
    axes: &[usize],
    base: i64,
    from: i64,
    to: i64,
    block: i64,
    visit: &mut impl FnMut(&Nest, i64, i64),
) {
    if from >= to {
        return;
    }
    let Some((axis, inside)) = axes.split_first() else {
        visit(nest, base, base + 1);
        return;
    };
    let inner: i64 = inside.iter().map(|axis| nest.axes()[*axis].extent).product();
    let mut at = from;
    while at < to {
        let (i, first) = (at / inner, at % inner);
        let whole = (to - at) / inner;
        let mut rest = *nest;
        if first > 0 || whole == 0 || inner > block {
            let end = ((i + 1) * inner).min(to);
            rest.restrict(*axis, i, i + 1);
            part(&rest, inside, base + i * inner, first, end - i * inner, block, visit);
            at = end;
        } else {
            let count = whole.min(block / inner);
            rest.restrict(*axis, i, i + count);
            visit(&rest, base + at, base + at + count * inner);
            at += count * inner;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nest::Axis;

    #[test]
    fn parts_make_up_the_rows_in_order() {
        let mut nest = Nest::new(0, 0, 0);
        for (role, extent, out) in [
            (AxisRole::Batch, 4, 30),
            (AxisRole::M, 1, 0),
            (AxisRole::K, 7, 0),
            (AxisRole::M, 5, 6),
            (AxisRole::M, 3, 2),
        ] {
            nest.push(Axis { role, extent, out, a: 0, b: 0 });
        }
        for from in 0..60 {
            for to in from..=60 {
                for block in [1, 2, 3, 7, 20, 100] {
                    let mut seen = Vec::new();
                    stretch(&nest, from, to, block, &mut |part, begin, end| {
                        assert!(end - begin <= block);
                        let rows = part.extent(AxisRole::Batch) * part.extent(AxisRole::M);
                        assert_eq!((rows, part.out), (end - begin, begin * 2));
                        seen.extend(begin..end);
                    });
                    assert_eq!(seen, (from..to).collect::<Vec<_>>(), "{from}..{to} by {block}");
                }
            }
        }
    }
}
