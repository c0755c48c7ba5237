//! What somebody who knows the future needs: the demand of all sessions together, and the nodes that it takes at least.

use scheduler::Demand;

use crate::workload::{Session, Workload, shape};

/// Demand is summed up in slots of so many ms.
const SLOT: u64 = 1000;

/// The demand of everything that is asked for, whoever serves it.
#[derive(Clone, Debug, Default)]
pub struct Oracle {
    /// Packets a second in each second.
    pub packets: Vec<f64>,
    /// The most that one session takes, packets a second.
    pub largest: f64,
}

/// What a session really takes: the scheduler's reckoning, times what is peculiar to it.
pub fn cost(session: &Session, present: u32) -> Demand {
    let usual = shape(present, session.publishers).demand();
    Demand {
        packets: usual.packets * session.packets,
        bits: usual.bits * session.bits,
        ..usual
    }
}

impl Oracle {
    /// Looks at all that will happen until `span`, ms.
    pub fn of(load: &Workload, span: u64) -> Self {
        let mut changes = vec![0.0; (span / SLOT + 2) as usize];
        let last = changes.len() - 1;
        let mut largest: f64 = 0.0;
        for session in &load.sessions {
            let (mut present, mut takes) = (0, 0.0);
            let steps = &load.steps[session.steps.clone()];
            for step in steps {
                present = if step.joins { present + 1 } else { present - 1 };
                let now = cost(session, present).packets;
                changes[((step.at / SLOT) as usize).min(last)] += now - takes;
                takes = now;
                largest = largest.max(now);
            }
            changes[((session.ends / SLOT) as usize).min(last)] -= takes;
        }
        let mut sum = 0.0;
        for change in &mut changes {
            sum += *change;
            *change = sum;
        }
        changes.truncate((span / SLOT) as usize);
        Self {
            packets: changes,
            largest,
        }
    }

    /// Packets a second when there are most.
    pub fn peak(&self) -> f64 {
        self.packets.iter().copied().fold(0.0, f64::max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Scale;

    #[test]
    fn the_peak_comes_after_a_spike_and_all_is_counted() {
        let scale = Scale {
            nodes: 10,
            sessions: 20_000,
            span: 5_400_000,
            seed: 3,
        };
        let load = Workload::draw(scale);
        let oracle = Oracle::of(&load, scale.span);
        let peak = oracle.peak();
        let at = oracle.packets.iter().position(|packets| *packets == peak);
        let at = at.expect("there is a peak") as u64 * SLOT;
        let after = load
            .spikes
            .iter()
            .any(|spike| (spike.at..spike.at + 1_200_000).contains(&at));
        assert!(after, "{at}");
        assert!(oracle.packets.iter().all(|packets| *packets > -1.0));
        assert!(oracle.largest < peak && oracle.largest > peak / 20_000.0);
    }
}
