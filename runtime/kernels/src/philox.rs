//! Random values that depend only on (seed, step, site, example, index).
//!
//! A generator with state gives other values when the work is cut differently. Here a value is a *function* of where it
//! is used, so it is the same on any number of threads, in any batch and in any order of evaluation:
//!
//! ```text
//! key     = philox([step lo, step hi, site, SITE_TAG], seed)[0..2]     once per draw site and step
//! words   = philox([block lo, block hi, example lo, example hi], key)  four 32-bit words a block
//! element = word index % 4 of block index / 4
//! ```
//!
//! `site` numbers the draw in the program, `example` is the example's position in the epoch (not in the batch), `index`
//! the element within the example. An f64 draw is the f32 draw with more bits behind it, from a second block, so a model
//! compiled in f64 (or interpreted) sees the same dropout masks and nearly the same noise as the f32 one.
//!
//! Philox 4x32-10: Salmon, Moraes, Dror and Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3" (Random123).
//! It passes BigCrush; it is not for cryptography.
//!
//! ```
//! use bdl_kernels::philox::{DrawKey, fill_uniform_f32};
//! let key = DrawKey { seed: 1, step: 0, site: 3 };
//! let (mut whole, mut part) = ([0.0; 10], [0.0; 3]);
//! fill_uniform_f32(key, 7, 0, &mut whole);
//! fill_uniform_f32(key, 7, 5, &mut part);
//! assert_eq!(whole[5..8], part);
//! ```

use crate::isa::Isa;
use crate::vector_math;

/// What two words of the counter are multiplied by in a round (Salmon and others 2011, Parallel random numbers: as easy as 1, 2, 3).
pub const MULTIPLIER: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
/// What is added to the key's words after a round.
pub const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];

/// Ten rounds of Philox 4x32.
#[inline(always)]
pub fn philox(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let ([mut c0, mut c1, mut c2, mut c3], [mut k0, mut k1]) = (counter, key);
    for _ in 0..10 {
        let p0 = u64::from(MULTIPLIER[0]) * u64::from(c0);
        let p1 = u64::from(MULTIPLIER[1]) * u64::from(c2);
        (c0, c1, c2, c3) = ((p1 >> 32) as u32 ^ c1 ^ k0, p1 as u32, (p0 >> 32) as u32 ^ c3 ^ k1, p0 as u32);
        k0 = k0.wrapping_add(WEYL[0]);
        k1 = k1.wrapping_add(WEYL[1]);
    }
    [c0, c1, c2, c3]
}

/// Names one draw of a program at one step; the values within it are told apart by example and index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DrawKey {
    /// The run's seed.
    pub seed: u64,
    /// The training step (0 for initial weights).
    pub step: u64,
    /// Which draw of the program.
    pub site: u32,
}

/// The fourth counter word when a site's key is derived.
pub const SITE_TAG: u32 = 0x6264_6C31;
/// Set in a block number for the words that extend f32 draws to f64.
const FINER: u64 = 1 << 63;

/// The words of one (seed, step, site, example), block by block.
#[derive(Clone, Copy)]
struct Stream {
    key: [u32; 2],
    example: [u32; 2],
}

impl Stream {
    fn new(key: DrawKey, example: u64) -> Stream {
        let DrawKey { seed, step, site } = key;
        let [k0, k1, _, _] =
            philox([step as u32, (step >> 32) as u32, site, SITE_TAG], [seed as u32, (seed >> 32) as u32]);
        Stream { key: [k0, k1], example: [example as u32, (example >> 32) as u32] }
    }

    #[inline(always)]
    fn block(&self, block: u64) -> [u32; 4] {
        philox([block as u32, (block >> 32) as u32, self.example[0], self.example[1]], self.key)
    }
}

/// Blocks of four words computed together, one block a vector lane.
const BLOCKS: usize = 16;
const CHUNK: usize = 4 * BLOCKS;

/// Fills in the words of `BLOCKS` consecutive blocks.
type Words = unsafe fn(&Stream, u64, &mut [u32; CHUNK]);

