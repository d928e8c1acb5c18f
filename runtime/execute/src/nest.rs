//! A contraction with numbers for sizes: axes with strides, clips, and how it falls into boxes without clips.
//!
//! A clip `0 <= t + k - 4 < 60` over an axis t of the output and one k of the sum is peeled: for most t every k is inside, and these form one box whose
//! (k, c) axes merge into one; at the two ends each t has its own range of k. Neighbouring t with equal ranges form one box.
//!
//! ```text
//!   t:   0 | 1 | 2 | 3 |      4 .. 56      | 56 | 57 | 58 | 59
//!   k:  4..9 3..9 ...  |       0..9        | 0..8 ...     0..5
//! ```
//!
//! The walk goes along an axis of the output wherever that pays ([`Nest::walk`]), so that a gradient of weights (the output has k, the sum t) falls into one box a tap:
//!
//! ```text
//!   k:   0       1       2     ..    8
//!   t:  4..60   3..60   2..60  ..   0..56
//! ```
//!
//! Boxes cover every point inside the clips once. The ranges of an output element's sum depend on the element alone, so that its bits
//! do not depend on which part of the output is computed together with it.

use bdl_plan::AxisRole;

/// Axes of one contraction at most.
pub const MAX_AXES: usize = 12;
/// Rows or columns that are worth being a box's own: more than the letters of a protein, whose taps stay together.
const LEAST_SIDE: i64 = 28;
/// Clips of one contraction at most.
pub const MAX_CLIPS: usize = 6;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Axis {
    pub role: AxisRole,
    pub extent: i64,
    pub out: i64,
    pub a: i64,
    pub b: i64,
}

const NO_AXIS: Axis = Axis { role: AxisRole::M, extent: 1, out: 0, a: 0, b: 0 };

/// `0 <= sum of coefficient * axis + offset < extent`; coefficients by axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clip {
    pub coefficients: [i64; MAX_AXES],
    pub offset: i64,
    pub extent: i64,
}

/// Offsets are in elements from the start of each operand.
#[derive(Clone, Copy, Debug)]
pub struct Nest {
    axes: [Axis; MAX_AXES],
    count: usize,
    clips: [Clip; MAX_CLIPS],
    clip_count: usize,
    pub out: i64,
    pub a: i64,
    pub b: i64,
    /// By axis: its extent before any range was cut, for choices that must not depend on the cut.
    whole: [i64; MAX_AXES],
    /// Its results are some of many (rows of a batch): their sums are never cut, because whether to cut would depend on the others.
    pub is_one_of_many: bool,
}

impl Nest {
    pub fn new(out: i64, a: i64, b: i64) -> Nest {
        let no_clip = Clip { coefficients: [0; MAX_AXES], offset: 0, extent: 1 };
        Nest {
            axes: [NO_AXIS; MAX_AXES],
            count: 0,
            clips: [no_clip; MAX_CLIPS],
            clip_count: 0,
            out,
            a,
            b,
            whole: [1; MAX_AXES],
            is_one_of_many: false,
        }
    }

    pub fn axes(&self) -> &[Axis] {
        &self.axes[..self.count]
    }

    pub fn axes_mut(&mut self) -> &mut [Axis] {
        &mut self.axes[..self.count]
    }

    /// False when there are too many.
    pub fn push(&mut self, axis: Axis) -> bool {
        if self.count == MAX_AXES {
            return false;
        }
        self.axes[self.count] = axis;
        self.whole[self.count] = axis.extent;
        self.count += 1;
        true
    }

    /// False when there are too many.
    pub fn push_clip(&mut self, clip: Clip) -> bool {
        if self.clip_count == MAX_CLIPS {
            return false;
        }
        self.clips[self.clip_count] = clip;
        self.clip_count += 1;
        true
    }

    pub fn clips(&self) -> &[Clip] {
        &self.clips[..self.clip_count]
    }

    pub fn is_clipped(&self, axis: usize) -> bool {
        self.clips().iter().any(|c| c.coefficients[axis] != 0)
    }

    /// Product of the extents of a role.
    pub fn extent(&self, role: AxisRole) -> i64 {
        self.axes().iter().filter(|a| a.role == role).map(|a| a.extent).product()
    }

    /// Only `from..to` of an axis.
    pub fn restrict(&mut self, axis: usize, from: i64, to: i64) {
        let ax = &mut self.axes[axis];
        self.out += from * ax.out;
        self.a += from * ax.a;
        self.b += from * ax.b;
        ax.extent = (to - from).max(0);
        for clip in &mut self.clips[..self.clip_count] {
            clip.offset += from * clip.coefficients[axis];
        }
    }

