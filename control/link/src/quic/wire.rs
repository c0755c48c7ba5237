use std::marker::PhantomData;

use quinn::{RecvStream, SendStream};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Error;
use crate::frame::{self, Decoder};

/// The sending half of a link.
pub struct Sender<M> {
    stream: SendStream,
    message: PhantomData<fn(M)>,
}

impl<M: Serialize> Sender<M> {
    pub(super) fn new(stream: SendStream) -> Self {
        Self {
            stream,
            message: PhantomData,
        }
    }

    /// Sends one message. Waits while the peer is slow to read.
    ///
    /// # Errors
    ///
    /// If the connection is gone. Not to be cancelled: half a frame would be left behind.
    pub async fn send(&mut self, message: &M) -> Result<(), Error> {
        let bytes = frame::encode(message)?;
        self.stream
            .write_all(&bytes)
            .await
            .map_err(|error| match error {
                quinn::WriteError::ConnectionLost(error) => Error::Connection(error),
                other => Error::Stream(other.to_string()),
            })
    }

    /// Says that nothing more will come, and waits until the peer has everything.
    pub async fn finish(mut self) {
        if self.stream.finish().is_ok() {
            let _ = self.stream.stopped().await;
        }
    }
}

/// The receiving half of a link.
pub struct Receiver<M> {
    stream: RecvStream,
    decoder: Decoder,
    buffer: Vec<u8>,
    message: PhantomData<fn() -> M>,
}

impl<M: DeserializeOwned> Receiver<M> {
    pub(super) fn new(stream: RecvStream) -> Self {
        Self {
            stream,
            decoder: Decoder::new(),
            buffer: vec![0; 64 * 1024],
            message: PhantomData,
        }
    }

    /// The next message. May be cancelled and called again.
    ///
    /// # Errors
    ///
    /// If the connection is gone or the peer talks nonsense.
    pub async fn receive(&mut self) -> Result<M, Error> {
        loop {
            if let Some(message) = self.decoder.poll()? {
                return Ok(message);
            }
            match self.stream.read(&mut self.buffer).await {
                Ok(Some(length)) => self.decoder.push(&self.buffer[..length]),
                Ok(None) => return Err(Error::HungUp),
                Err(quinn::ReadError::ConnectionLost(error)) => {
                    return Err(Error::Connection(error));
                }
                Err(other) => return Err(Error::Stream(other.to_string())),
            }
        }
    }
}
