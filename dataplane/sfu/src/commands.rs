//! Following the agent's orders: the model grows and shrinks here. Off the packet path, so it may allocate.

use clock::{Duration, Instant};
use proto::codec::Codec;
use proto::ice::lite::USUAL_CANDIDATES;
use proto::ice::{Credentials, lite};
use proto::loss::NackGenerator;
use proto::rtcp::{Bye, ReceiverReport, Writer};
use proto::rtp::{ExtensionMap, Rewriter, Uri};
use proto::srtp::{Inbound, KeyingMaterial, OutboundRtcp, wipe_stack};
use proto::twcc::FeedbackGenerator;

use crate::api::{
    Command, EncodingSpec, Event, IceRestart, Kind, PayloadType, PublishedMedia, PublisherId,
    PublisherSpec, RemotePublisherSpec, SubscribedMedia, SubscriberId, SubscriberSpec, TransportId,
    TransportSpec,
};
use crate::budget::Downlink;
use crate::cache::Cache;
use crate::capture;
use crate::engine::Engine;
use crate::feedback::{self, REMB_START, REPORT_INTERVAL};
use crate::loudness::Loudness;
use crate::model::exit::Keys;
use crate::model::layers::ENCODINGS_MAX;
use crate::model::publisher::{Origin, Voice};
use crate::model::subscriber::{Described, Rtx, first_index};
use crate::model::templates::Templates;
use crate::model::transport::Remb;
use crate::model::{Encoding, Medium, Outgoing, Publisher, Subscriber, Transport};
use crate::select;
use crate::share;
use crate::standing::Standing;
use crate::statistics;
use crate::stats::PacketKind;
use crate::tap;

/// Transport-wide feedback leaves this long after the first packet that it is about.
const FEEDBACK_INTERVAL: Duration = Duration::from_millis(100);
/// Most publishers, and most subscribers, on one transport.
const PER_TRANSPORT_MAX: usize = 256;
/// Most media sections of a stream.
const MEDIA_MAX: usize = 16;
/// Longest DTLS datagram that is sent.
const DTLS_MAX: usize = 1500;

pub(crate) fn follow(engine: &mut Engine, now: Instant, command: Command) {
    let (about, outcome) = match command {
        Command::AddTransport(spec) => (spec.id, add_transport(engine, now, *spec)),
        Command::SetRemoteIce {
            transport,
            ufrag,
            pwd,
        } => (
            transport,
            set_remote_ice(engine, now, transport, &ufrag, &pwd),
        ),
        Command::RestartIce(spec) => (spec.transport, restart_ice(engine, now, &spec)),
        Command::RemoveTransport(id) => {
            if let Some(key) = engine.model.transport_key(id) {
                remove_transport(engine, key);
            }
            return;
        }
        Command::KeysReady { transport, keys } => {
            let outcome = keys_ready(engine, now, transport, &keys);
            // The keys stay in the contexts, and nowhere that some later code may show.
            wipe_stack();
            (transport, outcome)
        }
        Command::SendDtls {
            transport,
            datagram,
        } => (transport, send_dtls(engine, transport, &datagram)),
        Command::DtlsCompleted { transport, address } => {
            if let Some(key) = engine.model.transport_key(transport) {
                let ice = &mut engine.model.transports[key].ice;
                ice.on_dtls_completed(address);
                engine.drain_ice(key);
            }
            return;
        }
        Command::AddPublisher(spec) => (spec.transport, add_publisher(engine, now, *spec)),
        Command::RemovePublisher(id) => return remove_publisher(engine, id),
        Command::AddSubscriber(spec) => (spec.transport, add_subscriber(engine, now, *spec)),
        Command::RemoveSubscriber(id) => return remove_subscriber(engine, id),
        Command::LimitLayers {
            subscriber,
            medium,
            limit,
        } => return select::limit_medium(engine, subscriber, medium, limit),
        Command::SetSpeaking { publisher, speaks } => {
            return set_speaking(engine, publisher, speaks);
        }
        Command::AddTap {
            tap,
            publisher,
            worker,
        } => return tap::add(engine, tap, publisher, worker),
        Command::RemoveTap(tap) => return tap::remove(engine, tap),
        Command::AddRemotePublisher(spec) => return add_remote_publisher(engine, now, *spec),
        Command::StartCapture(spec) => return capture::start(engine, now, *spec),
        Command::ReturnBuffer(number, buffer) => return capture::refill(engine, number, buffer),
        Command::StopCapture(number) => return capture::stop(engine, number),
        Command::TellStatistics { number, transports } => {
            let transports = statistics::gather(engine, &transports);
            return engine.push_event(Event::Statistics { number, transports });
        }
    };
    if let Err(why) = outcome {
        engine.push_event(Event::Refused {
            transport: about,
            why,
        });
    }
}

