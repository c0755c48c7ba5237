//! UDP in the kernel: queues, their losses, ports, connection tracking.

use super::finding::{Finding, Topic};
use super::host::{Host, print_bytes};
use super::plan::Plan;

const RECEIVE: Topic = Topic {
    subject: "receive buffer",
    why: "A worker that is held up for a moment finds in the socket's queue what came meanwhile, if it fitted.",
};
const SEND: Topic = Topic {
    subject: "send buffer",
    why: "A turn may send hundreds of packets at once; what does not fit is dropped or has to wait.",
};
const OPTIONS: Topic = Topic {
    subject: "option memory",
    why: "Arrival times and run lengths travel as control messages, which the kernel charges to net.core.optmem_max.",
};
const TOTAL: Topic = Topic {
    subject: "UDP memory",
    why: "All UDP queues together may not exceed net.ipv4.udp_mem, however large each may be.",
};
const BACKLOG: Topic = Topic {
    subject: "backlog",
    why: "Packets that another core, or no driver of a network card, hands to the stack wait in this queue, and are dropped when it is full.",
};
const LOSSES: Topic = Topic {
    subject: "UDP losses",
    why: "Packets that the kernel had and did not deliver, of all programs since the start, are lost pictures on a busy node.",
};
const PORTS: Topic = Topic {
    subject: "media ports",
    why: "The kernel gives ports of its ephemeral range to any program, and a port that is taken keeps the node from starting.",
};
const TRACKING: Topic = Topic {
    subject: "connection tracking",
    why: "Each packet costs a look-up in its table, and new peers are dropped when the table is full.",
};

/// What a control message buffer of ours needs at most.
const OPTIONS_MIN: u64 = 4096;
/// The kernel's own default of the backlog; with RPS one core hands packets to others through it.
const BACKLOG_MIN: u64 = 1000;
const BACKLOG_WITH_STEERING: u64 = 10_000;
const PAGE: u64 = 4096;
/// The capability that lets a process go beyond rmem_max and wmem_max.
const CAP_NET_ADMIN: u32 = 12;

pub(super) fn inspect(host: &Host<'_>, plan: &Plan, findings: &mut Vec<Finding>) {
    findings.push(queue(host, RECEIVE, "rmem_max", plan.receive_buffer));
    findings.push(queue(host, SEND, "wmem_max", plan.send_buffer));
    findings.push(options(host));
    findings.push(total(host, plan));
    findings.push(backlog(host, plan));
    findings.push(losses(host));
    findings.push(ports(host, plan));
    findings.push(tracking(host, plan));
}

fn queue(host: &Host<'_>, topic: Topic, key: &str, asked: u64) -> Finding {
    let Some(max) = host.value::<u64>(&format!("/proc/sys/net/core/{key}")) else {
        return topic.unknown(format!("net.core.{key} can't be read"));
    };
    let found = format!(
        "net.core.{key} is {}, asked for {}",
        print_bytes(max),
        print_bytes(asked)
    );
    if max >= asked {
        return topic.ok(found);
    }
    if may_administer_network(host) {
        return topic.ok(format!("{found}, which CAP_NET_ADMIN grants all the same"));
    }
    topic.warning(found, persistent(&format!("net.core.{key}={asked}")))
}

fn may_administer_network(host: &Host<'_>) -> bool {
    let mask = host.field("/proc/self/status", "CapEff");
    let mask = mask.and_then(|text| u64::from_str_radix(&text, 16).ok());
    // In a user namespace of its own a process may have the bit and yet not the right, which goes by the first one.
    let map = host.text("/proc/self/uid_map");
    let first = map.is_some_and(|map| map.split_whitespace().eq(["0", "0", "4294967295"]));
    first && mask.is_some_and(|mask| mask & (1 << CAP_NET_ADMIN) != 0)
}

fn options(host: &Host<'_>) -> Finding {
    match host.value::<u64>("/proc/sys/net/core/optmem_max") {
        None => OPTIONS.unknown("net.core.optmem_max can't be read"),
        Some(max) if max >= OPTIONS_MIN => OPTIONS.ok(print_bytes(max)),
        Some(max) => OPTIONS.warning(print_bytes(max), persistent("net.core.optmem_max=131072")),
    }
}

fn total(host: &Host<'_>, plan: &Plan) -> Finding {
    let read = |text: String| text.split_whitespace().nth(2)?.parse::<u64>().ok();
    let Some(pages) = host.text("/proc/sys/net/ipv4/udp_mem").and_then(read) else {
        return TOTAL.unknown("net.ipv4.udp_mem can't be read");
    };
    // The kernel doubles what is asked for, to pay for its own structures.
    let wanted = 2 * plan.sockets * (plan.receive_buffer + plan.send_buffer);
    let limit = pages * PAGE;
    let found = format!(
        "at most {} for all sockets; full queues of this node are {}",
        print_bytes(limit),
        print_bytes(wanted)
    );
    if limit >= wanted {
        return TOTAL.ok(found);
    }
    let pages = wanted.div_ceil(PAGE);
    let line = format!("net.ipv4.udp_mem={} {} {}", pages, pages * 2, pages * 3);
    TOTAL.advice(found, persistent(&line))
}

