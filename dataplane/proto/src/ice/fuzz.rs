use std::net::SocketAddr;

use clock::{Duration, Instant, Rng};

use super::lite::{Config, Lite, MAX_CANDIDATES};
use super::{Credentials, Event, Output, later};
use crate::stun::{self, BindingRequest, IntegrityKey, Message, Role, TransactionId};

/// Addresses that the peer uses; more than the agent remembers.
const ADDRESSES: u8 = 12;

/// Body of a fuzz target. The bytes steer a peer that knows the password: which address it uses, what it sends, what it
/// answers. Whatever it does, nothing is sent where it has not sent from, media goes only where it may, and the table
/// stays small.
#[doc(hidden)]
pub fn fuzz_ice(data: &[u8]) {
    let Some(mut peer) = Peer::new() else {
        return;
    };
    let mut rest = data;
    while let Some((&[action, argument], tail)) = rest.split_first_chunk::<2>() {
        rest = tail;
        let from = address(argument);
        peer.wait(u64::from(argument));
        match action % 6 {
            0 => peer.agent.set_remote(peer.now, peer.remote.clone()),
            1 => {
                peer.wait(u64::from(argument).saturating_mul(20));
                peer.agent.on_timeout(peer.now);
            }
            2 => {
                peer.agent.on_dtls_completed(from);
                peer.dtls.push(from);
            }
            3 => {
                let length = rest.len().min(usize::from(argument));
                let (bytes, tail) = rest.split_at_checked(length).unwrap_or_default();
                rest = tail;
                peer.send_raw(bytes, from);
            }
            4 => peer.check(argument, from, action & 0x80 != 0),
            _ => peer.answer(),
        }
        peer.collect();
    }
}

struct Peer {
    agent: Lite,
    now: Instant,
    local: Credentials,
    remote: Credentials,
    /// What the agent asked and we have not answered.
    asked: Vec<(SocketAddr, TransactionId)>,
    /// Where DTLS completed.
    dtls: Vec<SocketAddr>,
}

impl Peer {
    fn new() -> Option<Self> {
        let mut rng = Rng::from_number(1);
        let now = Instant::from_millis(1);
        let local = Credentials::generate(&mut rng);
        let remote = Credentials::generate(&mut rng);
        let agent = Lite::new(now, local.clone(), Config::default(), rng).ok()?;
        Some(Self {
            agent,
            now,
            local,
            remote,
            asked: Vec::new(),
            dtls: Vec::new(),
        })
    }

    fn wait(&mut self, millis: u64) {
        self.now = later(self.now, Duration::from_millis(millis));
    }

    fn send_raw(&mut self, bytes: &[u8], from: SocketAddr) {
        let mut response = [0; stun::MAX_RESPONSE_LEN];
        if let Ok(message) = Message::parse(bytes) {
            let _ = self
                .agent
                .on_request(self.now, &message, from, &mut response);
            let _ = self.agent.on_response(self.now, &message, from);
        }
    }

    fn check(&mut self, id: u8, from: SocketAddr, use_candidate: bool) {
        let request = BindingRequest {
            transaction: TransactionId([id; 12]),
            receiver_ufrag: self.local.ufrag().as_bytes(),
            sender_ufrag: self.remote.ufrag().as_bytes(),
            priority: 1,
            role: Role::Controlling(1),
            use_candidate,
        };
        let key = IntegrityKey::new(self.local.password().as_bytes());
        let mut buffer = [0; 256];
        let length = stun::write_binding_request(&mut buffer, &request, &key).unwrap_or(0);
        let bytes = buffer.get(..length).unwrap_or_default();
        let mut response = [0; stun::MAX_RESPONSE_LEN];
        if let Ok(message) = Message::parse(bytes)
            && let Ok(answer) = self
                .agent
                .on_request(self.now, &message, from, &mut response)
        {
            assert!(answer <= bytes.len(), "no amplification");
            assert!(self.agent.is_checked(from), "a valid check is remembered");
        }
    }

    /// Answers the latest question.
    fn answer(&mut self) {
        let Some((from, id)) = self.asked.pop() else {
            return;
        };
        let key = IntegrityKey::new(self.remote.password().as_bytes());
        let mut buffer = [0; stun::MAX_RESPONSE_LEN];
        let length = stun::write_binding_success(&mut buffer, id, from, &key).unwrap_or(0);
        if let Ok(message) = Message::parse(buffer.get(..length).unwrap_or_default())
            && self.agent.on_response(self.now, &message, from).is_ok()
        {
            assert!(self.agent.is_proven(from), "an answer is a proof");
        }
    }

    fn collect(&mut self) {
        while let Some(output) = self.agent.poll() {
            match output {
                Output::Send { to, datagram } => {
                    assert!(
                        self.agent.is_checked(to),
                        "asks only where a check came from"
                    );
                    if let Ok(message) = Message::parse(&datagram) {
                        self.asked.push((to, message.transaction_id()));
                    }
                }
                Output::Event(Event::Selected { address, proven }) => {
                    let allowed = if proven {
                        self.agent.is_proven(address)
                    } else {
                        self.dtls.contains(&address)
                    };
                    assert!(allowed, "media goes where it was agreed to");
                }
                Output::Event(_) => {}
            }
        }
        let known = (0..ADDRESSES).filter(|n| self.agent.is_checked(address(*n)));
        assert!(known.count() <= MAX_CANDIDATES, "bounded");
    }
}

fn address(number: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, number % ADDRESSES], 7))
}
