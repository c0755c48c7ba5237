//! A page of metrics as text.
//!
//! Both formats are written by the same code, so that they have the same series: a bucket of the one would otherwise be another series
//! in the other, for `le` is text.

use std::fmt::Write as _;

use prometheus::proto::{Histogram, LabelPair, Metric, MetricFamily, MetricType};

use crate::{Format, unit};

/// The page of these families, in this order. Counters, gauges and histograms are written; nothing else is ever made here.
pub fn encode(families: &[MetricFamily], format: Format) -> String {
    let mut page = String::new();
    for family in families {
        head(&mut page, family, format);
        for metric in family.get_metric() {
            samples(&mut page, family, metric);
        }
    }
    if format == Format::OpenMetrics {
        page.push_str("# EOF\n");
    }
    page
}

fn head(page: &mut String, family: &MetricFamily, format: Format) {
    let kind = match family.get_field_type() {
        MetricType::COUNTER => "counter",
        MetricType::GAUGE => "gauge",
        MetricType::HISTOGRAM => "histogram",
        other => unreachable!("{} is a {other:?}, which no table declares", family.name()),
    };
    let name = match format {
        Format::Text => family.name(),
        // OpenMetrics 1.0, "Counter": the samples end in `_total`, the family does not.
        Format::OpenMetrics => family
            .name()
            .strip_suffix("_total")
            .unwrap_or(family.name()),
    };
    let help = escaped(family.help(), format == Format::OpenMetrics);
    let _ = writeln!(page, "# HELP {name} {help}\n# TYPE {name} {kind}");
    if let (Format::OpenMetrics, Some(unit)) = (format, unit(name)) {
        let _ = writeln!(page, "# UNIT {name} {unit}");
    }
}

fn samples(page: &mut String, family: &MetricFamily, metric: &Metric) {
    let (name, labels) = (family.name(), metric.get_label());
    match family.get_field_type() {
        MetricType::COUNTER => line(page, name, labels, None, metric.get_counter().get_value()),
        MetricType::GAUGE => line(page, name, labels, None, metric.get_gauge().get_value()),
        _ => histogram(page, name, labels, metric.get_histogram()),
    }
}

fn histogram(page: &mut String, name: &str, labels: &[LabelPair], histogram: &Histogram) {
    let count = histogram.get_sample_count() as f64;
    let finite = histogram
        .get_bucket()
        .iter()
        .filter(|one| one.upper_bound().is_finite());
    let finite = finite.map(|one| (bound(one.upper_bound()), one.cumulative_count() as f64));
    let bucket = format!("{name}_bucket");
    for (bound, count) in finite.chain([("+Inf".to_owned(), count)]) {
        line(page, &bucket, labels, Some(&bound), count);
    }
    line(
        page,
        &format!("{name}_sum"),
        labels,
        None,
        histogram.get_sample_sum(),
    );
    line(page, &format!("{name}_count"), labels, None, count);
}

/// One sample. `bound` is the label `le`.
fn line(page: &mut String, name: &str, labels: &[LabelPair], bound: Option<&str>, value: f64) {
    page.push_str(name);
    let labels = labels.iter().map(|one| (one.name(), one.value()));
    let mut opening = '{';
    for (name, value) in labels.chain(bound.map(|bound| ("le", bound))) {
        let _ = write!(page, "{opening}{name}=\"{}\"", escaped(value, true));
        opening = ',';
    }
    if opening == ',' {
        page.push('}');
    }
    let _ = match value {
        f64::INFINITY => writeln!(page, " +Inf"),
        f64::NEG_INFINITY => writeln!(page, " -Inf"),
        value => writeln!(page, " {value}"),
    };
}

/// The upper end of a bucket as OpenMetrics wants it written everywhere ("Canonical Numbers"): `0.0001`, `1e-05`, `2.5e-06`, `3.0`.
fn bound(value: f64) -> String {
    if value != 0.0 && value.abs() < 1e-4 {
        let text = format!("{value:e}");
        let (digits, exponent) = text.split_once("e-").unwrap_or((&text, "0"));
        return format!("{digits}e-{exponent:0>2}");
    }
    let text = value.to_string();
    match text.contains('.') {
        true => text,
        false => format!("{text}.0"),
    }
}

