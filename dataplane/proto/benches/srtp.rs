//! What it costs to protect an RTP packet: lists of jobs on the slab against one call per packet on the slab, on
//! [`Outbound`], and on `aws-lc-rs` alone with its keys on the heap. And to unprotect one: [`Inbound`] against `aws-lc-rs`.
//!
//! ```text
//! cargo bench -p proto --bench srtp [-- ROUNDS [PART-OF-A-ROW'S-NAME]]
//! ```
//!
//! Rounds of all ways are interleaved, so that a busy neighbour hurts all alike; the figures are nanoseconds of CPU time
//! of this thread per packet, least and median. Memory is that of a fan-out: one payload, one packet for each context,
//! contexts in the order of their handles (`cold`), in random order (`random`) or so few that they stay in cache (`hot`;
//! `padded` has an octet of padding behind the payload).
//! 0 rounds stands for one that is not timed: enough for callgrind, which counts instructions, and under which some of
//! Rust's ways to ask for the time don't work.

use std::hint::black_box;

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{AES_128, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::hmac;
use proto::srtp::{Handle, Inbound, Job, MasterKey, Outbound, Profile, Slab, protect_batch};
use rustix::time::{ClockId, clock_gettime};

const PROFILES: [Profile; 3] = [
    Profile::AeadAes128Gcm,
    Profile::AeadAes256Gcm,
    Profile::Aes128CmHmacSha1_80,
];
const ROUNDS: usize = 15;
const HOT: usize = 16;
const COLD: usize = 10_000;
const LIST: usize = 32;
const HEADER: usize = 12;
const OUT: usize = 1280;
const SSRC: u32 = 0x1234_5678;

fn main() {
    // Cargo adds `--bench`.
    let mut arguments = std::env::args().skip(1).filter(|word| word != "--bench");
    let rounds = arguments
        .next()
        .and_then(|word| word.parse().ok())
        .unwrap_or(ROUNDS);
    let wanted = arguments.next().unwrap_or_default();
    println!(
        "{:<34}{:>18}{:>18}{:>18}{:>18}",
        "ns per packet, least (median)", "aws-lc-rs", "Outbound", "slab, single", "slab, list"
    );
    for profile in PROFILES {
        for len in [120, 1200] {
            for (order, contexts, random, padding) in [
                ("hot", HOT, false, 0),
                ("padded", HOT, false, 1),
                ("cold", COLD, false, 0),
                ("random", COLD, true, 0),
            ] {
                let name = format!("{}/{len}/{order}", short(profile));
                if name.contains(&wanted) {
                    let mut bench = Bench::new(profile, len, contexts, random);
                    bench.padding = padding;
                    row(&name, &mut bench, rounds);
                }
            }
        }
    }
    println!("\n{:<34}{:>18}{:>18}", "unprotect", "aws-lc-rs", "Inbound");
    for profile in PROFILES {
        for len in [120, 1200] {
            for (order, contexts) in [("hot", HOT), ("cold", COLD)] {
                let name = format!("{}/{len}/{order}", short(profile));
                if name.contains(&wanted) {
                    let mut bench = Bench::new(profile, len, contexts, false);
                    unprotect_row(&name, &mut bench, &masters(profile, contexts), rounds);
                }
            }
        }
    }
    println!("\none context in the slab: {} octets", Slab::CONTEXT_SIZE);
}

fn short(profile: Profile) -> &'static str {
    profile.name().trim_start_matches("SRTP_")
}

fn masters(profile: Profile, contexts: usize) -> Vec<MasterKey> {
    let master = |number: usize| {
        let mut key = vec![0x42; profile.key_len()];
        key[..8].copy_from_slice(&number.to_le_bytes());
        MasterKey::new(profile, &key, &vec![0x17; profile.salt_len()])
    };
    (0..contexts)
        .map(|number| master(number).expect("the lengths are the profile's"))
        .collect()
}

