//! The same by way of a Prometheus server: two instant queries for all nodes, one for the values and one for when they were read.
//!
//! A series belongs to the node whose id is its label `node`, or whose metrics are at its label `instance`.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::{StatusCode, Uri};
use serde::Deserialize;
use tokio::time::{MissedTickBehavior, interval};

use super::{PATIENCE, Trouble, Unread};
use crate::app::App;
use crate::cluster::MediaNode;
use crate::cluster::load::{NAMES, Sample};
use crate::domain::NodeId;
use crate::http_client::HttpClient;

/// The longest answer: twenty series each of 10 000 nodes.
const ANSWER_MAX: usize = 64 * 1024 * 1024;
/// Whose time is that of all: the node exports them together.
const CLOCK: &str = "ringcast_node_ready";

/// An answer of `/api/v1/query`.
#[derive(Deserialize)]
struct Answer {
    status: String,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    data: Data,
}

#[derive(Default, Deserialize)]
struct Data {
    #[serde(default)]
    result: Vec<Series>,
}

#[derive(Deserialize)]
struct Series {
    metric: HashMap<String, String>,
    /// When the query was evaluated, seconds since the epoch, and the value as a text.
    value: (f64, String),
}

/// What is known of a node, and how old it is.
type Reading = (Sample, Duration);

