//! Chance, for samples and faults; nothing here is a secret.

use std::cell::Cell;

/// A stream of random numbers.
#[derive(Debug)]
pub struct Chance(Cell<u64>);

impl Chance {
    /// Begins anywhere.
    pub fn new(seed: u64) -> Self {
        Self(Cell::new(seed))
    }

    /// Mixes in more, so that VMs that began at one moment part ways.
    pub fn stir(&self, with: u64) {
        self.0.set(self.0.get() ^ with.rotate_left(17));
    }

    /// Returns the next number.
    pub fn next(&self) -> u64 {
        // SplitMix64.
        let state = self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.0.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns true so many times out of a hundred.
    pub fn percent(&self, percent: f64) -> bool {
        if percent >= 100.0 {
            return true;
        }
        // 53 bits are what a double holds exactly.
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
        let drawn = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        drawn * 100.0 < percent
    }

    /// Returns a number up to `most`.
    pub fn up_to(&self, most: u32) -> u32 {
        u32::try_from(self.next() % (u64::from(most) + 1)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentage_is_kept() {
        let chance = Chance::new(1);
        chance.stir(7);
        let hits = (0..100_000).filter(|_| chance.percent(12.5)).count();
        assert!((12_000..13_000).contains(&hits), "{hits}");
        assert!((0..1000).all(|_| chance.percent(100.0) && !chance.percent(0.0)));
        assert!((0..1000).all(|_| chance.up_to(3) <= 3));
    }
}
