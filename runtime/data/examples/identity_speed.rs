//! How long 10⁴ protein-like sequences of 150 to 450 letters take to be clustered: `split identity(seq, below: ..)`.
//!
//! `cargo run --release -p bdl-data --example identity_speed [NUMBER]`

use bdl_data::identity::clusters;
use bdl_kernels::philox::{DrawKey, below, fill_below};
use std::time::Instant;

/// Relatives of each sequence, with 0, 25, 50 and 75 of 100 letters drawn anew.
const FAMILY: u64 = 4;

fn main() {
    let number: u64 = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(10_000);
    let key = |site: u32| DrawKey { seed: 2, step: 0, site };
    let mut sequences: Vec<Vec<u8>> = vec![];
    for family in 0..number / FAMILY {
        let mut base = vec![0; 150 + below(key(0), family, 0, 300) as usize];
        fill_below(key(1), family, 0, 20, &mut base);
        for relative in 0..FAMILY {
            let (mut new, mut chance) = (vec![0; base.len()], vec![0; base.len()]);
            fill_below(key(2), family * FAMILY + relative, 0, 20, &mut new);
            fill_below(key(3), family * FAMILY + relative, 0, FAMILY, &mut chance);
            let own = base
                .iter()
                .zip(new)
                .zip(chance)
                .map(|((old, new), chance)| if (chance as u64) < relative { new } else { *old });
            sequences.push(own.map(|letter| letter as u8).collect());
        }
    }
    let borrowed: Vec<&[u8]> = sequences.iter().map(Vec::as_slice).collect();
    for identity in [0.9, 0.7, 0.5, 0.3] {
        let begun = Instant::now();
        let found = clusters(&borrowed, identity);
        let count = found.iter().max().map_or(0, |last| last + 1);
        println!(
            "below {identity}: {count} clusters of {} sequences in {:.1} s",
            sequences.len(),
            begun.elapsed().as_secs_f64()
        );
    }
}
