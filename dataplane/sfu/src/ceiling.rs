//! How much of a picture a subscriber is sent at most, where the application says so: the highest encoding that keeps to it, and
//! of the lowest as few temporal layers as it takes. There is nothing to be done about a single one without layers.
//!
//! Looked at about once a second, by what was measured meanwhile. Rates of encoders wander, so what somebody has may take
//! more than what he could have.

use clock::{Duration, Instant};

use crate::api::LayerLimit;
use crate::budget::Meter;
use crate::engine::Engine;
use crate::select;

/// What somebody has may take so much of the ceiling, and what he might get no more than that, in percent.
const KEEPS_PERCENT: u64 = 110;
const TAKES_PERCENT: u64 = 95;
/// Below this part of the ceiling there is room for another temporal layer, which may double what is sent, in percent.
const ROOM_PERCENT: u64 = 45;
/// Codecs have no more temporal layers than that in practice; the highest, from zero.
const TEMPORAL_MAX: u8 = 2;
/// After a change of temporal layers nothing is changed for so long.
const REST: Duration = Duration::from_secs(4);
/// What comes from another worker is measured only while it is forwarded: after it was too much it is tried again so late.
const RETRY: Duration = Duration::from_secs(30);

/// What one RTP stream keeps to.
#[derive(Debug)]
pub(crate) struct Ceiling {
    /// In bit/s.
    max: u64,
    sent: Meter,
    limit: LayerLimit,
    changed: Instant,
    /// An encoding that was too much lately, and until when.
    too_much: Option<(u8, Instant)>,
}

impl Ceiling {
    /// No more than `max` bit/s.
    pub(crate) fn new(max: u64) -> Self {
        Self {
            max,
            sent: Meter::default(),
            limit: LayerLimit::NONE,
            changed: Instant::ZERO,
            too_much: None,
        }
    }

    /// What to keep to, where the encodings that there could be take `rates`, lowest first.
    fn follow(
        &mut self,
        now: Instant,
        sent: u32,
        rates: impl DoubleEndedIterator<Item = (u8, Option<u64>)>,
    ) -> LayerLimit {
        self.sent.read(sent, now);
        let has = self.limit.encoding.unwrap_or(0);
        let mut lowest = None;
        for (place, rate) in rates.rev() {
            if self.may_have(now, place, rate.filter(|rate| *rate > 0), place <= has) {
                self.limit = LayerLimit {
                    encoding: Some(place),
                    temporal: u8::MAX,
                };
                return self.limit;
            }
            lowest = Some(place);
        }
        let Some(lowest) = lowest else {
            return self.limit;
        };
        if has != lowest {
            self.changed = now;
        }
        self.limit.encoding = Some(lowest);
        self.thin_out(now);
        self.limit
    }

    /// Whether an encoding keeps to it, as far as is known.
    fn may_have(&mut self, now: Instant, place: u8, rate: Option<u64>, has: bool) -> bool {
        let percent = if has { KEEPS_PERCENT } else { TAKES_PERCENT };
        match rate {
            Some(rate) if rate > self.max * percent / 100 => {
                let before = self.too_much.filter(|(before, _)| *before < place);
                self.too_much = before.or(Some((place, now + RETRY)));
                false
            }
            Some(_) => true,
            None => self
                .too_much
                .is_none_or(|(least, until)| place < least || until <= now),
        }
    }

    /// Not even the lowest encoding keeps to it: temporal layers go.
    fn thin_out(&mut self, now: Instant) {
        let Some(sent) = self.sent.rate() else {
            return;
        };
        if now.saturating_since(self.changed) < REST {
            return;
        }
        let before = self.limit.temporal;
        let has = before.min(TEMPORAL_MAX);
        if sent > self.max * KEEPS_PERCENT / 100 {
            self.limit.temporal = has.saturating_sub(1);
        } else if sent < self.max * ROOM_PERCENT / 100 && has < TEMPORAL_MAX {
            self.limit.temporal = has + 1;
        }
        if self.limit.temporal != before {
            self.changed = now;
        }
    }
}

