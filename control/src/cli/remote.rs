//! A running master, as operators' commands reach it: by its REST API, with its secret.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use clap::{Args, Parser};
use hyper::{Method, Request, StatusCode, Uri, header};
use serde_json::Value;

use crate::config::{Config, Environment, Secret};
use crate::http_client::{Error, HttpClient, Options, Reach};
use crate::tls;

/// How long an answer may take: longer than the master itself takes for anything.
const PATIENCE: Duration = Duration::from_secs(40);
/// The longest answer that is read, bytes: all sessions of a large cluster.
const ANSWER_MAX: usize = 512 * 1024 * 1024;

/// Where the master is, and how one gets in. What is not said is looked up in the configuration of the master on this machine.
#[derive(Args, Clone, Debug)]
pub struct Access {
    /// The master, https://HOST[:PORT] [default: the one that is configured on this machine].
    #[arg(long, env = "RINGCAST_MASTER_URL")]
    url: Option<String>,
    /// The password of OPENVIDUAPP [default: the configured one]. Others on this machine see what is given as a flag.
    #[arg(long, env = "RINGCAST_MASTER_SECRET", hide_env_values = true, value_parser = secret)]
    secret: Option<Secret>,
    /// The configuration file of the master.
    #[arg(long, env = "RINGCAST_MASTER_CONFIG")]
    config: Option<PathBuf>,
    /// PEM file of the certificate authority that vouches for the master [default: this machine's, or the master's own certificate in its
    /// data directory].
    #[arg(long)]
    ca: Option<PathBuf>,
    /// Print JSON.
    #[arg(long, global = true)]
    pub json: bool,
}

/// How the master's log of changes tells these commands from applications.
const AGENT: &str = concat!("ringcast-master/", env!("CARGO_PKG_VERSION"));

/// A way to a running master.
pub struct Remote {
    client: HttpClient,
    url: String,
    authorization: String,
}

/// What it answered.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its body; null: none.
    pub body: Value,
}

impl Remote {
    /// Finds out where the master is and how one gets in.
    ///
    /// # Errors
    /// When that can't be found out, with what is missing.
    pub fn new(access: &Access) -> anyhow::Result<Self> {
        let config = match (&access.url, &access.secret) {
            (Some(_), Some(_)) if access.config.is_none() => None,
            _ => Some(configured(access.config.as_deref()).context(
                "read the configuration of the master on this machine (--config or RINGCAST_MASTER_CONFIG); or give --url and --secret",
            )?),
        };
        let url = match (&access.url, &config) {
            (Some(url), _) => url.trim_end_matches('/').to_owned(),
            (None, Some(config)) => url_of(config),
            (None, None) => bail!("--url is missing"),
        };
        let secret = access.secret.clone().filter(|one| !one.expose().is_empty());
        let secret = secret.or_else(|| config.as_ref().map(|config| config.secret.clone()));
        let Some(secret) = secret else {
            bail!("--secret is missing")
        };
        let own = config.as_ref().and_then(tls::own_certificate);
        let ca = access.ca.clone().or(own.filter(|path| path.exists()));
        let client = HttpClient::new(&Options {
            reach: Reach::Everywhere,
            ca,
        })?;
        let user = STANDARD.encode(format!("OPENVIDUAPP:{}", secret.expose()));
        Ok(Self {
            client,
            url,
            authorization: format!("Basic {user}"),
        })
    }

