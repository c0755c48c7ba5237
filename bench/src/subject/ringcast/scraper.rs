//! Somebody who reads the node's metrics while it forwards, as a Prometheus server does; and what that might disturb.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::str::FromStr;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use super::Metrics;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// What Prometheus 2.42 accepts.
const ACCEPT: &str = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";

/// How often metrics are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scrape {
    /// Not while it is measured; what might be disturbed is told all the same, for comparison.
    Never,
    /// So often.
    Every(Duration),
}

impl FromStr for Scrape {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        if text == "never" {
            return Ok(Self::Never);
        }
        let every = humantime::parse_duration(text)?;
        anyhow::ensure!(!every.is_zero(), "as often as possible is no interval");
        Ok(Self::Every(every))
    }
}

/// A thread that reads a page at intervals, until it is dropped.
#[derive(Debug)]
pub(super) struct Scraper {
    read: Arc<Mutex<Pages>>,
    /// Dropping it ends the thread.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What was read so far.
#[derive(Debug, Default)]
struct Pages {
    took: Vec<Duration>,
    bytes: usize,
    failed: usize,
}

impl Scraper {
    pub(super) fn start(address: SocketAddr, every: Duration) -> anyhow::Result<Self> {
        let read = Arc::<Mutex<Pages>>::default();
        let (stop, stopped) = channel();
        let pages = Arc::clone(&read);
        let thread = std::thread::Builder::new().name("scraper".to_owned());
        let thread = thread.spawn(move || {
            let begun = Instant::now();
            let mut due = every;
            while let Err(RecvTimeoutError::Timeout) =
                stopped.recv_timeout(due.saturating_sub(begun.elapsed()))
            {
                due += every;
                let asked = Instant::now();
                let page = fetch(address);
                let mut pages = lock(&pages);
                match page {
                    Ok(bytes) => {
                        pages.took.push(asked.elapsed());
                        pages.bytes = bytes;
                    }
                    Err(_) => pages.failed += 1,
                }
            }
        })?;
        Ok(Self {
            read,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// What was read, in words.
    pub(super) fn note(&self) -> String {
        let pages = lock(&self.read);
        let mut took = pages.took.clone();
        took.sort_unstable();
        let Some(longest) = took.last() else {
            return format!("scraped: never, {} failed", pages.failed);
        };
        let millis = |time: &Duration| time.as_secs_f64() * 1e3;
        format!(
            "scraped {} times, {} failed: {} bytes, half of them within {:.1} ms, all within {:.1} ms",
            took.len(),
            pages.failed,
            pages.bytes,
            millis(&took[took.len() / 2]),
            millis(longest)
        )
    }
}

impl Drop for Scraper {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed.
            let _ = thread.join();
        }
    }
}

/// What was read is whole at every moment.
fn lock(pages: &Mutex<Pages>) -> MutexGuard<'_, Pages> {
    pages.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads the page; how many bytes it has.
fn fetch(address: SocketAddr) -> anyhow::Result<usize> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "GET /metrics HTTP/1.1\r\nHost: {address}\r\nAccept: {ACCEPT}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
    if !head.starts_with("HTTP/1.1 200") || !body.ends_with("# EOF\n") {
        bail!("no page");
    }
    Ok(body.len())
}

/// What scraping might disturb, counted by the node since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Disturbance {
    /// Turns of more than a millisecond.
    stalls: u64,
    /// Datagrams that the kernel dropped because nobody took them.
    kernel_drops: u64,
    /// Packets that waited until they were of no use.
    stale: u64,
}

impl Disturbance {
    pub(super) fn of(metrics: &Metrics) -> Self {
        let count =
            |name: &str, labels: &[_]| metrics.sum(name, labels).map_or(0, |sum| sum as u64);
        let dropped = "ringcast_node_packets_dropped_total";
        Self {
            stalls: count("ringcast_node_turn_stalls_total", &[]),
            kernel_drops: count("ringcast_node_driver_kernel_drops_total", &[]),
            stale: count(dropped, &[("reason", "stale")]),
        }
    }

    /// What came since `before`, in words.
    pub(super) fn note_since(&self, before: &Self) -> String {
        format!(
            "while measured {} turns took more than 1 ms, the kernel dropped {} datagrams, {} packets became stale",
            self.stalls.saturating_sub(before.stalls),
            self.kernel_drops.saturating_sub(before.kernel_drops),
            self.stale.saturating_sub(before.stale)
        )
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn pages_are_read_at_intervals_and_what_is_none_is_counted() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let server = std::thread::spawn(move || {
            for end in ["# EOF\n", "# EOF\n", "nothing\n"] {
                let (mut stream, _) = listener.accept().expect("somebody comes");
                let reader = BufReader::new(stream.try_clone().expect("a socket"));
                let head: Vec<_> = reader
                    .lines()
                    .map_while(Result::ok)
                    .take_while(|line| !line.is_empty())
                    .collect();
                assert!(
                    head.iter().any(|line| line.contains("openmetrics")),
                    "{head:?}"
                );
                write!(stream, "HTTP/1.1 200 OK\r\n\r\nup 1\n{end}").expect("it listens");
            }
        });
        let scraper = Scraper::start(address, Duration::from_millis(20)).expect("a thread");
        server.join().expect("it was asked three times");
        while lock(&scraper.read).failed == 0 {
            std::thread::sleep(Duration::from_millis(5));
        }
        let note = scraper.note();
        assert!(note.starts_with("scraped 2 times, "), "{note}");
        assert!(note.contains(": 11 bytes"), "{note}");
    }

    #[test]
    fn intervals_are_times() {
        let every = Scrape::Every(Duration::from_secs(1));
        assert_eq!("1s".parse::<Scrape>().ok(), Some(every));
        assert_eq!("never".parse::<Scrape>().ok(), Some(Scrape::Never));
        for wrong in ["0s", "often", ""] {
            assert!(wrong.parse::<Scrape>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn disturbance_is_what_came_since() {
        let metrics = |stalls: u64| {
            Metrics::parse(&format!(
                "ringcast_node_turn_stalls_total{{stage=\"route\"}} {stalls}\nringcast_node_turn_stalls_total{{stage=\"driver\"}} 1\n\
                 ringcast_node_driver_kernel_drops_total{{driver=\"uring\"}} 4\n"
            ))
        };
        let (before, after) = (Disturbance::of(&metrics(2)), Disturbance::of(&metrics(7)));
        let note = after.note_since(&before);
        assert!(note.starts_with("while measured 5 turns"), "{note}");
        assert!(note.contains("dropped 0 datagrams"), "{note}");
    }
}
