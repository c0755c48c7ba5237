//! Operators' commands: they look at a running master and its media nodes, and change what the nodes are for.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::bail;
use clap::{Args, Subcommand};
use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use super::remote::{Access, Answer, Remote};
use super::table::{cell, length, table};
use crate::app::now_millis;
use crate::cluster::Status;

/// `status` of a cluster that has lost media nodes.
const EXIT_UNSTABLE: u8 = 3;
/// `status` of a cluster without media nodes.
const EXIT_DOWN: u8 = 4;

/// How long an empty node that was drained is waited for until it has left: somewhat longer than the master takes to let it go.
const LEAVING_MAX: Duration = Duration::from_secs(10);
/// How often it is looked at.
const GLANCE: Duration = Duration::from_millis(200);
/// What mends that a drained node is gone.
const COMES_BACK: &str = "a drained node leaves the cluster when nobody is in a session on it, and `ringcast-master add URI` brings it back";

/// What operators can do.
#[derive(Debug, Subcommand)]
pub enum Operation {
    /// List the media nodes.
    Nodes(Whom),
    /// List the sessions.
    Sessions(Whom),
    /// Show how the cluster is. Exits with 0 when it is up, 3 when media nodes are away, 4 when there is none.
    Status(Whom),
    /// Have a media node take no new sessions, and leave the cluster when it is empty: at once if it is so already.
    Drain {
        /// The node.
        id: String,
        /// Close what is left on it after so long, such as 10m; without this, a drained node keeps no deadline either.
        #[arg(long)]
        deadline: Option<String>,
        #[command(flatten)]
        whom: Whom,
    },
    /// Have a drained media node take sessions again. One that has left is brought back by `add`.
    Undrain {
        /// The node.
        id: String,
        #[command(flatten)]
        whom: Whom,
    },
    /// Add a media node that runs already, and wait until it takes sessions.
    Add {
        /// Where it listens: quic://IP:PORT, IP:PORT or IP.
        uri: String,
        /// A label of your own.
        #[arg(long)]
        environment_id: Option<String>,
        #[command(flatten)]
        whom: Whom,
    },
    /// Remove a media node, if there is no session on it.
    Remove {
        /// The node.
        id: String,
        #[command(flatten)]
        how: How,
        #[command(flatten)]
        whom: Whom,
    },
}

/// Which master.
#[derive(Args, Debug)]
pub struct Whom {
    #[command(flatten)]
    access: Access,
}

/// What becomes of the sessions on a node that is removed.
#[derive(Args, Debug)]
#[group(multiple = false)]
pub struct How {
    /// Close its sessions.
    #[arg(long)]
    now: bool,
    /// Drain it first if there are sessions on it.
    #[arg(long)]
    when_empty: bool,
}

/// Does it.
///
/// # Errors
/// When no master answers, or it refuses, with its reason.
pub fn run(operation: Operation) -> anyhow::Result<ExitCode> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(operate(operation))
}

