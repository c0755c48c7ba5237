//! What tests of this crate share.

/// Says that nothing was tested, and why; where `RINGCAST_NO_SKIP` is set that is a failure.
pub fn skip(why: &str) {
    assert!(
        std::env::var_os("RINGCAST_NO_SKIP").is_none(),
        "nothing may be skipped here: {why}"
    );
    eprintln!("SKIPPED: {why}");
}
