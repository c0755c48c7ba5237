//! The ways of sending that are compared.

mod bare;

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use net::{AnyDriver, Config, Driver as _, Kind, PeerSocket, Wait};
use packet::{Arena, ArenaSize, Batch, Bursts, BurstsSize};

use crate::PACKET_BYTES;
use crate::exit::Exit;
use bare::{Aim, Messages, Ring};

/// One way to send a run of packets to each of the peers.
pub trait Way {
    /// What happens before a turn and does not count.
    fn before(&mut self) {}
    /// One run to each peer.
    fn turn(&mut self);
    /// What else there is to say in the end.
    fn remark(&self) -> String {
        String::new()
    }
}

type Make = fn(&Exit, usize) -> io::Result<Box<dyn Way>>;

/// Everything that is compared; the first is what the others are measured by.
pub const ALL: [(&str, Make); 12] = [
    ("bare sendmmsg", |exit, run| {
        Ok(Box::new(Messages::new(exit, run)?))
    }),
    ("bare ring, one socket", |exit, run| {
        Ok(Box::new(Ring::new(exit, run, Aim::Each, false)?))
    }),
    ("bare ring, one socket, quiet", |exit, run| {
        Ok(Box::new(Ring::new(exit, run, Aim::Each, true)?))
    }),
    ("bare ring, connected", |exit, run| {
        Ok(Box::new(Ring::new(exit, run, Aim::Connected, false)?))
    }),
    ("bare ring, connected, quiet", |exit, run| {
        Ok(Box::new(Ring::new(exit, run, Aim::Connected, true)?))
    }),
    ("bare ring, send-only, quiet", |exit, run| {
        Ok(Box::new(Ring::new(exit, run, Aim::SendOnly, true)?))
    }),
    ("driver mmsg", |exit, run| {
        Ok(Box::new(Driven::new(exit, run, Kind::Mmsg, false)?))
    }),
    ("driver uring", |exit, run| {
        Ok(Box::new(Driven::new(exit, run, Kind::Uring, false)?))
    }),
    ("driver uring, peers' sockets", |exit, run| {
        let driven = Driven::new(exit, run, Kind::Uring, false)?;
        Ok(Box::new(driven.with_sockets()?))
    }),
    ("driver mmsg, forwarding", |exit, run| {
        Ok(Box::new(Driven::new(exit, run, Kind::Mmsg, true)?))
    }),
    ("driver uring, forwarding", |exit, run| {
        Ok(Box::new(Driven::new(exit, run, Kind::Uring, true)?))
    }),
    ("driver uring, forw., peers' sockets", |exit, run| {
        let driven = Driven::new(exit, run, Kind::Uring, true)?;
        Ok(Box::new(driven.with_sockets()?))
    }),
];

/// A driver of ours, which sends, or receives a run and sends it on.
struct Driven {
    driver: AnyDriver,
    bursts: Bursts,
    arena: Arena,
    batch: Batch,
    peers: Vec<SocketAddr>,
    run: usize,
    source: Option<(UdpSocket, SocketAddr)>,
    packet: Vec<u8>,
}

impl Driven {
    fn new(exit: &Exit, run: usize, kind: Kind, forwards: bool) -> io::Result<Self> {
        let mut config = Config::new(vec![exit.local]);
        config.kind = kind;
        config.peers_max = exit.peers.len();
        let (driver, _) = net::open(&config).map_err(io::Error::other)?;
        let address = driver.local_addresses().next().expect("one listener");
        let source = if forwards {
            Some((UdpSocket::bind(exit.local)?, address))
        } else {
            None
        };
        let arena = ArenaSize {
            slots: 8192,
            small_slots: 0,
            reserve: 0,
        };
        let bursts = BurstsSize {
            chunks: 256,
            bursts: 8192,
        };
        let mut packet = vec![7; PACKET_BYTES];
        packet[0] = 0x80;
        Ok(Self {
            driver,
            bursts: Bursts::new(bursts).map_err(io::Error::other)?,
            arena: Arena::new(arena).map_err(io::Error::other)?,
            batch: Batch::new(),
            peers: exit.peers.clone(),
            run,
            source,
            packet,
        })
    }

    fn with_sockets(mut self) -> io::Result<Self> {
        let own = self.driver.local_addresses().next().expect("one listener");
        for (peer, turn) in self.peers.iter().zip(0..) {
            let socket = PeerSocket::connect(own.port(), *peer, own.ip(), 4 << 20, turn);
            if !self.driver.attach(socket.map_err(io::Error::other)?) {
                return Err(io::Error::other("no room for so many sockets"));
            }
        }
        Ok(self)
    }
}

impl Way for Driven {
    fn before(&mut self) {
        if let Some((source, to)) = &self.source {
            for _ in 0..self.run {
                source.send_to(&self.packet, to).expect("loopback takes it");
            }
        }
    }

    fn turn(&mut self) {
        let wait = match self.source {
            Some(_) => Wait::Until(self.driver.now() + Duration::from_millis(100)),
            None => Wait::Poll,
        };
        self.driver
            .turn(&mut self.bursts, wait, &mut self.arena, &mut self.batch)
            .expect("the driver works");
        self.batch.clear(&mut self.arena);
        let local = self.driver.local_addresses().next();
        for peer in &self.peers {
            self.bursts.begin(*peer, local.map(|local| local.ip()));
            for _ in 0..self.run {
                let room = self.bursts.reserve(self.packet.len()).expect("room");
                room.copy_from_slice(&self.packet);
                self.bursts.commit(self.packet.len());
            }
        }
    }

    fn remark(&self) -> String {
        let stats = self.driver.stats();
        format!(
            "{:.2} system calls a turn",
            stats.system_calls as f64 / stats.turns as f64
        )
    }
}
