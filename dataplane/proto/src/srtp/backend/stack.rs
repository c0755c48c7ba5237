//! What making a context leaves behind on the stack.

use core::hint::black_box;
use core::mem::MaybeUninit;

use super::cleanse;

/// More than making all contexts of a transport takes, in octets.
const DEPTH: usize = 32 << 10;
/// More than making one transform and using it once takes, in octets.
const SHALLOW: usize = 8 << 10;

/// Overwrites what lies below the caller's frame on the stack with zeros.
///
/// Contexts are made where they are convenient to make and then moved to their places, and each move may leave a copy of
/// the expanded keys behind. To be called after that, by whoever called what made them.
#[inline(never)]
pub fn wipe_stack() {
    wipe::<DEPTH>();
}

/// The same after a single transform was made and used, less deep: there are such packets in every second.
#[inline(never)]
pub(in crate::srtp) fn wipe_frames() {
    wipe::<SHALLOW>();
}

#[inline(always)]
fn wipe<const LEN: usize>() {
    let mut below = MaybeUninit::<[u8; LEN]>::uninit();
    // SAFETY: octets may be zeros.
    unsafe { cleanse(&mut below) };
    black_box(&below);
}

#[cfg(test)]
pub(crate) mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt as _;

    use super::super::AesCtr;
    use super::*;
    use crate::srtp::kdf::{Use, derive};
    use crate::srtp::{Inbound, MasterKey, OutboundRtcp, Profile, Slab};

    /// Whether `secret` lies below the caller's frame. The system reads it for us: to the compiler that memory has no value.
    #[inline(never)]
    pub(crate) fn is_left(secret: &[u8]) -> bool {
        let below = MaybeUninit::<[u8; DEPTH / 2]>::uninit();
        black_box(&below);
        let mut octets = vec![0; DEPTH / 2];
        let memory = File::open("/proc/self/mem").unwrap();
        let start = (&raw const below).addr() as u64;
        memory.read_exact_at(&mut octets, start).unwrap();
        octets.windows(secret.len()).any(|window| window == secret)
    }

    /// The second round key of the cipher that a master key leads to: what only an expansion has.
    #[inline(never)]
    fn round_key(master: &MasterKey, usage: Use) -> Box<[u8]> {
        let keys = derive(master, usage).unwrap();
        let cipher = AesCtr::new(&keys.encryption[..16]).unwrap();
        match &cipher {
            AesCtr::AwsLc(schedule) => {
                let words = schedule.rd_key[4..8].iter();
                words.flat_map(|word| word.to_ne_bytes()).collect()
            }
            #[cfg(target_arch = "x86_64")]
            AesCtr::Vaes { keys, .. } => keys[1].as_slice().into(),
        }
    }

    #[inline(never)]
    fn make(master: &MasterKey, slab: &mut Slab) -> Box<(Inbound, OutboundRtcp)> {
        slab.insert(master).unwrap();
        Box::new((
            Inbound::new(master).unwrap(),
            OutboundRtcp::new(master).unwrap(),
        ))
    }

    /// Protects and unprotects a report, for which keys are made ready.
    #[inline(never)]
    fn report((inbound, outbound): &mut (Inbound, OutboundRtcp)) {
        let (plain, mut packet) = ([0x80; 60], [0; 100]);
        let len = outbound.protect(&plain, &mut packet).unwrap();
        assert_eq!(inbound.unprotect_rtcp(&mut packet[..len]), Ok(60));
    }

    #[inline(never)]
    pub(crate) fn leave(secret: &[u8]) {
        // Not at its start, where a greater frame is begun by touching each page.
        let mut copy = [0; 4096];
        copy[1000..1016].copy_from_slice(secret);
        black_box(&copy);
    }

    #[test]
    fn no_round_key_stays_on_the_stack() {
        for profile in [Profile::AeadAes128Gcm, Profile::Aes128CmHmacSha1_80] {
            let master = MasterKey::new(profile, &[5; 16], &[6; 14][..profile.salt_len()]).unwrap();
            let secrets = [Use::Rtp, Use::Rtcp].map(|usage| round_key(&master, usage));
            wipe_stack();
            let mut slab = Slab::with_capacity(1);
            let mut contexts = make(&master, &mut slab);
            wipe_stack();
            report(&mut contexts);
            for secret in &secrets {
                assert!(!is_left(secret));
                leave(secret);
                assert!(is_left(secret), "one that is left would be found");
                wipe_stack();
                assert!(!is_left(secret));
            }
            drop(contexts);
        }
    }
}
