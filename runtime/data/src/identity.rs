//! Clusters of similar sequences, so that a split keeps them together.
//!
//! The identity of two sequences a and b is  1 - d(a, b) / max(|a|, |b|),  d being the edit distance (Levenshtein 1966: insertions,
//! deletions and replacements of a letter). Unrelated proteins have about 0.2, unrelated DNA about 0.5. Sequences of at least the given
//! identity are linked, and what is linked, directly or through others, is a cluster (single linkage); so no two sequences of different
//! clusters reach it. Nothing is estimated: pairs are only left out where a bound shows that they cannot reach it.
//!
//! Distances are computed bit-parallel, 64 rows of the table at once (Myers 1999, doi:10.1145/316542.316550, in blocks as in Hyyrö 2003),
//! for four sequences side by side, near the table's diagonal alone (Ukkonen 1985, doi:10.1016/S0019-9958(85)80046-2). Bounds: d >= ||a| - |b||, and d >= L / 4, L being the sum of differences between the numbers of each pair
//! of letters (Ukkonen 1992, doi:10.1016/0304-3975(92)90143-4, theorem 5.2 with q = 2). Where few edits are allowed, sequences that can be within
//! them are found by a piece that both have (see [`seeds`](crate::seeds)), and no other pair is looked at.

use crate::seeds::{Seeds, equal_letters};
use std::collections::HashMap;
use std::thread;

/// Sequences compared side by side.
const LANES: usize = 4;

