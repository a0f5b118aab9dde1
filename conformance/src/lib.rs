//! Suites that hold the products against what was recorded or written elsewhere.
