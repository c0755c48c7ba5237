//! Why nothing flows: each cause is made as it comes about, and told once.

use proto::ice::Credentials;
use proto::ice::controlling::{Config as IceConfig, Controlling};
use proto::srtp::Profile;
use sfu::api::*;

use crate::harness::*;

/// What was told of a peer's transport, in order.
fn told(net: &Net, peer: usize) -> Vec<Option<Trouble>> {
    let id = net.peers[peer].id;
    let events = net.events.iter();
    let of_peer = events.filter_map(|event| match event {
        Event::Standing { transport, trouble } if *transport == id => Some(*trouble),
        _ => None,
    });
    of_peer.collect()
}

/// The peer begins anew with other credentials than the node has.
fn mistake(net: &mut Net, peer: usize, own: &Credentials, node: &Credentials) {
    let ice = Controlling::new(
        net.now,
        own.clone(),
        node.clone(),
        NODE.into(),
        IceConfig::default(),
        net.rng.fork(),
    );
    net.peers[peer].ice = Some(ice.unwrap());
}

/// Sound and pictures for so many tenths of a second.
fn play(net: &mut Net, source: &mut Source, tenths: usize, pictures: bool, key: bool) {
    for _ in 0..tenths {
        if pictures {
            source.frame(net, key, &[]);
        }
        source.audio(net);
        net.run(100);
    }
}

#[test]
fn a_working_call_has_no_trouble() {
    let mut net = Net::new();
    let (mut source, receivers) = call(&mut net, 2);
    play(&mut net, &mut source, 300, true, false);
    for peer in [source.peer, receivers[0], receivers[1]] {
        assert_eq!(told(&net, peer), []);
    }
    net.finish();
}

#[test]
fn a_peer_that_is_not_heard_of() {
    let mut net = Net::new();
    let peer = net.add_peer(Profile::AeadAes128Gcm);
    let ice = net.peers[peer].ice.take();
    net.run(4_500);
    assert_eq!(told(&net, peer), [], "it may still come");
    net.run(3_000);
    assert_eq!(told(&net, peer), [Some(Trouble::NoCheck)]);
    net.peers[peer].ice = ice;
    net.run(500);
    net.give_keys(peer);
    net.run(4_000);
    assert_eq!(told(&net, peer), [Some(Trouble::NoCheck), None]);
    net.finish();
}

#[test]
fn a_wrong_password_and_a_wrong_ufrag_are_told_apart() {
    let mut net = Net::new();
    let [password, ufrag, stranger] = [(); 3].map(|()| net.add_peer(Profile::AeadAes128Gcm));
    let (own, node) = (
        net.peers[password].credentials.clone(),
        net.peers[password].node_credentials.clone(),
    );
    let wrong = Credentials::new(node.ufrag(), "anotherPasswordOf24chars").unwrap();
    mistake(&mut net, password, &own, &wrong);
    let own = net.peers[ufrag].credentials.clone();
    let wrong = Credentials::new("elsewhere", node.password()).unwrap();
    mistake(&mut net, ufrag, &own, &wrong);
    // Somebody else's mistakes say nothing of this one.
    net.peers[stranger].ice = None;
    net.run(8_000);
    assert_eq!(told(&net, password), [Some(Trouble::WrongIntegrity)]);
    assert_eq!(told(&net, ufrag), [Some(Trouble::UnknownUfrag)]);
    assert_eq!(told(&net, stranger), [Some(Trouble::NoCheck)]);
    net.run(30_000);
    let last = |peer: usize| *told(&net, peer).last().unwrap();
    assert_eq!(last(password), Some(Trouble::WrongIntegrity), "told once");
    assert_eq!(last(ufrag), Some(Trouble::UnknownUfrag));
    net.finish();
}

#[test]
fn an_address_that_is_not_proven_and_a_peer_that_is_not_described() {
    let mut net = Net::new();
    let mute = net.add_peer(Profile::AeadAes128Gcm);
    net.peers[mute].answers_checks = false;
    let early = net.add_peer(Profile::AeadAes128Gcm);
    let undescribed = TransportId(99);
    net.command(Command::AddTransport(Box::new(TransportSpec {
        id: undescribed,
        connection: None,
        local_ufrag: "undescribed".into(),
        local_pwd: "undescribed0123456789012".into(),
        remote: None,
    })));
    let node = Credentials::new("undescribed", "undescribed0123456789012").unwrap();
    let own = net.peers[early].credentials.clone();
    mistake(&mut net, early, &own, &node);
    net.peers[early].answers_checks = false;
    net.run(9_000);
    assert_eq!(told(&net, mute), [Some(Trouble::AddressNotProven)]);
    let expected = Event::Standing {
        transport: undescribed,
        trouble: Some(Trouble::NoRemoteDescription),
    };
    assert!(net.events.contains(&expected));
    net.command(Command::RemoveTransport(undescribed));
    net.finish();
}

#[test]
fn an_address_without_a_handshake() {
    let mut net = Net::new();
    let peer = net.add_peer(Profile::AeadAes128Gcm);
    net.run(9_000);
    assert_eq!(told(&net, peer), [Some(Trouble::NoKeys)]);
    net.give_keys(peer);
    net.run(4_000);
    assert_eq!(told(&net, peer), [Some(Trouble::NoKeys), None]);
    net.finish();
}

#[test]
fn a_publisher_that_falls_silent_and_its_subscriber() {
    let mut net = Net::new();
    let (mut source, receivers) = call(&mut net, 1);
    play(&mut net, &mut source, 50, true, false);
    net.run(20_000);
    assert_eq!(told(&net, source.peer), [Some(Trouble::NoMedia)]);
    assert_eq!(told(&net, receivers[0]), [Some(Trouble::PublisherSilent)]);
    play(&mut net, &mut source, 50, true, true);
    assert_eq!(told(&net, source.peer).last(), Some(&None));
    assert_eq!(told(&net, receivers[0]).last(), Some(&None));
    play(&mut net, &mut source, 200, false, false);
    let expected = Some(&Some(Trouble::NoPictures));
    assert_eq!(told(&net, source.peer).last(), expected);
    net.command(Command::RemovePublisher(PublisherId(1)));
    net.run(9_000);
    let expected = Some(&Some(Trouble::PublisherAbsent));
    assert_eq!(told(&net, receivers[0]).last(), expected);
    net.finish();
}

#[test]
fn pictures_without_one_to_begin_with() {
    let mut net = Net::new();
    let sender = net.connect();
    let spec = publisher(&net, sender, 1);
    net.command(Command::AddPublisher(Box::new(spec)));
    let receiver = net.connect();
    let spec = subscriber(&net, receiver, 1);
    net.command(Command::AddSubscriber(Box::new(spec)));
    let mut source = Source::new(sender);
    play(&mut net, &mut source, 120, true, false);
    assert_eq!(told(&net, sender), []);
    assert_eq!(told(&net, receiver), [Some(Trouble::NoKeyFrame)]);
    play(&mut net, &mut source, 30, true, true);
    assert_eq!(told(&net, receiver), [Some(Trouble::NoKeyFrame), None]);
    net.finish();
}
