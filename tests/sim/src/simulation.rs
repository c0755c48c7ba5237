//! One world: a node, browsers, a network, and the loop that moves the clock.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::rc::Rc;

use clock::{Duration, Instant, NtpTime, Rng};
use dataplane::agent::taps::Taps;
use proto::srtp::{KeyingMaterial, Profile};
use sfu::api::{
    CloseReason, Command, Config, ConnectionId, Event, LayerLimit, PublisherId, SubscriberId,
    TransportId, TransportSpec,
};

use crate::browser::{Browser, drain};
use crate::conditions::Conditions;
use crate::media::{self, Ssrcs, Style};
use crate::network::{HostId, Network};
use crate::node::{Node, ORDERS_DELAY};
use crate::report::Report;
use crate::sink::Sink;
use crate::source::Source;
use crate::viewer::Viewer;

/// Where the first worker listens; the others have the ports above.
const NODE: ([u8; 4], u16) = ([192, 0, 2, 1], 7_000);
/// Where time begins; not at zero, so that times before the beginning exist.
const BEGINNING: Instant = Instant::from_millis(10_000);
/// How long a handshake takes.
const HANDSHAKE: Duration = Duration::from_millis(60);

/// A browser of a simulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BrowserId(usize);

/// What simulations differ in besides the seed.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Whether the node knows NACK.
    pub nack: bool,
    /// Whether the node measures what the ways to subscribers carry.
    pub transport_wide: bool,
    /// Whether it lets pictures leave evenly.
    pub pacing: bool,
    /// Whether it believes what browsers say that they can take.
    pub follow_remb: bool,
    /// Most transports of a worker.
    pub transports_max: usize,
    /// Workers of the node.
    pub workers: u16,
    /// Slots that a worker lends its neighbours.
    pub loans: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            nack: true,
            transport_wide: true,
            pacing: true,
            follow_remb: false,
            transports_max: 200,
            workers: 1,
            loans: 256,
        }
    }
}

/// What will happen at its time.
#[derive(Clone, Debug)]
enum Plan {
    /// The node's end of the handshake is done.
    NodeKeys(BrowserId),
    /// The browser's end is.
    BrowserKeys(BrowserId),
    /// The path of a browser becomes like that, up and down.
    Path(BrowserId, Box<[Conditions; 2]>),
}

/// Where a browser's transport is, and what is on it, until it goes.
#[derive(Clone, Copy, Debug)]
struct Place {
    worker: u16,
    publishes: Option<PublisherId>,
    subscribes: Option<PublisherId>,
    /// Under which id it does so.
    subscriber: Option<SubscriberId>,
    is_removed: bool,
}

/// A node and its browsers.
pub struct Simulation {
    network: Rc<RefCell<Network>>,
    /// Dice for scenarios.
    pub rng: Rng,
    /// The node.
    pub node: Node,
    /// Whose the next transports are.
    pub connection: Option<ConnectionId>,
    /// How much of a picture may come of who publishes from now on, and is sent to who watches, in bit/s.
    pub bandwidth_max: Option<u64>,
    /// Whether who watches from now on estimates what the way to it can take.
    pub estimates: bool,
    browsers: Vec<Browser>,
    /// When each of them wants to do something, and all of that in order.
    dues: Vec<Instant>,
    agenda: BTreeSet<(Instant, usize)>,
    /// Whose browser is at which host.
    hosted: BTreeMap<HostId, usize>,
    /// Browsers that may want something else since they were looked at.
    stale: Vec<usize>,
    /// What each of them is to the node.
    places: Vec<Place>,
    taps: Taps,
    plans: BTreeMap<(Instant, u64), Plan>,
    planned: u64,
    hosts: u16,
    streams: u64,
    /// Transports that the node let go, when, and why.
    pub closed: Vec<(Instant, BrowserId, CloseReason)>,
}

