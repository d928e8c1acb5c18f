//! A step as a time line: time to the right, one block a launch, the launches of a loop under the loop.
//!
//! Blocks of one equation that follow each other have the row of their line above them, so that the picture reads as the program does.
//! Each block says more where the pointer rests on it.

use super::profile::{Kind, Limits, Row};
use crate::error::Failure;
use std::fmt::Write;
use std::path::Path;

const WIDTH: f64 = 1400.0;
const MARGIN: f64 = 20.0;
const TOP: f64 = 70.0;
const HEIGHT: f64 = 26.0;
/// Width of a letter of the labels, about.
const LETTER: f64 = 6.2;

pub fn write(path: &Path, title: &str, rows: &[Row], limits: &Limits) -> Result<(), Failure> {
    std::fs::write(path, draw(title, rows, limits))
        .map_err(|error| Failure::user("write-failed", format!("cannot write {}: {error}", path.display())))
}

struct Block<'r> {
    row: &'r Row,
    from: f64,
    to: f64,
}

/// Launches of a loop share the time of the loop in proportion to their own, for they ran again and again.
fn blocks(rows: &[Row]) -> Vec<Block<'_>> {
    fn place<'r>(rows: &'r [Row], depth: usize, from: f64, to: f64, blocks: &mut Vec<Block<'r>>) {
        let total: f64 = rows.iter().filter(|row| row.depth == depth).map(|row| row.seconds).sum();
        let (mut at, mut i) = (from, 0);
        while i < rows.len() {
            let end = at + rows[i].seconds / total * (to - from);
            blocks.push(Block { row: &rows[i], from: at, to: end });
            let inside = rows[i + 1..].iter().take_while(|row| row.depth > depth).count();
            place(&rows[i + 1..i + 1 + inside], depth + 1, at, end, blocks);
            (at, i) = (end, i + 1 + inside);
        }
    }
    let mut all = Vec::new();
    place(rows, 0, MARGIN, WIDTH - MARGIN, &mut all);
    all
}

fn colour(kind: Kind) -> &'static str {
    match kind {
        Kind::Contraction => "#3b6ea5",
        Kind::Kernel => "#d9882f",
        Kind::Loop => "#8a8f98",
        Kind::Other => "#6a9a5b",
    }
}

fn draw(title: &str, rows: &[Row], limits: &Limits) -> String {
    let depth = rows.iter().map(|row| row.depth).max().unwrap_or(0);
    let total: f64 = rows.iter().filter(|row| row.depth == 0).map(|row| row.seconds).sum();
    let height = TOP + (depth + 2) as f64 * HEIGHT + 50.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{MARGIN}\" y=\"24\" font-size=\"16\">{} · {:.2} ms a step</text>\n",
        escaped(title),
        total * 1e3
    );
    let mut x = MARGIN;
    for (kind, name) in [
        (Kind::Contraction, "contractions"),
        (Kind::Kernel, "element-wise work and reductions"),
        (Kind::Loop, "loops"),
        (Kind::Other, "draws, copies, sorts"),
    ] {
        let time: f64 = rows.iter().filter(|row| row.kind == kind && is_counted(row)).map(|row| row.seconds).sum();
        let label = if kind == Kind::Loop { name.to_string() } else { format!("{name} {:.1} %", 100.0 * time / total) };
        let _ = writeln!(
            svg,
            "<rect x=\"{x:.1}\" y=\"38\" width=\"12\" height=\"12\" fill=\"{}\"/><text x=\"{:.1}\" y=\"48\">{label}</text>",
            colour(kind),
            x + 17.0
        );
        x += 40.0 + LETTER * label.chars().count() as f64;
    }
    let blocks = blocks(rows);
    for stretch in lines(&blocks) {
        let Some((first, last)) = stretch.first().zip(stretch.last()) else { continue };
        let said =
            format!("{}: {:.3} ms", first.row.line, stretch.iter().map(|block| block.row.seconds).sum::<f64>() * 1e3);
        rectangle(&mut svg, first.from, last.to, TOP, "#e7e9ec", "black", &first.row.line, &said);
    }
    for block in &blocks {
        let Row { kind, origin, what, line, .. } = block.row;
        let y = TOP + (block.row.depth + 1) as f64 * HEIGHT;
        let mut said = format!("{origin} ({what}), {line}: {:.3} ms", block.row.seconds * 1e3);
        if block.row.flop > 0.0 {
            let of = limits.gflops.map_or(String::new(), |gflops| format!(" of {gflops:.0}"));
            let _ = write!(said, ", {:.1}{of} GFLOP/s", block.row.gflops());
        }
        if *kind != Kind::Loop {
            let _ = write!(
                said,
                ", {:.2} MB at {:.1} of {:.1} GB/s",
                block.row.bytes / 1e6,
                block.row.gigabytes(),
                limits.gigabytes
            );
        }
        rectangle(&mut svg, block.from, block.to, y, colour(*kind), "white", origin, &said);
    }
    let y = TOP + (depth + 2) as f64 * HEIGHT + 18.0;
    for i in 0..=10 {
        let x = MARGIN + (WIDTH - 2.0 * MARGIN) * f64::from(i) / 10.0;
        let _ = writeln!(
            svg,
            "<path d=\"M{x:.1} {:.1}v5\" stroke=\"black\"/><text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{:.2}</text>",
            y - 14.0,
            y + 4.0,
            total * 1e3 * f64::from(i) / 10.0
        );
    }
    svg.push_str("</svg>\n");
    svg
}