async fn operate(operation: Operation) -> anyhow::Result<ExitCode> {
    match operation {
        Operation::Nodes(whom) => nodes(&whom.access).await?,
        Operation::Sessions(whom) => sessions(&whom.access).await?,
        Operation::Status(whom) => return status(&whom.access).await,
        Operation::Drain { id, deadline, whom } => {
            drain(&whom.access, &id, deadline).await?;
        }
        Operation::Undrain { id, whom } => undrain(&whom.access, &id).await?,
        Operation::Add {
            uri,
            environment_id,
            whom,
        } => add(&whom.access, &uri, environment_id).await?,
        Operation::Remove { id, how, whom } => remove(&whom.access, &id, &how).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn nodes(access: &Access) -> anyhow::Result<()> {
    let answer = Remote::new(access)?
        .get("/media-nodes?extra-info=true")
        .await?;
    if access.json {
        return print(&format!("{answer:#}\n"));
    }
    let rows: Vec<_> = content(&answer).map(node_row).collect();
    let header = [
        "ID",
        "STATUS",
        "HEALTH",
        "STANDING",
        "SESSIONS",
        "CPU%",
        "LOAD%",
        "URI",
        "ENVIRONMENT",
        "NOTE",
    ];
    print(&table(&header, &rows))
}

fn node_row(node: &Value) -> Vec<String> {
    let info = &node["ringcastInfo"];
    let cells = [
        &node["id"],
        &node["status"],
        &info["health"],
        &info["standing"],
        &info["sessions"],
        &node["load"],
        &percent(&info["loadRatio"]),
        &node["uri"],
        &node["environmentId"],
    ];
    let mut row: Vec<_> = cells.into_iter().map(cell).collect();
    row.push(note(node, info));
    row
}

/// A share of one in whole percent, where it is known.
fn percent(share: &Value) -> Value {
    share.as_f64().map_or(Value::Null, |share| {
        json!((100.0 * share).round().max(0.0) as u64)
    })
}

/// What is to be known of a node: what is wrong with it, when it ends, or why it takes no sessions.
fn note(node: &Value, info: &Value) -> String {
    match (
        &info["copyOf"],
        &info["unreached"],
        node["deadline"].as_u64(),
    ) {
        (Value::String(other), ..) => {
            return format!("refused: it shows the certificate of {other}");
        }
        (_, Value::String(why), _) => return why.clone(),
        (.., Some(at)) => return format!("closed in {}", length(at.saturating_sub(now_millis()))),
        _ => {}
    }
    let age = || length((1000.0 * info["loadAgeSeconds"].as_f64().unwrap_or_default()) as u64);
    match info["standing"].as_str() {
        Some("full") if info["loadRatio"].as_f64() >= Some(1.0) => {
            format!("full: {}", cell(&info["loadOf"]))
        }
        Some("full") => "full: it refuses more".to_owned(),
        Some("stale") => format!("its load was read {} ago", age()),
        Some("excluded") => "its load is not known".to_owned(),
        _ => String::new(),
    }
}

async fn sessions(access: &Access) -> anyhow::Result<()> {
    let answer = Remote::new(access)?.get("/sessions").await?;
    if access.json {
        return print(&format!("{answer:#}\n"));
    }
    let now = now_millis();
    let rows: Vec<_> = content(&answer)
        .map(|session| {
            let connections = || content(&session["connections"]);
            let count = |what: &str| -> usize {
                let lists = connections().filter_map(|one| one[what].as_array());
                lists.map(Vec::len).sum()
            };
            let created = session["createdAt"].as_u64().unwrap_or(now);
            vec![
                cell(&session["id"]),
                cell(&session["mediaNodeId"]),
                connections().count().to_string(),
                count("publishers").to_string(),
                count("subscribers").to_string(),
                length(now.saturating_sub(created)),
            ]
        })
        .collect();
    let header = [
        "SESSION",
        "NODE",
        "CONNECTIONS",
        "PUBLISHERS",
        "SUBSCRIBERS",
        "AGE",
    ];
    print(&table(&header, &rows))
}

async fn status(access: &Access) -> anyhow::Result<ExitCode> {
    let remote = Remote::new(access)?;
    let health = remote.ask(Method::GET, "/health", &Value::Null).await?;
    let Some(word) = health.body["status"].as_str() else {
        return Err(health.into_error("health"));
    };
    let nodes = remote.get("/media-nodes?extra-info=true").await?;
    let version = remote.get("/config/openvidu-version").await?;
    let on_nodes = content(&nodes).filter_map(|node| node["ringcastInfo"]["sessions"].as_u64());
    let sessions: u64 = on_nodes.sum();
    let count = |status: Status| {
        let same = |node: &&Value| node["status"] == json!(status);
        content(&nodes).filter(same).count()
    };
    let counts = Status::ALL.map(|status| (status.as_str(), count(status)));
    let away = &health.body["disconnectedMediaNodes"];
    let shown = json!({
        "url": remote.url(),
        "status": word,
        "openviduVersion": version,
        "mediaNodes": counts.iter().filter(|(_, count)| *count > 0).copied().collect::<std::collections::BTreeMap<_, _>>(),
        "disconnectedMediaNodes": away,
        "sessions": sessions,
        "takesSessions": health.body["takesSessions"],
        "noSessionsBecause": health.body["noSessionsBecause"],
    });
    match access.json {
        true => print(&format!("{shown:#}\n"))?,
        false => print(&status_text(&shown))?,
    }
    Ok(match word {
        "UP" => ExitCode::SUCCESS,
        "UNSTABLE" => ExitCode::from(EXIT_UNSTABLE),
        _ => ExitCode::from(EXIT_DOWN),
    })
}

fn status_text(shown: &Value) -> String {
    let nodes = shown["mediaNodes"].as_object().into_iter().flatten();
    let nodes: Vec<_> = nodes
        .map(|(word, count)| format!("{count} {word}"))
        .collect();
    let nodes = match nodes.is_empty() {
        true => "none".to_owned(),
        false => nodes.join(", "),
    };
    let away = shown["disconnectedMediaNodes"].as_array().into_iter();
    let away: Vec<_> = away.flatten().map(cell).collect();
    let mut text = format!(
        "master    {} (OpenVidu {})\nstatus    {}\nnodes     {nodes}\n",
        cell(&shown["url"]),
        cell(&shown["openviduVersion"]),
        cell(&shown["status"]),
    );
    if !away.is_empty() {
        text += &format!("away      {}\n", away.join(", "));
    }
    text += &format!("sessions  {} on nodes\n", cell(&shown["sessions"]));
    if let Some(why) = shown["noSessionsBecause"].as_str() {
        text += &format!("new ones  refused: {why}\n");
    }
    text
}

async fn drain(access: &Access, id: &str, deadline: Option<String>) -> anyhow::Result<()> {
    let remote = Remote::new(access)?;
    let path = path(id)?;
    let body = json!({"status": Status::WaitingIdleToTerminate, "deadline": deadline});
    let answer = remote
        .ask(Method::PATCH, &format!("{path}?extra-info=true"), &body)
        .await?;
    match answer.status {
        StatusCode::OK => {
            let is_empty = answer.body["ringcastInfo"]["inUse"] == json!(false);
            let has_left = is_empty && is_gone(&remote, &path).await?;
            let uri = cell(&answer.body["uri"]);
            say(access, &answer, &drained(id, &uri, is_empty, has_left))
        }
        StatusCode::NO_CONTENT => say(access, &answer, &format!("{id} is drained already")),
        _ => Err(refused(answer, id)),
    }
}

/// What has become of a node that was drained.
fn drained(id: &str, uri: &str, is_empty: bool, has_left: bool) -> String {
    let leaves = match (is_empty, has_left) {
        (false, _) => return format!("{id} is drained"),
        (true, false) => "leaves",
        (true, true) => "has left",
    };
    format!(
        "nobody was in a session on {id}: it {leaves} the cluster, and `ringcast-master add {uri}` brings it back"
    )
}

/// Waits a while until a node is no longer of the cluster. Answers whether it came to that.
async fn is_gone(remote: &Remote, path: &str) -> anyhow::Result<bool> {
    let end = Instant::now() + LEAVING_MAX;
    loop {
        let answer = remote.ask(Method::GET, path, &Value::Null).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(true);
        }
        if Instant::now() >= end {
            return Ok(false);
        }
        tokio::time::sleep(GLANCE).await;
    }
}

async fn undrain(access: &Access, id: &str) -> anyhow::Result<()> {
    let body = json!({"status": Status::Running});
    let answer = Remote::new(access)?
        .ask(Method::PATCH, &path(id)?, &body)
        .await?;
    match answer.status {
        StatusCode::OK => say(access, &answer, &format!("{id} takes sessions")),
        StatusCode::NO_CONTENT => say(access, &answer, &format!("{id} takes sessions already")),
        // It is too late.
        StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST => {
            bail!("{}; {COMES_BACK}", refused(answer, id))
        }
        _ => Err(refused(answer, id)),
    }
}

async fn add(access: &Access, uri: &str, environment_id: Option<String>) -> anyhow::Result<()> {
    let body = json!({"uri": uri, "environmentId": environment_id});
    let answer = Remote::new(access)?
        .ask(Method::POST, "/media-nodes?wait=true", &body)
        .await?;
    match answer.status {
        StatusCode::OK => {
            let (id, status) = (cell(&answer.body["id"]), cell(&answer.body["status"]));
            say(access, &answer, &format!("{id} is {status}"))
        }
        _ => Err(answer.into_error(uri)),
    }
}

async fn remove(access: &Access, id: &str, how: &How) -> anyhow::Result<()> {
    let strategy = match (how.now, how.when_empty) {
        (true, _) => "now",
        (_, true) => "when-no-sessions",
        _ => "if-no-sessions",
    };
    let path = format!("{}?wait=true&deletion-strategy={strategy}", path(id)?);
    let answer = Remote::new(access)?
        .ask(Method::DELETE, &path, &Value::Null)
        .await?;
    match answer.status {
        StatusCode::NO_CONTENT | StatusCode::OK => {
            say(access, &answer, &format!("{id} is removed"))
        }
        StatusCode::ACCEPTED => {
            let text = format!("{id} has sessions: it is drained, and removed when it is empty");
            say(access, &answer, &text)
        }
        StatusCode::CONFLICT => bail!(
            "{id} has sessions: --when-empty drains it first, --now closes them (see `ringcast-master sessions`)"
        ),
        _ => Err(refused(answer, id)),
    }
}

fn refused(answer: Answer, id: &str) -> anyhow::Error {
    match answer.status {
        StatusCode::NOT_FOUND => anyhow::anyhow!("there is no media node '{id}'"),
        _ => answer.into_error(id),
    }
}

/// The path of a node. Ids of nodes are plain: whatever is not, none has.
fn path(id: &str) -> anyhow::Result<String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    match !id.is_empty() && id.bytes().all(plain) {
        true => Ok(format!("/media-nodes/{id}")),
        false => bail!("'{id}' is no id of a media node"),
    }
}

