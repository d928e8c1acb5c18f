//! Where the time of a step goes: launch by launch, with the line of the program that each came from, and how near it is to what the
//! machine can do.
//!
//! A launch takes at least as long as its arithmetic at the contraction kernel's measured rate, and as long as its bytes at the memory's
//! measured bandwidth. The longer of the two over its time is how much of the limit it reaches. What stays in the caches may well exceed
//! the memory's bandwidth.
//!
//! Of a GPU the rate of contractions is not known: those have no limit here. Its memory's bandwidth is that of a copy.

use crate::show::number;
use bdl_grammar::{FileId, SourceMap};
use bdl_plan::{AxisRole, Launch, Name, Op, Origin, Plan};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// What this machine reaches.
pub struct Limits {
    /// In contractions, where that was measured.
    pub gflops: Option<f64>,
    pub gigabytes: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Contraction,
    /// Generated code.
    Kernel,
    Loop,
    /// Draws, copies, sorts and the like.
    Other,
}

/// What a contraction computes: elements of its batch, rows, columns and the sum's terms, and what is done with the results in the time of its row.
pub struct Product {
    shape: [f64; 4],
    behind: Behind,
}

/// What is done with the results of a contraction, as a GPU does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Behind {
    Nothing,
    /// In the contraction.
    Epilogue,
    /// By a launch of its own.
    Kernel,
}

/// One launch of the plan.
pub struct Row {
    pub kind: Kind,
    /// 0 outside of loops.
    pub depth: usize,
    pub what: String,
    /// The equation's tensor and what it is for.
    pub origin: String,
    /// `file.bdl:12`
    pub line: String,
    /// Each in one step.
    pub seconds: f64,
    pub flop: f64,
    pub bytes: f64,
    pub product: Option<Product>,
}

impl Row {
    /// The part of the machine's limit that this launch reaches, where both limits that it has are known.
    fn of_limit(&self, limits: &Limits) -> Option<f64> {
        let arithmetic = match limits.gflops {
            Some(gflops) => self.flop / (gflops * 1e9),
            None if self.flop > 0.0 => return None,
            None => 0.0,
        };
        let memory = self.bytes / (limits.gigabytes * 1e9);
        Some(arithmetic.max(memory) / self.seconds)
    }

    pub fn gflops(&self) -> f64 {
        self.flop / self.seconds / 1e9
    }

    pub fn gigabytes(&self) -> f64 {
        self.bytes / self.seconds / 1e9
    }

    pub fn json(&self) -> Value {
        let mut row = json!({
            "what": self.what, "origin": self.origin, "line": self.line, "depth": self.depth,
            "ms": self.seconds * 1e3, "flop": self.flop, "bytes": self.bytes,
        });
        if let Some(Product { shape: [batch, rows, columns, terms], behind }) = self.product {
            row["shape"] = json!({ "batch": batch, "rows": rows, "columns": columns, "terms": terms });
            row["behind"] = json!(match behind {
                Behind::Nothing => "nothing",
                Behind::Epilogue => "epilogue",
                Behind::Kernel => "kernel",
            });
        }
        row
    }
}

/// A launch among those of a profile: loops are followed by what they hold.
struct Place<'p> {
    launch: &'p Launch,
    depth: usize,
    /// How often it runs in one step, where that is known from the sizes.
    rounds: f64,
}

fn in_order<'p>(
    launches: &'p [Launch],
    depth: usize,
    rounds: f64,
    sizes: &dyn Fn(&str) -> Option<i64>,
    all: &mut Vec<Place<'p>>,
) {
    for launch in launches {
        all.push(Place { launch, depth, rounds });
        let inside = |extent: &bdl_dims::Dim| rounds * extent.eval(sizes).unwrap_or(1).max(0) as f64;
        match &launch.op {
            Op::Scan(scan) => in_order(&scan.body, depth + 1, inside(&scan.extent), sizes, all),
            Op::Iterate(n) => {
                in_order(&n.condition, depth + 1, inside(&n.at_most), sizes, all);
                in_order(&n.body, depth + 1, inside(&n.at_most), sizes, all);
            }
            Op::Kernel(_)
            | Op::Contract(_)
            | Op::Draw(_)
            | Op::Copy { .. }
            | Op::Clear { .. }
            | Op::Order { .. }
            | Op::Sort(_)
            | Op::Library { .. } => {}
        }
    }
}

