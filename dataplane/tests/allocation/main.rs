//! The packet path allocates nothing: the production worker with either driver, over loopback, while packets are lost and
//! repaired and transports of other sessions come and go. A host that refuses io_uring is told so, and tests only the other.
//!
//! What is not counted: turns that follow an order, for orders own memory that the agent allocated. They are taken apart
//! from the others, between packets. And a turn's news, which own nothing here, because there is no DTLS.

#[path = "../../net/tests/counting/mod.rs"]
mod counting;
mod node;
mod peer;
mod session;

use clock::Rng;
use counting::Counting;
use node::{Node, datagrams};
use session::{PACKETS_PER_FRAME, Received, Session};
use sfu::api::{Command, TransportId, TransportSpec};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const VIEWERS: u64 = 20;
/// Frames until every queue, table and cache has met what it is for.
const WARM_UP: u64 = 150;
/// The greatest turn is of so many frames.
const BURST: u64 = 10;
/// A session of guests comes and goes in so many frames.
const GUESTS_STAY: u64 = 100;

#[test]
fn a_hundred_thousand_packets_forwarded_by_uring_allocate_nothing() {
    forward("uring", 100_000);
}

#[test]
fn a_hundred_thousand_packets_forwarded_by_mmsg_allocate_nothing() {
    forward("mmsg", 100_000);
}

#[test]
#[ignore = "minutes without optimisation on a busy machine"]
fn a_million_packets_forwarded_by_uring_allocate_nothing() {
    forward("uring", 1_000_000);
}

#[test]
#[ignore = "minutes without optimisation on a busy machine"]
fn a_million_packets_forwarded_by_mmsg_allocate_nothing() {
    forward("mmsg", 1_000_000);
}

fn forward(driver: &str, packets: u64) {
    let mut rng = Rng::from_number(11);
    let Some(mut node) = Node::open(driver) else {
        return;
    };
    let mut call = Session::begin(&mut node, 1, VIEWERS, &mut rng, true);
    let mut guests = None;
    let mut next_id = 1_000;
    let mut frame = 0;
    let (mut received, mut unwatched) = (Received::default(), 0);
    let mut sessions = 0;
    while call.received().video - received.video < packets {
        frame += 1;
        call.play(&mut node, &mut rng);
        let is_warm = frame > WARM_UP;
        if frame == WARM_UP / 2 {
            // More at once than there will be later, for queues that grow with the greatest turn so far.
            (1..BURST).for_each(|_| call.play(&mut node, &mut rng));
        }
        if let Some(guests) = &mut guests {
            Session::play(guests, &mut node, &mut rng);
        }
        match is_warm {
            true => node.turn(),
            false => node.turn_unwatched(),
        }
        if frame == WARM_UP {
            (received, unwatched) = (call.received(), node.unwatched_datagrams);
        }
        match frame % GUESTS_STAY {
            10 => {
                guests = Some(Session::begin(&mut node, next_id, 2, &mut rng, !is_warm));
                next_id += 10;
                sessions += 1;
            }
            90 => guests.take().expect("they came").end(&mut node),
            _ => {}
        }
        assert!(frame < packets, "packets get lost: {:?}", call.received());
    }
    let unwatched = node.unwatched_datagrams - unwatched;
    let stats = node.stats();
    let repaired = call.received().repaired - received.repaired;
    eprintln!(
        "{driver}: {} turns watched, {} datagrams in all, {unwatched} of them in turns with orders; {} sent, {repaired} repaired for \
         viewers, {} repaired by the publisher, {sessions} sessions of guests, {} missing; {} allocations",
        node.watched,
        datagrams(stats),
        frame * PACKETS_PER_FRAME,
        stats.retransmissions_received,
        call.missing(),
        node.allocations
    );
    // The test has tested what it says.
    assert!(repaired > packets / 200, "{repaired} repaired");
    assert!(stats.retransmissions_received > packets / VIEWERS / 200);
    assert!(stats.key_frame_requests_sent > 0 && stats.transport_feedback_sent > 0);
    assert!(sessions > packets / 100_000);
    assert!(
        unwatched < packets / 20,
        "{unwatched} datagrams were not watched"
    );
    assert_eq!(node.allocations, 0, "in {} turns", node.watched);
}

#[test]
fn a_turn_that_allocates_is_noticed() {
    counting::show_none();
    let mut node = Node::open("mmsg").expect("it opens everywhere");
    node.wake();
    node.turn();
    assert_eq!(node.allocations, 0);
    node.post(Command::AddTransport(Box::new(TransportSpec {
        id: TransportId(1),
        connection: None,
        local_ufrag: "four".into(),
        local_pwd: "a password of 22 letters".replace(' ', "/"),
        remote: None,
    })));
    node.turn();
    assert!(node.allocations > 0);
}
