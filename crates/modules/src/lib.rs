//! Gets WebAssembly modules from where they are published, and publishes them.
//!
//! Must never compile or run a module, nor know Kubernetes or a mesh.
//!
//! * [`Reference`] says where a module is: an image of a registry, a URL or a file.
//! * [`Fetcher::fetch`] gets it, [`Fetcher::push`] publishes it; [`Settings`] bound both.
//! * [`Credentials`] are those of a docker configuration; each goes to its own registry alone.
//! * [`Error`] says what failed, in which [`Phase`], and whether another try may help.
//!
//! Invariants: every dial is checked, also of a redirect and of a token server; nothing is read
//! without a bound, and bounds hold inside the loop; a digest is checked before anything is
//! parsed; nothing is ever written under a name that somebody else chose.

mod auth;
mod cache;
mod credentials;
mod dial;
mod digest;
mod error;
mod fetch;
#[cfg(fuzzing)]
pub mod fuzz;
mod http;
mod manifest;
mod push;
mod reference;
mod registry;
mod settings;
mod tally;
mod tar;
mod tls;
mod unpack;

pub use credentials::{BadSecret, Credentials};
pub use digest::Digest;
pub use error::{Error, Phase};
pub use fetch::{Fetcher, Module, PullPolicy, Request};
pub use push::Pushed;
pub use reference::{BadReference, Image, Reference};
pub use settings::{BadSetting, Files, Insecure, LoginFrom, Roots, Settings};
pub use tally::Counts;
