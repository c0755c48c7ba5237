//! Header extensions (RFC 8285): the elements of a block, the URIs we know, and which id means which URI.

use core::ops::Range;

use clock::NtpTime;

use super::Header;
use super::wire::{u8_at, u16_at};

/// "Defined by profile" value of the one-byte form (RFC 8285 §4.2).
pub const ONE_BYTE_PROFILE: u16 = 0xbede;
/// The same of the two-byte form without application bits (RFC 8285 §4.3).
pub const TWO_BYTE_PROFILE: u16 = 0x1000;

/// One element of an extension block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Element<'a> {
    /// The local id, as negotiated by `a=extmap`.
    pub id: u8,
    /// Where `data` starts in the packet it was read from; ignored when writing.
    pub offset: u16,
    /// The value.
    pub data: &'a [u8],
}

impl<'a> Element<'a> {
    /// An element to be written.
    pub fn new(id: u8, data: &'a [u8]) -> Self {
        Self {
            id,
            offset: 0,
            data,
        }
    }
}

/// Iterates over the elements of an extension block, in either form. Broken elements end it (RFC 8285 §4.2).
#[derive(Clone, Debug)]
pub struct Extensions<'a> {
    form: Form,
    header: &'a [u8],
    at: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    OneByte,
    TwoByte,
    Foreign,
}

impl<'a> Extensions<'a> {
    /// `header` is the packet up to the end of the block, `at` the start of the first element.
    pub(super) fn new(profile: u16, header: &'a [u8], at: usize) -> Self {
        let form = match profile {
            ONE_BYTE_PROFILE => Form::OneByte,
            // The lower four bits are the application's (RFC 8285 §4.3).
            _ if profile & 0xfff0 == TWO_BYTE_PROFILE => Form::TwoByte,
            _ => Form::Foreign,
        };
        Self { form, header, at }
    }

    /// The value of the element with `id`.
    pub fn find(mut self, id: u8) -> Option<&'a [u8]> {
        Iterator::find(&mut self, |element| element.id == id).map(|element| element.data)
    }

    /// Id and length of the element at `at`, which is not padding; the length of its own header as third.
    fn element(&self, first: u8) -> Option<(u8, usize, usize)> {
        match self.form {
            Form::OneByte => {
                let id = first >> 4;
                // RFC 8285 §4.2: id 15, and id 0 with a length, end the processing of the block.
                let valid = id != 15 && id != 0;
                valid.then(|| (id, usize::from(first & 0x0f).saturating_add(1), 1))
            }
            Form::TwoByte => {
                let length = u8_at(self.header, self.at.checked_add(1)?)?;
                Some((first, usize::from(length), 2))
            }
            Form::Foreign => None,
        }
    }
}

impl<'a> Iterator for Extensions<'a> {
    type Item = Element<'a>;

    fn next(&mut self) -> Option<Element<'a>> {
        if self.form == Form::Foreign {
            return None;
        }
        while u8_at(self.header, self.at)? == 0 {
            self.at = self.at.checked_add(1)?;
        }
        let parsed = self.element(u8_at(self.header, self.at)?);
        let Some((id, length, own)) = parsed else {
            self.at = self.header.len();
            return None;
        };
        let start = self.at.checked_add(own)?;
        let end = start.checked_add(length)?;
        let Some(data) = self.header.get(start..end) else {
            self.at = self.header.len();
            return None;
        };
        self.at = end;
        let offset = u16::try_from(start).ok()?;
        Some(Element { id, offset, data })
    }
}

/// Where the value of element `id` lies in `packet`, to be overwritten in place.
pub fn locate(header: &Header, packet: &[u8], id: u8) -> Option<Range<usize>> {
    let element = header.extensions(packet).find_element(id)?;
    let start = usize::from(element.offset);
    Some(start..start.checked_add(element.data.len())?)
}

impl<'a> Extensions<'a> {
    /// The element with `id`.
    pub fn find_element(mut self, id: u8) -> Option<Element<'a>> {
        Iterator::find(&mut self, |element| element.id == id)
    }
}

