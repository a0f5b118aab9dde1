//! What a VM does with a guest, and what a guest cannot do to it.

mod actions;
mod callouts;
mod connections;
mod containment;
mod crossings;
mod hostile;
mod lifecycle;
