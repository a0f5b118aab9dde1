//! Where a module is, as a user writes it.

use std::fmt;
use std::path::PathBuf;

use url::{Host, Url};

use crate::Digest;

#[cfg(test)]
mod tests;

/// Longest text that is read.
const LONGEST: usize = 2048;
const DOCKER_HUB: &str = "docker.io";
const HAS_PASSWORD: &str = "there is a user or password in it, where everybody reads them; a \
                            WasmPlugin names a Secret by imagePullSecret, and cairn filter takes \
                            --username and --password-stdin, or what docker login kept";

/// Where a module is. Shown without what may be secret in it.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Reference {
    /// An image or artifact of a registry: `oci://`, or no scheme.
    Image(Image),
    /// A URL: `https://` or `http://`.
    Web(Url),
    /// A file: `file://` and an absolute path.
    File(PathBuf),
}

/// An image or artifact of a registry.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Image {
    /// Host of the registry, with its port if it has one.
    pub registry: String,
    /// Name of the repository in it.
    pub repository: String,
    /// Tag; `latest` when neither a tag nor a digest was given.
    pub tag: Option<String>,
    /// Digest of the manifest.
    pub digest: Option<Digest>,
}

/// Text that says no place.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{reference}: {why}")]
pub struct BadReference {
    reference: String,
    why: String,
}

impl Reference {
    /// Reads what a user wrote.
    ///
    /// # Errors
    /// When it says no place; the text says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, BadReference> {
        read(text).map_err(|why| BadReference {
            reference: shown(text),
            why,
        })
    }

    /// The image, if it is one.
    pub fn image(&self) -> Option<&Image> {
        match self {
            Self::Image(image) => Some(image),
            Self::Web(_) | Self::File(_) => None,
        }
    }

    /// Whether getting it needs a network.
    pub fn is_remote(&self) -> bool {
        !matches!(self, Self::File(_))
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image(image) => write!(f, "oci://{image}"),
            Self::Web(url) => f.write_str(&without_secrets(url)),
            Self::File(path) => write!(f, "file://{}", path.display()),
        }
    }
}

impl Image {
    /// The tag or digest its manifest is asked for by; a digest wins.
    pub(crate) fn version(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => "latest".to_owned(),
        }
    }

    /// Host and port to call: Docker Hub's registry has another name than its images say.
    pub(crate) fn host(&self) -> &str {
        if self.registry == DOCKER_HUB {
            "registry-1.docker.io"
        } else {
            &self.registry
        }
    }

    /// Whether what it names changes when somebody publishes again under the tag `latest`.
    pub fn is_latest(&self) -> bool {
        self.digest.is_none() && self.tag.as_deref().is_none_or(|tag| tag == "latest")
    }
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// A URL without its query, which is often a signature, and without a password.
pub(crate) fn without_secrets(url: &Url) -> String {
    let mut shown = url.clone();
    let had_query = shown.query().is_some();
    shown.set_query(None);
    shown.set_fragment(None);
    // Refused only for URLs that have no host, and those have no password.
    let _ = shown.set_username("");
    let _ = shown.set_password(None);
    let mut shown = String::from(shown);
    if had_query {
        shown.push_str("?…");
    }
    shown
}

/// What could not be read, cut, and without what may be a password or a signature.
fn shown(text: &str) -> String {
    let text = text.split(['?', '#']).next().unwrap_or_default();
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (Some(scheme), rest),
        None => (None, text),
    };
    // `user:password@host`, and not `name@sha256:…`. A password may have anything in it.
    let (rest, digest) = match rest.rsplit_once('@') {
        Some((rest, digest)) if is_like_digest(digest) => (rest, Some(digest)),
        _ => (rest, None),
    };
    let rest = match rest.rsplit_once('@') {
        Some((user, place)) if scheme.is_some() || user.contains(':') => place,
        _ => rest,
    };
    let mut shown = scheme.map_or_else(String::new, |scheme| format!("{scheme}://"));
    shown.push_str(rest);
    if let Some(digest) = digest {
        shown.push('@');
        shown.push_str(digest);
    }
    shown
        .chars()
        .filter(|c| !c.is_control())
        .take(200)
        .collect()
}

/// Whether what stands behind an `@` is meant as a digest.
fn is_like_digest(text: &str) -> bool {
    text.starts_with("sha") && !text.contains('/')
}

fn read(text: &str) -> Result<Reference, String> {
    if text.is_empty() {
        return Err("it is empty; write where the module is, such as oci://HOST/NAME:TAG".into());
    }
    if text.len() > LONGEST {
        return Err(format!("it is longer than {LONGEST} characters"));
    }
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err("there is white space in it".into());
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        return image(text).map(Reference::Image);
    };
    match scheme.to_ascii_lowercase().as_str() {
        "oci" => image(rest).map(Reference::Image),
        "http" | "https" => web(text).map(Reference::Web),
        "file" if rest.starts_with('/') => Ok(Reference::File(rest.into())),
        "file" => Err("the path must be absolute: file:///PATH".into()),
        other => Err(format!(
            "{other}:// is not known; a module comes from oci://, https://, http:// or file://"
        )),
    }
}