/// All launches in the order in which they run. `times` are sums over so many steps; `sizes` are those of an average step, in which the step of a
/// loop counts as its first, and running rows as all examples.
pub fn rows(
    plan: &Plan,
    times: &[Duration],
    flops: &[u64],
    steps: usize,
    sizes: &BTreeMap<Name, i64>,
    sources: &SourceMap,
) -> Vec<Row> {
    let sizes = |name: &str| sizes.get(name).copied();
    let mut places = Vec::new();
    in_order(&plan.launches, 0, 1.0, &sizes, &mut places);
    let mut contractions = flops.iter();
    let rows = places.iter().zip(times).map(|(Place { launch, depth, rounds }, time)| {
        let flop = match &launch.op {
            Op::Contract(_) => contractions.next().copied().unwrap_or(0) as f64,
            Op::Kernel(_)
            | Op::Draw(_)
            | Op::Copy { .. }
            | Op::Clear { .. }
            | Op::Order { .. }
            | Op::Scan(_)
            | Op::Iterate(_)
            | Op::Sort(_)
            | Op::Library { .. } => 0.0,
        };
        let (kind, what) = describe(plan, &launch.op);
        Row {
            kind,
            depth: *depth,
            what,
            origin: launch.origin.what.to_string(),
            line: line(&launch.origin, sources),
            seconds: (time.as_secs_f64() / steps.max(1) as f64).max(LEAST_SECONDS),
            flop,
            bytes: bdl_plan::traffic::bytes(plan, &launch.op, &sizes) as f64 * rounds,
            product: product(plan, &launch.op, &sizes),
        }
    });
    as_they_ran(rows.collect())
}

/// A launch that took no longer was not made.
const LEAST_SECONDS: f64 = 1e-9;

/// A loop that was one function has all that its body did, for nothing of it was launched.
fn as_they_ran(rows: Vec<Row>) -> Vec<Row> {
    let mut ran: Vec<Row> = Vec::new();
    let mut rows = rows.into_iter().peekable();
    while let Some(mut row) = rows.next() {
        let mut inside = Vec::new();
        while row.kind == Kind::Loop
            && let Some(inner) = rows.next_if(|inner| inner.depth > row.depth)
        {
            inside.push(inner);
        }
        if inside.iter().all(|inner| inner.seconds <= LEAST_SECONDS) {
            row.flop += inside.iter().map(|inner| inner.flop).sum::<f64>();
            row.bytes += inside.iter().map(|inner| inner.bytes).sum::<f64>();
            ran.push(row);
        } else {
            ran.push(row);
            ran.extend(as_they_ran(inside));
        }
    }
    ran
}

fn line(origin: &Origin, sources: &SourceMap) -> String {
    if origin.end == 0 {
        return String::new();
    }
    let file = FileId(origin.file);
    let name = sources.name(file).rsplit('/').next().unwrap_or_default();
    format!("{name}:{}", sources.line_column(file, origin.start).0)
}

fn product(plan: &Plan, op: &Op, sizes: &dyn Fn(&str) -> Option<i64>) -> Option<Product> {
    let Op::Contract(c) = op else { return None };
    let shape = [AxisRole::Batch, AxisRole::M, AxisRole::N, AxisRole::K].map(|role| {
        let axes = c.axes.iter().filter(|axis| axis.role == role);
        axes.map(|axis| axis.extent.eval(sizes).unwrap_or(1) as f64).product()
    });
    let behind = match &c.epilogue {
        None => Behind::Nothing,
        Some(_) if bdl_ptx::runs_epilogue(plan, c) => Behind::Epilogue,
        Some(_) => Behind::Kernel,
    };
    Some(Product { shape, behind })
}

