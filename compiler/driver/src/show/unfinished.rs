//! Iterations that stopped at their bound: a warning at the loop, with the number of examples.

use bdl_grammar::{Diagnostic, FileId, Span};
use bdl_plan::Origin;

/// One message for each loop of the program, in the order of the text.
pub fn warnings(mut found: Vec<(Origin, usize)>) -> Vec<Diagnostic> {
    found.sort_by_key(|(origin, _)| (origin.file, origin.start, origin.end));
    let mut loops: Vec<(Span, usize)> = Vec::new();
    for (origin, count) in found {
        let span = Span { file: FileId(origin.file), start: origin.start, end: origin.end };
        match loops.last_mut() {
            Some((last, sum)) if *last == span => *sum += count,
            Some(_) | None => loops.push((span, count)),
        }
    }
    let warning = |(span, count): (Span, usize)| {
        let times =
            if count == 1 { "once".to_string() } else { format!("{} times", super::number::grouped(count as u64)) };
        Diagnostic::warning("iterate-bound", format!("an `iterate` stopped at its bound {times}, its condition unmet"))
            .primary(span, "counted once for each example and each time the loop was run")
            .help("raise `at most`, or loosen the condition; the values of the last step were taken")
    };
    loops.into_iter().map(warning).collect()
}
