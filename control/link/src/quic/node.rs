//! The node's end: it listens and is dialled by its master.

use std::net::{IpAddr, SocketAddr};

use quinn::{Connection, ConnectionError, Endpoint};
use tokio::time::timeout;

use super::trouble::{ONLY_ASKED, SUPERSEDED};
use super::{Credentials, Error, HANDSHAKE, Receiver, Sender, close, expect_peer, understand};
use crate::applied::Superseded;
use crate::message::{ToMaster, ToNode, Welcome};
use crate::pki;

/// Most handshakes under way at once.
pub const INCOMING_MAX: usize = 16;

/// Listens for the master.
pub struct Listener {
    endpoint: Endpoint,
}

/// Someone who dials. Not yet known to be a master.
pub struct Incoming(quinn::Incoming);

/// A master with a certificate of our authority, who has said [`Welcome`]. It expects `Hello` and then snapshots.
pub struct MasterConnection {
    /// How it introduced itself.
    pub welcome: Welcome,
    /// Where it is.
    pub address: SocketAddr,
    /// Which address of ours it dialled, if the system says so.
    pub local: Option<IpAddr>,
    /// What we say.
    pub sender: Sender<ToMaster>,
    /// What it says.
    pub receiver: Receiver<ToNode>,
    /// To end it.
    pub hang_up: HangUp,
}

/// Ends a connection, whoever holds its two halves.
#[derive(Clone)]
pub struct HangUp(Connection);

impl Listener {
    /// Listens on `address`. Must be called inside a tokio runtime.
    ///
    /// # Errors
    ///
    /// If the certificates are unusable or the port is taken.
    pub fn bind(address: SocketAddr, credentials: &Credentials) -> Result<Self, Error> {
        let config = credentials.server_config()?;
        let endpoint = Endpoint::server(config, address)
            .map_err(|source| Error::Socket { address, source })?;
        Ok(Self { endpoint })
    }

    /// Where it listens.
    ///
    /// # Errors
    ///
    /// If the socket is gone.
    pub fn local_address(&self) -> std::io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    /// Shows another certificate to whoever dials from now on. Connections that there are stay as they are.
    ///
    /// # Errors
    ///
    /// If certificate and key don't fit together; then nothing changes.
    pub fn renew(&self, credentials: &Credentials) -> Result<(), Error> {
        let config = credentials.server_config()?;
        self.endpoint.set_server_config(Some(config));
        Ok(())
    }

    /// Waits for someone to dial; `None` after [`close`](Self::close). [`Incoming::establish`] belongs into a task of its
    /// own, so that a slow stranger holds nobody up.
    pub async fn accept(&self) -> Option<Incoming> {
        loop {
            let incoming = self.endpoint.accept().await?;
            if incoming.remote_address_validated() {
                return Some(Incoming(incoming));
            }
            // RFC 9000 §8.1.2: whoever only claims to be there costs an answer and no state, and keeps no master waiting.
            let _ = incoming.retry();
        }
    }

    /// Ends all connections and waits until the peers have been told.
    pub async fn close(&self, why: &str) {
        self.endpoint.close(0u32.into(), why.as_bytes());
        self.endpoint.wait_idle().await;
    }
}

impl Incoming {
    /// Where it comes from.
    pub fn address(&self) -> SocketAddr {
        self.0.remote_address()
    }

    /// Sees the certificate and hears the welcome.
    ///
    /// # Errors
    ///
    /// If the peer is not a master of our cluster, or is too slow about it.
    pub async fn establish(self) -> Result<MasterConnection, Error> {
        timeout(HANDSHAKE, self.introduce())
            .await
            .unwrap_or(Err(Error::Silent(HANDSHAKE)))
    }

    async fn introduce(self) -> Result<MasterConnection, Error> {
        let connection = self.0.accept()?.await?;
        if let Err(error) = expect_peer(&connection, pki::MASTER_NAME) {
            close(&connection, "only a master may dial a node");
            return Err(error);
        }
        let (send, receive) = connection.accept_bi().await.map_err(|error| match error {
            ConnectionError::ApplicationClosed(close)
                if close.error_code.into_inner() == u64::from(ONLY_ASKED) =>
            {
                Error::OnlyAsked
            }
            error => error.into(),
        })?;
        let mut receiver = Receiver::new(receive);
        let ToNode::Welcome(welcome) = receiver.receive().await? else {
            close(&connection, "welcome comes first");
            return Err(Error::OutOfOrder("welcome"));
        };
        if let Err(error) = understand(welcome.version) {
            close(&connection, &error.to_string());
            return Err(error);
        }
        Ok(MasterConnection {
            welcome,
            address: connection.remote_address(),
            local: connection.local_ip().map(|ip| ip.to_canonical()),
            sender: Sender::new(send),
            receiver,
            hang_up: HangUp(connection),
        })
    }
}

impl HangUp {
    /// Ends the connection and tells the master why.
    pub fn because(&self, why: &str) {
        close(&self.0, why);
    }

    /// Ends the connection of a master that another one has taken over from, so that it can tell this from any other end.
    pub fn superseded(&self, by: &Superseded) {
        self.0.close(SUPERSEDED.into(), by.to_string().as_bytes());
    }
}
