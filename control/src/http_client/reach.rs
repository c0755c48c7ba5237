//! To which addresses requests may go, and how they get there.

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Uri;
use hyper::rt::ReadBufCursor;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tower::Service;

/// How long one address may take to answer, where a host has several. A way that swallows everything must not hide those that work.
const CONNECT: Duration = Duration::from_secs(3);

/// To which addresses requests may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// To those of the public internet only.
    Public,
    /// To all.
    Everywhere,
}

/// What kind of address this is, unless it is one of the public internet.
///
/// IPv6 addresses that carry an IPv4 address (mapped, compatible, NAT64, 6to4, Teredo) are judged by what they carry.
pub fn internal(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => internal_v4(address),
        IpAddr::V6(address) => internal_v6(address),
    }
}

fn internal_v4(address: Ipv4Addr) -> Option<&'static str> {
    // IANA's registry of special-purpose IPv4 addresses (RFC 6890), what is not global.
    match address.octets() {
        [0, ..] => Some("an address of this network"),
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Some("a private address"),
        [100, 64..=127, ..] => Some("an address of a carrier's own network"),
        [127, ..] => Some("a loopback address"),
        [169, 254, ..] => Some("a link-local address"),
        [192, 0, 0, _] => Some("an address of a protocol's own"),
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => {
            Some("an address of documentation")
        }
        [192, 88, 99, _] => Some("an address of a relay"),
        [198, 18..=19, ..] => Some("an address of benchmarks"),
        [224..=239, ..] => Some("a multicast address"),
        [240..=255, ..] => Some("a reserved address"),
        _ => None,
    }
}

fn internal_v6(address: Ipv6Addr) -> Option<&'static str> {
    let parts = address.segments();
    let carried = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        internal_v4(Ipv4Addr::new(a, b, c, d))
    };
    match parts {
        [0, 0, 0, 0, 0, 0, 0, 0] => Some("the unspecified address"),
        [0, 0, 0, 0, 0, 0, 0, 1] => Some("a loopback address"),
        // Mapped and compatible (RFC 4291 §2.5.5), translated (RFC 2765 §2.1).
        [0, 0, 0, 0, 0, 0xffff | 0, high, low] | [0, 0, 0, 0, 0xffff, 0, high, low] => {
            carried(high, low)
        }
        // NAT64: the well-known prefix (RFC 6052 §2.1), and the one for use inside a network (RFC 8215).
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => carried(high, low),
        [0x64, 0xff9b, 1, ..] => Some("an address of a network's own translator"),
        // 6to4 (RFC 3056 §2).
        [0x2002, high, low, ..] => carried(high, low),
        // Teredo (RFC 4380 §4): the client's address is written inverted.
        [0x2001, 0, .., high, low] => carried(!high, !low),
        [0x100, 0, 0, 0, ..] => Some("an address that discards"),
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Some("an address of documentation"),
        [0x2001, 2, 0, ..] => Some("an address of benchmarks"),
        [0x5f00, ..] => Some("an address of segment routing"),
        [0xfc00..=0xfdff, ..] => Some("a private address"),
        [0xfe80..=0xfebf, ..] => Some("a link-local address"),
        [0xfec0..=0xfeff, ..] => Some("a site-local address"),
        [0xff00..=0xffff, ..] => Some("a multicast address"),
        _ => None,
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoConnection {
    /// Every address of a host is one that must not be reached.
    #[error("{host} is at {address}, {what}")]
    Refused {
        host: String,
        address: SocketAddr,
        what: &'static str,
    },
    /// Nothing that we decided.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Makes connections.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    reach: Reach,
    tls: Arc<ClientConfig>,
}

impl Connector {
    pub(super) fn new(reach: Reach, tls: Arc<ClientConfig>) -> Self {
        Self { reach, tls }
    }

    async fn connect(self, uri: Uri) -> Result<Stream, NoConnection> {
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(io::Error::other(format!("'{uri}' is not http or https")).into()),
        };
        let host = uri.host().unwrap_or_default();
        let host = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let stream = self.dial(&host, port).await?;
        // Requests are small and somebody waits for each.
        let _ = stream.set_nodelay(true);
        if !secure {
            return Ok(Stream(TokioIo::new(Box::new(stream))));
        }
        let name = ServerName::try_from(host).map_err(io::Error::other)?;
        let stream = TlsConnector::from(self.tls).connect(name, stream).await?;
        Ok(Stream(TokioIo::new(Box::new(stream))))
    }

    async fn dial(&self, host: &str, port: u16) -> Result<TcpStream, NoConnection> {
        let addresses = tokio::net::lookup_host((host, port)).await?;
        self.dial_any(host, addresses).await
    }

    /// The first that answers, in this order.
    pub(super) async fn dial_any(
        &self,
        host: &str,
        addresses: impl Iterator<Item = SocketAddr>,
    ) -> Result<TcpStream, NoConnection> {
        let mut last = None;
        for address in addresses {
            if self.reach == Reach::Public
                && let Some(what) = internal(address.ip())
            {
                last.get_or_insert(NoConnection::Refused {
                    host: host.to_owned(),
                    address,
                    what,
                });
                continue;
            }
            match timeout(CONNECT, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Err(_) => {
                    let text = format!("{address}: no answer within {CONNECT:?}");
                    last = Some(io::Error::new(io::ErrorKind::TimedOut, text).into());
                }
                Ok(Err(error)) => {
                    let text = format!("{address}: {error}");
                    last = Some(io::Error::new(error.kind(), text).into());
                }
            }
        }
        Err(last.unwrap_or_else(|| io::Error::other(format!("{host} has no address")).into()))
    }
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = NoConnection;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, NoConnection>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), NoConnection>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}

trait ReadWrite: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> ReadWrite for T {}

/// A connection, with TLS or without.
pub(super) struct Stream(TokioIo<Box<dyn ReadWrite>>);

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl hyper::rt::Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl hyper::rt::Write for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_write_an_internal_address_is_known() {
        for text in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.254",
            "127.0.0.1",
            "127.9.9.9",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.168.1.1",
            "198.18.0.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:0:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::8.8.8.8",
            "2002:7f00:1::1",
            "2002:c0a8:101::",
            "2001:0:4136:e378:8000:63bf:80ff:fffe",
            "100::1",
            "2001:db8::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
        ] {
            let address: IpAddr = text.parse().expect("an address");
            assert!(internal(address).is_some(), "{text}");
        }
    }

    #[test]
    fn public_addresses_are_left_alone() {
        for text in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.1",
            "126.255.255.255",
            "169.253.0.1",
            "172.15.255.255",
            "172.32.0.1",
            "192.0.1.1",
            "192.167.1.1",
            "198.17.255.255",
            "198.20.0.1",
            "223.255.255.255",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
            "2002:808:808::1",
            "2606:4700::1111",
            "2a00:1450:4001::1",
        ] {
            let address: IpAddr = text.parse().expect("an address");
            assert_eq!(internal(address), None, "{text}");
        }
    }
}