    fn drop_clip(&mut self, at: usize) {
        self.clips.copy_within(at + 1..self.clip_count, at);
        self.clip_count -= 1;
    }

    fn remove_axis(&mut self, at: usize) {
        self.axes.copy_within(at + 1..self.count, at);
        self.whole.copy_within(at + 1..self.count, at);
        for clip in &mut self.clips[..self.clip_count] {
            clip.coefficients.copy_within(at + 1..self.count, at);
        }
        self.count -= 1;
    }

    /// Takes out axes of extent 1 and joins axes of one role that every operand steps through with one stride. Only for nests
    /// without clips. Sums keep their order: an axis of the sum joins only the one after it.
    pub fn merge(&mut self) {
        debug_assert_eq!(self.clip_count, 0);
        let mut at = 0;
        while at < self.count {
            if self.axes[at].extent == 1 {
                self.remove_axis(at);
            } else {
                at += 1;
            }
        }
        let mut outer = 0;
        while outer < self.count {
            let o = self.axes[outer];
            let next_of_role = (outer + 1..self.count).find(|i| self.axes[*i].role == o.role);
            let inner = (0..self.count).find(|&i| {
                let n = self.axes[i];
                i != outer
                    && n.role == o.role
                    && (o.role != AxisRole::K || Some(i) == next_of_role)
                    && o.out == n.out * n.extent
                    && o.a == n.a * n.extent
                    && o.b == n.b * n.extent
            });
            match inner {
                Some(inner) => {
                    self.axes[inner].extent *= o.extent;
                    self.remove_axis(outer);
                    outer = 0;
                }
                None => outer += 1,
            }
        }
    }

    /// Joins the columns that every operand steps through with one stride and no clip touches.
    pub fn join_columns(&mut self) {
        let mut at = 0;
        while at + 1 < self.count {
            let o = self.axes[at];
            let inner = (at + 1..self.count).find(|i| self.axes[*i].role == AxisRole::N);
            let joins = inner.filter(|i| {
                let n = self.axes[*i];
                let free = !self.is_clipped(at) && !self.is_clipped(*i);
                o.role == AxisRole::N
                    && free
                    && o.out == n.out * n.extent
                    && o.a == n.a * n.extent
                    && o.b == n.b * n.extent
            });
            match joins {
                Some(inner) => {
                    self.axes[inner].extent *= o.extent;
                    self.whole[inner] *= self.whole[at];
                    self.remove_axis(at);
                }
                None => at += 1,
            }
        }
    }

    /// Calls `visit` for each box without clips, in an order that depends on the sizes alone. A box may have a sum over nothing.
    pub fn boxes(&self, visit: &mut impl FnMut(&Nest)) {
        let Some(clip) = self.clips().first().copied() else {
            visit(self);
            return;
        };
        let mut free: [usize; MAX_AXES] = [0; MAX_AXES];
        let mut free_count = 0;
        for axis in 0..self.count {
            if clip.coefficients[axis] != 0 && self.whole[axis] != 1 {
                free[free_count] = axis;
                free_count += 1;
            }
        }
        let mut rest = *self;
        rest.drop_clip(0);
        match &free[..free_count] {
            [] => {
                let inside = (0..clip.extent).contains(&clip.offset);
                rest.visit_or_empty(inside, visit);
            }
            [axis] => {
                let (from, to) =
                    inside_range(clip.coefficients[*axis], clip.offset, clip.extent, self.axes[*axis].extent);
                let output = self.axes[*axis].role != AxisRole::K;
                if output {
                    // Output elements outside of the clip are sums of nothing.
                    for (lo, hi, inside) in [(0, from, false), (from, to, true), (to, self.axes[*axis].extent, false)] {
                        if lo < hi {
                            let mut part = rest;
                            part.restrict(*axis, lo, hi);
                            part.visit_or_empty(inside, visit);
                        }
                    }
                } else {
                    rest.restrict(*axis, from, to.max(from));
                    rest.boxes(visit);
                }
            }
            [x, y] => {
                let (along, across) = self.walk(*x, *y);
                let (n, m) = (self.axes[along].extent, self.axes[across].extent);
                let range = |i: i64| {
                    inside_range(clip.coefficients[across], clip.offset + clip.coefficients[along] * i, clip.extent, m)
                };
                let mut from = 0;
                while from < n {
                    let (lo, hi) = range(from);
                    let mut to = from + 1;
                    while to < n && range(to) == (lo, hi) {
                        to += 1;
                    }
                    let mut part = rest;
                    part.restrict(along, from, to);
                    if self.axes[across].role == AxisRole::K {
                        part.restrict(across, lo, hi);
                        part.boxes(visit);
                    } else {
                        for (lo, hi, inside) in [(0, lo, false), (lo, hi, true), (hi, m, false)] {
                            if lo < hi {
                                let mut part = part;
                                part.restrict(across, lo, hi);
                                part.visit_or_empty(inside, visit);
                            }
                        }
                    }
                    from = to;
                }
            }
            [first, ..] => {
                // Rare: one axis after the other, the shortest first.
                let shortest = free[..free_count].iter().copied().min_by_key(|i| self.whole[*i]).unwrap_or(*first);
                for i in 0..self.axes[shortest].extent {
                    let mut part = *self;
                    part.restrict(shortest, i, i + 1);
                    part.whole[shortest] = 1;
                    part.boxes(visit);
                }
            }
        }
    }

