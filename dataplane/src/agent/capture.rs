//! Captures of packets: one at a time, bounded, for a caller whose identity is known, and told of in the log at their beginning and end.
//!
//! Sans-IO but for the queue to whoever asked: orders and news of workers, and time.

use std::time::Duration;

use clock::Instant;
use sfu::api::{CaptureEnd, CaptureSpec, Command, Event, TransportId};
use sfu::capture::records;
use tokio::sync::mpsc;

/// Pieces of memory that the worker writes into.
const BUFFERS: usize = 4;
/// Octets of each.
const BUFFER_BYTES: usize = 256 << 10;
/// Most packets of a capture.
pub const PACKETS_MAX: u64 = 1_000_000;
/// Most octets that a capture tells of.
pub const BYTES_MAX: u64 = 1 << 30;
/// Longest capture.
pub const LONGEST: Duration = Duration::from_secs(600);
/// Why most captures end.
const OVER: &str = "its time is over";
/// How long the worker may take to say what there is.
const FAREWELL: Duration = Duration::from_secs(2);

/// Who asked, by the credentials of its socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// User.
    pub uid: u32,
    /// Process, if the system says so.
    pub pid: Option<i32>,
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Wish {
    /// The master's name of the transport.
    pub name: String,
    /// Most packets, at most [`PACKETS_MAX`] count.
    pub packets: u64,
    /// How long, at most [`LONGEST`] counts.
    pub time: Duration,
    /// Media as well.
    pub with_payload: bool,
}

/// What who asked is told, in this order.
#[derive(Debug)]
pub enum Told {
    /// It has begun.
    Begun {
        /// At that time.
        at: Instant,
    },
    /// Packets, for [`records`].
    Records(Vec<u8>),
    /// It is over.
    Ended(Summary),
}

/// How a capture went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Packets that were told of.
    pub packets: u64,
    /// Packets that were not, for want of memory or because the reader was slow.
    pub missed: u64,
    /// Why it ended.
    pub why: &'static str,
}

/// There is no capture, in words for whoever asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// One at a time.
    #[error("another capture is under way, of {transport} by user {uid}: wait until it is over")]
    Busy {
        /// Of what.
        transport: String,
        /// By whom.
        uid: u32,
    },
    /// The master may have taken it off, or it never was here.
    #[error("there is no transport {0} here: `ringcast-node transports` lists those that are")]
    Unknown(String),
}

/// The capture under way, if any.
#[derive(Debug, Default)]
pub struct Captures {
    last: u64,
    under_way: Option<UnderWay>,
    /// How many there were, without payload and with it.
    pub counted: [u64; 2],
    orders: Vec<(u16, Command)>,
}

#[derive(Debug)]
struct UnderWay {
    number: u64,
    worker: u16,
    name: String,
    caller: Caller,
    reader: mpsc::Sender<Told>,
    /// When it ends; then, when nobody waits for the worker any more.
    due: Instant,
    /// Why the worker was told to end it, if it was.
    ending: Option<&'static str>,
    told: u64,
    bytes: u64,
    lost: u64,
}

impl Captures {
    /// Begins one. `place` is the worker that has the transport, and the name that it has there.
    ///
    /// # Errors
    ///
    /// [`Refused`] while there is another, or without a place.
    pub fn begin(
        &mut self,
        now: Instant,
        wish: &Wish,
        place: Option<(u16, TransportId)>,
        caller: Caller,
        reader: mpsc::Sender<Told>,
    ) -> Result<(), Refused> {
        if let Some(other) = &self.under_way {
            return Err(Refused::Busy {
                transport: other.name.clone(),
                uid: other.caller.uid,
            });
        }
        let Some((worker, transport)) = place else {
            return Err(Refused::Unknown(wish.name.clone()));
        };
        self.last += 1;
        self.counted[usize::from(wish.with_payload)] += 1;
        let packets = wish.packets.min(PACKETS_MAX);
        let time = wish.time.min(LONGEST);
        tracing::warn!(
            target: logs::AUDIT,
            transport = %wish.name, uid = caller.uid, pid = caller.pid, payload = wish.with_payload, packets, ?time,
            "capture of decrypted packets begins"
        );
        let spec = CaptureSpec {
            number: self.last,
            transport,
            packets,
            with_payload: wish.with_payload,
            buffers: (0..BUFFERS)
                .map(|_| Vec::with_capacity(BUFFER_BYTES))
                .collect(),
        };
        let order = Command::StartCapture(Box::new(spec));
        self.orders.push((worker, order));
        // The queue is new; whoever reads it may have gone, which is found out later.
        let _ = reader.try_send(Told::Begun { at: now });
        self.under_way = Some(UnderWay {
            number: self.last,
            worker,
            name: wish.name.clone(),
            caller,
            reader,
            due: now + time,
            ending: None,
            told: 0,
            bytes: 0,
            lost: 0,
        });
        Ok(())
    }

