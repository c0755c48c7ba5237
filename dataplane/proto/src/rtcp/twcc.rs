use super::{Full, Writer, format, packet_type};
use crate::rtp::wire::{Cursor, u8_at, u16_at, u24_at, u32_at};

/// At most so many packets are written into one feedback.
pub(crate) const MAX_WRITTEN: usize = 512;
/// Ticks of 250 µs in a unit of the reference time, 64 ms.
const TICKS_PER_REFERENCE: i64 = 256;
/// Bytes before the chunks: header, two SSRCs, base, count, reference time, feedback count.
const OVERHEAD: usize = 20;
/// The longest run of one chunk.
const MAX_RUN: usize = 0x1fff;

/// Which packets of a transport came when (draft-holmer-rmcat-transport-wide-cc-extensions-01 §3.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransportFeedback<'a> {
    /// Who received.
    pub sender: u32,
    /// One of the RTP streams of the transport; the feedback is about all.
    pub media: u32,
    /// The first transport-wide sequence number.
    pub base_sequence: u16,
    /// How many sequence numbers it is about.
    pub status_count: u16,
    /// Zero of the arrival times, in 64 ms, signed 24 bits on a clock of the receiver.
    pub reference_time: i32,
    /// Counts the feedbacks.
    pub feedback_count: u8,
    chunks: &'a [u8],
    deltas: &'a [u8],
}

/// What happened to one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Its transport-wide sequence number.
    pub sequence: u16,
    /// When it came, in ticks of 250 µs on the clock of the reference time; `None` if it did not.
    pub arrival: Option<i64>,
}

/// How a status is encoded, and how many bytes its delta takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Symbol {
    NotReceived = 0,
    Small = 1,
    Large = 2,
}

impl Symbol {
    /// Of two bits; 3 is reserved.
    const fn from_bits(bits: u16) -> Option<Self> {
        match bits & 3 {
            0 => Some(Self::NotReceived),
            1 => Some(Self::Small),
            2 => Some(Self::Large),
            _ => None,
        }
    }

    const fn delta_length(self) -> usize {
        self as usize
    }
}

impl<'a> TransportFeedback<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Option<Self> {
        let status_count = u16_at(body, 10)?;
        let rest = body.get(16..)?;
        let (chunks_length, deltas_length) = measure(rest, status_count)?;
        let (chunks, deltas) = rest.split_at_checked(chunks_length)?;
        Some(Self {
            sender: u32_at(body, 0)?,
            media: u32_at(body, 4)?,
            base_sequence: u16_at(body, 8)?,
            status_count,
            reference_time: (u24_at(body, 12)? << 8).cast_signed() >> 8,
            feedback_count: u8_at(body, 15)?,
            chunks,
            deltas: deltas.get(..deltas_length)?,
        })
    }

    /// What it says, in the order of the numbers. There are never more reports than four times the bytes of the feedback: two
    /// bytes can claim that 8191 packets are missing, but that is one report.
    pub fn reports(&self) -> Reports<'a> {
        Reports {
            chunks: self.chunks,
            chunk: Chunk(0),
            said: 0,
            deltas: self.deltas,
            sequence: self.base_sequence,
            left: self.status_count,
            time: i64::from(self.reference_time).saturating_mul(TICKS_PER_REFERENCE),
        }
    }

    /// The packets one by one in the order of their numbers, [`Self::status_count`] of them: as many as a few bytes claim.
    pub fn statuses(&self) -> impl Iterator<Item = Status> + use<'a> {
        self.reports().flat_map(|report| {
            let (first, count, arrival) = match report {
                Report::Missing { sequence, count } => (sequence, count, None),
                Report::Arrived { sequence, at } => (sequence, 1, Some(at)),
            };
            (0..count).map(move |nth| Status {
                sequence: first.wrapping_add(nth),
                arrival,
            })
        })
    }
}

/// How many bytes the chunks for `count` statuses take, and their deltas.
fn measure(bytes: &[u8], count: u16) -> Option<(usize, usize)> {
    let (mut rest, mut left, mut deltas) = (bytes, count, 0_usize);
    while left > 0 {
        steps::count();
        let chunk = Chunk(u16_at(rest, 0)?);
        rest = rest.get(2..)?;
        let about = chunk.count().min(left);
        deltas = deltas.saturating_add(chunk.deltas_length(about)?);
        left = left.saturating_sub(about);
    }
    Some((bytes.len().checked_sub(rest.len())?, deltas))
}

