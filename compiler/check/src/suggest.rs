//! The nearest name, for "did you mean".

/// The candidate nearest to `name`, if it is near enough to be what was meant: at most a third of its letters differ.
pub fn nearest<'c>(name: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let length = name.chars().count();
    let limit = if length < 2 { 0 } else { (length / 3).max(1) };
    let scored = candidates.into_iter().filter(|candidate| *candidate != name);
    let scored = scored.map(|candidate| (distance(&name.to_lowercase(), &candidate.to_lowercase()), candidate));
    scored.filter(|(distance, _)| *distance <= limit).min().map(|(_, candidate)| candidate)
}

/// Edits between two words: insertions, deletions, replacements, and swaps of neighbours (Damerau 1964), each 1.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<_>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replace = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replace.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_swap_is_one_edit_and_far_words_are_not_suggested() {
        assert_eq!(nearest("Desne", ["Dense", "Conv1d"]), Some("Dense"));
        assert_eq!(nearest("kernal", ["kernel", "stride"]), Some("kernel"));
        assert_eq!(nearest("conv1d", ["Conv1d"]), Some("Conv1d"));
        assert_eq!(nearest("x", ["y", "X"]), Some("X"));
        assert_eq!(nearest("softmax", ["sigmoid"]), None);
    }
}