fn describe(plan: &Plan, op: &Op) -> (Kind, String) {
    match op {
        Op::Contract(contraction) => {
            let sizes = contraction.axes.iter().map(|axis| {
                let role = match axis.role {
                    AxisRole::Batch => "b",
                    AxisRole::M => "m",
                    AxisRole::N => "n",
                    AxisRole::K => "k",
                };
                format!(" {role}{}", axis.extent)
            });
            (Kind::Contraction, format!("contract{}", sizes.collect::<String>()))
        }
        Op::Kernel(used) => {
            let kernel = plan.kernels.get(used.kernel.0 as usize);
            (Kind::Kernel, kernel.map_or_else(String::new, |kernel| format!("kernel {}", kernel.name)))
        }
        Op::Scan(scan) => (Kind::Loop, format!("scan {}", scan.extent)),
        Op::Iterate(_) => (Kind::Loop, "iterate".into()),
        Op::Draw(_) => (Kind::Other, "draw".into()),
        Op::Copy { .. } => (Kind::Other, "copy".into()),
        Op::Clear { .. } => (Kind::Other, "clear".into()),
        Op::Order { .. } => (Kind::Other, "order".into()),
        Op::Sort(_) => (Kind::Other, "sort".into()),
        Op::Library { .. } => (Kind::Other, "library".into()),
    }
}

/// Launches of a table at most.
const SHOWN: usize = 25;

/// Launches, slowest first.
pub fn table(rows: &[Row], limits: &Limits) -> String {
    let total: f64 = rows.iter().filter(|row| row.depth == 0).map(|row| row.seconds).sum();
    let mut slowest: Vec<&Row> = rows.iter().collect();
    slowest.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    let width = slowest.iter().take(SHOWN).map(|row| row.line.chars().count()).max().unwrap_or(0);
    let machine = match limits.gflops {
        Some(gflops) => format!("{gflops:.0} GFLOP/s in contractions, {:.1} GB/s of memory", limits.gigabytes),
        None => format!("{:.1} GB/s in a copy within the GPU's memory", limits.gigabytes),
    };
    let mut text =
        format!("  machine   {machine}\n  launches, slowest first\n         ms    %  GFLOP/s      MB   GB/s  limit\n");
    for row in slowest.into_iter().take(SHOWN) {
        let rate = if row.flop > 0.0 { format!("{:8.1}", row.gflops()) } else { " ".repeat(8) };
        let (moved, limit) = match row.kind {
            Kind::Loop => (" ".repeat(14), " ".repeat(5)),
            Kind::Contraction | Kind::Kernel | Kind::Other => (
                format!("{:7.2} {:6.1}", row.bytes / 1e6, row.gigabytes()),
                row.of_limit(limits).map_or(" ".repeat(5), |part| format!("{:3.0} %", 100.0 * part)),
            ),
        };
        text.push_str(&format!(
            "  {:9.4} {:4.1} {rate} {moved}  {limit}  {:width$}  {} ({})\n",
            row.seconds * 1e3,
            100.0 * row.seconds / total,
            row.line,
            row.origin,
            row.what
        ));
    }
    let rest = rows.len().saturating_sub(SHOWN);
    if rest > 0 {
        text.push_str(&format!("  and {} more\n", number::short(rest as f64)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_launch_is_held_against_the_nearer_limit() {
        let limits = Limits { gflops: Some(100.0), gigabytes: 10.0 };
        let row = |flop, bytes| Row {
            kind: Kind::Contraction,
            depth: 0,
            what: String::new(),
            origin: String::new(),
            line: String::new(),
            seconds: 0.5,
            flop,
            bytes,
            product: None,
        };
        assert_eq!(row(25e9, 1e9).of_limit(&limits), Some(0.5));
        assert_eq!(row(1e9, 4e9).of_limit(&limits), Some(0.8));
        let limits = Limits { gflops: None, gigabytes: 10.0 };
        assert_eq!(row(25e9, 1e9).of_limit(&limits), None);
        assert_eq!(row(0.0, 4e9).of_limit(&limits), Some(0.8));
    }
}
