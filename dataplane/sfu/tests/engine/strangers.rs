//! Who gets in, who gets media, and what ends a transport.

use std::net::SocketAddr;

use clock::{Duration, Rng};
use proto::ice::Credentials;
use proto::rtp::Fields;
use proto::srtp::{KeyingMaterial, Outbound, Profile};
use proto::stun::{self, BindingRequest, IntegrityKey, Role, TransactionId};
use sfu::api::*;
use sfu::discard::{DropReason, Stage};

use crate::harness::*;

const STRANGER: ([u8; 4], u16) = ([203, 0, 113, 9], 4_444);

/// A check as the peer would send it.
fn check(to: &Credentials, from: &Credentials, password: &str, nominate: bool) -> Vec<u8> {
    let mut bytes = [0; 300];
    let request = BindingRequest {
        transaction: TransactionId([7; 12]),
        receiver_ufrag: to.ufrag().as_bytes(),
        sender_ufrag: from.ufrag().as_bytes(),
        priority: 1,
        role: Role::Controlling(1),
        use_candidate: nominate,
    };
    let key = IntegrityKey::new(password.as_bytes());
    let len = stun::write_binding_request(&mut bytes, &request, &key).unwrap();
    bytes[..len].to_vec()
}

#[test]
fn media_goes_only_where_a_question_was_answered() {
    let mut net = Net::new();
    let (mut source, receivers) = call(&mut net, 1);
    let peer = &net.peers[receivers[0]];
    let victim = SocketAddr::from(STRANGER);
    let forged = check(
        &peer.node_credentials,
        &peer.credentials,
        peer.node_credentials.password(),
        true,
    );
    let asked = forged.len();
    net.send(victim, forged);
    for _ in 0..100 {
        source.frame(&mut net, false, &[]);
        net.run(20);
    }
    let video = out_ssrcs(receivers[0]).1;
    assert_eq!(net.peers[receivers[0]].of(video).len(), 303, "media stayed");
    assert!(
        net.astray
            .iter()
            .all(|(to, datagram)| *to == victim && datagram[0] <= 3)
    );
    let responses = net.astray.iter().filter(|(_, datagram)| datagram[0] == 1);
    assert!(
        responses
            .clone()
            .all(|(_, datagram)| datagram.len() <= asked)
    );
    assert_eq!(responses.count(), 1);
    assert!(
        net.astray.len() <= 1 + 2,
        "the victim is asked no more than twice"
    );
    net.finish();
}

#[test]
fn a_peer_that_moves_takes_its_media_with_it() {
    let mut net = Net::new();
    let (mut source, receivers) = call(&mut net, 1);
    let moved = SocketAddr::from(([198, 51, 100, 77], 6_000));
    net.peers[receivers[0]].address = moved;
    net.run(4_000);
    let before = net.peers[receivers[0]].rtp.len();
    source.frame(&mut net, false, &[]);
    net.run(5);
    assert_eq!(net.peers[receivers[0]].rtp.len(), before + 3);
    net.finish();
}

#[test]
fn strangers_get_nothing_and_cost_nothing() {
    let mut net = Net::new();
    let (source, _) = call(&mut net, 1);
    let stranger = SocketAddr::from(STRANGER);
    let peer = &net.peers[source.peer];
    let (node, own) = (peer.node_credentials.clone(), peer.credentials.clone());
    net.send(
        stranger,
        check(&node, &own, "not-the-right-password-at-all", true),
    );
    let unknown = Credentials::generate(&mut Rng::from_number(9));
    net.send(stranger, check(&unknown, &own, unknown.password(), true));
    net.send(
        stranger,
        [22, 254, 253].into_iter().chain([0; 60]).collect(),
    );
    let mut rtp = vec![0x80, 96];
    rtp.resize(100, 1);
    net.send(stranger, rtp.clone());
    rtp[1] = 200;
    net.send(stranger, rtp);
    net.send(stranger, vec![70; 30]);
    net.send(stranger, Vec::new());
    let mut success = [0; 96];
    let key = IntegrityKey::new(own.password().as_bytes());
    let len = stun::write_binding_success(&mut success, TransactionId([1; 12]), stranger, &key);
    net.send(stranger, success[..len.unwrap()].to_vec());
    net.run(5);
    assert!(net.astray.is_empty());
    let drops = &net.engine.stats().drops;
    assert_eq!(drops.get(Stage::Classify, DropReason::StunUnauthentic), 1);
    assert_eq!(drops.get(Stage::Classify, DropReason::StunUnknownUfrag), 1);
    assert_eq!(drops.get(Stage::Classify, DropReason::Stranger), 4);
    assert_eq!(drops.get(Stage::Classify, DropReason::UnknownProtocol), 2);
    assert!(
        !net.events
            .iter()
            .any(|event| matches!(event, Event::Dtls { .. }))
    );
    net.finish();
}

