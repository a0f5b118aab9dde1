//! One L7 proxy: requests in through HBONE, policy and users' code, requests out to endpoints.
//!
//! [`app::build`] makes the whole proxy from a [`Config`] and returns it [`Bound`](app::Bound) to
//! its ports. To read the data path, start at `http/pipeline.rs`; a request gets there through
//! `listener`, `tunnel` and `http/server.rs`.
//!
//! Must never hold knowledge of Kubernetes objects or of how certificates are issued. A request
//! lives on one worker and sees one [`state`] snapshot; nothing on its path takes a lock. Only
//! `http/respond.rs` words an error for a client.

pub mod admin;
pub mod app;
pub mod config;
pub mod state;

mod connect;
mod discovery;
mod draw;
mod endpoint;
#[cfg(test)]
mod fixtures;
#[cfg(fuzzing)]
pub mod fuzz;
mod http;
mod listener;
pub mod local;
mod plugins;
mod sniff;
mod stream;
mod tcp;
mod tunnel;
mod worker;

pub use config::Config;
