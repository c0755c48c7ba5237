//! Files of recorded packets: rtpdump, pcap, pcapng. What is not UDP in them is passed over.

use core::time::Duration;

/// A UDP payload of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Datagram<'a> {
    /// When it was captured, since some zero of the file's own.
    pub(super) at: Duration,
    /// What it carried.
    pub(super) payload: &'a [u8],
}

/// Why a file of packets can't be used.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// The file can't be read.
    #[error("can't be read")]
    Read(#[from] std::io::Error),
    /// It begins like no format that we know.
    #[error("neither rtpdump nor pcap nor pcapng")]
    UnknownFormat,
    /// It ends or contradicts itself within a record.
    #[error("broken at byte {at}")]
    Broken {
        /// Where.
        at: usize,
    },
    /// Its packets are of a link whose frames we can't read.
    #[error("link type {0} is not supported")]
    UnknownLink(u32),
    /// It has no RTP stream that could be of the codec.
    #[error("has no RTP stream with a clock of {clock_rate} Hz")]
    NoStream {
        /// Of the codec's timestamps.
        clock_rate: u32,
    },
}

/// Every UDP payload in `file`, in its order.
pub(super) fn datagrams(file: &[u8]) -> Result<Vec<Datagram<'_>>, DumpError> {
    match file {
        [b'#', b'!', b'r', b't', b'p', b'p', b'l', b'a', b'y', ..] => rtpdump(file),
        [0x0a, 0x0d, 0x0d, 0x0a, ..] => pcapng(file),
        [0xd4, 0xc3, 0xb2, 0xa1, ..] => pcap(file, Endian::Little, 1_000),
        [0xa1, 0xb2, 0xc3, 0xd4, ..] => pcap(file, Endian::Big, 1_000),
        [0x4d, 0x3c, 0xb2, 0xa1, ..] => pcap(file, Endian::Little, 1),
        [0xa1, 0xb2, 0x3c, 0x4d, ..] => pcap(file, Endian::Big, 1),
        _ => Err(DumpError::UnknownFormat),
    }
}

/// A line of text, 16 bytes of header, then packets behind 8 bytes each: length of the record, length of the packet as it was
/// on the wire (0: RTCP), milliseconds since the start. All big-endian.
fn rtpdump(file: &[u8]) -> Result<Vec<Datagram<'_>>, DumpError> {
    let mut reader = Reader::new(file, Endian::Big);
    let line = file.iter().position(|byte| *byte == b'\n');
    reader.skip(line.ok_or(DumpError::Broken { at: file.len() })? + 1)?;
    reader.skip(16)?;
    let mut found = Vec::new();
    while !reader.is_empty() {
        let at = reader.at;
        let length = usize::from(reader.u16()?);
        let on_the_wire = usize::from(reader.u16()?);
        let millis = reader.u32()?;
        let stored = length.checked_sub(8).ok_or(DumpError::Broken { at })?;
        let payload = reader.bytes(stored)?;
        // Files may hold headers only; such packets can't be played.
        if stored == on_the_wire {
            found.push(Datagram {
                at: Duration::from_millis(u64::from(millis)),
                payload,
            });
        }
    }
    Ok(found)
}

/// draft-ietf-opsawg-pcap: 24 bytes of header, then packets behind 16 bytes each.
fn pcap(file: &[u8], endian: Endian, nanos_per_tick: u32) -> Result<Vec<Datagram<'_>>, DumpError> {
    let mut reader = Reader::new(file, endian);
    reader.skip(20)?;
    // The upper bits tell of frame check sequences.
    let link = Link::from_number(reader.u32()? & 0xffff)?;
    let mut found = Vec::new();
    while !reader.is_empty() {
        let seconds = reader.u32()?;
        let ticks = reader.u32()?;
        let stored = reader.u32()? as usize;
        reader.skip(4)?;
        let frame = reader.bytes(stored)?;
        let nanos = u64::from(ticks) * u64::from(nanos_per_tick);
        found.extend(link.udp_payload(frame).map(|payload| Datagram {
            at: Duration::from_secs(u64::from(seconds)) + Duration::from_nanos(nanos),
            payload,
        }));
    }
    Ok(found)
}

/// One interface of a pcapng section.
#[derive(Clone, Copy)]
struct Interface {
    link: Option<Link>,
    ticks_per_second: u64,
}

