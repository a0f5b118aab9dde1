//! Manifests of registries: where in an image the module is.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use crate::Digest;
use crate::unpack::Wanted;

#[cfg(test)]
mod tests;

/// Largest manifest, in bytes.
pub(crate) const LARGEST: u64 = 4 << 20;
/// Most manifests of an index, and layers of an image, that are looked at.
const MOST: usize = 128;

/// What is asked for; what a registry has is one of these.
pub(crate) const ACCEPTED: [&str; 5] = [
    OCI_MANIFEST,
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.artifact.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];
pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// What `push` writes.
pub(crate) const WASM_LAYER: &str = "application/vnd.module.wasm.content.layer.v1+wasm";
pub(crate) const WASM_CONFIG: &str = "application/vnd.module.wasm.config.v1+json";
/// Layers that are a module.
const WASM_LAYERS: [&str; 3] = [
    WASM_LAYER,
    "application/vnd.wasm.content.layer.v1+wasm",
    "application/wasm",
];
/// Layers that are an archive.
const TAR_LAYERS: [&str; 4] = [
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.docker.image.rootfs.diff.tar",
];
const TITLE: &str = "org.opencontainers.image.title";

/// A manifest.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Manifest {
    /// Of one image: what is in it, in the order in which it is to be looked at.
    Image(Vec<Candidate>),
    /// Of several: the digests of their manifests.
    Index(Vec<Digest>),
}

/// A layer in which the module may be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Candidate {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    pub(crate) wanted: Wanted,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    #[serde(default)]
    schema_version: u32,
    #[serde(default)]
    layers: Option<Vec<Descriptor>>,
    #[serde(default)]
    blobs: Option<Vec<Descriptor>>,
    #[serde(default)]
    manifests: Option<Vec<Descriptor>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

impl Descriptor {
    fn annotation(&self, key: &str) -> Option<&str> {
        let value = self.annotations.as_ref()?.get(key)?;
        Some(value)
    }

    fn digest(&self) -> Result<Digest, String> {
        let digest = self.digest.starts_with("sha256:");
        let digest = digest.then(|| Digest::parse(&self.digest)).flatten();
        digest.ok_or_else(|| {
            let shown: String = self.digest.escape_debug().take(100).collect();
            format!("its manifest has a digest that is not known: `{shown}`")
        })
    }
}

/// Reads a manifest.
pub(crate) fn parse(bytes: &[u8]) -> Result<Manifest, String> {
    let document: Document = serde_json::from_slice(bytes)
        .map_err(|error| format!("its manifest cannot be read: {error}"))?;
    match document {
        Document {
            schema_version: 1, ..
        } => Err(
            "it was pushed in the form of Docker schema 1, which is not read; push it again \
                  with a newer tool"
                .into(),
        ),
        // One that is both would be one thing here and another thing elsewhere.
        Document {
            layers: Some(_),
            manifests: Some(_),
            ..
        } => Err("its manifest says that it is both one image and several".into()),
        Document {
            manifests: Some(manifests),
            ..
        } => index(&manifests),
        Document {
            layers: Some(layers),
            ..
        }
        | Document {
            blobs: Some(layers),
            ..
        } => image(&layers),
        Document { .. } => Err("its manifest names no layers".into()),
    }
}

fn index(manifests: &[Descriptor]) -> Result<Manifest, String> {
    let is_image = |manifest: &&Descriptor| {
        // How it was built, and not what was built.
        manifest.annotation("vnd.docker.reference.type") != Some("attestation-manifest")
    };
    let digests = manifests.iter().filter(is_image).take(MOST);
    let digests: Vec<_> = digests.map(Descriptor::digest).collect::<Result<_, _>>()?;
    if digests.is_empty() {
        return Err("it is an index of no image".into());
    }
    Ok(Manifest::Index(digests))
}

/// Modules first; then files that are called so; then archives, of which the last is on top.
fn image(layers: &[Descriptor]) -> Result<Manifest, String> {
    let is_module = |layer: &&Descriptor| WASM_LAYERS.contains(&layer.media_type.as_str());
    let is_archive = |layer: &&Descriptor| TAR_LAYERS.contains(&layer.media_type.as_str());
    let is_called = |layer: &&Descriptor| {
        let title = layer.annotation(TITLE).unwrap_or_default();
        let ending = Path::new(title).extension();
        ending.is_some_and(|ending| ending == "wasm") && !is_module(layer) && !is_archive(layer)
    };
    let candidate = |layer: &Descriptor, wanted| {
        Ok::<_, String>(Candidate {
            digest: layer.digest()?,
            size: layer.size,
            wanted,
        })
    };
    let modules = layers.iter().filter(is_module);
    let called = layers.iter().filter(is_called);
    let modules = modules
        .chain(called)
        .map(|layer| candidate(layer, Wanted::First));
    let archives = layers.iter().rev().filter(is_archive);
    let archives = archives.map(|layer| candidate(layer, Wanted::Plugin));
    let candidates: Vec<_> = modules
        .chain(archives)
        .take(MOST)
        .collect::<Result<_, _>>()?;
    if candidates.is_empty() {
        let types: Vec<_> = layers
            .iter()
            .map(|layer| layer.media_type.as_str())
            .collect();
        let types: String = types.join(", ").escape_debug().take(300).collect();
        return Err(if layers.is_empty() {
            "it has no layers, so there is no module in it".into()
        } else {
            format!(
                "no layer of it is a module: their types are {types}, and known are {WASM_LAYER} \
                 and image layers with plugin.wasm in them"
            )
        });
    }
    Ok(Manifest::Image(candidates))
}
