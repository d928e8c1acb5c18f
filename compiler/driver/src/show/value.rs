//! Values as people read them: the type first, numbers aligned at their points, what is large abbreviated.
//!
//! ```text
//! f32[2, 3]
//!   1.5   2.25    3
//!   4    10.5    -6.125
//! ```

use bdl_check::hir::{Scalar, TensorType, Type};
use bdl_check::show_type;
use bdl_data::alphabet::Alphabet;

/// Columns of the screen.
const WIDTH: usize = 80;
/// Rows of a matrix that are shown, and of each matrix of a larger tensor.
const ROWS: usize = 12;
const INNER_ROWS: usize = 6;
/// Matrices of a larger tensor that are shown.
const SLICES: usize = 4;
/// Lines that a vector may take.
const LINES: usize = 6;

/// A computed value: its type, and its tensors by path. The path of a value that is no record is empty; `known` inside a path says which
/// elements are there.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown {
    pub ty: Type,
    pub parts: Vec<(String, Vec<f64>)>,
}

impl Shown {
    pub fn numbers(&self, path: &str) -> Option<&[f64]> {
        self.parts.iter().find(|(known, _)| known == path).map(|(_, values)| values.as_slice())
    }

    /// The type and the numbers, as lines.
    pub fn text(&self) -> String {
        let mut out = String::new();
        self.part("", &self.ty, &mut out);
        out
    }

    /// Every element in order, as text; `missing` where there is none.
    pub fn elements(&self) -> Vec<String> {
        fn add(value: &Shown, path: &str, ty: &Type, all: &mut Vec<String>) {
            match ty {
                Type::Tensor(tensor) => {
                    let known = value.numbers(&inside(path, "known"));
                    for (at, number) in value.numbers(path).unwrap_or_default().iter().enumerate() {
                        let is_missing = known.is_some_and(|known| known.get(at) == Some(&0.0));
                        all.push(if is_missing { "missing".into() } else { element(&tensor.scalar, *number) });
                    }
                }
                Type::Record(fields) => fields.iter().for_each(|(name, ty)| add(value, &inside(path, name), ty, all)),
                Type::Error => {}
            }
        }
        let mut all = Vec::new();
        add(self, "", &self.ty, &mut all);
        all
    }

    fn part(&self, path: &str, ty: &Type, out: &mut String) {
        match ty {
            Type::Tensor(tensor) => {
                let values = self.numbers(path).unwrap_or_default();
                let known = self.numbers(&inside(path, "known"));
                out.push_str(&tensor_text(tensor, values, known));
            }
            Type::Record(fields) => {
                let width = fields.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
                for (name, ty) in fields {
                    let mut inner = String::new();
                    self.part(&inside(path, name), ty, &mut inner);
                    for (at, line) in inner.lines().enumerate() {
                        let head = if at == 0 { format!("{name:width$}  ") } else { " ".repeat(2) };
                        out.push_str(format!("{head}{line}").trim_end());
                        out.push('\n');
                    }
                }
            }
            Type::Error => out.push_str("?\n"),
        }
    }
}

/// `a.b`, or `b` inside nothing.
pub fn inside(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_string() } else { format!("{path}.{name}") }
}

/// The sizes of a tensor whose sizes are all numbers.
pub fn sizes(tensor: &TensorType) -> Vec<usize> {
    tensor.shape.iter().map(|axis| axis.size.as_const().unwrap_or(0).max(0) as usize).collect()
}

fn tensor_text(tensor: &TensorType, values: &[f64], known: Option<&[f64]>) -> String {
    let shape = sizes(tensor);
    let name = show_type(&Type::Tensor(tensor.clone()));
    let cell = |at: usize| match known.and_then(|known| known.get(at)) {
        Some(0.0) => "missing".to_string(),
        Some(_) | None => values.get(at).map_or_else(String::new, |value| element(&tensor.scalar, *value)),
    };
    if let (Scalar::Letter(alphabet, _), [.., length], true) = (&tensor.scalar, shape.as_slice(), known.is_none())
        && let Some(alphabet) = Alphabet::by_name(alphabet)
    {
        return letters(&name, &alphabet, values, *length);
    }
    match shape.as_slice() {
        [] => format!("{}   {name}\n", cell(0)),
        _ if values.is_empty() => format!("{name}   empty\n"),
        [length] => vector(&name, *length, &cell),
        [rows, columns] => format!("{name}\n{}", matrix(*rows, *columns, 0, ROWS, &cell)),
        [outer @ .., rows, columns] => {
            let mut out = format!("{name}\n");
            let slices: usize = outer.iter().product();
            for slice in 0..slices.min(SLICES) {
                let mut rest = slice;
                let mut place: Vec<String> = Vec::new();
                for size in outer.iter().rev() {
                    place.insert(0, (rest % size).to_string());
                    rest /= size;
                }
                out.push_str(&format!(" [{}]\n", place.join(", ")));
                out.push_str(&matrix(*rows, *columns, slice * rows * columns, INNER_ROWS, &cell));
            }
            if slices > SLICES {
                out.push_str(&format!(" … {} more\n", slices - SLICES));
            }
            out
        }
    }
}

