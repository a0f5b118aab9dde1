//! Publishes modules.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, LOCATION};
use http::{HeaderName, Method, StatusCode};
use serde::Serialize;
use url::Url;

use crate::error::{Error, Phase, Result};
use crate::http::Answer;
use crate::manifest::{OCI_MANIFEST, WASM_CONFIG, WASM_LAYER};
use crate::registry::{Path, Purpose, Registry, Step};
use crate::{Credentials, Digest, Fetcher, Image};

/// The largest part that is sent in one request, unless the registry asks for larger ones.
const PART: usize = 8 << 20;
/// The largest part that a registry may ask for.
const LARGEST_PART: usize = 64 << 20;

/// What was published.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pushed {
    /// Digest of the manifest; with it the image is named for good.
    pub manifest: Digest,
    /// Digest of the module.
    pub module: Digest,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest<'a> {
    schema_version: u32,
    media_type: &'a str,
    config: Descriptor<'a>,
    layers: [Descriptor<'a>; 1],
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor<'a> {
    media_type: &'a str,
    digest: String,
    size: usize,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<&'a str, &'a str>,
}

impl Fetcher {
    /// Publishes a module under a tag.
    ///
    /// * `annotations` — of the manifest, such as `org.opencontainers.image.description`.
    ///
    /// # Errors
    /// When the registry does not take it, or says that it has become something else.
    pub async fn push(
        &self,
        image: &Image,
        module: Bytes,
        annotations: &BTreeMap<String, String>,
        credentials: &Credentials,
    ) -> Result<Pushed> {
        let pushing = Box::pin(self.publish(image, module, annotations, credentials));
        let pushed = pushing.await;
        pushed.map_err(|error| error.of(&format!("oci://{image}")))
    }

    async fn publish(
        &self,
        image: &Image,
        module: Bytes,
        annotations: &BTreeMap<String, String>,
        credentials: &Credentials,
    ) -> Result<Pushed> {
        let Some(tag) = image.tag.as_deref().filter(|_| image.digest.is_none()) else {
            let why = "it is published under a tag, NAME:TAG, and gets its digest by that";
            return Err(Error::new(Phase::Upload, why));
        };
        if !module.starts_with(b"\0asm") {
            return Err(Error::new(
                Phase::Upload,
                "what is to be published is no WebAssembly module",
            ));
        }
        let (web, settings) = (self.web(), self.settings());
        let mut registry = Registry::new(web, settings, image, credentials, Purpose::Push);
        let config = Bytes::from_static(b"{}");
        let manifest = serde_json::to_vec(&manifest(&config, &module, annotations))
            .map_err(|error| Error::new(Phase::Upload, error.to_string()))?;
        registry.upload(&module).await?;
        registry.upload(&config).await?;
        let manifest = Bytes::from(manifest);
        registry.put_manifest(tag, &manifest).await?;
        Ok(Pushed {
            manifest: Digest::of(&manifest),
            module: Digest::of(&module),
        })
    }
}

fn manifest<'a>(
    config: &Bytes,
    module: &Bytes,
    annotations: &'a BTreeMap<String, String>,
) -> Manifest<'a> {
    let descriptor = |media_type, bytes: &Bytes| Descriptor {
        media_type,
        digest: Digest::of(bytes).to_string(),
        size: bytes.len(),
        annotations: BTreeMap::new(),
    };
    let mut layer = descriptor(WASM_LAYER, module);
    layer.annotations = [("org.opencontainers.image.title", "plugin.wasm")].into();
    Manifest {
        schema_version: 2,
        media_type: OCI_MANIFEST,
        config: descriptor(WASM_CONFIG, config),
        layers: [layer],
        annotations,
    }
}

