//! Control against what was recorded elsewhere.
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "all of this is test code; what is not as recorded ends the test"
)]

mod istiod;
