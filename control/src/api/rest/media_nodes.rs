//! `/media-nodes`: the nodes of the cluster, to be looked at, added, drained and removed.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use scheduler::NodeView;
use serde_json::{Value, json};

use super::body::Fields;
use super::sessions::{self, SESSIONS_AT_A_TIME};
use super::{Problem, flag, list as list_of, public_url};
use crate::app::{App, Core};
use crate::cluster::{MediaNode, Status, address};
use crate::domain::{NodeId, SessionId};
use crate::nodes::dialling::{self, LAUNCH_TIMEOUT, NotAdded};
use crate::nodes::life::{DrainFor, Refusal, Removing, Strategy};

/// How long somebody who looks for nodes waits for them.
const LOOK: Duration = Duration::from_secs(3);
/// How long somebody waits for a node to be gone; it is let go after less, whatever it does.
const GONE: Duration = Duration::from_secs(10);
/// How often one that is waited for is looked at.
const GLANCE: Duration = Duration::from_millis(50);
/// The longest drain that can be ordered.
const DRAIN_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

/// The largest load that is shown. What has a limit of nothing is infinitely full.
const LOAD_RATIO_MAX: f64 = 100.0;

/// What requests carry after `?`.
type Flags = Query<HashMap<String, String>>;

/// `GET /media-nodes`
pub async fn list(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Query(query): Flags,
) -> Json<Value> {
    let url = public_url(&app, &headers);
    Json(list_of(render_some(&app, &query, &url, |_, _| true).await))
}

/// `GET /media-nodes/{id}`
pub async fn get(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Path(id): Path<String>,
    Query(query): Flags,
) -> Result<Json<Value>, Problem> {
    let url = public_url(&app, &headers);
    show(&app, &NodeId::new(id), &query, &url).await.map(Json)
}

/// `POST /media-nodes`: adds the node that listens at `uri`, if one of this cluster does. With `wait=true` answers when it takes sessions.
pub async fn add(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Query(query): Flags,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let fields = Fields::parse(&body)?;
    let Some(uri) = fields.text("uri")? else {
        let text = "'uri' is mandatory: this master launches no machines, it adds those that run a media node already";
        return Err(Problem::new(StatusCode::NOT_IMPLEMENTED, text));
    };
    let address = address::parse(uri).map_err(|why| Problem::bad(format!("'uri': {why}")))?;
    let environment = fields.text("environmentId")?.map(str::to_owned);
    let id = dialling::add(&app, address, environment).await;
    let id = id.map_err(|error| {
        let status = match &error {
            NotAdded::Unreachable { .. } => StatusCode::NOT_FOUND,
            NotAdded::Known(_) => StatusCode::CONFLICT,
            NotAdded::NoDialler | NotAdded::TooMany(_) => StatusCode::BAD_GATEWAY,
        };
        Problem::new(status, error.to_string())
    })?;
    if flag(&query, "wait", false) {
        came_up(&app, &id).await?;
    }
    let url = public_url(&app, &headers);
    show(&app, &id, &query, &url).await.map(Json)
}

/// `DELETE /media-nodes/{id}`
pub async fn remove(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Query(query): Flags,
) -> Result<StatusCode, Problem> {
    let id = NodeId::new(id);
    let deadline = query.get("deadline").map(|text| length(text)).transpose()?;
    let strategy = query.get("deletion-strategy").map(String::as_str);
    let strategy = match strategy.unwrap_or("if-no-sessions") {
        "if-no-sessions" => Strategy::IfNoSessions,
        "when-no-sessions" => Strategy::WhenNoSessions(deadline),
        "now" => Strategy::Now,
        other => {
            let text = format!(
                "'deletion-strategy' must be one of if-no-sessions, when-no-sessions, now, not '{other}'"
            );
            return Err(Problem::bad(text));
        }
    };
    if deadline.is_some() && !matches!(strategy, Strategy::WhenNoSessions(_)) {
        return Err(Problem::bad(
            "'deadline' goes with deletion-strategy=when-no-sessions",
        ));
    }
    let done = app.step(|core| core.remove_node(&id, strategy, Instant::now()));
    match done.map_err(refused)? {
        Removing::Draining => Ok(StatusCode::ACCEPTED),
        Removing::Begun if !flag(&query, "wait", false) => Ok(StatusCode::OK),
        Removing::Begun => {
            let gone = |core: &Core| core.registry.node(&id).is_none();
            match until(&app, GONE, gone).await {
                true => Ok(StatusCode::NO_CONTENT),
                false => Err(Problem::new(
                    StatusCode::BAD_GATEWAY,
                    format!("Media node '{id}' is still being let go"),
                )),
            }
        }
    }
}

