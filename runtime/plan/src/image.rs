//! Contractions that are convolutions of images with 3 x 3 taps, which [`Algorithm::Winograd`] is for.
//!
//! Three arrays take part, of which two are the operands and one is the result:
//!
//! ```text
//! image  [.., y + k, x + l, c]      the left operand
//! map    [.., y, x, n]              the result of a convolution, the right operand of the derivative by the filter
//! filter [k, l, c, n]               the other one
//! ```
//!
//! Channels of the image lie side by side, so do columns of map and filter. Clips may cut the image along y and x, as padding does. What a
//! convolution is by its input is a convolution, too: its filter is copied in reverse before.

use crate::data::{AxisRole, Contraction, ContractionAxis};
use bdl_dims::Dim;

/// Taps along either side.
const TAPS: i64 = 3;

/// A contraction as a convolution: which of its axes and clips are what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    pub sums: ImageSums,
    /// Axes over images.
    pub images: Vec<usize>,
    /// y and x, and the taps along them.
    pub positions: [usize; 2],
    pub taps: [usize; 2],
    /// Clips of y and x.
    pub clips: [Option<usize>; 2],
    pub channel: usize,
    pub column: usize,
}

/// What is summed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageSums {
    /// Taps and channels: the result is a map.
    Map,
    /// Images and positions: the result is a filter.
    Filter,
}

/// The convolution that a contraction is, if it is one.
pub fn image(c: &Contraction) -> Option<Image> {
    [ImageSums::Map, ImageSums::Filter].into_iter().find_map(|sums| of(c, sums))
}

