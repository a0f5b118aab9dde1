//! One node's L4 proxy: it moves bytes with identity.
//!
//! A captured pod's connections reach it through sockets it opens inside the pod ([`agent`] sets
//! the redirection). Outbound ones go where the mesh decides (`mesh::store`), over HBONE when the
//! destination is in the mesh; inbound ones are authorized and handed to the application, which
//! sees its client's address.
//!
//! ```text
//! pod ─► outbound ─ next_hop ─ hbone pool ══15008══► inbound ─ authorize ─ copy ─► pod
//!                                                    passthrough (plaintext) ─┘
//! ```
//!
//! Must never hold HTTP semantics beyond CONNECT. Invariants: a connection whose waypoint or
//! endpoint is unknown is dropped, never sent around it; a tunnel leads into the pod it came to
//! and nowhere else; keys are held for pods of this node alone. Tested against real namespaces;
//! the decisions are pure and tested in `mesh`.

pub mod agent;
pub mod app;
pub mod config;

mod admission;
mod certificates;
mod connections;
mod control_plane;
mod copy;
mod dns;
mod dump;
mod error;
#[cfg(fuzzing)]
pub mod fuzz;
mod inbound;
mod inpod;
mod netns;
mod outbound;
mod passthrough;
mod pod;
mod report;
mod served;
mod state;
mod zds;
