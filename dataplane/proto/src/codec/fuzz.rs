use super::{Codec, dependency, h264, is_key_frame_start, opus, red, starts_frame, vp8, vp9};

/// Body of the fuzz target: reads `payload` as every codec there is.
///
/// # Panics
/// When a descriptor is longer than its payload, or is written differently than it was read: a bug.
pub fn fuzz(payload: &[u8]) {
    for codec in [Codec::Vp8, Codec::Vp9, Codec::H264, Codec::Av1, Codec::Opus] {
        let _ = (
            is_key_frame_start(codec, payload),
            starts_frame(codec, payload),
        );
    }
    if let Some(descriptor) = vp8::Descriptor::parse(payload) {
        assert!(
            descriptor.len() <= payload.len(),
            "VP8 descriptor in its payload"
        );
        let mut out = [0; vp8::MAX_DESCRIPTOR_LENGTH];
        let written = descriptor.write(&mut out);
        assert_eq!(written, Some(descriptor.len()), "as long as it was");
        let again = vp8::Descriptor::parse(&out);
        assert_eq!(again, Some(descriptor), "says the same");
    }
    if let Some(descriptor) = vp9::Descriptor::parse(payload) {
        assert!(
            descriptor.len() <= payload.len(),
            "VP9 descriptor in its payload"
        );
    }
    if let Some(redundant) = red::Redundant::parse(payload) {
        assert_eq!(
            redundant.own.range.end,
            payload.len(),
            "its own block comes last"
        );
    }
    let _ = dependency::Descriptor::parse(payload);
    // Each part is the descriptor of another packet, by the structure that an earlier one brought.
    let mut structure = dependency::Structure::new();
    for descriptor in payload.chunks(40) {
        structure.update(descriptor);
        let layer = structure.layer(descriptor);
        assert!(
            layer.is_none_or(|layer| layer.temporal < 64),
            "a layer for each template at most"
        );
    }
    let units = h264::units(payload).count();
    assert!(units <= payload.len(), "a NAL unit takes at least a byte");
    let _ = (
        vp8::dimensions(payload),
        opus::duration(payload),
        opus::is_dtx(payload),
    );
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn never_panics(payload in prop::collection::vec(any::<u8>(), 0..100)) {
            super::fuzz(&payload);
        }
    }
}
