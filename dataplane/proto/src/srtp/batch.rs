//! Many packets for many transports as one list of jobs.

use super::backend::LANES;
use super::outbound::Refusal;
use super::slab::{Handle, Slab};
use super::transform::{Progress, RtpParts, Transform};

/// How many jobs ahead the hot part of a context is asked for.
const FAR: usize = 4;

/// How many jobs ahead, when the hot part has come, the window is asked for that it leads to.
const NEAR: usize = 2;

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
    for job in jobs.iter().take(FAR) {
        ask(slab, &mut asked, job.context);
    }
    let mut untagged = Untagged::default();
    for at in 0..jobs.len() {
        if let Some(ahead) = jobs.get(at.saturating_add(FAR)) {
            ask(slab, &mut asked, ahead.context);
        }
        if let Some(ahead) = jobs.get(at.saturating_add(NEAR)) {
            slab.prefetch_window(ahead.context, ahead.ssrc, ahead.index);
        }
        let Some(job) = jobs.get_mut(at) else { break };
        match encrypt(slab, job) {
            Ok((len, progress)) => {
                job.outcome = Ok(len);
                if progress == Progress::Untagged && untagged.push(at) {
                    untagged.tag_all(slab, jobs);
                }
            }
            Err(refusal) => job.outcome = Err(refusal),
        }
    }
    untagged.tag_each(slab, jobs);
}

fn ask(slab: &Slab, asked: &mut Option<Handle>, context: Handle) {
    if *asked != Some(context) {
        *asked = Some(context);
        slab.prefetch(context);
    }
}

fn encrypt(slab: &mut Slab, job: &mut Job<'_>) -> Result<(usize, Progress), Refusal> {
    let context = slab.get_mut(job.context).ok_or(Refusal::NoContext)?;
    let parts = RtpParts {
        header: job.header,
        prefix: job.prefix,
        payload: job.payload,
        padding: job.padding,
    };
    context.encrypt(job.index, job.ssrc, parts, job.out)
}

/// The jobs whose packets have no tag yet, by their place in the list. Never more than tags are made at once.
#[derive(Default)]
struct Untagged {
    jobs: [usize; LANES],
    len: usize,
}

impl Untagged {
    /// Adds a job, and says whether that makes it time for [`Self::tag_all`].
    fn push(&mut self, job: usize) -> bool {
        if let Some(free) = self.jobs.get_mut(self.len) {
            *free = job;
            self.len = self.len.saturating_add(1);
        }
        self.len >= LANES
    }

    /// Makes the tags of as many packets as fit together at once.
    fn tag_all(&mut self, slab: &Slab, jobs: &mut [Job<'_>]) {
        self.len = 0;
        let tagged = jobs
            .get_disjoint_mut(self.jobs)
            .ok()
            .and_then(|[a, b, c, d]| {
                let keys = [
                    slab.get(a.context)?.keys(),
                    slab.get(b.context)?.keys(),
                    slab.get(c.context)?.keys(),
                    slab.get(d.context)?.keys(),
                ];
                let indices = [a.index, b.index, c.index, d.index];
                let packets = [packet(a)?, packet(b)?, packet(c)?, packet(d)?];
                Transform::tag_several_rtp(keys, indices, packets).ok()
            });
        if tagged.is_none() {
            for at in self.jobs {
                if let Some(job) = jobs.get_mut(at) {
                    job.outcome = Err(Refusal::Cipher);
                }
            }
        }
    }

    /// Makes the tags of those that are left, one by one.
    fn tag_each(&self, slab: &Slab, jobs: &mut [Job<'_>]) {
        for at in self.jobs.iter().take(self.len) {
            let Some(job) = jobs.get_mut(*at) else {
                continue;
            };
            let (context, index) = (job.context, job.index);
            let tagged = slab.get(context).zip(packet(job));
            let tagged = tagged.and_then(|(keys, out)| keys.keys().tag_rtp(index, out).ok());
            if tagged.is_none() {
                job.outcome = Err(Refusal::Cipher);
            }
        }
    }
}

/// The packet that a job has written.
fn packet<'a>(job: &'a mut Job<'_>) -> Option<&'a mut [u8]> {
    job.out.get_mut(..job.outcome.ok()?)
}
