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
    pub fn be_batch(&mut self, count: usize) {
        self.examples.clear();
        self.examples.extend(0..count as u32);
    }
}

/// Rows of a loop in the order of its steps: longest first.
#[derive(Default)]
pub struct Longest {
    /// Row of the loop around, and its example.
    pub order: Vec<(u32, u32)>,
    lengths: Vec<i64>,
    /// What is sorted, kept for the next loop.
    all: Vec<(i64, u32, u32)>,
}

impl Longest {
    /// The rows of `around` by the size `by` of their examples; equal ones stay in order.
    pub fn find(&mut self, around: &Rows, by: &Size, sizes: &mut [i64], lengths: &HashMap<usize, Vec<i64>>) {
        self.all.clear();
        for (row, example) in around.examples.iter().enumerate() {
            set_example(sizes, lengths, *example as usize);
            self.all.push((by.at(sizes).max(0), row as u32, *example));
        }
        clear_example(sizes, lengths);
        // By row where lengths are equal: a stable sort would need memory.
        self.all.sort_unstable_by_key(|(length, row, _)| (-length, *row));
        self.order.clear();
        self.order.extend(self.all.iter().map(|(_, row, example)| (*row, *example)));
        self.lengths.clear();
        self.lengths.extend(self.all.iter().map(|(length, _, _)| *length));
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
    pub fn rows_into(&self, count: usize, rows: &mut Rows) {
        rows.examples.clear();
        rows.examples.extend(self.order[..count].iter().map(|(_, example)| *example));
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

    /// None yet.
    pub fn clear(&mut self) {
        self.0.get_mut().unwrap_or_else(|poisoned| poisoned.into_inner()).clear();
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
        let mut batch = Rows::default();
        batch.be_batch(4);
        let (mut longest, mut rows) = (Longest::default(), Rows::default());
        longest.find(&batch, &by, &mut [0], &lengths);
        assert_eq!(longest.order, [(1, 1), (3, 3), (0, 0), (2, 2)]);
        assert_eq!((longest.steps(), longest.running(0), longest.running(2), longest.running(5)), (5, 3, 2, 0));
        longest.find(&Rows { examples: vec![3, 0] }, &by, &mut [0], &lengths);
        longest.rows_into(1, &mut rows);
        assert_eq!((longest.order.as_slice(), rows.examples), (&[(0, 3), (1, 0)][..], vec![3]));
    }
}