/// The rounds of [`philox`] on arrays, which the compiler turns into vectors of whatever width it compiles for. The words
/// live in the low halves of 64-bit lanes, where a multiply instruction finds them; the high halves hold leftovers.
#[inline(always)]
fn words_inline(stream: &Stream, first_block: u64, words: &mut [u32; CHUNK]) {
    use std::array::from_fn;
    const LOW: u64 = 0xffff_ffff;
    const LANES: usize = 8; // as many as stay in registers
    for (group, words) in words.chunks_exact_mut(4 * LANES).enumerate() {
        let block: [u64; LANES] = from_fn(|j| first_block.wrapping_add((group * LANES + j) as u64));
        let [e0, e1] = stream.example.map(u64::from);
        let mut c: [[u64; LANES]; 4] = [block, block.map(|b| b >> 32), [e0; LANES], [e1; LANES]];
        let [mut k0, mut k1] = stream.key;
        for _ in 0..10 {
            let p0: [u64; LANES] = from_fn(|j| (c[0][j] & LOW) * u64::from(MULTIPLIER[0]));
            let p1: [u64; LANES] = from_fn(|j| (c[2][j] & LOW) * u64::from(MULTIPLIER[1]));
            let (x0, x1) = (u64::from(k0), u64::from(k1));
            c = [from_fn(|j| (p1[j] >> 32) ^ c[1][j] ^ x0), p1, from_fn(|j| (p0[j] >> 32) ^ c[3][j] ^ x1), p0];
            k0 = k0.wrapping_add(WEYL[0]);
            k1 = k1.wrapping_add(WEYL[1]);
        }
        for j in 0..LANES {
            let block: [u32; 4] = from_fn(|i| c[i][j] as u32);
            words[4 * j..4 * j + 4].copy_from_slice(&block);
        }
    }
}

/// # Safety
/// The processor has AVX-512 F and DQ.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512bw,avx2")]
unsafe fn words_avx512(stream: &Stream, first_block: u64, words: &mut [u32; CHUNK]) {
    words_inline(stream, first_block, words);
}

/// # Safety
/// The processor has AVX2.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn words_avx2(stream: &Stream, first_block: u64, words: &mut [u32; CHUNK]) {
    words_inline(stream, first_block, words);
}

unsafe fn words_portable(stream: &Stream, first_block: u64, words: &mut [u32; CHUNK]) {
    words_inline(stream, first_block, words);
}

/// The version for the instruction set in use, hence safe to call.
fn words_for_isa() -> Words {
    match Isa::current() {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => words_avx512,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => words_avx2,
        #[cfg(not(target_arch = "x86_64"))]
        Isa::Avx512 | Isa::Avx2 => words_portable,
        Isa::Portable => words_portable,
    }
}

impl Stream {
    fn words(&self, words_for_isa: Words, first_block: u64, words: &mut [u32; CHUNK]) {
        // SAFETY: `words_for_isa` chose a version this processor can run.
        unsafe { words_for_isa(self, first_block, words) }
    }
}

/// Cuts elements `first..first + n` at multiples of `CHUNK` and calls `put(first block of the chunk, which of its words,
/// how many elements came before)` for each piece.
#[inline(always)]
fn for_each_chunk(first: u64, n: usize, mut put: impl FnMut(u64, std::ops::Range<usize>, usize)) {
    let mut done = 0;
    while done < n {
        let index = first + done as u64;
        let chunk_start = index / CHUNK as u64 * CHUNK as u64;
        let from = (index - chunk_start) as usize;
        let to = (from + (n - done)).min(CHUNK);
        put(chunk_start / 4, from..to, done);
        done += to - from;
    }
}

const TWO_POW_M24: f32 = 1.0 / (1u32 << 24) as f32;
const TWO_POW_M53: f64 = 1.0 / (1u64 << 53) as f64;

/// The top 24 bits as a number in [0, 1).
#[inline(always)]
fn unit_f32(word: u32) -> f32 {
    (word >> 8) as f32 * TWO_POW_M24
}

