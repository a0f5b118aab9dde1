//! Samples of several rounds, and what they come to.

use serde::{Serialize, Serializer};

/// The middle and the ends of one figure's samples.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Spread {
    /// Half of the rounds are below, half above.
    pub(super) median: f64,
    /// The smallest.
    pub(super) min: f64,
    /// The largest.
    pub(super) max: f64,
}

impl Spread {
    /// The spread of `samples`; of none, there is none.
    pub(super) fn of(samples: &[f64]) -> Option<Self> {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let half = sorted.len() / 2;
        let above = *sorted.get(half)?;
        let below = if sorted.len().is_multiple_of(2) {
            *sorted.get(half.checked_sub(1)?)?
        } else {
            above
        };
        Some(Self {
            median: f64::midpoint(below, above),
            min: *sorted.first()?,
            max: *sorted.last()?,
        })
    }
}

/// Figures by name, each with a sample per round, in the order they came.
#[derive(Debug, Default)]
pub(super) struct Samples(Vec<(String, Vec<f64>)>);

impl Samples {
    /// Adds one round's sample of a figure.
    pub(super) fn push(&mut self, figure: impl Into<String>, sample: f64) {
        let figure = figure.into();
        match self.0.iter_mut().find(|(name, _)| *name == figure) {
            Some((_, samples)) => samples.push(sample),
            None => self.0.push((figure, vec![sample])),
        }
    }

    /// What they come to.
    pub(super) fn spreads(&self) -> Spreads {
        let spread =
            |(name, samples): &(String, Vec<f64>)| Some((name.clone(), Spread::of(samples)?));
        Spreads(self.0.iter().filter_map(spread).collect())
    }
}

/// Spreads by name, in the order the figures came.
#[derive(Debug, Default)]
pub(super) struct Spreads(pub(super) Vec<(String, Spread)>);

impl Spreads {
    /// The median of a figure.
    pub(super) fn median(&self, figure: &str) -> Option<f64> {
        let found = self.0.iter().find(|(name, _)| name == figure);
        found.map(|(_, spread)| spread.median)
    }
}

impl Serialize for Spreads {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, spread)| (name, spread)))
    }
}

/// A count as a number to divide.
#[expect(
    clippy::cast_precision_loss,
    reason = "exact below 2^53, which is a hundred days in nanoseconds"
)]
pub(super) fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_sample_or_between_the_two() {
        let median = |samples: &[f64]| Spread::of(samples).map(|spread| spread.median);
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[4.0]), Some(4.0));
        assert_eq!(median(&[9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[9.0, 1.0, 2.0, 4.0]), Some(3.0));
    }

    #[test]
    fn the_ends_are_the_smallest_and_largest_sample() {
        let mut samples = Samples::default();
        for sample in [3.0, 1.0, 2.0] {
            samples.push("us", sample);
        }
        let expected = Spread {
            median: 2.0,
            min: 1.0,
            max: 3.0,
        };
        assert_eq!(samples.spreads().0, [("us".to_owned(), expected)]);
    }
}