/// draft-ietf-opsawg-pcapng: blocks of type, length, body, length.
fn pcapng(file: &[u8]) -> Result<Vec<Datagram<'_>>, DumpError> {
    const SECTION_HEADER: u32 = 0x0a0d_0d0a;
    const INTERFACE: u32 = 1;
    const ENHANCED_PACKET: u32 = 6;
    let mut reader = Reader::new(file, Endian::Little);
    let mut interfaces: Vec<Interface> = Vec::new();
    let mut found = Vec::new();
    while !reader.is_empty() {
        let at = reader.at;
        let kind = reader.u32()?;
        if kind == SECTION_HEADER {
            // §4.1: the byte order of a section shows in its magic number, behind the length.
            let magic = file.get(at + 8..at + 12).ok_or(DumpError::Broken { at })?;
            reader.endian = match magic {
                [0x4d, 0x3c, 0x2b, 0x1a] => Endian::Little,
                [0x1a, 0x2b, 0x3c, 0x4d] => Endian::Big,
                _ => return Err(DumpError::Broken { at }),
            };
            interfaces.clear();
        }
        let length = reader.u32()? as usize;
        let inner = length.checked_sub(12).ok_or(DumpError::Broken { at })?;
        let mut body = Reader::new(reader.bytes(inner)?, reader.endian);
        reader.skip(4)?;
        match kind {
            INTERFACE => interfaces.push(interface(&mut body)?),
            ENHANCED_PACKET => found.extend(enhanced_packet(&mut body, &interfaces)?),
            _ => {}
        }
    }
    Ok(found)
}

/// §4.2: link type, snap length, options; of these only the resolution of time stamps concerns us.
fn interface(body: &mut Reader<'_>) -> Result<Interface, DumpError> {
    const TIME_RESOLUTION: u16 = 9;
    let link = Link::from_number(u32::from(body.u16()?)).ok();
    body.skip(6)?;
    let mut ticks_per_second = 1_000_000;
    while !body.is_empty() {
        let option = body.u16()?;
        let length = usize::from(body.u16()?);
        let value = body.bytes(length.next_multiple_of(4))?;
        if option == TIME_RESOLUTION && length == 1 {
            let exponent = u32::from(value[0] & 0x7f);
            let base: u64 = if value[0] & 0x80 == 0 { 10 } else { 2 };
            ticks_per_second = base
                .checked_pow(exponent)
                .ok_or(DumpError::Broken { at: body.at })?;
        }
    }
    Ok(Interface {
        link,
        ticks_per_second,
    })
}

/// §4.3: interface, time in two halves, stored length, length on the wire, frame.
fn enhanced_packet<'a>(
    body: &mut Reader<'a>,
    interfaces: &[Interface],
) -> Result<Option<Datagram<'a>>, DumpError> {
    let number = body.u32()? as usize;
    let interface = interfaces
        .get(number)
        .ok_or(DumpError::Broken { at: body.at })?;
    let ticks = u64::from(body.u32()?) << 32 | u64::from(body.u32()?);
    let stored = body.u32()? as usize;
    body.skip(4)?;
    let frame = body.bytes(stored)?;
    let per_second = interface.ticks_per_second;
    let nanos = u128::from(ticks % per_second) * 1_000_000_000 / u128::from(per_second);
    // The remainder is below a second.
    let at = Duration::new(ticks / per_second, nanos as u32);
    let payload = interface.link.and_then(|link| link.udp_payload(frame));
    Ok(payload.map(|payload| Datagram { at, payload }))
}

/// What precedes the IP header (link types as in the tcpdump registry).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    /// Four bytes of address family.
    Null,
    /// 14 bytes, VLAN tags possible.
    Ethernet,
    /// Nothing.
    Raw,
    /// What `tcpdump -i any` writes: 16 bytes, EtherType last.
    LinuxCooked,
    /// Its second version: 20 bytes, EtherType first.
    LinuxCooked2,
}

impl Link {
    fn from_number(number: u32) -> Result<Self, DumpError> {
        match number {
            0 => Ok(Self::Null),
            1 => Ok(Self::Ethernet),
            12 | 101 | 228 | 229 => Ok(Self::Raw),
            113 => Ok(Self::LinuxCooked),
            276 => Ok(Self::LinuxCooked2),
            _ => Err(DumpError::UnknownLink(number)),
        }
    }

