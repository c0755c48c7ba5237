//! What the node is going to need of the host.

use std::net::{IpAddr, Ipv4Addr};

use super::host::Host;
use crate::config::{Config, Driver};

/// The node to be, as far as the host matters to it.
pub(super) struct Plan {
    pub(super) workers: usize,
    pub(super) pinned: bool,
    /// The cores that workers will run on. All that the process may use, if workers are not pinned or the list is unknown.
    pub(super) cores: Vec<usize>,
    /// How many cores the process may use; 0 if the host does not say.
    pub(super) cores_allowed: usize,
    pub(super) ports: (u16, u16),
    pub(super) driver: Driver,
    pub(super) transports: u64,
    /// Memory for packets, all workers together, in bytes.
    pub(super) memory: u64,
    /// Queues of each socket in the kernel, in bytes.
    pub(super) receive_buffer: u64,
    pub(super) send_buffer: u64,
    pub(super) sockets: u64,
    /// The interfaces that media will use.
    pub(super) interfaces: Vec<String>,
}

impl Plan {
    pub(super) fn new(host: &Host<'_>, config: &Config) -> Self {
        let media = &config.media;
        let workers = usize::from(media.workers);
        let allowed = allowed_cores(host);
        let cores = match media.pin {
            true => allowed.iter().copied().take(workers).collect(),
            false => allowed.clone(),
        };
        let last = media.base_port.saturating_add(media.workers.max(1) - 1);
        Self {
            workers,
            pinned: media.pin,
            cores,
            cores_allowed: allowed.len(),
            ports: (media.base_port, last),
            driver: media.driver,
            transports: u64::from(media.transports_max) * u64::from(media.workers),
            memory: (media.arena.0 + media.bursts.0) * u64::from(media.workers),
            receive_buffer: media.receive_buffer.0,
            send_buffer: media.send_buffer.0,
            sockets: (workers * media.bind.len()) as u64,
            interfaces: interfaces(host, &media.bind),
        }
    }

    /// `20000-20003`, or one port.
    pub(super) fn port_range(&self) -> String {
        match self.ports {
            (first, last) if first == last => first.to_string(),
            (first, last) => format!("{first}-{last}"),
        }
    }
}

fn allowed_cores(host: &Host<'_>) -> Vec<usize> {
    let listed = host.field("/proc/self/status", "Cpus_allowed_list");
    listed
        .and_then(|text| super::host::parse_list(&text))
        .unwrap_or_default()
}

/// The interfaces that the routes name for what is bound: those of the addresses, and for the unspecified address the one
/// that leads to everywhere.
fn interfaces(host: &Host<'_>, bind: &[IpAddr]) -> Vec<String> {
    let routes = routes(host);
    let mut names: Vec<String> = Vec::new();
    for address in bind {
        let found = match address {
            IpAddr::V4(address) => longest_match(&routes, *address),
            // Routes of IPv6 seldom lead elsewhere than those of IPv4 on a host that has both.
            IpAddr::V6(_) => default_of_ipv6(host).filter(|_| bind.len() == 1),
        };
        if let Some(name) = found
            && !names.contains(&name)
        {
            names.push(name);
        }
    }
    names
}

struct Route {
    interface: String,
    destination: u32,
    mask: u32,
}

/// `/proc/net/route`: addresses are hexadecimal in the order of the host's own words.
fn routes(host: &Host<'_>) -> Vec<Route> {
    let text = host.text("/proc/net/route").unwrap_or_default();
    let parse = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let number = |at: usize| {
            let word = u32::from_str_radix(fields.get(at)?, 16).ok()?;
            Some(u32::from_be_bytes(word.to_ne_bytes()))
        };
        Some(Route {
            interface: (*fields.first()?).to_owned(),
            destination: number(1)?,
            mask: number(7)?,
        })
    };
    text.lines().skip(1).filter_map(parse).collect()
}

fn longest_match(routes: &[Route], address: Ipv4Addr) -> Option<String> {
    if address.is_loopback() {
        return Some("lo".into());
    }
    let address = u32::from(address);
    let matching = routes.iter().filter(|route| match address {
        0 => route.mask == 0,
        _ => address & route.mask == route.destination,
    });
    let best = matching.max_by_key(|route| route.mask)?;
    Some(best.interface.clone())
}

/// `/proc/net/ipv6_route`: destination, prefix length, …, interface. Entries of `lo` lead nowhere.
fn default_of_ipv6(host: &Host<'_>) -> Option<String> {
    let text = host.text("/proc/net/ipv6_route")?;
    let mut names = text.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let everywhere = fields.get(1) == Some(&"00");
        let name = *fields.last()?;
        (everywhere && name != "lo").then(|| name.to_owned())
    });
    names.next()
}