/// The cluster of each sequence, numbered by first appearance. `below`: sequences of this identity or more belong together.
pub fn clusters(sequences: &[&[u8]], below: f64) -> Vec<usize> {
    let mut first_of: HashMap<&[u8], usize> = HashMap::new();
    let mut distinct: Vec<&[u8]> = vec![];
    let mut place = Vec::with_capacity(sequences.len());
    for sequence in sequences {
        let next = distinct.len();
        let at = *first_of.entry(sequence).or_insert(next);
        if at == next {
            distinct.push(sequence);
        }
        place.push(at);
    }
    let mut order: Vec<usize> = (0..distinct.len()).collect();
    order.sort_by_key(|at| (distinct[*at].len(), *at));
    let sorted: Vec<&[u8]> = order.iter().map(|at| distinct[*at]).collect();
    let profiles = if below > 0.5 { sorted.iter().map(|sequence| Profile::of(sequence)).collect() } else { vec![] };
    let threads = thread::available_parallelism().map_or(1, usize::from).min(sorted.len().max(1));
    // Which links a thread leaves out because its own links already join two sequences does not change the clusters.
    let links: Vec<Vec<(usize, usize)>> = thread::scope(|scope| {
        let work = |first: usize| {
            let (sorted, profiles) = (&sorted, &profiles);
            move || links(sorted, profiles, below, first, threads)
        };
        let handles: Vec<_> = (0..threads).map(|first| scope.spawn(work(first))).collect();
        handles
            .into_iter()
            .map(|handle| handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    let mut sets = Sets::new(sorted.len());
    links.iter().flatten().for_each(|(a, b)| sets.join(*a, *b));
    let mut set_of = vec![0; sorted.len()];
    order.iter().enumerate().for_each(|(at, own)| set_of[*own] = sets.of(at));
    let mut numbers = HashMap::new();
    let number = |at: &usize| {
        let next = numbers.len();
        *numbers.entry(set_of[*at]).or_insert(next)
    };
    place.iter().map(number).collect()
}

/// The links of every `step`-th block of sequences, from block `first` on, to shorter ones.
fn links(sorted: &[&[u8]], profiles: &[Profile], below: f64, first: usize, step: usize) -> Vec<(usize, usize)> {
    let mut links = Links { sorted, profiles, below, sets: Sets::new(sorted.len()), found: vec![] };
    let letters = equal_letters(sorted);
    let size = (sorted.len() / (BLOCKS * step)).clamp(1, LARGEST_BLOCK);
    for begin in (first * size..sorted.len()).step_by(step * size) {
        let block = begin..(begin + size).min(sorted.len());
        let limits = block.clone().map(|long| limit(sorted[long].len(), below));
        // The empty sequence, if there is one, is the first: it has no shorter ones.
        let begin = block.end - limits.clone().flatten().count();
        let patterns: Vec<(&[u8], usize)> =
            (begin..block.end).zip(limits.flatten()).map(|(long, limit)| (sorted[long], limit)).collect();
        let Some(longest) = patterns.last().map(|(longest, _)| longest.len()) else { continue };
        let seeds = Seeds::of(&patterns);
        if seeds.by_chance(longest, letters) > BY_CHANCE * patterns.len() as f64 {
            (begin..block.end).for_each(|long| links.compare(long, links.shortest(long)..long));
        } else {
            links.of_block(begin, &patterns, &seeds);
        }
    }
    links.found
}

/// Blocks of sequences for each thread, where they are few, and sequences of a block at most: each block reads all shorter sequences once.
const BLOCKS: usize = 8;
const LARGEST_BLOCK: usize = 4096;
/// Pieces that two unrelated sequences have in common: of more, nearly all pairs would be compared all the same.
const BY_CHANCE: f64 = 1.0;
/// Pairs with a piece in common that wait for their comparison.
const WAITING: usize = 1 << 22;

struct Links<'s> {
    /// By length.
    sorted: &'s [&'s [u8]],
    profiles: &'s [Profile],
    below: f64,
    sets: Sets,
    found: Vec<(usize, usize)>,
}

impl Links<'_> {
    /// The first sequence that is long enough to be like this one.
    fn shortest(&self, long: usize) -> usize {
        let length = self.sorted[long].len();
        let limit = limit(length, self.below).unwrap_or(0);
        self.sorted[..long].partition_point(|short| short.len() + limit < length)
    }

    /// The links of sequences from `begin` on to shorter ones with which they have a piece in common: no others are within the limits.
    fn of_block(&mut self, begin: usize, patterns: &[(&[u8], usize)], seeds: &Seeds) {
        let mut pairs: Vec<(usize, usize)> = vec![];
        // Whether a pair was seen already, as a text has it more than once.
        let mut seen = vec![usize::MAX; patterns.len()];
        let first = self.shortest(begin);
        for short in first..begin + patterns.len() {
            let text = self.sorted[short];
            seeds.each(text, &mut |pattern| {
                let (own, limit) = patterns[pattern];
                if short < begin + pattern && text.len() + limit >= own.len() && seen[pattern] != short {
                    seen[pattern] = short;
                    pairs.push((begin + pattern, short));
                }
            });
            if pairs.len() > WAITING {
                self.compare_pairs(&mut pairs);
            }
        }
        self.compare_pairs(&mut pairs);
    }

    fn compare_pairs(&mut self, pairs: &mut Vec<(usize, usize)>) {
        pairs.sort_unstable();
        for own in pairs.chunk_by(|a, b| a.0 == b.0) {
            self.compare(own[0].0, own.iter().map(|(_, short)| *short));
        }
        pairs.clear();
    }

    /// Finds the links of a sequence to some shorter ones.
    fn compare(&mut self, long: usize, shorter: impl Iterator<Item = usize>) {
        let Some(limit) = limit(self.sorted[long].len(), self.below) else { return };
        let pattern = Pattern::of(self.sorted[long]);
        let mut waiting: Vec<usize> = Vec::with_capacity(LANES);
        for short in shorter {
            if self.sets.of(short) == self.sets.of(long) {
                continue;
            }
            if let (Some(a), Some(b)) = (self.profiles.get(short), self.profiles.get(long))
                && a.difference(b) > 4 * limit
            {
                continue;
            }
            waiting.push(short);
            if waiting.len() == LANES {
                self.link(long, &pattern, limit, &mut waiting);
            }
        }
        if !waiting.is_empty() {
            self.link(long, &pattern, limit, &mut waiting);
        }
    }

    fn link(&mut self, long: usize, pattern: &Pattern, limit: usize, waiting: &mut Vec<usize>) {
        let texts: Vec<&[u8]> = waiting.iter().map(|at| self.sorted[*at]).collect();
        for (at, distance) in waiting.drain(..).zip(pattern.distances(&texts, limit)) {
            if distance <= limit {
                self.sets.join(at, long);
                self.found.push((at, long));
            }
        }
    }
}

/// The largest edit distance that still is this identity, for the longer sequence's length. None if two empty sequences are meant.
pub(crate) fn limit(length: usize, identity: f64) -> Option<usize> {
    // A small allowance keeps 1 - 0.9 from being less than a tenth.
    (length > 0).then(|| ((1.0 - identity) * length as f64 + 1e-9).floor() as usize)
}

/// Is a sequence of at least this identity with one of the others?
pub(crate) fn is_similar_to_any(sequence: &[u8], others: &[&[u8]], identity: f64) -> bool {
    let profile = Profile::of(sequence);
    let within = |other: &[u8]| limit(sequence.len().max(other.len()), identity);
    let may_be =
        |other: &&&[u8]| within(other).is_none_or(|limit| profile.difference(&Profile::of(other)) <= 4 * limit);
    let others: Vec<&[u8]> = others.iter().filter(may_be).copied().collect();
    let pattern = Pattern::of(sequence);
    let most = others.iter().filter_map(|other| within(other)).max().unwrap_or(0);
    let mut distances = others.chunks(LANES).map(|others| others.iter().zip(pattern.distances(others, most)));
    distances.any(|mut of| of.any(|(other, distance)| within(other).is_none_or(|limit| distance <= limit)))
}