macro_rules! uris {
    ($($(#[$doc:meta])* $name:ident = $uri:literal,)+) => {
        /// What an extension means: the URIs that we know.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Uri {
            $($(#[$doc])* $name,)+
        }

        impl Uri {
            /// All of them.
            pub const ALL: [Self; [$($uri),+].len()] = [$(Self::$name),+];

            /// As in `a=extmap`.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $uri,)+
                }
            }
        }
    };
}

uris! {
    /// RFC 9143: the media section.
    Mid = "urn:ietf:params:rtp-hdrext:sdes:mid",
    /// RFC 8852: the encoding.
    Rid = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id",
    /// RFC 8852: the encoding whose packets are repaired.
    RepairedRid = "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id",
    /// RFC 6464: loudness, from client to mixer.
    AudioLevel = "urn:ietf:params:rtp-hdrext:ssrc-audio-level",
    /// When the packet left, 6.18 fixed-point seconds.
    AbsSendTime = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
    /// draft-holmer-rmcat-transport-wide-cc-extensions: the number that TWCC refers to.
    TransportCc = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01",
    /// 3GPP TS 26.114: camera and rotation.
    VideoOrientation = "urn:3gpp:video-orientation",
    /// Limits that the sender sets to the receiver's playout delay.
    PlayoutDelay = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay",
    /// Camera or screen.
    ContentType = "http://www.webrtc.org/experiments/rtp-hdrext/video-content-type",
    /// Timestamps of capture, encoding, pacing.
    VideoTiming = "http://www.webrtc.org/experiments/rtp-hdrext/video-timing",
    /// Colour space and HDR metadata.
    ColorSpace = "http://www.webrtc.org/experiments/rtp-hdrext/color-space",
    /// RFC 5450: transmission time offset.
    TransmissionOffset = "urn:ietf:params:rtp-hdrext:toffset",
    /// AV1 RTP specification, appendix A: dependency descriptor.
    DependencyDescriptor = "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension",
    /// Which layers the sender produces, with bit rates.
    VideoLayersAllocation = "http://www.webrtc.org/experiments/rtp-hdrext/video-layers-allocation00",
}

impl core::str::FromStr for Uri {
    type Err = UnknownUri;

    fn from_str(uri: &str) -> Result<Self, UnknownUri> {
        let known = Self::ALL.into_iter().find(|known| known.as_str() == uri);
        known.ok_or(UnknownUri)
    }
}

/// A URI that means nothing to us; the extension is left out of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown header extension URI")]
pub struct UnknownUri;

/// Which id stands for which URI, in one direction of a transport.
///
/// One map serves a whole BUNDLE group, for an id means the same in all its media sections (RFC 9143 §7.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtensionMap {
    /// By id, as far as the one-byte form reaches: 0 if unused, else 1 + the URI. Greater ones are looked for among `ids`.
    uris: [u8; 16],
    /// By URI: 0 if not negotiated.
    ids: [u8; Uri::ALL.len()],
}

impl Default for ExtensionMap {
    fn default() -> Self {
        Self {
            uris: [0; 16],
            ids: [0; Uri::ALL.len()],
        }
    }
}

impl ExtensionMap {
    /// An empty map.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets `id` stand for `uri` from now on. Id 0 is padding (RFC 8285 §4.2) and is ignored.
    pub fn insert(&mut self, id: u8, uri: Uri) {
        if id == 0 {
            return;
        }
        if let Some(old) = self.uri(id) {
            self.set(old, 0);
        }
        if let Some(old) = self.id(uri) {
            self.set_uri(old, 0);
        }
        self.set(uri, id);
        self.set_uri(id, (uri as u8).saturating_add(1));
    }

    /// What `id` stands for.
    pub fn uri(&self, id: u8) -> Option<Uri> {
        match self.uris.get(usize::from(id)) {
            Some(stored) => Uri::ALL.get(usize::from(*stored).checked_sub(1)?).copied(),
            None => Uri::ALL.into_iter().find(|uri| self.id(*uri) == Some(id)),
        }
    }

    /// The id of `uri`, if it was negotiated.
    pub fn id(&self, uri: Uri) -> Option<u8> {
        let id = self.ids.get(uri as usize).copied()?;
        (id != 0).then_some(id)
    }

    /// All pairs, in the order of [`Uri::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (u8, Uri)> + '_ {
        let pair = |uri| self.id(uri).map(|id| (id, uri));
        Uri::ALL.into_iter().filter_map(pair)
    }

    fn set(&mut self, uri: Uri, id: u8) {
        if let Some(slot) = self.ids.get_mut(uri as usize) {
            *slot = id;
        }
    }

    fn set_uri(&mut self, id: u8, stored: u8) {
        if let Some(slot) = self.uris.get_mut(usize::from(id)) {
            *slot = stored;
        }
    }
}