/// `PATCH /media-nodes/{id}`: changes the status. `deadline`, with `waiting-idle-to-terminate`, is ours: what is left on the node is closed
/// after so long; null takes a deadline back.
pub async fn change(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Path(id): Path<String>,
    Query(query): Flags,
    body: Bytes,
) -> Result<Response, Problem> {
    let id = NodeId::new(id);
    let fields = Fields::parse(&body)?;
    let word = fields.required_text("status")?;
    let Some(status) = Status::parse(word) else {
        let words: Vec<_> = Status::ALL.iter().map(|one| one.as_str()).collect();
        let text = format!("'status' must be one of {}", words.join(", "));
        return Err(Problem::bad(text));
    };
    let deadline = deadline(&fields)?;
    let is_drain = status == Status::WaitingIdleToTerminate;
    if matches!(deadline, DrainFor::AtMost(_)) && !is_drain {
        let text = format!(
            "'deadline' goes with '{}'",
            Status::WaitingIdleToTerminate.as_str()
        );
        return Err(Problem::bad(text));
    }
    let done = app.step(|core| core.order_status(&id, status, deadline, Instant::now()));
    match done {
        Ok(()) => {
            let shown = show(&app, &id, &query, &public_url(&app, &headers)).await?;
            Ok(Json(shown).into_response())
        }
        Err(Refusal::Already(_)) => Ok(StatusCode::NO_CONTENT.into_response()),
        Err(refusal) => Err(refused(refusal)),
    }
}

/// `PUT /media-nodes`: dials again, at once, what is known and away. Answers the nodes that came.
pub async fn discover(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Query(query): Flags,
) -> Json<Value> {
    let away = dialling::look_for_nodes(&app);
    let is_up = |core: &Core, id: &NodeId| {
        let node = core.registry.node(id);
        node.is_some_and(|node| node.link.is_up() && node.copy_of.is_none())
    };
    until(&app, LOOK, |core| away.iter().all(|id| is_up(core, id))).await;
    let url = public_url(&app, &headers);
    let away: HashSet<_> = away.into_iter().collect();
    let came = |core: &Core, id: &NodeId| away.contains(id) && is_up(core, id);
    Json(list_of(render_some(&app, &query, &url, came).await))
}

async fn came_up(app: &Arc<App>, id: &NodeId) -> Result<(), Problem> {
    let status = |core: &Core| core.registry.node(id).map(|node| node.status);
    // A moment longer than it has: then it has failed and is gone.
    let patience = LAUNCH_TIMEOUT + Duration::from_secs(2);
    until(app, patience, |core| {
        status(core) != Some(Status::Launching)
    })
    .await;
    let node = app.step(|core| {
        let node = core.registry.node(id);
        node.map(|node| (node.status, node.unreached.clone()))
    });
    match node {
        Some((Status::Launching, why)) => {
            let why = why.map_or_else(String::new, |(_, why)| format!(": {why}"));
            let text = format!("Media node '{id}' did not come up{why}");
            Err(Problem::new(StatusCode::BAD_GATEWAY, text))
        }
        Some(_) => Ok(()),
        None => {
            let text = format!("Media node '{id}' did not come up and was given up");
            Err(Problem::new(StatusCode::BAD_GATEWAY, text))
        }
    }
}

