//! The promises of a whole mesh, each tested by its name: real processes in real namespaces,
//! real `curl`. Needs root and the release binary of `cairn`.

mod changes;
mod failure;
mod identity;
mod sample;
mod surface;
mod traffic;
mod world;