/// Loudness of a packet (RFC 6464 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudioLevel {
    /// The sender believes that there is speech.
    pub voice: bool,
    /// 0 is the loudest, 127 silence, in −dBov.
    pub level: u8,
}

impl AudioLevel {
    /// From the value of the element.
    pub fn parse(data: &[u8]) -> Option<Self> {
        let byte = u8_at(data, 0)?;
        Some(Self {
            voice: byte & 0x80 != 0,
            level: byte & 0x7f,
        })
    }
}

/// The transport-wide sequence number: the value of [`Uri::TransportCc`].
pub fn transport_sequence(data: &[u8]) -> Option<u16> {
    u16_at(data, 0)
}

/// The value of [`Uri::AbsSendTime`] for a packet that leaves at `now`: seconds in 6.18 fixed point.
pub fn abs_send_time(now: NtpTime) -> [u8; 3] {
    let [_, low @ ..] = (((now.to_bits() >> 14) & 0x00ff_ffff) as u32).to_be_bytes();
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elements(profile: u16, block: &[u8]) -> Vec<(u8, Vec<u8>)> {
        let each = |element: Element<'_>| (element.id, element.data.to_vec());
        Extensions::new(profile, block, 0).map(each).collect()
    }

    #[test]
    fn one_byte_form_of_the_rfc() {
        // RFC 8285 §4.2, the figure: lengths 1, 2 (stored as 1), padding, 4.
        let block = [0x10, 1, 0x21, 2, 3, 0, 0, 0x33, 4, 5, 6, 7];
        assert_eq!(
            elements(ONE_BYTE_PROFILE, &block),
            [(1, vec![1]), (2, vec![2, 3]), (3, vec![4, 5, 6, 7])]
        );
    }

    #[test]
    fn two_byte_form_of_the_rfc() {
        // RFC 8285 §4.3, the figure: an empty element, one byte, padding, four bytes; application bits are ignored.
        let block = [1, 0, 2, 1, 9, 0, 200, 4, 1, 2, 3, 4];
        assert_eq!(
            elements(TWO_BYTE_PROFILE | 5, &block),
            [(1, vec![]), (2, vec![9]), (200, vec![1, 2, 3, 4])]
        );
        assert_eq!(elements(0x2000, &block), []);
    }

    #[test]
    fn broken_elements_end_the_block() {
        assert_eq!(
            elements(ONE_BYTE_PROFILE, &[0x10, 1, 0xf0, 1, 0x20, 2]),
            [(1, vec![1])]
        );
        assert_eq!(
            elements(ONE_BYTE_PROFILE, &[0x10, 1, 0x03, 1, 0x20, 2]),
            [(1, vec![1])]
        );
        assert_eq!(elements(ONE_BYTE_PROFILE, &[0x1f, 1, 2]), []);
        assert_eq!(elements(TWO_BYTE_PROFILE, &[1, 200, 2]), []);
        assert_eq!(elements(TWO_BYTE_PROFILE, &[7]), []);
    }

    #[test]
    fn uris_round_trip() {
        for uri in Uri::ALL {
            assert_eq!(uri.as_str().parse(), Ok(uri));
        }
        assert_eq!("urn:x".parse::<Uri>(), Err(UnknownUri));
    }

    #[test]
    fn the_map_stays_one_to_one() {
        let mut map = ExtensionMap::new();
        map.insert(0, Uri::Mid);
        assert_eq!(map.id(Uri::Mid), None);
        map.insert(4, Uri::Mid);
        map.insert(255, Uri::Rid);
        assert_eq!((map.uri(4), map.id(Uri::Rid)), (Some(Uri::Mid), Some(255)));
        map.insert(4, Uri::Rid);
        assert_eq!(map.id(Uri::Mid), None);
        assert_eq!(map.uri(255), None);
        assert_eq!(map.iter().collect::<Vec<_>>(), [(4, Uri::Rid)]);
    }

    #[test]
    fn values() {
        let level = AudioLevel::parse(&[0x80 | 30]).unwrap();
        assert_eq!((level.voice, level.level), (true, 30));
        assert_eq!(AudioLevel::parse(&[]), None);
        assert_eq!(transport_sequence(&[1, 2]), Some(0x0102));
        // 1.5 s past a multiple of 64 s: 1.5 * 2^18.
        let time = NtpTime::from_bits((64 << 32) + (3 << 31));
        assert_eq!(abs_send_time(time), [0x06, 0, 0]);
    }
}
