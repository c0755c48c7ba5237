//! Memory: enough of it, in large pages, and never on a disk.

use super::finding::{Finding, Topic};
use super::host::{Host, print_bytes};
use super::kernel::control_group;
use super::plan::Plan;

const ROOM: Topic = Topic {
    subject: "memory",
    why: "Packets live in memory that is taken at the start; a node that grows beyond its limit is killed.",
};
const HUGE_PAGES: Topic = Topic {
    subject: "huge pages",
    why: "Packets lie all over the arena, and with pages of 4 KiB nearly each of them costs a walk through page tables.",
};
const SWAP: Topic = Topic {
    subject: "swap",
    why: "A worker that waits for a page from a disk forwards nothing for milliseconds.",
};

/// What a node takes besides its packets: about 12 KiB a transport, and the program itself.
const PER_TRANSPORT: u64 = 16 << 10;
const PROGRAM: u64 = 64 << 20;
const HUGE_PAGE: u64 = 2 << 20;

pub(super) fn inspect(host: &Host<'_>, plan: &Plan, findings: &mut Vec<Finding>) {
    findings.push(room(host, plan));
    findings.push(huge_pages(host, plan));
    findings.push(swap(host));
}

fn room(host: &Host<'_>, plan: &Plan) -> Finding {
    let full = plan.memory + plan.transports * PER_TRANSPORT + PROGRAM;
    let group = control_group(host);
    let limit = group.and_then(|group| host.value::<u64>(&format!("{group}/memory.max")));
    let available = kibibytes(host, "MemAvailable");
    let (have, which) = match (limit, available) {
        (Some(limit), Some(available)) if limit < available => (limit, "allowed to this container"),
        (_, Some(available)) => (available, "available"),
        (Some(limit), None) => (limit, "allowed to this container"),
        (None, None) => return ROOM.unknown("/proc/meminfo can't be read"),
    };
    let found = format!(
        "{} {which}; {} for packets, {} in all when full",
        print_bytes(have),
        print_bytes(plan.memory),
        print_bytes(full)
    );
    let mend = "smaller media.arena or media.transports_max, fewer media.workers, or more memory";
    if have < plan.memory + PROGRAM {
        ROOM.bad(found, mend)
    } else if have < full {
        ROOM.advice(found, mend)
    } else {
        ROOM.ok(found)
    }
}

fn huge_pages(host: &Host<'_>, plan: &Plan) -> Finding {
    let free = host.field("/proc/meminfo", "HugePages_Free");
    let free: u64 = free.and_then(|text| text.parse().ok()).unwrap_or(0);
    if free * HUGE_PAGE >= plan.memory {
        return HUGE_PAGES.ok(format!("{free} reserved pages of 2 MiB are free"));
    }
    let pages = plan.memory.div_ceil(HUGE_PAGE);
    match host.chosen("/sys/kernel/mm/transparent_hugepage/enabled") {
        Some(mode) if mode == "always" || mode == "madvise" => {
            HUGE_PAGES.ok(format!("transparent ones by {mode}, which the node asks for"))
        }
        Some(mode) => HUGE_PAGES.advice(
            format!("transparent ones are set to {mode}, and {free} reserved pages are free"),
            format!(
                "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled   # or sysctl -w vm.nr_hugepages={pages}"
            ),
        ),
        None => HUGE_PAGES.unknown("/sys/kernel/mm/transparent_hugepage/enabled can't be read"),
    }
}

fn swap(host: &Host<'_>) -> Finding {
    let Some(total) = kibibytes(host, "SwapTotal") else {
        return SWAP.unknown("/proc/meminfo can't be read");
    };
    if total == 0 {
        return SWAP.ok("none");
    }
    let used = total.saturating_sub(kibibytes(host, "SwapFree").unwrap_or(total));
    let found = format!(
        "{}, of which {} are in use",
        print_bytes(total),
        print_bytes(used)
    );
    SWAP.advice(
        found,
        "systemd: MemorySwapMax=0; or swapoff -a; or sysctl -w vm.swappiness=1",
    )
}

/// A line of `/proc/meminfo`, in bytes.
fn kibibytes(host: &Host<'_>, key: &str) -> Option<u64> {
    let value = host.field("/proc/meminfo", key)?;
    let number: u64 = value.split_whitespace().next()?.parse().ok()?;
    Some(number << 10)
}
