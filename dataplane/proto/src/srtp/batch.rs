//! Many packets for many transports as one list of jobs.

use super::outbound::Refusal;
use super::slab::{Handle, Slab};
use super::transform::RtpParts;

/// How many jobs ahead a context is asked for.
const AHEAD: usize = 4;

/// One RTP packet to protect.
#[derive(Debug)]
pub struct Job<'a> {
    /// Which context encrypts.
    pub context: Handle,
    /// ROC × 2^16 + sequence number. The caller owns the ROC, starts it at 0, and starts the sequence number below 2^15:
    /// a peer that loses all packets before the wrap would otherwise never guess ROC 1.
    pub index: u64,
    /// The SSRC in the header.
    pub ssrc: u32,
    /// The RTP header, as it leaves; sent in clear.
    pub header: &'a [u8],
    /// Up to [`super::MAX_PREFIX_LEN`] octets before the payload, usually none: what is not in the shared payload, such
    /// as the original sequence number of RTX (RFC 4588 §4) or a rewritten descriptor.
    pub prefix: &'a [u8],
    /// The shared payload, which is only read.
    pub payload: &'a [u8],
    /// How many octets of padding go behind the payload (RFC 3550 §5.1); usually none. With any, the header must have its
    /// P bit set and the payload no padding of its own.
    pub padding: u8,
    /// Where the protected packet goes: to the front, encrypted out of place. May be longer than needed.
    pub out: &'a mut [u8],
    /// Set by [`protect_batch`]: the length of the protected packet, or why there is none. After [`Refusal::Cipher`] the
    /// index counts as used, after any other nothing changed.
    pub outcome: Result<usize, Refusal>,
}

impl<'a> Job<'a> {
    /// A job without prefix and padding that is not done yet.
    pub fn new(
        context: Handle,
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
            padding: 0,
            out,
            outcome: Ok(0),
        }
    }
}

/// Protects every job in order and writes what came of it into [`Job::outcome`].
///
/// Jobs of one context should stand together: its keys are then asked for once, a few jobs ahead, and stay in cache. A
/// list may be of any length; lists of 16 and more hide the memory well. For a single packet a list of one costs nothing
/// extra.
pub fn protect_batch(slab: &mut Slab, jobs: &mut [Job<'_>]) {
    let mut asked = None;
    for job in jobs.iter().take(AHEAD) {
        ask(slab, &mut asked, job.context);
    }
    for at in 0..jobs.len() {
        if let Some(ahead) = jobs.get(at.saturating_add(AHEAD)) {
            ask(slab, &mut asked, ahead.context);
        }
        if let Some(job) = jobs.get_mut(at) {
            job.outcome = protect(slab, job);
        }
    }
}

fn ask(slab: &Slab, asked: &mut Option<Handle>, context: Handle) {
    if *asked != Some(context) {
        *asked = Some(context);
        slab.prefetch(context);
    }
}

fn protect(slab: &mut Slab, job: &mut Job<'_>) -> Result<usize, Refusal> {
    let context = slab.get_mut(job.context).ok_or(Refusal::NoContext)?;
    let parts = RtpParts {
        header: job.header,
        prefix: job.prefix,
        payload: job.payload,
        padding: job.padding,
    };
    context.protect(job.index, job.ssrc, parts, job.out)
}
