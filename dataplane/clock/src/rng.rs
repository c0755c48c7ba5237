use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

/// A seeded generator, good enough for what a stranger must not guess (STUN transaction ids, RFC 8489 §6).
///
/// In production the seed comes from the operating system, in simulation from the test.
#[derive(Clone, Debug)]
pub struct Rng(ChaCha12Rng);

impl Rng {
    /// A generator that always draws the same from the same `seed`.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(ChaCha12Rng::from_seed(seed))
    }

    /// The same from a short seed, for tests.
    pub fn from_number(seed: u64) -> Self {
        Self(ChaCha12Rng::seed_from_u64(seed))
    }

    /// 32 random bits.
    pub fn next_u32(&mut self) -> u32 {
        self.0.next_u32()
    }

    /// 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number in `0..bound`, or 0 for an empty range. The bias is below `bound / 2^64`.
    pub fn below(&mut self, bound: u64) -> u64 {
        let wide = u128::from(self.next_u64()) * u128::from(bound);
        (wide >> 64) as u64
    }

    /// Fills `bytes`.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }

    /// A generator that is independent of what is drawn from this one afterwards.
    pub fn fork(&mut self) -> Self {
        let mut seed = [0; 32];
        self.fill(&mut seed);
        Self::from_seed(seed)
    }
}

/// A generator that is asked seldom: it is no larger than its seed, and each draw costs as much as making one.
#[derive(Clone)]
pub struct SeldomRng([u8; 32]);

impl SeldomRng {
    /// Draws independently of `rng` from now on.
    pub fn new(rng: &mut Rng) -> Self {
        let mut seed = [0; 32];
        rng.fill(&mut seed);
        Self(seed)
    }

    /// A generator, and another seed for the next time. What was drawn can't be told from that seed.
    pub fn draw(&mut self) -> Rng {
        let mut rng = Rng::from_seed(self.0);
        rng.fill(&mut self.0);
        rng
    }
}

impl core::fmt::Debug for SeldomRng {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("SeldomRng").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_draws_the_same() {
        let (mut a, mut b) = (Rng::from_number(7), Rng::from_number(7));
        assert_eq!(a.next_u64(), b.next_u64());
        assert_ne!(a.fork().next_u64(), b.next_u64());
        assert!((0..1000).all(|_| a.below(3) < 3));
        assert_eq!(a.below(0), 0);
    }

    #[test]
    fn every_draw_is_another() {
        let mut first = SeldomRng::new(&mut Rng::from_number(7));
        let mut second = first.clone();
        let drawn: Vec<u64> = (0..3).map(|_| first.draw().next_u64()).collect();
        let same: Vec<u64> = (0..3).map(|_| second.draw().next_u64()).collect();
        assert_eq!(drawn, same);
        assert!(drawn[0] != drawn[1] && drawn[1] != drawn[2] && drawn[0] != drawn[2]);
        assert_eq!(size_of::<SeldomRng>(), 32);
    }
}
