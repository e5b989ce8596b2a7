//! Turns of the contenders, and what is made of many measurements.

use super::Failure;

/// That count.
pub const ROUNDS: usize = 7;

/// Let every contender have a slice in every round, each round another one
/// first, because the machine is not the same from one second to the next.
/// Answers the slices of each contender; a round before the first warms up.
pub fn rounds<T>(
    contenders: usize,
    mut slice: impl FnMut(usize) -> Result<T, Failure>,
) -> Result<Vec<Vec<T>>, Failure> {
    let mut all: Vec<Vec<T>> = (0..contenders).map(|_| Vec::new()).collect();
    for round in 0..=ROUNDS {
        for turn in 0..contenders {
            let which = (round + turn) % contenders;
            let measured = slice(which)?;
            if round > 0 {
                all[which].push(measured);
            }
        }
    }
    Ok(all)
}

/// What a part of the values is not above: 0.5 for the median.
pub fn quantile(mut values: Vec<f64>, part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    values.get((last as f64 * part).round() as usize).copied().unwrap_or(f64::NAN)
}

/// What half of the values are not above.
pub fn median(values: &[f64]) -> f64 {
    quantile(values.to_vec(), 0.5)
}
