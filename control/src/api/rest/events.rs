//! `/events`: what happens, as it happens, as server-sent events (HTML Standard §9.2).

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use futures_util::stream::poll_fn;
use tokio::sync::{Notify, mpsc};
use tokio::time::{sleep, timeout};

use super::Problem;
use crate::app::App;
use crate::events::live::{Listener, Told};

/// How long nothing may be said: readers and proxies take longer silence for death.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How long a reader may take to make room for the next event.
const PATIENCE: Duration = Duration::from_secs(10);
/// Events that are ready for the connection; it has buffers of its own.
const READY_MAX: usize = 16;

/// Ends a request's connection, where its answer can't: while the other side reads nothing, nobody asks for more of it.
#[derive(Clone, Debug, Default)]
pub struct HangUp(Arc<Wish>);

#[derive(Debug, Default)]
struct Wish {
    wanted: Notify,
    is_endless: AtomicBool,
}

impl HangUp {
    /// Ends it.
    pub fn now(&self) {
        self.0.wanted.notify_one();
    }

    /// Waits until it is to be ended.
    pub async fn wanted(&self) {
        self.0.wanted.notified().await;
    }

    /// The answer has no end of its own: nobody waits for it when the master stops.
    pub fn is_never_over(&self) {
        self.0.is_endless.store(true, Ordering::Relaxed);
    }

    /// Whether the answer has no end of its own.
    pub fn is_endless(&self) -> bool {
        self.0.is_endless.load(Ordering::Relaxed)
    }
}

/// `GET /events`: everything that webhooks are told, from now on. What was missed is not told again, whatever `Last-Event-ID` says.
pub async fn stream(State(app): State<Arc<App>>, request: Request) -> Result<Response, Problem> {
    let listener = app.step(|core| core.events.listen(core.store()));
    let Some(listener) = listener else {
        app.metrics.refused("event_listeners");
        return Err(Problem::new(
            StatusCode::TOO_MANY_REQUESTS,
            "As many listen to events as may",
        ));
    };
    let hang_up = request.extensions().get::<HangUp>().cloned();
    if let Some(hang_up) = &hang_up {
        hang_up.is_never_over();
    }
    let (ready, mut next) = mpsc::channel(READY_MAX);
    tokio::spawn(tell(listener, ready, hang_up.unwrap_or_default(), PATIENCE));
    let pieces = poll_fn(move |context| {
        let piece = next.poll_recv(context);
        piece.map(|piece| piece.map(Ok::<Bytes, Infallible>))
    });
    let headers = [
        ("content-type", "text/event-stream"),
        ("cache-control", "no-store"),
        // nginx would keep it until it has a buffer full.
        ("x-accel-buffering", "no"),
    ];
    Ok((headers, Body::from_stream(pieces)).into_response())
}

/// Tells a reader until it is gone, or too slow.
async fn tell(
    mut listener: Listener,
    ready: mpsc::Sender<Bytes>,
    hang_up: HangUp,
    patience: Duration,
) {
    let mut piece = Bytes::from_static(b": what happens from now on\n\n");
    loop {
        match timeout(patience, ready.send(piece)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return,
            Err(_) => {
                tracing::warn!("a reader of events reads nothing and is hung up on");
                return hang_up.now();
            }
        }
        piece = tokio::select! {
            told = listener.next() => match told {
                Some(told) => in_the_stream(&told),
                None => {
                    tracing::warn!("a reader of events is too slow and is hung up on");
                    return hang_up.now();
                }
            },
            () = sleep(HEARTBEAT) => Bytes::from_static(b":\n\n"),
            () = ready.closed() => return,
        };
    }
}

/// Ids and JSON have no line ends, which is all that would need care.
fn in_the_stream(told: &Told) -> Bytes {
    Bytes::from(format!("id: {}\ndata: {}\n\n", told.id, told.body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::master;

    #[tokio::test]
    async fn who_reads_nothing_is_hung_up_on_and_who_reads_is_not() {
        let (app, _) = master();
        let listen = || app.step(|core| core.events.listen(core.store()));
        let patience = Duration::from_millis(50);
        let (ready, mut next) = mpsc::channel(1);
        let (reader, hang_up) = (listen().expect("free"), HangUp::default());
        let telling = tokio::spawn(tell(reader, ready, hang_up.clone(), patience));
        assert!(next.recv().await.is_some());
        assert!(timeout(patience * 4, hang_up.wanted()).await.is_err());
        assert!(!telling.is_finished(), "silence is not slowness");
        drop(next);
        telling.await.expect("it ends with its reader");

        let (ready, _next) = mpsc::channel(1);
        ready.send(Bytes::new()).await.expect("room for one");
        let (reader, hang_up) = (listen().expect("free"), HangUp::default());
        tokio::spawn(tell(reader, ready, hang_up.clone(), patience));
        let ended = timeout(Duration::from_secs(5), hang_up.wanted()).await;
        assert!(ended.is_ok());
    }
}