fn backlog(host: &Host<'_>, plan: &Plan) -> Finding {
    let Some(max) = host.value::<u64>("/proc/sys/net/core/netdev_max_backlog") else {
        return BACKLOG.unknown("net.core.netdev_max_backlog can't be read");
    };
    let dropped = backlog_drops(host);
    let found = format!("{max} packets a core, {dropped} dropped so far");
    let steered = plan
        .interfaces
        .iter()
        .any(|name| super::steering::is_steered(host, name));
    let least = match steered {
        true => BACKLOG_WITH_STEERING,
        false => BACKLOG_MIN,
    };
    let mend = persistent(&format!(
        "net.core.netdev_max_backlog={}",
        least.max(max * 2)
    ));
    if dropped > 0 {
        BACKLOG.warning(found, mend)
    } else if max < least {
        BACKLOG.advice(found, mend)
    } else {
        BACKLOG.ok(found)
    }
}

/// The second column of `/proc/net/softnet_stat`, one line a core.
fn backlog_drops(host: &Host<'_>) -> u64 {
    let text = host.text("/proc/net/softnet_stat").unwrap_or_default();
    let column = |line: &str| u64::from_str_radix(line.split_whitespace().nth(1)?, 16).ok();
    text.lines().filter_map(column).sum()
}

fn losses(host: &Host<'_>) -> Finding {
    let Some(text) = host.text("/proc/net/snmp") else {
        return LOSSES.unknown("/proc/net/snmp can't be read");
    };
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Udp:"));
    let (Some(names), Some(values)) = (lines.next(), lines.next()) else {
        return LOSSES.unknown("/proc/net/snmp says nothing of UDP");
    };
    let counter = |wanted: &str| -> u64 {
        let mut pairs = names.split_whitespace().zip(values.split_whitespace());
        let found = pairs.find(|(name, _)| *name == wanted);
        found.and_then(|(_, value)| value.parse().ok()).unwrap_or(0)
    };
    let received = counter("InDatagrams");
    let lost = counter("RcvbufErrors") + counter("MemErrors");
    let unsent = counter("SndbufErrors");
    let found = format!(
        "{lost} of {} received datagrams found no room, {unsent} could not be sent",
        received + lost
    );
    let mend = "see which socket: ss -uanm (the number after d); larger media.receive_buffer, more workers";
    let share = (lost + unsent) as f64 / (received + lost + unsent).max(1) as f64;
    if lost + unsent == 0 {
        LOSSES.ok(found)
    } else if share < 0.001 {
        LOSSES.advice(found, mend)
    } else {
        LOSSES.warning(found, mend)
    }
}

fn ports(host: &Host<'_>, plan: &Plan) -> Finding {
    let (first, last) = plan.ports;
    let range = plan.port_range();
    let parse = |text: String| {
        let mut numbers = text.split_whitespace().map(str::parse::<u16>);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    };
    let Some((low, high)) = host
        .text("/proc/sys/net/ipv4/ip_local_port_range")
        .and_then(parse)
    else {
        return PORTS.unknown("net.ipv4.ip_local_port_range can't be read");
    };
    if last < low || first > high {
        return PORTS.ok(format!("{range}, outside the ephemeral range {low}-{high}"));
    }
    let reserved = host.text("/proc/sys/net/ipv4/ip_local_reserved_ports");
    let reserved = reserved
        .and_then(|text| super::host::parse_list(&text))
        .unwrap_or_default();
    if (first..=last).all(|port| reserved.contains(&usize::from(port))) {
        return PORTS.ok(format!(
            "{range}, reserved within the ephemeral range {low}-{high}"
        ));
    }
    PORTS.warning(
        format!("{range} lie in the ephemeral range {low}-{high}"),
        persistent(&format!("net.ipv4.ip_local_reserved_ports={range}")),
    )
}

fn tracking(host: &Host<'_>, plan: &Plan) -> Finding {
    let folder = "/proc/sys/net/netfilter";
    let Some(count) = host.value::<u64>(&format!("{folder}/nf_conntrack_count")) else {
        return TRACKING.ok("not in the kernel");
    };
    let max = host
        .value::<u64>(&format!("{folder}/nf_conntrack_max"))
        .unwrap_or(0);
    let found = format!("{count} of {max} entries");
    if count == 0 {
        return TRACKING.ok(format!("{found}: loaded, but no rule uses it"));
    }
    let ports = plan.port_range().replace('-', ":");
    let mend = format!(
        "iptables -t raw -A PREROUTING -p udp --dport {ports} -j NOTRACK; iptables -t raw -A OUTPUT -p udp --sport {ports} -j NOTRACK\n\
         ip6tables likewise; nftables: udp dport {} notrack in a prerouting chain of priority raw",
        plan.port_range()
    );
    match count * 10 >= max * 9 {
        true => TRACKING.bad(found, mend),
        false => TRACKING.advice(found, mend),
    }
}

/// A sysctl line, and where to keep it.
fn persistent(line: &str) -> String {
    let quoted = match line.contains(' ') {
        true => format!("'{line}'"),
        false => line.to_owned(),
    };
    format!("sysctl -w {quoted}   # and {line} in /etc/sysctl.d/90-ringcast.conf")
}