impl Simulation {
    /// A node without browsers. Everything random follows from `seed`.
    pub fn new(seed: u64, settings: Settings) -> Self {
        let mut rng = Rng::from_number(seed);
        let network = Network::new(BEGINNING, rng.fork());
        let network = Rc::new(RefCell::new(network));
        let config = Config {
            ntp_at_zero: NtpTime::from_unix(Duration::from_secs(1_750_000_000)),
            transports_max: settings.transports_max,
            cache_packets_max: 512,
            nack: settings.nack,
            padding_max: 1,
            transport_wide: settings.transport_wide,
            pacing: settings.pacing,
            playout_delay_max: Duration::from_millis(200),
            follow_remb: settings.follow_remb,
            cycles: || 0,
            drop_rtp: false,
        };
        Self {
            node: Node::new(
                &network,
                &(0..settings.workers).map(address).collect::<Vec<_>>(),
                &config,
                settings.loans,
                &mut rng,
            ),
            connection: None,
            estimates: false,
            bandwidth_max: None,
            network,
            rng,
            browsers: Vec::new(),
            dues: Vec::new(),
            agenda: BTreeSet::new(),
            hosted: BTreeMap::new(),
            stale: Vec::new(),
            places: Vec::new(),
            taps: Taps::default(),
            plans: BTreeMap::new(),
            planned: 0,
            hosts: 0,
            streams: 0,
            closed: Vec::new(),
        }
    }

    /// The present.
    pub fn now(&self) -> Instant {
        self.network.borrow().now()
    }