/// A run or a vector of symbols (§3.1.1 to §3.1.4).
#[derive(Clone, Copy, Debug)]
struct Chunk(u16);

/// The lower bit of each symbol of two bits in a vector.
const LOWER_BITS: u16 = 0x1555;

impl Chunk {
    /// How many packets it is about.
    const fn count(self) -> u16 {
        match self.0 >> 14 {
            0 | 1 => self.0 & 0x1fff,
            2 => 14,
            _ => 7,
        }
    }

    /// How many bytes the deltas of its first `about` packets take; `None` if one has a reserved symbol.
    fn deltas_length(self, about: u16) -> Option<usize> {
        let length = match self.0 >> 14 {
            _ if about == 0 => 0,
            0 | 1 => {
                let symbol = Symbol::from_bits(self.0 >> 13)?;
                symbol.delta_length().saturating_mul(usize::from(about))
            }
            2 => {
                let unused = 14_u32.saturating_sub(about.into());
                let ones = (self.0 & 0x3fff).checked_shr(unused)?.count_ones();
                usize::try_from(ones).ok()?
            }
            _ => {
                let unused = 14_u32.saturating_sub(u32::from(about).saturating_mul(2));
                let symbols = (self.0 & 0x3fff).checked_shr(unused)?;
                let (small, large) = (symbols & LOWER_BITS, symbols >> 1 & LOWER_BITS);
                if small & large != 0 {
                    return None;
                }
                let bytes = large.count_ones().saturating_mul(2);
                usize::try_from(bytes.saturating_add(small.count_ones())).ok()?
            }
        };
        Some(length)
    }

    /// From the packet in that place on, how many did not come.
    fn missing(self, place: u16) -> u16 {
        let behind = |width: u32| {
            let place = u32::from(place).saturating_mul(width).saturating_add(2);
            let zeros = self.0.checked_shl(place).unwrap_or(0).leading_zeros();
            zeros.checked_div(width).unwrap_or(0) as u16
        };
        let zeros = match self.0 >> 14 {
            0 if self.0 >> 13 == Symbol::NotReceived as u16 => u16::MAX,
            0 | 1 => 0,
            2 => behind(1),
            _ => behind(2),
        };
        zeros.min(self.count().saturating_sub(place))
    }

    /// Of the packet in that place; `None` if it is reserved.
    fn symbol(self, place: u16) -> Option<Symbol> {
        let behind = u32::from(self.count().checked_sub(place)?.checked_sub(1)?);
        Symbol::from_bits(match self.0 >> 14 {
            0 | 1 => self.0 >> 13,
            2 => self.0.checked_shr(behind)? & 1,
            _ => self.0.checked_shr(behind.saturating_mul(2))?,
        })
    }
}

/// What a feedback says of one packet that came, or of neighbours that did not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// These did not come.
    Missing {
        /// The transport-wide sequence number of the first.
        sequence: u16,
        /// How many they are, at least one.
        count: u16,
    },
    /// This one came.
    Arrived {
        /// Its transport-wide sequence number.
        sequence: u16,
        /// When, in ticks of 250 µs on the clock of the reference time.
        at: i64,
    },
}

/// Iterates over what a [`TransportFeedback`] says.
#[derive(Clone, Debug)]
pub struct Reports<'a> {
    chunks: &'a [u8],
    chunk: Chunk,
    /// How many packets of `chunk` are behind us.
    said: u16,
    deltas: &'a [u8],
    sequence: u16,
    left: u16,
    time: i64,
}

impl Reports<'_> {
    fn pass(&mut self, count: u16) -> u16 {
        let sequence = self.sequence;
        self.sequence = sequence.wrapping_add(count);
        self.said = self.said.saturating_add(count);
        self.left = self.left.saturating_sub(count);
        sequence
    }
}

impl Iterator for Reports<'_> {
    type Item = Report;

    fn next(&mut self) -> Option<Report> {
        if self.left == 0 {
            return None;
        }
        while self.said >= self.chunk.count() {
            steps::count();
            self.chunk = Chunk(u16_at(self.chunks, 0)?);
            self.chunks = self.chunks.get(2..)?;
            self.said = 0;
        }
        steps::count();
        let count = self.chunk.missing(self.said).min(self.left);
        if count > 0 {
            let sequence = self.pass(count);
            return Some(Report::Missing { sequence, count });
        }
        let symbol = self.chunk.symbol(self.said)?;
        let (bytes, rest) = self.deltas.split_at_checked(symbol.delta_length())?;
        self.deltas = rest;
        let delta = match symbol {
            Symbol::NotReceived => return None,
            Symbol::Small => i64::from(u8_at(bytes, 0)?),
            Symbol::Large => i64::from(u16_at(bytes, 0)?.cast_signed()),
        };
        self.time = self.time.saturating_add(delta);
        Some(Report::Arrived {
            sequence: self.pass(1),
            at: self.time,
        })
    }
}

