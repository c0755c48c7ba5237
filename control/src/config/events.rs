//! What is configured of webhooks and call detail records, understood.

use std::net::IpAddr;

use hyper::Uri;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};

use super::openvidu::number;
use super::{Config, Error, value};
use crate::events::NAMES;
use crate::http_client::internal;

/// The smallest file of call detail records, in octets.
const CDR_FILE_MIN: u64 = 4096;
/// Most webhook requests at a time.
const PARALLEL_MAX: usize = 256;

impl Config {
    /// Where events are posted; none: nowhere.
    ///
    /// # Errors
    /// [`Error::Value`] when it is no URL that events can be posted to.
    pub fn webhook_uri(&self) -> Result<Option<Uri>, Error> {
        let Some(text) = &self.webhook_endpoint else {
            return Ok(None);
        };
        let bad = |why: String| value("webhook_endpoint", why);
        // What is none may be anything, with a password in it: it is not printed.
        let not_one = || bad("it is not http(s)://HOST[:PORT]/PATH".to_owned());
        let uri: Uri = text.expose().parse().map_err(|_| not_one())?;
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
        if !is_http || uri.host().is_none_or(str::is_empty) {
            return Err(not_one());
        }
        if authority.contains('@') {
            let why = "a name and a password belong into webhook_headers (Authorization: Basic …)";
            return Err(bad(why.to_owned()));
        }
        let host = uri.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        // Names are judged by what they resolve to, each time anew; of these it is known.
        let known = match host.parse::<IpAddr>() {
            Ok(address) => internal(address),
            Err(_) => {
                // RFC 6761 §6.3.
                let name = host.trim_end_matches('.').to_ascii_lowercase();
                let is_local = name == "localhost" || name.ends_with(".localhost");
                is_local.then_some("a loopback address")
            }
        };
        match known {
            Some(what) if !self.webhook_allow_internal => Err(bad(format!(
                "'{host}' is {what}; if that is meant, set webhook_allow_internal"
            ))),
            _ => Ok(Some(uri)),
        }
    }

    /// The headers of webhook requests.
    ///
    /// # Errors
    /// [`Error::Value`] naming the one that is none.
    pub fn webhook_header_map(&self) -> Result<HeaderMap, Error> {
        let mut headers = HeaderMap::new();
        for (index, text) in self.webhook_headers.iter().enumerate() {
            // The value may be a secret, and so may all of what is no header: it is called by its place.
            let bad = |why| value("webhook_headers", format!("number {}: {why}", index + 1));
            let Some((name, header)) = text.split_once(':') else {
                return Err(bad("not of the form \"Name: value\""));
            };
            let parsed: HeaderName = name.trim().parse().map_err(|_| bad("not a name"))?;
            let mut header = HeaderValue::from_str(header.trim()).map_err(|_| bad("its value"))?;
            header.set_sensitive(true);
            if header.is_empty() {
                return Err(bad("not of the form \"Name: value\""));
            }
            headers.append(parsed, header);
        }
        Ok(headers)
    }

    /// The events that go to the webhook.
    pub fn webhook_events_or_all(&self) -> Vec<&str> {
        match self.webhook_events.is_empty() {
            true => NAMES.to_vec(),
            false => self.webhook_events.iter().map(String::as_str).collect(),
        }
    }

    pub(super) fn check_events(&self, found: &mut Vec<Error>) {
        found.extend(self.webhook_uri().err());
        found.extend(self.webhook_header_map().err());
        let mut wanted = self.webhook_events.iter();
        if let Some(unknown) = wanted.find(|name| !NAMES.contains(&name.as_str())) {
            let why = format!("'{unknown}' is not one of {}", NAMES.join(", "));
            found.push(value("webhook_events", why));
        }
        if !(1..=PARALLEL_MAX).contains(&self.webhook_parallel) {
            let why = format!("must be between 1 and {PARALLEL_MAX}");
            found.push(value("webhook_parallel", why));
        }
        for (key, most) in [
            ("webhook_backlog_max", self.webhook_backlog_max),
            ("cdr_backlog_max", self.cdr_backlog_max),
        ] {
            if most == 0 {
                found.push(value(key, "must be at least 1"));
            }
        }
        if self.cdr_file_size_max < CDR_FILE_MIN {
            let why = format!("must be at least {CDR_FILE_MIN}");
            found.push(value("cdr_file_size_max", why));
        }
    }
}

/// What `OPENVIDU_WEBHOOK` and its companions say.
#[derive(Default)]
pub(super) struct Webhook {
    pub(super) endpoint: Option<String>,
    pub(super) headers: Option<Vec<String>>,
    pub(super) events: Option<Vec<String>>,
}

