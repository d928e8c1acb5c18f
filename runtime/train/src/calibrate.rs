//! Numbers that are fitted to held-out predictions once training has ended: a threshold, a temperature, a conformal quantile.
//!
//! Slices in, a number out; pure. What they mean in a program: `fit cut = threshold(p, y, recall: 0.9) on valid`.

use crate::error::{RunError, RunResult};

/// What a threshold has to reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    /// The highest threshold that finds this share of yes.
    Recall(f64),
    /// The lowest threshold at which this share of what is called yes is.
    Precision(f64),
    /// The lowest threshold at which this share of no is called no.
    Specificity(f64),
}

/// The threshold t, one of the scores, for which `p >= t` reaches the goal. Errors: code `metric` where none does.
pub fn threshold(p: &[f64], yes: &[bool], goal: Goal) -> RunResult<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|a, b| p[*b].total_cmp(&p[*a]));
    let all_yes = yes.iter().filter(|yes| **yes).count() as f64;
    let all_no = yes.len() as f64 - all_yes;
    let (mut hits, mut taken) = (0.0, 0.0);
    let mut best = None;
    for tied in order.chunk_by(|a, b| p[*a] == p[*b]) {
        taken += tied.len() as f64;
        hits += tied.iter().filter(|at| yes[**at]).count() as f64;
        let at = p[tied[0]];
        match goal {
            Goal::Recall(share) if hits >= share * all_yes && all_yes > 0.0 => return Ok(at),
            Goal::Precision(share) if hits >= share * taken => best = Some(at),
            Goal::Specificity(share) if all_no - (taken - hits) >= share * all_no && all_no > 0.0 => best = Some(at),
            Goal::Recall(_) | Goal::Precision(_) | Goal::Specificity(_) => {}
        }
    }
    best.ok_or_else(|| {
        let (what, share) = match goal {
            Goal::Recall(share) => ("recall", share),
            Goal::Precision(share) => ("precision", share),
            Goal::Specificity(share) => ("specificity", share),
        };
        RunError::new("metric", format!("no threshold reaches a {what} of {share} on these rows"))
            .help("ask for less, or fit on a part with more rows of both kinds")
    })
}

/// What is true where scores are logits.
#[derive(Clone, Copy, Debug)]
pub enum Answers<'a> {
    /// One of `width` classes an example.
    Classes {
        ids: &'a [u32],
        width: usize,
    },
    Yes(&'a [bool]),
}

/// Temperatures between this and its inverse are looked at. Where the likelihood has no minimum between, the result is one of the two.
pub const LARGEST_TEMPERATURE: f64 = 50.0;

/// The temperature T for which the logits s / T have the least mean negative log-likelihood, between 1/50 and 50.
/// Source: Guo et al. 2017, arXiv:1706.04599, section 4.2. By golden sections on log T; the likelihood has one minimum in 1 / T.
pub fn temperature(scores: &[f64], answers: Answers) -> f64 {
    let loss = |log: f64| -> f64 {
        let by = (-log).exp();
        match answers {
            Answers::Classes { ids, width } => {
                let each = scores.chunks(width).zip(ids).map(|(scores, id)| {
                    let most = scores.iter().fold(f64::NEG_INFINITY, |a, b| a.max(*b));
                    let sum: f64 = scores.iter().map(|s| ((s - most) * by).exp()).sum();
                    sum.ln() - (scores[*id as usize] - most) * by
                });
                each.sum()
            }
            Answers::Yes(yes) => {
                let each = scores.iter().zip(yes).map(|(score, yes)| {
                    let s = if *yes { -score * by } else { score * by };
                    s.max(0.0) + (-s.abs()).exp().ln_1p()
                });
                each.sum()
            }
        }
    };
    let ratio = (5f64.sqrt() - 1.0) / 2.0;
    let (mut low, mut high) = (-LARGEST_TEMPERATURE.ln(), LARGEST_TEMPERATURE.ln());
    for _ in 0..80 {
        let (a, b) = (high - ratio * (high - low), low + ratio * (high - low));
        if loss(a) <= loss(b) { high = b } else { low = a }
    }
    ((low + high) / 2.0).exp()
}

/// The smallest q such that a new example's misfit is at most q with probability `cover` at least: the ceil((n + 1) cover)-th smallest of
/// the misfits, infinite where there are too few. Source: Vovk, Gammerman and Shafer 2005; Angelopoulos and Bates 2021, arXiv:2107.07511, eq. 1.
pub fn conformal(misfits: &[f64], cover: f64) -> f64 {
    let mut sorted = misfits.to_vec();
    sorted.sort_by(f64::total_cmp);
    // A product such as 20 * 0.95 must not round up past itself.
    let place = ((sorted.len() as f64 + 1.0) * cover - 1e-9).ceil().max(1.0) as usize;
    sorted.get(place - 1).copied().unwrap_or(f64::INFINITY)
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: [f64; 6] = [0.9, 0.8, 0.8, 0.4, 0.3, 0.1];
    const YES: [bool; 6] = [true, true, false, true, false, false];

    #[test]
    fn thresholds_reach_their_goal_and_no_more() {
        assert_eq!(threshold(&P, &YES, Goal::Recall(0.6)), Ok(0.8));
        assert_eq!(threshold(&P, &YES, Goal::Recall(1.0)), Ok(0.4));
        assert_eq!(threshold(&P, &YES, Goal::Precision(0.75)), Ok(0.4));
        assert_eq!(threshold(&P, &YES, Goal::Precision(1.0)), Ok(0.9));
        assert_eq!(threshold(&P, &YES, Goal::Specificity(0.6)), Ok(0.4));
        assert!(threshold(&P, &[false; 6], Goal::Recall(0.9)).is_err());
    }

    #[test]
    fn the_temperature_undoes_a_scaling() {
        // Two of three are right at odds of 2 to 1: the best logit is ln 2.
        let scores = [3.0; 3];
        let found = temperature(&scores, Answers::Yes(&[true, true, false]));
        assert!((3.0 / found - 2f64.ln()).abs() < 1e-6, "{found}");
        let two = [0.0, 3.0, 0.0, 3.0, 0.0, 3.0];
        let found = temperature(&two, Answers::Classes { ids: &[1, 1, 0], width: 2 });
        assert!((3.0 / found - 2f64.ln()).abs() < 1e-6, "{found}");
    }

    #[test]
    fn the_conformal_quantile_counts_the_new_example() {
        let misfits: Vec<f64> = (1..=19).map(f64::from).collect();
        assert_eq!(conformal(&misfits, 0.9), 18.0);
        assert_eq!(conformal(&misfits, 0.95), 19.0);
        assert_eq!(conformal(&misfits, 0.99), f64::INFINITY);
    }
}
