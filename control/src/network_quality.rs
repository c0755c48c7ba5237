//! Looks at the network quality of every user at intervals, and has changes told (`networkQualityLevelChanged`).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use link::statistics::{StatisticsQuestion, TransportStatistics};
use tokio::time::{MissedTickBehavior, interval};

use crate::api::rpc::sessions::Member;
use crate::app::{App, Core};
use crate::domain::quality::Measured;
use crate::domain::{Connection, NodeId, SessionId};
use crate::reconcile::Owner;

/// Most changes that one session is told of at a look, and newcomers who are told of all: everybody hears of everybody, so a thousand
/// at once would be a million messages. The rest is told at the next look.
const TOLD_MAX: usize = 50;

/// Looks for as long as the process lives. A node that is slower than the interval is not asked again before it has answered.
pub async fn watch(app: Arc<App>, period: Duration) {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        look(&app, period).await;
    }
}

/// One look at all nodes.
pub async fn look(app: &Arc<App>, patience: Duration) {
    let nodes = app.step(|core| {
        let up = core
            .registry
            .nodes()
            .iter()
            .filter(|node| node.link.is_up());
        up.map(|node| (node.id.clone(), node.link.clone()))
            .collect::<Vec<_>>()
    });
    for (node, link) in nodes {
        match link
            .statistics(StatisticsQuestion::default(), patience)
            .await
        {
            Ok(told) => app.step(|core| judge(core, &node, &told)),
            // What nobody knows is no reason to tell anybody anything.
            Err(why) => tracing::debug!(%node, %why, "network quality is not known"),
        }
    }
}

fn judge(core: &mut Core, node: &NodeId, told: &[TransportStatistics]) {
    let mut measured: HashMap<Member, Measured> = HashMap::new();
    for one in told {
        if let Some(member) = owner(core, one) {
            take_in(measured.entry(member).or_default(), one);
        }
    }
    for session in core.domain.sessions_on(node) {
        judge_session(core, &session, &measured);
    }
}

fn judge_session(core: &mut Core, session: &SessionId, measured: &HashMap<Member, Measured>) {
    let ids = core.domain.session(session).map(|session| {
        let active = session.active().filter(|one| !one.is_hidden());
        active.map(|one| one.id.clone()).collect::<Vec<_>>()
    });
    let ids = ids.unwrap_or_default();
    let mut left = TOLD_MAX;
    // Before there is more to tell, so that each change begins where the last one ended.
    for id in &ids {
        if core.domain.catch_up_on_quality(session, id, left > 0) {
            left -= 1;
        }
    }
    for id in ids {
        let member: Member = (session.clone(), id);
        let mut of = measured.get(&member).copied().unwrap_or_default();
        of.is_away = core.rpc.is_away(&member);
        let Ok(connection) = core.domain.connection(&member.0, &member.1) else {
            continue;
        };
        of.is_silent = is_silent(connection, &of);
        if let Some(level) = of.level()
            && core
                .domain
                .look_at_quality(&member.0, &member.1, level, left > 0)
        {
            left -= 1;
        }
    }
}

/// Something is published, and was heard of before, and nothing comes any more.
fn is_silent(connection: &Connection, of: &Measured) -> bool {
    let is_on = connection.stream().is_some_and(|stream| {
        let properties = &stream.properties;
        properties.audio_active == Some(true) || properties.video_active == Some(true)
    });
    let was_heard = connection.quality().is_some_and(|level| level > 0);
    is_on && was_heard && of.up.is_empty()
}

/// Whose transport it is.
fn owner(core: &Core, of: &TransportStatistics) -> Option<Member> {
    match core.media.owner(&of.id)? {
        Owner::Publication(session, stream) => {
            let stream = core.domain.stream(session, stream).ok()?;
            Some((session.clone(), stream.connection.clone()))
        }
        Owner::Subscription(session, connection, _) => Some((session.clone(), connection.clone())),
    }
}

fn take_in(measured: &mut Measured, of: &TransportStatistics) {
    measured.add_round_trip(of.round_trip_micros);
    for one in &of.received {
        let stream = &one.stream;
        let (bits, loss) = (stream.bits_per_second, stream.loss_ppm);
        measured.up.add(bits, loss, stream.jitter_micros, 0);
    }
    for one in &of.sent {
        let stream = &one.stream;
        let (bits, loss) = (stream.bits_per_second, stream.loss_ppm);
        // One that has not begun lacks nothing yet.
        let wanted = match stream.packets {
            0 => 0,
            _ => one.wanted_bits_per_second,
        };
        measured.down.add(bits, loss, stream.jitter_micros, wanted);
    }
}