type Outcome = Result<(), &'static str>;

fn key_of(engine: &Engine, id: TransportId) -> Result<u32, &'static str> {
    engine.model.transport_key(id).ok_or("no such transport")
}

fn add_transport(engine: &mut Engine, now: Instant, spec: TransportSpec) -> Outcome {
    let ufrag: Box<[u8]> = spec.local_ufrag.as_bytes().into();
    if engine.model.transport_keys.contains_key(&spec.id) {
        return Err("the transport exists");
    }
    if engine.model.transports.len() >= engine.config.transports_max {
        return Err("too many transports");
    }
    if engine.model.ufrags.contains_key(&ufrag) {
        return Err("the ufrag is in use");
    }
    let bad = "the ICE credentials are not valid";
    let local = Credentials::new(&spec.local_ufrag, &spec.local_pwd).map_err(|_| bad)?;
    let rng = engine.rng.fork();
    let mut ice = lite::Lite::new(now, local, engine.ice.clone(), rng).map_err(|_| bad)?;
    if let Some((ufrag, pwd)) = &spec.remote {
        ice.set_remote(now, Credentials::new(ufrag, pwd).map_err(|_| bad)?);
    }
    let connection = engine.model.connection(spec.connection);
    let transport = Transport {
        id: spec.id,
        connection,
        downlink: Downlink::default(),
        numbered: None,
        local_ufrag: ufrag.clone(),
        former_ufrag: None,
        ice,
        inbound: None,
        outbound: None,
        selected: None,
        handshake: None,
        paths: Vec::with_capacity(USUAL_CANDIDATES),
        ssrc: engine.rng.next_u32(),
        sources: Vec::new(),
        publishers: Vec::new(),
        subscribers: Vec::new(),
        outgoing: Vec::new(),
        extensions: ExtensionMap::new(),
        feedback: None,
        feedback_ssrc: 0,
        reports_due: now + REPORT_INTERVAL,
        remb: Remb {
            due: None,
            bits_per_second: REMB_START,
            ceiling: None,
        },
        round_trip: None,
        lossy_until: None,
        retired: Vec::new(),
        standing: Standing::new(now),
        dtls_lately: (now, 0),
        reference_time: None,
    };
    *engine.stats.transports(transport.state()) += 1;
    // Addresses are learnt from checks, on the packet path.
    engine.model.reserve_addresses(USUAL_CANDIDATES);
    let key = engine.model.transports.insert(transport);
    engine.model.exits.reset(key);
    engine.model.connections[connection].transports.push(key);
    engine.model.transport_keys.insert(spec.id, key);
    engine.model.ufrags.insert(ufrag, key);
    if let Some((theirs, _)) = &spec.remote {
        engine.model.await_peer(key, theirs);
    }
    let look = engine.model.transports[key].standing.due;
    engine.wheel.schedule(key, look);
    engine.drain_ice(key);
    Ok(())
}

fn set_remote_ice(
    engine: &mut Engine,
    now: Instant,
    id: TransportId,
    ufrag: &str,
    pwd: &str,
) -> Outcome {
    let key = key_of(engine, id)?;
    let credentials =
        Credentials::new(ufrag, pwd).map_err(|_| "the ICE credentials are not valid")?;
    engine.model.await_peer(key, ufrag);
    engine.model.transports[key]
        .ice
        .set_remote(now, credentials);
    engine.drain_ice(key);
    Ok(())
}

