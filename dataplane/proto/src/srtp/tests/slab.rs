//! Contexts in a slab, and lists of jobs for them.

use proptest::prelude::*;

use super::super::backend::counting::allocations;
use super::super::{
    Handle, INLINE_SOURCES, Inbound, Job, MAX_OUTBOUND_SOURCES, MAX_RTP_INDEX, MasterKey, Outbound,
    Profile, Refusal, Slab, SlabError, protect_batch,
};
use super::{header, keying, payload, protect, unprotect};

const SSRC: u32 = 0x7700_1122;

/// Master keys that differ from one number to the next.
fn master(profile: Profile, number: usize) -> MasterKey {
    let mut key = vec![0x42; profile.key_len()];
    key[..8].copy_from_slice(&number.to_be_bytes());
    MasterKey::new(profile, &key, &vec![0x17; profile.salt_len()]).unwrap()
}

fn protect_one(
    slab: &mut Slab,
    context: Handle,
    ssrc: u32,
    index: u64,
    body: &[u8],
) -> Result<Vec<u8>, Refusal> {
    let header = header(ssrc, index as u16, 0);
    let mut out = [0; 1500];
    let mut job = Job::new(context, index, ssrc, &header, body, &mut out);
    protect_batch(slab, core::slice::from_mut(&mut job));
    let len = job.outcome?;
    Ok(out[..len].to_vec())
}

#[test]
fn a_context_takes_few_cache_lines() {
    assert_eq!(Slab::CONTEXT_SIZE % 64, 0);
    let size = Slab::CONTEXT_SIZE;
    assert!(size <= 1228, "{size} octets");
}

#[test]
fn a_batch_serves_many_contexts_and_reports_each_job() {
    let mut slab = Slab::with_capacity(4);
    let mut inbounds: Vec<_> = Profile::ALL
        .iter()
        .map(|profile| Inbound::new(&keying(*profile).mirrored().remote).unwrap())
        .collect();
    let handles: Vec<_> = Profile::ALL
        .iter()
        .map(|profile| slab.insert(&keying(*profile).local).unwrap())
        .collect();
    let removed = slab.insert(&master(Profile::AeadAes128Gcm, 1)).unwrap();
    assert!(slab.remove(removed));

    let body = payload(700);
    let head = header(SSRC, 1, 0);
    let mut padded = head.clone();
    padded[0] |= 0x20;
    let prefix = 4711u16.to_be_bytes();
    let mut buffers = vec![[0; 800]; 7];
    let contexts = [0, 1, 2, 3, 2, 0, 1];
    let handles = [handles[0], handles[1], handles[2], removed];
    let mut jobs: Vec<_> = buffers
        .iter_mut()
        .zip(contexts)
        .map(|(out, context)| Job::new(handles[context], 1, SSRC, &head, &body, out))
        .collect();
    jobs[1].prefix = &prefix;
    jobs[2].padding = 3;
    jobs[2].header = &padded;
    jobs[5].index = 2;
    jobs[6].index = 1 + (1 << 16);
    jobs[6].padding = 1;
    protect_batch(&mut slab, &mut jobs);

    let outcomes: Vec<_> = jobs.iter().map(|job| job.outcome).collect();
    assert_eq!(outcomes[0], Ok(12 + 700 + 16));
    assert_eq!(outcomes[1], Ok(12 + 2 + 700 + 16));
    assert_eq!(outcomes[2], Ok(12 + 700 + 3 + 10));
    assert_eq!(outcomes[3], Err(Refusal::NoContext));
    assert_eq!(outcomes[4], Err(Refusal::Repeated));
    assert_eq!(outcomes[5], Err(Refusal::HeaderMismatch));
    let no_p_bit = outcomes[6];
    assert_eq!(no_p_bit, Err(Refusal::HeaderMismatch));
    for (at, inbound) in inbounds.iter_mut().enumerate() {
        let packet = &buffers[at][..outcomes[at].unwrap()];
        let (plain, _) = unprotect(inbound, packet, 12).unwrap();
        let head = if at == 2 { &padded } else { &head };
        let prefix: &[u8] = if at == 1 { &prefix } else { &[] };
        let padding: &[u8] = if at == 2 { &[0, 0, 3] } else { &[] };
        assert_eq!(plain, [head, prefix, &body, padding].concat());
    }
}

