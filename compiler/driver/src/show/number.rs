//! Numbers as people read them: `69,123`, `1.9 M`, `21 kB`, `0.3 s`.

/// Digits in groups of three: `3,186`.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Two significant digits and a prefix: `384`, `120 k`, `1.9 M`, `3.2 G`.
pub fn short(value: f64) -> String {
    let (scaled, prefix) = scale(value);
    if prefix.is_empty() { significant(scaled) } else { format!("{} {prefix}", significant(scaled)) }
}

/// Bytes with decimal prefixes: `512 B`, `6.7 kB`, `1.3 GB`.
pub fn bytes(value: f64) -> String {
    let (scaled, prefix) = scale(value);
    format!("{} {prefix}B", significant(scaled))
}

/// `0.3 s`, `1 min 12 s`, `2 h 5 min`.
pub fn seconds(value: f64) -> String {
    if !value.is_finite() {
        return "?".into();
    }
    if value < 0.0995 {
        return format!("{:.0} ms", value * 1e3);
    }
    if value < 59.5 {
        return format!("{} s", if value < 9.95 { format!("{value:.1}") } else { format!("{value:.0}") });
    }
    let whole = value.round() as u64;
    if whole < 3600 {
        return format!("{} min {} s", whole / 60, whole % 60);
    }
    format!("{} h {} min", whole / 3600, whole % 3600 / 60)
}

/// A loss or metric: three digits after the point where that says something, otherwise three significant ones.
pub fn score(value: f64) -> String {
    let size = value.abs();
    if value.is_nan() {
        "undefined".into()
    } else if size >= 1000.0 || (size > 0.0 && size < 0.01) {
        format!("{value:.2e}")
    } else {
        format!("{value:.3}")
    }
}

fn scale(value: f64) -> (f64, &'static str) {
    match value.abs() {
        size if size < 999.5 => (value, ""),
        size if size < 999.5e3 => (value / 1e3, "k"),
        size if size < 999.5e6 => (value / 1e6, "M"),
        size if size < 999.5e9 => (value / 1e9, "G"),
        _ => (value / 1e12, "T"),
    }
}

fn significant(value: f64) -> String {
    if value.abs() < 9.95 && value.fract() != 0.0 { format!("{value:.1}") } else { format!("{value:.0}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(grouped(69_123), "69,123");
        assert_eq!(grouped(12), "12");
        assert_eq!(grouped(1_000_000), "1,000,000");
        assert_eq!(short(384.0), "384");
        assert_eq!(short(120_300.0), "120 k");
        assert_eq!(short(1_900_000.0), "1.9 M");
        assert_eq!(bytes(6_700.0), "6.7 kB");
        assert_eq!(bytes(512.0), "512 B");
        assert_eq!(seconds(0.34), "0.3 s");
        assert_eq!(seconds(0.0123), "12 ms");
        assert_eq!(seconds(72.4), "1 min 12 s");
        assert_eq!(seconds(7500.0), "2 h 5 min");
        assert_eq!(score(0.1424), "0.142");
        assert_eq!(score(0.00142), "1.42e-3");
        assert_eq!(score(f64::NAN), "undefined");
    }
}
