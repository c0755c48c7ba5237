//! The cores that workers will run on.

use super::finding::{Finding, Topic};
use super::host::{Host, print_list};
use super::plan::Plan;

const CORES: Topic = Topic {
    subject: "cores",
    why: "Each worker is a loop that wants a core of its own; the link and the handshakes need a little of one too.",
};
const GOVERNOR: Topic = Topic {
    subject: "governor",
    why: "A core that is clocked down between frames is slow when the next one comes.",
};
const SIBLINGS: Topic = Topic {
    subject: "hyper-threads",
    why: "Two workers on one physical core share its execution units, and each forwards much less than it could alone.",
};
const ISOLATED: Topic = Topic {
    subject: "isolated cores",
    why: "What the scheduler puts on a worker's core delays its packets; isolated cores get nothing unasked.",
};
const SOURCE: Topic = Topic {
    subject: "clock source",
    why: "The clock is read several times a turn; from tsc that costs 20 ns, from hpet or acpi_pm a microsecond and a system call.",
};
const STEAL: Topic = Topic {
    subject: "stolen time",
    why: "Time that the hypervisor gives to other guests is missing between a packet's arrival and its departure.",
};

/// Clock sources that are read without a system call.
const FAST_SOURCES: [&str; 4] = [
    "tsc",
    "kvm-clock",
    "hyperv_clocksource_tsc_page",
    "arch_sys_counter",
];

pub(super) fn inspect(host: &Host<'_>, plan: &Plan, findings: &mut Vec<Finding>) {
    findings.push(cores(plan));
    findings.push(governor(host, plan));
    findings.push(siblings(host, plan));
    findings.push(isolated(host, plan));
    findings.push(clock_source(host));
    findings.push(stolen(host));
}

fn cores(plan: &Plan) -> Finding {
    let allowed = plan.cores_allowed;
    if allowed == 0 {
        return CORES.unknown("/proc/self/status can't be read");
    }
    let list = print_list(&plan.cores);
    let found = format!(
        "{} workers on cores {list} of {allowed} allowed",
        plan.workers
    );
    if plan.workers > allowed {
        CORES.warning(found, format!("media.workers = {allowed}"))
    } else if !plan.pinned && plan.workers > 1 {
        CORES.advice(format!("{found}, not pinned"), "media.pin = true")
    } else {
        CORES.ok(found)
    }
}

fn governor(host: &Host<'_>, plan: &Plan) -> Finding {
    let read = |core: &usize| {
        host.text(&format!(
            "/sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor"
        ))
    };
    let governors: Vec<(usize, String)> = plan
        .cores
        .iter()
        .filter_map(|core| Some((*core, read(core)?)))
        .collect();
    if governors.is_empty() {
        return GOVERNOR.ok("no frequency scaling is exposed, as in virtual machines");
    }
    let others: Vec<&(usize, String)> = governors
        .iter()
        .filter(|(_, governor)| governor != "performance")
        .collect();
    let Some((_, example)) = others.first() else {
        return GOVERNOR.ok("performance");
    };
    let slow: Vec<usize> = others.iter().map(|(core, _)| *core).collect();
    GOVERNOR.warning(
        format!("{example} on cores {}", print_list(&slow)),
        "cpupower frequency-set --governor performance",
    )
}

fn siblings(host: &Host<'_>, plan: &Plan) -> Finding {
    let mut shared = Vec::new();
    let mut read = 0;
    for core in &plan.cores {
        let path = format!("/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list");
        let Some(siblings) = host.cores(&path) else {
            continue;
        };
        read += 1;
        let twins = siblings.iter().filter(|twin| plan.cores.contains(twin));
        let twins: Vec<usize> = twins.copied().collect();
        if twins.len() > 1 && !shared.contains(&twins) {
            shared.push(twins);
        }
    }
    if read == 0 {
        return SIBLINGS.unknown("the topology of the cores can't be read");
    }
    let Some(first) = shared.first() else {
        return SIBLINGS.ok("no two workers share a physical core");
    };
    let halves: usize = shared.iter().map(|twins| twins.len() - 1).sum();
    SIBLINGS.advice(
        format!(
            "{} physical cores carry two workers or more, such as {}",
            shared.len(),
            print_list(first)
        ),
        format!(
            "media.workers = {}, started with taskset or CPUAffinity= on one thread of each core",
            plan.cores.len() - halves
        ),
    )
}

fn isolated(host: &Host<'_>, plan: &Plan) -> Finding {
    let Some(isolated) = host.cores("/sys/devices/system/cpu/isolated") else {
        return ISOLATED.unknown("/sys/devices/system/cpu/isolated can't be read");
    };
    if isolated.is_empty() {
        return ISOLATED.ok("none, which is well unless the last microsecond counts");
    }
    let exposed: Vec<usize> = plan
        .cores
        .iter()
        .filter(|core| !isolated.contains(core))
        .copied()
        .collect();
    let list = print_list(&isolated);
    match exposed.is_empty() {
        true => ISOLATED.ok(format!("{list}, and all workers are on them")),
        false => ISOLATED.advice(
            format!("{list}, but workers are on {}", print_list(&exposed)),
            format!("systemd: CPUAffinity={list}; shell: taskset -c {list} ringcast-node …"),
        ),
    }
}

fn clock_source(host: &Host<'_>) -> Finding {
    let folder = "/sys/devices/system/clocksource/clocksource0";
    let Some(current) = host.text(&format!("{folder}/current_clocksource")) else {
        return SOURCE.unknown("the clock source can't be read");
    };
    if FAST_SOURCES.contains(&current.as_str()) {
        return SOURCE.ok(current);
    }
    let available = host
        .text(&format!("{folder}/available_clocksource"))
        .unwrap_or_default();
    let better = FAST_SOURCES
        .iter()
        .find(|source| available.split_whitespace().any(|name| name == **source));
    let mend = match better {
        Some(source) => format!("echo {source} > {folder}/current_clocksource"),
        None => "the kernel has found the tsc unstable (journalctl -k | grep -i tsc): see the firmware or the hypervisor".into(),
    };
    SOURCE.warning(current, mend)
}

/// `cpu user nice system idle iowait irq softirq steal …`, since the start of the host.
fn stolen(host: &Host<'_>) -> Finding {
    let parse = |text: String| {
        let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
        let numbers: Vec<u64> = line
            .split_whitespace()
            .filter_map(|word| word.parse().ok())
            .collect();
        let used: u64 = numbers.iter().take(8).sum::<u64>() - numbers.get(3)? - numbers.get(4)?;
        Some((*numbers.get(7)?, used))
    };
    let Some((steal, used)) = host.text("/proc/stat").and_then(parse) else {
        return STEAL.unknown("/proc/stat can't be read");
    };
    let percent = steal as f64 * 100.0 / used.max(1) as f64;
    let found = format!("{percent:.1} % of the time that was wanted since the start");
    let mend = "a kind of virtual machine with cores of its own";
    match percent {
        ..1.0 => STEAL.ok(found),
        ..5.0 => STEAL.advice(found, mend),
        _ => STEAL.warning(found, mend),
    }
}
