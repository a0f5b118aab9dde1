//! Runs proxy-wasm filters on wasmtime, behind two traits that a proxy implements.
//!
//! Must never hold types of an HTTP library, of Kubernetes or of a mesh, an async runtime, or code
//! that fetches modules. Tested with guests written as text, and with filters the Rust SDK built.
//!
#![doc = include_str!("../README.md")]

pub(crate) mod abi;
mod callback;
mod code_cache;
pub(crate) mod embed;
mod error;
#[cfg(fuzzing)]
pub mod fuzz;
mod health;
mod host;
mod hostcalls;
mod limits;
mod module;
mod outcome;
mod pairs;
mod plugin;
#[cfg(test)]
mod reference;
mod share;
mod shared;
#[cfg(test)]
mod testing;
mod trace;
mod trap;
mod vm;

pub use abi::{
    AbiVersion, Body, CallId, Direction, LogLevel, Map, MetricKind, Pause, Peer, Side, StreamId,
};
pub use callback::{Callback, Callbacks};
pub use embed::{
    Buffer, CallRefused, CalloutEvent, Expression, Expressions, ForeignError, GrpcCall, GrpcMethod,
    HeaderMap, Headers, HttpCall, LogRecord, LogSource, MetricId, Notice, PluginHost, Properties,
    QueueNotifier, Refused, StreamHost, Value,
};
pub use error::{Error, StartError};
pub use health::{Admission, FailStrategy, Health, HealthSettings, HealthState, Life};
pub use host::{Host, HostSettings};
pub use limits::Limits;
pub use module::Module;
pub use outcome::{LocalResponse, Outcome, Pending, TcpOutcome, TcpPending};
pub use plugin::{Plugin, PluginConfig};
pub use share::Share;
pub use trace::Trace;
pub use trap::{Reason, Trap};
pub use vm::{HttpStream, TcpStream, Vm};
