//! A mesh for one test: the real `cairn`, its real processes, in namespaces of its own.
//!
//! Must never hold production code paths; nothing but tests and benchmarks depends on it. A test
//! writes manifests, talks to the mesh from inside its pods and waits for conditions:
//!
//! ```no_run
//! let mesh = testkit::Mesh::builder().manifest("shop.yaml", "kind: Namespace …").up();
//! let answer = mesh.exec("frontend", ["curl", "-s", "http://reviews/"]).ok();
//! assert!(answer.contains("reviews-v1"));
//! ```
//!
//! Helpers panic with what they saw: a test has nobody to return an error to. A mesh is taken
//! down when its value is dropped, also by a failing test.

#![expect(
    clippy::panic,
    reason = "a test has nobody to return an error to: it says what it saw and stops"
)]

mod mesh;
mod wait;

pub use mesh::{Builder, Mesh, Output, Running, cairn, require_root};
pub use wait::{eventually, eventually_within};
