//! One run: an exit is made ready, a forwarder started, everybody connected, the load measured, and all taken away again.

mod snapshot;
mod strangers;
mod verdict;

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4, UdpSocket};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};

use crate::baseline::conventional::cost_of_sending;
use crate::exit::{self, Exit};
use crate::fleet::{self, Fleet};
use crate::measure::{Machine, Memory};
use crate::outcome::{self, Outcome};
use crate::plan::Plan;
use crate::progress::{Event, Listener};
use crate::subject::{Choice, Subject};

use snapshot::Snapshot;
use strangers::Strangers;

/// How often progress is told, the processor's timeline drawn and viewers are replaced.
const BEAT: Duration = Duration::from_millis(250);
/// Of so many packets of an RTP stream one is checked, unless said otherwise.
pub const CHECK_EVERY: u32 = 64;

/// Of fewer transports the memory is not told.
const HANG_UP_MIN: u64 = 50;
/// Bare sends: to so many addresses, so many a try, the best of so many tries.
const SENT_TO: u32 = 100;
const SENT_A_TRY: u64 = 6400;
const SENDING_TRIES: u32 = 3;

/// What to run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who forwards.
    pub subject: Choice,
    /// Where packets leave.
    pub exit: exit::Kind,
    /// The load.
    pub plan: Plan,
    /// Media threads of the simulated browsers.
    pub fleet_threads: usize,
    /// Of so many packets of an RTP stream one is authenticated, decrypted and compared, at an exit where all arrive; where only a
    /// sample arrives, all of it is.
    pub check_every: u32,
    /// `ringcast-bench` itself, as which baselines are started; this program if not given.
    pub program: Option<PathBuf>,
}

/// Runs `settings` and says what was measured. Whatever goes wrong is in the outcome's verdict.
///
/// It ends early, without a result, once `over` is set.
pub fn run(settings: &Settings, listener: &mut Listener<'_>, over: &AtomicBool) -> Outcome {
    let watch = Watch::new(listener, over);
    match try_run(settings, &watch) {
        Ok(outcome) => outcome,
        Err(error) => {
            let because = format!("{error:#}");
            let name = settings.subject.name();
            Outcome::impossible(&name, settings.exit, &settings.plan, because)
        }
    }
}

/// Sets a flag at SIGINT and SIGTERM, so that runs end in order. The flag may be asked for as often as one likes.
///
/// # Errors
/// If signals cannot be caught.
pub fn interruption() -> anyhow::Result<&'static AtomicBool> {
    static OVER: AtomicBool = AtomicBool::new(false);
    static STARTED: AtomicBool = AtomicBool::new(false);
    if !STARTED.swap(true, Ordering::Relaxed) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot catch signals")?;
        let caught = async {
            use tokio::signal::unix::{SignalKind, signal};
            let mut interrupt = signal(SignalKind::interrupt())?;
            let mut terminate = signal(SignalKind::terminate())?;
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            OVER.store(true, Ordering::Relaxed);
            std::io::Result::Ok(())
        };
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || runtime.block_on(caught))?;
    }
    Ok(&OVER)
}

/// Who looks on: is told of progress, and may say that it is enough.
pub struct Watch<'a> {
    listener: Mutex<&'a mut Listener<'a>>,
    over: &'a AtomicBool,
}

impl<'a> Watch<'a> {
    /// Tells `listener`, heeds `over`.
    pub fn new(listener: &'a mut Listener<'_>, over: &'a AtomicBool) -> Self {
        let listener: &'a mut Listener<'a> = listener;
        Self {
            listener: Mutex::new(listener),
            over,
        }
    }

    /// Tells how things go.
    pub fn report(&self, event: Event) {
        if let Ok(mut listener) = self.listener.lock() {
            listener(event);
        }
    }

    /// Whether to stop as soon as possible.
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Waits, but not beyond the end.
    ///
    /// # Errors
    /// When it is over.
    pub fn sleep(&self, duration: Duration) -> anyhow::Result<()> {
        let end = Instant::now() + duration;
        loop {
            if self.is_over() {
                bail!("interrupted");
            }
            let rest = end.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                return Ok(());
            }
            std::thread::sleep(rest.min(BEAT));
        }
    }
}