fn restart_ice(engine: &mut Engine, now: Instant, spec: &IceRestart) -> Outcome {
    let key = key_of(engine, spec.transport)?;
    let ((ufrag, pwd), remote) = (&spec.local, &spec.remote);
    let bad = "the ICE credentials are not valid";
    let local = Credentials::new(ufrag, pwd).map_err(|_| bad)?;
    let remote = Credentials::new(&remote.0, &remote.1).map_err(|_| bad)?;
    let name: Box<[u8]> = ufrag.as_bytes().into();
    let model = &mut engine.model;
    if model.ufrags.get(&name).is_some_and(|owner| *owner != key) {
        return Err("the ufrag is in use");
    }
    model.await_peer(key, remote.ufrag());
    let transport = &mut model.transports[key];
    let ice = &mut transport.ice;
    ice.restart(now, local, remote).map_err(|_| bad)?;
    let before = core::mem::replace(&mut transport.local_ufrag, name.clone());
    let before = [Some(before), transport.former_ufrag.take()];
    for old in before.into_iter().flatten().filter(|old| *old != name) {
        // Of two restarts in a row only what worked last is still listened to.
        if ice.former_ufrag().map(str::as_bytes) == Some(&*old) {
            transport.former_ufrag = Some(old);
        } else {
            model.ufrags.remove(&old);
        }
    }
    model.ufrags.insert(name, key);
    engine.drain_ice(key);
    Ok(())
}

#[inline(never)]
fn keys_ready(
    engine: &mut Engine,
    now: Instant,
    id: TransportId,
    keys: &KeyingMaterial,
) -> Outcome {
    let key = key_of(engine, id)?;
    let transport = &mut engine.model.transports[key];
    if transport.outbound.is_some() {
        // A second context over the same key would count its packet indices from the start again.
        return Err("the transport has keys");
    }
    let refused = "the keys do not fit their profile";
    let mut inbound = Inbound::for_rtcp(&keys.remote).map_err(|_| refused)?;
    if !transport.publishers.is_empty() {
        inbound.expect_rtp().map_err(|_| refused)?;
        inbound.reserve_sources(transport.sources.capacity());
    }
    let outbound = OutboundRtcp::new(&keys.local).map_err(|_| refused)?;
    let context = engine.model.contexts.insert(&keys.local);
    let context = context.map_err(|_| refused)?;
    *engine.stats.transports(transport.state()) -= 1;
    transport.inbound = Some(inbound);
    transport.outbound = Some(outbound);
    engine.model.exits[key].keys = Some(Keys {
        context,
        overhead: keys.local.profile().rtp_overhead() as u16,
    });
    transport.reports_due = now;
    *engine.stats.transports(transport.state()) += 1;
    engine.wheel.schedule(key, now);
    engine.want_key_frames_for(key);
    Ok(())
}

fn send_dtls(engine: &mut Engine, id: TransportId, datagram: &[u8]) -> Outcome {
    let key = key_of(engine, id)?;
    if datagram.is_empty() || datagram.len() > DTLS_MAX {
        return Err("a DTLS datagram of this length is not sent");
    }
    let transport = &engine.model.transports[key];
    let path = transport.selected.or(transport.handshake);
    let path = path.ok_or("no address is known for DTLS")?;
    engine
        .outbox
        .push(&mut engine.stats, path, PacketKind::Dtls, datagram);
    Ok(())
}

/// Takes a transport down with everything on it, and says goodbye if there is someone to say it to.
pub(crate) fn remove_transport(engine: &mut Engine, key: u32) {
    engine.drop_runs(key, |_| true);
    say_goodbye(engine, key);
    let transport = &mut engine.model.transports[key];
    let publishers = core::mem::take(&mut transport.publishers);
    let subscribers = core::mem::take(&mut transport.subscribers);
    for publisher in publishers {
        drop_publisher(engine, publisher);
    }
    for subscriber in subscribers {
        drop_subscriber(engine, subscriber);
    }
    engine.wheel.cancel(key);
    engine.paced.remove(key);
    engine.model.stop_awaiting(key);
    let id = engine.model.transports[key].id;
    capture::transport_gone(engine, id);
    *engine
        .stats
        .transports(engine.model.transports[key].state()) -= 1;
    let transport = engine.model.transports.remove(key);
    let transport = transport.expect("the caller looked the transport up");
    engine.model.transport_keys.remove(&transport.id);
    engine.model.leave_connection(key, transport.connection);
    if let Some(keys) = engine.model.exits[key].keys {
        engine.model.contexts.remove(keys.context);
    }
    engine.model.exits.reset(key);
    engine.model.ufrags.remove(&transport.local_ufrag);
    if let Some(former) = &transport.former_ufrag {
        engine.model.ufrags.remove(former);
    }
    for path in &transport.paths {
        engine.model.forget_address(path.remote, key);
    }
    debug_assert!(
        engine.model.addresses.values().all(|owner| *owner != key),
        "every address of a transport is one of its paths"
    );
}

