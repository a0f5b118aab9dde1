//! Randomness for choices that need no secrecy: balancing, jitter, request ids.

use std::cell::Cell;
use std::hash::{BuildHasher, Hasher, RandomState};

/// A worker's generator, seeded by the operating system once.
///
/// Splitmix64 (Steele, Lea, Flood 2014): a few instructions, where asking the system would be a
/// call per request.
#[derive(Debug)]
pub(crate) struct Draw(Cell<u64>);

impl Draw {
    /// A generator no other has the seed of.
    pub(crate) fn new() -> Self {
        Self(Cell::new(RandomState::new().build_hasher().finish()))
    }

    /// 64 random bits.
    pub(crate) fn bits(&self) -> u64 {
        let state = self.0.get().wrapping_add(0x9E37_79B9_7F4A_7C15);
        self.0.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number in `[0, 1)`.
    pub(crate) fn unit(&self) -> f64 {
        // 32 bits are exact in a double.
        f64::from(u32::try_from(self.bits() >> 32).unwrap_or(0)) / 4_294_967_296.0
    }

    /// A random UUID.
    pub(crate) fn uuid(&self) -> uuid::Uuid {
        let bytes = (u128::from(self.bits()) << 64) | u128::from(self.bits());
        uuid::Builder::from_random_bytes(bytes.to_be_bytes()).into_uuid()
    }
}

#[cfg(test)]
mod tests {
    use super::Draw;

    #[test]
    fn numbers_are_below_one_and_spread() {
        let draw = Draw::new();
        let mut low = 0;
        for _ in 0..10_000 {
            let number = draw.unit();
            assert!((0.0..1.0).contains(&number));
            low += usize::from(number < 0.5);
        }
        assert!(
            (4_700..5_300).contains(&low),
            "{low} of 10000 below one half"
        );
    }

    #[test]
    fn ids_differ_and_are_version_four() {
        let draw = Draw::new();
        assert_ne!(draw.uuid(), draw.uuid());
        assert_eq!(draw.uuid().get_version_num(), 4);
        assert_ne!(Draw::new().bits(), Draw::new().bits());
    }
}
