//! Everything that is counted, read at one moment.

use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::exit::{Counts, Exit};
use crate::fleet::{Counters, Fleet};
use crate::measure::{Busy, own_time, process_time};
use crate::subject::{Readings, Subject};

/// For so long the best moment to begin is looked for, and in such steps.
const SEARCH: Duration = Duration::from_millis(150);
const STEP: Duration = Duration::from_millis(1);
/// When all that is due has come, and nothing more for this long, it is over.
const SILENCE: Duration = Duration::from_millis(50);
/// What has not come when nothing has for this long is lost: a forwarder on a busy machine may not run for a while.
const LONG_SILENCE: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

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
    /// Reads everything while the load goes on, when as little as possible is on its way: published packets and their copies are
    /// counted in different places, and what is counted in one only would be taken for loss, or would hide it.
    pub(super) fn in_motion(
        subject: &mut dyn Subject,
        fleet: &Fleet,
        exit: &mut Exit,
        copies: f64,
    ) -> anyhow::Result<Self> {
        let readings = readings(subject)?;
        let end = Instant::now() + SEARCH;
        let mut best = Self::read(subject, fleet, exit)?;
        while Instant::now() < end {
            std::thread::sleep(STEP);
            let next = Self::read(subject, fleet, exit)?;
            if next.on_the_way(copies) <= best.on_the_way(copies) {
                best = next;
            }
        }
        best.subject = readings;
        Ok(best)
    }

    /// Ends the load that began with `before`, waits until everything has come, and reads everything. Its time is that at which
    /// the load ended.
    pub(super) fn at_rest(
        before: &Self,
        subject: &mut dyn Subject,
        fleet: &Fleet,
        exit: &mut Exit,
        copies: f64,
    ) -> anyhow::Result<Self> {
        fleet.hush()?;
        let at = Instant::now();
        let mut last = Self::read(subject, fleet, exit)?;
        let mut silent_since = Instant::now();
        while at.elapsed() < LONGEST_WAIT {
            let is_missing = last.on_the_way(copies) > before.on_the_way(copies);
            let silence = if is_missing { LONG_SILENCE } else { SILENCE };
            if silent_since.elapsed() >= silence {
                break;
            }
            std::thread::sleep(STEP * 5);
            let next = Self::read(subject, fleet, exit)?;
            if next.rtp() != last.rtp() {
                silent_since = Instant::now();
            }
            last = next;
        }
        last.subject = readings(subject)?;
        Ok(Self { at, ..last })
    }

    fn read(subject: &dyn Subject, fleet: &Fleet, exit: &mut Exit) -> anyhow::Result<Self> {
        // The exit before the fleet: what is published in between then looks as if it were on its way, and such a moment is not
        // chosen. The other way round it would look like copies of nothing, and be preferred.
        let exit = exit.counts()?;
        Ok(Self {
            at: Instant::now(),
            fleet: fleet.counters()?,
            exit,
            subject: Readings::default(),
            subject_time: processor_time(subject)?,
            own_time: own_time(),
            machine: Busy::read()?,
        })
    }

    /// Copies that have come to where they are counted.
    fn rtp(&self) -> u64 {
        match self.exit {
            None => self.fleet.received_packets,
            // What is not RTP passes as a whole.
            Some(counts) => {
                (counts.offered + self.fleet.received_packets) - counts.passed.min(counts.offered)
            }
        }
    }

    /// Copies that are due and have not come, plus a number that is the same all the time.
    fn on_the_way(&self, copies: f64) -> f64 {
        self.fleet.published_packets as f64 * copies - self.rtp() as f64
    }
}

fn readings(subject: &mut dyn Subject) -> anyhow::Result<Readings> {
    subject
        .readings()
        .context("the forwarder does not say what it has done")
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
