//! Decodes the resources of one response, each on its own.

use prost::Message;

use super::{Rejected, Update};

#[cfg(test)]
mod tests;

/// An [`Update`] whose resource was decoded.
#[derive(Clone, Debug, PartialEq)]
pub enum Decoded<M> {
    /// The resource of this name is now this message.
    Put(String, M),
    /// The resource of this name is gone.
    Remove(String),
}

/// Decodes every resource; one that is not an `M` is rejected and spoils no other.
pub fn decode<M: Message + Default>(updates: Vec<Update>) -> (Vec<Decoded<M>>, Vec<Rejected>) {
    let mut decoded = Vec::with_capacity(updates.len());
    let mut rejected = Vec::new();
    for update in updates {
        match update {
            Update::Remove(name) => decoded.push(Decoded::Remove(name)),
            Update::Put(resource) => match M::decode(resource.bytes) {
                Ok(message) => decoded.push(Decoded::Put(resource.name, message)),
                Err(e) => rejected.push(Rejected {
                    name: resource.name,
                    reason: e.to_string(),
                }),
            },
        }
    }
    (decoded, rejected)
}
