//! Metrics of probabilities themselves: proper scores that only honest probabilities minimise.

/// A probability that is 0 (or 1) is taken as this far from it, so that one certain error does not make the mean infinite.
/// scikit-learn's choice for 64-bit numbers.
const LEAST: f64 = f64::EPSILON;

/// Mean over examples of -ln p(what is true), in nats. `p`: the probability of yes.
pub fn log_loss(p: &[f64], yes: &[bool]) -> f64 {
    let each = p.iter().zip(yes).map(|(p, yes)| {
        let p = p.clamp(LEAST, 1.0 - LEAST);
        -if *yes { p.ln() } else { (-p).ln_1p() }
    });
    each.sum::<f64>() / yes.len() as f64
}

/// [`log_loss`] for one of k classes; `p` has shape [examples, k].
pub fn log_loss_classes(p: &[f64], ids: &[u32], k: usize) -> f64 {
    let each = p.chunks(k).zip(ids).map(|(p, id)| -p[*id as usize].clamp(LEAST, 1.0 - LEAST).ln());
    each.sum::<f64>() / ids.len() as f64
}

/// Mean over examples of (p - truth)². Source: Brier 1950, in the form for two classes (half of his).
pub fn brier(p: &[f64], yes: &[bool]) -> f64 {
    let each = p.iter().zip(yes).map(|(p, yes)| (p - f64::from(u8::from(*yes))).powi(2));
    each.sum::<f64>() / yes.len() as f64
}

/// Mean over examples of the sum over classes of (p - truth)². Source: Brier 1950, eq. 2.
pub fn brier_classes(p: &[f64], ids: &[u32], k: usize) -> f64 {
    let each = p.chunks(k).zip(ids).map(|(p, id)| {
        let one = |class: usize| f64::from(u8::from(class == *id as usize));
        p.iter().enumerate().map(|(class, p)| (p - one(class)).powi(2)).sum::<f64>()
    });
    each.sum::<f64>() / ids.len() as f64
}
