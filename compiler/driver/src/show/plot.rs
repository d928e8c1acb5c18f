//! Pictures in a terminal: curves of braille dots, heat maps of half blocks (in colour) or shades (without).

use super::value::number;

/// Columns of the whole picture.
const WIDTH: usize = 80;
/// Columns for the numbers beside the axis.
const MARGIN: usize = 10;
/// Lines of a curve.
const HEIGHT: usize = 16;
/// Rows and columns of a heat map at most.
const MAP_ROWS: usize = 40;
const MAP_COLUMNS: usize = 64;

/// Curves over the same x. Points that are not finite are left out.
pub fn curves(x: &[f64], series: &[(String, &[f64])], coloured: bool) -> String {
    let columns = WIDTH - MARGIN - 2;
    let finite = |values: &[f64]| values.iter().copied().filter(|v| v.is_finite()).collect::<Vec<f64>>();
    let all: Vec<f64> = series.iter().flat_map(|(_, y)| finite(y)).collect();
    let (Some((low, high)), Some((left, right))) = (range(&all), range(&finite(x))) else {
        return "nothing to draw: no value is finite\n".into();
    };
    let (low, high) = if high > low { (low, high) } else { (low - 0.5, high + 0.5) };
    let (left, right) = if right > left { (left, right) } else { (left - 0.5, right + 0.5) };
    let mut dots = vec![0u8; columns * HEIGHT];
    let mut owner = vec![0usize; columns * HEIGHT];
    for (which, (_, y)) in series.iter().enumerate() {
        let place = |at: usize| {
            let (x, y) = (*x.get(at)?, *y.get(at)?);
            let px = (x - left) / (right - left) * (columns * 2 - 1) as f64;
            let py = (high - y) / (high - low) * (HEIGHT * 4 - 1) as f64;
            (px.is_finite() && py.is_finite()).then_some((px, py))
        };
        for at in 0..y.len() {
            let Some((x0, y0)) = place(at) else { continue };
            // A line to the next point, dot by dot.
            let (x1, y1) = place(at + 1).unwrap_or((x0, y0));
            let steps = (x1 - x0).abs().max((y1 - y0).abs()).ceil().max(1.0) as usize;
            for step in 0..=steps {
                let t = step as f64 / steps as f64;
                let (px, py) = ((x0 + (x1 - x0) * t).round() as usize, (y0 + (y1 - y0) * t).round() as usize);
                let cell = (py / 4).min(HEIGHT - 1) * columns + (px / 2).min(columns - 1);
                dots[cell] |= DOT[py % 4][px % 2];
                owner[cell] = which;
            }
        }
    }
    let mut out = String::new();
    for line in 0..HEIGHT {
        let label = match line {
            0 => number(rounded(high, high - low)),
            line if line == HEIGHT - 1 => number(rounded(low, high - low)),
            line if line == HEIGHT / 2 => number(rounded((low + high) / 2.0, high - low)),
            _ => String::new(),
        };
        let tick = if label.is_empty() { '│' } else { '┤' };
        let mut text = format!("{label:>MARGIN$} {tick}");
        for column in 0..columns {
            let cell = line * columns + column;
            let dot = char::from_u32(0x2800 + u32::from(dots[cell])).unwrap_or(' ');
            let dot = if dots[cell] == 0 { ' ' } else { dot };
            if coloured && dots[cell] != 0 {
                text.push_str(&format!("\x1b[{}m{dot}\x1b[0m", COLOURS[owner[cell] % COLOURS.len()]));
            } else {
                text.push(dot);
            }
        }
        out.push_str(text.trim_end());
        out.push('\n');
    }
    out.push_str(&format!("{:MARGIN$} └{}\n", "", "─".repeat(columns)));
    let (from, middle, to) = (number(left), number(rounded((left + right) / 2.0, right - left)), number(right));
    let gap = columns.saturating_sub(from.len() + middle.len() + to.len());
    let axis = format!("{:MARGIN$}  {from}{}{middle}{}{to}", "", " ".repeat(gap / 2), " ".repeat(gap - gap / 2));
    out.push_str(axis.trim_end());
    out.push('\n');
    if series.len() > 1 {
        let name = |(which, (name, _)): (usize, &(String, &[f64]))| {
            if coloured { format!("\x1b[{}m━\x1b[0m {name}", COLOURS[which % COLOURS.len()]) } else { name.clone() }
        };
        let names: Vec<String> = series.iter().enumerate().map(name).collect();
        out.push_str(&format!("{:MARGIN$}  {}\n", "", names.join("   ")));
    }
    out
}

/// The dots of a braille letter by row and column.
const DOT: [[u8; 2]; 4] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];
/// Blue, orange, green, red, violet.
const COLOURS: [&str; 5] = ["38;5;74", "38;5;208", "38;5;71", "38;5;167", "38;5;140"];

