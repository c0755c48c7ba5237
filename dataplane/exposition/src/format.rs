//! Which format a scraper wants (RFC 9110 §12.5.1).

/// A format in which metrics are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The text format 0.0.4 of Prometheus.
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Format {
    /// What an `Accept` header asks for; without one it is text, which everybody reads. Of two that are as welcome it is OpenMetrics, for
    /// only who knows it names it. Who wants neither gets text all the same: it is for people as well.
    pub fn wanted(accept: Option<&str>) -> Self {
        let ranges = || {
            accept
                .unwrap_or_default()
                .split(',')
                .filter_map(Range::parse)
        };
        // Of ranges that fit the most specific one counts.
        let best = |of: Self| {
            let fitting = ranges().filter_map(|range| Some((range.fits(of)?, range.quality)));
            fitting.max_by(|one, other| one.0.cmp(&other.0).then(one.1.total_cmp(&other.1)))
        };
        let quality = |of| best(of).map_or(0.0, |(_, quality)| quality);
        let names_it = best(Self::OpenMetrics).is_some_and(|(how, _)| how == Fit::Named);
        let openmetrics = quality(Self::OpenMetrics);
        match names_it && openmetrics > 0.0 && openmetrics >= quality(Self::Text) {
            true => Self::OpenMetrics,
            false => Self::Text,
        }
    }

    /// The `Content-Type` of a page.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    const fn media(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Text => ("text", "plain", "0.0.4"),
            Self::OpenMetrics => ("application", "openmetrics-text", "1.0.0"),
        }
    }
}

/// How well a range fits, from badly to well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    Anything,
    Family,
    Named,
}

/// One of the media ranges of an `Accept` header.
struct Range<'a> {
    kind: &'a str,
    subtype: &'a str,
    version: Option<&'a str>,
    quality: f64,
}

impl<'a> Range<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let (kind, subtype) = parts.next()?.split_once('/')?;
        let mut range = Self {
            kind,
            subtype,
            version: None,
            quality: 1.0,
        };
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            let value = value.trim().trim_matches('"');
            match name.trim() {
                name if name.eq_ignore_ascii_case("version") => range.version = Some(value),
                name if name.eq_ignore_ascii_case("q") => range.quality = value.parse().ok()?,
                _ => {}
            }
        }
        (0.0..=1.0).contains(&range.quality).then_some(range)
    }

    fn fits(&self, format: Format) -> Option<Fit> {
        let (kind, subtype, version) = format.media();
        let is = |word: &str, wanted: &str| word.eq_ignore_ascii_case(wanted);
        match (self.kind, self.subtype) {
            ("*", "*") => Some(Fit::Anything),
            (given, "*") if is(given, kind) => Some(Fit::Family),
            // Another version is another format.
            (given, sub) if is(given, kind) && is(sub, subtype) => self
                .version
                .is_none_or(|one| one == version)
                .then_some(Fit::Named),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scraper_gets_what_it_asks_for() {
        // What Prometheus 2.42, 2.53 and 3.x send.
        let old = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        let binary = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,application/openmetrics-text;version=1.0.0;q=0.8,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        let new = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
        for accept in [
            old,
            binary,
            new,
            "application/openmetrics-text",
            "Application/OpenMetrics-Text; Version=\"1.0.0\"; Q=0.2",
            "text/plain;q=0.5, application/openmetrics-text;q=0.5",
            "*/*, application/openmetrics-text",
            "text/*;q=0.1, application/openmetrics-text;q=0.2",
        ] {
            assert_eq!(
                Format::wanted(Some(accept)),
                Format::OpenMetrics,
                "{accept}"
            );
        }
    }

    #[test]
    fn everybody_else_gets_text() {
        assert_eq!(Format::wanted(None), Format::Text);
        for accept in [
            "",
            "*/*",
            "application/*",
            "text/html,application/xhtml+xml,*/*;q=0.8",
            "text/plain;version=0.0.4",
            "application/json",
            "text/plain, application/openmetrics-text;q=0.9",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;version=0.0.1",
            "application/openmetrics-text;q=much",
            "application/openmetrics-text;q=7",
            ",;/=,",
        ] {
            assert_eq!(Format::wanted(Some(accept)), Format::Text, "{accept}");
        }
    }

    #[test]
    fn the_most_specific_range_counts() {
        // Text is named, and worth less than whatever else there is.
        let accept = "text/plain;q=0.1, */*;q=0.9, application/openmetrics-text;q=0.2";
        assert_eq!(Format::wanted(Some(accept)), Format::OpenMetrics);
    }
}
