//! The kernel and what it lets this process do.

use super::finding::{Finding, Topic};
use super::host::{Host, print_bytes};
use super::plan::Plan;
use crate::config::Driver;

const VERSION: Topic = Topic {
    subject: "kernel",
    why: "io_uring's multishot receive needs Linux 6.1, and waiting for several packets at once 6.12.",
};
const IO_URING: Topic = Topic {
    subject: "io_uring",
    why: "It receives, sends and waits with one system call per turn; without it each of these is a call of its own.",
};
const MEMLOCK: Topic = Topic {
    subject: "locked memory",
    why: "The buffers that a ring shares with the kernel may count against RLIMIT_MEMLOCK, and a ring that exceeds it is refused.",
};
const FILES: Topic = Topic {
    subject: "open files",
    why: "Listeners, the link, the admin endpoint and, where used, one socket per transport each take a descriptor.",
};
const QUOTA: Topic = Topic {
    subject: "processor quota",
    why: "A control group that has used its quota stands still for the rest of the period (100 ms as a rule), and its media with it.",
};
const CLOCK: Topic = Topic {
    subject: "time",
    why: "Sender reports carry wall-clock time, certificates have dates, and logs of several nodes are compared by it.",
};

/// The least limit of locked memory that every ring fits in: what kernels give by default since 5.16.
const MEMLOCK_MIN: u64 = 8 << 20;
/// What a node opens besides sockets for transports.
const FILES_MIN: u64 = 1024;
/// Daemons that keep the clock.
const TIME_DAEMONS: [&str; 7] = [
    "chronyd",
    "ntpd",
    "ntp-daemon",
    "openntpd",
    "phc2sys",
    "systemd-timesyn",
    "timemaster",
];

pub(super) fn inspect(host: &Host<'_>, plan: &Plan, findings: &mut Vec<Finding>) {
    findings.push(version(host));
    findings.push(io_uring(host, plan));
    findings.push(locked_memory(host));
    findings.push(open_files(host, plan));
    findings.push(quota(host, plan));
    findings.push(time(host));
}

fn version(host: &Host<'_>) -> Finding {
    let Some(release) = host.text("/proc/sys/kernel/osrelease") else {
        return VERSION.unknown("/proc/sys/kernel/osrelease can't be read");
    };
    let mut numbers = release
        .split(|character: char| !character.is_ascii_digit())
        .map(|part| part.parse().unwrap_or(0));
    let version: (u32, u32) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let found = format!("Linux {release}");
    match version {
        (0, _) => VERSION.unknown(found),
        (6, 1..12) => VERSION.advice(found, "use Linux 6.12 or later"),
        version if version < (6, 1) => VERSION.warning(found, "use Linux 6.12 or later"),
        _ => VERSION.ok(found),
    }
}

fn io_uring(host: &Host<'_>, plan: &Plan) -> Finding {
    let reason = match host.probes().io_uring() {
        Ok(_) if plan.driver == Driver::Mmsg => {
            return IO_URING.advice(
                "a ring can be had, but the configuration does without",
                "media.driver = \"auto\"",
            );
        }
        Ok(features) => return IO_URING.ok(features),
        Err(reason) => reason,
    };
    let mend = mend_of_io_uring(host);
    match plan.driver {
        Driver::Uring => IO_URING.bad(
            format!("refused, and media.driver demands it: {reason}"),
            mend,
        ),
        Driver::Mmsg => IO_URING.ok(format!("not used by configuration; refused: {reason}")),
        Driver::Auto => IO_URING.warning(format!("refused: {reason}"), mend),
    }
}

fn mend_of_io_uring(host: &Host<'_>) -> String {
    let switch = host.value::<u8>("/proc/sys/kernel/io_uring_disabled");
    if let Some(1 | 2) = switch {
        return "sysctl -w kernel.io_uring_disabled=0   # and kernel.io_uring_disabled=0 in /etc/sysctl.d/90-ringcast.conf".into();
    }
    let filter = host.field("/proc/self/status", "Seccomp");
    if filter.as_deref() == Some("2") {
        return "allow io_uring_setup, io_uring_enter and io_uring_register in the seccomp profile:\n\
                docker run --security-opt seccomp=PROFILE.json; systemd: SystemCallFilter=@io-event io_uring_setup io_uring_enter io_uring_register"
            .into();
    }
    "a kernel with CONFIG_IO_URING, 6.1 or later; a security module may have to permit it (journalctl -k)"
        .into()
}