/// Asks for as long as the process lives.
pub async fn watch(app: Arc<App>, client: HttpClient, url: &str) {
    let mut ticks = interval(app.config().load_interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut trouble = Trouble::default();
    // When Prometheus last read each node.
    let mut read: HashMap<NodeId, Instant> = HashMap::new();
    loop {
        ticks.tick().await;
        let asked = Instant::now();
        let readings = ask(&client, url).await;
        if let Err(error) = &readings {
            app.metrics.load_read(error.as_str());
        }
        take(&app, asked, &readings, &mut read, &mut trouble);
    }
}

/// Values by `node` or `instance`.
async fn ask(client: &HttpClient, url: &str) -> Result<HashMap<String, Reading>, Unread> {
    let names = NAMES.join("|");
    let values = query(client, url, &format!("{{__name__=~\"{names}\"}}")).await?;
    let times = query(client, url, &format!("timestamp({CLOCK})")).await?;
    Ok(readings(&values, &times))
}

fn readings(values: &[Series], times: &[Series]) -> HashMap<String, Reading> {
    let mut readings: HashMap<String, Reading> = HashMap::new();
    for series in times {
        let (Some(name), Some(read)) = (name(series), number(series)) else {
            continue;
        };
        let age = Duration::try_from_secs_f64(series.value.0 - read).unwrap_or_default();
        readings.insert(name.to_owned(), (Sample::default(), age));
    }
    for series in values {
        let reading = name(series).and_then(|name| readings.get_mut(name));
        if let (Some((sample, _)), Some(value)) = (reading, number(series)) {
            let label = |wanted: &str| series.metric.get(wanted).map(String::as_str);
            sample.take(label("__name__").unwrap_or_default(), label, value);
        }
    }
    readings
}

fn name(series: &Series) -> Option<&str> {
    let label = |name: &str| series.metric.get(name);
    label("node")
        .or_else(|| label("instance"))
        .map(String::as_str)
}

fn number(series: &Series) -> Option<f64> {
    series.value.1.parse().ok()
}

async fn query(client: &HttpClient, url: &str, query: &str) -> Result<Vec<Series>, Unread> {
    let page = format!(
        "{}/api/v1/query?query={}",
        url.trim_end_matches('/'),
        escaped(query)
    );
    let failed = |why: String| Unread::Prometheus(format!("{url}: {why}"));
    let page: Uri = page
        .parse()
        .map_err(|_| failed("no usable URL".to_owned()))?;
    let answer = client.get(page, PATIENCE, ANSWER_MAX).await;
    let answer = answer.map_err(|error| failed(error.to_string()))?;
    let read: Result<Answer, _> = serde_json::from_slice(&answer.body);
    match read {
        Ok(read) if read.status == "success" => Ok(read.data.result),
        Ok(read) => Err(failed(read.error.unwrap_or(read.status))),
        Err(_) if answer.status != StatusCode::OK => Err(failed(answer.status.to_string())),
        Err(error) => Err(failed(error.to_string())),
    }
}

/// Where a node says that its metrics are, for comparing: nobody is asked there. One that listens everywhere is found where its link is.
fn instance(node: &MediaNode) -> Option<SocketAddr> {
    let said = node.link.hello()?.metrics?;
    match said.ip().is_unspecified() {
        true => Some(SocketAddr::new(node.ip(), said.port())),
        false => Some(said),
    }
}

/// Everything but letters and digits in the form that queries have (RFC 3986 §2.1).
fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte.is_ascii_alphanumeric() {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}

fn take(
    app: &App,
    asked: Instant,
    readings: &Result<HashMap<String, Reading>, Unread>,
    read: &mut HashMap<NodeId, Instant>,
    trouble: &mut Trouble,
) {
    app.step(|core| {
        let nodes = core
            .registry
            .nodes()
            .iter()
            .filter(|node| node.link.is_up());
        let nodes: Vec<_> = nodes
            .map(|node| {
                let address = instance(node).map(|address| address.to_string());
                let workers = node.link.hello().map_or(1, |hello| hello.capacity.workers);
                (node.id.clone(), address, workers)
            })
            .collect();
        for (node, address, workers) in nodes {
            let readings = match readings {
                Ok(readings) => readings,
                Err(error) => {
                    trouble.again(&node, error);
                    continue;
                }
            };
            let by_address = || address.as_ref().and_then(|address| readings.get(address));
            let Some((sample, age)) = readings.get(node.as_str()).or_else(by_address) else {
                let error = Unread::Prometheus("Prometheus does not know it".to_owned());
                app.metrics.load_read("unknown");
                trouble.again(&node, &error);
                continue;
            };
            trouble.over(&node);
            let at = asked.checked_sub(*age).unwrap_or(asked);
            // The same reading again, to a few milliseconds: two clocks measure its age.
            let known = read.get(&node).copied();
            if known.is_some_and(|known| at < known + app.config().load_interval / 4) {
                continue;
            }
            read.insert(node.clone(), at);
            app.metrics.load_read("ok");
            core.loads
                .sampled(Instant::now(), &node, at, sample.clone(), workers);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(text: &str) -> Vec<Series> {
        let answer: Answer = serde_json::from_str(text).expect("an answer");
        answer.data.result
    }

    #[test]
    fn answers_are_put_together_by_node_or_instance() {
        let times = series(
            r#"{"status":"success","data":{"resultType":"vector","result":[
            {"metric":{"instance":"10.0.0.1:9092","job":"nodes"},"value":[1000.5,"999"]},
            {"metric":{"instance":"10.0.0.2:9092","node":"media_2"},"value":[1000.5,"1000.5"]},
            {"metric":{"job":"odd"},"value":[1000.5,"1000.5"]}]}}"#,
        );
        let values = series(
            r#"{"status":"success","data":{"result":[
            {"metric":{"__name__":"ringcast_node_ready","instance":"10.0.0.1:9092"},"value":[1000.5,"1"]},
            {"metric":{"__name__":"ringcast_node_transports","instance":"10.0.0.1:9092","state":"new"},"value":[1000.5,"7"]},
            {"metric":{"__name__":"ringcast_node_transports","instance":"10.0.0.1:9092","state":"connected"},"value":[1000.5,"5"]},
            {"metric":{"__name__":"ringcast_node_transports","instance":"10.0.0.9:9092"},"value":[1000.5,"5"]}]}}"#,
        );
        let readings = readings(&values, &times);
        assert_eq!(readings.len(), 2);
        let (sample, age) = &readings["10.0.0.1:9092"];
        assert_eq!(*age, Duration::from_millis(1500));
        assert!(sample.is_of_a_node());
        assert_eq!(sample.report(None, 1).transports, 12.0);
        assert_eq!(readings["media_2"].1, Duration::ZERO);
    }

    #[test]
    fn queries_are_escaped() {
        assert_eq!(escaped("up{a=\"b|c\"}"), "up%7Ba%3D%22b%7Cc%22%7D");
    }
}
