//! A model of a browser's VP8 encoder: which encodings it makes at which rate, how big their pictures are, and what each
//! picture builds on. It knows rates and not pictures.

use std::collections::BTreeSet;

use clock::{Duration, Instant, Rng};

/// What somebody's encoder does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoder {
    /// One encoding with pictures as big as the dice say, whatever the path carries.
    Careless,
    /// Makes no more than the path carries, as browsers do.
    Obedient {
        /// Versions of the picture, named by RID: three, at a quarter, half and all of width and height, or one.
        encodings: u8,
        /// Temporal layers, one to three.
        layers: u8,
    },
}

/// The rates of one encoding, in bits per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rates {
    /// Below it the encoding is switched off.
    pub(crate) min: u64,
    /// So much it gets before the next one gets anything.
    pub(crate) target: u64,
    /// More does not help.
    pub(crate) max: u64,
}

impl Rates {
    const fn kbit(min: u64, target: u64, max: u64) -> Self {
        Self {
            min: min * 1_000,
            target: target * 1_000,
            max: max * 1_000,
        }
    }
}

/// 240×135, 480×270 and 960×540, as libwebrtc's table of simulcast has them (media/engine/simulcast.cc).
const SIMULCAST: [Rates; 3] = [
    Rates::kbit(30, 150, 200),
    Rates::kbit(150, 350, 450),
    Rates::kbit(350, 1_200, 1_200),
];
/// 960×540 alone (libwebrtc's default without simulcast).
const SINGLE: [Rates; 1] = [Rates::kbit(30, 2_000, 2_000)];

/// What an encoding that is off needs beyond its least rate before it is switched on, in percent.
const HYSTERESIS: u64 = 110;
/// How much bigger a key frame is than the average picture.
const KEY_FRAME: u64 = 5;
/// What is owed is paid back within this.
const PAY_BACK: Duration = Duration::from_millis(700);
/// Whoever owes more than he may send in this time leaves out a picture.
const DEBT_MAX: Duration = Duration::from_millis(500);
/// The smallest picture, in bytes.
const PICTURE_MIN: u64 = 120;

/// A picture to be sent in one encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Picture {
    /// Which of the encodings, lowest first.
    pub(crate) encoding: usize,
    /// The same for all encodings of one moment.
    pub(crate) number: u32,
    pub(crate) bytes: usize,
    pub(crate) is_key: bool,
    /// Temporal layer, whether it builds on the lowest one only, and the count of pictures of the lowest one.
    pub(crate) temporal: Option<(u8, bool, u8)>,
    /// Pictures that must have been decoded.
    pub(crate) builds_on: [Option<u32>; 2],
}

/// The encodings of one camera.
#[derive(Clone, Debug)]
pub(crate) struct Camera {
    layers: u8,
    pictures: u32,
    number: u32,
    versions: Vec<Version>,
    wants_key_frame: bool,
    /// Encodings, and numbers of pictures that they left out because they owed too much.
    pub(crate) left_out: BTreeSet<(u8, u32)>,
    rng: Rng,
}

#[derive(Clone, Debug)]
struct Version {
    rates: Rates,
    /// Bits per second; zero while it is off.
    rate: u64,
    /// Bytes sent beyond what the rate allows.
    debt: i64,
    /// Place in the pattern of temporal layers.
    step: u32,
    tl0: u8,
    /// The last picture of each temporal layer.
    last: [Option<u32>; 3],
}

impl Camera {
    /// One that makes so many pictures a second.
    pub(crate) fn new(encodings: u8, layers: u8, pictures: u32, mut rng: Rng) -> Self {
        let rates = match encodings {
            3 => SIMULCAST.to_vec(),
            1 => SINGLE.to_vec(),
            other => panic!("one encoding or three, not {other}"),
        };
        let versions = rates.into_iter().map(|rates| Version {
            rates,
            rate: 0,
            debt: 0,
            step: 0,
            tl0: rng.below(256) as u8,
            last: [None; 3],
        });
        Self {
            layers,
            pictures,
            number: 0,
            versions: versions.collect(),
            wants_key_frame: true,
            left_out: BTreeSet::new(),
            rng,
        }
    }

