//! How much room a terminal has.

use std::os::fd::AsFd;

/// Characters of a line; none where there is no terminal, or one that does not say.
pub(super) fn width(stream: impl AsFd) -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(stream).ok()?;
    (size.ws_col > 0).then_some(usize::from(size.ws_col))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn a_file_has_no_width() {
        let null = File::open("/dev/null").expect("it is there");
        assert_eq!(width(&null), None);
    }
}
