//! The filters of this project, as modules, through the public API.
//!
//! `WASM_HOST_FILTERS` names another folder of modules to run the same cases on; that is how a
//! rebuild is compared with what is committed.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what is wrong by panicking"
)]

mod api_key;
mod audit_log;
mod body_transform;
mod cel_rules;
mod fault_injection;
mod header_rewrite;
mod jwt;
mod small;
mod support;
