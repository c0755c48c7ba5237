//! The master's questions about streams, asked of the workers a few transports at a time.
//!
//! Sans-IO. One order is under way at a time, and the next one waits until the link has taken the answer to the last: however many
//! transports there are and however slow the master is, workers and link have little to do with it at any moment.

use std::collections::VecDeque;

use link::state;
use link::statistics::{
    ReceivedStatistics, SentStatistics, StatisticsAnswer, StreamStatistics, TransportStatistics,
};
use sfu::api::{Command, Kind, TransportId};
use sfu::statistics as counted;

/// Transports of one order, and of one part of an answer. A worker looks at so many within a few dozen microseconds.
const PART: usize = 64;
/// Questions that wait. The master does not ask that many.
const QUESTIONS_MAX: usize = 64;

/// The questions that have not been answered.
#[derive(Debug, Default)]
pub struct Questions {
    waiting: VecDeque<Waiting>,
    /// The number of the order under way.
    under_way: Option<u64>,
    orders: u64,
    answer: Option<StatisticsAnswer>,
}

#[derive(Debug)]
struct Waiting {
    number: u64,
    parts: VecDeque<(u16, Vec<TransportId>)>,
}

impl Questions {
    /// The master asks about these transports, each with its worker. Without room for another question nobody answers it.
    pub fn ask(&mut self, number: u64, transports: impl Iterator<Item = (u16, TransportId)>) {
        if self.waiting.len() >= QUESTIONS_MAX {
            tracing::warn!(number, "too many questions about streams");
            return;
        }
        let mut all: Vec<_> = transports.collect();
        all.sort_unstable();
        let by_worker = all.chunk_by(|one, next| one.0 == next.0);
        let parts = by_worker.flat_map(|of_one| of_one.chunks(PART));
        let parts = parts
            .map(|part| (part[0].0, part.iter().map(|(_, id)| *id).collect()))
            .collect();
        self.waiting.push_back(Waiting { number, parts });
    }

    /// The next order, and for which worker.
    pub fn poll_order(&mut self) -> Option<(u16, Command)> {
        if self.under_way.is_some() || self.answer.is_some() {
            return None;
        }
        let first = self.waiting.front_mut()?;
        let Some((worker, transports)) = first.parts.pop_front() else {
            // There is nobody to ask about.
            self.answer = Some(StatisticsAnswer {
                number: first.number,
                ..StatisticsAnswer::default()
            });
            self.waiting.pop_front();
            return None;
        };
        self.orders += 1;
        self.under_way = Some(self.orders);
        let number = self.orders;
        Some((worker, Command::TellStatistics { number, transports }))
    }

    /// A worker has answered an order. `name` is what the master calls a transport; those that are gone have none.
    pub fn on_told<'a>(
        &mut self,
        number: u64,
        transports: Vec<counted::TransportStatistics>,
        name: impl Fn(TransportId) -> Option<&'a state::TransportId>,
    ) {
        // An order of before the link was lost.
        if self
            .under_way
            .take_if(|under_way| *under_way == number)
            .is_none()
        {
            return;
        }
        let Some(first) = self.waiting.front() else {
            return;
        };
        let named = |one: counted::TransportStatistics| Some(transport(name(one.id)?, one));
        let answer = StatisticsAnswer {
            number: first.number,
            transports: transports.into_iter().filter_map(named).collect(),
            more: !first.parts.is_empty(),
        };
        if !answer.more {
            self.waiting.pop_front();
        }
        self.answer = Some(answer);
    }

    /// The next part for the master.
    pub fn poll_answer(&mut self) -> Option<StatisticsAnswer> {
        self.answer.take()
    }

    /// The master is gone, and its questions with it.
    pub fn clear(&mut self) {
        self.waiting.clear();
        self.under_way = None;
        self.answer = None;
    }
}

fn transport(id: &state::TransportId, of: counted::TransportStatistics) -> TransportStatistics {
    let received = of.received.into_iter().map(|one| ReceivedStatistics {
        kind: kind(one.kind),
        rid: one.rid,
        stream: stream(one.stream),
    });
    let sent = of.sent.into_iter().map(|one| SentStatistics {
        kind: kind(one.kind),
        rid: one.rid,
        temporal: one.temporal,
        wanted_bits_per_second: one.wanted_bits_per_second,
        stream: stream(one.stream),
    });
    TransportStatistics {
        id: id.clone(),
        round_trip_micros: of
            .round_trip
            .map(|round_trip| u32::try_from(round_trip.as_micros()).unwrap_or(u32::MAX)),
        estimate_bits_per_second: of.estimate,
        received: received.collect(),
        sent: sent.collect(),
    }
}

fn stream(of: counted::StreamStatistics) -> StreamStatistics {
    StreamStatistics {
        bits_per_second: of.bits_per_second,
        packets: of.packets,
        packets_lost: of.packets_lost,
        loss_ppm: of.loss_ppm,
        jitter_micros: of.jitter_micros,
        nacks: of.nacks,
        key_frame_requests: of.key_frame_requests,
    }
}

fn kind(kind: Kind) -> state::Kind {
    match kind {
        Kind::Audio => state::Kind::Audio,
        Kind::Video => state::Kind::Video,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(questions: &mut Questions, command: Command, name: &state::TransportId) {
        let Command::TellStatistics { number, transports } = command else {
            panic!("another order: {command:?}");
        };
        let known = |id| counted::TransportStatistics {
            id,
            round_trip: None,
            estimate: None,
            received: Vec::new(),
            sent: Vec::new(),
        };
        let all = transports.into_iter().map(known).collect();
        questions.on_told(number, all, |_| Some(name));
    }

    #[test]
    fn thousands_are_asked_about_in_parts_and_one_part_at_a_time() {
        let name = state::TransportId::new("t");
        let mut questions = Questions::default();
        questions.ask(7, (0..1_000).map(|id| ((id % 2) as u16, TransportId(id))));
        questions.ask(8, std::iter::empty());
        let (mut parts, mut heard) = (0, 0);
        loop {
            let (_, command) = questions.poll_order().expect("an order");
            assert!(questions.poll_order().is_none(), "one at a time");
            told(&mut questions, command, &name);
            assert!(questions.poll_order().is_none(), "the link is slow");
            let answer = questions.poll_answer().expect("a part");
            assert!(answer.number == 7 && answer.transports.len() <= PART);
            (parts, heard) = (parts + 1, heard + answer.transports.len());
            if !answer.more {
                break;
            }
        }
        assert_eq!((parts, heard), (16, 1_000));
        assert!(questions.poll_order().is_none());
        let answer = questions.poll_answer().expect("nothing is an answer, too");
        assert_eq!((answer.number, answer.more), (8, false));
        assert!(questions.poll_answer().is_none());
    }

    #[test]
    fn what_an_earlier_master_asked_is_not_told_to_the_next() {
        let name = state::TransportId::new("t");
        let mut questions = Questions::default();
        questions.ask(1, std::iter::once((0, TransportId(1))));
        let (_, old) = questions.poll_order().expect("an order");
        questions.clear();
        questions.ask(1, std::iter::once((0, TransportId(2))));
        let (_, new) = questions.poll_order().expect("an order");
        told(&mut questions, old, &name);
        assert!(questions.poll_answer().is_none());
        told(&mut questions, new, &name);
        assert!(questions.poll_answer().is_some());
    }

    #[test]
    fn questions_are_bounded() {
        let mut questions = Questions::default();
        for number in 0..1_000 {
            questions.ask(number, std::iter::empty());
        }
        assert_eq!(questions.waiting.len(), QUESTIONS_MAX);
    }
}