fn try_run(settings: &Settings, watch: &Watch<'_>) -> anyhow::Result<Outcome> {
    watch.report(Event::Preparing(format!("{} exit", settings.exit)));
    let mut exit = Exit::prepare(settings.exit, settings.plan.pass_share)?;
    // Everything of a run lives in the fleet's network, threads that are started on the way included.
    let network = exit.fleet_network();
    network.enter(|| in_network(settings, &mut exit, watch))?
}

fn in_network(settings: &Settings, exit: &mut Exit, watch: &Watch<'_>) -> anyhow::Result<Outcome> {
    let plan = &settings.plan;
    let mut subject = start_subject(settings, exit, watch)?;
    let fleet = start_fleet(settings, exit)?;
    let empty = Memory::read(&subject.processes())?;
    let all_joined = join(plan, subject.as_mut(), &fleet, watch)?;
    warm_up(plan, watch)?;
    // Handshakes that go on just after somebody connected are over now, so whatever is more later is the strangers'.
    let alone = subject.readings()?.state;
    let strangers = let_strangers_in(plan, subject.as_ref(), exit, watch)?;
    let copies = verdict::copies_per_packet(plan).unwrap_or(0.0);
    fleet.begin_checks()?;
    let before = Snapshot::in_motion(subject.as_mut(), &fleet, exit, copies)?;
    // Whatever lies ready for datagrams has been touched by now.
    let slim = Memory::read(&subject.processes())?;
    let sent_before = strangers.as_ref().map(Strangers::sent);
    let held = Instant::now();
    let timeline = hold(plan, subject.as_mut(), &fleet, watch)?;
    let sent_after = strangers.as_ref().map(Strangers::sent);
    let held = held.elapsed();
    let after = Snapshot::at_rest(&before, subject.as_mut(), &fleet, exit, copies)?;
    let under_strangers = Memory::read(&subject.processes())?;
    // What the kernel keeps for the WebSockets of thousands is more than what it keeps for their media.
    if after.fleet.connected >= HANG_UP_MIN {
        subject.hang_up();
    }
    let memory = Memory::read(&subject.processes())?;

    drop(strangers);
    drop(fleet);
    let notes = subject.notes();
    subject.stop()?;
    let mut outcome = verdict::outcome(settings, &before, &after);
    outcome.notes.extend(notes);
    outcome.bare_send = Some(bare_send(exit, &after, &before)?);
    outcome.processor.timeline = timeline;
    outcome.all_joined = Some(all_joined);
    outcome.memory = Some(outcome::Memory {
        resident: memory.resident,
        slab_growth: memory.slab as i64 - empty.slab as i64,
        resident_before: empty.resident,
        transports: after.fleet.connected,
    });
    outcome.machine = Machine::read();
    outcome.ended_at = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_secs());
    if let (Some(before), Some(now)) = (sent_before, sent_after) {
        let flood = outcome::Strangers {
            asked: plan.strangers_per_second.into(),
            sent: (now - before) as f64 / held.as_secs_f64(),
            state_before: alone,
            state_after: after.subject.state,
            resident_before: alone.map(|_| slim.resident),
            resident_after: alone.map(|_| under_strangers.resident),
        };
        verdict::with_strangers(&mut outcome, flood);
    }
    Ok(outcome)
}

/// Starts the flood, if there is to be one, and waits for the length of a warm-up.
fn let_strangers_in(
    plan: &Plan,
    subject: &dyn Subject,
    exit: &Exit,
    watch: &Watch<'_>,
) -> anyhow::Result<Option<Strangers>> {
    if plan.strangers_per_second == 0 {
        return Ok(None);
    }
    let rate = plan.strangers_per_second.into();
    let strangers = Strangers::start(rate, &subject.media_addresses(), exit)?;
    warm_up(plan, watch)?;
    Ok(Some(strangers))
}

/// Brings everybody in and says how long that took. When it returns, media flow.
fn join(
    plan: &Plan,
    subject: &mut dyn Subject,
    fleet: &Fleet,
    watch: &Watch<'_>,
) -> anyhow::Result<Duration> {
    let coming = Instant::now();
    subject.connect(fleet, plan, watch)?;
    let all_joined = coming.elapsed();
    if plan.silent_joins {
        fleet.speak()?;
    }
    Ok(all_joined)
}