    /// Takes news of a worker, and gives back what is not for us.
    pub fn on_event(&mut self, now: Instant, event: Event) -> Option<Event> {
        match event {
            Event::Captured { number, records } => self.on_records(now, number, records),
            Event::CaptureEnded {
                number,
                missed,
                why,
                ..
            } => {
                let why = match why {
                    CaptureEnd::Complete => "as many packets as were asked for",
                    CaptureEnd::Asked => OVER,
                    CaptureEnd::Gone => "the transport is gone",
                    CaptureEnd::Busy => "the worker could not begin",
                };
                self.finish(number, missed, why);
            }
            other => return Some(other),
        }
        None
    }

    /// When [`on_timeout`](Self::on_timeout) is due.
    pub fn deadline(&self) -> Option<Instant> {
        self.under_way.as_ref().map(|one| one.due)
    }

    /// Ends what has lasted long enough, or has no reader any more.
    pub fn on_timeout(&mut self, now: Instant) {
        let Some(one) = &mut self.under_way else {
            return;
        };
        let is_late = one.due <= now;
        if is_late && one.ending.is_some() {
            let number = one.number;
            return self.finish(number, 0, "the worker does not answer");
        }
        if is_late || one.reader.is_closed() {
            self.end(now, OVER);
        }
    }

    /// The node ends, and with it what is under way.
    pub fn stop(&mut self) {
        if let Some(one) = &self.under_way {
            self.finish(one.number, 0, "the node stops");
        }
    }

    /// What workers are to be told.
    pub fn take_orders(&mut self) -> Vec<(u16, Command)> {
        std::mem::take(&mut self.orders)
    }

    fn end(&mut self, now: Instant, why: &'static str) {
        if let Some(one) = self.under_way.as_mut().filter(|one| one.ending.is_none()) {
            one.ending = Some(why);
            one.due = now + FAREWELL;
            self.orders
                .push((one.worker, Command::StopCapture(one.number)));
        }
    }

    fn on_records(&mut self, now: Instant, number: u64, bytes: Vec<u8>) {
        let Some(one) = self.under_way.as_mut().filter(|one| one.number == number) else {
            return;
        };
        let count = records(&bytes).count() as u64;
        let total = one.bytes + bytes.len() as u64;
        let fits = total <= BYTES_MAX;
        // A reader that is too slow misses something, and holds nobody up. One place is kept for the end, so that it hears of that.
        let has_room = one.reader.capacity() > 1;
        if fits && has_room && one.reader.try_send(Told::Records(bytes)).is_ok() {
            one.told += count;
            one.bytes = total;
        } else {
            one.lost += count;
        }
        let order = Command::ReturnBuffer(number, Vec::with_capacity(BUFFER_BYTES));
        self.orders.push((one.worker, order));
        if !fits || one.reader.is_closed() {
            self.end(now, "as much as one capture may tell of");
        }
    }