/// Counts, in tests, what reading a feedback takes.
mod steps {
    #[cfg(test)]
    thread_local! {
        static TAKEN: core::cell::Cell<usize> = const { core::cell::Cell::new(0) };
    }

    /// One step more.
    pub(super) fn count() {
        #[cfg(test)]
        TAKEN.with(|taken| taken.set(taken.get() + 1));
    }

    /// How many `task` takes.
    #[cfg(test)]
    pub(super) fn of(task: impl FnOnce()) -> usize {
        let before = TAKEN.with(core::cell::Cell::get);
        task();
        TAKEN.with(core::cell::Cell::get) - before
    }
}

/// The identity of a feedback that is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Heading {
    pub(crate) sender: u32,
    pub(crate) media: u32,
    pub(crate) base_sequence: u16,
    pub(crate) feedback_count: u8,
}

/// Symbols and deltas of one feedback, before they are written.
struct Plan {
    symbols: [Symbol; MAX_WRITTEN],
    deltas: [i16; MAX_WRITTEN],
    count: usize,
    reference: i64,
}

impl Plan {
    /// Takes from the front of `arrivals` what one feedback of `limit` packets can say. It ends with a packet that came.
    fn new(arrivals: &[Option<i64>], limit: usize) -> Option<Self> {
        let first = arrivals.iter().flatten().next()?;
        let reference = first.div_euclid(TICKS_PER_REFERENCE);
        let mut plan = Self {
            symbols: [Symbol::NotReceived; MAX_WRITTEN],
            deltas: [0; MAX_WRITTEN],
            count: 0,
            reference,
        };
        let mut time = reference.saturating_mul(TICKS_PER_REFERENCE);
        let slots = plan.symbols.iter_mut().zip(plan.deltas.iter_mut());
        for (position, (arrival, (symbol, slot))) in
            arrivals.iter().zip(slots).enumerate().take(limit)
        {
            let Some(arrival) = *arrival else { continue };
            // A step beyond 16 bits needs a new reference time, hence another feedback.
            let Ok(delta) = i16::try_from(arrival.saturating_sub(time)) else {
                break;
            };
            *symbol = if (0..=255).contains(&delta) {
                Symbol::Small
            } else {
                Symbol::Large
            };
            *slot = delta;
            time = arrival;
            plan.count = position.saturating_add(1);
        }
        (plan.count > 0).then_some(plan)
    }

    fn write(&self, cursor: &mut Cursor<'_>, heading: &Heading) -> Option<()> {
        cursor.u32(heading.sender)?;
        cursor.u32(heading.media)?;
        cursor.u16(heading.base_sequence)?;
        cursor.u16(u16::try_from(self.count).ok()?)?;
        cursor.u24(self.reference as u32)?;
        cursor.u8(heading.feedback_count)?;
        let symbols = self.symbols.get(..self.count)?;
        let mut rest = symbols;
        while !rest.is_empty() {
            let (chunk, used) = encode_chunk(rest);
            cursor.u16(chunk)?;
            rest = rest.get(used..)?;
        }
        for (symbol, delta) in symbols.iter().zip(&self.deltas) {
            match symbol {
                Symbol::NotReceived => {}
                Symbol::Small => cursor.u8(*delta as u8)?,
                Symbol::Large => cursor.u16(delta.cast_unsigned())?,
            }
        }
        Some(())
    }
}

/// The best chunk for the front of `symbols`, and how many of them it says.
fn encode_chunk(symbols: &[Symbol]) -> (u16, usize) {
    let first = symbols.first().copied().unwrap_or(Symbol::NotReceived);
    let run = symbols
        .iter()
        .take(MAX_RUN)
        .take_while(|&&s| s == first)
        .count();
    let one_bit = symbols.iter().take(14).all(|&s| s != Symbol::Large);
    let capacity = if one_bit { 14 } else { 7 };
    let used = symbols.len().min(capacity);
    if run >= used {
        return (((first as u16) << 13) | (run as u16), run);
    }
    let width = if one_bit { 1 } else { 2 };
    let padded = symbols
        .iter()
        .copied()
        .chain(core::iter::repeat(Symbol::NotReceived));
    let vector = padded.take(capacity).fold(0_u16, |bits, symbol| {
        bits.rotate_left(width) | symbol as u16
    });
    (if one_bit { 0x8000 } else { 0xc000 } | vector, used)
}

