//! Figures for people: as many digits as mean something.

/// What stands for a figure that there is not.
pub(super) const NONE: &str = "–";
/// Between groups of digits: narrow, and no line ends there.
const GROUP: char = '\u{202f}';

/// `formatted`, or a dash.
pub(super) fn or_none(formatted: Option<String>) -> String {
    formatted.unwrap_or_else(|| NONE.to_owned())
}

/// Three digits, or all of a whole number.
pub(super) fn plain(value: f64) -> String {
    let size = value.abs();
    if size >= 100.0 {
        grouped(value.round() as i64)
    } else if size >= 10.0 {
        format!("{value:.1}")
    } else if size >= 1.0 {
        format!("{value:.2}")
    } else {
        format!("{value:.3}")
    }
}

/// Four characters at most below a thousand: for tables that have no room, and ratios that may have no end.
pub(super) fn short(value: f64) -> String {
    match value {
        0.0 => "0".to_owned(),
        f64::INFINITY => "∞".to_owned(),
        _ if value >= 99.95 => grouped(value.round() as i64),
        _ if value >= 9.995 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// A whole number in groups of three digits.
pub(super) fn grouped(value: i64) -> String {
    let digits = value.unsigned_abs().to_string();
    let mut text = String::new();
    if value < 0 {
        text.push('−');
    }
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) && digits.len() > 4 {
            text.push(GROUP);
        }
        text.push(digit);
    }
    text
}

/// Two digits after the point: ratios.
pub(super) fn ratio(value: f64) -> String {
    format!("{value:.2}")
}

/// From 0 to 1, in percent.
pub(super) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent == 0.0 {
        "0 %".to_owned()
    } else if percent < 0.1 {
        format!("{percent:.3} %")
    } else if percent < 10.0 {
        format!("{percent:.1} %")
    } else {
        format!("{percent:.0} %")
    }
}

/// From 0 to 1, in percent and with three digits: enough to tell neighbours apart.
pub(super) fn fine_percent(share: f64) -> String {
    match share {
        0.0 => "0 %".to_owned(),
        share => format!("{} %", plain(share * 100.0)),
    }
}

/// A time in its best unit.
pub(super) fn nanos(nanos: f64) -> String {
    let (value, unit) = match nanos {
        nanos if nanos >= 1e9 => (nanos / 1e9, "s"),
        nanos if nanos >= 1e6 => (nanos / 1e6, "ms"),
        nanos if nanos >= 1e3 => (nanos / 1e3, "µs"),
        nanos => (nanos, "ns"),
    };
    if value >= 10.0 || value == value.round() {
        format!("{value:.0} {unit}")
    } else {
        format!("{value:.1} {unit}")
    }
}

/// A size in its best unit.
pub(super) fn bytes(bytes: f64) -> String {
    let (value, unit) = match bytes.abs() {
        size if size >= 1_073_741_824.0 => (bytes / 1_073_741_824.0, "GiB"),
        size if size >= 1_048_576.0 => (bytes / 1_048_576.0, "MiB"),
        size if size >= 1_024.0 => (bytes / 1_024.0, "KiB"),
        _ => (bytes, "B"),
    };
    format!("{} {unit}", format_short(value))
}

fn format_short(value: f64) -> String {
    if value.abs() >= 10.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.1}")
    }
}

/// A date and a time of day in UTC, from seconds since the Unix epoch.
pub(super) fn date(unix: u64) -> String {
    let time = std::time::UNIX_EPOCH + core::time::Duration::from_secs(unix);
    humantime::format_rfc3339_seconds(time)
        .to_string()
        .replace('T', " ")
        .replace('Z', " UTC")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_few_digits() {
        assert_eq!(plain(1_234.5), "1235");
        assert_eq!(plain(104_000.0), "104\u{202f}000");
        assert_eq!(plain(-12.34), "-12.3");
        assert_eq!(plain(0.0213), "0.021");
        assert_eq!(grouped(-1_000_000), "−1\u{202f}000\u{202f}000");
        assert_eq!(percent(0.0), "0 %");
        assert_eq!(percent(0.0005), "0.050 %");
        assert_eq!(percent(0.25), "25 %");
        assert_eq!(fine_percent(0.0), "0 %");
        assert_eq!(fine_percent(0.01154), "1.15 %");
        assert_eq!(short(0.0), "0");
        assert_eq!(short(0.001), "0.00");
        assert_eq!(short(9.996), "10.0");
        assert_eq!(short(1.0 / 0.0), "∞");
        assert_eq!(nanos(999.0), "999 ns");
        assert_eq!(nanos(1_300.0), "1.3 µs");
        assert_eq!(nanos(25_000_000.0), "25 ms");
        assert_eq!(bytes(16_384.0), "16 KiB");
        assert_eq!(date(0), "1970-01-01 00:00:00 UTC");
    }
}