/// RFC 3550 §6.6.
fn say_goodbye(engine: &mut Engine, key: u32) {
    let transport = &mut engine.model.transports[key];
    let (Some(path), Some(outbound)) = (transport.selected, &mut transport.outbound) else {
        return;
    };
    let ssrcs: Vec<u32> = transport
        .outgoing
        .iter()
        .map(|key| engine.model.outgoing[*key].ssrc)
        .take(31)
        .collect();
    if ssrcs.is_empty() {
        return;
    }
    let (mut plain, mut protected) = ([0; 256], [0; 320]);
    let mut writer = Writer::new(&mut plain);
    let written = ReceiverReport::write(transport.ssrc, &[], &mut writer)
        .and_then(|()| Bye::write(&ssrcs, &mut writer));
    let len = writer.len();
    if written.is_ok()
        && let Ok(protected_len) = outbound.protect(&plain[..len], &mut protected)
    {
        if let Some(capture) = &mut engine.capture {
            capture.outgoing_rtcp(key, &plain[..len]);
        }
        engine.outbox.push(
            &mut engine.stats,
            path,
            PacketKind::Srtcp,
            &protected[..protected_len],
        );
    }
}

fn add_publisher(engine: &mut Engine, now: Instant, spec: PublisherSpec) -> Outcome {
    let key = key_of(engine, spec.transport)?;
    if engine.model.publisher_keys.contains_key(&spec.id) {
        return Err("the publisher exists");
    }
    if engine.model.transports[key].publishers.len() >= PER_TRANSPORT_MAX {
        return Err("too many publishers on the transport");
    }
    if let Some(inbound) = &mut engine.model.transports[key].inbound {
        let expected = inbound.expect_rtp();
        wipe_stack();
        expected.map_err(|_| "the keys do not fit their profile")?;
    }
    // Every encoding may bring two RTP streams, media and RTX; they are learnt when they come, on the packet path.
    let encodings = spec.media.iter().map(|medium| medium.encodings.len());
    let streams = 2 * encodings.sum::<usize>().min(ENCODINGS_MAX * MEDIA_MAX);
    let origin = Origin::Transport(key);
    let (publisher, _) = insert_publisher(engine, now, spec.id, origin, spec.media)?;
    let transport = &mut engine.model.transports[key];
    transport.sources.reserve(streams);
    if let Some(inbound) = &mut transport.inbound {
        inbound.reserve_sources(streams);
    }
    transport.publishers.push(publisher);
    feedback::set_ceiling(engine, key);
    engine.wheel.schedule(key, now);
    Ok(())
}

/// A stream that another worker hands over: no transport, and subscribers that may be waiting for a picture.
fn add_remote_publisher(engine: &mut Engine, now: Instant, spec: RemotePublisherSpec) {
    if let Some(&known) = engine.model.publisher_keys.get(&spec.id) {
        match engine.model.publishers[known].origin {
            // The stream is here already.
            Origin::Transport(_) => return,
            Origin::Tap { .. } => drop_publisher(engine, known),
        }
    }
    let (tap, worker) = (spec.tap, spec.worker);
    let origin = Origin::Tap { tap, worker };
    let Ok((publisher, waiting)) = insert_publisher(engine, now, spec.id, origin, spec.media)
    else {
        // The worker that has it refuses it too.
        return;
    };
    tap::begin(engine, tap, worker, publisher);
    for subscriber in waiting {
        let transport = engine.model.subscribers[subscriber].transport;
        engine.want_key_frames_for(transport);
    }
}

