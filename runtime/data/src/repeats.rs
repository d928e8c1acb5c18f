//! Identical rows: inside the table, and on both sides of a split.
//!
//! Two rows are identical if the named fields (the model's inputs) hold the same values, before anything is fitted. Letters
//! are compared as letters, so `acgt` equals `ACGT`. Rows are compared by a 128-bit hash of all their bytes; with 10⁷ rows
//! the chance that two different ones meet is below 10⁻²⁴.

use crate::dataset::{Dataset, append_bytes};
use crate::error::DataResult;
use crate::field::Field;
use crate::split::Parts;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher};

/// Which rows of a table repeat an earlier one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repeats {
    /// For each row the first row that equals it (itself, for the first).
    pub first: Vec<u32>,
}

/// How many rows of one part have a twin in another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Straddling {
    pub valid_in_train: usize,
    pub test_in_train: usize,
    pub test_in_valid: usize,
}

impl Repeats {
    /// Rows that `distinct` would drop.
    pub fn count(&self) -> usize {
        self.first.iter().enumerate().filter(|(row, first)| **first != *row as u32).count()
    }

    /// Rows with a twin on another side of a split.
    pub fn straddling(&self, parts: &Parts) -> Straddling {
        let mark = |rows: &[u32]| {
            let mut seen = vec![false; self.first.len()];
            rows.iter().for_each(|row| seen[self.first[*row as usize] as usize] = true);
            seen
        };
        let (train, valid) = (mark(&parts.train), mark(&parts.valid));
        let twins =
            |rows: &[u32], seen: &[bool]| rows.iter().filter(|row| seen[self.first[**row as usize] as usize]).count();
        Straddling {
            valid_in_train: twins(&parts.valid, &train),
            test_in_train: twins(&parts.test, &train),
            test_in_valid: twins(&parts.test, &valid),
        }
    }
}

impl Dataset {
    /// Finds rows that agree in all the named fields. Errors: `unknown-field`, `absent-field`.
    pub fn repeats(&self, fields: &[&str]) -> DataResult<Repeats> {
        let fields: Vec<&Field> = fields.iter().map(|name| self.field(name)).collect::<DataResult<_>>()?;
        Ok(Repeats { first: first_of_equals(&fields, self.rows()) })
    }
}

/// For each row the first row that is equal in all fields. Without fields every row is its own.
pub(crate) fn first_of_equals(fields: &[&Field], rows: usize) -> Vec<u32> {
    if fields.is_empty() {
        return (0..rows as u32).collect();
    }
    let mut seen: HashMap<u128, u32> = HashMap::with_capacity(rows);
    let mut bytes = vec![];
    let first = (0..rows).map(|row| {
        bytes.clear();
        fields.iter().for_each(|field| append_bytes(field, row, &mut bytes));
        *seen.entry(hash(&bytes)).or_insert(row as u32)
    });
    first.collect()
}

/// Two 64-bit hashes of the same bytes, begun differently.
fn hash(bytes: &[u8]) -> u128 {
    let half = |salt: u64| {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(salt);
        hasher.write(bytes);
        u128::from(hasher.finish())
    };
    half(0x6264_6c31) << 64 | half(0x6461_7461)
}
