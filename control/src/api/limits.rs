//! How much one address may ask for: bounded counts and token buckets, sans-IO.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::Instant;

/// Most addresses that are remembered; beyond it the one that was quiet for longest is forgotten.
const ADDRESSES_MAX: usize = 65_536;

/// Seconds of its rate that an address may use at once.
const BURST_SECONDS: f64 = 10.0;

/// Whose limit an address counts against. A host has a whole /64 of IPv6 to take addresses from (RFC 6177), so that is one.
pub fn counted_as(address: IpAddr) -> IpAddr {
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
    /// When each of them was used last.
    used: BTreeSet<(Instant, IpAddr)>,
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
            used: BTreeSet::new(),
        }
    }

    /// So many a second from now on. What was counted so far stays counted.
    pub fn set_rate(&mut self, per_second: u32) {
        self.per_second = f64::from(per_second);
    }

    /// Whether one more would be within the rate; nothing is counted. Of an address that was forgotten nothing is known.
    pub fn has_left(&self, address: IpAddr, now: Instant) -> bool {
        let full = self.per_second * BURST_SECONDS;
        let Some(bucket) = self.buckets.get(&counted_as(address)) else {
            return true;
        };
        let elapsed = now.saturating_duration_since(bucket.at).as_secs_f64();
        (bucket.left + elapsed * self.per_second).min(full) >= 1.0
    }

    /// Whether one more is within the rate; if so it is counted. However many addresses come, each costs a step in a tree: this is asked
    /// where others wait.
    pub fn allows(&mut self, address: IpAddr, now: Instant) -> bool {
        let address = counted_as(address);
        let full = self.per_second * BURST_SECONDS;
        if let Some(known) = self.buckets.get(&address) {
            self.used.remove(&(known.at, address));
        } else if self.buckets.len() >= ADDRESSES_MAX
            && let Some((_, stalest)) = self.used.pop_first()
        {
            self.buckets.remove(&stalest);
        }
        self.used.insert((now, address));
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

    /// At most so many from now on; whoever has more keeps them.
    pub fn set_max(&mut self, max: usize) {
        self.max = max;
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

/// Places for so many in all, and so many of one address.
#[derive(Debug)]
pub struct Places {
    max: usize,
    taken: usize,
    by_address: Count,
}

impl Places {
    /// All are free.
    pub fn new(max: usize, max_per_address: usize) -> Self {
        Self {
            max,
            taken: 0,
            by_address: Count::new(max_per_address),
        }
    }

    /// So many from now on; whoever has a place keeps it.
    pub fn set_max(&mut self, max: usize, max_per_address: usize) {
        self.max = max;
        self.by_address.set_max(max_per_address);
    }

    /// Takes one.
    ///
    /// # Errors
    /// The name of the limit that is reached, as metrics know it.
    pub fn take(&mut self, address: IpAddr) -> Result<(), &'static str> {
        if self.taken >= self.max {
            return Err("sockets");
        }
        if !self.by_address.take(address) {
            return Err("sockets_per_address");
        }
        self.taken += 1;
        Ok(())
    }

    /// Gives one back.
    pub fn give_back(&mut self, address: IpAddr) {
        self.taken = self.taken.saturating_sub(1);
        self.by_address.give_back(address);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
    fn however_many_addresses_come_others_are_let_in_and_the_stalest_is_forgotten() {
        let start = Instant::now();
        let mut rate = Rate::new(1);
        let address = |at: usize| IpAddr::from((at as u32).to_be_bytes());
        let drained = |rate: &mut Rate, address, now| {
            while rate.allows(address, now) {}
        };
        let (first, second) = (address(ADDRESSES_MAX + 1), address(ADDRESSES_MAX + 2));
        drained(&mut rate, first, start);
        drained(&mut rate, second, start);
        let soon = start + Duration::from_millis(1);
        for at in 0..ADDRESSES_MAX - 2 {
            assert!(rate.allows(address(at), soon), "{at}");
        }
        // The first is heard of again, so that the second is the stalest when one more comes than there is room for.
        assert!(!rate.allows(first, soon));
        assert!(rate.allows(address(ADDRESSES_MAX), soon));
        assert_eq!(rate.buckets.len(), ADDRESSES_MAX);
        assert_eq!(rate.used.len(), ADDRESSES_MAX);
        assert!(!rate.has_left(first, soon) && rate.has_left(second, soon));
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
    fn places_are_bounded_in_all_and_by_address() {
        let address = |last| IpAddr::from([10, 0, 0, last]);
        let mut places = Places::new(3, 2);
        assert_eq!(
            (places.take(address(1)), places.take(address(1))),
            (Ok(()), Ok(()))
        );
        assert_eq!(places.take(address(1)), Err("sockets_per_address"));
        assert_eq!(places.take(address(2)), Ok(()));
        assert_eq!(places.take(address(3)), Err("sockets"));
        places.give_back(address(1));
        assert_eq!(places.take(address(3)), Ok(()));
    }

    #[test]
    fn limits_can_change_while_they_are_in_use() {
        let (address, start) = (IpAddr::from([10, 0, 0, 1]), Instant::now());
        let mut places = Places::new(2, 2);
        assert!(places.take(address).is_ok() && places.take(address).is_ok());
        places.set_max(1, 1);
        places.give_back(address);
        assert_eq!(places.take(address), Err("sockets"), "one is still here");
        places.set_max(2, 2);
        assert_eq!(places.take(address), Ok(()));
        let mut rate = Rate::new(1);
        assert_eq!((0..100).filter(|_| rate.allows(address, start)).count(), 10);
        rate.set_rate(3);
        let later = start + Duration::from_secs(2);
        assert_eq!((0..100).filter(|_| rate.allows(address, later)).count(), 6);
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
