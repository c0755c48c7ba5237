//! The node's end of the link: who dials is heard out in a task of its own, and what the current master says and is told
//! goes through bounded queues, so that a slow one holds nobody up.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use clock::Instant;
use link::message::{ToMaster, ToNode, Welcome};
use link::quic::Error;
use link::quic::node::{HangUp, Listener, MasterConnection};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;

/// Messages that wait to be sent or to be heard.
const QUEUE: usize = 16;
/// Most introductions under way at once.
const INTRODUCTIONS_MAX: usize = 8;
/// Least time between two lines of the log about people who were turned away.
const LOG_INTERVAL: Duration = Duration::from_secs(1);

/// What the link tells the agent.
pub enum FromLink {
    /// A master is there.
    Connected(Box<MasterConnection>),
    /// Someone at this address was turned away.
    Refused(SocketAddr, Error),
    /// The master of this connection speaks.
    Message(u64, ToNode),
    /// This connection is gone.
    Lost(u64, Error),
}

/// Accepts whoever dials, for as long as `agent` listens.
pub fn accept(listener: Arc<Listener>, agent: mpsc::Sender<FromLink>) -> JoinHandle<()> {
    tokio::spawn(async move {
        let introductions = Arc::new(Semaphore::new(INTRODUCTIONS_MAX));
        while let Ok(permit) = introductions.clone().acquire_owned().await {
            let Some(incoming) = listener.accept().await else {
                break;
            };
            let agent = agent.clone();
            tokio::spawn(async move {
                let from = incoming.address();
                let said = match incoming.establish().await {
                    Ok(master) => FromLink::Connected(Box::new(master)),
                    Err(error) => FromLink::Refused(from, error),
                };
                let _ = agent.send(said).await;
                drop(permit);
            });
        }
    })
}

/// Lets a line of the log through now and then, so that strangers can't fill a disk.
#[derive(Debug, Default)]
pub struct Seldom {
    last: Option<Instant>,
    left_out: u64,
}

impl Seldom {
    /// How many lines were left out before this one, if it is to be written.
    pub fn pass(&mut self, now: Instant) -> Option<u64> {
        if self.last.is_some_and(|last| now - last < LOG_INTERVAL) {
            self.left_out += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.left_out))
    }
}

/// The queue into which [`FromLink`] goes.
pub fn channel() -> (mpsc::Sender<FromLink>, mpsc::Receiver<FromLink>) {
    mpsc::channel(QUEUE)
}

/// The connection to the current master.
pub struct Master {
    /// Tells connections apart.
    pub id: u64,
    /// How it introduced itself.
    pub welcome: Welcome,
    /// Where it is.
    pub address: SocketAddr,
    /// Which address of ours it dialled.
    pub local: Option<IpAddr>,
    /// What it is told.
    pub sender: mpsc::Sender<ToMaster>,
    hang_up: HangUp,
    speaking: JoinHandle<()>,
    listening: JoinHandle<()>,
}

impl Master {
    /// Begins to speak and to listen.
    pub fn new(id: u64, connection: MasterConnection, agent: mpsc::Sender<FromLink>) -> Self {
        let (sender, mut said) = mpsc::channel(QUEUE);
        let (mut speech, mut hearing) = (connection.sender, connection.receiver);
        let complaints = agent.clone();
        let speaking = tokio::spawn(async move {
            while let Some(message) = said.recv().await {
                if let Err(error) = speech.send(&message).await {
                    let _ = complaints.send(FromLink::Lost(id, error)).await;
                    return;
                }
            }
            speech.finish().await;
        });
        let listening = tokio::spawn(async move {
            loop {
                let (said, over) = match hearing.receive().await {
                    Ok(message) => (FromLink::Message(id, message), false),
                    Err(error) => (FromLink::Lost(id, error), true),
                };
                if agent.send(said).await.is_err() || over {
                    return;
                }
            }
        });
        Self {
            id,
            welcome: connection.welcome,
            address: connection.address,
            local: connection.local,
            sender,
            hang_up: connection.hang_up,
            speaking,
            listening,
        }
    }

    /// Says what is queued, waits until the master has it, and hangs up.
    pub async fn finish(self, patience: Duration, why: &str) {
        let Self {
            sender,
            hang_up,
            mut speaking,
            listening,
            ..
        } = self;
        drop(sender);
        if tokio::time::timeout(patience, &mut speaking).await.is_err() {
            speaking.abort();
        }
        listening.abort();
        hang_up.because(why);
    }

    /// Hangs up at once.
    pub fn drop_because(self, why: &str) {
        self.hang_up.because(why);
        self.speaking.abort();
        self.listening.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_come_too_often_are_counted_instead() {
        let mut seldom = Seldom::default();
        let passed: Vec<_> = (0..2_500)
            .filter_map(|ms| seldom.pass(Instant::from_millis(ms)))
            .collect();
        assert_eq!(passed, [0, 999, 999]);
    }
}