/// Stores a publisher, and lets everyone listen who waits for it. Returns its key, and those of its subscribers.
fn insert_publisher(
    engine: &mut Engine,
    now: Instant,
    id: PublisherId,
    origin: Origin,
    media: Vec<PublishedMedia>,
) -> Result<(u32, Vec<u32>), &'static str> {
    let fits = |medium: &PublishedMedia| (1..=ENCODINGS_MAX).contains(&medium.encodings.len());
    if media.len() > MEDIA_MAX || !media.iter().all(fits) {
        return Err("too many media sections, or a wrong number of encodings");
    }
    let media: Vec<u32> = (0..)
        .zip(media)
        .map(|(place, medium)| add_medium(engine, origin, place, medium))
        .collect();
    if let Origin::Transport(_) = origin {
        for medium in &media {
            listen_to(engine, id, *medium);
        }
    }
    let publisher = engine
        .model
        .publishers
        .insert(Publisher { id, origin, media });
    engine.model.publisher_keys.insert(id, publisher);
    let waiting: Vec<u32> = engine
        .model
        .subscribers
        .iter()
        .filter(|(_, subscriber)| subscriber.publisher == id)
        .map(|(subscriber, _)| subscriber)
        .collect();
    for subscriber in &waiting {
        engine.model.bind(*subscriber);
        share::on_subscribed(engine, now, *subscriber);
    }
    Ok((publisher, waiting))
}

/// Levels of sound are followed where they arrive.
fn listen_to(engine: &mut Engine, publisher: PublisherId, medium: u32) {
    let medium = &mut engine.model.media[medium];
    let clock_rate = medium.codecs.first().map(|codec| codec.clock_rate);
    if let (Kind::Audio, Some(_), Some(clock_rate)) = (
        medium.kind,
        medium.extensions.id(Uri::AudioLevel),
        clock_rate,
    ) {
        medium.voice = Some(Box::new(Voice {
            publisher,
            loudness: Loudness::new(clock_rate),
        }));
    }
}

fn add_medium(engine: &mut Engine, origin: Origin, place: u8, spec: PublishedMedia) -> u32 {
    let mut extensions = ExtensionMap::new();
    for (id, uri) in &spec.extensions {
        extensions.insert(*id, *uri);
        if let Origin::Transport(transport) = origin {
            let known = &mut engine.model.transports[transport].extensions;
            known.insert(*id, *uri);
        }
    }
    let names = (spec.kind, origin, place);
    let mid = spec.mid.into_bytes().into();
    let mut medium = Medium::new(names, mid, spec.codecs, extensions, spec.bandwidth_max);
    medium.is_screen = spec.is_screen;
    let medium = engine.model.media.insert(medium);
    for (nth, encoding) in (0..).zip(spec.encodings) {
        let encoding = new_encoding(engine, (medium, nth), origin, encoding);
        let encoding = engine.model.encodings.insert(encoding);
        engine.model.media[medium].encodings.push(encoding);
    }
    let of = &mut engine.model.media[medium];
    if !of.has_layers() {
        of.arriving = of.places();
    }
    let Origin::Transport(transport) = origin else {
        return medium;
    };
    let feedback = &mut engine.model.transports[transport].feedback;
    if engine.model.media[medium].has_transport_feedback() {
        feedback.get_or_insert_with(|| FeedbackGenerator::new(FEEDBACK_INTERVAL));
    }
    medium
}

fn new_encoding(
    engine: &mut Engine,
    (medium, place): (u32, u8),
    origin: Origin,
    spec: EncodingSpec,
) -> Encoding {
    let source = engine.next_source();
    let of = &engine.model.media[medium];
    let nack = engine.config.nack && of.any(|codec| codec.nack);
    let remembered = if nack && of.kind == Kind::Video {
        engine.config.cache_packets_max
    } else {
        0
    };
    let clock_rate = of.codecs.first().map_or(90_000, |codec| codec.clock_rate);
    let mut encoding = Encoding::new((medium, place), source, spec, clock_rate);
    // What is missing is asked for by the worker that has the publisher's transport.
    let asks = nack && matches!(origin, Origin::Transport(_));
    encoding.nack = asks.then(NackGenerator::new);
    encoding.cache = Cache::new(remembered);
    let of = &engine.model.media[medium];
    let tells_itself = !of.any(|codec| codec.codec != Codec::Vp8);
    let is_described = of.extensions.id(Uri::DependencyDescriptor).is_some() && !tells_itself;
    // The layer of a packet from another worker comes with it.
    let is_here = matches!(origin, Origin::Transport(_));
    encoding.templates = (is_described && is_here).then(|| Box::new(Templates::new()));
    encoding
}