/// One value as text, not aligned.
pub fn element(scalar: &Scalar, value: f64) -> String {
    match scalar {
        Scalar::Bool => (if value != 0.0 { "true" } else { "false" }).to_string(),
        Scalar::Category(_, Some(names)) => {
            names.get(value.max(0.0) as usize).cloned().unwrap_or_else(|| number(value))
        }
        Scalar::Letter(alphabet, _) => {
            Alphabet::by_name(alphabet).map_or_else(|| number(value), |alphabet| alphabet.text_of(value.max(0.0) as u8))
        }
        Scalar::F32
        | Scalar::F64
        | Scalar::BF16
        | Scalar::I32
        | Scalar::Category(_, None)
        | Scalar::Index(_)
        | Scalar::Logit
        | Scalar::Prob
        | Scalar::Count => number(value),
    }
}

/// At most six significant digits, without zeros at the end: `0.125`, `6.28319`, `1.5e-7`.
pub fn number(value: f64) -> String {
    if value == 0.0 {
        return "0".into();
    }
    if !value.is_finite() {
        return if value.is_nan() {
            "nan".into()
        } else if value > 0.0 {
            "inf".into()
        } else {
            "-inf".into()
        };
    }
    let size = value.abs();
    if size.fract() == 0.0 && size < 1e9 {
        return format!("{value:.0}");
    }
    if (1e-4..1e6).contains(&size) {
        let digits = (5 - size.log10().floor() as i32).max(0) as usize;
        return trimmed(&format!("{value:.digits$}")).to_string();
    }
    let text = format!("{value:.5e}");
    match text.split_once('e') {
        Some((digits, power)) => format!("{}e{power}", trimmed(digits)),
        None => text,
    }
}

fn trimmed(digits: &str) -> &str {
    if digits.contains('.') { digits.trim_end_matches('0').trim_end_matches('.') } else { digits }
}

/// Cells of one width, their points below each other; words to the left.
fn aligned(cells: &mut [String]) {
    let numeric =
        |cell: &str| cell.starts_with(|c: char| c.is_ascii_digit() || c == '-') || cell == "nan" || cell == "inf";
    if !cells.iter().all(|cell| numeric(cell)) {
        let width = cells.iter().map(|cell| cell.chars().count()).max().unwrap_or(0);
        cells.iter_mut().for_each(|cell| *cell = format!("{cell:<width$}"));
        return;
    }
    let parts = |cell: &str| {
        let point = cell.find(['.', 'e']).unwrap_or(cell.len());
        (point, cell.len() - point)
    };
    let before = cells.iter().map(|cell| parts(cell).0).max().unwrap_or(0);
    let after = cells.iter().map(|cell| parts(cell).1).max().unwrap_or(0);
    for cell in cells {
        let (own_before, own_after) = parts(cell);
        *cell = format!("{}{cell}{}", " ".repeat(before - own_before), " ".repeat(after - own_after));
    }
}

/// On one line where that fits; else in lines that begin with the index of their first element.
fn vector(name: &str, length: usize, cell: &dyn Fn(usize) -> String) -> String {
    let plain: Vec<String> = (0..length.min(WIDTH)).map(cell).collect();
    let line = format!("{name}   {}", plain.join("  "));
    if length <= WIDTH && line.chars().count() <= WIDTH {
        return format!("{line}\n");
    }
    // What may be shown is aligned together, the last line's elements included.
    let head = WIDTH * LINES / 4;
    let mut places: Vec<usize> = (0..length.min(head)).collect();
    places.extend((length.saturating_sub(WIDTH).max(places.len()))..length);
    let mut cells: Vec<String> = places.iter().map(|at| cell(*at)).collect();
    aligned(&mut cells);
    let index = (length - 1).to_string().len();
    let each = cells.first().map_or(1, |cell| cell.chars().count()) + 2;
    let fit = ((WIDTH - index - 2) / each).max(1);
    // A round number of elements a line reads better.
    let per_line = [20, 16, 10, 8, 5, 4, 2, 1].into_iter().find(|n| *n <= fit).unwrap_or(1);
    let lines = length.div_ceil(per_line);
    let mut out = format!("{name}\n");
    for line in 0..lines {
        if lines > LINES && (LINES - 2..lines - 1).contains(&line) {
            if line == LINES - 2 {
                out.push_str(&format!("  {:>index$}\n", "…"));
            }
            continue;
        }
        let own = places.iter().zip(&cells).filter(|(at, _)| **at / per_line == line).map(|(_, cell)| cell.as_str());
        let text = format!("  {:>index$}  {}", line * per_line, own.collect::<Vec<_>>().join("  "));
        out.push_str(text.trim_end());
        out.push('\n');
    }
    out
}