fn locked_memory(host: &Host<'_>) -> Finding {
    match limit(host, "Max locked memory") {
        None => MEMLOCK.unknown("/proc/self/limits can't be read"),
        Some((_, None)) => MEMLOCK.ok("unlimited"),
        Some((_, Some(bytes))) if bytes >= MEMLOCK_MIN => MEMLOCK.ok(print_bytes(bytes)),
        Some((_, Some(bytes))) => MEMLOCK.warning(
            print_bytes(bytes),
            "systemd: LimitMEMLOCK=64M; shell: ulimit -l 65536; docker run --ulimit memlock=67108864",
        ),
    }
}

fn open_files(host: &Host<'_>, plan: &Plan) -> Finding {
    let wanted = FILES_MIN + plan.transports;
    // The node raises its soft limit to the hard one.
    match limit(host, "Max open files") {
        None => FILES.unknown("/proc/self/limits can't be read"),
        Some((_, None)) => FILES.ok("unlimited"),
        Some((_, Some(hard))) if hard >= wanted => {
            FILES.ok(format!("{hard}, and {wanted} are enough"))
        }
        Some((_, Some(hard))) => {
            let found = format!("{hard}, fewer than the {wanted} of a full node");
            let mend = format!("systemd: LimitNOFILE={wanted}; shell: ulimit -Hn {wanted}");
            match hard < FILES_MIN {
                true => FILES.warning(found, mend),
                false => FILES.advice(found, mend),
            }
        }
    }
}

/// Soft and hard limit; `None` inside means unlimited.
fn limit(host: &Host<'_>, name: &str) -> Option<(Option<u64>, Option<u64>)> {
    let text = host.text("/proc/self/limits")?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let mut values = line.split_whitespace();
    let mut next = || match values.next()? {
        "unlimited" => Some(None),
        number => Some(Some(number.parse().ok()?)),
    };
    Some((next()?, next()?))
}

fn quota(host: &Host<'_>, plan: &Plan) -> Finding {
    let Some(group) = control_group(host) else {
        return QUOTA.unknown("no control group of version 2 to read");
    };
    let throttled = host
        .text(&format!("{group}/cpu.stat"))
        .and_then(|text| {
            text.lines()
                .find_map(|line| line.strip_prefix("nr_throttled "))?
                .parse::<u64>()
                .ok()
        })
        .unwrap_or(0);
    let limit = host.text(&format!("{group}/cpu.max"));
    let (Some(cores), text) = parse_quota(limit.as_deref()) else {
        return QUOTA.ok("none");
    };
    let found = format!(
        "{text}, for {} workers; throttled {throttled} times so far",
        plan.workers
    );
    let mend = "systemd: CPUQuota= (none); docker: no --cpus; kubernetes: no cpu limit, or whole cores with the static CPU manager";
    if cores < plan.workers as f64 || throttled > 0 {
        let fewer = format!(
            "{mend}\nor fewer workers: media.workers = {}",
            (cores as u64).max(1)
        );
        QUOTA.warning(found, fewer)
    } else {
        QUOTA.advice(found, mend)
    }
}

/// `max 100000` or `150000 100000`: how many cores' worth of time, and in words.
fn parse_quota(text: Option<&str>) -> (Option<f64>, String) {
    let parse = |text: &str| {
        let (quota, period) = text.split_once(' ')?;
        let (quota, period): (f64, f64) = (quota.parse().ok()?, period.trim().parse().ok()?);
        (period > 0.0).then(|| quota / period)
    };
    let cores = text.and_then(parse);
    let words = cores.map_or_else(String::new, |cores| format!("time of {cores:.1} cores"));
    (cores, words)
}

/// The folder of this process's own control group, where that is of version 2 and says something about processors.
pub(super) fn control_group(host: &Host<'_>) -> Option<String> {
    let text = host.text("/proc/self/cgroup")?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
    let folder = format!("/sys/fs/cgroup{}", path.trim_end_matches('/'));
    let here = host.exists(&format!("{folder}/cgroup.controllers"));
    here.then_some(folder)
}

fn time(host: &Host<'_>) -> Finding {
    if host.exists("/run/systemd/timesync/synchronized") {
        return CLOCK.ok("synchronised by systemd-timesyncd");
    }
    let processes = host.names("/proc").into_iter();
    let mut names = processes
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
        .filter_map(|process| host.text(&format!("/proc/{process}/comm")));
    match names.find(|name| TIME_DAEMONS.contains(&name.as_str())) {
        Some(name) => CLOCK.ok(format!("{name} is running")),
        None => CLOCK.advice(
            "no program that keeps the clock is running here; in a container or virtual machine the host may do it",
            "apt-get install chrony",
        ),
    }
}