fn set_speaking(engine: &mut Engine, id: PublisherId, speaks: bool) {
    if let Some(publisher) = engine.model.publisher_keys.get(&id) {
        for medium in &engine.model.publishers[*publisher].media {
            engine.model.media[*medium].speaks = speaks;
        }
    }
}

fn remove_publisher(engine: &mut Engine, id: PublisherId) {
    let Some(&key) = engine.model.publisher_keys.get(&id) else {
        return;
    };
    let Origin::Transport(transport) = engine.model.publishers[key].origin else {
        return drop_publisher(engine, key);
    };
    let publishers = &mut engine.model.transports[transport].publishers;
    publishers.retain(|publisher| *publisher != key);
    drop_publisher(engine, key);
    feedback::set_ceiling(engine, transport);
    let transport = &engine.model.transports[transport];
    let others: Vec<u32> = engine.model.encodings_of(transport).collect();
    debug_assert!(
        transport
            .sources
            .iter()
            .all(|source| others.contains(&source.encoding)),
        "no RTP stream means an encoding that is gone"
    );
}

/// Frees a publisher whose transport, if it has one, no longer lists it. Its subscribers stay, and wait.
fn drop_publisher(engine: &mut Engine, key: u32) {
    let publisher = engine.model.publishers.remove(key);
    let publisher = publisher.expect("a listed publisher exists");
    engine.model.publisher_keys.remove(&publisher.id);
    tap::end(engine, key, &publisher);
    for medium in publisher.media {
        let medium = engine.model.media.remove(medium);
        let medium = medium.expect("a publisher's media exist");
        for listener in medium.listeners {
            engine.model.outgoing[listener.outgoing].medium = None;
            engine.drop_runs(listener.transport, |outgoing| outgoing == listener.outgoing);
        }
        for encoding in medium.encodings {
            let mut encoding = engine
                .model
                .encodings
                .remove(encoding)
                .expect("a medium's encodings exist");
            engine.quota.clear(&mut encoding.cache, &mut engine.orphans);
        }
        let encodings = &engine.model.encodings;
        let Origin::Transport(transport) = publisher.origin else {
            continue;
        };
        let transport = &mut engine.model.transports[transport];
        let Transport {
            sources, inbound, ..
        } = transport;
        sources.retain(|source| {
            let stays = encodings.get(source.encoding).is_some();
            if let Some(inbound) = inbound.as_mut().filter(|_| !stays) {
                inbound.forget(source.ssrc);
            }
            stays
        });
    }
}

fn add_subscriber(engine: &mut Engine, now: Instant, spec: SubscriberSpec) -> Outcome {
    let key = key_of(engine, spec.transport)?;
    if engine.model.subscriber_keys.contains_key(&spec.id) {
        return Err("the subscriber exists");
    }
    if engine.model.transports[key].subscribers.len() >= PER_TRANSPORT_MAX
        || spec.media.len() > MEDIA_MAX
    {
        return Err("too many subscribers on the transport, or too many media sections");
    }
    if !ssrcs_are_free(engine, key, &spec.media) {
        return Err("an SSRC is in use on the transport");
    }
    let outgoing: Vec<u32> = spec
        .media
        .into_iter()
        .map(|medium| {
            let outgoing = new_outgoing(engine, key, medium);
            engine.model.outgoing.insert(outgoing)
        })
        .collect();
    let transport = &mut engine.model.transports[key];
    transport.outgoing.extend(&outgoing);
    let subscriber = engine.model.subscribers.insert(Subscriber {
        id: spec.id,
        transport: key,
        publisher: spec.publisher,
        outgoing,
    });
    transport.subscribers.push(subscriber);
    transport.reports_due = transport.reports_due.min(now + REPORT_INTERVAL);
    engine.wheel.schedule(key, transport.reports_due);
    engine.model.subscriber_keys.insert(spec.id, subscriber);
    engine.model.bind(subscriber);
    share::on_subscribed(engine, now, subscriber);
    engine.want_key_frames_for(key);
    Ok(())
}

