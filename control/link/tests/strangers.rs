//! Who costs a node nothing.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use link::desired::DesiredState;
use link::pki::Authority;
use link::quic::Credentials;
use link::quic::master::{Dialer, NodeConfig, NodeLink};
use link::quic::node::Listener;
use tokio::sync::mpsc;
use tokio::time::timeout;

const SOON: Duration = Duration::from_millis(300);

/// The first datagram of a master that dials.
async fn first_datagram(authority: &Authority) -> Vec<u8> {
    let master = authority.issue_master().expect("issued");
    let credentials = Credentials::from_identity(authority.certificate_pem(), &master);
    let dialer = Dialer::new(&credentials.expect("usable")).expect("sockets");
    let nobody = tokio::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await;
    let nobody = nobody.expect("a port");
    let config = NodeConfig {
        name: "node".into(),
        address: nobody.local_addr().expect("bound"),
        node_id: None,
        epoch: 1,
        known_instance: None,
    };
    let (events, _) = mpsc::channel(1);
    let link = NodeLink::spawn(dialer, config, DesiredState::new(), events);
    let mut datagram = vec![0; 2000];
    let len = nobody.recv(&mut datagram).await.expect("it dials");
    link.stop();
    datagram.truncate(len);
    datagram
}

#[tokio::test]
async fn an_address_that_may_be_faked_gets_a_retry_and_no_place() {
    let authority = Authority::generate("test").expect("randomness");
    let node = authority.issue_node("node").expect("issued");
    let credentials = Credentials::from_identity(authority.certificate_pem(), &node);
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listener = Listener::bind(any, &credentials.expect("usable")).expect("a port");
    let to = listener.local_address().expect("bound");
    let initial = first_datagram(&authority).await;
    for _ in 0..3 {
        let stranger = UdpSocket::bind(any).expect("a port");
        stranger.send_to(&initial, to).expect("sent");
        let accepted = timeout(SOON, listener.accept()).await;
        assert!(accepted.is_err(), "nobody has shown to be where it says");
        stranger.set_read_timeout(Some(SOON)).expect("a timeout");
        let mut answer = [0; 2000];
        let len = stranger.recv(&mut answer).expect("an answer");
        // RFC 9000 §17.2.5: a long header of type Retry.
        assert_eq!(answer[0] & 0xf0, 0xf0);
        assert!(len < initial.len());
    }
}