/// Waits until something is so. Answers whether it is.
async fn until(app: &Arc<App>, patience: Duration, so: impl Fn(&Core) -> bool) -> bool {
    let end = Instant::now() + patience;
    loop {
        if app.step(|core| so(core)) {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        tokio::time::sleep(GLANCE).await;
    }
}

fn deadline(fields: &Fields) -> Result<DrainFor, Problem> {
    match fields.value("deadline") {
        None if fields.is_null("deadline") => Ok(DrainFor::Ever),
        None => Ok(DrainFor::Unsaid),
        Some(Value::Number(number)) => length(&number.to_string()).map(DrainFor::AtMost),
        Some(Value::String(text)) => length(text).map(DrainFor::AtMost),
        Some(_) => Err(length_expected()),
    }
}

/// Seconds, or a text such as `10m`.
fn length(text: &str) -> Result<Duration, Problem> {
    let seconds = text.parse().map(Duration::from_secs).ok();
    let length = seconds.or_else(|| humantime::parse_duration(text).ok());
    let length = length.filter(|length| *length <= DRAIN_MAX);
    length.ok_or_else(length_expected)
}

fn length_expected() -> Problem {
    Problem::bad(
        "'deadline' must be a number of seconds, or a time such as 90s, 10m or 2h, of a year at most",
    )
}

fn refused(refusal: Refusal) -> Problem {
    let status = match refusal {
        Refusal::Unknown => StatusCode::NOT_FOUND,
        Refusal::Busy => StatusCode::CONFLICT,
        Refusal::Already(_) => StatusCode::NO_CONTENT,
        Refusal::Transition { .. } => StatusCode::BAD_REQUEST,
    };
    Problem::new(status, refusal.to_string())
}

async fn show(
    app: &App,
    id: &NodeId,
    query: &HashMap<String, String>,
    url: &str,
) -> Result<Value, Problem> {
    let mut shown = render_some(app, query, url, |_, one| one == id).await;
    shown
        .pop()
        .ok_or_else(|| Problem::empty(StatusCode::NOT_FOUND))
}

/// Those nodes. There may be thousands of sessions on them, and calls go on beside it: where they are asked for, each is shown as it is
/// when its turn comes.
async fn render_some(
    app: &App,
    query: &HashMap<String, String>,
    url: &str,
    which: impl Fn(&Core, &NodeId) -> bool,
) -> Vec<Value> {
    let mut nodes: Vec<(NodeId, Value, Vec<SessionId>)> = app.step(|core| {
        let standings = standings(core, query);
        let nodes = core.registry.nodes().iter();
        let view = View::new(core, query, standings);
        let nodes = nodes.filter(|node| which(core, &node.id));
        let shown = nodes.map(|node| (node.id.clone(), view.render(node), view.session_ids(node)));
        shown.collect()
    });
    if flag(query, "sessions", false) {
        for (node, shown, ids) in &mut nodes {
            let mut content: Vec<Value> = Vec::with_capacity(ids.len());
            for some in ids.chunks(SESSIONS_AT_A_TIME) {
                app.step(|core| {
                    let sessions = some.iter().filter_map(|id| core.domain.session(id));
                    let still_there = sessions.filter(|one| one.node.as_ref() == Some(&*node));
                    content.extend(still_there.map(|one| sessions::render(one, false, url)));
                });
                tokio::task::yield_now().await;
            }
            shown["sessions"] = Value::Array(content);
        }
    }
    nodes.into_iter().map(|(_, shown, _)| shown).collect()
}

/// How the nodes stand with the scheduler, where that is asked for.
fn standings(core: &mut Core, query: &HashMap<String, String>) -> HashMap<NodeId, NodeView> {
    if !flag(query, "extra-info", false) {
        return HashMap::new();
    }
    let now = Instant::now();
    let nodes = core.registry.nodes().iter();
    let view = |id: &NodeId| Some((id.clone(), core.loads.view(now, id)?));
    nodes.map(|node| &node.id).filter_map(view).collect()
}

/// What of nodes is shown.
struct View<'a> {
    core: &'a Core,
    query: &'a HashMap<String, String>,
    /// The sessions of each node, where they are asked for.
    sessions: HashMap<&'a NodeId, Vec<&'a SessionId>>,
    /// The nodes of sessions that somebody is in, where that is asked for.
    in_use: BTreeSet<NodeId>,
    standings: HashMap<NodeId, NodeView>,
}