/// Two RTP streams with one SSRC would share packet indices.
fn ssrcs_are_free(engine: &Engine, key: u32, media: &[SubscribedMedia]) -> bool {
    let transport = &engine.model.transports[key];
    let mut taken: Vec<u32> = vec![transport.ssrc];
    for outgoing in &transport.outgoing {
        let outgoing = &engine.model.outgoing[*outgoing];
        taken.push(outgoing.ssrc);
        taken.extend(outgoing.rtx.as_ref().map(|rtx| rtx.ssrc));
    }
    media
        .iter()
        .flat_map(|medium| [Some(medium.ssrc), medium.rtx_ssrc])
        .flatten()
        .all(|ssrc| {
            let free = !taken.contains(&ssrc);
            taken.push(ssrc);
            free
        })
}

fn new_outgoing(engine: &mut Engine, key: u32, spec: SubscribedMedia) -> Outgoing {
    let mut extensions = ExtensionMap::new();
    for (id, uri) in &spec.extensions {
        extensions.insert(*id, *uri);
    }
    let rng = &mut engine.rng;
    let transport = &engine.model.transports[key];
    let rewriter = match transport.resume(spec.ssrc) {
        Some(next) => Rewriter::starting_at(next),
        None => Rewriter::new(rng),
    };
    let resendable = |codec: &PayloadType| codec.nack && codec.rtx.is_some();
    let can_resend = engine.config.nack && spec.codecs.iter().any(|(_, codec)| resendable(codec));
    let rtx = spec.rtx_ssrc.filter(|_| can_resend).map(|ssrc| {
        let next = transport.resume(ssrc);
        Rtx::new(ssrc, next.unwrap_or_else(|| first_index(rng)))
    });
    let described = Described {
        mid: spec.mid.into_bytes().into(),
        cname: spec.cname.into_bytes().into(),
        codecs: spec.codecs,
        extensions,
        bandwidth_max: spec.bandwidth_max.filter(|_| spec.kind == Kind::Video),
        hold: None,
    };
    let first_timestamp = rng.next_u32();
    let names = (key, spec.ssrc, spec.kind);
    Outgoing::new(names, described, rewriter, rtx, first_timestamp)
}

fn remove_subscriber(engine: &mut Engine, id: SubscriberId) {
    let Some(&key) = engine.model.subscriber_keys.get(&id) else {
        return;
    };
    let transport = engine.model.subscribers[key].transport;
    let subscribers = &mut engine.model.transports[transport].subscribers;
    subscribers.retain(|subscriber| *subscriber != key);
    drop_subscriber(engine, key);
}

/// Frees a subscriber whose transport no longer lists it.
fn drop_subscriber(engine: &mut Engine, key: u32) {
    let subscriber = engine.model.subscribers.remove(key);
    let subscriber = subscriber.expect("a listed subscriber exists");
    engine.model.subscriber_keys.remove(&subscriber.id);
    for stream in subscriber.outgoing {
        engine.drop_runs(subscriber.transport, |outgoing| outgoing == stream);
        engine.model.unbind(stream);
        let outgoing = engine.model.outgoing.remove(stream);
        let outgoing = outgoing.expect("a subscriber's RTP streams exist");
        let transport = &mut engine.model.transports[subscriber.transport];
        transport.outgoing.retain(|other| *other != stream);
        engine.model.connections[transport.connection].forget(stream);
        if outgoing.sent.packets > 0 {
            transport.retire(outgoing.ssrc, outgoing.rewriter.next_index());
        }
        if let Some(rtx) = outgoing.rtx.filter(|rtx| rtx.sent.packets > 0) {
            transport.retire(rtx.ssrc, rtx.next);
        }
    }
}
