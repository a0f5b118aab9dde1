//! Suites that hold the products against what was recorded or written elsewhere.
//!
//! The data is in `vectors/`, where a README says what was recorded and how; the suites are
//! `tests/it/`, one file for each folder. Here is what they share: reading the data, and showing
//! messages the way those who recorded them did.
//!
//! Must never hold tests of one crate alone; those stand beside its code.

pub mod ambientz;
pub mod differences;
pub mod http2;
pub mod nft;
pub mod vectors;
pub mod wasm;