/// How often each pair of letters stands side by side.
struct Profile(Vec<u8>);

/// Codes are told apart up to this; larger ones share a place, which only weakens the bound.
const CODES: usize = 25;

impl Profile {
    fn of(sequence: &[u8]) -> Profile {
        let mut counts = vec![0u8; CODES * CODES];
        for pair in sequence.windows(2) {
            let at = usize::from(pair[0]) % CODES * CODES + usize::from(pair[1]) % CODES;
            counts[at] = counts[at].saturating_add(1);
        }
        Profile(counts)
    }

    /// At most four times the edit distance.
    fn difference(&self, other: &Profile) -> usize {
        self.0.iter().zip(&other.0).map(|(a, b)| usize::from(a.abs_diff(*b))).sum()
    }
}

/// One side of the comparison: for each code the places where it stands, as bits.
struct Pattern {
    length: usize,
    words: usize,
    places: Vec<u64>,
}

impl Pattern {
    fn of(sequence: &[u8]) -> Pattern {
        let words = sequence.len().div_ceil(64).max(1);
        let mut places = vec![0; 256 * words];
        for (at, code) in sequence.iter().enumerate() {
            places[usize::from(*code) * words + at / 64] |= 1 << (at % 64);
        }
        Pattern { length: sequence.len(), words, places }
    }

    /// Edit distances to at most [`LANES`] sequences; something larger than `within` where they are.
    ///
    /// So few edits never lead further from the table's diagonal than their number: of a column only the words near it are computed, as if all beside
    /// them were larger by one from place to place.
    #[allow(clippy::needless_range_loop, reason = "a lane is a place in several arrays")]
    fn distances(&self, texts: &[&[u8]], within: usize) -> Vec<usize> {
        if self.length == 0 {
            return texts.iter().map(|text| text.len()).collect();
        }
        let (mut up, mut down) = (vec![[u64::MAX; LANES]; self.words], vec![[0u64; LANES]; self.words]);
        // The lowest word so far; scores are those of its last row.
        let mut lowest = (within / 64).min(self.words - 1);
        let rows_to = |word: usize| (64 * (word + 1)).min(self.length) as i64;
        let mut score = [rows_to(lowest); LANES];
        let last = (self.length - 1) % 64;
        let columns = texts.iter().map(|text| text.len()).max().unwrap_or(0);
        for column in 0..columns {
            let mut rows = [&self.places[..self.words]; LANES];
            let mut runs = [0i64; LANES];
            for (lane, text) in texts.iter().enumerate() {
                if let Some(code) = text.get(column) {
                    let first = usize::from(*code) * self.words;
                    rows[lane] = &self.places[first..first + self.words];
                    runs[lane] = 1;
                }
            }
            let (mut more, mut less) = ([1u64; LANES], [0u64; LANES]);
            while lowest + 1 < self.words && 64 * (lowest + 1) <= column.saturating_add(within) {
                lowest += 1;
                score.iter_mut().for_each(|score| *score += rows_to(lowest) - rows_to(lowest - 1));
            }
            let highest = (column.saturating_sub(within) / 64).min(lowest);
            for (word, (up, down)) in up.iter_mut().zip(&mut down).enumerate().take(lowest + 1).skip(highest) {
                let high = if word + 1 == self.words { last } else { 63 };
                let equal: [u64; LANES] = std::array::from_fn(|lane| rows[lane][word]);
                for lane in 0..LANES {
                    let (pv, mv) = (up[lane], down[lane]);
                    let xv = equal[lane] | mv;
                    let eq = equal[lane] | less[lane];
                    let xh = ((eq & pv).wrapping_add(pv) ^ pv) | eq;
                    let ph = mv | !(xh | pv);
                    let mh = pv & xh;
                    let (out_more, out_less) = (ph >> high & 1, mh >> high & 1);
                    let ph = ph << 1 | more[lane];
                    let mh = mh << 1 | less[lane];
                    up[lane] = mh | !(xv | ph);
                    down[lane] = ph & xv;
                    (more[lane], less[lane]) = (out_more, out_less);
                }
            }
            for lane in 0..LANES {
                score[lane] += runs[lane] * (more[lane] as i64 - less[lane] as i64);
            }
        }
        let of = |(text, score): (&&[u8], &i64)| {
            // Where the lengths differ by more, the last row was not there at the last column.
            if text.len().abs_diff(self.length) > within { within.saturating_add(1) } else { *score as usize }
        };
        texts.iter().zip(&score).map(of).collect()
    }
}

