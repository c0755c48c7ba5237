//! Which streams cross to which workers: wherever somebody subscribes to a publisher on another worker, there is one tap.
//!
//! Sans-IO and without names: publishers and subscribers come and go in any order, and orders for both workers come out.

use std::collections::{BTreeMap, HashMap};

use sfu::api::{Command, PublishedMedia, PublisherId, RemotePublisherSpec, TapId};

/// An order and the worker that it is for. Of one answer they are to be delivered in this order.
pub type Order = (u16, Command);

/// All taps of a node.
#[derive(Debug, Default)]
pub struct Taps {
    streams: HashMap<PublisherId, Stream>,
    next: u64,
}

/// A publisher that is there, or that somebody waits for.
#[derive(Debug, Default)]
struct Stream {
    /// Where it is, and what it sends.
    home: Option<(u16, Vec<PublishedMedia>)>,
    /// By worker.
    audiences: BTreeMap<u16, Audience>,
}

#[derive(Debug, Default)]
struct Audience {
    subscribers: usize,
    tap: Option<TapId>,
}

impl Taps {
    /// The publisher has been added on `worker`; if it was there before, [`Taps::unpublished`] comes first.
    pub fn published(
        &mut self,
        publisher: PublisherId,
        worker: u16,
        media: &[PublishedMedia],
    ) -> Vec<Order> {
        let mut orders = Vec::new();
        let stream = self.streams.entry(publisher).or_default();
        let before = stream.home.replace((worker, media.to_vec()));
        debug_assert!(before.is_none(), "a stream has one home");
        for (listener, audience) in &mut stream.audiences {
            if *listener != worker {
                self.next += 1;
                audience.tap = Some(TapId(self.next));
                orders.extend(open(publisher, worker, media, *listener, TapId(self.next)));
            }
        }
        orders
    }

    /// The publisher has gone from its worker, or is about to.
    pub fn unpublished(&mut self, publisher: PublisherId) -> Vec<Order> {
        let Some(stream) = self.streams.get_mut(&publisher) else {
            return Vec::new();
        };
        let Some((home, _)) = stream.home.take() else {
            return Vec::new();
        };
        let mut orders = Vec::new();
        for (listener, audience) in &mut stream.audiences {
            if let Some(tap) = audience.tap.take() {
                orders.extend(close(publisher, home, *listener, tap));
            }
        }
        self.forget_unused(publisher);
        orders
    }

    /// A subscriber to the publisher has been added on `worker`.
    pub fn subscribed(&mut self, publisher: PublisherId, worker: u16) -> Vec<Order> {
        let stream = self.streams.entry(publisher).or_default();
        let audience = stream.audiences.entry(worker).or_default();
        audience.subscribers += 1;
        match &stream.home {
            Some((home, media)) if *home != worker && audience.tap.is_none() => {
                self.next += 1;
                audience.tap = Some(TapId(self.next));
                open(publisher, *home, media, worker, TapId(self.next)).into()
            }
            _ => Vec::new(),
        }
    }

    /// A subscriber to the publisher has gone from `worker`, or is about to.
    pub fn unsubscribed(&mut self, publisher: PublisherId, worker: u16) -> Vec<Order> {
        let Some(stream) = self.streams.get_mut(&publisher) else {
            return Vec::new();
        };
        let Some(audience) = stream.audiences.get_mut(&worker) else {
            return Vec::new();
        };
        audience.subscribers -= 1;
        if audience.subscribers > 0 {
            return Vec::new();
        }
        let tap = audience.tap;
        stream.audiences.remove(&worker);
        let orders = match (&stream.home, tap) {
            (Some((home, _)), Some(tap)) => close(publisher, *home, worker, tap).into(),
            _ => Vec::new(),
        };
        self.forget_unused(publisher);
        orders
    }

