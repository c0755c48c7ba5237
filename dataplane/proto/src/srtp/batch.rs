//! Many packets for many transports as one list of jobs.

use super::outbound::{Outbound, Refusal};

/// One RTP packet to protect; the fields are the arguments of [`Outbound::protect_rtp`].
#[derive(Debug)]
pub struct Job<'a> {
    /// Which context encrypts, in the numbering of the [`Contexts`] given.
    pub context: usize,
    /// ROC × 2^16 + sequence number.
    pub index: u64,
    /// The SSRC in the header.
    pub ssrc: u32,
    /// The RTP header, as it leaves.
    pub header: &'a [u8],
    /// Up to [`super::MAX_PREFIX_LEN`] octets before the payload; usually none.
    pub prefix: &'a [u8],
    /// The shared payload.
    pub payload: &'a [u8],
    /// Where the protected packet goes.
    pub out: &'a mut [u8],
    /// Set by [`protect_batch`]: the length of the protected packet, or why there is none.
    pub outcome: Result<usize, Refusal>,
}

impl<'a> Job<'a> {
    /// A job without prefix that is not done yet.
    pub fn new(
        context: usize,
        index: u64,
        ssrc: u32,
        header: &'a [u8],
        payload: &'a [u8],
        out: &'a mut [u8],
    ) -> Self {
        Self {
            context,
            index,
            ssrc,
            header,
            prefix: &[],
            payload,
            out,
            outcome: Ok(0),
        }
    }
}

/// Something that holds sending contexts by number: a slice of them, one of them, or the caller's own table.
pub trait Contexts {
    /// The context with this number.
    fn outbound(&mut self, context: usize) -> Option<&mut Outbound>;
}

impl Contexts for [Outbound] {
    fn outbound(&mut self, context: usize) -> Option<&mut Outbound> {
        self.get_mut(context)
    }
}

/// One context answers to every number.
impl Contexts for Outbound {
    fn outbound(&mut self, _context: usize) -> Option<&mut Outbound> {
        Some(self)
    }
}

/// Protects every job in order and writes what came of it into [`Job::outcome`]. Jobs of one context should stand
/// together, so that its keys stay in cache.
pub fn protect_batch<C: Contexts + ?Sized>(contexts: &mut C, jobs: &mut [Job<'_>]) {
    for job in jobs {
        job.outcome = match contexts.outbound(job.context) {
            Some(outbound) => outbound.protect_rtp(
                job.index,
                job.ssrc,
                job.header,
                job.prefix,
                job.payload,
                job.out,
            ),
            None => Err(Refusal::NoContext),
        };
    }
}