#[test]
fn a_handle_dies_with_its_context() {
    let profile = Profile::AeadAes128Gcm;
    let mut slab = Slab::with_capacity(2);
    let first = slab.insert(&master(profile, 1)).unwrap();
    let second = slab.insert(&master(profile, 2)).unwrap();
    let third = slab.insert(&master(profile, 3));
    assert_eq!(third, Err(SlabError::Full));
    let packet = protect_one(&mut slab, first, SSRC, 1, &[1; 9]).unwrap();

    assert!(slab.remove(first));
    assert!(!slab.remove(first));
    assert!(!slab.contains(first) && slab.contains(second));
    assert_eq!(slab.profile(first), None);
    let gone = protect_one(&mut slab, first, SSRC, 2, &[1; 9]);
    assert_eq!(gone, Err(Refusal::NoContext));

    // Another context in the same place: it has its own keys, knows no SSRC, and the old handle doesn't lead to it.
    let third = slab.insert(&master(profile, 3)).unwrap();
    assert_eq!(slab.len(), 2);
    assert_ne!(first, third);
    assert_eq!(slab.source_count(third), Some(0));
    let gone = protect_one(&mut slab, first, SSRC, 2, &[1; 9]);
    assert_eq!(gone, Err(Refusal::NoContext));
    let other = protect_one(&mut slab, third, SSRC, 1, &[1; 9]).unwrap();
    assert_ne!(other, packet);
    assert!(slab.remove(second) && slab.remove(third));
    assert!(slab.is_empty());
    // A handle from another slab that is larger finds nothing.
    let mut larger = Slab::with_capacity(9);
    let handles: Vec<_> = (0..9)
        .map(|number| larger.insert(&master(profile, number)).unwrap())
        .collect();
    assert!(!slab.remove(handles[8]) && !slab.contains(handles[8]));
    slab.prefetch(handles[8]);
}

#[test]
fn sources_beyond_the_inline_ones_are_kept_and_bounded() {
    let mut slab = Slab::with_capacity(1);
    let context = slab.insert(&master(Profile::AeadAes128Gcm, 1)).unwrap();
    for ssrc in 0..MAX_OUTBOUND_SOURCES as u32 {
        for index in [7, 8] {
            assert!(protect_one(&mut slab, context, ssrc, index, &[3]).is_ok());
        }
    }
    let one_more = protect_one(&mut slab, context, u32::MAX, 0, &[3]);
    assert_eq!(one_more, Err(Refusal::TooManySources));
    for ssrc in 0..MAX_OUTBOUND_SOURCES as u32 {
        let again = protect_one(&mut slab, context, ssrc, 7, &[3]);
        assert_eq!(again, Err(Refusal::Repeated), "{ssrc}");
        assert!(protect_one(&mut slab, context, ssrc, 9, &[3]).is_ok());
    }
    assert_eq!(slab.source_count(context), Some(MAX_OUTBOUND_SOURCES));
}

#[test]
fn no_packet_or_context_costs_an_allocation() {
    let profile = Profile::AeadAes128Gcm;
    let keys: Vec<_> = (0..6).map(|number| master(profile, number)).collect();
    let heads: Vec<_> = (0..INLINE_SOURCES as u32)
        .map(|ssrc| header(ssrc, 0, 0))
        .collect();
    let body = payload(1100);
    let mut slab = Slab::with_capacity(4);
    let mut out = [0; 1500];
    let mut work = |slab: &mut Slab| {
        for keys in keys.chunks(3) {
            let contexts = [0, 1, 2].map(|at| slab.insert(&keys[at]).unwrap());
            // The same sequence number each time, so that the headers need not change.
            for index in (0..10u64).map(|turn| turn << 16) {
                for (ssrc, head) in heads.iter().enumerate() {
                    for context in contexts {
                        let mut job = Job::new(context, index, ssrc as u32, head, &body, &mut out);
                        job.prefix = &[1, 2];
                        protect_batch(slab, core::slice::from_mut(&mut job));
                        assert_eq!(job.outcome, Ok(12 + 2 + 1100 + 16));
                    }
                }
            }
            for context in contexts {
                assert!(slab.remove(context));
            }
        }
    };
    let before = allocations();
    work(&mut slab);
    assert_eq!(allocations(), before);
}

