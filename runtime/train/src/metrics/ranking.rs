//! Metrics of an order: how well higher scores go with yes. Only the order of the scores matters, and ties count half.

/// Area under the receiver operating characteristic: the probability that a random yes scores higher than a random no,
/// ties counting half (Mann and Whitney 1947; Hanley and McNeil 1982). NaN if all are yes or all are no.
/// Computed from mid-ranks: (sum of the ranks of yes - p (p + 1) / 2) / (p n).
pub fn auroc(scores: &[f64], yes: &[bool]) -> f64 {
    let positives = yes.iter().filter(|yes| **yes).count() as f64;
    let negatives = yes.len() as f64 - positives;
    let sum: f64 = ranks(scores).iter().zip(yes).filter(|(_, yes)| **yes).map(|(rank, _)| rank).sum();
    (sum - positives * (positives + 1.0) / 2.0) / (positives * negatives)
}

/// Average precision: the sum over thresholds of (recall - recall before) precision, a threshold a distinct score,
/// without interpolation. NaN without a yes; 1 without a no.
pub fn auprc(scores: &[f64], yes: &[bool]) -> f64 {
    let positives = yes.iter().filter(|yes| **yes).count() as f64;
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    let (mut taken, mut hits, mut area) = (0.0, 0.0, 0.0);
    for tied in order.chunk_by(|a, b| scores[*a] == scores[*b]) {
        let more = tied.iter().filter(|at| yes[**at]).count() as f64;
        taken += tied.len() as f64;
        hits += more;
        area += more * (hits / taken);
    }
    area / positives
}

/// Ranks from 1, ties sharing the mean of their ranks.
pub fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    let mut before = 0;
    for tied in order.chunk_by(|a, b| values[*a] == values[*b]) {
        let rank = before as f64 + (tied.len() + 1) as f64 / 2.0;
        tied.iter().for_each(|at| ranks[*at] = rank);
        before += tied.len();
    }
    ranks
}
