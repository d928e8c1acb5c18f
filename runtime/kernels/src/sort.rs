//! Stable order of integer keys, and the segments of equal keys: what filtered reductions run over.
//!
//! `dw[v, d] = sum[t if tok[t] == v] dy[t, d]` is executed as: sort the tokens by key once per batch, then for each `v`
//! sum the rows `order[offsets[v]..offsets[v + 1]]`. Because the sort is stable, rows of one segment come in their
//! original order, so the order of every sum is fixed by the data alone. There is no scatter and no atomic.
//!
//! The sums themselves are generated code's business.
//!
//! ```
//! use bdl_kernels::sort::sort_by_key;
//! let sorted = sort_by_key(&[2, 0, 2, 1], 4).unwrap();
//! assert_eq!(sorted.order, [1, 3, 0, 2]);
//! assert_eq!(sorted.offsets, [0, 1, 2, 4, 4]);
//! ```

/// Positions ordered by key, and where each key's run starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SortedKeys {
    /// `order[j]` is the position, in the input, of the j-th smallest key; equal keys keep their order.
    pub order: Vec<u32>,
    /// Positions with key `v` are `order[offsets[v]..offsets[v + 1]]`; length is the number of keys + 1.
    pub offsets: Vec<u32>,
}

/// A key outside `0..keys`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyOutOfRange {
    pub position: usize,
    pub key: i64,
    pub keys: usize,
}

impl std::fmt::Display for KeyOutOfRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "key {} at position {} is outside 0..{}", self.key, self.position, self.keys)
    }
}

impl std::error::Error for KeyOutOfRange {}

/// Sorts positions by key, stably. Keys must lie in `0..keys`. Time and memory O(positions + keys).
///
/// Errors: the first key outside the range.
///
/// # Panics
/// If there are 2³² positions or more (the plan's buffers are smaller).
pub fn sort_by_key(key_of: &[i64], keys: usize) -> Result<SortedKeys, KeyOutOfRange> {
    let mut sorted = SortedKeys::default();
    sort_by_key_into(key_of, keys, &mut sorted)?;
    Ok(sorted)
}

/// [`sort_by_key`] into buffers that are used again batch after batch.
pub fn sort_by_key_into(key_of: &[i64], keys: usize, sorted: &mut SortedKeys) -> Result<(), KeyOutOfRange> {
    let SortedKeys { order, offsets } = sorted;
    offsets.clear();
    offsets.resize(keys + 1, 0);
    order.clear();
    order.resize(key_of.len(), 0);
    sort_by_key_slices(key_of, order, offsets)
}

/// [`sort_by_key`] into slices of an arena: `order` as long as `key_of`, `offsets` one longer than there are keys.
///
/// Errors: the first key outside the range; the slices then hold no meaning.
///
/// # Panics
/// If the slices do not have these lengths or there are 2³² positions or more.
pub fn sort_by_key_slices(key_of: &[i64], order: &mut [u32], offsets: &mut [u32]) -> Result<(), KeyOutOfRange> {
    assert!(u32::try_from(key_of.len()).is_ok(), "more than 2^32 positions to sort");
    assert_eq!(order.len(), key_of.len(), "one place in the order for each key");
    assert!(!offsets.is_empty(), "offsets hold one more than the number of keys");
    let keys = offsets.len() - 1;
    offsets.fill(0);
    // Counting sort. Count into the place after, so that after summing `offsets[v]` is the start of v.
    for (position, &key) in key_of.iter().enumerate() {
        match usize::try_from(key) {
            Ok(v) if v < keys => offsets[v + 1] += 1,
            Ok(_) | Err(_) => return Err(KeyOutOfRange { position, key, keys }),
        }
    }
    for v in 0..keys {
        offsets[v + 1] += offsets[v];
    }
    // Fill, moving each start to its end; then shift the ends back to starts.
    for (position, &key) in key_of.iter().enumerate() {
        let next = &mut offsets[key as usize];
        order[*next as usize] = position as u32;
        *next += 1;
    }
    offsets.copy_within(0..keys, 1);
    offsets[0] = 0;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_keys_keep_their_order_and_empty_segments_are_empty() {
        let sorted = sort_by_key(&[3, 1, 3, 1, 1, 5], 7).unwrap();
        assert_eq!(sorted.order, [1, 3, 4, 0, 2, 5]);
        assert_eq!(sorted.offsets, [0, 0, 3, 3, 5, 5, 6, 6]);
    }

    #[test]
    fn agrees_with_the_library_sort() {
        for keys in [1usize, 2, 7, 300] {
            let key_of: Vec<i64> =
                (0..1000u64).map(|i| (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33) as i64 % keys as i64).collect();
            let sorted = sort_by_key(&key_of, keys).unwrap();
            let mut expected: Vec<u32> = (0..1000).collect();
            expected.sort_by_key(|&i| key_of[i as usize]);
            assert_eq!(sorted.order, expected);
            for v in 0..keys {
                let run = &sorted.order[sorted.offsets[v] as usize..sorted.offsets[v + 1] as usize];
                assert!(run.iter().all(|&i| key_of[i as usize] == v as i64));
            }
            assert_eq!(sorted.offsets[keys], 1000);
        }
    }

    #[test]
    fn buffers_are_used_again() {
        let mut sorted = sort_by_key(&[0, 1, 2, 3, 4], 5).unwrap();
        sort_by_key_into(&[1, 0], 2, &mut sorted).unwrap();
        assert_eq!(sorted, SortedKeys { order: vec![1, 0], offsets: vec![0, 1, 2] });
    }

    #[test]
    fn nothing_to_sort() {
        assert_eq!(sort_by_key(&[], 2).unwrap(), SortedKeys { order: vec![], offsets: vec![0, 0, 0] });
        assert_eq!(sort_by_key(&[], 0).unwrap(), SortedKeys { order: vec![], offsets: vec![0] });
    }

    #[test]
    fn a_key_outside_is_named() {
        assert_eq!(sort_by_key(&[0, 4], 4), Err(KeyOutOfRange { position: 1, key: 4, keys: 4 }));
        let e = sort_by_key(&[0, 1, -1], 4).unwrap_err();
        assert_eq!(e.to_string(), "key -1 at position 2 is outside 0..4");
        assert!(sort_by_key(&[0], 0).is_err());
    }
}