/// Looks whether what leaves by a transport keeps to its ceilings.
pub(crate) fn look(engine: &mut Engine, now: Instant, key: u32) {
    for nth in 0..engine.model.transports[key].outgoing.len() {
        let outgoing = engine.model.transports[key].outgoing[nth];
        if let Some(limit) = follow(engine, now, outgoing) {
            select::cap(engine, outgoing, limit);
        }
    }
}

fn follow(engine: &mut Engine, now: Instant, outgoing: u32) -> Option<LayerLimit> {
    let model = &mut engine.model;
    let stream = &mut model.outgoing[outgoing];
    let ceiling = stream.layers.as_mut()?.ceiling.as_mut()?;
    let medium = &model.media[stream.medium?];
    let arriving = medium.arriving;
    for encoding in &medium.encodings {
        let encoding = &mut model.encodings[*encoding];
        encoding.rate.read(encoding.bytes as u32, now);
    }
    let encodings = medium.encodings.iter().enumerate();
    let rates = encodings
        .map(|(place, encoding)| (place as u8, model.encodings[*encoding].rate.rate()))
        .filter(|(place, _)| arriving.contains(*place));
    Some(ceiling.follow(now, stream.sent.octets, rates))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Sender {
        ceiling: Ceiling,
        now: Instant,
        octets: u32,
    }

    impl Sender {
        fn new(max: u64) -> Self {
            Self {
                ceiling: Ceiling::new(max),
                now: Instant::from_millis(5_000),
                octets: 0,
            }
        }

        /// One more second; encodings take `rates`, of which the lower temporal layers take 40 and 60 %.
        fn second(&mut self, rates: &[u64]) -> LayerLimit {
            let limit = self.ceiling.limit;
            let place = usize::from(limit.encoding.unwrap_or(0)).min(rates.len() - 1);
            let part = [40, 60, 100][usize::from(limit.temporal.min(2))];
            self.octets += (rates[place] * part / 100 / 8) as u32;
            self.now += Duration::from_secs(1);
            let rates = (0..).zip(rates.iter().map(|rate| Some(*rate)));
            let rates: Vec<_> = rates.collect();
            self.ceiling
                .follow(self.now, self.octets, rates.into_iter())
        }
    }

    #[test]
    fn the_highest_that_keeps_to_it_and_no_flicker() {
        let mut sender = Sender::new(500_000);
        let limit = sender.second(&[150_000, 450_000, 1_200_000]);
        assert_eq!((limit.encoding, limit.temporal), (Some(1), u8::MAX));
        assert_eq!(
            sender.second(&[150_000, 540_000, 1_200_000]).encoding,
            Some(1)
        );
        assert_eq!(
            sender.second(&[150_000, 560_000, 1_200_000]).encoding,
            Some(0)
        );
        assert_eq!(
            sender.second(&[150_000, 490_000, 1_200_000]).encoding,
            Some(0)
        );
        assert_eq!(
            sender.second(&[150_000, 470_000, 1_200_000]).encoding,
            Some(1)
        );
        assert_eq!(
            sender.second(&[150_000, 200_000, 250_000]).encoding,
            Some(2)
        );
    }

    #[test]
    fn what_was_too_much_is_tried_again_much_later_if_nobody_measures_it() {
        let mut ceiling = Ceiling::new(500_000);
        let mut has = 1;
        let mut tried = Vec::new();
        for second in 5..100 {
            let now = Instant::from_millis(1_000 * second);
            // As from another worker: only what is forwarded comes.
            let rates = [(0, 150_000), (1, 800_000)];
            let rates = rates.map(|(place, rate)| (place, (place == has).then_some(rate)));
            let limit = ceiling.follow(now, 0, rates.into_iter());
            if limit.encoding == Some(1) && has == 0 {
                tried.push(second);
            }
            has = limit.encoding.unwrap();
        }
        assert_eq!(tried, [35, 66, 97]);
    }

    #[test]
    fn where_there_is_only_one_its_layers_go_and_come_back() {
        let mut sender = Sender::new(500_000);
        for _ in 0..12 {
            sender.second(&[1_200_000]);
        }
        assert_eq!(sender.ceiling.limit.temporal, 0);
        for _ in 0..20 {
            sender.second(&[1_200_000]);
            assert_eq!(sender.ceiling.limit.temporal, 0, "480 of 500");
        }
        assert_eq!(sender.second(&[400_000]).temporal, u8::MAX);
    }
}
