//! What one writes first: an asynchronous socket, a library for SRTP, and one send for every packet and subscriber.

use std::collections::HashMap;
use std::net::SocketAddr;

use anyhow::Context as _;
use bytes::Bytes;
use proto::srtp::Profile;
use tokio::io::{AsyncBufReadExt, BufReader, Lines, Stdin};
use tokio::net::UdpSocket;
use webrtc_srtp::context::Context;
use webrtc_srtp::option::srtp_replay_protection;

use super::{
    Answer, Every, Key, MAX_DATAGRAM, Numbering, Order, Replay, SOCKET_BUFFER, Settings,
    Statistics, is_rtp, rewrite, rtp_header_length, say, sequence_of, ssrc_of,
};
use crate::fleet::protection_profile;

/// How many packets `webrtc-srtp` remembers.
const REPLAY_WINDOW: usize = 64;

/// Runs until standard input ends.
///
/// # Errors
/// If there is no socket.
pub fn run(settings: &Settings, profile: Profile) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(serve(settings, profile))
}

async fn serve(settings: &Settings, profile: Profile) -> anyhow::Result<()> {
    let socket = std::net::UdpSocket::bind((settings.listen, 0))?;
    if rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, SOCKET_BUFFER).is_err() {
        rustix::net::sockopt::set_socket_recv_buffer_size(&socket, SOCKET_BUFFER)?;
    }
    socket.set_nonblocking(true)?;
    let socket = UdpSocket::from_std(socket)?;
    say(&Answer::Ready {
        address: socket.local_addr()?,
    })?;
    let mut forwarder = Forwarder {
        profile,
        socket,
        publishers: HashMap::new(),
        streams: HashMap::new(),
        statistics: Statistics::default(),
        spoil: Every::new(settings.spoil_every),
        skip: Every::new(settings.skip_every),
    };
    let mut orders: Lines<BufReader<Stdin>> = BufReader::new(tokio::io::stdin()).lines();
    let mut buffer = vec![0; MAX_DATAGRAM];
    loop {
        tokio::select! {
            received = forwarder.socket.recv_from(&mut buffer) => {
                let (length, from) = received?;
                forwarder.forward(from, &buffer[..length]).await?;
            }
            line = orders.next_line() => {
                let Some(line) = line? else {
                    return Ok(());
                };
                if let Err(error) = forwarder.obey(&line) {
                    say(&Answer::Refused(format!("{error:#}")))?;
                }
            }
        }
    }
}

struct Forwarder {
    profile: Profile,
    socket: UdpSocket,
    publishers: HashMap<SocketAddr, Publisher>,
    streams: HashMap<u32, Vec<Sink>>,
    statistics: Statistics,
    spoil: Every,
    skip: Every,
}

struct Publisher {
    srtp: Context,
    indices: HashMap<u32, Replay>,
}

struct Sink {
    address: SocketAddr,
    ssrc: u32,
    numbering: Numbering,
    srtp: Context,
}

impl Forwarder {
    async fn forward(&mut self, from: SocketAddr, packet: &[u8]) -> anyhow::Result<()> {
        self.statistics.received += 1;
        self.statistics.system_calls += 1;
        let known = self.publishers.get_mut(&from);
        let (Some(publisher), true) = (known, is_rtp(packet)) else {
            self.statistics.ignored += 1;
            return Ok(());
        };
        let (ssrc, sequence) = (ssrc_of(packet), sequence_of(packet));
        let Ok(plain) = publisher.srtp.decrypt_rtp(packet) else {
            self.statistics.unauthentic += 1;
            return Ok(());
        };
        let replay = publisher.indices.entry(ssrc).or_default();
        let Some(index) = replay.index(sequence) else {
            self.statistics.unauthentic += 1;
            return Ok(());
        };
        replay.accept(index);
        let sinks = self.streams.get_mut(&ssrc);
        let (Some(sinks), Some(header)) = (sinks, rtp_header_length(&plain)) else {
            self.statistics.ignored += 1;
            return Ok(());
        };
        for sink in sinks {
            let Some(index) = sink.numbering.map(index) else {
                continue;
            };
            if self.skip.is_due() {
                continue;
            }
            let mut copy = plain.to_vec();
            rewrite(&mut copy[..header], index as u16, sink.ssrc);
            if self.spoil.is_due() {
                copy[header + (plain.len() - header) / 2] ^= 1;
            }
            let sealed: Bytes = sink.srtp.encrypt_rtp(&copy)?;
            self.statistics.system_calls += 1;
            match self.socket.send_to(&sealed, sink.address).await {
                Ok(_) => self.statistics.forwarded += 1,
                Err(_) => self.statistics.refused += 1,
            }
        }
        Ok(())
    }

    fn obey(&mut self, line: &str) -> anyhow::Result<()> {
        match serde_json::from_str(line)? {
            Order::Publisher { address, key } => {
                let publisher = Publisher {
                    srtp: self.context(&key, true)?,
                    indices: HashMap::new(),
                };
                self.publishers.insert(address, publisher);
            }
            Order::Subscriber {
                address,
                key,
                streams,
            } => {
                for mapping in streams {
                    let sink = Sink {
                        address,
                        ssrc: mapping.to,
                        numbering: Numbering::new(mapping.first_sequence),
                        srtp: self.context(&key, false)?,
                    };
                    self.streams.entry(mapping.from).or_default().push(sink);
                }
            }
            Order::Remove { address } => {
                self.publishers.remove(&address);
                for sinks in self.streams.values_mut() {
                    sinks.retain(|sink| sink.address != address);
                }
            }
            Order::Statistics => say(&Answer::Statistics(self.statistics))?,
        }
        Ok(())
    }

    fn context(&self, key: &Key, receiving: bool) -> anyhow::Result<Context> {
        let profile = protection_profile(self.profile);
        let replay = receiving.then(|| srtp_replay_protection(REPLAY_WINDOW));
        Context::new(&key.key, &key.salt, profile, replay, None)
            .context("webrtc-srtp refused the keys")
    }
}
