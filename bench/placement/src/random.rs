//! The distributions that the world is drawn from.

use clock::Rng;

/// Evenly from 0 to below 1.
pub fn unit(rng: &mut Rng) -> f64 {
    const STEPS: u64 = 1 << 53;
    rng.below(STEPS) as f64 / STEPS as f64
}

/// Whether something of this probability happens.
pub fn happens(rng: &mut Rng, probability: f64) -> bool {
    unit(rng) < probability
}

/// Evenly from `from` to below `to`.
pub fn between(rng: &mut Rng, from: f64, to: f64) -> f64 {
    from + (to - from) * unit(rng)
}

/// Half are below `median`; a factor of e is `sigma` in its logarithm.
pub fn log_normal(rng: &mut Rng, median: f64, sigma: f64) -> f64 {
    median * (sigma * normal(rng)).exp()
}

/// Log-normal with a mean of 1: what something costs in place of what it is taken to cost.
pub fn noise(rng: &mut Rng, sigma: f64) -> f64 {
    log_normal(rng, (-sigma * sigma / 2.0).exp(), sigma)
}

/// Box and Muller, 1958.
fn normal(rng: &mut Rng) -> f64 {
    // Not 0, whose logarithm is none.
    let radius = (-2.0 * (1.0 - unit(rng)).ln()).sqrt();
    radius * (core::f64::consts::TAU * unit(rng)).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_as_asked() {
        let mut rng = Rng::from_number(5);
        let mut draw = |of: fn(&mut Rng) -> f64| {
            let mut values: Vec<f64> = (0..20_000).map(|_| of(&mut rng)).collect();
            values.sort_by(f64::total_cmp);
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            (mean, values[values.len() / 2])
        };
        let (mean, _) = draw(|rng| noise(rng, 0.5));
        assert!((mean - 1.0).abs() < 0.03, "{mean}");
        let (_, median) = draw(|rng| log_normal(rng, 20.0, 0.8));
        assert!((median / 20.0 - 1.0).abs() < 0.05, "{median}");
        let (mean, _) = draw(|rng| between(rng, 2.0, 4.0));
        assert!((mean - 3.0).abs() < 0.03, "{mean}");
    }
}
