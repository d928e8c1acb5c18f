//! What the sizes of every example must satisfy, held against the sizes that there are.
//!
//! The checker proves a `where` law, or that two inputs agree in a size, for all examples if it can. What depends on sizes that only the
//! data know (`dna.len >= 9` under a kernel of 9, `dna.len >= 1` under a mean) it hands on as a [`SizeLaw`]; no row may break one,
//! because the compiled program relies on it.

use super::facts::{Length, Lengths};
use crate::error::Failure;
use crate::pipeline::DataBlock;
use bdl_check::hir::{Hir, SizeLaw};
use bdl_dims::Dim;
use bdl_grammar::Diagnostic;

/// The first example that breaks a law.
#[derive(Clone, Debug, PartialEq)]
pub struct Broken<'l> {
    pub law: &'l SizeLaw,
    /// From 0.
    pub example: usize,
    /// How many examples break this law.
    pub examples: usize,
    /// `dna.len 3`.
    pub sizes: String,
}

impl Broken<'_> {
    /// ``row 8 has dna.len 3, but `dna.len >= 5` is needed``.
    pub fn what(&self, example: &str, number: usize) -> String {
        let more = match self.examples - 1 {
            0 => String::new(),
            1 => format!("; one more {example} is like it"),
            more => format!("; {more} more {example}s are like it"),
        };
        format!("{example} {number} has {}, but `{}` is needed{more}", self.sizes, needed(&self.law.least))
    }
}

/// `dna.len >= 5`, from what must not be negative.
fn needed(least: &Dim) -> String {
    let constant = least.eval(&|_| Some(0)).unwrap_or(0);
    let rest = least.clone() - Dim::from(constant);
    format!("{rest} >= {}", -constant)
}

/// Each law that an example breaks. Laws about sizes of other data are left alone.
pub fn broken<'l>(laws: &'l [SizeLaw], lengths: &Lengths) -> Vec<Broken<'l>> {
    let mut found = Vec::new();
    for law in laws {
        let names = law.least.names();
        let of = |name: &str| lengths.iter().find(|length| &*length.name == name);
        let known: Vec<&Length> = names.iter().filter_map(|name| of(name)).collect();
        let Some(examples) = known.first().map(|length| length.of_row.len()).filter(|_| known.len() == names.len())
        else {
            continue;
        };
        let is_broken = |example: &usize| {
            let size =
                |name: &str| of(name).and_then(|length| length.of_row.get(*example)).map(|size| i64::from(*size));
            law.least.eval(&size).is_none_or(|least| least < 0)
        };
        let Some(example) = (0..examples).find(is_broken) else { continue };
        let size = |length: &&Length| format!("{} {}", length.name, length.of_row[example]);
        found.push(Broken {
            law,
            example,
            examples: (example..examples).filter(is_broken).count(),
            sizes: known.iter().map(size).collect::<Vec<_>>().join(" and "),
        });
    }
    found
}

/// One message for each law that rows of the data break.
pub fn rows_that_break_laws(hir: &Hir, data: &[DataBlock]) -> Vec<Diagnostic> {
    let mut found: Vec<Diagnostic> = Vec::new();
    for block in data {
        let Some(dataset) = &block.dataset else { continue };
        let rows = dataset.source_rows();
        for broken in broken(&hir.laws, &block.lengths) {
            // An equation is two laws; one message says it.
            if found.iter().any(|known| known.span() == Some(broken.law.span)) {
                continue;
            }
            let row = rows.get(broken.example).map_or(broken.example, |row| *row as usize) + 1;
            found.push(
                Diagnostic::error("law-violated", broken.law.message.clone())
                    .primary(broken.law.span, broken.what("row", row))
                    .help(format!("leave such rows of `{}` out, or change what is applied to them", block.spec.name)),
            );
        }
    }
    found
}

/// An error if one of the rows that predictions are wanted for breaks a law.
pub fn require(laws: &[SizeLaw], lengths: &Lengths, source_rows: &[u32]) -> Result<(), Failure> {
    match broken(laws, lengths).first() {
        None => Ok(()),
        Some(broken) => {
            let row = source_rows.get(broken.example).map_or(broken.example, |row| *row as usize) + 1;
            let what = broken.what("row", row);
            Err(Failure::user("law-violated", format!("{}: {what}", broken.law.message)))
        }
    }
}