fn escaped(text: &str, quotes: bool) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\\' => safe.push_str("\\\\"),
            '\n' => safe.push_str("\\n"),
            '"' if quotes => safe.push_str("\\\""),
            letter => safe.push(letter),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use prometheus::{
        Counter, Gauge, GaugeVec, Histogram, HistogramOpts, IntCounterVec, Opts, Registry,
    };

    use super::*;

    fn families() -> Vec<MetricFamily> {
        let registry = Registry::new();
        let asked = Opts::new(
            "asked_total",
            "Questions, \"loud\" or not.\nAll \\ of them.",
        );
        let asked = IntCounterVec::new(asked, &["how"]).expect("well named");
        asked.with_label_values(&["\"loud\"\n\\"]).inc_by(3);
        let used = Counter::new("used_seconds_total", "Time.").expect("well named");
        used.inc_by(1.5);
        let room = Gauge::new("room_bytes", "Room.").expect("well named");
        room.set(f64::INFINITY);
        let none = GaugeVec::new(Opts::new("none", "Nothing."), &["x"]).expect("well named");
        let took = HistogramOpts::new("took_seconds", "How long.");
        let took = took.buckets(vec![2.5e-6, 1e-5, 0.0001, 0.25, 3.0]);
        let took = Histogram::with_opts(took).expect("well named");
        for value in [1e-6, 0.2, 7.0] {
            took.observe(value);
        }
        registry.register(Box::new(asked)).expect("once");
        registry.register(Box::new(used)).expect("once");
        registry.register(Box::new(room)).expect("once");
        registry.register(Box::new(none)).expect("once");
        registry.register(Box::new(took)).expect("once");
        registry.gather()
    }

    const SAMPLES: [&str; 11] = [
        "asked_total{how=\"\\\"loud\\\"\\n\\\\\"} 3",
        "room_bytes +Inf",
        "took_seconds_bucket{le=\"2.5e-06\"} 1",
        "took_seconds_bucket{le=\"1e-05\"} 1",
        "took_seconds_bucket{le=\"0.0001\"} 1",
        "took_seconds_bucket{le=\"0.25\"} 2",
        "took_seconds_bucket{le=\"3.0\"} 2",
        "took_seconds_bucket{le=\"+Inf\"} 3",
        "took_seconds_sum 7.200001",
        "took_seconds_count 3",
        "used_seconds_total 1.5",
    ];

    #[test]
    fn both_formats_have_the_same_series() {
        for format in [Format::Text, Format::OpenMetrics] {
            let page = encode(&families(), format);
            let samples: Vec<_> = page.lines().filter(|line| !line.starts_with('#')).collect();
            assert_eq!(samples, SAMPLES, "{page}");
        }
    }

    #[test]
    fn text_calls_a_counter_by_its_whole_name_and_knows_no_units() {
        let page = encode(&families(), Format::Text);
        let heads: Vec<_> = page.lines().filter(|line| line.starts_with('#')).collect();
        assert_eq!(
            heads,
            [
                "# HELP asked_total Questions, \"loud\" or not.\\nAll \\\\ of them.",
                "# TYPE asked_total counter",
                "# HELP room_bytes Room.",
                "# TYPE room_bytes gauge",
                "# HELP took_seconds How long.",
                "# TYPE took_seconds histogram",
                "# HELP used_seconds_total Time.",
                "# TYPE used_seconds_total counter",
            ]
        );
    }

    #[test]
    fn openmetrics_has_units_and_an_end() {
        let page = encode(&families(), Format::OpenMetrics);
        let heads: Vec<_> = page.lines().filter(|line| line.starts_with('#')).collect();
        assert_eq!(
            heads,
            [
                "# HELP asked Questions, \\\"loud\\\" or not.\\nAll \\\\ of them.",
                "# TYPE asked counter",
                "# HELP room_bytes Room.",
                "# TYPE room_bytes gauge",
                "# UNIT room_bytes bytes",
                "# HELP took_seconds How long.",
                "# TYPE took_seconds histogram",
                "# UNIT took_seconds seconds",
                "# HELP used_seconds Time.",
                "# TYPE used_seconds counter",
                "# UNIT used_seconds seconds",
                "# EOF",
            ]
        );
        assert!(page.ends_with("\n# EOF\n"));
    }

    #[test]
    fn bounds_are_written_as_everybody_writes_them() {
        for (value, text) in [
            (1e-10, "1e-10"),
            (2.5e-6, "2.5e-06"),
            (1e-5, "1e-05"),
            (0.0001, "0.0001"),
            (0.025, "0.025"),
            (0.0, "0.0"),
            (1.0, "1.0"),
            (256.0, "256.0"),
        ] {
            assert_eq!(bound(value), text);
        }
    }
}
