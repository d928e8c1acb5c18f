//! Figures as inline SVG. Colours come from the page's style, so that a figure is right by day and by night.

use crate::show::html::escape;
use crate::show::value::number;

pub struct Series {
    pub name: String,
    pub points: Vec<(f64, f64)>,
}

const COLOURS: [&str; 5] = ["var(--one)", "var(--two)", "var(--three)", "var(--four)", "var(--five)"];

/// Outer size, and the room for labels.
const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 46.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 26.0;

/// Curves over the same axis; `mark` is a vertical line.
pub fn lines(title: &str, series: &[Series], mark: Option<f64>) -> String {
    let points = || series.iter().flat_map(|series| &series.points).filter(|(x, y)| x.is_finite() && y.is_finite());
    let range = |of: &dyn Fn(&(f64, f64)) -> f64| {
        let all: Vec<f64> = points().map(of).collect();
        let low = all.iter().copied().fold(f64::INFINITY, f64::min);
        (low, all.iter().copied().fold(f64::NEG_INFINITY, f64::max))
    };
    if points().next().is_none() {
        return String::new();
    }
    let ((left, right), (low, high)) = (range(&|p| p.0), range(&|p| p.1));
    let ticks = ticks(low, high, 5);
    let (low, high) = (ticks[0].min(low), ticks[ticks.len() - 1].max(high));
    let x = |value: f64| LEFT + (value - left) / (right - left).max(1e-300) * (WIDTH - LEFT - RIGHT);
    let y = |value: f64| TOP + (high - value) / (high - low).max(1e-300) * (HEIGHT - TOP - BOTTOM);
    let mut svg = String::new();
    for tick in &ticks {
        let at = y(*tick);
        svg.push_str(&format!("<line class=grid x1={LEFT} x2={:.1} y1={at:.1} y2={at:.1} />", WIDTH - RIGHT));
        svg.push_str(&format!("<text x={:.1} y={:.1} text-anchor=end>{}</text>", LEFT - 7.0, at + 3.5, number(*tick)));
    }
    let mut across = self::ticks(left, right, 8);
    across.retain(|tick| (left..=right).contains(tick) && tick.fract() == 0.0);
    for tick in across {
        svg.push_str(&format!(
            "<text x={:.1} y={:.1} text-anchor=middle>{}</text>",
            x(tick),
            HEIGHT - 8.0,
            number(tick)
        ));
    }
    if let Some(mark) = mark {
        let at = x(mark);
        svg.push_str(&format!(
            "<line class=axis x1={at:.1} x2={at:.1} y1={TOP} y2={:.1} stroke-dasharray=\"3 3\" />",
            HEIGHT - BOTTOM
        ));
    }
    for (which, series) in series.iter().enumerate() {
        let path: Vec<String> = series.points.iter().map(|(px, py)| format!("{:.1},{:.1}", x(*px), y(*py))).collect();
        let colour = COLOURS[which % COLOURS.len()];
        svg.push_str(&format!(
            "<polyline fill=none stroke=\"{colour}\" stroke-width=1.8 stroke-linejoin=round points=\"{}\" />",
            path.join(" ")
        ));
        // What stands at a point shows where the pointer is.
        if series.points.len() <= 400 {
            for (px, py) in &series.points {
                svg.push_str(&format!(
                    "<circle cx={:.1} cy={:.1} r=6 fill=transparent><title>{} {} at {}</title></circle>",
                    x(*px),
                    y(*py),
                    escape(&series.name),
                    number(*py),
                    number(*px)
                ));
            }
        }
    }
    let key: String = series
        .iter()
        .enumerate()
        .map(|(which, series)| {
            format!(
                "<span><i style=\"background:{}\"></i>{}</span>",
                COLOURS[which % COLOURS.len()],
                escape(&series.name)
            )
        })
        .collect();
    figure(title, &svg, &format!("<div class=key>{key}</div>"))
}

