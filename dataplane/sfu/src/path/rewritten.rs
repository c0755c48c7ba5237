//! What a packet is made into for a subscriber: its numbers, where its payload differs, and all that encrypting it takes.

use proto::codec::vp8;
use proto::rtx;
use proto::srtp::Handle;

/// Most octets that go before a payload.
pub(super) const PREFIX_MAX: usize = 8;

/// A packet ready to be encrypted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rewritten {
    /// Packet index of SRTP, ROC × 2^16 + sequence number.
    pub(crate) index: u64,
    pub(crate) ssrc: u32,
    /// Key of the outgoing RTP stream.
    pub(crate) outgoing: u32,
    /// Key of its transport, and the context of that.
    pub(crate) transport: u32,
    pub(crate) context: Handle,
    /// Which packet of the queue has the payload.
    pub(crate) packet: u32,
    /// Of the header, which lies behind what was written of the packet before.
    pub(crate) header_len: u16,
    /// Of the protected packet.
    pub(crate) len: u16,
    pub(crate) changes: Changes,
    /// Octets of padding behind the payload; `len` has them, and the header its P bit.
    pub(crate) padding: u8,
    /// Pictures may be padded.
    pub(crate) may_pad: bool,
}

impl Rewritten {
    /// How much was written for it: header and prefix.
    pub(crate) fn written_len(&self) -> usize {
        usize::from(self.header_len) + usize::from(self.changes.prefix_len)
    }

    /// One of that length, to try levelling with.
    #[cfg(test)]
    pub(crate) fn of_length(len: u16, may_pad: bool) -> Self {
        let mut slab = proto::srtp::Slab::with_capacity(1);
        let profile = proto::srtp::Profile::AeadAes128Gcm;
        let master = proto::srtp::MasterKey::new(profile, &[7; 16], &[7; 12]);
        let context = slab.insert(&master.expect("the lengths are the profile's"));
        Self {
            index: 0,
            ssrc: 0,
            outgoing: 0,
            transport: 0,
            context: context.expect("the slab is empty"),
            packet: 0,
            header_len: 12,
            len,
            changes: Changes::default(),
            padding: 0,
            may_pad,
        }
    }
}

/// What the header of a packet for a subscriber is made of.
pub(super) struct Numbers {
    pub(super) index: u64,
    pub(super) ssrc: u32,
    pub(super) payload_type: u8,
    pub(super) timestamp: u32,
    pub(super) prefix: Option<Prefix>,
    /// It is the first packet of its source for this subscriber, and came late: later ones were passed over.
    pub(super) starts_late: bool,
}

/// In what the payload of a packet differs from that of its publisher. Nearly always in nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Changes {
    /// Octets that go before the payload, encrypted like it. They lie behind the header.
    pub(crate) prefix_len: u8,
    /// Octets at the start of the payload that do not go with it.
    pub(crate) left_out: u16,
    /// It is a retransmission.
    pub(crate) is_again: bool,
}

impl Changes {
    /// How long a payload of so many octets is with them.
    pub(crate) fn apply(self, payload_len: usize) -> usize {
        payload_len - usize::from(self.left_out) + usize::from(self.prefix_len)
    }
}

/// What goes before the payload.
#[derive(Clone, Copy, Default)]
pub(super) struct Prefix {
    pub(super) bytes: [u8; PREFIX_MAX],
    pub(super) changes: Changes,
}

impl Prefix {
    /// The original sequence number of a retransmission (RFC 4588 §4).
    pub(super) fn of_retransmission(sequence: u16) -> Self {
        let mut prefix = Self::default();
        prefix.bytes[..rtx::PREFIX_LENGTH].copy_from_slice(&rtx::prefix(sequence));
        prefix.changes.prefix_len = rtx::PREFIX_LENGTH as u8;
        prefix.changes.is_again = true;
        prefix
    }

    /// `new` goes in place of the descriptor with which the payload begins.
    pub(super) fn replace(&mut self, old: &vp8::Descriptor, new: &vp8::Descriptor) {
        let changes = &mut self.changes;
        let written = new.write(&mut self.bytes[usize::from(changes.prefix_len)..]);
        changes.prefix_len += written.expect("the prefix has room for any descriptor") as u8;
        changes.left_out = old.len() as u16;
    }
}