    /// Along which of a clip's two axes the walk goes, and the other one: along the output's, so that each of its elements is in one box; along the
    /// longer one where there is no difference, or where the boxes of a short one would have too few rows or columns for a tile.
    fn walk(&self, x: usize, y: usize) -> (usize, usize) {
        let long = |a: usize, b: usize| if self.whole[a] >= self.whole[b] { (a, b) } else { (b, a) };
        let is_sum = |axis: usize| self.axes[axis].role == AxisRole::K;
        let (output, sum) = match (is_sum(x), is_sum(y)) {
            (false, true) => (x, y),
            (true, false) => (y, x),
            (false, false) | (true, true) => return long(x, y),
        };
        let role = self.axes[output].role;
        let alike = (0..self.count).filter(|i| *i != output && self.axes[*i].role == role);
        let side: i64 = alike.map(|i| self.whole[i]).product();
        // Never by how many rows there are, where a row must not know of the others.
        if side >= LEAST_SIDE && !self.is_one_of_many { (output, sum) } else { long(output, sum) }
    }

    /// Goes on with the remaining clips, or with a sum over nothing.
    fn visit_or_empty(&self, inside: bool, visit: &mut impl FnMut(&Nest)) {
        if inside {
            self.boxes(visit);
            return;
        }
        let mut nothing = *self;
        nothing.clip_count = 0;
        nothing.push(Axis { role: AxisRole::K, extent: 0, out: 0, a: 0, b: 0 });
        visit(&nothing);
    }

    /// Do boxes share output elements? They do when the walk goes along an axis of the sum.
    pub fn boxes_overlap(&self) -> bool {
        self.clips().iter().any(|clip| {
            let involved = (0..self.count).filter(|i| clip.coefficients[*i] != 0 && self.whole[*i] != 1);
            let mut axes = [0; MAX_AXES];
            let mut count = 0;
            for axis in involved {
                axes[count] = axis;
                count += 1;
            }
            let is_sum = |axis: usize| self.axes[axis].role == AxisRole::K;
            match axes[..count] {
                [] | [_] => false,
                [x, y] => is_sum(self.walk(x, y).0),
                [..] => axes[..count].iter().any(|axis| is_sum(*axis)),
            }
        })
    }
}