/// Every packet lies in memory of its own, as if just received; making them is not counted.
fn unprotect_row(name: &str, bench: &mut Bench, masters: &[MasterKey], rounds: usize) {
    let mut inbounds: Vec<_> = masters
        .iter()
        .map(|master| Inbound::new(master).expect("keys are good"))
        .collect();
    let mut packets = vec![[0; OUT]; bench.order.len().max(1024)];
    let len = HEADER + bench.payload.len();
    let mut times = [const { Vec::new() }; 2];
    for round in 0..=rounds {
        let first = bench.index + 1;
        bench.index += packets.len() as u64;
        let place = |at: usize| (at % masters.len(), first + (at / masters.len()) as u64);

        for (at, packet) in packets.iter_mut().enumerate() {
            let (context, index) = place(at);
            bench.plain[context].protect(index, &header(index), &bench.payload, packet);
        }
        let before = if round > 0 { cpu_nanoseconds() } else { 0.0 };
        for (at, packet) in packets.iter_mut().enumerate() {
            let (context, index) = place(at);
            bench.plain[context].unprotect(index, len, packet);
        }
        if round > 0 {
            times[0].push((cpu_nanoseconds() - before) / packets.len() as f64);
        }

        let mut sent = 0;
        for (at, packet) in packets.iter_mut().enumerate() {
            let (context, index) = place(at);
            sent = bench.outbounds[context]
                .protect_rtp(index, SSRC, &header(index), &[], &bench.payload, packet)
                .expect("every index is new");
        }
        let before = if round > 0 { cpu_nanoseconds() } else { 0.0 };
        for (at, packet) in packets.iter_mut().enumerate() {
            let (context, index) = place(at);
            inbounds[context]
                .unprotect_rtp(&mut packet[..sent], HEADER, SSRC, index as u16)
                .expect("every packet is authentic");
        }
        if round > 0 {
            times[1].push((cpu_nanoseconds() - before) / packets.len() as f64);
        }
    }
    print_times(name, &mut times);
}

fn row(name: &str, bench: &mut Bench, rounds: usize) {
    let ways = [Bench::plain, Bench::outbound, Bench::single, Bench::list];
    let mut times = [const { Vec::new() }; 4];
    for round in 0..=rounds {
        for (way, times) in ways.iter().zip(&mut times) {
            // The first round warms up.
            if round == 0 {
                way(bench);
                continue;
            }
            let before = cpu_nanoseconds();
            let packets = way(bench);
            times.push((cpu_nanoseconds() - before) / packets as f64);
        }
    }
    print_times(name, &mut times);
}

fn print_times(name: &str, times: &mut [Vec<f64>]) {
    print!("{name:<34}");
    for times in times {
        times.sort_by(f64::total_cmp);
        if let (Some(least), Some(median)) = (times.first(), times.get(times.len() / 2)) {
            print!("{least:>10.0} ({median:>5.0})");
        }
    }
    println!();
}

struct Bench {
    slab: Slab,
    handles: Vec<Handle>,
    outbounds: Vec<Outbound>,
    plain: Vec<Plain>,
    order: Vec<usize>,
    payload: Vec<u8>,
    out: Vec<u8>,
    index: u64,
    /// On the slab only.
    padding: u8,
}

impl Bench {
    fn new(profile: Profile, packet_len: usize, contexts: usize, random: bool) -> Self {
        let masters = masters(profile, contexts);
        let mut slab = Slab::with_capacity(contexts);
        let mut order: Vec<_> = (0..contexts).collect();
        if random {
            let mut state = 88_172_645_463_325_252u64;
            for at in (1..order.len()).rev() {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                order.swap(at, (state % (at as u64 + 1)) as usize);
            }
        }
        Self {
            handles: masters
                .iter()
                .map(|master| slab.insert(master).expect("there is room"))
                .collect(),
            slab,
            outbounds: masters
                .iter()
                .map(|master| Outbound::new(master).expect("keys are good"))
                .collect(),
            plain: masters.iter().map(Plain::new).collect(),
            order,
            payload: (0..packet_len - HEADER).map(|at| at as u8).collect(),
            out: vec![0; OUT * LIST],
            index: 0,
            padding: 0,
        }
    }

    /// How often the contexts are gone through in one round.
    fn turns(&self) -> usize {
        (2 * COLD).div_ceil(self.order.len())
    }

    fn plain(&mut self) -> usize {
        for _ in 0..self.turns() {
            self.index += 1;
            for (at, context) in self.order.iter().enumerate() {
                let out = &mut self.out[at % LIST * OUT..][..OUT];
                let header = header(self.index);
                self.plain[*context].protect(self.index, &header, &self.payload, out);
            }
        }
        self.turns() * self.order.len()
    }

    fn outbound(&mut self) -> usize {
        for _ in 0..self.turns() {
            self.index += 1;
            for (at, context) in self.order.iter().enumerate() {
                let out = &mut self.out[at % LIST * OUT..][..OUT];
                let header = header(self.index);
                self.outbounds[*context]
                    .protect_rtp(self.index, SSRC, &header, &[], &self.payload, out)
                    .expect("every index is new");
            }
        }
        self.turns() * self.order.len()
    }

    fn single(&mut self) -> usize {
        for _ in 0..self.turns() {
            self.index += 1;
            for (at, context) in self.order.iter().enumerate() {
                let out = &mut self.out[at % LIST * OUT..][..OUT];
                let header = header(self.index);
                let handle = self.handles[*context];
                let mut job = Job::new(handle, self.index, SSRC, &header, &self.payload, out);
                job.padding = self.padding;
                protect_batch(&mut self.slab, core::slice::from_mut(&mut job));
                job.outcome.expect("every index is new");
            }
        }
        self.turns() * self.order.len()
    }