/// What a loop takes is what its launches take.
fn is_counted(row: &Row) -> bool {
    row.kind != Kind::Loop
}

/// Neighbours outside of loops that came from one line.
fn lines<'b, 'r>(blocks: &'b [Block<'r>]) -> Vec<Vec<&'b Block<'r>>> {
    let mut all: Vec<Vec<&Block>> = Vec::new();
    for block in blocks.iter().filter(|block| block.row.depth == 0) {
        match all.last_mut() {
            Some(stretch) if stretch.last().is_some_and(|last| last.row.line == block.row.line) => stretch.push(block),
            Some(_) | None => all.push(vec![block]),
        }
    }
    all
}

#[allow(clippy::too_many_arguments, reason = "the parts of a rectangle")]
fn rectangle(svg: &mut String, from: f64, to: f64, y: f64, fill: &str, ink: &str, label: &str, said: &str) {
    let room = ((to - from - 6.0) / LETTER).max(0.0) as usize;
    let shown: String = if label.chars().count() <= room { label.into() } else { label.chars().take(room).collect() };
    let label = if room < 3 { String::new() } else { shown };
    let _ = writeln!(
        svg,
        "<g><title>{}</title><rect x=\"{from:.2}\" y=\"{y}\" width=\"{:.2}\" height=\"{}\" fill=\"{fill}\" stroke=\"white\" \
         stroke-width=\"0.4\"/><text x=\"{:.2}\" y=\"{:.1}\" fill=\"{ink}\">{}</text></g>",
        escaped(said),
        (to - from).max(0.05),
        HEIGHT - 2.0,
        from + 3.0,
        y + 16.0,
        escaped(&label)
    );
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(kind: Kind, depth: usize, line: &str, seconds: f64) -> Row {
        Row {
            kind,
            depth,
            what: "w".into(),
            origin: "a<b".into(),
            line: line.into(),
            seconds,
            flop: 1e9,
            bytes: 1e6,
            product: None,
        }
    }

    #[test]
    fn blocks_follow_each_other_and_what_a_loop_holds_lies_under_it() {
        let rows = [
            row(Kind::Kernel, 0, "m.bdl:1", 1.0),
            row(Kind::Loop, 0, "m.bdl:2", 3.0),
            row(Kind::Contraction, 1, "m.bdl:2", 1.0),
            row(Kind::Kernel, 1, "m.bdl:2", 1.0),
        ];
        let found = blocks(&rows);
        let unit = (WIDTH - 2.0 * MARGIN) / 4.0;
        let ends: Vec<f64> = found.iter().map(|block| ((block.to - MARGIN) / unit * 10.0).round() / 10.0).collect();
        assert_eq!(ends, [1.0, 4.0, 2.5, 4.0]);
        let svg = draw("t", &rows, &Limits { gflops: Some(10.0), gigabytes: 10.0 });
        assert!(svg.contains("a&lt;b (w), m.bdl:2: 1000.000 ms, 1.0 of 10 GFLOP/s"), "{svg}");
    }
}
