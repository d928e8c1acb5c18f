//! Which sequences may be nearly the same: those that share a piece.
//!
//! So many edits leave one of one more pieces of a sequence as it was:
//!
//! ```text
//! 2 edits, 3 pieces      ACGTA | CCGTT | GATTA
//!                        ACGTA   CCTT    GAATTA      the first piece stands in the other sequence, too
//! ```
//!
//! So whoever is within the edits has one of the pieces somewhere, and to find all of them each text is read once, whatever the number of sequences:
//! its windows of a piece's length are looked up. (The pigeonhole argument of Wu and Manber 1992, doi:10.1145/135239.135244.)

/// Letters of a piece at most: longer ones tell no more apart.
const LONGEST: usize = 16;
/// What a letter counts for in a piece's number: an odd number without pattern.
const BASE: u64 = 0x9e37_79b9_7f4a_7c15;

pub(crate) struct Seeds {
    /// Letters of a piece.
    length: usize,
    /// The weight of a piece's first letter.
    first: u64,
    /// Pieces are found by so many upper bits of their number.
    shift: u32,
    /// Where those with each of the upper bits begin.
    starts: Vec<u32>,
    /// Number and sequence.
    pieces: Vec<(u64, u32)>,
}

impl Seeds {
    /// Of sequences, each with a number of edits that is less than its length.
    pub fn of(sequences: &[(&[u8], usize)]) -> Seeds {
        let length = piece(sequences.iter().map(|(sequence, edits)| (sequence.len(), *edits)));
        let first = (1..length).fold(1u64, |weight, _| weight.wrapping_mul(BASE));
        let mut pieces = vec![];
        for (number, (sequence, edits)) in sequences.iter().enumerate() {
            let apart = sequence.len() / (edits + 1);
            let own = (0..=*edits).map(|at| &sequence[at * apart..at * apart + length]);
            pieces.extend(own.map(|letters| (scattered(letters.iter().fold(0, next)), number as u32)));
        }
        pieces.sort_unstable();
        pieces.dedup();
        let bits = (4 * pieces.len()).next_power_of_two().trailing_zeros().clamp(1, 28);
        let shift = 64 - bits;
        let mut starts = vec![0u32; (1 << bits) + 1];
        pieces.iter().for_each(|(piece, _)| starts[(piece >> shift) as usize + 1] += 1);
        for upper in 1..starts.len() {
            starts[upper] += starts[upper - 1];
        }
        Seeds { length, first, shift, starts, pieces }
    }

    /// About how many of the pieces a text of this length has by chance, where two of its letters are the same as often as of so many equally frequent ones.
    pub fn by_chance(&self, length: usize, letters: f64) -> f64 {
        self.pieces.len() as f64 * length as f64 / letters.powi(self.length as i32)
    }

    /// Calls `found` with each sequence that shares a piece with the text, once for each place where it does.
    pub fn each(&self, text: &[u8], found: &mut impl FnMut(usize)) {
        let mut number = 0u64;
        for (at, letter) in text.iter().enumerate() {
            if at >= self.length {
                let gone = u64::from(text[at - self.length]) + 1;
                number = number.wrapping_sub(gone.wrapping_mul(self.first));
            }
            number = next(number, letter);
            if at + 1 < self.length {
                continue;
            }
            let number = scattered(number);
            let upper = (number >> self.shift) as usize;
            let (from, to) = (self.starts[upper] as usize, self.starts[upper + 1] as usize);
            for (_, sequence) in self.pieces[from..to].iter().filter(|(piece, _)| *piece == number) {
                found(*sequence as usize);
            }
        }
    }
}

/// The number of a piece and one letter more.
fn next(number: u64, letter: &u8) -> u64 {
    number.wrapping_mul(BASE).wrapping_add(u64::from(*letter) + 1)
}

/// The same with upper bits that depend on all letters.
fn scattered(number: u64) -> u64 {
    (number ^ (number >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93)
}

/// Letters of the pieces of sequences, whose lengths and edits these are.
fn piece(sequences: impl Iterator<Item = (usize, usize)>) -> usize {
    sequences.map(|(length, edits)| length / (edits + 1)).min().unwrap_or(1).min(LONGEST)
}

/// As many equally frequent letters are the same as often as two of these.
pub(crate) fn equal_letters(texts: &[&[u8]]) -> f64 {
    let mut counts = [0u64; 256];
    texts.iter().flat_map(|text| text.iter()).for_each(|letter| counts[usize::from(*letter)] += 1);
    let all = counts.iter().sum::<u64>().max(1) as f64;
    1.0 / counts.iter().map(|count| (*count as f64 / all).powi(2)).sum::<f64>().max(f64::MIN_POSITIVE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bdl_kernels::philox::{DrawKey, fill_below};

    fn random(number: u64, length: usize, letters: u64) -> Vec<u8> {
        let mut drawn = vec![0; length];
        fill_below(DrawKey { seed: 9, step: 0, site: 0 }, number, 0, letters, &mut drawn);
        drawn.iter().map(|x| *x as u8).collect()
    }

    /// Wherever the edits fall, replaced, lost and new letters alike: the sequence is found.
    #[test]
    fn whoever_is_within_the_edits_is_found() {
        let sequences: Vec<Vec<u8>> = (0..40).map(|number| random(number, 21 + 3 * number as usize, 4)).collect();
        let edits = |length: usize| length / 15;
        let own: Vec<(&[u8], usize)> = sequences.iter().map(|own| (own.as_slice(), edits(own.len()))).collect();
        let seeds = Seeds::of(&own);
        assert_eq!(seeds.length, 10);
        for (at, (sequence, edits)) in own.iter().enumerate() {
            for round in 0..50 {
                let mut places = vec![0i64; 2 * edits];
                fill_below(DrawKey { seed: 3, step: 1, site: 0 }, (50 * at + round) as u64, 0, 1 << 20, &mut places);
                let mut text = sequence.to_vec();
                for (kind, place) in places.chunks(2).map(|x| (x[0], x[1] as usize)) {
                    let place = place % text.len();
                    match kind % 3 {
                        0 => text[place] = (text[place] + 1) % 4,
                        1 => drop(text.remove(place)),
                        _ => text.insert(place, 2),
                    }
                }
                let mut found = vec![];
                seeds.each(&text, &mut |sequence| found.push(sequence));
                assert!(found.contains(&at), "{at} in {found:?}");
            }
        }
        // And hardly anybody else is: about a piece in 10,000 windows.
        let mut count = 0;
        (0..200).for_each(|number| seeds.each(&random(1000 + number, 100, 4), &mut |_| count += 1));
        let expected = 200.0 * seeds.by_chance(91, equal_letters(&own.iter().map(|(own, _)| *own).collect::<Vec<_>>()));
        assert!((count as f64 - expected).abs() < 5.0 * expected.sqrt() + 2.0, "{count}, {expected}");
    }

    #[test]
    fn a_text_shorter_than_a_piece_has_none() {
        let sequence = random(1, 40, 4);
        let seeds = Seeds::of(&[(&sequence, 1)]);
        assert_eq!(seeds.length, LONGEST);
        seeds.each(&sequence[..15], &mut |_| panic!("found"));
        let mut found = 0;
        seeds.each(&sequence[..16], &mut |_| found += 1);
        assert_eq!(found, 1);
    }
}