    /// Where the master is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Asks. A status that is no success is an answer too, but for a wrong secret.
    ///
    /// # Errors
    /// When no master answers there, or it does not let us in.
    pub async fn ask(&self, method: Method, path: &str, body: &Value) -> anyhow::Result<Answer> {
        let uri: Uri = format!("{}/openvidu/api{path}", self.url)
            .parse()
            .with_context(|| format!("'{}' is no URL of a master", self.url))?;
        let body = match body {
            Value::Null => Bytes::new(),
            body => body.to_string().into(),
        };
        let request = Request::builder()
            .method(method)
            .uri(uri)
            .header(header::AUTHORIZATION, &self.authorization)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, AGENT)
            .body(body)
            .context("make the request")?;
        let answer = self.client.send(request, PATIENCE, ANSWER_MAX).await;
        let answer = answer.map_err(|error| {
            let hint = match &error {
                Error::Failed(why) if why.contains("certificate") => {
                    " whose certificate we trust (--ca or --config say whom to trust)"
                }
                _ => "",
            };
            anyhow::Error::new(error).context(format!("no master answers at {}{hint}", self.url))
        })?;
        match answer.status {
            StatusCode::UNAUTHORIZED => bail!("the master at {} refuses the secret", self.url),
            StatusCode::TOO_MANY_REQUESTS => {
                bail!(
                    "the master at {} has heard too many wrong secrets from here; try later",
                    self.url
                )
            }
            status => {
                let text = String::from_utf8_lossy(&answer.body);
                let plain = || Value::String(text.clone().into_owned());
                let body = match text.is_empty() {
                    true => Value::Null,
                    false => serde_json::from_str(&text).unwrap_or_else(|_| plain()),
                };
                Ok(Answer { status, body })
            }
        }
    }

    /// Asks for something that is to be there.
    ///
    /// # Errors
    /// As [`Remote::ask`], and for every status but 200.
    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let answer = self.ask(Method::GET, path, &Value::Null).await?;
        match answer.status {
            StatusCode::OK => Ok(answer.body),
            _ => Err(answer.into_error(path)),
        }
    }
}

impl Answer {
    /// The answer as an error, in the master's own words if it has any.
    pub fn into_error(self, what: &str) -> anyhow::Error {
        match self.body["message"].as_str() {
            Some(message) => anyhow::anyhow!("{what}: {message}"),
            None => anyhow::anyhow!("{what}: the master answers {}", self.status),
        }
    }
}

/// Reads the configuration as the master does: the file, and the environment over it.
fn configured(file: Option<&Path>) -> anyhow::Result<Config> {
    /// The settings of the environment alone.
    #[derive(Parser)]
    struct Silent {
        #[command(flatten)]
        settings: crate::config::Settings,
    }
    let settings = Silent::try_parse_from(["ringcast-master"])?.settings;
    let environment = Environment::of_process();
    Ok(Config::load(file, settings, |name| environment.get(name))?)
}

/// How the master on this machine is reached from it. Where it shows a certificate of the operator's, that is for the public name.
fn url_of(config: &Config) -> String {
    if let (Some(url), Some(_)) = (&config.public_url, &config.certificate) {
        return url.trim_end_matches('/').to_owned();
    }
    let ip = match config.listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::from([127, 0, 0, 1]),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]),
        ip => ip,
    };
    let address = std::net::SocketAddr::new(ip, config.listen.port());
    format!("{}://{address}", config.scheme())
}

fn secret(text: &str) -> Result<Secret, std::convert::Infallible> {
    Ok(Secret::new(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    fn config(toml: &str) -> Config {
        let settings: Settings = toml::from_str(&format!("secret = 's'\n{toml}")).expect("good");
        Config::load(None, settings, |_| None).expect("good")
    }

    #[test]
    fn the_master_of_this_machine_is_found_by_its_configuration() {
        for (toml, url) in [
            ("", "https://127.0.0.1:4443"),
            (
                "plain_http = true\nlisten = '10.0.0.1:80'",
                "http://10.0.0.1:80",
            ),
            ("listen = '[::]:443'", "https://[::1]:443"),
            (
                "public_url = 'https://call.example'",
                "https://127.0.0.1:4443",
            ),
            (
                "public_url = 'https://call.example/'\ncertificate = 'c'\nprivate_key = 'k'",
                "https://call.example",
            ),
        ] {
            assert_eq!(url_of(&config(toml)), url, "{toml}");
        }
    }
}
