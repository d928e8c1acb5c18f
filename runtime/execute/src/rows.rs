//! Loops over examples of different length: which examples are the rows of a step, and for how long.
//!
//! Every worker finds this out for itself from the lengths of the batch, so that no step waits for a list. What an iteration decides from
//! *data* is decided once, by whoever runs that chunk, and kept: a worker that comes back late finds what was decided, not what the
//! buffer holds by then.

use crate::program::{clear_example, set_example};
use crate::size::Size;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// The examples that are rows `0..examples.len()` of a loop's step; outside of all loops, the batch.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    pub examples: Vec<u32>,
}

impl Rows {
    pub fn batch(count: usize) -> Rows {
        Rows { examples: (0..count as u32).collect() }
    }
}

/// Rows of a loop in the order of its steps: longest first.
pub struct Longest {
    /// Row of the loop around, and its example.
    pub order: Vec<(u32, u32)>,
    lengths: Vec<i64>,
}

impl Longest {
    /// The rows of `around` by the size `by` of their examples; equal ones stay in order.
    pub fn of(around: &Rows, by: &Size, sizes: &mut [i64], lengths: &HashMap<usize, Vec<i64>>) -> Longest {
        let mut all: Vec<(i64, u32, u32)> = Vec::with_capacity(around.examples.len());
        for (row, example) in around.examples.iter().enumerate() {
            set_example(sizes, lengths, *example as usize);
            all.push((by.at(sizes).max(0), row as u32, *example));
        }
        clear_example(sizes, lengths);
        all.sort_by_key(|(length, _, _)| -length);
        Longest {
            order: all.iter().map(|(_, row, example)| (*row, *example)).collect(),
            lengths: all.iter().map(|(length, _, _)| *length).collect(),
        }
    }

    /// Steps of the longest.
    pub fn steps(&self) -> i64 {
        self.lengths.first().copied().unwrap_or(0)
    }

    /// How many are longer than this.
    pub fn running(&self, step: i64) -> usize {
        self.lengths.partition_point(|length| *length > step)
    }

    /// The examples in order, to become the rows of a step by truncation.
    pub fn rows(&self, count: usize) -> Rows {
        Rows { examples: self.order[..count].iter().map(|(_, example)| *example).collect() }
    }
}

/// What the iterations of a run decided, in the order in which they did.
#[derive(Default)]
pub struct Decisions(Mutex<Vec<Arc<Decision>>>);

/// Rows of the loop around that go on.
#[derive(Debug, Default)]
pub struct Decision {
    pub left: Vec<u32>,
}

impl Decisions {
    /// Number `at` is this. Called once for each number, in order.
    pub fn keep(&self, decision: Decision) {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(Arc::new(decision));
    }

    pub fn get(&self, at: usize) -> Option<Arc<Decision>> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).get(at).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bdl_dims::Dim;

    #[test]
    fn the_longest_come_first_and_the_finished_leave() {
        let by = Size::new(&Dim::var("T"), &["T".into()]).unwrap();
        let lengths = HashMap::from([(0, vec![2, 5, 0, 5])]);
        let longest = Longest::of(&Rows::batch(4), &by, &mut [0], &lengths);
        assert_eq!(longest.order, [(1, 1), (3, 3), (0, 0), (2, 2)]);
        assert_eq!((longest.steps(), longest.running(0), longest.running(2), longest.running(5)), (5, 3, 2, 0));
        let inner = Longest::of(&Rows { examples: vec![3, 0] }, &by, &mut [0], &lengths);
        assert_eq!((inner.order.as_slice(), inner.rows(1).examples), (&[(0, 3), (1, 0)][..], vec![3]));
    }
}
