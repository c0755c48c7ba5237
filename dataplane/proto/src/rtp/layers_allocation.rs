//! Which encodings a sender produces: the header extension video-layers-allocation00.
//!
//! Chromium puts it on the first packet of a picture after each change (webrtc.org, "RTP Header Extension: Video Layers
//! Allocation"). It also tells bit rates and sizes, which are not read here.

use super::wire::u8_at;

/// Most RTP streams that the extension tells apart.
const STREAMS_MAX: u8 = 4;

/// What a sender says of its RTP streams of one medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayersAllocation {
    /// Which RTP stream it came on, counted from zero in the order of the encodings.
    pub own: u8,
    /// A bit for each RTP stream that is produced.
    pub active: u8,
}

impl LayersAllocation {
    /// From the value of [`crate::rtp::Uri::VideoLayersAllocation`]; `None` if it is cut short, or says that nothing is produced.
    pub fn parse(data: &[u8]) -> Option<Self> {
        let first = u8_at(data, 0)?;
        let own = first >> 6;
        let streams = ((first >> 4) & 3).checked_add(1)?;
        // One bit mask of spatial layers if all RTP streams have the same, else one for each, four bits long.
        let common = first & 0x0f;
        let mut active = 0;
        for stream in 0..streams.min(STREAMS_MAX) {
            let layers = if common != 0 {
                common
            } else {
                let byte = u8_at(data, usize::from(stream / 2).checked_add(1)?)?;
                if stream % 2 == 0 {
                    byte >> 4
                } else {
                    byte & 0x0f
                }
            };
            if layers != 0 {
                active |= 1 << stream;
            }
        }
        (active != 0).then_some(Self { own, active })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_mask_for_all_or_one_for_each() {
        let all = LayersAllocation::parse(&[0x61, 0, 1, 2, 3]).unwrap();
        assert_eq!((all.own, all.active), (1, 0b111));
        let without_middle = LayersAllocation::parse(&[0x20, 0x10, 0x10]).unwrap();
        assert_eq!((without_middle.own, without_middle.active), (0, 0b101));
        let four = LayersAllocation::parse(&[0xf0, 0x01, 0x03]).unwrap();
        assert_eq!((four.own, four.active), (3, 0b1010));
    }

    #[test]
    fn nothing_and_less_than_that() {
        assert_eq!(LayersAllocation::parse(&[]), None);
        assert_eq!(LayersAllocation::parse(&[0]), None);
        assert_eq!(LayersAllocation::parse(&[0x20, 0x11]), None);
        assert_eq!(LayersAllocation::parse(&[0x10, 0]), None);
    }
}
