//! Scratch.
use bench::exit::{self, Exit};
use bench::fleet::{Fleet, Settings};
use bench::plan::*;
use bench::subject::Subject as _;
use bench::subject::ringcast::{Options, Ringcast};
use std::time::{Duration, Instant};
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let viewers: usize = a[2].parse().unwrap();
    let fps: f64 = a[3].parse().unwrap();
    let burst: u32 = a[4].parse().unwrap();
    let driver = match a[5].as_str() {
        "mmsg" => net::Kind::Mmsg,
        _ => net::Kind::Auto,
    };
    let secs: u64 = a[6].parse().unwrap();
    let every: u32 = a.get(7).map_or(64, |x| x.parse().unwrap());
    let video = Medium::Synthetic(Synthetic {
        codec: Codec::Vp8,
        frames_per_second: fps,
        packets_per_frame: Packets::Fixed(burst),
        packet_bytes: Sizes::Fixed(1200),
        spacing: Duration::ZERO,
        key_frame_every: None,
    });
    let plan = Plan {
        name: "x".into(),
        sessions: vec![Session {
            streams: vec![Stream {
                video: Some(video),
                audio: None,
            }],
            viewers,
            publishers_watch: false,
        }],
        suite: Suite::Aes256Gcm,
        joins_per_second: None,
        churn_per_second: 0.0,
        strangers_per_second: 0,
        warm_up: Duration::ZERO,
        measure: Duration::from_secs(secs),
        seed: 9,
    };
    let exit = Exit::prepare(exit::Kind::Loopback).unwrap();
    let fleet = Fleet::start(&Settings {
        driver,
        sample_every: every,
        ..Settings::default()
    })
    .unwrap();
    let mut r = Ringcast::start(&Options::new(a[1].clone().into()), &exit, 9).unwrap();
    let t = Instant::now();
    let mut last = Instant::now();
    r.bring_in(&fleet, &plan, &mut |j, of| {
        if last.elapsed().as_secs() >= 2 {
            last = Instant::now();
            eprintln!("{j}/{of} {:?}", t.elapsed());
        }
        true
    })
    .unwrap();
    println!("all in after {:?}", t.elapsed());
    let mut j = r.joins().to_vec();
    j.sort();
    println!(
        "joins min {:?} median {:?} p99 {:?}",
        j[0],
        j[j.len() / 2],
        j[j.len() * 99 / 100]
    );
    std::thread::sleep(Duration::from_secs(1));
    let cpu = |pid: u32| -> f64 {
        let mut s = 0.0;
        for t in std::fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
            let x = std::fs::read_to_string(t.unwrap().path().join("schedstat")).unwrap();
            s += x.split(' ').next().unwrap().parse::<f64>().unwrap();
        }
        s
    };
    let pid = r.processes()[0];
    let (b, c0, own0) = (fleet.counters().unwrap(), cpu(pid), cpu(std::process::id()));
    std::thread::sleep(Duration::from_secs(secs));
    let (e, c1, own1) = (fleet.counters().unwrap(), cpu(pid), cpu(std::process::id()));
    let d = e.since(&b);
    println!("{d:?}");
    println!(
        "lost {} runs {:?} calls {}",
        d.lost(),
        d.runs,
        d.system_calls
    );
    println!(
        "per received packet: fleet thread {:.0} ns, bench process {:.0} ns, node {:.0} ns",
        d.cpu.as_nanos() as f64 / d.received_packets as f64,
        (own1 - own0) / d.received_packets as f64,
        (c1 - c0) / d.received_packets as f64
    );
    println!(
        "latency us p50 {} p99 {} max {}",
        d.latency.value_at_quantile(0.5) / 1000,
        d.latency.value_at_quantile(0.99) / 1000,
        d.latency.max() / 1000
    );
    let rss = std::fs::read_to_string("/proc/self/status").unwrap();
    println!("{}", rss.lines().find(|l| l.starts_with("VmRSS")).unwrap());
    let rss = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    println!(
        "node {}",
        rss.lines().find(|l| l.starts_with("VmRSS")).unwrap()
    );
    r.stop().unwrap();
}