    fn finish(&mut self, number: u64, missed: u64, why: &'static str) {
        let Some(one) = self.under_way.take_if(|one| one.number == number) else {
            return;
        };
        let summary = Summary {
            packets: one.told,
            missed: missed + one.lost,
            why: match (one.reader.is_closed(), one.ending) {
                (true, _) => "whoever asked has gone",
                (false, Some(ours)) if why == OVER => ours,
                (false, _) => why,
            },
        };
        tracing::warn!(
            target: logs::AUDIT,
            transport = %one.name, uid = one.caller.uid, pid = one.caller.pid, packets = summary.packets, missed = summary.missed,
            why = summary.why, "capture of decrypted packets is over"
        );
        // Only whoever has gone does not hear it: records leave a place for it in the queue.
        let _ = one.reader.try_send(Told::Ended(summary));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: Caller = Caller {
        uid: 0,
        pid: Some(7),
    };

    fn wish() -> Wish {
        Wish {
            name: "tra_1".into(),
            packets: 10,
            time: Duration::from_secs(5),
            with_payload: false,
        }
    }

    fn begin(captures: &mut Captures) -> mpsc::Receiver<Told> {
        let (reader, told) = mpsc::channel(8);
        let place = Some((1, TransportId(3)));
        let begun = captures.begin(Instant::ZERO, &wish(), place, ROOT, reader);
        assert_eq!(begun, Ok(()));
        told
    }

    #[test]
    fn there_is_one_at_a_time_and_only_of_what_is_there() {
        let mut captures = Captures::default();
        let (reader, _told) = mpsc::channel(8);
        let unknown = captures.begin(Instant::ZERO, &wish(), None, ROOT, reader.clone());
        assert_eq!(unknown, Err(Refused::Unknown("tra_1".into())));
        let _first = begin(&mut captures);
        let place = Some((0, TransportId(4)));
        let busy = captures.begin(Instant::ZERO, &wish(), place, ROOT, reader);
        let text = busy.expect_err("one at a time").to_string();
        assert!(text.contains("tra_1") && text.contains("user 0"), "{text}");
        assert_eq!(captures.counted, [1, 0]);
    }

    #[test]
    fn it_ends_after_its_time_and_for_whoever_goes() {
        for goes in [false, true] {
            let mut captures = Captures::default();
            let mut told = begin(&mut captures);
            captures.take_orders();
            captures.on_timeout(Instant::from_millis(4_000));
            assert!(captures.take_orders().is_empty());
            let at = match goes {
                true => {
                    drop(told);
                    told = mpsc::channel(1).1;
                    Instant::from_millis(4_100)
                }
                false => Instant::from_millis(5_000),
            };
            captures.on_timeout(at);
            let orders = captures.take_orders();
            assert!(matches!(orders[..], [(1, Command::StopCapture(1))]));
            let ended = Event::CaptureEnded {
                number: 1,
                packets: 4,
                missed: 2,
                why: CaptureEnd::Asked,
            };
            assert_eq!(captures.on_event(at, ended), None);
            assert_eq!(captures.deadline(), None, "there may be another");
            if !goes {
                assert!(matches!(told.try_recv(), Ok(Told::Begun { .. })));
                let Ok(Told::Ended(summary)) = told.try_recv() else {
                    panic!("it is told")
                };
                assert_eq!((summary.packets, summary.missed), (0, 2));
            }
        }
    }

    /// Records of as many packets, of which nothing is kept: 14 octets each.
    fn some_records(packets: usize) -> Vec<u8> {
        let written = vec![0; 14 * packets];
        assert_eq!(records(&written).count(), packets);
        written
    }

    #[test]
    fn a_reader_that_does_not_read_hears_of_the_end_and_what_it_missed() {
        let mut captures = Captures::default();
        let mut told = begin(&mut captures);
        for _ in 0..20 {
            let event = Event::Captured {
                number: 1,
                records: some_records(3),
            };
            assert_eq!(captures.on_event(Instant::ZERO, event), None);
        }
        let ended = Event::CaptureEnded {
            number: 1,
            packets: 60,
            missed: 5,
            why: CaptureEnd::Complete,
        };
        captures.on_event(Instant::ZERO, ended);
        let (mut packets, mut summary) = (0, None);
        while let Ok(one) = told.try_recv() {
            match one {
                Told::Begun { .. } => {}
                Told::Records(bytes) => packets += records(&bytes).count() as u64,
                Told::Ended(one) => summary = Some(one),
            }
        }
        // Of the eight places one was taken by the beginning and one kept for the end.
        assert_eq!(packets, 6 * 3);
        let expected = Summary {
            packets,
            missed: 5 + 60 - packets,
            why: "as many packets as were asked for",
        };
        assert_eq!(summary, Some(expected));
    }

    #[test]
    fn a_worker_that_does_not_answer_holds_up_nobody() {
        let mut captures = Captures::default();
        let _told = begin(&mut captures);
        captures.on_timeout(Instant::from_millis(5_000));
        captures.on_timeout(Instant::from_millis(7_000));
        assert_eq!(captures.deadline(), None);
    }
}