fn warm_up(plan: &Plan, watch: &Watch<'_>) -> anyhow::Result<()> {
    watch.report(Event::WarmingUp {
        remaining: plan.warm_up,
    });
    watch.sleep(plan.warm_up)
}

fn start_subject(
    settings: &Settings,
    exit: &Exit,
    watch: &Watch<'_>,
) -> anyhow::Result<Box<dyn Subject>> {
    let name = settings.subject.name();
    watch.report(Event::Preparing(format!("starting {name}")));
    let program = match &settings.program {
        Some(program) => program.clone(),
        None => std::env::current_exe().context("cannot find this program's file")?,
    };
    settings
        .subject
        .start(&program, exit, &settings.plan)
        .with_context(|| format!("cannot start {name}"))
}

fn start_fleet(settings: &Settings, exit: &Exit) -> anyhow::Result<Fleet> {
    Fleet::start(&fleet::Settings {
        threads: settings.fleet_threads,
        network: exit.peers().base,
        sampled: exit.is_sampled(),
        sample_every: if exit.is_sampled() {
            1
        } else {
            settings.check_every
        },
        silent: settings.plan.silent_joins,
        seed: settings.plan.seed,
        ..fleet::Settings::default()
    })
    .context("cannot start the load generator")
}

/// What a bare send costs at this exit, in nanoseconds: the least of some tries.
fn bare_send(exit: &Exit, after: &Snapshot, before: &Snapshot) -> anyhow::Result<f64> {
    let published = after.fleet.since(&before.fleet);
    let length = published.published_bytes / published.published_packets.max(1);
    // Nobody takes them: at the drop exit nearly all are dropped, on loopback they fill a queue and the rest is.
    let peers = exit.peers();
    let sink = exit
        .fleet_network()
        .enter(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))??;
    let port = sink.local_addr()?.port();
    let targets: Vec<_> = (1..=SENT_TO)
        .map(|number| SocketAddrV4::new(Ipv4Addr::from(u32::from(peers.base) + number), port))
        .collect();
    let IpAddr::V4(from) = exit.subject_address() else {
        bail!("the exits are IPv4");
    };
    let least = exit.subject_network().enter(|| {
        (0..SENDING_TRIES)
            .map(|_| cost_of_sending(from, &targets, length as usize, SENT_A_TRY))
            .try_fold(Duration::MAX, |least, cost| anyhow::Ok(least.min(cost?)))
    })??;
    Ok(least.as_nanos() as f64)
}

/// Holds the load for as long as the plan says, with people coming and going; the forwarder's share of one processor, beat by beat.
fn hold(
    plan: &Plan,
    subject: &mut dyn Subject,
    fleet: &Fleet,
    watch: &Watch<'_>,
) -> anyhow::Result<Vec<f64>> {
    let start = Instant::now();
    let mut replaced = 0;
    let mut timeline = Vec::new();
    let mut busy_before = snapshot::processor_time(subject)?;
    let mut beat = start;
    let first = fleet.counters()?;
    loop {
        let rest = plan.measure.saturating_sub(start.elapsed());
        if rest.is_zero() {
            return Ok(timeline);
        }
        watch.sleep(rest.min(BEAT))?;
        let due = (start.elapsed().as_secs_f64() * plan.churn_per_second) as usize;
        subject.replace_viewers(fleet, due.saturating_sub(replaced))?;
        replaced = due.max(replaced);

        let busy = snapshot::processor_time(subject)?;
        let share = busy.saturating_sub(busy_before).as_secs_f64()
            / beat.elapsed().as_secs_f64().max(f64::MIN_POSITIVE);
        (beat, busy_before) = (Instant::now(), busy);
        timeline.push(share);
        let now = fleet.counters()?.since(&first);
        watch.report(Event::Measuring {
            elapsed: start.elapsed().min(plan.measure),
            of: plan.measure,
            delivered: now.delivered.max(now.received_packets),
            lost: now.lost(),
            subject_busy: share,
        });
    }
}
