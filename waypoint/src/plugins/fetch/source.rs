//! What is to be fetched for a plugin, and what it means that it cannot be.

use mesh::plugin::{Plugin, PullPolicy};
use modules::{Credentials, Digest, Error, Phase, Reference, Request};

use super::Failure;

/// What is to be fetched.
pub(super) fn request(plugin: &Plugin) -> Result<Request, Failure> {
    let never = |reason, why: String| Failure::Final(reason, why.into());
    if let Some(why) = &plugin.unfetchable {
        return Err(never("ImagePullFailed", why.to_string()));
    }
    let reference = Reference::parse(&plugin.url);
    let reference = reference.map_err(|error| never("InvalidURL", error.to_string()))?;
    let sha256 = match plugin.sha256.as_deref().map(Digest::parse) {
        Some(None) => return Err(never("InvalidDigest", "its sha256 is no digest".to_owned())),
        Some(digest) => digest,
        None => None,
    };
    let credentials = match &plugin.pull_secret {
        Some(secret) => Credentials::from_docker_config(secret.expose())
            .map_err(|error| never("InvalidPullSecret", error.to_string()))?,
        None => Credentials::none(),
    };
    Ok(Request {
        reference,
        sha256,
        policy: match plugin.pull_policy {
            PullPolicy::IfNotPresent => modules::PullPolicy::IfNotPresent,
            PullPolicy::Always => modules::PullPolicy::Always,
        },
        revision: plugin.revision.to_string(),
        tenant: plugin.origin.namespace.to_string(),
        credentials,
    })
}

/// What a failed fetch means. All of them may pass: somebody publishes, or opens a way.
pub(super) fn failure(reference: &Reference, error: &Error) -> Failure {
    let reason = match (error.phase, reference) {
        (Phase::Verify, _) => "DigestMismatch",
        (_, Reference::File(_)) => "FileUnreadable",
        _ => "ImagePullFailed",
    };
    Failure::Unread(reason, error.to_string().into())
}
