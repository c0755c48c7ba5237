use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Method, Request, header};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};

use super::{Endpoint, Error};

/// The user name of the API.
const USER: &str = "OPENVIDUAPP";
/// The largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// HTTP says so when a session exists already.
const CONFLICT: i64 = 409;

/// What somebody may do in a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Publish and subscribe.
    Publisher,
    /// Subscribe only.
    Subscriber,
}

/// Lets somebody into a session, once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The session's id.
    pub session: String,
    /// The token: a URL.
    pub url: String,
}

/// An application with the secret of the REST API.
#[derive(Clone, Debug)]
pub struct Application {
    endpoint: Endpoint,
    authorization: String,
}

impl Application {
    /// An application of the master at `endpoint`.
    pub fn new(endpoint: Endpoint, secret: &str) -> Self {
        let credentials = BASE64_STANDARD.encode(format!("{USER}:{secret}"));
        Self {
            endpoint,
            authorization: format!("Basic {credentials}"),
        }
    }

    /// Where the master is.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Whether master and media nodes are up.
    pub async fn is_healthy(&self) -> bool {
        self.call(Method::GET, "/health", None).await.is_ok()
    }

    /// Makes a session with this id; one that exists is as good.
    ///
    /// # Errors
    /// If the master refuses or cannot be reached.
    pub async fn create_session(&self, id: &str) -> Result<(), Error> {
        let body = json!({ "customSessionId": id });
        match self.call(Method::POST, "/sessions", Some(body)).await {
            Ok(_) | Err(Error::Refused { code: CONFLICT, .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Makes a connection for somebody to join with.
    ///
    /// # Errors
    /// If the master refuses or cannot be reached.
    pub async fn create_connection(&self, session: &str, role: Role) -> Result<Token, Error> {
        let role = match role {
            Role::Publisher => "PUBLISHER",
            Role::Subscriber => "SUBSCRIBER",
        };
        let path = format!("/sessions/{session}/connection");
        let body = json!({ "type": "WEBRTC", "role": role });
        let answer = self.call(Method::POST, &path, Some(body)).await?;
        let url = answer.get("token").and_then(Value::as_str);
        let url = url.ok_or_else(|| Error::protocol(&path, "a connection without a token"))?;
        Ok(Token {
            session: session.to_owned(),
            url: url.to_owned(),
        })
    }

    /// Ends a session: everybody in it is evicted.
    ///
    /// # Errors
    /// If the master refuses or cannot be reached.
    pub async fn delete_session(&self, id: &str) -> Result<(), Error> {
        let path = format!("/sessions/{id}");
        self.call(Method::DELETE, &path, None).await.map(|_| ())
    }

    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value, Error> {
        let doing = format!("{method} {path}");
        let call = self.exchange(method, path, body, &doing);
        let answered = tokio::time::timeout(PATIENCE, call).await;
        answered.unwrap_or_else(|_| Err(Error::Late(doing.clone())))
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
        doing: &str,
    ) -> Result<Value, Error> {
        let stream = self.endpoint.connect().await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| Error::protocol(doing, error))?;
        // It ends when the sender is dropped; what is wrong with it is seen there, too.
        tokio::spawn(connection);
        let body = body.map_or_else(String::new, |body| body.to_string());
        let request = Request::builder()
            .method(method)
            .uri(format!("/openvidu/api{path}"))
            .header(header::HOST, self.endpoint.authority())
            .header(header::AUTHORIZATION, &self.authorization)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| Error::protocol(doing, error))?;
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| Error::protocol(doing, error))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX);
        let body = body
            .collect()
            .await
            .map_err(|error| Error::protocol(doing, error))?
            .to_bytes();
        if !status.is_success() {
            return Err(Error::Refused {
                doing: doing.to_owned(),
                code: status.as_u16().into(),
                message: String::from_utf8_lossy(&body).into_owned(),
            });
        }
        // Some answers have no body.
        Ok(serde_json::from_slice(&body).unwrap_or(Value::Null))
    }
}