    /// The most that it can use.
    pub(crate) fn rate_max(&self) -> u64 {
        let (top, below) = self.versions.split_last().expect("there are encodings");
        let below: u64 = below.iter().map(|version| version.rates.target).sum();
        below + top.rates.max
    }

    /// Rates of the encodings now, lowest first.
    pub(crate) fn rates(&self) -> [u64; 3] {
        let mut rates = [0; 3];
        for (rate, version) in rates.iter_mut().zip(&self.versions) {
            *rate = version.rate;
        }
        rates
    }

    /// Shares `bits_per_second` among the encodings: from the lowest one up, each its target, the highest that fits gets the
    /// rest (libwebrtc's SimulcastRateAllocator). The lowest is never switched off.
    pub(crate) fn set_rate(&mut self, bits_per_second: u64) {
        let mut left = bits_per_second;
        let mut is_open = true;
        let mut top = 0;
        for (place, version) in self.versions.iter_mut().enumerate() {
            let needed = match version.rate {
                0 => version.rates.min * HYSTERESIS / 100,
                _ => version.rates.min,
            };
            is_open &= place == 0 || left >= needed;
            let was_off = version.rate == 0;
            version.rate = match is_open {
                true => left.clamp(version.rates.min, version.rates.target),
                false => 0,
            };
            left = left.saturating_sub(version.rate);
            if is_open {
                top = place;
                self.wants_key_frame |= was_off;
            }
        }
        let version = &mut self.versions[top];
        version.rate = (version.rate + left).min(version.rates.max);
    }

    /// Somebody needs a key frame: every encoding makes one, as libwebrtc's VP8 encoder does.
    pub(crate) fn want_key_frame(&mut self) {
        self.wants_key_frame = true;
    }

    /// The next picture in every encoding that is on and may send one.
    pub(crate) fn take(&mut self) -> Vec<Picture> {
        let is_key = core::mem::take(&mut self.wants_key_frame);
        let number = self.number;
        let mut taken = Vec::new();
        for (encoding, version) in self.versions.iter_mut().enumerate() {
            if version.rate == 0 {
                continue;
            }
            let frame = version.rate / 8 / u64::from(self.pictures);
            let may_owe = version.rate / 8 * DEBT_MAX.as_millis() as u64 / 1_000;
            if version.debt > may_owe as i64 && !is_key {
                version.debt -= frame as i64;
                self.left_out.insert((encoding as u8, number));
                continue;
            }
            let mut picture = version.next(number, is_key, self.layers);
            picture.encoding = encoding;
            let share = match (is_key, self.layers, picture.temporal) {
                (true, ..) => 100 * KEY_FRAME,
                // 40, 20 and 40 % of the rate in one, one and two pictures of four.
                (_, 3, Some((0, ..))) => 160,
                (_, 3, _) => 80,
                // 60 and 40 % in one of two each.
                (_, 2, Some((0, ..))) => 120,
                (_, 2, _) => 80,
                _ => 100,
            };
            let pay_back = u64::from(self.pictures) * PAY_BACK.as_millis() as u64 / 1_000;
            let paid = version.debt.max(0) as u64 / pay_back.max(1);
            let size = frame * share / 100 * (85 + self.rng.below(31)) / 100;
            let size = size.saturating_sub(paid).max(size / 4).max(PICTURE_MIN);
            version.debt = (version.debt + size as i64 - frame as i64).max(-(frame as i64));
            picture.bytes = size as usize;
            taken.push(picture);
        }
        self.number += u32::from(!taken.is_empty());
        taken
    }
}