#[test]
fn the_wrong_key_and_the_same_packet_again_are_not_forwarded() {
    let mut net = Net::new();
    let (source, receivers) = call(&mut net, 1);
    let before = net.peers[receivers[0]].rtp.len();
    let from = net.peers[source.peer].address;
    let fields = Fields {
        payload_type: VP8,
        sequence: source.sequence,
        timestamp: 1,
        ssrc: VIDEO_SSRC,
        ..Fields::default()
    };
    let good = net.peers[source.peer].protect(&fields, &[], b"once");
    let other = KeyingMaterial::from_exporter(Profile::AeadAes128Gcm, &[9; 56], true).unwrap();
    let mut forger = Outbound::new(&other.local).unwrap();
    let mut forged = vec![0; 200];
    let header = good[..12].to_vec();
    let index = u64::from(source.sequence);
    let len = forger.protect_rtp(index, VIDEO_SSRC, &header, &[], b"evil", &mut forged);
    forged.truncate(len.unwrap());
    net.send(from, forged);
    net.send(from, good.clone());
    net.send(from, good.clone());
    // From another peer's address it is another transport's packet, and nothing is published there.
    net.send(net.peers[receivers[0]].address, good.clone());
    net.send(SocketAddr::from(STRANGER), good);
    net.run(5);
    assert_eq!(net.peers[receivers[0]].rtp.len(), before + 1);
    let drops = &net.engine.stats().drops;
    assert_eq!(drops.get(Stage::Unprotect, DropReason::Unauthentic), 1);
    assert_eq!(drops.get(Stage::Unprotect, DropReason::UnknownEncoding), 1);
    assert_eq!(drops.get(Stage::Unprotect, DropReason::Replay), 1);
    assert_eq!(drops.get(Stage::Classify, DropReason::Stranger), 1);
    net.finish();
}

#[test]
fn no_media_moves_before_the_keys_and_all_of_it_right_after() {
    let mut net = Net::new();
    let sender = net.connect();
    let spec = publisher(&net, sender, 1);
    net.command(Command::AddPublisher(Box::new(spec)));
    let receiver = net.add_peer(Profile::AeadAes256Gcm);
    let spec = subscriber(&net, receiver, 1);
    net.command(Command::AddSubscriber(Box::new(spec)));
    let mut source = Source::new(sender);
    for _ in 0..10 {
        source.frame(&mut net, true, &[]);
        net.run(20);
    }
    assert_eq!(net.peers[receiver].media, 0);
    assert!(net.stat(DropReason::NoKeys) >= 27);
    net.send(net.peers[receiver].address, vec![0x80; 100]);
    net.give_keys(receiver);
    source.frame(&mut net, true, &[]);
    net.run(5);
    assert_eq!(net.peers[receiver].of(out_ssrcs(receiver).1).len(), 3);
    let keys = Box::new(net.peers[receiver].keys.mirrored());
    let transport = net.peers[receiver].id;
    net.command(Command::KeysReady { transport, keys });
    assert!(matches!(net.events.last(), Some(Event::Refused { .. })));
    net.finish();
}

#[test]
fn the_handshake_talks_to_proven_passwords_only() {
    let mut net = Net::new();
    let peer = net.add_peer(Profile::AeadAes128Gcm);
    let hello: Vec<u8> = [22, 254, 253].into_iter().chain([7; 60]).collect();
    let from = net.peers[peer].address;
    net.send(from, hello.clone());
    let transport = net.peers[peer].id;
    let flight = vec![22; 700];
    net.command(Command::SendDtls {
        transport,
        datagram: flight.clone(),
    });
    assert!(matches!(net.events.last(), Some(Event::Refused { .. })));
    net.run(50);
    assert_eq!(net.stat(DropReason::Stranger), 1);
    net.send(from, hello.clone());
    net.run(5);
    let expected = Event::Dtls {
        transport,
        from,
        datagram: hello.clone(),
    };
    assert!(net.events.contains(&expected));
    net.command(Command::SendDtls {
        transport,
        datagram: flight.clone(),
    });
    net.run(5);
    assert_eq!(net.peers[peer].dtls, [flight]);
    net.run(50);
    for _ in 0..50 {
        net.send(from, hello.clone());
    }
    net.run(5);
    assert_eq!(net.stat(DropReason::DtlsFlood), 50 - 16);
    net.finish();
}