fn matrix(rows: usize, columns: usize, first: usize, most: usize, cell: &dyn Fn(usize) -> String) -> String {
    let row_places: Vec<usize> =
        if rows <= most { (0..rows).collect() } else { (0..most - 3).chain(rows - 2..rows).collect() };
    let shown_columns = |count: usize| -> Vec<usize> {
        if count >= columns { (0..columns).collect() } else { (0..count - 1).chain([columns - 1]).collect() }
    };
    let mut count = columns.min(WIDTH / 3);
    loop {
        let places = shown_columns(count.max(2));
        let mut by_column: Vec<Vec<String>> = places
            .iter()
            .map(|column| row_places.iter().map(|row| cell(first + row * columns + column)).collect())
            .collect();
        by_column.iter_mut().for_each(|cells| aligned(cells));
        let widths = by_column.iter().map(|cells| cells.first().map_or(0, |cell| cell.chars().count()) + 2);
        let cut = places.len() < columns;
        let width: usize = widths.sum::<usize>() + if cut { 3 } else { 0 };
        if width > WIDTH && count > 2 {
            count -= 1;
            continue;
        }
        let mut out = String::new();
        for (line, row) in row_places.iter().enumerate() {
            if line > 0 && *row != row_places[line - 1] + 1 {
                out.push_str("  …\n");
            }
            let mut text = String::new();
            for (at, cells) in by_column.iter().enumerate() {
                if cut && at + 1 == by_column.len() {
                    text.push_str("  …");
                }
                text.push_str("  ");
                text.push_str(&cells[line]);
            }
            out.push_str(text.trim_end());
            out.push('\n');
        }
        return out;
    }
}

/// Sequences as text.
fn letters(name: &str, alphabet: &Alphabet, values: &[f64], length: usize) -> String {
    let text: Vec<String> = values.iter().map(|value| alphabet.text_of(value.max(0.0) as u8)).collect();
    if length == 0 {
        return format!("{name}   empty\n");
    }
    let rows: Vec<String> = text.chunks(length).map(<[String]>::concat).collect();
    if let [row] = rows.as_slice()
        && name.len() + 3 + row.len() <= WIDTH
    {
        return format!("{name}   {row}\n");
    }
    let mut out = format!("{name}\n");
    for row in rows.iter().take(ROWS) {
        let letters: Vec<char> = row.chars().collect();
        let lines = letters.len().div_ceil(60);
        for (at, line) in letters.chunks(60).enumerate() {
            if lines > LINES && (LINES - 2..lines - 1).contains(&at) {
                if at == LINES - 2 {
                    out.push_str("  …\n");
                }
                continue;
            }
            out.push_str(&format!("  {:>6}  {}\n", at * 60, line.iter().collect::<String>()));
        }
    }
    if rows.len() > ROWS {
        out.push_str(&format!("  … {} more\n", rows.len() - ROWS));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use bdl_check::hir::Axis;
    use bdl_dims::Dim;

    fn shown(scalar: Scalar, shape: &[i64], values: impl IntoIterator<Item = f64>) -> String {
        let axis = |size: &i64| Axis { size: Dim::from(*size), names: None, origin: None };
        let ty = Type::Tensor(TensorType { scalar, optional: false, shape: shape.iter().map(axis).collect() });
        Shown { ty, parts: vec![(String::new(), values.into_iter().collect())] }.text()
    }

    #[test]
    fn numbers_have_six_digits() {
        let all = [0.1 + 0.2, 2.0 / 3.0, 1234567.8, 1.5e-7, 100.0, -0.25, 123456.7, f64::NAN, f64::NEG_INFINITY];
        let texts: Vec<String> = all.iter().map(|value| number(*value)).collect();
        assert_eq!(texts, ["0.3", "0.666667", "1.23457e6", "1.5e-7", "100", "-0.25", "123457", "nan", "-inf"]);
    }

    #[test]
    fn points_stand_below_each_other() {
        let text = shown(Scalar::F32, &[2, 3], [1.5, 2.25, 3.0, 4.0, 10.5, -6.125]);
        assert_eq!(text, "f32[2, 3]\n  1.5   2.25   3\n  4    10.5   -6.125\n");
        assert_eq!(shown(Scalar::F32, &[3], [1.0, 2.5, 3.0]), "f32[3]   1  2.5  3\n");
        assert_eq!(shown(Scalar::Bool, &[], [1.0]), "true   bool\n");
        assert_eq!(shown(Scalar::F32, &[0], []), "f32[0]   empty\n");
    }

    #[test]
    fn the_large_is_abbreviated_within_eighty_columns() {
        let texts = [
            shown(Scalar::F32, &[1000], (0..1000).map(|x| f64::from(x).sqrt())),
            shown(Scalar::F32, &[100, 100], (0..10_000).map(|x| f64::from(x) / 7.0)),
            shown(Scalar::F32, &[9, 2, 50, 50], (0..45_000).map(f64::from)),
            shown(Scalar::Letter("DNA".into(), 4), &[1000], (0..1000).map(|x| f64::from(x % 4))),
        ];
        for text in texts {
            assert!(text.contains('…') && text.lines().count() < 50, "{text}");
            assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        }
    }
}