    /// The network.
    pub fn network(&self) -> std::cell::RefMut<'_, Network> {
        self.network.borrow_mut()
    }

    /// A browser.
    pub fn browser(&self, id: BrowserId) -> &Browser {
        &self.browsers[id.0]
    }

    /// A browser, to be changed.
    pub fn browser_mut(&mut self, id: BrowserId) -> &mut Browser {
        self.stale.push(id.0);
        &mut self.browsers[id.0]
    }

    /// Who watches there.
    pub fn sink(&self, id: BrowserId) -> &Sink {
        self.browser(id).sink()
    }

    /// Who watches there as a browser does.
    pub fn viewer(&self, id: BrowserId) -> &Viewer {
        self.browser(id).viewer()
    }

    /// What is published there.
    pub fn source(&self, id: BrowserId) -> &Source {
        self.browser(id).source()
    }

    /// A host that is no browser.
    pub fn add_host(&mut self, up: Conditions, down: Conditions) -> (HostId, SocketAddr) {
        let address = self.fresh_address();
        let host = self.network.borrow_mut().add_host(address, up, down);
        (host, address)
    }

    /// A browser and its transport, with the same conditions both ways.
    pub fn join(&mut self, conditions: Conditions) -> BrowserId {
        self.join_on(0, conditions)
    }

    fn join_on(&mut self, worker: u16, conditions: Conditions) -> BrowserId {
        let id = BrowserId(self.browsers.len());
        let transport = TransportId(id.0 as u64 + 1);
        let (host, _) = self.add_host(conditions, conditions);
        let nth = self.rng.below(Profile::ALL.len() as u64) as usize;
        let profile = Profile::ALL[nth];
        let mut exported = vec![0; profile.exporter_len()];
        self.rng.fill(&mut exported);
        let keys = KeyingMaterial::from_exporter(profile, &exported, true);
        let keys = keys.expect("the profile says how long it is");
        let now = self.now();
        let browser = Browser::new(now, host, transport, address(worker), keys, &mut self.rng);
        let spec = TransportSpec {
            id: transport,
            connection: self.connection,
            local_ufrag: browser.nodes.ufrag().into(),
            local_pwd: browser.nodes.password().into(),
            remote: Some((browser.own.ufrag().into(), browser.own.password().into())),
        };
        self.node
            .order(worker, Command::AddTransport(Box::new(spec)));
        self.browsers.push(browser);
        self.dues.push(Instant::FAR_FUTURE);
        self.hosted.insert(host, id.0);
        self.stale.push(id.0);
        self.places.push(Place {
            worker,
            publishes: None,
            subscribes: None,
            subscriber: None,
            is_removed: false,
        });
        id
    }

    /// A browser that publishes as soon as it is connected.
    pub fn publish(&mut self, conditions: Conditions, style: Style) -> (BrowserId, PublisherId) {
        self.publish_on(0, conditions, style)
    }

    /// The same on another worker.
    pub fn publish_on(
        &mut self,
        worker: u16,
        conditions: Conditions,
        style: Style,
    ) -> (BrowserId, PublisherId) {
        self.streams += 1;
        let publisher = PublisherId(self.streams);
        let id = self.publish_as(publisher, worker, conditions, style);
        (id, publisher)
    }

    /// The same under the id of a stream that has ended: whoever waits for it sees this one.
    pub fn publish_as(
        &mut self,
        publisher: PublisherId,
        worker: u16,
        conditions: Conditions,
        style: Style,
    ) -> BrowserId {
        let id = self.join_on(worker, conditions);
        let ssrcs = self.fresh_ssrcs();
        let (now, rng) = (self.now(), self.rng.fork());
        let bandwidth_max = self.bandwidth_max;
        let browser = self.browser_mut(id);
        browser.source = Some(Source::new(now, style, ssrcs, rng));
        let mut spec = media::publisher(publisher, browser.transport, ssrcs, &style);
        for medium in &mut spec.media {
            medium.bandwidth_max = bandwidth_max;
        }
        self.places[id.0].publishes = Some(publisher);
        let taps = self.taps.published(publisher, worker, &spec.media);
        self.node
            .order(worker, Command::AddPublisher(Box::new(spec)));
        self.deliver(taps);
        id
    }

    /// A browser that subscribes.
    pub fn subscribe(&mut self, conditions: Conditions, publisher: PublisherId) -> BrowserId {
        self.subscribe_on(0, conditions, publisher)
    }

    /// The same on another worker.
    pub fn subscribe_on(
        &mut self,
        worker: u16,
        conditions: Conditions,
        publisher: PublisherId,
    ) -> BrowserId {
        let (id, ssrcs) = self.attend(worker, conditions, publisher);
        let (now, own) = (self.now(), self.rng.next_u32());
        self.browser_mut(id).sink = Some(Sink::new(now, ssrcs, own));
        id
    }

    /// A browser that subscribes, and plays and asks as real ones do.
    pub fn watch(&mut self, conditions: Conditions, publisher: PublisherId) -> BrowserId {
        let (id, ssrcs) = self.attend(0, conditions, publisher);
        let (now, own) = (self.now(), self.rng.next_u32());
        let round_trip = 2 * conditions.delay;
        let mut viewer = Viewer::new(now, ssrcs, own, round_trip);
        if self.estimates {
            viewer.estimate(now);
        }
        self.browser_mut(id).viewer = Some(viewer);
        id
    }

    fn attend(
        &mut self,
        worker: u16,
        conditions: Conditions,
        publisher: PublisherId,
    ) -> (BrowserId, Ssrcs) {
        let id = self.join_on(worker, conditions);
        let ssrcs = self.fresh_ssrcs();
        let browser = &self.browsers[id.0];
        self.streams += 1;
        let subscriber = SubscriberId(self.streams);
        let mut spec = media::subscriber(subscriber, browser.transport, publisher, ssrcs);
        for medium in &mut spec.media {
            medium.bandwidth_max = self.bandwidth_max;
        }
        self.node
            .order(worker, Command::AddSubscriber(Box::new(spec)));
        self.places[id.0].subscribes = Some(publisher);
        self.places[id.0].subscriber = Some(subscriber);
        let taps = self.taps.subscribed(publisher, worker);
        self.deliver(taps);
        (id, ssrcs)
    }

    /// The picture that somebody watches is limited from now on.
    pub fn limit(&mut self, id: BrowserId, limit: LayerLimit) {
        let place = &self.places[id.0];
        let subscriber = place.subscriber.expect("somebody watches");
        let order = Command::LimitLayers {
            subscriber,
            medium: media::VIDEO_PLACE,
            limit,
        };
        self.node.order(place.worker, order);
    }

    /// A browser sends RTCP of the scenario's choice. Whether it could: it must have its keys.
    pub fn say(&mut self, id: BrowserId, plain: &[u8]) -> bool {
        let browser = &mut self.browsers[id.0];
        let Some(datagram) = browser.protect(plain) else {
            return false;
        };
        let mut network = self.network.borrow_mut();
        let source = network.address(browser.host);
        network.send(browser.host, source, browser.node, datagram);
        true
    }

    /// What a viewer got of what a publisher sent, from one time until another.
    pub fn report(
        &self,
        publisher: BrowserId,
        viewer: BrowserId,
        from: Instant,
        until: Instant,
    ) -> Report {
        Report::new(self.source(publisher), self.viewer(viewer), from, until)
    }

    /// After so long the path of a browser becomes like that, up and down.
    pub fn change_after(
        &mut self,
        pause: Duration,
        id: BrowserId,
        up: Conditions,
        down: Conditions,
    ) {
        let at = self.now() + pause;
        self.plan(at, Plan::Path(id, Box::new([up, down])));
    }

    /// The browser ends its transport and says so to the master.
    pub fn leave(&mut self, id: BrowserId) {
        self.browser_mut(id).is_online = false;
        self.remove(id);
    }

    /// The browser is gone and nobody says so.
    pub fn vanish(&mut self, id: BrowserId) {
        self.browser_mut(id).is_online = false;
    }

    /// The browser continues from another address, as after a change from Wi-Fi to a mobile network.
    pub fn move_browser(&mut self, id: BrowserId) {
        let address = self.fresh_address();
        let host = self.browsers[id.0].host;
        self.network.borrow_mut().move_host(host, address);
    }

    /// Somebody who knows a browser's credentials sends its first check from `host`, with a lie about where it comes from.
    pub fn send_false_check(&mut self, id: BrowserId, host: HostId, source: SocketAddr) {
        let now = self.now();
        let mut impostor = self.browsers[id.0].impostor(now, &mut self.rng);
        impostor.on_timeout(now);
        let mut out = Vec::new();
        drain(&mut impostor, &mut out);
        for datagram in out {
            let mut network = self.network.borrow_mut();
            network.send(host, source, NODE.into(), datagram);
        }
    }

    /// A host sends any bytes to the node, from its own address or as somebody else.
    pub fn send_bytes(&mut self, host: HostId, source: Option<SocketAddr>, bytes: Vec<u8>) {
        let mut network = self.network.borrow_mut();
        let source = source.unwrap_or_else(|| network.address(host));
        network.send(host, source, NODE.into(), bytes);
    }

    /// One of the last datagrams that reached the node, and whose address it came from.
    pub fn overhear(&self) -> Option<(SocketAddr, Vec<u8>)> {
        self.network.borrow_mut().overhear()
    }

    /// Lets time pass.
    pub fn run(&mut self, duration: Duration) {
        let end = self.now() + duration;
        loop {
            self.settle();
            let next = self.next_moment().min(end);
            self.network.borrow_mut().advance(next);
            if next == end {
                break;
            }
        }
        self.settle();
    }

    /// Removes every transport; nothing may be left then.
    pub fn finish(&mut self) {
        for place in 0..self.browsers.len() {
            self.remove(BrowserId(place));
        }
        self.run(match self.node.workers() {
            1 => Duration::from_millis(1),
            // What happens meanwhile may make further orders, and those that wait wait with them.
            _ => 10 * ORDERS_DELAY,
        });
        self.node.check_empty();
        assert_eq!(self.network.borrow().overflowed(), 0);
    }

    fn remove(&mut self, id: BrowserId) {
        let (transport, worker) = (self.browsers[id.0].transport, self.places[id.0].worker);
        self.node.order(worker, Command::RemoveTransport(transport));
        self.let_go(id);
    }

    /// A transport has ended, and what was on it no longer crosses.
    fn let_go(&mut self, id: BrowserId) {
        let place = &mut self.places[id.0];
        let worker = place.worker;
        place.is_removed = true;
        let (publishes, subscribes) = (place.publishes.take(), place.subscribes.take());
        if let Some(publisher) = publishes {
            let ended = self.taps.unpublished(publisher);
            self.deliver(ended);
        }
        if let Some(publisher) = subscribes {
            let ended = self.taps.unsubscribed(publisher, worker);
            self.deliver(ended);
        }
    }

    fn deliver(&mut self, orders: Vec<(u16, Command)>) {
        for (worker, command) in orders {
            self.node.order(worker, command);
        }
    }

    /// Does everything that is due at this instant.
    fn settle(&mut self) {
        let now = self.now();
        loop {
            let mut is_idle = true;
            while let Some(entry) = self.plans.first_entry() {
                if entry.key().0 > now {
                    break;
                }
                let plan = entry.remove();
                self.follow(plan);
                is_idle = false;
            }
            let arrived = self.network.borrow_mut().arrive();
            is_idle &= arrived.is_empty();
            for (host, bytes) in arrived {
                let place = self.hosted.get(&host).copied();
                if let Some(place) = place.filter(|place| self.browsers[*place].is_online) {
                    self.visit(place, |browser, out| browser.on_datagram(now, &bytes, out));
                }
            }
            self.refresh();
            while let Some(&(due, place)) = self.agenda.first()
                && due <= now
            {
                self.visit(place, |browser, out| browser.on_timeout(now, out));
                self.refresh();
                is_idle = false;
            }
            if self.node.is_due() {
                let events = self.node.turn();
                events.into_iter().for_each(|event| self.on_event(event));
                is_idle = false;
            }
            if is_idle {
                return;
            }
        }
    }

    fn visit(&mut self, place: usize, visit: impl FnOnce(&mut Browser, &mut Vec<Vec<u8>>)) {
        let mut out = Vec::new();
        let browser = &mut self.browsers[place];
        visit(browser, &mut out);
        let mut network = self.network.borrow_mut();
        for datagram in out {
            let source = network.address(browser.host);
            network.send(browser.host, source, browser.node, datagram);
        }
        drop(network);
        self.stale.push(place);
    }

    /// Brings the agenda up to date.
    fn refresh(&mut self) {
        while let Some(place) = self.stale.pop() {
            let due = self.browsers[place].deadline();
            let due = due.unwrap_or(Instant::FAR_FUTURE);
            let before = core::mem::replace(&mut self.dues[place], due);
            if before != due {
                self.agenda.remove(&(before, place));
                self.agenda.insert((due, place));
            }
        }
    }

    fn next_moment(&mut self) -> Instant {
        self.refresh();
        let browsers = self.agenda.first().map(|(due, _)| *due);
        let plans = self.plans.keys().next().map(|(at, _)| *at);
        let arrival = self.network.borrow().next_arrival();
        browsers
            .into_iter()
            .chain(plans)
            .chain(arrival)
            .fold(self.node.wake_at(), Instant::min)
    }

    fn plan(&mut self, at: Instant, plan: Plan) {
        self.planned += 1;
        self.plans.insert((at, self.planned), plan);
    }

    fn follow(&mut self, plan: Plan) {
        match plan {
            Plan::NodeKeys(id) => {
                let browser = &self.browsers[id.0];
                let (host, profile) = (browser.host, browser.keys.local.profile());
                self.network.borrow_mut().oracle().expect(host, profile);
                let keys = Command::KeysReady {
                    transport: browser.transport,
                    keys: Box::new(browser.keys.mirrored()),
                };
                self.node.order(self.places[id.0].worker, keys);
                // The flight with the server's Finished.
                let arrival = self.now() + self.network.borrow().delay_down(host);
                self.plan(arrival, Plan::BrowserKeys(id));
            }
            Plan::BrowserKeys(id) => self.browser_mut(id).on_keys(),
            Plan::Path(id, ways) => {
                let [up, down] = *ways;
                let host = self.browsers[id.0].host;
                self.network.borrow_mut().set_conditions(host, up, down);
            }
        }
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::IceConnected(transport) => {
                let id = id_of(transport);
                assert!(!self.browsers[id.0].has_keys(), "it connects once");
                self.plan(self.now() + HANDSHAKE, Plan::NodeKeys(id));
            }
            Event::Closed { transport, reason } => {
                self.closed.push((self.now(), id_of(transport), reason));
                self.let_go(id_of(transport));
            }
            // The transport ended during its handshake.
            Event::Refused {
                why: "no such transport",
                transport,
            } => {
                let id = id_of(transport);
                assert!(!self.browsers[id.0].is_online || self.places[id.0].is_removed);
            }
            Event::Refused { transport, why } => panic!("{transport:?} is refused: {why}"),
            // Only garbage looks like DTLS here; the handshake would ignore it. And the virtual network has no sockets.
            Event::Dtls { .. }
            | Event::PathSelected { .. }
            | Event::Standing { .. }
            | Event::Captured { .. }
            | Event::CaptureEnded { .. }
            | Event::Statistics { .. }
            | Event::Heard { .. } => {}
        }
    }

    fn fresh_address(&mut self) -> SocketAddr {
        self.hosts = self.hosts.checked_add(1).expect("there are addresses left");
        let [high, low] = self.hosts.to_be_bytes();
        SocketAddr::from(([198, 18, high, low], 5_000))
    }

    fn fresh_ssrcs(&mut self) -> Ssrcs {
        // Distinct by their last bits, whatever the dice say.
        let mut ssrc = |last| (self.rng.next_u32() & !3) | last;
        Ssrcs {
            audio: ssrc(1),
            video: ssrc(2),
            rtx: ssrc(3),
        }
    }
}

/// Where a worker listens.
fn address(worker: u16) -> SocketAddr {
    SocketAddr::from((NODE.0, NODE.1 + worker))
}

fn id_of(transport: TransportId) -> BrowserId {
    BrowserId(usize::try_from(transport.0 - 1).expect("transports are counted from one"))
}