#[test]
fn a_flood_of_handshake_datagrams_is_taken_at_a_bounded_rate() {
    let mut net = Net::new();
    let peer = net.connect();
    let from = net.peers[peer].address;
    for _ in 0..200 {
        for _ in 0..5 {
            net.send(from, [22, 254, 253].into_iter().chain([7; 60]).collect());
        }
        net.run(5);
    }
    let is_dtls = |event: &&Event| matches!(event, Event::Dtls { .. });
    let taken = net.events.iter().filter(is_dtls).count();
    assert!((16 * 18..=16 * 21).contains(&taken), "{taken} in a second");
    assert_eq!(net.stat(DropReason::DtlsFlood), 1_000 - taken as u64);
    net.finish();
}

#[test]
fn a_peer_that_never_answers_gets_media_where_its_handshake_completed() {
    let mut net = Net::new();
    let sender = net.connect();
    let spec = publisher(&net, sender, 1);
    net.command(Command::AddPublisher(Box::new(spec)));
    let mute = net.add_peer(Profile::AeadAes128Gcm);
    net.peers[mute].answers_checks = false;
    let spec = subscriber(&net, mute, 1);
    net.command(Command::AddSubscriber(Box::new(spec)));
    net.run(100);
    net.give_keys(mute);
    let transport = net.peers[mute].id;
    let address = net.peers[mute].address;
    net.command(Command::DtlsCompleted { transport, address });
    let mut source = Source::new(sender);
    source.frame(&mut net, true, &[]);
    net.run(100);
    assert_eq!(net.peers[mute].media, 0, "it may still answer");
    net.run(6_000);
    source.frame(&mut net, true, &[]);
    net.run(5);
    assert_eq!(net.peers[mute].of(out_ssrcs(mute).1).len(), 3);
    net.finish();
}

#[test]
fn a_peer_that_falls_silent_loses_its_transport_with_everything_on_it() {
    let mut net = Net::new();
    let (mut source, receivers) = call(&mut net, 2);
    let gone = receivers[0];
    net.peers[gone].ice = None;
    let mut closed_after = None;
    for tenth in 0..300 {
        source.frame(&mut net, false, &[]);
        net.run(100);
        let closed = Event::Closed {
            transport: net.peers[gone].id,
            reason: CloseReason::ConsentLost,
        };
        if net.events.contains(&closed) {
            closed_after = Some(Duration::from_millis(tenth * 100));
            break;
        }
    }
    let after = closed_after.expect("the transport closes");
    assert!((14..=21).contains(&after.as_secs()), "{after:?}");
    let before = net.peers[gone].media;
    source.frame(&mut net, false, &[]);
    net.run(100);
    assert_eq!(net.peers[gone].media, before);
    assert_eq!(net.engine.stats().subscribers, 1);
    assert_eq!(net.engine.stats().transports_connected, 2);
    net.finish();
}

#[test]
fn a_transport_that_nobody_checks_times_out() {
    let mut net = Net::new();
    let peer = net.add_peer(Profile::AeadAes128Gcm);
    net.peers[peer].ice = None;
    net.run(31_000);
    let closed = Event::Closed {
        transport: net.peers[peer].id,
        reason: CloseReason::IceTimeout,
    };
    let told = Event::Standing {
        transport: net.peers[peer].id,
        trouble: Some(Trouble::NoCheck),
    };
    assert_eq!(net.events, [told, closed]);
    assert_eq!(net.engine.deadline(), None, "nothing is left to wait for");
    net.finish();
}