/// Writes a feedback about the packets from `base_sequence` on that came at `arrivals`, in ticks of 250 µs on a clock of
/// the caller, and returns how many of them it is about.
///
/// Those are fewer than given if the buffer is small, there are more than 512, or two neighbours are more than 8 s apart;
/// and packets that did not come are only told if one after them did. The caller continues behind.
///
/// # Errors
/// [`Full`] if not one packet fits, or none has come.
pub fn write_transport_feedback(
    (sender, media): (u32, u32),
    base_sequence: u16,
    feedback_count: u8,
    arrivals: &[Option<i64>],
    out: &mut Writer<'_>,
) -> Result<usize, Full> {
    // In the worst case each packet takes two bytes of delta, and seven share two bytes of chunk.
    let room = out.room().saturating_sub(OVERHEAD.saturating_add(5));
    let limit = room.saturating_mul(7) / 16;
    let plan = Plan::new(arrivals, limit).ok_or(Full)?;
    let heading = Heading {
        sender,
        media,
        base_sequence,
        feedback_count,
    };
    out.packet(
        packet_type::TRANSPORT_FEEDBACK,
        format::TRANSPORT_WIDE,
        |cursor| plan.write(cursor, &heading),
    )?;
    Ok(plan.count)
}

#[cfg(test)]
mod tests {
    use super::super::{Packet, compound};
    use super::*;
    use proptest::prelude::*;