/// Disjoint sets; the smallest member stands for its set.
struct Sets(Vec<usize>);

impl Sets {
    fn new(n: usize) -> Sets {
        Sets((0..n).collect())
    }

    fn of(&mut self, mut at: usize) -> usize {
        while self.0[at] != at {
            self.0[at] = self.0[self.0[at]];
            at = self.0[at];
        }
        at
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.of(a), self.of(b));
        self.0[a.max(b)] = a.min(b);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bdl_kernels::philox::{DrawKey, fill_below};

    /// The table of Wagner and Fischer 1974, cell by cell.
    fn plain(a: &[u8], b: &[u8]) -> usize {
        let mut above: Vec<usize> = (0..=b.len()).collect();
        for (i, x) in a.iter().enumerate() {
            let mut row = vec![i + 1];
            for (j, y) in b.iter().enumerate() {
                row.push((above[j] + usize::from(x != y)).min(above[j + 1] + 1).min(row[j] + 1));
            }
            above = row;
        }
        above[b.len()]
    }

    fn random(number: u64, length: usize, letters: u64) -> Vec<u8> {
        let mut drawn = vec![0; length];
        fill_below(DrawKey { seed: 5, step: 0, site: 0 }, number, 0, letters, &mut drawn);
        drawn.iter().map(|x| *x as u8).collect()
    }

    #[test]
    fn distances_are_those_of_the_whole_table() {
        let lengths = [0, 1, 7, 63, 64, 65, 127, 128, 129, 200];
        for (number, length) in lengths.into_iter().enumerate() {
            let a = random(number as u64, length, 4);
            let pattern = Pattern::of(&a);
            let mut others: Vec<Vec<u8>> = lengths.iter().map(|n| random(100 + *n as u64, *n, 4)).collect();
            // A relative: some letters changed, one lost.
            let mut relative = a.clone();
            relative.iter_mut().step_by(11).for_each(|x| *x = (*x + 1) % 4);
            relative.truncate(length.saturating_sub(1));
            others.push(relative);
            for texts in others.chunks(LANES) {
                let texts: Vec<&[u8]> = texts.iter().map(Vec::as_slice).collect();
                let wanted: Vec<usize> = texts.iter().map(|text| plain(&a, text)).collect();
                assert_eq!(pattern.distances(&texts, usize::MAX), wanted);
                for within in [0, 1, 5, 20, 63, 64, 65, 100, 150, 250] {
                    for (found, wanted) in pattern.distances(&texts, within).into_iter().zip(&wanted) {
                        assert!(found == *wanted || found > within && *wanted > within, "{found} {wanted} {within}");
                    }
                }
                for (text, distance) in texts.iter().zip(wanted) {
                    assert!(Profile::of(&a).difference(&Profile::of(text)) <= 4 * distance);
                }
            }
        }
    }

    #[test]
    fn clusters_are_those_of_all_pairs() {
        for letters in [4, 20] {
            let mut sequences: Vec<Vec<u8>> =
                (0..12).map(|number| random(number, 40 + 2 * number as usize, letters)).collect();
            for number in 0..12 {
                for changed in [1, 2, 3, 9, 20] {
                    let mut relative = sequences[number].clone();
                    let spread = relative.iter_mut().step_by(1 + number % 3).take(changed);
                    spread.for_each(|x| *x = (*x + 3) % letters as u8);
                    sequences.push(relative.clone());
                    relative.remove(number);
                    sequences.push(relative);
                }
            }
            sequences.push(sequences[3].clone());
            sequences.push(vec![]);
            are_those_of_all_pairs(&sequences);
        }
    }

    fn are_those_of_all_pairs(sequences: &[Vec<u8>]) {
        let borrowed: Vec<&[u8]> = sequences.iter().map(Vec::as_slice).collect();
        for below in [0.3, 0.6, 0.75, 0.9, 0.95, 0.98, 1.0] {
            let found = clusters(&borrowed, below);
            // By the definition: links of all pairs, and what they join.
            let mut sets = Sets::new(borrowed.len());
            for a in 0..borrowed.len() {
                for b in 0..a {
                    let identity =
                        1.0 - plain(borrowed[a], borrowed[b]) as f64 / borrowed[a].len().max(borrowed[b].len()) as f64;
                    if identity + 1e-12 >= below {
                        sets.join(a, b);
                    }
                }
            }
            for a in 0..borrowed.len() {
                for b in 0..a {
                    assert_eq!(found[a] == found[b], sets.of(a) == sets.of(b), "{below}: {a} and {b}");
                }
            }
        }
    }
}
