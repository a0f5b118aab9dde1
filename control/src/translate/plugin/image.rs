//! Where a module is: the parts of a URL that control needs. Fetching is the waypoint's.

use crate::kinds::wasm_plugin::PullPolicy;

/// The registry of images whose reference names none.
const DOCKER_HUB: &str = "index.docker.io";

/// Where an image is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Image<'u> {
    /// Host of the registry, with its port if it names one.
    pub(crate) registry: &'u str,
    /// Name of the image in the registry.
    pub(crate) repository: &'u str,
    /// Tag, `latest` if neither tag nor digest is given.
    tag: Option<&'u str>,
}

impl<'u> Image<'u> {
    /// Reads the URL of a plugin; `None` if it names no image.
    pub(crate) fn parse(url: &'u str) -> Option<Self> {
        let reference = match url.split_once("://") {
            Some(("oci", reference)) => reference,
            Some(_) => return None,
            None => url,
        };
        let (name, has_digest) = match reference.split_once('@') {
            Some((name, _)) => (name, true),
            None => (reference, false),
        };
        // A colon before the last slash is one of a port.
        let after_slash = name.rfind('/').map_or(0, |slash| slash + 1);
        let colon = name.get(after_slash..)?.find(':');
        let (name, tag) = match colon.map(|colon| after_slash + colon) {
            Some(at) => (name.get(..at)?, name.get(at + 1..)),
            None => (name, None),
        };
        let (registry, repository) = match name.split_once('/') {
            Some((host, rest)) if is_host(host) => (host, rest),
            _ => (DOCKER_HUB, name),
        };
        let registry = match registry {
            "docker.io" | "registry-1.docker.io" => DOCKER_HUB,
            other => other,
        };
        let tag = tag.or((!has_digest).then_some("latest"));
        Some(Self {
            registry,
            repository,
            tag: tag.filter(|_| !has_digest),
        })
    }
}

/// Docker's rule: the first part of a reference is a host if it looks like one.
fn is_host(text: &str) -> bool {
    text == "localhost" || text.contains(['.', ':'])
}

/// Returns a URL with its scheme: without one it is of an image.
pub(crate) fn absolute(url: &str) -> String {
    if url.contains("://") {
        url.to_owned()
    } else {
        format!("oci://{url}")
    }
}

/// Whether a module is fetched anew when its object changes; by default that is so for images of
/// the tag `latest`.
pub(crate) fn is_always(url: &str, policy: PullPolicy) -> bool {
    match policy {
        PullPolicy::Always => true,
        PullPolicy::IfNotPresent => false,
        PullPolicy::Unspecified => {
            Image::parse(url).is_some_and(|image| image.tag == Some("latest"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_names_registry_and_repository() {
        let parts = |url| {
            let image = Image::parse(url)?;
            Some((image.registry, image.repository, image.tag))
        };
        for (url, expected) in [
            (
                "oci://r.example/a/b:v1",
                Some(("r.example", "a/b", Some("v1"))),
            ),
            (
                "r.example:5000/a",
                Some(("r.example:5000", "a", Some("latest"))),
            ),
            ("oci://localhost/a:x", Some(("localhost", "a", Some("x")))),
            ("a/b:1", Some((DOCKER_HUB, "a/b", Some("1")))),
            ("a", Some((DOCKER_HUB, "a", Some("latest")))),
            ("docker.io/a/b", Some((DOCKER_HUB, "a/b", Some("latest")))),
            ("r.example/a@sha256:00", Some(("r.example", "a", None))),
            ("r.example/a:v1@sha256:00", Some(("r.example", "a", None))),
            ("https://r.example/a.wasm", None),
            ("file:///a.wasm", None),
        ] {
            assert_eq!(parts(url), expected, "{url}");
        }
    }

    #[test]
    fn latest_is_looked_up_again_and_nothing_else_is_unless_asked_for() {
        for (url, policy, expected) in [
            ("oci://r.example/a:latest", PullPolicy::Unspecified, true),
            ("r.example/a", PullPolicy::Unspecified, true),
            ("r.example/a:v1", PullPolicy::Unspecified, false),
            ("r.example/a@sha256:00", PullPolicy::Unspecified, false),
            ("r.example/a:latest", PullPolicy::IfNotPresent, false),
            ("https://r.example/a", PullPolicy::Unspecified, false),
            ("https://r.example/a", PullPolicy::Always, true),
        ] {
            assert_eq!(is_always(url, policy), expected, "{url} {policy:?}");
        }
    }
}