    fn read(bytes: &[u8]) -> TransportFeedback<'_> {
        match compound(bytes).unwrap().next() {
            Some(Ok(Packet::TransportFeedback(feedback))) => feedback,
            other => panic!("not a transport feedback: {other:?}"),
        }
    }

    /// Reads chunks symbol by symbol, as the draft describes them: what the parser is compared with.
    #[derive(Clone)]
    struct Symbols<'a> {
        bytes: &'a [u8],
        chunk: u16,
        left: u16,
    }

    impl<'a> Symbols<'a> {
        fn new(bytes: &'a [u8]) -> Self {
            let (chunk, left) = (0, 0);
            Self { bytes, chunk, left }
        }

        /// `None` at the end of the bytes and at a reserved symbol.
        fn take(&mut self) -> Option<Symbol> {
            while self.left == 0 {
                self.chunk = u16_at(self.bytes, 0)?;
                self.bytes = &self.bytes[2..];
                self.left = match self.chunk >> 14 {
                    0 | 1 => self.chunk & 0x1fff,
                    2 => 14,
                    _ => 7,
                };
            }
            self.left -= 1;
            Symbol::from_bits(match self.chunk >> 14 {
                0 | 1 => self.chunk >> 13,
                2 => (self.chunk >> self.left) & 1,
                _ => self.chunk >> (2 * self.left),
            })
        }
    }

    /// What a feedback says by that, if it can be read: the arrival of each packet.
    fn by_model(chunks: &[u8], count: u16, reference: i64) -> Option<Vec<Option<i64>>> {
        let mut symbols = Symbols::new(chunks);
        let symbol_of: Option<Vec<_>> = (0..count).map(|_| symbols.take()).collect();
        let mut deltas = symbols.bytes;
        let mut time = reference * TICKS_PER_REFERENCE;
        let arrivals = symbol_of?.into_iter().map(|symbol| {
            let (bytes, rest) = deltas.split_at_checked(symbol as usize)?;
            deltas = rest;
            time += match bytes {
                [] => return Some(None),
                [small] => i64::from(*small),
                _ => i64::from(i16::from_be_bytes([bytes[0], bytes[1]])),
            };
            Some(Some(time))
        });
        arrivals.collect()
    }

    #[test]
    fn chunks_of_the_draft() {
        let said = |chunk: u16| -> Option<Vec<u8>> {
            let chunk = Chunk(chunk);
            let all = (0..chunk.count()).map(|place| chunk.symbol(place));
            all.map(|symbol| symbol.map(|symbol| symbol as u8))
                .collect()
        };
        // §3.1.3: a run of 221 lost, and a run of 24 small.
        assert_eq!(said(0x00dd), Some(vec![0; 221]));
        assert_eq!(said(0x2018), Some(vec![1; 24]));
        assert_eq!(said(0x6018), None, "symbol 3 is reserved");
        // §3.1.4: one bit: lost, five came, three lost, three came, two lost.
        let bits = vec![0, 1, 1, 1, 1, 1, 0, 0, 0, 1, 1, 1, 0, 0];
        assert_eq!(said(0x9f1c), Some(bits));
        // Two bits: lost, large, three small, two lost. The draft has "came without a time", 3, in such a place.
        assert_eq!(said(0xc950), Some(vec![0, 2, 1, 1, 1, 0, 0]));
        assert_eq!(said(0xcd50), None);
        assert_eq!(
            (
                Chunk(0xc950).deltas_length(7),
                Chunk(0xcd50).deltas_length(1)
            ),
            (Some(5), Some(0))
        );
    }

    /// A feedback with those bytes behind its heading.
    fn packet(count: u16, chunks: &[u8]) -> Vec<u8> {
        let words = (16 + chunks.len()).div_ceil(4);
        let mut packet = vec![
            0x8f,
            205,
            0,
            words as u8,
            0,
            0,
            0,
            1,
            0,
            0,
            0,
            2,
            0xff,
            0x00,
        ];
        packet.extend(count.to_be_bytes());
        packet.extend([0, 0, 5, 9]);
        packet.extend(chunks);
        packet.resize(4 + words * 4, 0);
        packet
    }

    /// Two bytes may claim that thousands of packets are missing; to read them takes no longer than any two bytes do.
    #[test]
    fn what_a_feedback_costs_is_bounded_by_its_bytes() {
        let lies: [(u16, &[u8]); 4] = [
            (16_382, &[0x1f, 0xff, 0x1f, 0xff]),
            (65_535, &[[0x1f, 0xff].repeat(8), vec![0, 7]].concat()),
            (1, &[[0, 0].repeat(300), vec![0x20, 1, 7]].concat()),
            (2_100, &[0xbf, 0xff].repeat(150)),
        ];
        for (count, chunks) in lies {
            let bytes = packet(count, chunks);
            let mut reports = 0;
            let steps = steps::of(|| {
                if let Some(Ok(Packet::TransportFeedback(feedback))) =
                    compound(&bytes).unwrap().next()
                {
                    reports = feedback.reports().count();
                }
            });
            assert!(
                steps <= 4 * bytes.len(),
                "{steps} steps for {} bytes",
                bytes.len()
            );
            assert!(reports <= 4 * bytes.len());
        }
    }

    #[test]
    fn a_feedback_as_bytes() {
        let mut buffer = [0; 64];
        let mut writer = Writer::new(&mut buffer);
        let arrivals = [
            Some(256 * 5 + 3),
            None,
            Some(256 * 5 + 4),
            Some(256 * 5 - 1),
        ];
        let written = write_transport_feedback((1, 2), 65534, 9, &arrivals, &mut writer);
        assert_eq!(written, Ok(4));
        let length = writer.len();
        assert_eq!(
            buffer[..length],
            [
                0x8f,
                205,
                0,
                6,
                0,
                0,
                0,
                1,
                0,
                0,
                0,
                2,
                0xff,
                0xfe,
                0,
                4,
                0,
                0,
                5,
                9, //
                0b1101_0001,
                0b1000_0000, // small, lost, small, large
                3,
                1,
                0xff,
                0xfb,
                0,
                0,
            ]
        );
        let feedback = read(&buffer[..length]);
        let sequences: Vec<_> = feedback.statuses().map(|s| s.sequence).collect();
        assert_eq!(sequences, [65534, 65535, 0, 1]);
        let back: Vec<_> = feedback.statuses().map(|s| s.arrival).collect();
        assert_eq!(back, arrivals);
    }

    #[test]
    fn chromium_pads_by_less_than_a_word() {
        let packet = [
            0xaf, 205, 0, 5, 0, 0, 0, 1, 0, 0, 0, 2, 0, 1, 0, 1, 0xff, 0xff, 0xff, 3, 0x20, 1, 7, 1,
        ];
        let feedback = read(&packet);
        assert_eq!((feedback.reference_time, feedback.feedback_count), (-1, 3));
        let status = feedback.statuses().next().unwrap();
        assert_eq!(status.arrival, Some(-256 + 7));
    }

    #[test]
    fn lies_about_the_count_are_refused() {
        let mut packet = [
            0x8f, 205, 0, 5, 0, 0, 0, 1, 0, 0, 0, 2, 0, 1, 0, 1, 0, 0, 0, 3, 0x20, 1, 7, 0,
        ];
        assert_eq!(read(&packet).statuses().count(), 1);
        for (high, low) in [(0, 2), (0xff, 0xff), (0x20, 1)] {
            (packet[14], packet[15]) = (high, low);
            assert!(compound(&packet).unwrap().next().unwrap().is_err());
        }
        // Five packets announced and said to have come, but bytes for two deltas only.
        (packet[14], packet[15], packet[21]) = (0, 5, 5);
        assert!(compound(&packet).unwrap().next().unwrap().is_err());
    }

    #[test]
    fn a_long_step_ends_the_feedback() {
        let mut buffer = [0; 200];
        let mut writer = Writer::new(&mut buffer);
        let arrivals = [Some(0), Some(32_000), None, Some(65_000), Some(98_000)];
        assert_eq!(
            write_transport_feedback((1, 2), 0, 0, &arrivals, &mut writer),
            Ok(2)
        );
        let arrivals = [None; 4];
        assert_eq!(
            write_transport_feedback((1, 2), 0, 0, &arrivals, &mut writer),
            Err(Full)
        );
    }

    fn any_arrivals() -> impl Strategy<Value = Vec<Option<i64>>> {
        let step = prop_oneof![
            8 => (0i64..200).prop_map(Some),
            2 => (-300i64..3000).prop_map(Some),
            1 => (-40_000i64..40_000).prop_map(Some),
            3 => Just(None),
        ];
        // Runs of one kind, so that all chunk types occur.
        let run = (step, 1usize..40);
        (0i64..1 << 31, prop::collection::vec(run, 1..30)).prop_map(|(start, runs)| {
            let mut time = start + 2_000_000;
            let steps = runs
                .into_iter()
                .flat_map(|(step, n)| core::iter::repeat_n(step, n));
            steps
                .map(|step| {
                    time += step?;
                    Some(time)
                })
                .collect()
        })
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_as_the_draft_says(
            count in prop_oneof![0u16..100, any::<u16>()],
            chunks in prop::collection::vec(prop_oneof![
                any::<u16>(), 0u16..40, 0x2000u16..0x2010, 0x4000u16..0x4010, 0x8000u16..0xffff,
            ], 0..12),
            deltas in prop::collection::vec(any::<u8>(), 0..60),
        ) {
            let chunks: Vec<u8> = chunks.iter().flat_map(|chunk| chunk.to_be_bytes()).chain(deltas).collect();
            let bytes = packet(count, &chunks);
            let expected = by_model(&bytes[20..], count, 5);
            let packet = compound(&bytes).unwrap().next().unwrap();
            match packet {
                Ok(Packet::TransportFeedback(feedback)) => {
                    let arrivals: Vec<_> = feedback.statuses().map(|status| status.arrival).collect();
                    prop_assert_eq!(Some(arrivals), expected);
                    let sequences = feedback.statuses().zip(0..).all(|(status, nth)| {
                        status.sequence == 0xff00_u16.wrapping_add(nth)
                    });
                    prop_assert!(sequences);
                }
                Ok(other) => panic!("{other:?}"),
                Err(_) => prop_assert_eq!(expected, None),
            }
        }

        #[test]
        fn a_series_of_feedbacks_says_everything(base: u16, size in 40usize..1500, arrivals in any_arrivals()) {
            let last = arrivals.iter().rposition(Option::is_some);
            let mut position = 0;
            let mut said = Vec::new();
            while last.is_some_and(|last| position <= last) {
                let mut buffer = vec![0; size];
                let mut writer = Writer::new(&mut buffer);
                let sequence = base.wrapping_add(position as u16);
                let rest = &arrivals[position..];
                let Ok(count) = write_transport_feedback((1, 2), sequence, 0, rest, &mut writer) else {
                    // More losses in a row than the buffer could tell.
                    position += 1;
                    said.push(None);
                    continue;
                };
                let length = writer.len();
                let feedback = read(&buffer[..length]);
                prop_assert_eq!(usize::from(feedback.status_count), count);
                // The reference time is cut to 24 bits; the receiver of the feedback extends it.
                let first = rest.iter().flatten().next().unwrap();
                let cut = (first.div_euclid(256) - i64::from(feedback.reference_time)) * 256;
                for (n, status) in feedback.statuses().enumerate() {
                    prop_assert_eq!(status.sequence, sequence.wrapping_add(n as u16));
                    said.push(status.arrival.map(|arrival| arrival + cut));
                }
                position += count;
            }
            let told = last.map_or(0, |last| last + 1);
            prop_assert_eq!(said, &arrivals[..told]);
        }
    }
}
