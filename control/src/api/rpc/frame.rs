//! JSON-RPC 2.0 as `openvidu-browser` speaks it: reading requests, writing answers and notifications.

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::domain::{Code, ConnectionId, Notification, Reason, Refused, Stream};
use crate::store::Unwritten;

/// The longest frame that is read, bytes.
pub const FRAME_MAX: usize = 1024 * 1024;

/// A request of a client.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Its number, given back in the answer. None: a notification, which is not answered.
    pub id: Option<Value>,
    /// What is asked.
    pub method: String,
    /// With what; empty when the client sent none.
    pub params: Map<String, Value>,
}

impl Request {
    /// Reads a frame.
    ///
    /// # Errors
    /// The number of the frame as far as it can be read, and code 801.
    pub fn parse(text: &str) -> Result<Self, (Option<Value>, Refused)> {
        let bad = |id, why: &str| {
            (
                id,
                Refused::new(Code::TransportRequest, format!("Malformed request: {why}")),
            )
        };
        if text.len() > FRAME_MAX {
            return Err(bad(None, "too long"));
        }
        let value: Value = serde_json::from_str(text).map_err(|_| bad(None, "not JSON"))?;
        let Value::Object(mut object) = value else {
            return Err(bad(None, "not an object"));
        };
        let id = match object.remove("id") {
            None | Some(Value::Null) => None,
            Some(id @ (Value::Number(_) | Value::String(_))) => Some(id),
            Some(_) => return Err(bad(None, "'id' is neither number nor text")),
        };
        let Some(Value::String(method)) = object.remove("method") else {
            return Err(bad(id, "'method' is missing"));
        };
        let params = match object.remove("params") {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(params)) => params,
            Some(_) => return Err(bad(id, "'params' is not an object")),
        };
        Ok(Self { id, method, params })
    }

    /// A text parameter.
    ///
    /// # Errors
    /// Code 801 when it is missing or something else.
    pub fn text(&self, name: &str) -> Result<&str, Refused> {
        self.optional_text(name)
            .ok_or_else(|| missing(name, "a text"))
    }

    /// A text parameter that may be missing.
    pub fn optional_text(&self, name: &str) -> Option<&str> {
        self.params.get(name).and_then(Value::as_str)
    }

    /// A truth that is false when missing.
    pub fn flag(&self, name: &str) -> bool {
        self.params
            .get(name)
            .and_then(Value::as_bool)
            .unwrap_or(false)
    }
}

fn missing(name: &str, what: &str) -> Refused {
    let text = format!("Parameter '{name}' must be {what}");
    Refused::new(Code::TransportRequest, text)
}

/// The answer to a request that went well. `result` must become an object: clients choke on `null`.
pub fn success(id: &Value, result: &impl Serialize) -> String {
    #[derive(Serialize)]
    struct Success<'a, T> {
        id: &'a Value,
        result: &'a T,
        jsonrpc: &'static str,
    }
    let answer = Success {
        id,
        result,
        jsonrpc: "2.0",
    };
    serde_json::to_string(&answer)
        .expect("results have text for keys and nothing else that JSON lacks")
}

/// The answer to a request that was refused. It has no `result` at all: clients drop an answer with both.
pub fn failure(id: &Value, refused: &Refused) -> String {
    let error = json!({"code": refused.code as i64, "message": refused.to_string()});
    json!({"id": id, "error": error, "jsonrpc": "2.0"}).to_string()
}

/// The same answer, but what it tells of could not be kept.
pub fn unwritten(answer: &str, why: &Unwritten) -> String {
    let answer: Value = serde_json::from_str(answer).unwrap_or_default();
    let refused = Refused::new(Code::Generic, format!("Not done: {why}"));
    failure(answer.get("id").unwrap_or(&Value::Null), &refused)
}

/// A message that nobody asked for.
pub fn notification(notification: &Notification) -> String {
    let (method, params) = method_and_params(notification);
    json!({"jsonrpc": "2.0", "method": method, "params": params}).to_string()
}

fn method_and_params(notification: &Notification) -> (&'static str, Value) {
    match notification {
        Notification::ParticipantJoined {
            id,
            created_at,
            metadata,
        } => (
            "participantJoined",
            json!({"id": id, "createdAt": created_at, "metadata": metadata}),
        ),
        Notification::ParticipantPublished { id, stream: live } => (
            "participantPublished",
            json!({"id": id, "streams": [stream(live)]}),
        ),
        Notification::ParticipantUnpublished {
            connection_id,
            reason,
        } => ("participantUnpublished", gone(connection_id, *reason)),
        Notification::ParticipantLeft {
            connection_id,
            reason,
        } => ("participantLeft", gone(connection_id, *reason)),
        Notification::ParticipantEvicted {
            connection_id,
            reason,
        } => ("participantEvicted", gone(connection_id, *reason)),
        Notification::SendMessage { from, kind, data } => {
            ("sendMessage", signal(from.as_ref(), kind, data))
        }
        Notification::StreamPropertyChanged {
            connection_id,
            stream_id,
            property,
            new_value,
            reason,
        } => (
            "streamPropertyChanged",
            json!({
                "connectionId": connection_id,
                "streamId": stream_id,
                "property": property,
                "newValue": new_value,
                "reason": reason,
            }),
        ),
        Notification::NetworkQualityLevelChanged {
            connection_id,
            new_value,
            old_value,
        } => (
            "networkQualityLevelChanged",
            json!({"connectionId": connection_id, "newValue": new_value, "oldValue": old_value}),
        ),
        Notification::ForciblyReconnectSubscriber {
            connection_id,
            stream_id,
            sdp_offer,
        } => (
            "forciblyReconnectSubscriber",
            json!({"connectionId": connection_id, "streamId": stream_id, "sdpOffer": sdp_offer}),
        ),
        Notification::ConnectionPropertyChanged {
            property,
            new_value,
        } => (
            "connectionPropertyChanged",
            json!({"property": property, "newValue": new_value}),
        ),
    }
}

