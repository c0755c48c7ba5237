//! Who is heard in a session, as its media node says.

use std::collections::BTreeMap;

use super::{Domain, Output, SessionId, StreamId};

/// The sound of a session at this moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Voice {
    /// The stream of who speaks, or spoke last; nobody before that, or if it is muted or gone.
    pub speaker: Option<StreamId>,
    /// Levels in dBov (RFC 6464), −127 to 0, of the streams that can be heard.
    pub levels: BTreeMap<StreamId, i8>,
}

impl Voice {
    /// The stream is no more.
    pub(super) fn forget(&mut self, stream: &StreamId) {
        self.speaker.take_if(|speaker| speaker == stream);
        self.levels.remove(stream);
    }
}

impl Domain {
    /// This is what is heard in that life of a session now. What is not published there counts for nothing.
    pub fn hear(&mut self, id: &SessionId, incarnation: u64, mut voice: Voice) {
        let session = self.sessions.get_mut_unkept(id);
        let Some(session) = session.filter(|session| session.incarnation == incarnation) else {
            return;
        };
        voice
            .levels
            .retain(|stream, _| session.stream(stream).is_some());
        let speaker = voice.speaker.take();
        let speaker = speaker.and_then(|stream| session.stream(&stream));
        voice.speaker = speaker.map(|stream| stream.id.clone());
        if let Some(stream) = speaker
            && voice.speaker != session.voice.speaker
        {
            self.outputs.push_back(Output::SpeakerChanged {
                session: id.clone(),
                connection: stream.connection.clone(),
                stream: stream.id.clone(),
            });
        }
        session.voice = voice;
    }
}