impl Version {
    /// The next place in the pattern 0 2 1 2, or 0 1, or 0.
    fn next(&mut self, number: u32, is_key: bool, layers: u8) -> Picture {
        if is_key {
            self.step = 0;
            self.last = [None; 3];
        }
        let place = self.step % 4;
        self.step += 1;
        let id: u8 = match (layers, place) {
            (3, 0) => 0,
            (3, 2) => 1,
            (3, _) => 2,
            (2, odd) => (odd % 2) as u8,
            _ => 0,
        };
        self.tl0 = self.tl0.wrapping_add(u8::from(id == 0));
        let [base, middle, _] = self.last;
        // The second picture of the highest layer builds on the middle one too; all others on the lowest only.
        let second = middle.filter(|_| layers == 3 && place == 3);
        let builds_on = match is_key {
            true => [None; 2],
            false => [base, second],
        };
        let syncs = id > 0 && second.is_none();
        self.last[usize::from(id)] = Some(number);
        Picture {
            encoding: 0,
            number,
            bytes: 0,
            is_key,
            temporal: (layers > 1).then_some((id, syncs, self.tl0)),
            builds_on,
        }
    }
}

/// How fast something is sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// When the next may leave.
    next: Instant,
}

/// What nothing was sent for may be sent at once (libwebrtc's pacer sends bursts of this length).
const BURST: Duration = Duration::from_millis(40);

impl Pace {
    pub(crate) const fn new(now: Instant) -> Self {
        Self { next: now }
    }

    /// When something may be sent.
    pub(crate) const fn next(&self) -> Instant {
        self.next
    }

    /// So much was sent.
    pub(crate) fn spend(&mut self, now: Instant, bytes: usize, bits_per_second: u64, burst: bool) {
        let bits = bytes as u64 * 8;
        let takes = Duration::from_nanos(bits * 1_000_000_000 / bits_per_second.max(1));
        let saved = if burst { BURST } else { Duration::ZERO };
        self.next = self.next.max(now.saturating_sub(saved)) + takes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn camera(encodings: u8, layers: u8) -> Camera {
        Camera::new(encodings, layers, 15, Rng::from_number(1))
    }

    #[test]
    fn encodings_that_do_not_fit_are_switched_off() {
        let mut camera = camera(3, 1);
        for (rate, expected) in [
            (20, [30, 0, 0]),
            (100, [100, 0, 0]),
            (300, [200, 0, 0]),
            (400, [150, 250, 0]),
            (800, [150, 450, 0]),
            (1_000, [150, 350, 500]),
            (860, [150, 350, 360]),
            (840, [150, 450, 0]),
            (9_000, [150, 350, 1_200]),
        ] {
            camera.set_rate(rate * 1_000);
            let rates = camera.rates().map(|rate| rate / 1_000);
            assert_eq!(rates, expected, "at {rate} kbit/s");
        }
        assert_eq!(camera.rate_max(), 1_700_000);
    }

    #[test]
    fn pictures_take_what_they_may() {
        for layers in 1..=3 {
            let mut camera = camera(1, layers);
            camera.set_rate(600_000);
            let mut bytes = 0;
            for nth in 0..600 {
                if nth % 100 == 50 {
                    camera.want_key_frame();
                }
                let taken = camera.take();
                let is_key = taken.iter().any(|picture| picture.is_key);
                assert_eq!(is_key, nth == 0 || nth % 100 == 50);
                bytes += taken.iter().map(|picture| picture.bytes).sum::<usize>();
            }
            let rate = bytes * 8 / 40;
            assert!((540_000..660_000).contains(&rate), "{rate} with {layers}");
        }
    }

    #[test]
    fn temporal_layers_build_on_lower_ones() {
        let mut camera = camera(1, 3);
        camera.set_rate(600_000);
        let mut layer_of = std::collections::BTreeMap::new();
        for _ in 0..40 {
            for picture in camera.take() {
                let (id, syncs, _) = picture.temporal.expect("it has layers");
                layer_of.insert(picture.number, id);
                let on: Vec<_> = picture.builds_on.into_iter().flatten().collect();
                assert_eq!(on.is_empty(), picture.is_key);
                assert!(on.iter().all(|number| layer_of[number] <= id));
                assert_eq!(syncs, id > 0 && on.iter().all(|one| layer_of[one] == 0));
            }
        }
        assert!(layer_of.values().any(|id| *id == 2));
    }
}
