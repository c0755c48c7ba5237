use std::collections::VecDeque;
use std::sync::OnceLock;

use clock::{Duration, Instant};

use super::{Certificate, Config, Handshake, HashAlgorithm, MAX_OUTPUTS, Output, Settings, later};
use crate::srtp::KeyingMaterial;

/// Datagrams under way; more are lost.
const MAX_CARRIED: usize = 64;

/// Body of a fuzz target. The bytes steer the wire between two honest ends: what is passed on, changed, cut, repeated,
/// lost, or put there instead. Whatever the wire does, both ends have the same keys or none, keys come only after the
/// right introduction, and nothing follows the end.
///
/// `epoch` is any reading of the system's clock.
///
/// # Panics
/// When one of this does not hold: a bug.
#[doc(hidden)]
pub fn fuzz_dtls(epoch: std::time::Instant, data: &[u8]) {
    let Some(mut wire) = Wire::new(epoch) else {
        return;
    };
    wire.collect();
    let mut rest = data;
    while let Some((&[action, argument, value], tail)) = rest.split_first_chunk::<3>() {
        rest = tail;
        match action % 8 {
            0 => wire.pass(|_| {}),
            // The headers of record and handshake are where one byte can point to.
            1 => wire.pass(|bytes| {
                if let Some(byte) = bytes.get_mut(usize::from(argument)) {
                    *byte ^= value;
                }
            }),
            2 => wire.pass(|bytes| bytes.truncate(u16::from_be_bytes([argument, value]).into())),
            3 => wire.repeat(),
            4 => drop(wire.carried.pop_front()),
            5 => {
                let length = rest.len().min(usize::from(argument));
                let (bytes, tail) = rest.split_at_checked(length).unwrap_or_default();
                rest = tail;
                wire.deliver(value % 2 == 0, bytes);
            }
            6 => wire.wait(u64::from(argument).saturating_mul(u64::from(value))),
            _ => wire.introduce(argument % 2 == 0, value % 2 == 0),
        }
    }
}

struct Wire {
    now: Instant,
    client: End,
    server: End,
    /// What is under way, and whether to the server.
    carried: VecDeque<(bool, Vec<u8>)>,
}

struct End {
    handshake: Handshake,
    own: &'static Certificate,
    keys: Option<KeyingMaterial>,
    /// Whether the last introduction named the other end.
    introduced: bool,
    closed: bool,
}

impl End {
    fn new(handshake: Handshake, own: &'static Certificate) -> Self {
        Self {
            handshake,
            own,
            keys: None,
            introduced: false,
            closed: false,
        }
    }

    /// What it wants sent.
    fn collect(&mut self) -> Vec<Vec<u8>> {
        let (mut datagrams, mut outputs) = (Vec::new(), 0_usize);
        while let Some(output) = self.handshake.poll() {
            assert!(!self.closed, "nothing follows the end");
            outputs = outputs.saturating_add(1);
            match output {
                Output::Datagram(bytes) => datagrams.push(bytes),
                Output::KeysReady(keys) => {
                    assert!(self.introduced, "keys are for an expected peer");
                    assert!(self.keys.replace(keys).is_none(), "keys come once");
                }
                Output::Closed(_) => self.closed = true,
                Output::PeerCertificate { .. } => {}
                Output::Connected => assert!(self.keys.is_some(), "keys come first"),
            }
        }
        assert!(outputs <= MAX_OUTPUTS, "bounded");
        datagrams
    }
}

impl Wire {
    fn new(epoch: std::time::Instant) -> Option<Self> {
        static MADE: OnceLock<Option<([Certificate; 2], Config)>> = OnceLock::new();
        let made = MADE.get_or_init(|| {
            let client = Certificate::generate().ok()?;
            let server = Certificate::generate().ok()?;
            Some(([client, server], Config::new(Settings::default()).ok()?))
        });
        let ([client, server], config) = made.as_ref()?;
        let now = Instant::from_millis(1);
        Some(Self {
            now,
            client: End::new(Handshake::client(now, epoch, client, config), client),
            server: End::new(Handshake::server(now, epoch, server, config), server),
            carried: VecDeque::new(),
        })
    }

    /// Hands on what has been under way longest, after `change`.
    fn pass(&mut self, change: impl FnOnce(&mut Vec<u8>)) {
        if let Some((to_server, mut bytes)) = self.carried.pop_front() {
            change(&mut bytes);
            self.deliver(to_server, &bytes);
        }
    }

    fn repeat(&mut self) {
        if let Some((to_server, bytes)) = self.carried.front().cloned() {
            self.deliver(to_server, &bytes);
        }
    }

    fn deliver(&mut self, to_server: bool, bytes: &[u8]) {
        let now = self.now;
        self.end(to_server).handshake.on_datagram(now, bytes);
        self.collect();
    }

    fn wait(&mut self, millis: u64) {
        self.now = later(self.now, Duration::from_millis(millis));
        for end in [&mut self.client, &mut self.server] {
            if end.handshake.deadline().is_some_and(|at| at <= self.now) {
                end.handshake.on_timeout(self.now);
            }
        }
        self.collect();
    }

    /// Tells an end whom to expect: the other, or, for a lie, itself.
    fn introduce(&mut self, to_server: bool, honest: bool) {
        let expected = self.end(to_server != honest).own;
        let expected = [expected.fingerprint(HashAlgorithm::Sha256)];
        let now = self.now;
        let end = self.end(to_server);
        if end.keys.is_none() && !end.closed {
            end.introduced = honest;
            end.handshake.set_remote_fingerprints(now, &expected);
        }
        self.collect();
    }

    fn end(&mut self, server: bool) -> &mut End {
        if server {
            &mut self.server
        } else {
            &mut self.client
        }
    }

    fn collect(&mut self) {
        for from_server in [false, true] {
            let datagrams = self.end(from_server).collect();
            for bytes in datagrams {
                if self.carried.len() < MAX_CARRIED {
                    self.carried.push_back((!from_server, bytes));
                }
            }
        }
        if let (Some(client), Some(server)) = (&self.client.keys, &self.server.keys) {
            assert!(*client == server.mirrored(), "both have the same keys");
        }
    }
}