    fn list(&mut self) -> usize {
        for _ in 0..self.turns() {
            self.index += 1;
            let header = header(self.index);
            for group in self.order.chunks(LIST) {
                let mut outs = self.out.chunks_mut(OUT);
                let mut contexts = group.iter();
                let mut jobs: [Job<'_>; LIST] = core::array::from_fn(|_| {
                    let out = outs.next().expect("as many as jobs in a list");
                    let context = contexts.next().unwrap_or(&self.order[0]);
                    let handle = self.handles[*context];
                    let mut job = Job::new(handle, self.index, SSRC, &header, &self.payload, out);
                    job.padding = self.padding;
                    job
                });
                let jobs = &mut jobs[..group.len()];
                protect_batch(&mut self.slab, jobs);
                for job in jobs {
                    job.outcome.expect("every index is new");
                }
            }
        }
        self.turns() * self.order.len()
    }
}

/// The least that can be done with `aws-lc-rs`: no check of anything, no memory of what was sent.
enum Plain {
    Gcm(LessSafeKey),
    CmSha1(Box<(EncryptingKey, hmac::Key)>),
}

impl Plain {
    fn new(master: &MasterKey) -> Self {
        let gcm = match master.profile() {
            Profile::AeadAes128Gcm => &AES_128_GCM,
            Profile::AeadAes256Gcm => &AES_256_GCM,
            Profile::Aes128CmHmacSha1_80 => {
                let key = UnboundCipherKey::new(&AES_128, master.key()).expect("16 octets");
                let key = EncryptingKey::ctr(key).expect("a key for CTR");
                let mac = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &[7; 20]);
                return Self::CmSha1(Box::new((key, mac)));
            }
        };
        let key = UnboundKey::new(gcm, master.key()).expect("16 or 32 octets");
        Self::Gcm(LessSafeKey::new(key))
    }

    fn protect(&self, index: u64, header: &[u8], payload: &[u8], out: &mut [u8]) {
        let (clear, rest) = out.split_at_mut(HEADER);
        clear.copy_from_slice(header);
        let (body, tag) = rest.split_at_mut(payload.len());
        match self {
            Self::Gcm(key) => {
                let mut nonce = [0; 12];
                nonce[4..].copy_from_slice(&index.to_be_bytes());
                key.seal_out_of_place_scatter(
                    Nonce::assume_unique_for_key(nonce),
                    Aad::from(header),
                    payload,
                    body,
                    &[],
                    &mut tag[..16],
                )
                .expect("the lengths agree");
            }
            Self::CmSha1(keys) => {
                let (key, mac) = keys.as_ref();
                let mut iv = [0; 16];
                iv[6..14].copy_from_slice(&index.to_be_bytes());
                body.copy_from_slice(payload);
                key.less_safe_encrypt(body, EncryptionContext::Iv128((&iv).into()))
                    .expect("CTR takes any length");
                let mut mac = hmac::Context::with_key(mac);
                mac.update(&out[..HEADER + payload.len()]);
                mac.update(&[0; 4]);
                out[HEADER + payload.len()..][..10].copy_from_slice(&mac.sign().as_ref()[..10]);
            }
        }
        black_box(out);
    }

    fn unprotect(&self, index: u64, len: usize, packet: &mut [u8]) {
        match self {
            Self::Gcm(key) => {
                let mut nonce = [0; 12];
                nonce[4..].copy_from_slice(&index.to_be_bytes());
                let (header, rest) = packet[..len + 16].split_at_mut(HEADER);
                key.open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(header), rest)
                    .expect("the packet is authentic");
            }
            Self::CmSha1(keys) => {
                let (key, mac) = keys.as_ref();
                let mut mac = hmac::Context::with_key(mac);
                mac.update(&packet[..len]);
                mac.update(&[0; 4]);
                assert_eq!(packet[len..][..10], mac.sign().as_ref()[..10]);
                let mut iv = [0; 16];
                iv[6..14].copy_from_slice(&index.to_be_bytes());
                key.less_safe_encrypt(
                    &mut packet[HEADER..len],
                    EncryptionContext::Iv128((&iv).into()),
                )
                .expect("CTR takes any length");
            }
        }
        black_box(packet);
    }
}

fn header(index: u64) -> [u8; HEADER] {
    let mut header = [0xa0, 0x60, 0, 0, 1, 2, 3, 4, 0, 0, 0, 0];
    header[2..4].copy_from_slice(&(index as u16).to_be_bytes());
    header[8..].copy_from_slice(&SSRC.to_be_bytes());
    header
}

fn cpu_nanoseconds() -> f64 {
    let spent = clock_gettime(ClockId::ThreadCPUTime);
    spent.tv_sec as f64 * 1e9 + spent.tv_nsec as f64
}
