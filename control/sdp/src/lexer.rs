//! Text to lines (RFC 8866 §5), within bounds.

use crate::error::Error;

/// The longest description that is read, bytes. Browsers send 4 to 8 KiB.
pub const MAX_BYTES: usize = 64 * 1024;
/// The most lines that are read. Browsers send 100 to 300.
pub const MAX_LINES: usize = 1000;
/// The most media sections that are read. OpenVidu uses two.
pub const MAX_MEDIA: usize = 16;

/// One `x=value` line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    /// Counted from 1.
    pub(crate) number: u32,
    /// The letter before the equals sign.
    pub(crate) letter: char,
    /// What follows it.
    pub(crate) value: &'a str,
}

/// Splits `text` at CRLF or LF (RFC 8866 §5 asks to accept both); blank lines are allowed at the end only.
pub(crate) fn lines(text: &str) -> Result<Vec<Line<'_>>, Error> {
    if text.len() > MAX_BYTES {
        return Err(Error::TooLong { bytes: text.len() });
    }
    let text = text.trim_end_matches(['\r', '\n']);
    let mut lines = Vec::new();
    for (number, raw) in (1u32..).zip(text.split('\n')) {
        if lines.len() == MAX_LINES {
            return Err(Error::TooManyLines);
        }
        lines.push(line(number, raw.strip_suffix('\r').unwrap_or(raw))?);
    }
    Ok(lines)
}

fn line(number: u32, raw: &str) -> Result<Line<'_>, Error> {
    let mut chars = raw.chars();
    let (Some(letter @ 'a'..='z'), Some('=')) = (chars.next(), chars.next()) else {
        return Err(Error::syntax(
            number,
            "a lower-case letter and an equals sign are expected",
        ));
    };
    let value = chars.as_str();
    // What we read we may echo: a lone carriage return must not become a line of ours.
    if value.chars().any(|c| c.is_control() && c != '\t') {
        return Err(Error::syntax(number, "a control character"));
    }
    Ok(Line {
        number,
        letter,
        value,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_both_line_ends_and_numbers_from_one() {
        let got = lines("v=0\r\ns=x=y\n\r\n").expect("valid");
        assert_eq!(got.len(), 2);
        assert_eq!(
            got.get(1),
            Some(&Line {
                number: 2,
                letter: 's',
                value: "x=y"
            })
        );
    }

    #[test]
    fn names_the_bad_line() {
        for (text, line) in [
            ("v=0\r\nbroken", 2),
            ("v=0\n\ns=-", 2),
            ("v=0\ns=-\na=x\ry", 3),
            ("", 1),
        ] {
            assert!(
                matches!(lines(text), Err(Error::Syntax { line: at, .. }) if at == line),
                "{text:?}"
            );
        }
    }

    #[test]
    fn is_bounded() {
        assert_eq!(
            lines(&"a".repeat(MAX_BYTES + 1)),
            Err(Error::TooLong {
                bytes: MAX_BYTES + 1
            })
        );
        assert!(lines(&"a=x\n".repeat(MAX_LINES)).is_ok());
        assert_eq!(
            lines(&"a=x\n".repeat(MAX_LINES + 1)),
            Err(Error::TooManyLines)
        );
    }
}
