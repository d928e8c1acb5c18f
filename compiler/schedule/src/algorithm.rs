//! Which contractions are computed by another algorithm than they are written in.
//!
//! Winograd's, for images: 16 products stand for 36, and what is made of patches, filters and sums costs about so much of what is saved
//! (`32 channels: 0.65 of the time of the products as written, 64 channels: 0.55, 16: 0.96, 8: 1.6`; a convolution of 128 x 128 positions,
//! one core of a Zen 4). The choice looks at what is the same for all batches and examples, so that an example's numbers do not depend on the others.
//!
//! Deliberately absent: other sizes of squares (6 x 6 patches need fewer products, with larger constants and so larger errors) and other filters.

use crate::Target;
use bdl_plan::image::{ImageSums, image};
use bdl_plan::{Algorithm, Contraction, DType};

/// Channels of the image and of the map at least.
const LEAST_CHANNELS: i64 = 24;
/// Positions of an image at least, where their number is known: what is made of the filters is shared by fewer.
const LEAST_POSITIONS: i64 = 64;
/// Elements of a tap at most where the sum is a filter: each part of the sum adds to 16 times as many again and again, in a cache or not.
const MOST_OF_A_TAP: i64 = 1 << 13;

/// The algorithm for a contraction. Of f64, which is there for comparisons, as written.
pub(crate) fn algorithm(c: &Contraction, target: Target, real: DType) -> Algorithm {
    let pays = || {
        let image = image(c)?;
        let extent = |axis: usize| c.axes[axis].extent.as_const();
        let (channels, columns) = (extent(image.channel)?, extent(image.column)?);
        let positions = image.positions.map(extent);
        let enough = match positions {
            [Some(y), Some(x)] => y * x >= LEAST_POSITIONS,
            [Some(_) | None, Some(_) | None] => true,
        };
        let fits = match image.sums {
            ImageSums::Map => true,
            ImageSums::Filter => channels * columns <= MOST_OF_A_TAP,
        };
        Some(channels.min(columns) >= LEAST_CHANNELS && enough && fits)
    };
    if target == Target::Processor && real == DType::F32 && pays() == Some(true) {
        Algorithm::Winograd
    } else {
        Algorithm::AsWritten
    }
}
