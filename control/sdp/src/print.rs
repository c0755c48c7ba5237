//! Sections and attributes to text.

use std::fmt;

use crate::session::{Attribute, MediaSection, Session};

/// Prints the description with CRLF line ends. Control characters in values are left out: they could forge lines.
impl fmt::Display for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        line(f, 'v', "0")?;
        line(f, 'o', &self.origin)?;
        line(f, 's', &self.name)?;
        if let Some(connection) = &self.connection {
            line(f, 'c', connection)?;
        }
        line(f, 't', "0 0")?;
        attributes(f, &self.attributes)?;
        self.media.iter().try_for_each(|media| section(f, media))
    }
}

fn section(f: &mut fmt::Formatter<'_>, section: &MediaSection) -> fmt::Result {
    let formats = section.formats.join(" ");
    let value = format!(
        "{} {} {} {formats}",
        section.media, section.port, section.protocol
    );
    line(f, 'm', &value)?;
    if let Some(connection) = &section.connection {
        line(f, 'c', connection)?;
    }
    for bandwidth in &section.bandwidth {
        line(f, 'b', bandwidth)?;
    }
    attributes(f, &section.attributes)
}

fn attributes(f: &mut fmt::Formatter<'_>, attributes: &[Attribute]) -> fmt::Result {
    for attribute in attributes {
        match &attribute.value {
            Some(value) => line(f, 'a', &format!("{}:{value}", attribute.name))?,
            None => line(f, 'a', &attribute.name)?,
        }
    }
    Ok(())
}

fn line(f: &mut fmt::Formatter<'_>, letter: char, value: &str) -> fmt::Result {
    write!(f, "{letter}=")?;
    for piece in value.split(|c: char| c.is_control() && c != '\t') {
        f.write_str(piece)?;
    }
    f.write_str("\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_cannot_forge_a_line() {
        let session = Session {
            origin: "- 1 1 IN IP4 0.0.0.0".to_owned(),
            name: "-".to_owned(),
            connection: None,
            attributes: vec![Attribute::new("cname", "x\r\na=ice-lite")],
            media: Vec::new(),
        };
        assert!(session.to_string().ends_with("a=cname:xa=ice-lite\r\n"));
    }
}