    /// The workers where somebody gets the stream.
    pub fn listeners(&self, publisher: PublisherId) -> impl Iterator<Item = u16> + '_ {
        let stream = self.streams.get(&publisher).into_iter();
        stream.flat_map(|stream| stream.audiences.keys().copied())
    }

    /// Whether nobody publishes and nobody waits.
    pub fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }

    fn forget_unused(&mut self, publisher: PublisherId) {
        let unused = |stream: &Stream| stream.home.is_none() && stream.audiences.is_empty();
        if self.streams.get(&publisher).is_some_and(unused) {
            self.streams.remove(&publisher);
        }
    }
}

fn open(
    publisher: PublisherId,
    home: u16,
    media: &[PublishedMedia],
    listener: u16,
    tap: TapId,
) -> [Order; 2] {
    let add = Command::AddTap {
        tap,
        publisher,
        worker: listener,
    };
    let remote = RemotePublisherSpec {
        id: publisher,
        tap,
        worker: home,
        media: media.to_vec(),
    };
    let remote = Command::AddRemotePublisher(Box::new(remote));
    [(home, add), (listener, remote)]
}

fn close(publisher: PublisherId, home: u16, listener: u16, tap: TapId) -> [Order; 2] {
    [
        (listener, Command::RemovePublisher(publisher)),
        (home, Command::RemoveTap(tap)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: PublisherId = PublisherId(7);

    fn short(orders: Vec<Order>) -> Vec<(u16, String)> {
        let short = |command: &Command| match command {
            Command::AddTap { tap, worker, .. } => format!("tap {} to {worker}", tap.0),
            Command::RemoveTap(tap) => format!("no tap {}", tap.0),
            Command::AddRemotePublisher(spec) => format!("from {} by {}", spec.worker, spec.tap.0),
            Command::RemovePublisher(_) => "gone".to_owned(),
            other => panic!("{other:?}"),
        };
        orders
            .iter()
            .map(|(worker, order)| (*worker, short(order)))
            .collect()
    }

    fn expected(list: &[(u16, &str)]) -> Vec<(u16, String)> {
        let owned = list.iter().map(|(worker, text)| (*worker, (*text).into()));
        owned.collect()
    }

    #[test]
    fn one_tap_for_each_worker_with_subscribers() {
        let mut taps = Taps::default();
        assert_eq!(short(taps.subscribed(STREAM, 1)), expected(&[]));
        assert_eq!(short(taps.subscribed(STREAM, 0)), expected(&[]));
        let published = short(taps.published(STREAM, 0, &[]));
        assert_eq!(
            published,
            expected(&[(0, "tap 1 to 1"), (1, "from 0 by 1")])
        );
        assert_eq!(short(taps.subscribed(STREAM, 1)), expected(&[]));
        let third = short(taps.subscribed(STREAM, 2));
        assert_eq!(third, expected(&[(0, "tap 2 to 2"), (2, "from 0 by 2")]));
        assert_eq!(short(taps.unsubscribed(STREAM, 1)), expected(&[]));
        let last = short(taps.unsubscribed(STREAM, 1));
        assert_eq!(last, expected(&[(1, "gone"), (0, "no tap 1")]));
        assert_eq!(short(taps.unsubscribed(STREAM, 0)), expected(&[]));
        let gone = short(taps.unpublished(STREAM));
        assert_eq!(gone, expected(&[(2, "gone"), (0, "no tap 2")]));
        assert!(!taps.is_empty(), "somebody still waits on worker 2");
        assert_eq!(short(taps.unsubscribed(STREAM, 2)), expected(&[]));
        assert!(taps.is_empty());
    }

    #[test]
    fn a_publisher_that_comes_again_elsewhere_is_tapped_anew() {
        let mut taps = Taps::default();
        taps.published(STREAM, 0, &[]);
        taps.subscribed(STREAM, 1);
        taps.subscribed(STREAM, 0);
        let mut moved = taps.unpublished(STREAM);
        moved.extend(taps.published(STREAM, 1, &[]));
        assert_eq!(
            short(moved),
            expected(&[
                (1, "gone"),
                (0, "no tap 1"),
                (1, "tap 2 to 0"),
                (0, "from 1 by 2")
            ])
        );
    }
}
