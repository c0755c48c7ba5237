//! What a run tells, as it comes: one line that changes on a terminal, plain lines elsewhere.

use core::time::Duration;
use std::io::{IsTerminal as _, Write};
use std::time::Instant;

use super::number::{grouped, percent};
use crate::progress::Event;

/// Where lines stay, the same phase says something new after so long.
const PATIENCE: Duration = Duration::from_secs(10);

/// Writes progress to standard error.
#[derive(Debug)]
pub struct Live<W: Write = std::io::Stderr> {
    out: W,
    is_terminal: bool,
    title: String,
    /// The phase that was told last, and when.
    told: Option<(&'static str, Instant)>,
    is_line_open: bool,
}

impl Live {
    /// To standard error, as suits it.
    pub fn new() -> Self {
        let out = std::io::stderr();
        let is_terminal = out.is_terminal();
        Self::to(out, is_terminal)
    }
}

impl Default for Live {
    fn default() -> Self {
        Self::new()
    }
}

impl<W: Write> Live<W> {
    /// To `out`; a terminal can change its last line.
    pub fn to(out: W, is_terminal: bool) -> Self {
        Self {
            out,
            is_terminal,
            title: String::new(),
            told: None,
            is_line_open: false,
        }
    }

    /// What follows is about this: `[3/10] ringcast: loopback, …`.
    pub fn begin(&mut self, title: String) {
        self.title = title;
        self.told = None;
        if !self.is_terminal {
            let title = self.title.clone();
            self.line(&title);
        }
    }

    /// One thing more.
    pub fn tell(&mut self, event: &Event) {
        let (phase, text) = match event {
            Event::Preparing(what) => ("preparing", what.clone()),
            Event::Joining { joined, of } => ("joining", format!("{joined} of {of} joined")),
            Event::WarmingUp { remaining } => {
                ("warm-up", format!("warming up, {} s", remaining.as_secs()))
            }
            Event::Measuring { .. } => ("measuring", measuring(event)),
        };
        if self.is_terminal {
            let line = format!("\r\x1b[K{}: {text}", self.title);
            self.write(&line);
            self.is_line_open = true;
            return;
        }
        let is_news = self
            .told
            .is_none_or(|(told, when)| told != phase || when.elapsed() >= PATIENCE);
        if is_news {
            self.told = Some((phase, Instant::now()));
            self.line(&format!("  {text}"));
        }
    }

    /// The run is over: its result in a line that stays.
    pub fn end(&mut self, result: &str) {
        let line = if self.is_terminal {
            format!("{}: {result}", self.title)
        } else {
            format!("  {result}")
        };
        self.line(&line);
    }

    fn line(&mut self, text: &str) {
        let start = if self.is_line_open { "\r\x1b[K" } else { "" };
        self.is_line_open = false;
        self.write(&format!("{start}{text}\n"));
    }

    fn write(&mut self, text: &str) {
        // Progress that nobody can see is no reason to stop.
        let _ = self.out.write_all(text.as_bytes());
        let _ = self.out.flush();
    }
}

fn measuring(event: &Event) -> String {
    let Event::Measuring {
        elapsed,
        of,
        delivered,
        lost,
        subject_busy,
    } = event
    else {
        return String::new();
    };
    let seconds = elapsed.as_secs_f64();
    let rate = if seconds > 0.0 {
        *delivered as f64 / seconds
    } else {
        0.0
    };
    format!(
        "{seconds:.0} of {} s, {} packets/s, {} lost, forwarder {}",
        of.as_secs(),
        grouped(rate.round() as i64),
        grouped(i64::try_from(*lost).unwrap_or(i64::MAX)),
        percent(*subject_busy),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(is_terminal: bool) -> String {
        let mut live = Live::to(Vec::new(), is_terminal);
        live.begin("[1/2] ringcast".to_owned());
        live.tell(&Event::Joining { joined: 1, of: 9 });
        live.tell(&Event::Joining { joined: 2, of: 9 });
        live.tell(&Event::Measuring {
            elapsed: Duration::from_secs(2),
            of: Duration::from_secs(10),
            delivered: 20_000,
            lost: 3,
            subject_busy: 0.25,
        });
        live.end("420 ns");
        String::from_utf8(live.out).expect("text")
    }

    #[test]
    fn plain_lines_tell_each_phase_once() {
        assert_eq!(
            told(false),
            "[1/2] ringcast\n  1 of 9 joined\n  2 of 10 s, 10\u{202f}000 packets/s, 3 lost, forwarder 25 %\n  420 ns\n"
        );
    }

    #[test]
    fn a_terminal_has_one_line_that_changes() {
        let text = told(true);
        assert!(text.contains("\r\x1b[K[1/2] ringcast: 2 of 9 joined"));
        assert!(text.ends_with("[1/2] ringcast: 420 ns\n"));
        assert_eq!(text.lines().count(), 1, "{text:?}");
    }
}
