//! Messages in a stream of bytes: a length of 32 bits, big-endian, then that many bytes of JSON.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Most bytes of one message. Who says more is cut off.
pub const FRAME_MAX: usize = 4 * 1024 * 1024;

const HEADER: usize = 4;

/// Why a frame can't be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Longer than [`FRAME_MAX`].
    #[error("a frame of {0} bytes, more than {FRAME_MAX}")]
    TooLong(usize),
    /// Not what the message should look like.
    #[error("a frame that is no message: {0}")]
    Malformed(#[from] serde_json::Error),
}

/// The bytes of one message, length first.
///
/// # Errors
///
/// [`Error::TooLong`]; the entries of a message are bounded so that this does not happen with sane ones.
pub fn encode(message: &impl Serialize) -> Result<Vec<u8>, Error> {
    let mut bytes = vec![0; HEADER];
    serde_json::to_writer(&mut bytes, message)?;
    let length = bytes.len() - HEADER;
    let header = u32::try_from(length)
        .ok()
        .filter(|_| length <= FRAME_MAX)
        .ok_or(Error::TooLong(length))?;
    bytes[..HEADER].copy_from_slice(&header.to_be_bytes());
    Ok(bytes)
}

/// Cuts a stream of bytes into messages.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    read: usize,
}

impl Decoder {
    /// Nothing read yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes of the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.read);
        self.read = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next message, if it is complete.
    ///
    /// # Errors
    ///
    /// After an error the stream can't be read on.
    pub fn poll<M: DeserializeOwned>(&mut self) -> Result<Option<M>, Error> {
        let rest = &self.buffer[self.read..];
        let Some((header, rest)) = rest.split_first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(*header) as usize;
        if length > FRAME_MAX {
            return Err(Error::TooLong(length));
        }
        let Some(body) = rest.get(..length) else {
            return Ok(None);
        };
        let message = serde_json::from_slice(body)?;
        self.read += HEADER + length;
        Ok(Some(message))
    }
}

/// Whatever a peer sends must neither panic nor hang, and what can be read must survive being written. The bytes are
/// read as a stream of frames, and as what one frame holds.
pub fn fuzz(bytes: &[u8]) {
    use crate::message::{ToMaster, ToNode};

    fn survives<M: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(message: &M) {
        let Ok(written) = encode(message) else {
            return;
        };
        let mut again = Decoder::new();
        again.push(&written);
        let read = again.poll::<M>();
        assert!(matches!(read, Ok(Some(copy)) if copy == *message));
    }
    fn run<M: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
        let mut decoder = Decoder::new();
        for piece in bytes.chunks(7) {
            decoder.push(piece);
            while let Ok(Some(message)) = decoder.poll::<M>() {
                survives(&message);
            }
        }
        if let Ok(message) = serde_json::from_slice::<M>(bytes) {
            survives(&message);
        }
    }
    run::<ToNode>(bytes);
    run::<ToMaster>(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{ToNode, Welcome};

    fn welcome(epoch: u64) -> ToNode {
        ToNode::Welcome(Welcome { version: 1, epoch })
    }

    #[test]
    fn messages_survive_any_cut() {
        let mut stream = encode(&welcome(1)).expect("small");
        stream.extend(encode(&welcome(2)).expect("small"));
        for cut in 0..stream.len() {
            let mut decoder = Decoder::new();
            let mut got = Vec::new();
            for piece in [&stream[..cut], &stream[cut..]] {
                decoder.push(piece);
                while let Some(message) = decoder.poll::<ToNode>().expect("well-formed") {
                    got.push(message);
                }
            }
            assert_eq!(got, [welcome(1), welcome(2)]);
        }
    }

    #[test]
    fn a_length_beyond_the_bound_is_refused_before_its_bytes_arrive() {
        let mut decoder = Decoder::new();
        decoder.push(&u32::MAX.to_be_bytes());
        assert!(matches!(decoder.poll::<ToNode>(), Err(Error::TooLong(_))));
    }

    #[test]
    fn later_versions_can_be_read() {
        let mut decoder = Decoder::new();
        for text in [
            r#"{"message":"welcome","version":2,"epoch":7,"mood":"fine"}"#,
            r#"{"message":"sing","song":"none"}"#,
        ] {
            decoder.push(&(text.len() as u32).to_be_bytes());
            decoder.push(text.as_bytes());
        }
        let first = decoder.poll::<ToNode>().expect("readable");
        assert_eq!(
            first,
            Some(ToNode::Welcome(Welcome {
                version: 2,
                epoch: 7
            }))
        );
        assert_eq!(
            decoder.poll::<ToNode>().expect("readable"),
            Some(ToNode::Unknown)
        );
        assert_eq!(decoder.poll::<ToNode>().expect("readable"), None);
    }

    #[test]
    fn the_fuzz_body_takes_what_it_is_given() {
        fuzz(&[0, 0, 0, 2, b'{', b'}', 0xff, 0xff]);
        fuzz(&encode(&welcome(3)).expect("small"));
        fuzz(br#"\0\0\0\x10{"message":"hello"}"#);
    }
}
