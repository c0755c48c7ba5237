//! A page in the making: samples, gathered by what they are of.

use std::collections::BTreeMap;

use exposition::Format;
use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType,
};

use super::families::{FAMILIES, Family, Kind};
use crate::config::MetricsLevel as Level;

/// A page. What its level leaves out is not taken.
pub(super) struct Page {
    level: Level,
    samples: BTreeMap<&'static str, Vec<Metric>>,
}

impl Page {
    pub(super) fn new(level: Level) -> Self {
        Self {
            level,
            samples: BTreeMap::new(),
        }
    }

    pub(super) fn level(&self) -> Level {
        self.level
    }

    pub(super) fn gauge(&mut self, family: Family, labels: &[(&str, &str)], value: f64) {
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        let mut metric = Metric::from_gauge(gauge);
        metric.set_label(pairs(labels));
        self.push(family, metric);
    }

    pub(super) fn count(&mut self, family: Family, labels: &[(&str, &str)], value: u64) {
        self.count_real(family, labels, value as f64);
    }

    pub(super) fn count_real(&mut self, family: Family, labels: &[(&str, &str)], value: f64) {
        let mut counter = Counter::default();
        counter.set_value(value);
        let mut metric = Metric::from_label(pairs(labels));
        metric.set_counter(counter);
        self.push(family, metric);
    }

    /// `counts` by the first of `bounds` that is not exceeded; one more entry counts what exceeds all.
    pub(super) fn histogram(&mut self, family: Family, bounds: &[f64], counts: &[u64], sum: f64) {
        let mut total = 0;
        let buckets = bounds.iter().zip(counts).map(|(bound, count)| {
            total += count;
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(*bound);
            bucket.set_cumulative_count(total);
            bucket
        });
        let mut histogram = Histogram::default();
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_count(counts.iter().sum());
        histogram.set_sample_sum(sum);
        let mut metric = Metric::default();
        metric.set_histogram(histogram);
        self.push(family, metric);
    }

    /// The text, in the order of the table.
    pub(super) fn encode(mut self, format: Format) -> String {
        let families = FAMILIES.iter().filter_map(|family| {
            let mut written = MetricFamily::default();
            written.set_metric(self.samples.remove(family.name)?);
            written.set_name(family.name.to_owned());
            written.set_help(family.help.to_owned());
            written.set_field_type(match family.kind {
                Kind::Counter => MetricType::COUNTER,
                Kind::Gauge => MetricType::GAUGE,
                Kind::Histogram => MetricType::HISTOGRAM,
            });
            Some(written)
        });
        exposition::encode(&families.collect::<Vec<_>>(), format)
    }

    fn push(&mut self, family: Family, metric: Metric) {
        if family.level <= self.level {
            self.samples.entry(family.name).or_default().push(metric);
        }
    }
}

fn pairs(labels: &[(&str, &str)]) -> Vec<LabelPair> {
    let pair = |(name, value): &(&str, &str)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    };
    labels.iter().map(pair).collect()
}
