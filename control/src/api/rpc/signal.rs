//! `sendMessage`: signals between users.

use serde_json::{Map, Value};

use super::Call;
use super::sessions::Member;
use crate::domain::{Code, ConnectionId, Refused};

/// `sendMessage`
pub fn send(call: &Call, member: &Member) {
    let signal = match call.request.text("message").map(parse) {
        Ok(Ok(signal)) => signal,
        Ok(Err(refused)) | Err(refused) => return call.refuse(refused),
    };
    call.finish(|core| {
        core.domain.signal(
            &member.0,
            Some(&member.1),
            &signal.to,
            signal.kind.as_deref(),
            signal.data.as_deref(),
        )?;
        Ok(Map::new())
    });
}

struct Signal {
    to: Vec<ConnectionId>,
    kind: Option<String>,
    data: Option<String>,
}

fn parse(message: &str) -> Result<Signal, Refused> {
    let bad = |why: &str| Refused::new(Code::SignalFormat, format!("Malformed signal: {why}"));
    let Ok(Value::Object(message)) = serde_json::from_str(message) else {
        return Err(bad("not a JSON object"));
    };
    let text = |name: &str| match message.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(bad(&format!("'{name}' is not a text"))),
    };
    let to = match message.get("to") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(to)) => to
            .iter()
            .map(|one| one.as_str().map(ConnectionId::new))
            .collect::<Option<_>>()
            .ok_or_else(|| bad("'to' holds something else than texts"))?,
        Some(_) => return Err(bad("'to' is not a list")),
    };
    Ok(Signal {
        to,
        kind: text("type")?,
        data: text("data")?,
    })
}