/// Reads them.
///
/// # Errors
/// [`Error::Value`] naming the variable.
pub(super) fn webhook(get: &impl Fn(&str) -> Option<String>) -> Result<Webhook, Error> {
    // All are asked for, so that all count as understood.
    let endpoint = get("OPENVIDU_WEBHOOK_ENDPOINT");
    let (headers, events) = (
        get("OPENVIDU_WEBHOOK_HEADERS"),
        get("OPENVIDU_WEBHOOK_EVENTS"),
    );
    if number(get, "OPENVIDU_WEBHOOK")? != Some(true) {
        return Ok(Webhook::default());
    }
    let endpoint = endpoint.ok_or_else(|| {
        let why = "is not set, but OPENVIDU_WEBHOOK is true";
        value("OPENVIDU_WEBHOOK_ENDPOINT", why)
    })?;
    let headers = headers.map(|text| {
        let list: Result<Vec<String>, _> = serde_json::from_str(&text);
        // The text itself may be a secret.
        list.map_err(|_| {
            let why = "is not a JSON list of texts, [\"Name: value\"]";
            value("OPENVIDU_WEBHOOK_HEADERS", why)
        })
    });
    Ok(Webhook {
        endpoint: Some(endpoint),
        headers: headers.transpose()?,
        events: events.map(|text| names(&text)),
    })
}

/// A list with or without brackets and quotes: it is written in many ways.
fn names(text: &str) -> Vec<String> {
    let marks = ['[', ']', '"', '\'', '\\', ' ', '\t'];
    let names = text.split(',').map(|name| name.trim_matches(marks));
    names
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Settings, openvidu};
    use super::*;

    fn load(toml: &str, env: &[(&str, &str)]) -> Result<Config, Error> {
        let file = format!("secret = 's'\n{toml}");
        let file: Settings = toml::from_str(&file).expect("known keys");
        let get = |name: &str| {
            let mut all = env.iter();
            let found = all.find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        openvidu::settings(get)?.over(file).checked()
    }

    #[test]
    fn webhooks_are_read_as_openvidu_deployments_write_them() {
        let env = [
            ("OPENVIDU_WEBHOOK", "true"),
            (
                "OPENVIDU_WEBHOOK_ENDPOINT",
                "https://app.example/events?k=1",
            ),
            (
                "OPENVIDU_WEBHOOK_HEADERS",
                r#"["Authorization: Basic eDp5"]"#,
            ),
            (
                "OPENVIDU_WEBHOOK_EVENTS",
                r#"["sessionCreated","nodeCrashed"]"#,
            ),
            ("OPENVIDU_CDR", "true"),
        ];
        let config = load("", &env).expect("good");
        let uri = config.webhook_uri().expect("good").expect("set");
        assert_eq!(uri, "https://app.example/events?k=1");
        let headers = config.webhook_header_map().expect("good");
        assert_eq!(headers["authorization"], "Basic eDp5");
        assert_eq!(config.webhook_events, ["sessionCreated", "nodeCrashed"]);
        assert_eq!(
            config.cdr_path.as_deref(),
            Some("/opt/openvidu/cdr".as_ref())
        );
        let printed = toml::to_string(&config).expect("printable");
        assert!(printed.contains("Authorization: ***") && !printed.contains("eDp5"));
        let off = [("OPENVIDU_WEBHOOK", "false"), env[1], env[2], env[3]];
        assert_eq!(load("", &off).expect("good").webhook_endpoint, None);
        assert_eq!(names("[a, b]"), ["a", "b"]);
        assert_eq!(names("[]"), Vec::<String>::new());
    }

    #[test]
    fn mistakes_are_named() {
        for (toml, names) in [
            ("webhook_endpoint = 'app.example'", "http(s)://"),
            ("webhook_endpoint = 'ftp://app.example/'", "http(s)://"),
            (
                "webhook_endpoint = 'http://u:p@app.example/'",
                "webhook_headers",
            ),
            (
                "webhook_endpoint = 'http://127.0.0.1:7777/'",
                "webhook_allow_internal",
            ),
            (
                "webhook_endpoint = 'http://[::ffff:10.0.0.1]/'",
                "webhook_allow_internal",
            ),
            (
                "webhook_endpoint = 'http://localhost/'",
                "webhook_allow_internal",
            ),
            (
                "webhook_endpoint = 'http://App.LocalHost.:80/'",
                "webhook_allow_internal",
            ),
            ("webhook_headers = ['a: b', 'no']", "number 2: not of"),
            ("webhook_headers = ['a b: c']", "number 1: not a name"),
            ("webhook_headers = ['a:']", "number 1: not of"),
            ("webhook_events = ['sessionMade']", "sessionCreated"),
            ("webhook_parallel = 0", "webhook_parallel"),
            ("cdr_file_size_max = 1", "cdr_file_size_max"),
        ] {
            let error = load(toml, &[]).expect_err(toml).to_string();
            assert!(error.contains(names), "{toml}: {error}");
        }
        for toml in [
            "webhook_endpoint = 'ftp://user:SECRET@app.example/'",
            "webhook_endpoint = 'user:SECRET@app.example'",
            "webhook_endpoint = 'https://user:SECRET@app example/'",
            "webhook_endpoint = 'https://user:SECRET@app.example/'",
            "webhook_headers = ['Basic SECRET']",
            "webhook_headers = ['Basic SECRET: x']",
            "webhook_headers = ['SECRET:']",
            "webhook_headers = [\"a: SECRET\\u0007\"]",
        ] {
            let error = load(toml, &[]).expect_err(toml).to_string();
            assert!(!error.contains("SECRET"), "{toml}: {error}");
        }
        let half = [("OPENVIDU_WEBHOOK", "true")];
        assert!(load("", &half).is_err());
        let allowed = "webhook_endpoint = 'http://localhost/'\nwebhook_allow_internal = true";
        assert!(load(allowed, &[]).is_ok());
    }
}
