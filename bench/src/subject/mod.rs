//! Who is measured: Ringcast, or one of those it is compared with.

pub mod baseline;
mod browsers;
mod process;
pub mod ringcast;
pub mod rival;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use crate::exit::Exit;
use crate::fleet::Fleet;
use crate::plan::Plan;
use crate::runner::Watch;

/// Who is to be measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// One of the built-in forwarders.
    Baseline(baseline::Options),
    /// Ringcast, started from its binaries.
    Ringcast(ringcast::Options),
    /// A server of others, started as it was installed.
    Rival(rival::Options),
    /// A Ringcast that runs already.
    Running(ringcast::Running),
}

impl Choice {
    /// What it is called in reports.
    pub fn name(&self) -> String {
        match self {
            Self::Baseline(options) => options.kind.to_string(),
            Self::Ringcast(options) => options.name.clone(),
            Self::Rival(options) => options.name.clone(),
            Self::Running(running) => running.name.clone(),
        }
    }

    /// Starts it in its place at `exit`. `program` is `ringcast-bench`.
    ///
    /// # Errors
    /// If it cannot run here: the error says why, and that is the result.
    pub fn start(
        &self,
        program: &Path,
        exit: &Exit,
        plan: &Plan,
    ) -> anyhow::Result<Box<dyn Subject>> {
        match self {
            Self::Baseline(options) => Ok(Box::new(baseline::Baseline::start(
                program, options, exit, plan.suite, plan.seed,
            )?)),
            Self::Ringcast(options) => Ok(Box::new(ringcast::Ringcast::start(
                options, exit, plan.seed,
            )?)),
            Self::Rival(options) => Ok(Box::new(rival::Rival::start(options, exit, plan.seed)?)),
            Self::Running(running) => Ok(Box::new(ringcast::Ringcast::attach(running, plan.seed)?)),
        }
    }
}

/// A forwarder that was started, or attached to, for one run.
pub trait Subject: Send {
    /// What it is called in reports.
    fn name(&self) -> String;

    /// The processes whose processor time and memory are the forwarder's.
    fn processes(&self) -> Vec<u32>;

    /// Where it takes media, for those who want to send it something else.
    fn media_addresses(&self) -> Vec<SocketAddr>;

    /// Brings everybody of `plan` in, and returns when all are connected.
    ///
    /// # Errors
    /// If somebody is not let in or does not connect, or when [`Watch::is_over`] says so.
    fn connect(&mut self, fleet: &Fleet, plan: &Plan, watch: &Watch<'_>) -> anyhow::Result<()>;

    /// Lets so many viewers go and as many new ones come. Need not wait until these are connected.
    ///
    /// # Errors
    /// If somebody is not let in.
    fn replace_viewers(&mut self, fleet: &Fleet, count: usize) -> anyhow::Result<()>;

    /// What the forwarder says of itself, up to now.
    ///
    /// # Errors
    /// If it does not answer.
    fn readings(&mut self) -> anyhow::Result<Readings>;

    /// What a reader of its figures must know besides.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }

    /// Ends whatever only signalling needs while media stay as they are, so that what the kernel keeps for media can be told from it.
    fn hang_up(&mut self) {}

    /// Ends it. Dropping it does too, less politely.
    ///
    /// # Errors
    /// If it has ended before by itself.
    fn stop(&mut self) -> anyhow::Result<()>;
}

/// Counters that a forwarder keeps of itself. They only grow: a measurement is the difference of two readings.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Readings {
    /// System calls for media.
    pub system_calls: Option<u64>,
    /// Runs sent, by their number of packets: element *n* counts runs of *n*.
    pub runs: Option<Vec<u64>>,
    /// Packets by the time from their arrival in the kernel until their copies were handed to it: upper bounds in nanoseconds
    /// and how many packets stayed below, cumulative. The last bound is infinite.
    pub latency: Option<Vec<(f64, u64)>>,
    /// Datagrams received.
    pub received: Option<u64>,
    /// Packets handed to the kernel.
    pub sent: Option<u64>,
    /// Datagrams that were neither forwarded nor consumed, by reason.
    pub dropped: BTreeMap<String, u64>,
    /// Entries that must not change while only strangers come: transports, handshakes under way, and whatever other tables the
    /// forwarder tells of.
    pub state: Option<u64>,
}