    /// The payload, if the frame is whole and carries UDP in an IP packet that is no fragment.
    fn udp_payload(self, frame: &[u8]) -> Option<&[u8]> {
        let packet = match self {
            Self::Raw => frame,
            Self::Null => frame.get(4..)?,
            Self::LinuxCooked => frame.get(16..)?,
            Self::LinuxCooked2 => frame.get(20..)?,
            Self::Ethernet => {
                let mut at = 12;
                // IEEE 802.1Q and 802.1ad tags.
                while matches!(frame.get(at..at + 2)?, [0x81, 0x00] | [0x88, 0xa8]) {
                    at += 4;
                }
                frame.get(at + 2..)?
            }
        };
        let datagram = match packet.first()? >> 4 {
            4 => ipv4_datagram(packet)?,
            6 => ipv6_datagram(packet)?,
            _ => return None,
        };
        let length = usize::from(u16::from_be_bytes([*datagram.get(4)?, *datagram.get(5)?]));
        datagram.get(8..length)
    }
}

fn ipv4_datagram(packet: &[u8]) -> Option<&[u8]> {
    const UDP: u8 = 17;
    let header_bytes = usize::from(packet.first()? & 0x0f) * 4;
    // RFC 791 §3.1: more fragments, or an offset.
    let is_fragment = *packet.get(6)? & 0x3f != 0 || *packet.get(7)? != 0;
    if is_fragment || *packet.get(9)? != UDP {
        return None;
    }
    packet.get(header_bytes..)
}

/// Extension headers are rare where media flows; packets with them are passed over.
fn ipv6_datagram(packet: &[u8]) -> Option<&[u8]> {
    const UDP: u8 = 17;
    (*packet.get(6)? == UDP).then_some(packet.get(40..)?)
}

#[derive(Clone, Copy, Debug)]
enum Endian {
    Little,
    Big,
}