fn say(access: &Access, answer: &Answer, text: &str) -> anyhow::Result<()> {
    match (access.json, &answer.body) {
        (true, Value::Null) => {
            let status = answer.status.as_u16();
            print(&format!(
                "{:#}\n",
                json!({"httpStatus": status, "message": text})
            ))
        }
        (true, body) => print(&format!("{body:#}\n")),
        (false, _) => print(&format!("{text}\n")),
    }
}

fn content(list: &Value) -> impl Iterator<Item = &Value> {
    list["content"].as_array().into_iter().flatten()
}

/// Whoever reads no further (`| head`) has read enough.
fn print(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_node_is_in_its_row() {
        let node = |info: Value, deadline: Value| {
            let node = json!({"id": "media_1", "status": "running", "load": 1.5, "uri": "quic://h", "ringcastInfo": info, "deadline": deadline});
            node_row(&node).pop().expect("a note")
        };
        assert_eq!(node(json!({}), Value::Null), "");
        assert_eq!(
            node(json!({"unreached": "nothing heard"}), Value::Null),
            "nothing heard"
        );
        assert!(node(json!({"copyOf": "media_2"}), Value::Null).contains("media_2"));
        let soon = now_millis() + 90_500;
        assert_eq!(node(json!({}), json!(soon)), "closed in 1m30s");
        for (info, note) in [
            (json!({"standing": "open", "loadRatio": 0.5}), ""),
            (json!({"standing": "closed", "loadRatio": 1.5}), ""),
            (
                json!({"standing": "full", "loadRatio": 1.0, "loadOf": "packets"}),
                "full: packets",
            ),
            (
                json!({"standing": "full", "loadRatio": 0.4, "loadOf": "packets"}),
                "full: it refuses more",
            ),
            (json!({"standing": "full"}), "full: it refuses more"),
            (
                json!({"standing": "stale", "loadAgeSeconds": 7.4}),
                "its load was read 7s ago",
            ),
            (json!({"standing": "excluded"}), "its load is not known"),
        ] {
            assert_eq!(node(info.clone(), Value::Null), note, "{info}");
        }
    }

    #[test]
    fn loads_are_shown_in_whole_percent() {
        for (share, shown) in [
            (json!(0.0), "0"),
            (json!(0.346), "35"),
            (json!(1.5), "150"),
            (Value::Null, "-"),
        ] {
            assert_eq!(cell(&percent(&share)), shown);
        }
    }

    #[test]
    fn status_says_why_new_sessions_are_refused() {
        let text = |why: Value| {
            status_text(
                &json!({"url": "u", "status": "UP", "sessions": 3, "noSessionsBecause": why}),
            )
        };
        assert!(text(Value::Null).ends_with("sessions  3 on nodes\n"));
        assert!(text(json!("1 drained")).ends_with("new ones  refused: 1 drained\n"));
    }

    #[test]
    fn whoever_drains_an_empty_node_is_told_how_it_comes_back() {
        let told = |is_empty, has_left| drained("media_1", "quic://h", is_empty, has_left);
        assert_eq!(told(false, false), "media_1 is drained");
        for (has_left, verb) in [(true, "has left"), (false, "leaves")] {
            let expected = format!(
                "nobody was in a session on media_1: it {verb} the cluster, and `ringcast-master add quic://h` brings it back"
            );
            assert_eq!(told(true, has_left), expected);
        }
    }

    #[test]
    fn ids_cannot_change_the_path() {
        assert_eq!(path("media_1").expect("good"), "/media-nodes/media_1");
        for bad in ["", "a/b", "a?wait=true", "a b", "ä"] {
            assert!(path(bad).is_err(), "{bad}");
        }
    }
}
