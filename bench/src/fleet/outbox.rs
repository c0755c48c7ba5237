use std::net::{IpAddr, SocketAddr};

use packet::{Bursts, BurstsSize};

/// Room for any protected RTCP datagram that a peer writes.
const MAX_DATAGRAM: usize = 1500;

/// What is to be sent: transmit memory, and a count of what did not fit.
#[derive(Debug)]
pub(super) struct Outbox {
    pub(super) bursts: Bursts,
    /// Datagrams for which there was no room.
    pub(super) refused: u64,
}

impl Outbox {
    /// Memory for some thousand datagrams.
    pub(super) fn new() -> Result<Self, packet::Error> {
        let bursts = Bursts::new(BurstsSize {
            chunks: 96,
            bursts: 8192,
        })?;
        Ok(Self { bursts, refused: 0 })
    }

    /// Queues a datagram as it is.
    pub(super) fn send(&mut self, from: IpAddr, to: SocketAddr, datagram: &[u8]) {
        self.write(from, to, datagram.len(), |room| {
            let room = room.get_mut(..datagram.len())?;
            room.copy_from_slice(datagram);
            Some(datagram.len())
        });
    }

    /// Queues what `write` puts into the room it gets, and says whether there was room and `write` wrote something.
    pub(super) fn write(
        &mut self,
        from: IpAddr,
        to: SocketAddr,
        max_len: usize,
        write: impl FnOnce(&mut [u8]) -> Option<usize>,
    ) -> bool {
        self.bursts.begin(to, Some(from));
        let Some(room) = self.bursts.reserve(max_len) else {
            self.refused += 1;
            return false;
        };
        match write(room) {
            Some(len) if len > 0 => {
                self.bursts.commit(len);
                true
            }
            _ => false,
        }
    }

    /// Queues an RTCP packet, which may be compound, protected.
    pub(super) fn send_rtcp(
        &mut self,
        from: IpAddr,
        to: SocketAddr,
        srtp: &mut proto::srtp::Outbound,
        packet: &[u8],
    ) -> bool {
        self.write(from, to, MAX_DATAGRAM, |room| {
            srtp.protect_rtcp(packet, room).ok()
        })
    }
}