impl Registry<'_> {
    /// Uploads a blob, unless it is there.
    async fn upload(&mut self, bytes: &Bytes) -> Result<()> {
        let digest = Digest::of(bytes);
        let path = format!("blobs/{digest}");
        let head = self
            .step(Method::HEAD, Path::Name(&path), &[], Bytes::new())
            .await?;
        if head.status == StatusCode::OK {
            return Ok(());
        }
        let empty = [(CONTENT_LENGTH, "0".to_owned())];
        let begun = self
            .step(
                Method::POST,
                Path::Name("blobs/uploads/"),
                &empty,
                Bytes::new(),
            )
            .await?;
        if begun.status != StatusCode::ACCEPTED {
            return Err(begun.refused("an upload").await);
        }
        let asked = begun.header("oci-chunk-min-length");
        let asked = asked.and_then(|text| text.parse().ok()).unwrap_or(0);
        let part = PART.max(asked).min(LARGEST_PART);
        let mut to = location(&begun)?;
        let mut sent = 0;
        // What fits goes with the last request, and so it is often the only one.
        while bytes.len() - sent > part {
            let chunk = bytes.slice(sent..sent + part);
            to = self.chunk(&to, sent, chunk).await?;
            sent += part;
        }
        to.query_pairs_mut()
            .append_pair("digest", &digest.to_string());
        let rest = bytes.slice(sent..);
        let mut headers = vec![octets()];
        if sent > 0 {
            headers.push(range(sent, rest.len()));
        }
        let ended = self
            .step(Method::PUT, Path::Given(&to), &headers, rest)
            .await?;
        if ended.status != StatusCode::CREATED {
            return Err(ended.refused(&format!("the layer {digest}")).await);
        }
        same(&ended, digest)
    }

    async fn chunk(&mut self, to: &Url, at: usize, chunk: Bytes) -> Result<Url> {
        let headers = [octets(), range(at, chunk.len())];
        let taken = self
            .step(Method::PATCH, Path::Given(to), &headers, chunk)
            .await?;
        if taken.status != StatusCode::ACCEPTED {
            return Err(taken.refused("a part of a layer").await);
        }
        location(&taken)
    }

    async fn put_manifest(&mut self, tag: &str, manifest: &Bytes) -> Result<()> {
        let path = format!("manifests/{tag}");
        let headers = [(CONTENT_TYPE, OCI_MANIFEST.to_owned())];
        let put = self
            .step(Method::PUT, Path::Name(&path), &headers, manifest.clone())
            .await?;
        if put.status != StatusCode::CREATED {
            return Err(put.refused("the manifest").await);
        }
        same(&put, Digest::of(manifest))
    }

    async fn step(
        &mut self,
        method: Method,
        path: Path<'_>,
        headers: &[(HeaderName, String)],
        body: Bytes,
    ) -> Result<Answer> {
        let step = Step {
            method,
            path,
            headers,
            body,
            phase: Phase::Upload,
        };
        Box::pin(self.call(&step)).await
    }
}

fn octets() -> (HeaderName, String) {
    (CONTENT_TYPE, "application/octet-stream".to_owned())
}

/// The place of a part, its end included.
fn range(at: usize, length: usize) -> (HeaderName, String) {
    (
        CONTENT_RANGE,
        format!("{at}-{}", (at + length).saturating_sub(1)),
    )
}

/// Where the next part goes.
fn location(answer: &Answer) -> Result<Url> {
    let text = answer
        .headers
        .get(LOCATION)
        .and_then(|text| text.to_str().ok());
    let url = text.and_then(|text| answer.url.join(text).ok());
    url.ok_or_else(|| {
        Error::new(
            Phase::Upload,
            "the registry does not say where to upload to",
        )
    })
}

/// What the registry has must be what was sent.
fn same(answer: &Answer, digest: Digest) -> Result<()> {
    let told = answer
        .header("docker-content-digest")
        .and_then(Digest::parse);
    match told {
        Some(other) if other != digest => {
            let why = format!("the registry has stored {other} and was sent {digest}");
            Err(Error::new(Phase::Verify, why))
        }
        _ => Ok(()),
    }
}