fn of(c: &Contraction, sums: ImageSums) -> Option<Image> {
    let axes = || c.axes.iter().enumerate();
    let (inside, outside) = match sums {
        ImageSums::Map => (AxisRole::K, AxisRole::M),
        ImageSums::Filter => (AxisRole::M, AxisRole::K),
    };
    let map = |axis: &ContractionAxis| match sums {
        ImageSums::Map => axis.out.clone(),
        ImageSums::Filter => axis.b.clone(),
    };
    let filter = |axis: &ContractionAxis| match sums {
        ImageSums::Map => axis.b.clone(),
        ImageSums::Filter => axis.out.clone(),
    };
    let is_one = |dim: &Dim| dim.as_const() == Some(1);
    // The two innermost axes outside are the positions, each with a tap that steps through the image as it does.
    let outer: Vec<usize> =
        axes().filter(|(_, axis)| axis.role == outside && axis.offsets.is_none()).map(|(at, _)| at).collect();
    let [.., y, x] = outer[..] else { return None };
    let tap_of = |position: usize, other: Option<usize>| {
        let step = &c.axes[position].a;
        let is_tap = |axis: &ContractionAxis| axis.role == inside && axis.extent.as_const() == Some(TAPS);
        let fits = |at: usize, axis: &ContractionAxis| is_tap(axis) && axis.a == *step && other != Some(at);
        if step.is_zero() || is_one(step) { None } else { axes().find(|(at, axis)| fits(*at, axis)).map(|(at, _)| at) }
    };
    let k = tap_of(y, None)?;
    let l = tap_of(x, Some(k))?;
    let (y, x) = ((y, k), (x, l));
    let mut channels = axes().filter(|(at, axis)| axis.role == inside && *at != y.1 && *at != x.1);
    let mut columns = axes().filter(|(_, axis)| axis.role == AxisRole::N);
    let (channel, column) = (channels.next()?, columns.next()?);
    let images: Vec<usize> = axes()
        .filter(|(at, axis)| {
            let role = axis.role == outside || axis.role == AxisRole::Batch && sums == ImageSums::Map;
            role && *at != y.0 && *at != x.0
        })
        .map(|(at, _)| at)
        .collect();
    let lies_right = is_one(&channel.1.a)
        && is_one(&map(column.1))
        && is_one(&filter(column.1))
        && images.iter().all(|at| filter(&c.axes[*at]).is_zero());
    // Rows of a map are those of its images, one after the other: an epilogue follows them.
    let in_order = y.0 < x.0 && images.iter().all(|at| *at < y.0);
    let count = images.len() + 2 * 2 + 1 + 1;
    if channels.next().is_some() || columns.next().is_some() {
        return None;
    }
    if !lies_right || !in_order || count != c.axes.len() {
        return None;
    }
    let mut clips = [None, None];
    for (at, clip) in c.clips.iter().enumerate() {
        let mut terms = clip.terms.clone();
        terms.sort_unstable();
        let along = [y, x].iter().position(|(position, tap)| {
            let mut own = [(*position as u32, 1), (*tap as u32, 1)];
            own.sort_unstable();
            terms == own
        })?;
        if clips[along].replace(at).is_some() {
            return None;
        }
    }
    Some(Image { sums, images, positions: [y.0, x.0], taps: [y.1, x.1], clips, channel: channel.0, column: column.0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Op;
    use crate::text::parse_plan;

    fn found(contract: &str) -> Option<Image> {
        let text = format!(
            "plan p\nsize B batch\nbuffer out: f32[B] len B; state\nbuffer a: f32[B] len B; param\n\
             buffer b: f32[B] len B; param\noutput out = out\n{contract}"
        );
        let plan = parse_plan(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        match &plan.launches[0].op {
            Op::Contract(c) => image(c),
            op => panic!("{op:?}"),
        }
    }

    const CONVOLUTION: &str = "contract out = a + (-4128) * b {
  m i: B (out 524288, a 524288, b 0)
  m y: 128 (out 8192, a 4096, b 0)
  m x: 128 (out 64, a 32, b 0)
  n u: 64 (out 1, a 0, b 1)
  k k: 3 (out 0, a 4096, b 6144)
  k l: 3 (out 0, a 32, b 2048)
  k c: 32 (out 0, a 1, b 64)
  clip 1 * #1 + 1 * #4 + (-1) < 128;
  clip 1 * #2 + 1 * #5 + (-1) < 128;
}";

    const BY_FILTER: &str = "contract out = a + (-4128) * b {
  m k: 3 (out 6144, a 4096, b 0)
  m l: 3 (out 2048, a 32, b 0)
  m c: 32 (out 64, a 1, b 0)
  n u: 64 (out 1, a 0, b 1)
  k i: B (out 0, a 524288, b 1048576)
  k y: 128 (out 0, a 4096, b 8192)
  k x: 128 (out 0, a 32, b 64)
  clip 1 * #0 + 1 * #5 + (-1) < 128;
}";

    #[test]
    fn a_convolution_and_its_derivative_by_the_filter() {
        let expected = Image {
            sums: ImageSums::Map,
            images: vec![0],
            positions: [1, 2],
            taps: [4, 5],
            clips: [Some(0), Some(1)],
            channel: 6,
            column: 3,
        };
        assert_eq!(found(CONVOLUTION), Some(expected));
        let expected = Image {
            sums: ImageSums::Filter,
            images: vec![4],
            positions: [5, 6],
            taps: [0, 1],
            clips: [Some(0), None],
            channel: 2,
            column: 3,
        };
        assert_eq!(found(BY_FILTER), Some(expected));
    }

    #[test]
    fn what_differs_is_none() {
        let differs = [
            // Five taps.
            ("k k: 3 ", "k k: 5 "),
            // Every second position.
            ("m x: 128 (out 64, a 32, b 0)", "m x: 64 (out 64, a 64, b 0)"),
            // Taps that lie apart.
            ("k l: 3 (out 0, a 32, b 2048)", "k l: 3 (out 0, a 64, b 2048)"),
            // Channels and columns that do not lie side by side.
            ("k c: 32 (out 0, a 1, b 64)", "k c: 32 (out 0, a 2, b 64)"),
            ("n u: 64 (out 1, a 0, b 1)", "n u: 64 (out 1, a 0, b 2)"),
            ("n u: 64 (out 1, a 0, b 1)", "n u: 64 (out 2, a 0, b 1)"),
            // A filter for each image.
            ("m i: B (out 524288, a 524288, b 0)", "batch i: B (out 524288, a 524288, b 18432)"),
            // A clip of both sides, and a second one of one.
            ("clip 1 * #2 + 1 * #5", "clip 1 * #1 + 1 * #5"),
            ("clip 1 * #2 + 1 * #5", "clip 1 * #1 + 1 * #4"),
        ];
        for (from, to) in differs {
            assert!(CONVOLUTION.contains(from), "{from}");
            assert_eq!(found(&CONVOLUTION.replacen(from, to, 1)), None, "{to}");
        }
        // Images inside of positions, whose rows would be in another order.
        let lines: Vec<&str> = CONVOLUTION.lines().collect();
        let turned = [&lines[..1], &[lines[3], lines[1], lines[2]], &lines[4..8], &["}"]].concat().join("\n");
        assert_eq!(found(&turned), None);
    }
}