/// The same number with 29 more bits behind it.
#[inline(always)]
fn unit_f64(word: u32, finer: u32) -> f64 {
    ((u64::from(word >> 8) << 29) | u64::from(finer >> 3)) as f64 * TWO_POW_M53
}

/// Uniform in [0, 1) with 24 bits: elements `first..first + out.len()` of the example.
pub fn fill_uniform_f32(key: DrawKey, example: u64, first: u64, out: &mut [f32]) {
    let (stream, kernel) = (Stream::new(key, example), words_for_isa());
    let mut words = [0; CHUNK];
    for_each_chunk(first, out.len(), |block, range, done| {
        stream.words(kernel, block, &mut words);
        for (y, &w) in out[done..].iter_mut().zip(&words[range]) {
            *y = unit_f32(w);
        }
    });
}

/// Uniform in [0, 1) with 53 bits, of which the first 24 are those of [`fill_uniform_f32`].
pub fn fill_uniform_f64(key: DrawKey, example: u64, first: u64, out: &mut [f64]) {
    let (stream, kernel) = (Stream::new(key, example), words_for_isa());
    let (mut words, mut finer) = ([0; CHUNK], [0; CHUNK]);
    for_each_chunk(first, out.len(), |block, range, done| {
        stream.words(kernel, block, &mut words);
        stream.words(kernel, block | FINER, &mut finer);
        for ((y, &w), &f) in out[done..].iter_mut().zip(&words[range.clone()]).zip(&finer[range]) {
            *y = unit_f64(w, f);
        }
    });
}

/// 1 with probability p (rounded to a multiple of 2⁻³²), else 0; never 1 for p <= 0 or NaN, always for p >= 1.
/// The decision `word < p 2³²` is the same for f32 and f64 output.
pub fn fill_bernoulli_f32(key: DrawKey, example: u64, first: u64, p: f64, out: &mut [f32]) {
    fill_bernoulli(key, example, first, p, out, 1.0);
}

/// [`fill_bernoulli_f32`] in f64.
pub fn fill_bernoulli_f64(key: DrawKey, example: u64, first: u64, p: f64, out: &mut [f64]) {
    fill_bernoulli(key, example, first, p, out, 1.0);
}

#[inline(always)]
fn fill_bernoulli<T: Copy + Default>(key: DrawKey, example: u64, first: u64, p: f64, out: &mut [T], one: T) {
    // A float to integer cast saturates and takes NaN to 0.
    let threshold = (p * 4_294_967_296.0).round_ties_even() as u64;
    let (stream, kernel) = (Stream::new(key, example), words_for_isa());
    let mut words = [0; CHUNK];
    for_each_chunk(first, out.len(), |block, range, done| {
        stream.words(kernel, block, &mut words);
        for (y, &w) in out[done..].iter_mut().zip(&words[range]) {
            *y = if u64::from(w) < threshold { one } else { T::default() };
        }
    });
}

/// An integer in 0..n: floor(w n / 2⁶⁴) of a 64-bit word w, off from uniform by at most n 2⁻⁶⁴. 0 for n = 0.
/// Elements use two words each: block index / 2.
pub fn below(key: DrawKey, example: u64, index: u64, n: u64) -> u64 {
    below_in(&Stream::new(key, example), index, n)
}

fn below_in(stream: &Stream, index: u64, n: u64) -> u64 {
    let block = stream.block(index / 2);
    let [lo, hi] = if index.is_multiple_of(2) { [block[0], block[1]] } else { [block[2], block[3]] };
    let word = u64::from(hi) << 32 | u64::from(lo);
    ((u128::from(word) * u128::from(n)) >> 64) as u64
}

/// [`below`] for elements `first..first + out.len()`.
pub fn fill_below(key: DrawKey, example: u64, first: u64, n: u64, out: &mut [i64]) {
    let stream = Stream::new(key, example);
    for (i, y) in out.iter_mut().enumerate() {
        *y = below_in(&stream, first + i as u64, n) as i64;
    }
}