fn gone(connection: &ConnectionId, reason: Reason) -> Value {
    json!({"connectionId": connection, "reason": reason.as_str()})
}

/// A missing `from` means the server; a null one would be a sender that the client does not know.
fn signal(from: Option<&ConnectionId>, kind: &Option<String>, data: &Option<String>) -> Value {
    let fields = [
        ("from", from.map(ConnectionId::as_str)),
        ("type", kind.as_deref()),
        ("data", data.as_deref()),
    ];
    fields
        .into_iter()
        .filter_map(|(name, text)| Some((name.to_owned(), json!(text?))))
        .collect::<Map<_, _>>()
        .into()
}

/// A stream as clients know it. `videoDimensions` stays a text: an object crashes them.
pub fn stream(stream: &Stream) -> Value {
    let properties = &stream.properties;
    let mut value = json!({
        "id": stream.id,
        "createdAt": stream.created_at,
        "hasAudio": properties.has_audio,
        "hasVideo": properties.has_video,
        "filter": properties.filter.clone().unwrap_or_else(|| json!({})),
    });
    let optional = [
        ("audioActive", properties.audio_active.map(Value::from)),
        ("videoActive", properties.video_active.map(Value::from)),
        (
            "typeOfVideo",
            properties.type_of_video.clone().map(Value::from),
        ),
        ("frameRate", properties.frame_rate.map(Value::from)),
        (
            "videoDimensions",
            properties.video_dimensions.clone().map(Value::from),
        ),
    ];
    for (name, one) in optional {
        if let Some(one) = one {
            value[name] = one;
        }
    }
    value
}

/// The body of the fuzz target: any bytes either read as a request or are refused, and the refusal can be written.
pub fn fuzz(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    match Request::parse(text) {
        Ok(request) => {
            for name in ["session", "token", "sdpOffer", "message"] {
                // Whatever it is, it is not mistaken for a text.
                let found = request.optional_text(name).is_some();
                assert_eq!(found, request.text(name).is_ok());
            }
            let id = request.id.unwrap_or_default();
            let answer = success(&id, &request.params);
            assert!(serde_json::from_str::<Value>(&answer).is_ok());
        }
        Err((id, refused)) => {
            let answer = failure(&id.unwrap_or_default(), &refused);
            assert!(serde_json::from_str::<Value>(&answer).is_ok());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_the_client_are_read() {
        let ping = r#"{"jsonrpc":"2.0","method":"ping","id":7}"#;
        let request = Request::parse(ping).expect("good");
        assert_eq!(request.id, Some(json!(7)));
        assert!(request.params.is_empty());
    }

    #[test]
    fn garbage_is_refused_with_its_number_if_it_has_one() {
        for (text, id) in [
            ("", None),
            ("[]", None),
            ("{}", None),
            (r#"{"id":3}"#, Some(json!(3))),
            (r#"{"id":3,"method":"x","params":[]}"#, Some(json!(3))),
            (r#"{"id":{},"method":"x"}"#, None),
            (&"[".repeat(200_000), None),
        ] {
            let (got, refused) = Request::parse(text).expect_err("garbage");
            assert_eq!(got, id);
            assert_eq!(refused.code, Code::TransportRequest);
        }
    }

    #[test]
    fn an_answer_has_exactly_one_of_result_and_error() {
        let good: Value = serde_json::from_str(&success(&json!(1), &Map::new())).expect("JSON");
        assert!(good.get("error").is_none() && good["result"].is_object());
        let refused = Refused::new(Code::Sdp, "no");
        let bad: Value = serde_json::from_str(&failure(&json!(1), &refused)).expect("JSON");
        assert!(bad.get("result").is_none());
        assert_eq!(bad["error"]["code"], 302);
        assert_eq!(bad["error"]["message"], "no. Code: 302");
    }

    #[test]
    fn mangled_frames_neither_panic_nor_pass_for_others() {
        use crate::domain::Chance as _;
        let mut chance = crate::domain::ids::testing::Seeded(3);
        let frames = [
            r#"{"jsonrpc":"2.0","method":"ping","params":{"interval":5000},"id":0}"#,
            r#"{"jsonrpc":"2.0","method":"joinRoom","params":{"token":"wss://h?sessionId=S&token=tok_X","session":"S"},"id":1}"#,
            r#"{"jsonrpc":"2.0","method":"sendMessage","params":{"message":"{\"to\":[],\"data\":\"\\u00e9\"}"},"id":"a"}"#,
        ];
        for frame in frames {
            fuzz(frame.as_bytes());
            for _ in 0..5_000 {
                let mut bytes = frame.as_bytes().to_vec();
                for _ in 0..=chance.next_u64() % 4 {
                    let at = (chance.next_u64() % bytes.len() as u64) as usize;
                    match chance.next_u64() % 3 {
                        0 => bytes[at] = chance.next_u64() as u8,
                        1 => bytes.truncate(at + 1),
                        _ => bytes.insert(at, b"{}[]\",:\\0e"[at % 10]),
                    }
                }
                fuzz(&bytes);
            }
        }
    }
}