/// The i in `0..n` with `0 <= c * i + offset < extent`, as a range (`from <= to`).
fn inside_range(c: i64, offset: i64, extent: i64, n: i64) -> (i64, i64) {
    // Rounded up: the first i that reaches a bound.
    let ceil = |x: i64, by: i64| -(-x).div_euclid(by);
    let (from, to) = if c > 0 {
        (ceil(-offset, c), ceil(extent - offset, c))
    } else {
        (ceil(offset - extent + 1, -c), ceil(offset + 1, -c))
    };
    let from = from.clamp(0, n);
    (from, to.clamp(from, n))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_agree_with_counting() {
        for c in [-3, -2, -1, 1, 2, 3] {
            for offset in -12..12 {
                for extent in 0..8 {
                    for n in 0..9 {
                        let (from, to) = inside_range(c, offset, extent, n);
                        let expected: Vec<i64> = (0..n).filter(|i| (0..extent).contains(&(c * i + offset))).collect();
                        assert_eq!(
                            (from..to).collect::<Vec<_>>(),
                            expected,
                            "c {c} offset {offset} extent {extent} n {n}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn boxes_cover_each_inside_point_once() {
        for (n, k, c, offset, extent) in [
            (10, 3, 1, -1, 10),
            (5, 9, 1, -4, 5),
            (7, 3, 2, -1, 12),
            (6, 4, -1, 3, 6),
            (4, 4, 1, -9, 3),
            (3, 12, 1, 0, 3),
        ] {
            for x_role in [AxisRole::M, AxisRole::K] {
                let y_role = if x_role == AxisRole::K { AxisRole::M } else { AxisRole::K };
                let mut nest = Nest::new(0, 0, 0);
                // The position of a point is told by `a`.
                nest.push(Axis { role: x_role, extent: n, out: 0, a: 100, b: 0 });
                nest.push(Axis { role: y_role, extent: k, out: 0, a: 1, b: 0 });
                let mut coefficients = [0; MAX_AXES];
                (coefficients[0], coefficients[1]) = (c, 1);
                nest.push_clip(Clip { coefficients, offset, extent });
                let mut seen = Vec::new();
                nest.boxes(&mut |part| {
                    let axes = part.axes();
                    if axes.iter().any(|a| a.extent == 0) {
                        return;
                    }
                    for i in 0..axes[0].extent {
                        for j in 0..axes[1].extent {
                            seen.push(part.a + 100 * i + j);
                        }
                    }
                });
                seen.sort_unstable();
                let mut expected = Vec::new();
                for i in 0..n {
                    for j in 0..k {
                        if (0..extent).contains(&(c * i + j + offset)) {
                            expected.push(100 * i + j);
                        }
                    }
                }
                assert_eq!(seen, expected, "n {n} k {k} c {c} offset {offset} extent {extent}");
            }
        }
    }

    /// The gradient of a convolution's weights: `dw[k, c, f] = sum[t] x[t + k - 4, c] dy[t, f]`.
    fn weight_gradient(taps: i64, channels: i64, positions: i64) -> Nest {
        let mut nest = Nest::new(0, -4 * channels, 0);
        nest.push(Axis { role: AxisRole::M, extent: taps, out: channels, a: channels, b: 0 });
        nest.push(Axis { role: AxisRole::M, extent: channels, out: 1, a: 1, b: 0 });
        nest.push(Axis { role: AxisRole::K, extent: positions, out: 0, a: channels, b: 1 });
        let mut coefficients = [0; MAX_AXES];
        (coefficients[0], coefficients[2]) = (1, 1);
        nest.push_clip(Clip { coefficients, offset: -4, extent: positions });
        nest
    }

    #[test]
    fn a_gradient_of_weights_is_one_box_a_tap_unless_its_rows_are_few() {
        let boxes = |nest: &Nest| {
            let mut all = Vec::new();
            nest.boxes(&mut |part| all.push(part.axes().iter().map(|a| a.extent).collect::<Vec<_>>()));
            all
        };
        let many = weight_gradient(9, 32, 60);
        let expected: Vec<Vec<i64>> = [56, 57, 58, 59, 60, 59, 58, 57, 56].map(|t| vec![1, 32, t]).into();
        assert_eq!(boxes(&many), expected);
        assert!(!many.boxes_overlap(), "each tap has results of its own");
        // Of four channels the taps stay together, and the positions at the ends are added.
        let few = weight_gradient(9, 4, 60);
        assert!(few.boxes_overlap());
        assert!(boxes(&few).contains(&vec![9, 4, 52]));
    }

    #[test]
    fn rows_and_columns_merge_and_sums_keep_their_order() {
        let mut nest = Nest::new(0, 0, 0);
        nest.push(Axis { role: AxisRole::M, extent: 4, out: 60, a: 20, b: 0 });
        nest.push(Axis { role: AxisRole::M, extent: 5, out: 12, a: 4, b: 0 });
        nest.push(Axis { role: AxisRole::K, extent: 3, out: 0, a: 4, b: 8 });
        nest.push(Axis { role: AxisRole::K, extent: 4, out: 0, a: 1, b: 2 });
        nest.push(Axis { role: AxisRole::N, extent: 1, out: 7, a: 0, b: 7 });
        nest.merge();
        assert_eq!(
            nest.axes(),
            [
                Axis { role: AxisRole::M, extent: 20, out: 12, a: 4, b: 0 },
                Axis { role: AxisRole::K, extent: 12, out: 0, a: 1, b: 2 },
            ]
        );
    }
}