/// A matrix, the first row on top. Larger ones are averaged down.
pub fn heat(rows: usize, columns: usize, values: &[f64], coloured: bool) -> String {
    let (shown_rows, shown_columns) = (rows.min(MAP_ROWS), columns.min(MAP_COLUMNS));
    let cell = |row: usize, column: usize| {
        let part = |at: usize, shown: usize, all: usize| {
            (at * all / shown, ((at + 1) * all / shown).max(at * all / shown + 1))
        };
        let ((r0, r1), (c0, c1)) = (part(row, shown_rows, rows), part(column, shown_columns, columns));
        let inside = (r0..r1).flat_map(|r| (c0..c1).map(move |c| values[r * columns + c]));
        let (sum, count) = inside.filter(|v| v.is_finite()).fold((0.0, 0), |(sum, count), v| (sum + v, count + 1));
        (count > 0).then(|| sum / f64::from(count))
    };
    let cells: Vec<Option<f64>> =
        (0..shown_rows).flat_map(|r| (0..shown_columns).map(move |c| (r, c))).map(|(r, c)| cell(r, c)).collect();
    let finite: Vec<f64> = cells.iter().flatten().copied().collect();
    let Some((low, high)) = range(&finite) else { return "nothing to draw: no value is finite\n".into() };
    let share = |value: f64| if high > low { (value - low) / (high - low) } else { 0.5 };
    let mut out = String::new();
    let wide = if shown_columns * 2 + 4 <= WIDTH { 2 } else { 1 };
    let at = |row: usize, column: usize| cells.get(row * shown_columns + column).copied().flatten();
    if coloured {
        for pair in 0..shown_rows.div_ceil(2) {
            out.push_str("  ");
            for column in 0..shown_columns {
                let (top, bottom) = (at(2 * pair, column), at(2 * pair + 1, column));
                let fore = top.map_or("39".into(), |v| rgb(share(v), 38));
                let back = bottom.filter(|_| 2 * pair + 1 < shown_rows).map_or("49".into(), |v| rgb(share(v), 48));
                let block = if top.is_some() { "▀" } else { " " };
                out.push_str(&format!("\x1b[{fore};{back}m{}\x1b[0m", block.repeat(wide)));
            }
            out.push('\n');
        }
        let scale: String = (0..24).map(|at| format!("\x1b[{}m█\x1b[0m", rgb(f64::from(at) / 23.0, 38))).collect();
        out.push_str(&format!(
            "  {} {scale} {}\n",
            number(rounded(low, high - low)),
            number(rounded(high, high - low))
        ));
    } else {
        for row in 0..shown_rows {
            let line: String = (0..shown_columns)
                .map(|column| at(row, column).map_or('?', |v| SHADES[((share(v) * 5.0) as usize).min(4)]))
                .map(|shade| shade.to_string().repeat(wide))
                .collect();
            out.push_str(format!("  {line}").trim_end());
            out.push('\n');
        }
        out.push_str(&format!("  {} ·░▒▓█ {}\n", number(rounded(low, high - low)), number(rounded(high, high - low))));
    }
    if (shown_rows, shown_columns) != (rows, columns) {
        out.push_str(&format!("  {rows} x {columns}, averaged to {shown_rows} x {shown_columns}\n"));
    }
    out
}

const SHADES: [char; 5] = ['·', '░', '▒', '▓', '█'];

/// Viridis by five of its colours, as an escape's parameters.
fn rgb(share: f64, base: u8) -> String {
    const STOPS: [[f64; 3]; 5] =
        [[68.0, 1.0, 84.0], [59.0, 82.0, 139.0], [33.0, 145.0, 140.0], [94.0, 201.0, 98.0], [253.0, 231.0, 37.0]];
    let place = share.clamp(0.0, 1.0) * 4.0;
    let at = (place as usize).min(3);
    let t = place - at as f64;
    let mix = |channel: usize| (STOPS[at][channel] * (1.0 - t) + STOPS[at + 1][channel] * t).round() as u8;
    format!("{base};2;{};{};{}", mix(0), mix(1), mix(2))
}

fn range(values: &[f64]) -> Option<(f64, f64)> {
    let low = values.iter().copied().reduce(f64::min)?;
    Some((low, values.iter().copied().fold(low, f64::max)))
}

/// To a thousandth of what is shown, so that labels are short.
fn rounded(value: f64, span: f64) -> f64 {
    if span <= 0.0 || !span.is_finite() {
        return value;
    }
    let unit = 10f64.powf((span / 1000.0).log10().floor());
    // Divided by the inverse where it is whole: 0.3, not 0.30000000000000004.
    if unit < 1.0 {
        (value * (1.0 / unit).round()).round() / (1.0 / unit).round()
    } else {
        (value / unit).round() * unit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_rises_from_the_left_below_to_the_right_above() {
        let x: Vec<f64> = (0..50).map(f64::from).collect();
        let text = curves(&x, &[("y".into(), &x)], false);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines.iter().all(|line| line.chars().count() <= WIDTH), "{text}");
        assert!(lines[0].starts_with("        49 ┤") && lines[0].chars().count() == WIDTH, "{text}");
        let lowest: Vec<char> = lines[HEIGHT - 1].chars().collect();
        assert!(lines[HEIGHT - 1].starts_with("         0 ┤") && lowest.len() < MARGIN + 12, "{text}");
        assert!(lines[HEIGHT + 1].ends_with("49"), "{text}");
        assert_eq!(curves(&[0.0], &[("y".into(), &[f64::NAN])], false), "nothing to draw: no value is finite\n");
    }

    #[test]
    fn a_map_is_dark_where_it_is_large() {
        let text = heat(2, 3, &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0], false);
        assert_eq!(text, "  ··░░▒▒\n  ▓▓████\n  0 ·░▒▓█ 5\n");
        let large = heat(200, 300, &vec![1.0; 60_000], true);
        assert!(large.ends_with("200 x 300, averaged to 40 x 64\n"), "{large}");
    }
}