fn web(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("it is no URL: {error}"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(HAS_PASSWORD.into());
    }
    match url.host() {
        Some(Host::Domain("")) | None => Err("it names no host".into()),
        Some(_) => Ok(url),
    }
}

fn image(text: &str) -> Result<Image, String> {
    // A digest has no path behind it.
    let before_path = text.split('/').next().unwrap_or_default();
    let is_login = |user: &str, host: &str| user.contains(':') && !is_like_digest(host);
    if text.split('@').skip(1).any(|rest| rest.contains('/'))
        || before_path
            .rsplit_once('@')
            .is_some_and(|(user, host)| is_login(user, host))
    {
        return Err(HAS_PASSWORD.into());
    }
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (rest, Some(image_digest(digest)?)),
        None => (text, None),
    };
    // A colon before the last slash belongs to the port of the host.
    let (name, tag) = match rest.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (rest, None),
    };
    if let Some(tag) = tag
        && !is_tag(tag)
    {
        return Err(format!(
            "`{tag}` is no tag: up to 128 letters, digits, `_`, `.` and `-`"
        ));
    }
    let (registry, repository) = match name.split_once('/') {
        Some((host, repository)) if is_host_like(host) => (registry(host)?, repository.to_owned()),
        _ => (DOCKER_HUB.to_owned(), name.to_owned()),
    };
    let repository = if registry == DOCKER_HUB && !repository.contains('/') {
        format!("library/{repository}")
    } else {
        repository
    };
    if repository.len() > 255 || !repository.split('/').all(is_component) {
        return Err(format!(
            "`{}` is no name of a repository: lower-case letters, digits and single `.`, `_`, `-` \
             between them, in parts separated by `/`",
            repository.strip_prefix("library/").unwrap_or(&repository)
        ));
    }
    let tag = match (tag, &digest) {
        (Some(tag), _) => Some(tag.to_owned()),
        (None, Some(_)) => None,
        (None, None) => Some("latest".to_owned()),
    };
    Ok(Image {
        registry,
        repository,
        tag,
        digest,
    })
}

fn image_digest(text: &str) -> Result<Digest, String> {
    if let Some((algorithm, _)) = text.split_once(':')
        && algorithm != "sha256"
    {
        return Err(format!(
            "digests of type {algorithm} are not known, only sha256"
        ));
    }
    let digest = text.starts_with("sha256:").then(|| Digest::parse(text));
    digest
        .flatten()
        .ok_or_else(|| "behind @ must be a digest: sha256: and 64 hexadecimal digits".to_owned())
}

/// Whether the first part of a name is a host; as everywhere, `name/image` is on Docker Hub.
fn is_host_like(part: &str) -> bool {
    part == "localhost" || part.contains(['.', ':', '['])
}

fn registry(text: &str) -> Result<String, String> {
    let bad = |why: &str| Err(format!("`{text}` is no host of a registry: {why}"));
    let is_plain = |c: char| c.is_ascii_alphanumeric() || ".-:[]".contains(c);
    if !text.chars().all(is_plain) {
        return bad("letters, digits, `.` and `-`, and maybe a port");
    }
    // The same reading as when it is called, so that both mean one host.
    let url = match Url::parse(&format!("https://{text}/")) {
        Ok(url) => url,
        Err(error) => return bad(&error.to_string()),
    };
    let port = text.rsplit_once(':').map(|(_, port)| port);
    if let Some(port) = port
        && !port.ends_with(']')
        && !port.parse::<u16>().is_ok_and(|port| port > 0)
    {
        return bad("the port is no number between 1 and 65535");
    }
    let Some(host) = url.host_str() else {
        return bad("it is empty");
    };
    // `https` hides its own port, but plain HTTP may be spoken on it.
    let port = port.filter(|port| !port.ends_with(']'));
    let registry = match port {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    };
    let is_hub = [
        "index.docker.io",
        "registry-1.docker.io",
        "registry.hub.docker.com",
    ]
    .contains(&registry.as_str());
    Ok(if is_hub {
        DOCKER_HUB.to_owned()
    } else {
        registry
    })
}

fn is_tag(text: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.len() <= 128
        && text.starts_with(is_word)
        && text.chars().all(|c| is_word(c) || c == '.' || c == '-')
}

/// One part of a repository's name: words with `.`, `_`, `__` or any number of `-` between them.
fn is_component(text: &str) -> bool {
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let mut separators = text.split(is_word).filter(|between| !between.is_empty());
    text.starts_with(is_word)
        && text.ends_with(is_word)
        && separators
            .all(|between| matches!(between, "." | "_" | "__") || between.chars().all(|c| c == '-'))
}
