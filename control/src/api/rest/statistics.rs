//! `webRtcStats=true`: how the streams of a connection are doing, as `serverStats` of each publisher and subscriber.
//!
//! The nodes are asked when the application asks, and say nothing otherwise. A node that does not answer in time makes an answer
//! without `serverStats`, never an error.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use link::TransportId;
use link::statistics::{StatisticsQuestion, StreamStatistics, TransportStatistics};
use serde_json::{Map, Value, json};

use crate::app::{App, Core, now_millis};
use crate::domain::{ConnectionId, Millis, NodeId, SessionId, StreamId};
use crate::reconcile::Place;

/// How long an application waits for a node's numbers at most.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the nodes said.
pub struct Statistics {
    at: Millis,
    transports: HashMap<TransportId, TransportStatistics>,
}

impl Statistics {
    /// Of a session, or of one of its connections.
    pub async fn of_session(
        app: &Arc<App>,
        session: &SessionId,
        connection: Option<&ConnectionId>,
    ) -> Self {
        let question = app.step(|core| {
            let known = core.domain.session(session)?;
            let node = known.node.clone()?;
            // The names under which the node knows them.
            let nobody = ConnectionId::new("");
            let of = connection.unwrap_or(&nobody);
            let place = Place::new(node, session, known.incarnation, of);
            let question = StatisticsQuestion {
                number: 0,
                session: Some(place.session),
                connection: connection.map(|_| place.connection),
            };
            Some((place.node, question))
        });
        let mut statistics = Self::none();
        if let Some((node, question)) = question {
            statistics.ask(app, node, question).await;
        }
        statistics
    }

    /// Of everything, node by node.
    pub async fn of_all(app: &Arc<App>) -> Self {
        let nodes = app.step(|core| {
            let nodes = core.registry.nodes().iter();
            nodes.map(|node| node.id.clone()).collect::<Vec<_>>()
        });
        let mut statistics = Self::none();
        for node in nodes {
            statistics
                .ask(app, node, StatisticsQuestion::default())
                .await;
        }
        statistics
    }

    /// Adds them to a connection as it is shown.
    pub fn add_to(&self, core: &Core, session: &SessionId, shown: &mut Value) {
        let Some(connection) = shown["id"].as_str().map(ConnectionId::new) else {
            return;
        };
        for item in items(shown, "publishers") {
            let of = |stream: &_| core.media.publication_transport(session, stream);
            self.add(item, of, received);
        }
        for item in items(shown, "subscribers") {
            let of = |stream: &_| {
                core.media
                    .subscription_transport(session, &connection, stream)
            };
            self.add(item, of, sent);
        }
    }

    /// Adds them to the connections of a session as it is shown.
    pub fn add_to_session(&self, core: &Core, session: &SessionId, shown: &mut Value) {
        for connection in items(&mut shown["connections"], "content") {
            self.add_to(core, session, connection);
        }
    }

    fn none() -> Self {
        Self {
            at: now_millis(),
            transports: HashMap::new(),
        }
    }

    async fn ask(&mut self, app: &Arc<App>, node: NodeId, question: StatisticsQuestion) {
        let link = app.step(|core| core.registry.node(&node).map(|node| node.link.clone()));
        let Some(link) = link else { return };
        match link.statistics(question, PATIENCE).await {
            Ok(told) => {
                self.at = now_millis();
                let told = told.into_iter().map(|one| (one.id.clone(), one));
                self.transports.extend(told);
            }
            Err(why) => tracing::debug!(%node, %why, "no statistics"),
        }
    }

    fn add<'a>(
        &self,
        item: &mut Value,
        transport: impl Fn(&StreamId) -> Option<&'a TransportId>,
        streams: impl Fn(&TransportStatistics) -> Vec<Value>,
    ) {
        let stream = item["streamId"].as_str().map(StreamId::new);
        let of = stream.and_then(|stream| self.transports.get(transport(&stream)?));
        if let Some(of) = of {
            let mut stats = json!({"timestamp": self.at, "streams": streams(of)});
            if let Some(micros) = of.round_trip_micros {
                stats["roundTripMs"] = millis(micros);
            }
            if let Some(estimate) = of.estimate_bits_per_second {
                stats["estimatedBitsPerSecond"] = json!(estimate);
            }
            item["serverStats"] = stats;
        }
    }
}

fn items<'a>(shown: &'a mut Value, list: &str) -> impl Iterator<Item = &'a mut Value> {
    shown[list].as_array_mut().into_iter().flatten()
}

fn received(of: &TransportStatistics) -> Vec<Value> {
    let streams = of.received.iter();
    streams
        .map(|one| described(one.kind, one.rid.as_deref(), &one.stream).into())
        .collect()
}

fn sent(of: &TransportStatistics) -> Vec<Value> {
    let streams = of.sent.iter();
    streams
        .map(|one| {
            let mut shown = described(one.kind, one.rid.as_deref(), &one.stream);
            if let Some(temporal) = one.temporal {
                shown.insert("temporalLayer".to_owned(), json!(temporal));
            }
            if one.wanted_bits_per_second > 0 {
                let wanted = json!(one.wanted_bits_per_second);
                shown.insert("wantedBitsPerSecond".to_owned(), wanted);
            }
            shown.into()
        })
        .collect()
}

fn described(kind: link::Kind, rid: Option<&str>, of: &StreamStatistics) -> Map<String, Value> {
    let kind = match kind {
        link::Kind::Audio => "audio",
        link::Kind::Video => "video",
    };
    let mut shown = Map::new();
    let mut put = |name: &str, value| shown.insert(name.to_owned(), value);
    put("kind", json!(kind));
    if let Some(rid) = rid {
        put("rid", json!(rid));
    }
    put("bitsPerSecond", json!(of.bits_per_second));
    put("packets", json!(of.packets));
    put("packetsLost", json!(of.packets_lost));
    put("lossRatio", json!(f64::from(of.loss_ppm) / 1e6));
    put("jitterMs", millis(of.jitter_micros));
    put("nacks", json!(of.nacks));
    put("keyFrameRequests", json!(of.key_frame_requests));
    shown
}

fn millis(micros: u32) -> Value {
    json!(f64::from(micros) / 1e3)
}
