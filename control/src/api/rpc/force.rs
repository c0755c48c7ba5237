//! Subscribers that have to negotiate a stream anew (`forciblyReconnectSubscriber`): when what is sent to them can't go on as it was
//! agreed on, and the application does not have to notice.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::sessions::Member;
use super::subscribe;
use crate::app::App;
use crate::domain::{ConnectionId, Refused, SessionId, StreamId};

/// Most subscribers whose transports are made at a time.
const AT_A_TIME: usize = 32;

/// Offers a subscriber the stream on a new transport. What it has goes on until it answers (`reconnectStream`).
///
/// # Errors
/// When it does not receive the stream, or the node can't make the transport.
pub async fn reconnect(app: &App, member: &Member, stream: &StreamId) -> Result<(), Refused> {
    let is_received = app.step(|core| core.received(member).contains(stream));
    if !is_received {
        let text = format!("Connection '{}' does not receive '{stream}'", member.1);
        return Err(Refused::new(crate::domain::Code::UserNotFound, text));
    }
    subscribe::offer_anew(app, member, stream, |core, offer| {
        core.domain
            .force_reconnection(&member.0, &member.1, stream, offer)
    })
    .await?;
    tracing::info!(session = %member.0, connection = %member.1, %stream, "subscriber made to reconnect");
    Ok(())
}

/// The same for all who receive a stream, or for one of them. Answers how many were told.
pub async fn reconnect_all(
    app: &Arc<App>,
    session: &SessionId,
    stream: &StreamId,
    only: Option<&ConnectionId>,
) -> usize {
    let receivers = app.step(|core| core.domain.receivers(session, stream));
    let receivers = receivers
        .into_iter()
        .filter(|id| only.is_none_or(|only| only == id));
    let (mut under_way, mut told) = (JoinSet::new(), 0);
    for id in receivers {
        if under_way.len() >= AT_A_TIME
            && let Some(done) = under_way.join_next().await
        {
            told += usize::from(done.unwrap_or(false));
        }
        let (app, member, stream) = (app.clone(), (session.clone(), id), stream.clone());
        under_way.spawn(async move { tried(&app, &member, &stream).await });
    }
    while let Some(done) = under_way.join_next().await {
        told += usize::from(done.unwrap_or(false));
    }
    told
}

/// Offers a subscriber the stream on a new transport, in a task of its own.
pub fn soon(app: &Arc<App>, member: &Member, stream: &StreamId) {
    let (app, member, stream) = (app.clone(), member.clone(), stream.clone());
    tokio::spawn(async move { tried(&app, &member, &stream).await });
}

async fn tried(app: &App, member: &Member, stream: &StreamId) -> bool {
    let outcome = reconnect(app, member, stream).await;
    if let Err(refused) = &outcome {
        tracing::info!(session = %member.0, connection = %member.1, %stream, %refused, "subscriber not made to reconnect");
    }
    outcome.is_ok()
}