impl<'a> View<'a> {
    fn new(
        core: &'a Core,
        query: &'a HashMap<String, String>,
        standings: HashMap<NodeId, NodeView>,
    ) -> Self {
        let mut sessions: HashMap<_, Vec<_>> = HashMap::new();
        if flag(query, "sessions", false) || flag(query, "extra-info", false) {
            for session in core.domain.sessions() {
                if let Some(node) = &session.node {
                    sessions.entry(node).or_default().push(&session.id);
                }
            }
        }
        let in_use = match flag(query, "extra-info", false) {
            true => core.domain.nodes_in_use(),
            false => BTreeSet::new(),
        };
        Self {
            core,
            query,
            sessions,
            in_use,
            standings,
        }
    }

    fn render(&self, node: &MediaNode) -> Value {
        let connected = node.link.is_up() && node.copy_of.is_none();
        let percent = (self.core.loads.cpu(&node.id) * 10_000.0).round() / 100.0;
        let mut value = json!({
            "id": node.id,
            "object": "mediaNode",
            "environmentId": node.environment_id,
            "ip": node.ip().to_string(),
            "uri": node.uri,
            "launchingTime": node.launching_time,
            "connected": connected,
            "connectionTime": node.connection_time,
            "load": percent,
            "status": node.status,
        });
        if !connected && let Some(time) = node.disconnection_time {
            value["disconnectionTime"] = json!(time);
        }
        if let Some(deadline) = node.drain_deadline {
            value["deadline"] = json!(deadline.shown);
        }
        if self.asks("recordings") {
            value["recordingIds"] = json!([]);
            value["broadcasts"] = json!([]);
        }
        if self.asks("extra-info") {
            let hello = node.link.hello();
            let software = hello.as_ref().map(|hello| hello.software.clone());
            // What applications read of this object is there; the modules of a media server that this is not are none.
            value["kurentoInfo"] =
                json!({"version": software, "type": "Ringcast", "modules": [], "capabilities": []});
            value["ringcastInfo"] = json!({
                "health": node.health.as_str(),
                "sessions": self.sessions_of(node).len(),
                "inUse": self.in_use.contains(&node.id),
                "nodeId": node.node_id,
                "instance": node.instance,
                "software": software,
                "workers": hello.as_ref().map(|hello| hello.capacity.workers),
                "transportsMax": hello.as_ref().map(|hello| hello.capacity.transports_max),
                "configured": node.configured,
                "copyOf": node.copy_of,
                "unreached": node.unreached.as_ref().map(|(_, why)| why),
            });
            self.add_load(node, connected, &mut value["ringcastInfo"]);
        }
        value
    }

    /// How the node stands with the scheduler, and how full it is, by what was read of it while it was there.
    fn add_load(&self, node: &MediaNode, connected: bool, info: &mut Value) {
        let Some(view) = self.standings.get(&node.id) else {
            return;
        };
        info["standing"] = view.standing.as_str().into();
        let sample = self.core.loads.last_read(&node.id).filter(|_| connected);
        if let Some(sample) = sample {
            let ratio = view.load.ratio.min(LOAD_RATIO_MAX);
            info["loadRatio"] = json!((ratio * 10_000.0).round() / 10_000.0);
            info["loadOf"] = view.load.component.as_str().into();
            info["loadAgeSeconds"] = json!(view.age.as_secs_f64());
            info["transports"] = json!(sample.transports() as u64);
        }
    }

    fn session_ids(&self, node: &MediaNode) -> Vec<SessionId> {
        self.sessions_of(node).iter().copied().cloned().collect()
    }

    fn sessions_of(&self, node: &MediaNode) -> &[&'a SessionId] {
        self.sessions.get(&node.id).map_or(&[][..], Vec::as_slice)
    }

    fn asks(&self, what: &str) -> bool {
        flag(self.query, what, false)
    }
}
