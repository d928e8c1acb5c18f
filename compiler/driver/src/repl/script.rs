//! A text as the inputs of a session: what a person would send off with one press of Enter each.

/// One input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// From 1.
    pub line: usize,
    pub text: String,
}

/// Cuts a text where an input is finished: no bracket is open, its last line may end there, and the next one does not go on (`|> f`, `then ..`).
/// Lines that hold only comments belong to what follows; commands (`:type x`) stand on a line of their own.
pub fn units(text: &str) -> Vec<Unit> {
    let lines: Vec<&str> = text.lines().collect();
    let mut units = Vec::new();
    let mut begun: Option<(usize, String)> = None;
    for (at, line) in lines.iter().enumerate() {
        let is_blank = line.trim().is_empty();
        if begun.is_none() && is_blank {
            continue;
        }
        let (first, mut text) = begun.take().unwrap_or((at + 1, String::new()));
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(line);
        let is_command = text.trim_start().starts_with(':');
        let next = lines[at + 1..].iter().find(|line| !line.trim().is_empty());
        let goes_on = !is_command
            && (bdl_grammar::is_unfinished(&text)
                || only_comments(&text) && next.is_some_and(|next| !next.starts_with(':'))
                || next.is_some_and(|next| !next.starts_with(':') && bdl_grammar::goes_on(next)));
        if goes_on && at + 1 < lines.len() {
            begun = Some((first, text));
        } else {
            units.push(Unit { line: first, text: text.trim_end().to_string() });
        }
    }
    units
}

fn only_comments(text: &str) -> bool {
    text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with("//"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_ends_where_nothing_goes_on() {
        let text = "// a type\n:type 1\nlet x = [1,\n  2]\n\n// twice\nx\n  |> relu\n:type x\nfn f(x: f32) -> f32 {\n\n  x\n}\nf(3)\n";
        let found: Vec<(usize, String)> = units(text).into_iter().map(|unit| (unit.line, unit.text)).collect();
        let wanted = [
            (1, "// a type"),
            (2, ":type 1"),
            (3, "let x = [1,\n  2]"),
            (6, "// twice\nx\n  |> relu"),
            (9, ":type x"),
            (10, "fn f(x: f32) -> f32 {\n\n  x\n}"),
            (14, "f(3)"),
        ];
        assert_eq!(found, wanted.map(|(line, text)| (line, text.to_string())));
    }
}
