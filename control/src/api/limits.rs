//! How much one address may ask for: bounded counts and token buckets, sans-IO.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Most addresses that are remembered; beyond it the quiet ones are forgotten.
const ADDRESSES_MAX: usize = 65_536;

/// Seconds of its rate that an address may use at once.
const BURST_SECONDS: f64 = 10.0;

/// Whose limit an address counts against. A host has a whole /64 of IPv6 to take addresses from (RFC 6177), so that is one.
fn counted_as(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let prefix = address.to_bits() & (u128::MAX << 64);
            IpAddr::V6(prefix.into())
        }
        v4 => v4,
    }
}

/// A rate per address.
#[derive(Debug)]
pub struct Rate {
    per_second: f64,
    buckets: HashMap<IpAddr, Bucket>,
}

#[derive(Debug)]
struct Bucket {
    left: f64,
    at: Instant,
}

impl Rate {
    /// So many a second.
    pub fn new(per_second: u32) -> Self {
        Self {
            per_second: f64::from(per_second),
            buckets: HashMap::new(),
        }
    }

    /// Whether one more is within the rate; if so it is counted.
    pub fn allows(&mut self, address: IpAddr, now: Instant) -> bool {
        let address = counted_as(address);
        let full = self.per_second * BURST_SECONDS;
        if self.buckets.len() >= ADDRESSES_MAX {
            // A bucket that has refilled says nothing.
            let refilled = Duration::from_secs_f64(BURST_SECONDS);
            self.buckets
                .retain(|_, bucket| now.saturating_duration_since(bucket.at) < refilled);
            if self.buckets.len() >= ADDRESSES_MAX {
                return false;
            }
        }
        let bucket = self.buckets.entry(address).or_insert(Bucket {
            left: full,
            at: now,
        });
        let elapsed = now.saturating_duration_since(bucket.at).as_secs_f64();
        bucket.left = (bucket.left + elapsed * self.per_second).min(full);
        bucket.at = now;
        let allowed = bucket.left >= 1.0;
        if allowed {
            bucket.left -= 1.0;
        }
        allowed
    }
}

/// A count per address.
#[derive(Debug)]
pub struct Count {
    max: usize,
    counts: HashMap<IpAddr, usize>,
}

impl Count {
    /// At most so many at a time.
    pub fn new(max: usize) -> Self {
        Self {
            max,
            counts: HashMap::new(),
        }
    }

    /// Takes one, if there is one left.
    pub fn take(&mut self, address: IpAddr) -> bool {
        let count = self.counts.entry(counted_as(address)).or_default();
        let free = *count < self.max;
        *count += usize::from(free);
        free
    }

    /// Gives one back.
    pub fn give_back(&mut self, address: IpAddr) {
        let address = counted_as(address);
        if let Some(count) = self.counts.get_mut(&address) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.counts.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_allows_a_burst_and_then_its_pace() {
        let address = IpAddr::from([10, 0, 0, 1]);
        let start = Instant::now();
        let mut rate = Rate::new(2);
        let burst = (0..100).filter(|_| rate.allows(address, start)).count();
        assert_eq!(burst, 20);
        let later = start + Duration::from_secs(3);
        assert_eq!((0..100).filter(|_| rate.allows(address, later)).count(), 6);
        assert!(rate.allows(IpAddr::from([10, 0, 0, 2]), later));
    }

    #[test]
    fn a_host_with_many_ipv6_addresses_is_one() {
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        let mut count = Count::new(1);
        assert!(count.take(address("2001:db8::1")));
        assert!(!count.take(address("2001:db8::ffff:2")));
        assert!(count.take(address("2001:db8:0:1::1")));
        assert!(count.take(address("10.0.0.1")));
        assert!(!count.take(address("::ffff:10.0.0.1")), "the same, mapped");
        count.give_back(address("2001:db8::3"));
        assert!(count.take(address("2001:db8::1")));
    }

    #[test]
    fn a_count_is_given_back() {
        let address = IpAddr::from([10, 0, 0, 1]);
        let mut count = Count::new(2);
        assert!(count.take(address) && count.take(address) && !count.take(address));
        count.give_back(address);
        assert!(count.take(address));
    }
}
