//! Pictures that are shown a little later where packets get lost, so that what is sent again comes in time.
//!
//! A receiver sizes its buffer by the jitter that it sees, which on a way that only loses is small: a packet whose first repetition is
//! lost too then stops the picture. Its sender may ask for more with the playout-delay header extension. What is asked for has room for
//! a second repetition, and is taken back when nothing was lost for long.

use clock::Duration;

use crate::api::Kind;
use crate::engine::Engine;
use crate::model::publisher::Origin;
use crate::model::{Model, Outgoing};
use proto::rtp::Uri;

/// What a loss costs apart from round trips: until the next packet shows it, and until an answer is missed.
const NOTICED_AFTER: Duration = Duration::from_millis(50);
/// A publisher's way loses packets if so many of a million are missing, and does so until it are much fewer.
const LOSSY_PPM: u32 = 20_000;
const CALM_PPM: u32 = 3_000;

/// The peer of transport `key` has told how it receives the RTP stream `outgoing`.
pub(crate) fn on_report(engine: &mut Engine, key: u32, outgoing: u32) {
    let most = engine.config.playout_delay_max;
    let model = &mut engine.model;
    let stream = &model.outgoing[outgoing];
    let is_possible = stream.kind == Kind::Video
        && stream.rtx.is_some()
        && stream.described.extensions.id(Uri::PlayoutDelay).is_some();
    if !is_possible || !engine.config.nack || most.is_zero() {
        return;
    }
    let wanted = needed(model, key, stream).min(most);
    let before = stream.described.hold.map_or(Duration::ZERO, Hold::least);
    if wanted > before || (wanted.is_zero() && !before.is_zero()) {
        let is_numbered = model.exits[key].is_numbered;
        let stream = &mut model.outgoing[outgoing];
        stream.described.hold = Some(Hold::of(wanted));
        stream.rebuild_extensions(is_numbered);
    }
}

/// Two repetitions on each way that loses packets.
fn needed(model: &Model, key: u32, stream: &Outgoing) -> Duration {
    let transport = &model.transports[key];
    let mut needed = Duration::ZERO;
    if transport.lossy_until.is_some() {
        needed = transport.round_trip().saturating_mul(2);
    }
    if let Some(way_here) = way_here(model, stream) {
        needed = needed.saturating_add(way_here.saturating_mul(2));
    }
    match needed.is_zero() {
        true => needed,
        false => needed.saturating_add(NOTICED_AFTER),
    }
}

/// The round trip to the publisher, if packets get lost there. What comes by another worker says nothing of that.
fn way_here(model: &Model, stream: &Outgoing) -> Option<Duration> {
    let medium = model.media.get(stream.medium?)?;
    let Origin::Transport(publisher) = medium.origin else {
        return None;
    };
    let bound = match stream.described.hold {
        Some(hold) if !hold.least().is_zero() => CALM_PPM,
        _ => LOSSY_PPM,
    };
    let mut encodings = medium.encodings.iter().map(|key| &model.encodings[*key]);
    let is_lossy = encodings.any(|encoding| encoding.observed.loss_ppm() >= bound);
    is_lossy.then(|| model.transports[publisher].round_trip())
}

/// The value of the playout-delay extension: 12 bits each for the least and the most that a picture is held back, in 10 ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hold(pub(crate) [u8; 3]);

/// In 10 ms. A browser that is told a low one gives up smoothing.
const MOST: u32 = 1_000;

impl Hold {
    /// At least so long, rounded up.
    fn of(least: Duration) -> Self {
        let units = (least.as_millis() as u32).div_ceil(10).min(MOST);
        let [_, value @ ..] = (units << 12 | MOST).to_be_bytes();
        Self(value)
    }

    fn least(self) -> Duration {
        let [a, b, c] = self.0;
        let units = u32::from_be_bytes([0, a, b, c]) >> 12;
        Duration::from_millis(u64::from(units) * 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_is_two_numbers_of_twelve_bits() {
        let hold = Hold::of(Duration::from_millis(165));
        assert_eq!(hold.0, [0x01, 0x13, 0xe8]);
        assert_eq!(hold.least(), Duration::from_millis(170));
        assert_eq!(Hold::of(Duration::ZERO).0, [0x00, 0x03, 0xe8]);
    }
}