/// Reads numbers from the front.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    endian: Endian,
}

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8], endian: Endian) -> Self {
        Self {
            bytes,
            at: 0,
            endian,
        }
    }

    fn is_empty(&self) -> bool {
        self.at == self.bytes.len()
    }

    fn bytes(&mut self, length: usize) -> Result<&'a [u8], DumpError> {
        let end = self.at.checked_add(length);
        let bytes = end
            .and_then(|end| self.bytes.get(self.at..end))
            .ok_or(DumpError::Broken { at: self.at })?;
        self.at += length;
        Ok(bytes)
    }

    fn skip(&mut self, length: usize) -> Result<(), DumpError> {
        self.bytes(length).map(|_| ())
    }

    fn u16(&mut self) -> Result<u16, DumpError> {
        let bytes = self.bytes(2)?;
        let bytes = [bytes[0], bytes[1]];
        Ok(match self.endian {
            Endian::Little => u16::from_le_bytes(bytes),
            Endian::Big => u16::from_be_bytes(bytes),
        })
    }

    fn u32(&mut self) -> Result<u32, DumpError> {
        let bytes = self.bytes(4)?;
        let bytes = [bytes[0], bytes[1], bytes[2], bytes[3]];
        Ok(match self.endian {
            Endian::Little => u32::from_le_bytes(bytes),
            Endian::Big => u32::from_be_bytes(bytes),
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// An rtpdump file of `packets`: milliseconds, bytes.
    pub(in crate::stream) fn rtpdump_file(packets: &[(u32, Vec<u8>)]) -> Vec<u8> {
        let mut file = b"#!rtpplay1.0 127.0.0.1/5004\n".to_vec();
        file.extend([0; 16]);
        for (millis, packet) in packets {
            let length = packet.len() as u16;
            file.extend((length + 8).to_be_bytes());
            file.extend(length.to_be_bytes());
            file.extend(millis.to_be_bytes());
            file.extend(packet);
        }
        file
    }

    fn udp(payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x13, 0x88, 0x13, 0x89];
        bytes.extend((payload.len() as u16 + 8).to_be_bytes());
        bytes.extend([0, 0]);
        bytes.extend(payload);
        bytes
    }

    fn ipv4(payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17, 0, 0];
        bytes.extend([127, 0, 0, 1, 127, 0, 0, 1]);
        bytes.extend(udp(payload));
        bytes
    }

    fn ethernet(payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 12];
        bytes.extend([0x81, 0, 0, 5, 8, 0]);
        bytes.extend(ipv4(payload));
        // Short frames are padded; the padding is no payload.
        bytes.extend([0; 6]);
        bytes
    }

    fn pcap_file(endian: Endian, link: u32, frames: &[Vec<u8>]) -> Vec<u8> {
        let number = |value: u32| match endian {
            Endian::Little => value.to_le_bytes(),
            Endian::Big => value.to_be_bytes(),
        };
        let mut file = number(0xa1b2_c3d4).to_vec();
        file.extend([0; 16]);
        file.extend(number(link));
        for (index, frame) in frames.iter().enumerate() {
            file.extend(number(7));
            file.extend(number(index as u32 * 20_000));
            file.extend(number(frame.len() as u32));
            file.extend(number(frame.len() as u32));
            file.extend(frame);
        }
        file
    }

    fn pcapng_file(frames: &[Vec<u8>]) -> Vec<u8> {
        let mut file = Vec::new();
        let mut block = |kind: u32, body: &[u8]| {
            let length = (body.len() as u32 + 12).to_le_bytes();
            file.extend(kind.to_le_bytes());
            file.extend(length);
            file.extend(body);
            file.extend(length);
        };
        block(0x0a0d_0d0a, &[0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0]);
        // Ethernet, in milliseconds.
        block(1, &[1, 0, 0, 0, 0, 0, 0, 0, 9, 0, 1, 0, 3, 0, 0, 0]);
        for (index, frame) in frames.iter().enumerate() {
            let mut body = Vec::new();
            for word in [0, 0, 7_000 + index as u32 * 20, frame.len() as u32, 0] {
                body.extend(word.to_le_bytes());
            }
            body.extend(frame);
            body.resize(body.len().next_multiple_of(4), 0);
            block(6, &body);
        }
        file
    }

    fn assert_reads(file: &[u8], what: &str) {
        let found = datagrams(file).expect(what);
        let payloads: Vec<&[u8]> = found.iter().map(|datagram| datagram.payload).collect();
        assert_eq!(payloads, [&b"one"[..], &b"three"[..]], "{what}");
        assert_eq!(found[1].at - found[0].at, Duration::from_millis(40));
    }

    #[test]
    fn every_format_gives_its_udp_payloads() {
        let mut tcp = ethernet(b"two");
        tcp[27] = 6;
        let frames = [ethernet(b"one"), tcp, ethernet(b"three")];
        assert_reads(&pcap_file(Endian::Little, 1, &frames), "little-endian pcap");
        assert_reads(&pcap_file(Endian::Big, 1, &frames), "big-endian pcap");
        assert_reads(&pcapng_file(&frames), "pcapng");
        let raw = [ipv4(b"one"), vec![0x45], ipv4(b"three")];
        assert_reads(&pcap_file(Endian::Little, 101, &raw), "raw IP");
        let cooked = raw.map(|packet| [vec![0; 16], packet].concat());
        assert_reads(&pcap_file(Endian::Little, 113, &cooked), "cooked");
        let mut dump = rtpdump_file(&[
            (0, b"one".to_vec()),
            (20, b"cut short".to_vec()),
            (40, b"three".to_vec()),
        ]);
        let cut = dump.len() - 13 - 9 - 6;
        dump[cut..cut + 2].copy_from_slice(&100_u16.to_be_bytes());
        assert_reads(&dump, "rtpdump");
    }

    #[test]
    fn broken_files_are_refused() {
        assert!(matches!(
            datagrams(b"RIFF...."),
            Err(DumpError::UnknownFormat)
        ));
        let file = pcap_file(Endian::Little, 1, &[ethernet(b"one")]);
        assert!(matches!(
            datagrams(&file[..file.len() - 1]),
            Err(DumpError::Broken { .. })
        ));
        let wireless = pcap_file(Endian::Little, 105, &[]);
        assert!(matches!(
            datagrams(&wireless),
            Err(DumpError::UnknownLink(105))
        ));
        let file = pcapng_file(&[ethernet(b"one")]);
        assert!(matches!(
            datagrams(&file[..file.len() - 1]),
            Err(DumpError::Broken { .. })
        ));
    }

    proptest! {
        #[test]
        fn no_file_makes_it_panic(kind in 0..4_usize, noise in prop::collection::vec(any::<u8>(), 0..80)) {
            let frames = [ethernet(b"one"), ethernet(b"three")];
            let mut file = match kind {
                0 => pcap_file(Endian::Little, 1, &frames),
                1 => pcap_file(Endian::Little, 276, &frames),
                2 => pcapng_file(&frames),
                _ => rtpdump_file(&[(0, b"one".to_vec())]),
            };
            for (index, byte) in noise.iter().enumerate() {
                let at = 10 + (index * 7 + usize::from(*byte)) % (file.len() - 10);
                if byte % 3 == 0 {
                    file[at] = *byte;
                }
            }
            let _ = datagrams(&file);
        }
    }
}
