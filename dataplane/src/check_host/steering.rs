//! Which core hears of a packet first: receive queues, interrupts, NUMA nodes.

use super::finding::{Finding, Topic};
use super::host::{Host, print_list};
use super::plan::Plan;

const QUEUES: Topic = Topic {
    subject: "receive queues",
    why: "One queue is one core that carries all received packets through the stack; workers on other cores starve behind it.",
};
const INTERRUPTS: Topic = Topic {
    subject: "interrupts",
    why: "Queues whose interrupts all go to one core are one queue.",
};
const NUMA: Topic = Topic {
    subject: "NUMA",
    why: "A worker far from the card fetches each packet across the interconnect, at several times the latency.",
};

pub(super) fn inspect(host: &Host<'_>, plan: &Plan, name: &str, findings: &mut Vec<Finding>) {
    findings.push(queues(host, plan, name));
    findings.extend(interrupts(host, plan, name));
    findings.extend(numa(host, plan, name));
}

/// Whether the kernel spreads this interface's packets over cores by itself (RPS).
pub(super) fn is_steered(host: &Host<'_>, name: &str) -> bool {
    let folder = format!("/sys/class/net/{name}/queues");
    let mut queues = receive_queues(host, name).into_iter();
    queues.any(|queue| {
        let mask = host.text(&format!("{folder}/{queue}/rps_cpus"));
        mask.is_some_and(|mask| mask.chars().any(|digit| !matches!(digit, '0' | ',')))
    })
}

fn receive_queues(host: &Host<'_>, name: &str) -> Vec<String> {
    let mut names = host.names(&format!("/sys/class/net/{name}/queues"));
    names.retain(|queue| queue.starts_with("rx-"));
    names
}

fn queues(host: &Host<'_>, plan: &Plan, name: &str) -> Finding {
    let queues = receive_queues(host, name).len();
    if queues == 0 {
        return QUEUES.unknown(format!("{name}: its queues can't be read"));
    }
    let steered = is_steered(host, name);
    let rps = if steered { ", RPS on" } else { ", RPS off" };
    let found = format!("{name}: {queues} for {} workers{rps}", plan.workers);
    if queues >= plan.workers || steered || !host.exists(&format!("/sys/class/net/{name}/device")) {
        return QUEUES.ok(found);
    }
    QUEUES.advice(
        found,
        format!(
            "ethtool -L {name} combined {}   # if the card has that many (ethtool -l {name}); else RPS:\n\
             echo {} | tee /sys/class/net/{name}/queues/rx-*/rps_cpus",
            plan.workers,
            mask(&plan.cores)
        ),
    )
}

/// Cores as the kernel takes a mask: hexadecimal words of 32 bits, the highest first.
fn mask(cores: &[usize]) -> String {
    let words = cores.iter().max().map_or(1, |highest| highest / 32 + 1);
    let word = |word: usize| {
        let here = cores.iter().filter(|core| *core / 32 == word);
        here.fold(0_u32, |mask, core| mask | 1 << (core % 32))
    };
    let parts = (0..words).rev().map(|number| match number + 1 == words {
        true => format!("{:x}", word(number)),
        false => format!("{:08x}", word(number)),
    });
    parts.collect::<Vec<_>>().join(",")
}

fn interrupts(host: &Host<'_>, plan: &Plan, name: &str) -> Option<Finding> {
    let lines = busy_interrupts(host, name);
    let mut cores: Vec<usize> = Vec::new();
    let mut counted = 0;
    for interrupt in &lines {
        let folder = format!("/proc/irq/{interrupt}");
        let effective = host.cores(&format!("{folder}/effective_affinity_list"));
        let effective = effective.filter(|cores| !cores.is_empty());
        if let Some(list) = effective.or_else(|| host.cores(&format!("{folder}/smp_affinity_list")))
        {
            counted += 1;
            cores.extend(list);
        }
    }
    cores.sort_unstable();
    cores.dedup();
    if counted == 0 {
        // Software interfaces have none.
        let real = host.exists(&format!("/sys/class/net/{name}/device"));
        return real.then(|| INTERRUPTS.unknown(format!("{name}: its interrupts can't be read")));
    }
    let found = format!(
        "{name}: {counted} that have fired, on cores {}",
        print_list(&cores)
    );
    // Sending has interrupts too: with one queue each way, two that share a core are no loss.
    let enough = receive_queues(host, name).len().min(plan.workers);
    if cores.len() >= enough {
        return Some(INTERRUPTS.ok(found));
    }
    let first = lines.first()?;
    Some(INTERRUPTS.warning(
        found,
        format!(
            "systemctl start irqbalance; or one by one: echo CORE > /proc/irq/{first}/smp_affinity_list"
        ),
    ))
}

/// The interrupts of an interface's device that have come at least once: queues in use, not spare or administrative ones.
fn busy_interrupts(host: &Host<'_>, name: &str) -> Vec<String> {
    let device = format!("/sys/class/net/{name}/device");
    let mut own = host.names(&format!("{device}/msi_irqs"));
    if own.is_empty() {
        // A virtio device is the child of the PCI device that has them.
        own = host.names(&format!("{device}/../msi_irqs"));
    }
    let table = host.text("/proc/interrupts").unwrap_or_default();
    let cores = table
        .lines()
        .next()
        .map_or(0, |heads| heads.split_whitespace().count());
    let mut busy = Vec::new();
    for line in table.lines().skip(1) {
        let Some((number, rest)) = line.split_once(':') else {
            continue;
        };
        let number = number.trim();
        let counts = rest.split_whitespace().take(cores);
        let fired: u64 = counts.filter_map(|count| count.parse::<u64>().ok()).sum();
        let named = rest.split_whitespace().any(|word| {
            word.strip_prefix(name)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        });
        if fired > 0 && (named || own.iter().any(|irq| irq == number)) {
            busy.push(number.to_owned());
        }
    }
    busy
}

fn numa(host: &Host<'_>, plan: &Plan, name: &str) -> Option<Finding> {
    let device = format!("/sys/class/net/{name}/device");
    let own = host.value::<i32>(&format!("{device}/numa_node"));
    let node = own.or_else(|| host.value(&format!("{device}/../numa_node")));
    // A device that belongs to no node says -1, as on every host with one node.
    let Some(node) = node.filter(|node| *node >= 0) else {
        let real = host.exists(&device);
        return real.then(|| NUMA.ok(format!("{name}: near all cores, or the host does not say")));
    };
    let near = host.cores(&format!("/sys/devices/system/node/node{node}/cpulist"))?;
    let far: Vec<usize> = plan
        .cores
        .iter()
        .filter(|core| !near.contains(core))
        .copied()
        .collect();
    let list = print_list(&near);
    if far.is_empty() {
        return Some(NUMA.ok(format!("{name}: on node {node}, as all workers are")));
    }
    Some(NUMA.warning(
        format!(
            "{name}: on node {node} (cores {list}), but workers are on {} too",
            print_list(&far)
        ),
        format!("systemd: CPUAffinity={list}; shell: taskset -c {list} ringcast-node …"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_are_written_as_the_kernel_takes_them() {
        assert_eq!(mask(&[0, 1, 2, 3]), "f");
        assert_eq!(mask(&[4, 33]), "2,00000010");
        assert_eq!(mask(&[]), "0");
    }
}
