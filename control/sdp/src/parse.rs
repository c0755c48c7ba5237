//! Lines to sections and attributes (RFC 8866 §5 and §9).

use crate::error::Error;
use crate::lexer::{Line, MAX_MEDIA, lines};
use crate::session::{Attribute, MediaSection, Session};

impl Session {
    /// Reads a description.
    ///
    /// # Errors
    ///
    /// When a bound is passed, or a line is malformed: see [`Error`].
    pub fn parse(text: &str) -> Result<Self, Error> {
        let lines = lines(text)?;
        match lines.first() {
            Some(Line {
                letter: 'v',
                value: "0",
                ..
            }) => {}
            _ => return Err(Error::syntax(1, "v=0 is expected")),
        }
        let mut origin = None;
        let mut name = None;
        let mut connection = None;
        let mut attributes = Vec::new();
        let mut media: Vec<MediaSection> = Vec::new();
        for line in lines.iter().skip(1) {
            if line.letter == 'm' {
                if media.len() == MAX_MEDIA {
                    return Err(Error::TooManyMedia { line: line.number });
                }
                media.push(media_line(line)?);
            } else if let Some(section) = media.last_mut() {
                match line.letter {
                    'a' => section.attributes.push(attribute(line)?),
                    'b' => section.bandwidth.push(line.value.to_owned()),
                    'c' => section.connection = Some(line.value.to_owned()),
                    'v' | 'o' | 's' | 't' => {
                        return Err(Error::syntax(line.number, "not allowed in a media section"));
                    }
                    _ => {}
                }
            } else {
                match line.letter {
                    'a' => attributes.push(attribute(line)?),
                    'c' => connection = Some(line.value.to_owned()),
                    'o' => origin = Some(line.value.to_owned()),
                    's' => name = Some(line.value.to_owned()),
                    'v' => return Err(Error::syntax(line.number, "a second v= line")),
                    _ => {}
                }
            }
        }
        Ok(Self {
            origin: origin.ok_or(Error::syntax(0, "there is no o= line"))?,
            name: name.ok_or(Error::syntax(0, "there is no s= line"))?,
            connection,
            attributes,
            media,
        })
    }
}

/// `m=<media> <port>[/<count>] <protocol> <format>…` (RFC 8866 §5.14).
fn media_line(line: &Line<'_>) -> Result<MediaSection, Error> {
    let wrong = |what| Error::syntax(line.number, what);
    let mut words = line.value.split_ascii_whitespace();
    let media = words
        .next()
        .ok_or_else(|| wrong("m= without a media type"))?;
    let port = words.next().ok_or_else(|| wrong("m= without a port"))?;
    let port = port.split('/').next().unwrap_or(port);
    let port = port
        .parse()
        .map_err(|_| wrong("the port of m= is not a number up to 65535"))?;
    let protocol = words.next().ok_or_else(|| wrong("m= without a protocol"))?;
    let formats: Vec<String> = words.map(str::to_owned).collect();
    if formats.is_empty() {
        return Err(wrong("m= without a format"));
    }
    Ok(MediaSection {
        media: media.to_owned(),
        port,
        protocol: protocol.to_owned(),
        formats,
        connection: None,
        bandwidth: Vec::new(),
        attributes: Vec::new(),
        line: line.number,
    })
}

fn attribute(line: &Line<'_>) -> Result<Attribute, Error> {
    let (name, value) = match line.value.split_once(':') {
        Some((name, value)) => (name, Some(value)),
        None => (line.value, None),
    };
    if name.is_empty() {
        return Err(Error::syntax(line.number, "a= without a name"));
    }
    Ok(Attribute {
        name: name.to_owned(),
        value: value.map(str::to_owned),
        line: line.number,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n";

    #[test]
    fn errors_name_the_line() {
        for (tail, line) in [
            ("m=audio", 5),
            ("m=audio x RTP/AVP 0", 5),
            ("m=audio 70000 RTP/AVP 0", 5),
            ("m=audio 9 RTP/AVP", 5),
            ("m=audio 9 RTP/AVP 0\r\ns=late", 6),
            ("a=x\r\na=:y", 6),
            ("v=0", 5),
        ] {
            let got = Session::parse(&format!("{HEAD}{tail}\r\n"));
            assert!(
                matches!(got, Err(Error::Syntax { line: at, .. }) if at == line),
                "{tail:?}: {got:?}"
            );
        }
        assert!(Session::parse("o=-\r\nv=0\r\n").is_err());
        assert!(Session::parse("v=0\r\ns=-\r\n").is_err());
    }

    #[test]
    fn bounds_the_media_sections() {
        let section = "m=audio 9 RTP/AVP 0\r\n";
        assert!(Session::parse(&format!("{HEAD}{}", section.repeat(MAX_MEDIA))).is_ok());
        assert_eq!(
            Session::parse(&format!("{HEAD}{}", section.repeat(MAX_MEDIA + 1))),
            Err(Error::TooManyMedia { line: 21 })
        );
    }
}
