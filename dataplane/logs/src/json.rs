//! A line for machines: one JSON object, the same names on both daemons.

use std::fmt;
use std::time::SystemTime;

use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::registry::LookupSpan;

/// `{"ts":…,"level":…,"target":…,"msg":…}` and then the fields.
#[derive(Clone, Debug)]
pub struct JsonLine {
    /// A field of every line, and its value.
    pub who: Option<(&'static str, String)>,
}

impl<S, N> FormatEvent<S, N> for JsonLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        self.write(&mut writer, event)
    }
}

impl JsonLine {
    /// Writes the line, with its end.
    ///
    /// # Errors
    /// Those of `writer`.
    pub fn write(&self, writer: &mut impl fmt::Write, event: &Event<'_>) -> fmt::Result {
        let said = Said::by(event);
        let metadata = event.metadata();
        let target = said.target.as_deref().unwrap_or(metadata.target());
        self.begin(writer, *metadata.level(), target, &said.message)?;
        for (name, value) in &said.fields {
            // A line says who it is of once; what it is about may be called the same.
            let is_ours = self.who.as_ref().is_some_and(|(who, _)| who == name);
            if !is_ours {
                write!(writer, ",{}:{value}", quoted(name))?;
            }
        }
        writeln!(writer, "}}")
    }

    /// A line that no event stands for.
    pub fn alone(&self, level: Level, target: &str, message: &str) -> String {
        let mut line = String::new();
        // Writing to a string can't fail.
        let _ = self.begin(&mut line, level, target, message);
        line + "}"
    }

    fn begin(
        &self,
        writer: &mut impl fmt::Write,
        level: Level,
        target: &str,
        message: &str,
    ) -> fmt::Result {
        // RFC 3339, UTC.
        let now = humantime::format_rfc3339_micros(SystemTime::now());
        let (target, message) = (quoted(target), quoted(message));
        write!(
            writer,
            "{{\"ts\":\"{now}\",\"level\":\"{level}\",\"target\":{target},\"msg\":{message}"
        )?;
        match &self.who {
            Some((name, value)) => write!(writer, ",{}:{}", quoted(name), quoted(value)),
            None => Ok(()),
        }
    }
}

fn quoted(text: &str) -> Value {
    Value::from(text)
}

/// What an event says.
#[derive(Default)]
struct Said {
    message: String,
    fields: Vec<(&'static str, Value)>,
    /// Of a library that uses the `log` crate: whose line it is.
    target: Option<String>,
}

impl Said {
    fn by(event: &Event<'_>) -> Self {
        let mut said = Self::default();
        event.record(&mut said);
        said
    }

    fn put(&mut self, field: &Field, value: Value) {
        match field.name() {
            "message" => {
                self.message = match value {
                    Value::String(text) => text,
                    other => other.to_string(),
                }
            }
            "log.target" => self.target = value.as_str().map(str::to_owned),
            name if name.starts_with("log.") => {}
            name => self.fields.push((name, value)),
        }
    }
}

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, Value::from(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, Value::from(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, Value::from(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, Value::from(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, Value::from(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, Value::from(value));
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::fmt::MakeWriter;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("whole").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Paper {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    #[test]
    fn a_line_is_an_object_with_the_names_that_are_promised() {
        let paper = Paper::default();
        let who = Some(("node", "media_1".to_owned()));
        let lines = tracing_subscriber::fmt::layer()
            .with_writer(paper.clone())
            .event_format(JsonLine { who });
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), || {
            tracing::warn!(target: "t", session = %"a\"b", count = 3, full = true, "two\nlines");
        });
        let text = String::from_utf8(paper.0.lock().expect("whole").clone()).expect("text");
        assert_eq!(text.matches('\n').count(), 1, "{text}");
        let line: Value = serde_json::from_str(&text).expect("JSON");
        let ts = line["ts"].as_str().expect("a time");
        assert!(humantime::parse_rfc3339(ts).is_ok(), "{ts}");
        for (name, value) in [
            ("level", Value::from("WARN")),
            ("target", Value::from("t")),
            ("msg", Value::from("two\nlines")),
            ("node", Value::from("media_1")),
            ("session", Value::from("a\"b")),
            ("count", Value::from(3)),
            ("full", Value::from(true)),
        ] {
            assert_eq!(line[name], value, "{name}");
        }
    }
}