/// One packet of a generated batch.
#[derive(Clone, Debug)]
struct Ask {
    context: usize,
    ssrc: u32,
    index: u64,
    len: usize,
    prefix: usize,
    padding: u8,
    spare: usize,
}

fn asks() -> impl Strategy<Value = Vec<Ask>> {
    let ask = (
        0..9usize,
        0..7u32,
        0..200u64,
        0..1300usize,
        0..=17usize,
        prop_oneof![Just(0u8), any::<u8>()],
        0..3usize,
    );
    let ask = ask.prop_map(|(context, ssrc, index, len, prefix, padding, spare)| Ask {
        context,
        ssrc,
        index: 65_400 + index,
        len,
        // Most packets have none.
        prefix: if index % 3 == 0 { prefix } else { 0 },
        padding: if index % 2 == 0 { padding } else { 0 },
        spare,
    });
    prop::collection::vec(ask, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A list of jobs yields, octet for octet, what packets protected one by one with whole plain texts yield.
    #[test]
    fn a_batch_is_the_same_as_its_packets_one_by_one(asks in asks()) {
        let masters: Vec<_> = (0..9).map(|at| master(Profile::ALL[at % 3], at)).collect();
        let mut slab = Slab::with_capacity(9);
        let handles: Vec<_> = masters.iter().map(|keys| slab.insert(keys).unwrap()).collect();
        let mut singles: Vec<_> = masters.iter().map(|keys| Outbound::new(keys).unwrap()).collect();

        let prefix = [0xee; 17];
        let bodies: Vec<_> = asks.iter().map(|ask| payload(ask.len)).collect();
        let heads: Vec<_> = asks.iter().map(|ask| {
            let mut head = header(ask.ssrc, ask.index as u16, ask.len);
            head[0] |= if ask.padding > 0 { 0x20 } else { 0 };
            head
        }).collect();
        let plains: Vec<_> = asks.iter().zip(&bodies).map(|(ask, body)| {
            let mut plain = [&prefix[..ask.prefix], body.as_slice()].concat();
            plain.resize(plain.len() + usize::from(ask.padding), 0);
            if ask.padding > 0 {
                *plain.last_mut().unwrap() = ask.padding;
            }
            plain
        }).collect();
        let mut outs: Vec<_> = asks.iter().enumerate().map(|(at, ask)| {
            let overhead = masters[ask.context].profile().rtp_overhead();
            vec![0x55; heads[at].len() + plains[at].len() + overhead + ask.spare]
        }).collect();
        let mut jobs: Vec<_> = outs.iter_mut().enumerate().map(|(at, out)| {
            let ask = &asks[at];
            let mut job = Job::new(
                handles[ask.context], ask.index, ask.ssrc, &heads[at], &bodies[at], out,
            );
            job.prefix = &prefix[..ask.prefix];
            job.padding = ask.padding;
            job
        }).collect();
        protect_batch(&mut slab, &mut jobs);
        let outcomes: Vec<_> = jobs.iter().map(|job| job.outcome).collect();

        for (at, ask) in asks.iter().enumerate() {
            let single = &mut singles[ask.context];
            let mut expected = vec![0x55; outs[at].len()];
            let outcome = if ask.prefix > 16 {
                Err(Refusal::PrefixTooLong)
            } else {
                single.protect_rtp(ask.index, ask.ssrc, &heads[at], &[], &plains[at], &mut expected)
            };
            prop_assert_eq!(outcomes[at], outcome);
            prop_assert_eq!(&outs[at], &expected, "{:?}", ask);
        }
    }
}

#[test]
fn an_index_beyond_the_last_is_refused() {
    let mut slab = Slab::with_capacity(1);
    let context = slab.insert(&keying(Profile::AeadAes256Gcm).local).unwrap();
    let beyond = protect_one(&mut slab, context, SSRC, MAX_RTP_INDEX + 1, &[1]);
    assert_eq!(beyond, Err(Refusal::IndexExhausted));
    let last = protect_one(&mut slab, context, SSRC, MAX_RTP_INDEX, &[1]).unwrap();
    let mut outbound = Outbound::new(&keying(Profile::AeadAes256Gcm).local).unwrap();
    assert_eq!(protect(&mut outbound, SSRC, MAX_RTP_INDEX, &[1]), last);
}
