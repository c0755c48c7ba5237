//! Files of the `rtpdump` format of rtptools: a line of text, and packets with their times.
//!
//! Of a packet that was not kept whole the record is shorter than its `plen` says, as the format provides.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// Octets in front of each packet (`RD_packet_t`).
const RECORD_HEADER: usize = 8;

/// Writes one file.
#[derive(Debug, Default)]
pub struct RtpDump<W> {
    out: W,
}

impl<W: Write> RtpDump<W> {
    /// Begins a file of packets that came from `source`, at that time since 1970.
    ///
    /// # Errors
    ///
    /// If it can't be written.
    pub fn begin(mut out: W, source: Option<SocketAddr>, unix: Duration) -> io::Result<Self> {
        let source = source.unwrap_or_else(|| (Ipv4Addr::UNSPECIFIED, 0).into());
        writeln!(
            out,
            "#!rtpplay1.0 {}/{}",
            source.ip().to_canonical(),
            source.port()
        )?;
        let seconds = unix.as_secs() as u32;
        out.write_all(&seconds.to_be_bytes())?;
        out.write_all(&unix.subsec_micros().to_be_bytes())?;
        // There is room for IPv4 only; the text above has the other.
        let octets = match source.ip().to_canonical() {
            IpAddr::V4(ip) => ip.octets(),
            IpAddr::V6(_) => [0; 4],
        };
        out.write_all(&octets)?;
        out.write_all(&source.port().to_be_bytes())?;
        out.write_all(&[0, 0])?;
        Ok(Self { out })
    }

    /// Adds a packet of `len` octets, of which these were kept, that long after the beginning.
    ///
    /// # Errors
    ///
    /// If it can't be written.
    pub fn add(&mut self, after: Duration, is_rtcp: bool, len: u16, kept: &[u8]) -> io::Result<()> {
        let length = u16::try_from(RECORD_HEADER + kept.len()).map_err(io::Error::other)?;
        let plen = if is_rtcp { 0 } else { len };
        let offset = u32::try_from(after.as_millis()).unwrap_or(u32::MAX);
        self.out.write_all(&length.to_be_bytes())?;
        self.out.write_all(&plen.to_be_bytes())?;
        self.out.write_all(&offset.to_be_bytes())?;
        self.out.write_all(kept)
    }

    /// What was written since the last time, where that is memory.
    pub fn take(&mut self) -> W
    where
        W: Default,
    {
        std::mem::take(&mut self.out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_as_rtptools_has_it() {
        let source = SocketAddr::from(([192, 0, 2, 7], 4660));
        let unix = Duration::from_micros(1_700_000_000_000_250);
        let mut dump = RtpDump::begin(Vec::new(), Some(source), unix).expect("memory takes it");
        dump.add(Duration::from_millis(258), false, 1200, &[0x80, 96, 0, 1])
            .expect("taken");
        dump.add(Duration::from_millis(260), true, 4, &[0x80, 201, 0, 0])
            .expect("taken");
        let file = dump.take();
        let mut expected = b"#!rtpplay1.0 192.0.2.7/4660\n".to_vec();
        expected.extend([
            0x65, 0x53, 0xf1, 0, 0, 0, 0, 250, 192, 0, 2, 7, 0x12, 0x34, 0, 0,
        ]);
        expected.extend([0, 12, 0x04, 0xb0, 0, 0, 1, 2, 0x80, 96, 0, 1]);
        expected.extend([0, 12, 0, 0, 0, 0, 1, 4, 0x80, 201, 0, 0]);
        assert_eq!(file, expected);
    }
}
