//! What the filters of this folder share, so that each of them holds only what it is about.
//!
//! Nothing here knows a proxy but `guest`, which exists on wasm only. There is no serde: reading a
//! small tree by hand costs a fifth of the bytes in a module, and a mistake is told with the whole
//! path of the field and with what is allowed there.

pub mod chance;
pub mod config;
pub mod header;
pub mod json;
pub mod query;
pub mod status;
pub mod stream;
pub mod template;
pub mod time;
pub mod when;

#[cfg(target_family = "wasm")]
pub mod guest;

#[cfg(not(target_family = "wasm"))]
pub mod fake;

pub use stream::{Side, Stream};
pub use template::Template;
pub use when::When;