#[test]
fn orders_that_make_no_sense_are_refused() {
    let mut net = Net::with(Config {
        transports_max: 2,
        ..config()
    });
    let (first, second) = (net.connect(), net.connect());
    net.events.clear();
    let spec = |id: u64, ufrag: &str, pwd: &str| {
        Command::AddTransport(Box::new(TransportSpec {
            id: TransportId(id),
            connection: None,
            local_ufrag: ufrag.into(),
            local_pwd: pwd.into(),
            remote: None,
        }))
    };
    let good = "0123456789abcdefghijklmn";
    net.command(spec(1, "abcd", good));
    net.command(spec(50, "abcd", good));
    net.command(Command::RemoveTransport(net.peers[second].id));
    net.command(spec(51, "a b", good));
    let taken = net.peers[first].node_credentials.ufrag().to_owned();
    net.command(spec(52, &taken, good));
    let spec = subscriber(&net, first, 1);
    net.command(Command::AddSubscriber(Box::new(spec)));
    let mut spec = subscriber(&net, first, 1);
    spec.id = SubscriberId(900);
    net.command(Command::AddSubscriber(Box::new(spec)));
    let mut spec = publisher(&net, first, 1);
    spec.transport = TransportId(999);
    net.command(Command::AddPublisher(Box::new(spec)));
    let refused: Vec<u64> = net
        .events
        .iter()
        .map(|event| match event {
            Event::Refused { transport, .. } => transport.0,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(refused, [1, 50, 51, 52, 1, 999]);
    net.finish();
}

#[test]
fn nobody_takes_the_address_of_another_by_a_forged_check() {
    let mut net = Net::new();
    let (mut source, receivers) = call(&mut net, 1);
    let (publisher, attacker) = (source.peer, receivers[0]);
    for _ in 0..20 {
        // The attacker has a password of its own, and fakes the source of its checks.
        let peer = &net.peers[attacker];
        let node = &peer.node_credentials;
        let forged = check(node, &peer.credentials, node.password(), true);
        let victim = net.peers[publisher].address;
        net.send(victim, forged);
        source.frame(&mut net, false, &[]);
        net.run(100);
    }
    let video = out_ssrcs(attacker).1;
    assert_eq!(net.peers[attacker].of(video).len(), 63);
    net.finish();
}

#[test]
fn nobody_is_kept_from_its_address_by_forged_checks() {
    let mut net = Net::new();
    let attacker = net.connect();
    let fresh = net.add_peer(Profile::AeadAes128Gcm);
    let victim = net.peers[fresh].address;
    // Each time the owner has been asked and not yet answered, there is a forged check with the same source.
    for _ in 0..100 {
        let peer = &net.peers[attacker];
        let node = &peer.node_credentials;
        let forged = check(node, &peer.credentials, node.password(), true);
        net.send(victim, forged);
        net.run(1);
    }
    let connected = Event::IceConnected(net.peers[fresh].id);
    assert!(net.events.contains(&connected));
    net.finish();
}

#[test]
fn a_new_transport_may_have_the_address_of_a_dead_one() {
    let mut net = Net::new();
    let dead = net.connect();
    let address = net.peers[dead].address;
    net.peers[dead].ice = None;
    net.peers[dead].address = SocketAddr::from(STRANGER);
    let fresh = net.add_peer(Profile::AeadAes256Gcm);
    net.peers[fresh].address = address;
    net.run(500);
    assert!(
        net.events
            .contains(&Event::IceConnected(net.peers[fresh].id))
    );
    net.send(address, [22, 254, 253].into_iter().chain([7; 60]).collect());
    net.run(20_000);
    let transport = net.peers[fresh].id;
    assert!(
        net.events
            .iter()
            .any(|event| matches!(event, Event::Dtls { transport: to, .. } if *to == transport))
    );
    let closed = Event::Closed {
        transport: net.peers[dead].id,
        reason: CloseReason::ConsentLost,
    };
    assert!(net.events.contains(&closed));
    assert_eq!(net.engine.stats().transports_connecting, 1);
    net.finish();
}

#[test]
fn refused_checks_leave_no_trace() {
    let mut net = Net::new();
    let peer = net.add_peer(Profile::AeadAes128Gcm);
    net.peers[peer].ice = None;
    let (node, own) = (
        net.peers[peer].node_credentials.clone(),
        net.peers[peer].credentials.clone(),
    );
    for port in 1..200 {
        let mut bytes = [0; 300];
        let request = BindingRequest {
            transaction: TransactionId([7; 12]),
            receiver_ufrag: node.ufrag().as_bytes(),
            sender_ufrag: own.ufrag().as_bytes(),
            priority: 1,
            role: Role::Controlled(1),
            use_candidate: false,
        };
        let key = IntegrityKey::new(node.password().as_bytes());
        let len = stun::write_binding_request(&mut bytes, &request, &key).unwrap();
        let from = SocketAddr::from(([203, 0, 113, 1], port));
        net.send(from, bytes[..len].to_vec());
        net.send(from, vec![0x80; 40]);
        net.turn();
    }
    assert_eq!(net.astray.len(), 199, "each is told of the role conflict");
    assert_eq!(net.stat(DropReason::Stranger), 199);
    net.finish();
}
