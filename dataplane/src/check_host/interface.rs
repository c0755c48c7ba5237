//! The network interfaces that media will use.

use super::finding::{Finding, Topic};
use super::host::Host;
use super::plan::Plan;
use super::steering;

const INTERFACE: Topic = Topic {
    subject: "interface",
    why: "A frame that does not fit through the interface is cut into fragments, which paths and firewalls like to lose.",
};
const SEGMENTATION: Topic = Topic {
    subject: "segmentation",
    why: "A subscriber's run of packets goes through the stack as one; what cuts it up should be the card, or at least the very end of the stack.",
};
const CHECKSUMS: Topic = Topic {
    subject: "checksums",
    why: "Without the card's help the processor reads every outgoing packet once more, and runs can't be handed to it whole.",
};
const RECEIVE_OFFLOAD: Topic = Topic {
    subject: "receive offload",
    why: "With it the driver hands packets to the stack in bunches.",
};

/// The least that IPv6 allows; media packets are at most 1200 bytes and what is around them.
const MTU_MIN: u32 = 1280;
const MTU_USUAL: u32 = 1500;

pub(super) fn inspect(host: &Host<'_>, plan: &Plan, findings: &mut Vec<Finding>) {
    if plan.interfaces.is_empty() {
        findings.push(INTERFACE.unknown("no route says which interface media will use"));
    }
    for name in &plan.interfaces {
        findings.push(interface(host, name));
        offloads(host, name, findings);
        steering::inspect(host, plan, name, findings);
    }
}

fn interface(host: &Host<'_>, name: &str) -> Finding {
    let folder = format!("/sys/class/net/{name}");
    let Some(mtu) = host.value::<u32>(&format!("{folder}/mtu")) else {
        return INTERFACE.unknown(format!("{folder} can't be read"));
    };
    let driver = host.link_name(&format!("{folder}/device/driver"));
    let driver = driver.map_or_else(|| "virtual".to_owned(), |driver| format!("driver {driver}"));
    // Interfaces without a speed say -1, or give no answer at all.
    let speed = host.value::<i64>(&format!("{folder}/speed"));
    let speed = speed.filter(|speed| *speed > 0);
    let speed = speed.map_or_else(String::new, |speed| format!(", {speed} Mbit/s"));
    let found = format!("{name}: {driver}{speed}, MTU {mtu}");
    let mend = format!("ip link set dev {name} mtu {MTU_USUAL}");
    match mtu {
        ..MTU_MIN => INTERFACE.bad(found, mend),
        MTU_MIN..MTU_USUAL => INTERFACE.advice(found, mend),
        _ => INTERFACE.ok(found),
    }
}

fn offloads(host: &Host<'_>, name: &str, findings: &mut Vec<Finding>) {
    let text = match host.probes().offloads(name) {
        Ok(text) => text,
        Err(reason) => {
            let mend = "apt-get install ethtool, and look again".to_owned();
            let found = format!("{name}: {reason}");
            findings.push(SEGMENTATION.advice(found, mend));
            return;
        }
    };
    let features = Features { name, text: &text };
    findings.push(segmentation(&features));
    findings.push(features.demand(
        CHECKSUMS,
        &["tx-checksumming", "rx-checksumming", "scatter-gather"],
    ));
    findings.push(features.demand(RECEIVE_OFFLOAD, &["generic-receive-offload"]));
}

fn segmentation(features: &Features<'_>) -> Finding {
    let name = features.name;
    let by_card = features.state("tx-udp-segmentation");
    let by_stack = features.state("generic-segmentation-offload");
    match (by_card, by_stack) {
        (State::On, _) => SEGMENTATION.ok(format!("{name}: by the card (tx-udp-segmentation)")),
        (_, State::Off | State::Fixed) => SEGMENTATION.warning(
            format!("{name}: neither by the card nor at the end of the stack"),
            format!("ethtool -K {name} gso on"),
        ),
        (State::Off, _) => SEGMENTATION.advice(
            format!("{name}: at the end of the stack; the card could do it"),
            format!("ethtool -K {name} tx-udp-segmentation on"),
        ),
        _ => SEGMENTATION.ok(format!(
            "{name}: at the end of the stack; this card or its driver can't (tx-udp-segmentation is fixed)"
        )),
    }
}

/// What `ethtool -k` printed of an interface.
struct Features<'a> {
    name: &'a str,
    text: &'a str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    On,
    Off,
    /// Off, and can't be switched.
    Fixed,
    Unlisted,
}

impl Features<'_> {
    fn state(&self, feature: &str) -> State {
        let mut lines = self.text.lines();
        let value = lines.find_map(|line| {
            let (name, value) = line.split_once(':')?;
            (name.trim() == feature).then(|| value.trim())
        });
        match value {
            None => State::Unlisted,
            Some(value) if value.starts_with("on") => State::On,
            Some(value) if value.contains("[fixed]") => State::Fixed,
            Some(_) => State::Off,
        }
    }

    /// All of them should be on.
    fn demand(&self, topic: Topic, wanted: &[&str]) -> Finding {
        let name = self.name;
        let missing = |state: State| -> Vec<&str> {
            let features = wanted.iter().copied();
            features
                .filter(|feature| self.state(feature) == state)
                .collect()
        };
        let (off, fixed) = (missing(State::Off), missing(State::Fixed));
        if !off.is_empty() {
            let switches = off.iter().map(|feature| format!("{} on", switch(feature)));
            let switches: Vec<String> = switches.collect();
            return topic.advice(
                format!("{name}: {} off", off.join(", ")),
                format!("ethtool -K {name} {}", switches.join(" ")),
            );
        }
        match fixed.is_empty() {
            true => topic.ok(format!("{name}: {} on", wanted.join(", "))),
            false => topic.ok(format!(
                "{name}: without {}, which it can't do",
                fixed.join(", ")
            )),
        }
    }
}

/// What `ethtool -K` calls what `ethtool -k` prints.
fn switch(feature: &str) -> &str {
    match feature {
        "rx-checksumming" => "rx",
        "tx-checksumming" => "tx",
        "scatter-gather" => "sg",
        "generic-receive-offload" => "gro",
        other => other,
    }
}
