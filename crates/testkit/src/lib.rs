//! A mesh for one test.