/// The site of shuffles, apart from those a program's draws can have.
const SHUFFLE_SITE: u32 = u32::MAX;

/// A uniformly random order of 0..n, one for each (seed, epoch).
///
/// Fisher and Yates 1938, in the form of Durstenfeld 1964: for i from n - 1 down to 1 swap i with a place in 0..=i.
pub fn permutation(n: usize, seed: u64, epoch: u64) -> Vec<usize> {
    let stream = Stream::new(DrawKey { seed, step: epoch, site: SHUFFLE_SITE }, 0);
    let mut order: Vec<usize> = (0..n).collect();
    for i in (1..n).rev() {
        let j = below_in(&stream, i as u64, i as u64 + 1) as usize;
        order.swap(i, j);
    }
    order
}

/// Standard normal: elements `first..first + out.len()` of the example.
///
/// Box and Muller 1958: words (a, b) of a pair give r = sqrt(-2 log u), u = (a + 1/2) 2⁻³², and the angle t = 2 pi v,
/// v = the top 24 bits of b; element 2j is r cos t, element 2j + 1 is r sin t. Largest possible value 6.76.
/// Log, sine and cosine are those of `vector_math`, so the bits are the same on every machine.
pub fn fill_normal_f32(key: DrawKey, example: u64, first: u64, out: &mut [f32]) {
    let (stream, kernel) = (Stream::new(key, example), words_for_isa());
    let (mut words, mut normals) = ([0; CHUNK], [0.0; CHUNK]);
    for_each_chunk(first, out.len(), |block, range, done| {
        stream.words(kernel, block, &mut words);
        box_muller_f32(&words, &mut normals);
        let n = range.len();
        out[done..done + n].copy_from_slice(&normals[range]);
    });
}

fn box_muller_f32(words: &[u32; CHUNK], normals: &mut [f32; CHUNK]) {
    const HALF: usize = CHUNK / 2;
    let (mut u, mut angle, mut log, mut sin, mut cos) =
        ([0.0; HALF], [0.0; HALF], [0.0; HALF], [0.0; HALF], [0.0; HALF]);
    for j in 0..HALF {
        u[j] = (words[2 * j] as f32 + 0.5) * (TWO_POW_M24 / 256.0);
        angle[j] = unit_f32(words[2 * j + 1]) * std::f32::consts::TAU;
    }
    vector_math::log_f32(&u, &mut log);
    vector_math::sin_f32(&angle, &mut sin);
    vector_math::cos_f32(&angle, &mut cos);
    for j in 0..HALF {
        let r = (-2.0 * log[j]).sqrt();
        normals[2 * j] = r * cos[j];
        normals[2 * j + 1] = r * sin[j];
    }
}

/// [`fill_normal_f32`] with the same words and more bits behind them.
pub fn fill_normal_f64(key: DrawKey, example: u64, first: u64, out: &mut [f64]) {
    let (stream, kernel) = (Stream::new(key, example), words_for_isa());
    let (mut words, mut finer, mut normals) = ([0; CHUNK], [0; CHUNK], [0.0; CHUNK]);
    for_each_chunk(first, out.len(), |block, range, done| {
        stream.words(kernel, block, &mut words);
        stream.words(kernel, block | FINER, &mut finer);
        for j in 0..CHUNK / 2 {
            let a = (u64::from(words[2 * j]) << 20 | u64::from(finer[2 * j] >> 12)) as f64;
            let u = (a + 0.5) * (TWO_POW_M53 * 2.0);
            let angle = unit_f64(words[2 * j + 1], finer[2 * j + 1]) * std::f64::consts::TAU;
            let r = (-2.0 * libm::log(u)).sqrt();
            normals[2 * j] = r * libm::cos(angle);
            normals[2 * j + 1] = r * libm::sin(angle);
        }
        let n = range.len();
        out[done..done + n].copy_from_slice(&normals[range]);
    });
}

#[cfg(test)]
mod tests;