/// Points `(said, so, interval, count)` around the diagonal.
pub fn reliability(title: &str, points: &[(f64, f64, (f64, f64), u64)]) -> String {
    let x = |value: f64| LEFT + value * (WIDTH - LEFT - RIGHT);
    let y = |value: f64| TOP + (1.0 - value) * (HEIGHT - TOP - BOTTOM);
    let mut svg = String::new();
    for tick in [0.0, 0.25, 0.5, 0.75, 1.0] {
        svg.push_str(&format!(
            "<line class=grid x1={LEFT} x2={:.1} y1={at:.1} y2={at:.1} />",
            WIDTH - RIGHT,
            at = y(tick)
        ));
        svg.push_str(&format!(
            "<text x={:.1} y={:.1} text-anchor=end>{}</text>",
            LEFT - 7.0,
            y(tick) + 3.5,
            number(tick)
        ));
        svg.push_str(&format!(
            "<text x={:.1} y={:.1} text-anchor=middle>{}</text>",
            x(tick),
            HEIGHT - 8.0,
            number(tick)
        ));
    }
    svg.push_str(&format!("<line class=axis x1={:.1} y1={:.1} x2={:.1} y2={:.1} />", x(0.0), y(0.0), x(1.0), y(1.0)));
    let most = points.iter().map(|point| point.3).max().unwrap_or(1) as f64;
    let path: Vec<String> = points.iter().map(|(p, share, ..)| format!("{:.1},{:.1}", x(*p), y(*share))).collect();
    svg.push_str(&format!(
        "<polyline fill=none stroke=\"{}\" stroke-width=1.3 opacity=.6 points=\"{}\" />",
        COLOURS[0],
        path.join(" ")
    ));
    for (p, share, (low, high), count) in points {
        let radius = 3.0 + 7.0 * (*count as f64 / most).sqrt();
        svg.push_str(&format!(
            "<line stroke=\"{}\" x1={at:.1} x2={at:.1} y1={:.1} y2={:.1} />",
            COLOURS[0],
            y(*low),
            y(*high),
            at = x(*p)
        ));
        svg.push_str(&format!(
            "<circle cx={:.1} cy={:.1} r={radius:.1} fill=\"{}\" fill-opacity=.85><title>said {}, so {} of {count}</title></circle>",
            x(*p),
            y(*share),
            COLOURS[0],
            number(*p),
            number(*share)
        ));
    }
    figure(title, &svg, "")
}

/// A bar whose parts are as long as their shares.
pub fn shares(parts: &[(String, f64)]) -> String {
    let part = |(which, (name, share)): (usize, &(String, f64))| {
        format!(
            "<span style=\"flex:{:.4} 1 0;background:color-mix(in srgb,{} 85%,#555)\" title=\"{name}: {:.1} %\">{name}</span>",
            share.max(1e-4),
            COLOURS[which % COLOURS.len()],
            share * 100.0,
            name = escape(name),
        )
    };
    format!("<span class=shares>{}</span>", parts.iter().enumerate().map(part).collect::<String>())
}

fn figure(title: &str, svg: &str, key: &str) -> String {
    format!(
        "<figure><figcaption>{}</figcaption><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=img aria-label=\"{}\">{svg}</svg>{key}</figure>",
        escape(title),
        escape(title)
    )
}

/// Round numbers that span a range: steps of 1, 2 or 5 times a power of ten.
fn ticks(low: f64, high: f64, about: usize) -> Vec<f64> {
    let span = if high > low { high - low } else { low.abs().max(1.0) };
    let raw = span / about as f64;
    let power = 10f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|n| n * power).find(|step| *step >= raw).unwrap_or(10.0 * power);
    let (first, last) = ((low / step).floor() as i64, (high / step).ceil() as i64);
    // From whole numbers, so that 0.3 is not 0.30000000000000004.
    (first..=last).map(|n| if step < 1.0 { n as f64 / (1.0 / step).round() } else { n as f64 * step }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_span_the_range() {
        assert_eq!(ticks(0.03, 0.97, 5), [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]);
        assert_eq!(ticks(1.0, 40.0, 8), [0.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 35.0, 40.0]);
        assert!(ticks(3.0, 3.0, 5).len() >= 2 || ticks(3.0, 3.0, 5) == [3.0]);
    }

    #[test]
    fn a_figure_shows_every_series() {
        let series = |name: &str| Series { name: name.into(), points: vec![(1.0, 0.5), (2.0, 0.25), (3.0, f64::NAN)] };
        let text = lines("Loss", &[series("train"), series("<valid>")], Some(2.0));
        assert_eq!(text.matches("<polyline").count(), 2);
        assert!(text.contains("&lt;valid&gt;") && text.contains("stroke-dasharray"));
        assert_eq!(lines("Loss", &[], None), "");
    }
}
