//! Everything that is counted, read at one moment.

use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::exit::{Counts, Exit};
use crate::fleet::{Counters, Fleet};
use crate::measure::{Busy, own_time, process_time};
use crate::subject::{Readings, Subject};

/// A moment is quiet when nothing was published and nothing left during this time.
const QUIET: Duration = Duration::from_micros(300);
/// How long a quiet moment is looked for. Then any will do: a load without pauses has little on its way at any one.
const SEARCH: Duration = Duration::from_millis(150);

/// Cumulative counters of everybody.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) at: Instant,
    pub(super) fleet: Counters,
    pub(super) exit: Option<Counts>,
    pub(super) subject: Readings,
    pub(super) subject_time: Duration,
    /// Of this process, in which the fleet lives.
    pub(super) own_time: Duration,
    pub(super) machine: Busy,
}

impl Snapshot {
    /// Reads everything, at a moment when no packet is on its way if there is one: published packets and their copies are counted
    /// in different places, and a frame that was counted in one only would be taken for loss.
    pub(super) fn take(
        subject: &mut dyn Subject,
        fleet: &Fleet,
        exit: &mut Exit,
    ) -> anyhow::Result<Self> {
        // Asking the forwarder may take it a while, so it comes first.
        let readings = subject
            .readings()
            .context("the forwarder does not say what it has done")?;
        let (fleet, exit) = quiet_counters(fleet, exit)?;
        Ok(Self {
            at: Instant::now(),
            subject_time: processor_time(subject)?,
            own_time: own_time(),
            machine: Busy::read()?,
            fleet,
            exit,
            subject: readings,
        })
    }
}

/// Processor time of all processes of a forwarder.
pub(super) fn processor_time(subject: &dyn Subject) -> anyhow::Result<Duration> {
    let mut total = Duration::ZERO;
    for pid in subject.processes() {
        total += process_time(pid)
            .with_context(|| format!("process {pid} of {} has ended", subject.name()))?;
    }
    Ok(total)
}

fn quiet_counters(fleet: &Fleet, exit: &mut Exit) -> anyhow::Result<(Counters, Option<Counts>)> {
    let end = Instant::now() + SEARCH;
    let mut counters = fleet.counters()?;
    let mut counts = exit.counts()?;
    loop {
        std::thread::sleep(QUIET);
        let (later, later_counts) = (fleet.counters()?, exit.counts()?);
        let is_quiet = later.published_packets == counters.published_packets
            && later.received_packets == counters.received_packets
            && later_counts == counts;
        if is_quiet || Instant::now() > end {
            return Ok((later, later_counts));
        }
        (counters, counts) = (later, later_counts);
    }
}
