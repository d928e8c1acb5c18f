//! The metric of times to an event: does the higher risk have its event first?

use super::{Outcome, ranks};

/// Harrell's C: of all pairs in which one example had its event while the other had not yet, the share in which the former has the higher
/// risk, ties of risk counting half. Of two equal times the event counts as earlier than the end of looking. NaN without such a pair.
/// Source: Harrell et al. 1982, doi:10.1001/jama.1982.03320430047030. In n log n, by a tree of counts over the ranks of risk.
pub fn concordance(risks: &[f64], times: &[f64], events: &[bool]) -> f64 {
    // Equal risks share the first of their ranks, counted from 1.
    let middle = ranks(risks);
    let ties = |at: usize| middle.iter().filter(|rank| **rank == middle[at]).count();
    let mut first = vec![0usize; risks.len()];
    let mut known = std::collections::HashMap::new();
    for at in 0..risks.len() {
        let tied = *known.entry(middle[at].to_bits()).or_insert_with(|| ties(at));
        first[at] = (middle[at] - (tied as f64 - 1.0) / 2.0).round() as usize;
    }
    let mut order: Vec<usize> = (0..risks.len()).collect();
    order.sort_by(|a, b| times[*b].total_cmp(&times[*a]));
    let mut later = Counts { tree: vec![0; risks.len() + 1], all: 0 };
    let (mut right, mut pairs) = (0.0, 0.0);
    for group in order.chunk_by(|a, b| times[*a] == times[*b]) {
        for at in group.iter().filter(|at| !events[**at]) {
            later.add(first[*at]);
        }
        for at in group.iter().filter(|at| events[**at]) {
            let below = later.upto(first[*at] - 1);
            right += below as f64 + (later.upto(first[*at]) - below) as f64 / 2.0;
            pairs += later.all as f64;
        }
        for at in group.iter().filter(|at| events[**at]) {
            later.add(first[*at]);
        }
    }
    right / pairs
}

pub(super) fn outcome(risks: &[f64], times: &[f64], events: &[bool]) -> Outcome {
    let value = concordance(risks, times, events);
    let note = value.is_nan().then(|| "not defined: no event came before another example's time".to_string());
    Outcome { value, baseline: 0.5, constant: "the same for all".into(), note, ..Outcome::default() }
}

/// How many were added at each place from 1 on, summed from the left (Fenwick 1994).
struct Counts {
    tree: Vec<u64>,
    all: u64,
}

impl Counts {
    fn add(&mut self, mut place: usize) {
        self.all += 1;
        while place < self.tree.len() {
            self.tree[place] += 1;
            place += place & place.wrapping_neg();
        }
    }

    fn upto(&self, mut place: usize) -> u64 {
        let mut sum = 0;
        while place > 0 {
            sum += self.tree[place];
            place &= place - 1;
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By pairs, as it is defined.
    fn by_pairs(risks: &[f64], times: &[f64], events: &[bool]) -> f64 {
        let (mut right, mut pairs) = (0.0, 0.0);
        for i in 0..risks.len() {
            for j in 0..risks.len() {
                if events[i] && (times[i] < times[j] || times[i] == times[j] && !events[j]) {
                    pairs += 1.0;
                    right += if risks[i] > risks[j] {
                        1.0
                    } else if risks[i] == risks[j] {
                        0.5
                    } else {
                        0.0
                    };
                }
            }
        }
        right / pairs
    }

    #[test]
    fn the_tree_counts_what_the_pairs_do() {
        let mut state = 1u64;
        let mut below = |n: u64| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) % n
        };
        for _ in 0..200 {
            let n = 2 + below(30) as usize;
            let risks: Vec<f64> = (0..n).map(|_| below(9) as f64 - 4.0).collect();
            let times: Vec<f64> = (0..n).map(|_| below(12) as f64).collect();
            let events: Vec<bool> = (0..n).map(|_| below(3) > 0).collect();
            let (fast, slow) = (concordance(&risks, &times, &events), by_pairs(&risks, &times, &events));
            assert!(fast == slow || fast.is_nan() && slow.is_nan(), "{fast} {slow}: {risks:?} {times:?} {events:?}");
        }
    }

    #[test]
    fn a_perfect_order_is_one_and_its_reverse_zero() {
        let (times, events) = ([1.0, 2.0, 3.0, 4.0], [true, true, false, true]);
        assert_eq!(concordance(&[4.0, 3.0, 2.0, 1.0], &times, &events), 1.0);
        assert_eq!(concordance(&[1.0, 2.0, 3.0, 4.0], &times, &events), 0.0);
        assert_eq!(concordance(&[1.0; 4], &times, &events), 0.5);
        assert!(concordance(&[1.0, 2.0], &[1.0, 2.0], &[false, false]).is_nan());
    }
}
