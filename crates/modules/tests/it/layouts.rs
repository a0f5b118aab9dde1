//! Every form in which modules are published, in the real registry where it takes it.

use std::net::SocketAddr;

use modules::{Digest, Phase};

use crate::archive::{gzip, tar};
use crate::registry::Registry;
use crate::server::{Server, answer, send};
use crate::{MODULE, fetch, quick, request};

const OCI: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
const WASM: &str = "application/vnd.module.wasm.content.layer.v1+wasm";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// Types of layers and their bytes.
type Layers<'l> = &'l [(&'l str, &'l [u8])];

/// Puts what a test makes into a repository, as any client would.
struct Publisher {
    to: SocketAddr,
    name: String,
}

impl Publisher {
    fn blob(&self, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        let path = format!("/v2/{}/blobs/uploads/", self.name);
        let begun = send(self.to, "POST", &path, &[], b"");
        let location = begun.location.expect("a place to upload to");
        let (_, rest) = location.split_once("/v2/").unwrap();
        let path = format!("/v2/{rest}&digest={digest}");
        let headers = [("content-type", "application/octet-stream")];
        assert_eq!(send(self.to, "PUT", &path, &headers, bytes).status, 201);
        digest
    }

    fn descriptor(&self, kind: &str, bytes: &[u8]) -> String {
        let digest = self.blob(bytes);
        format!(
            r#"{{"mediaType":"{kind}","digest":"{digest}","size":{}}}"#,
            bytes.len()
        )
    }

    fn manifest(&self, tag: &str, kind: &str, text: &str) -> Digest {
        let path = format!("/v2/{}/manifests/{tag}", self.name);
        let told = send(
            self.to,
            "PUT",
            &path,
            &[("content-type", kind)],
            text.as_bytes(),
        );
        assert_eq!(told.status, 201, "{text}");
        Digest::of(text.as_bytes())
    }

    fn image(&self, tag: &str, kind: &str, layers: Layers<'_>) -> (Digest, usize) {
        let config = match kind {
            DOCKER => "application/vnd.docker.container.image.v1+json",
            _ => CONFIG,
        };
        let config = self.descriptor(config, b"{}");
        let layers: Vec<_> = layers
            .iter()
            .map(|(kind, bytes)| self.descriptor(kind, bytes))
            .collect();
        let text = format!(
            r#"{{"schemaVersion":2,"mediaType":"{kind}","config":{config},"layers":[{}]}}"#,
            layers.join(",")
        );
        (self.manifest(tag, kind, &text), text.len())
    }

    /// An index of manifests, of which each is for another machine.
    fn index(&self, tag: &str, kind: &str, of: &str, images: &[(Digest, usize)]) -> Digest {
        let entry = |(digest, size): &(Digest, usize)| {
            format!(
                r#"{{"mediaType":"{of}","digest":"{digest}","size":{size},
                "platform":{{"os":"linux","architecture":"a{size}"}}}}"#
            )
        };
        let entries: Vec<_> = images.iter().map(entry).collect();
        let text = format!(
            r#"{{"schemaVersion":2,"mediaType":"{kind}","manifests":[{}]}}"#,
            entries.join(",")
        );
        self.manifest(tag, kind, &text)
    }
}

fn layer() -> Vec<u8> {
    gzip(&tar(&[("etc/motd", b"x"), ("plugin.wasm", MODULE)]))
}

#[tokio::test]
async fn every_layout_that_people_publish_is_read() {
    let Some(registry) = Registry::start("") else {
        return;
    };
    let publisher = Publisher {
        to: registry.address,
        name: "team/filter".to_owned(),
    };
    let (layer, base) = (layer(), gzip(&tar(&[("bin/sh", b"x")])));
    let config: &[u8] = b"{\"a\":1}";
    let cases: [(&str, &str, Layers<'_>); 10] = [
        ("one", OCI, &[(WASM, MODULE)]),
        (
            "two",
            OCI,
            &[
                ("application/vnd.module.wasm.config.v1+json", config),
                (WASM, MODULE),
            ],
        ),
        (
            "three",
            OCI,
            &[
                ("text/plain", b"r"),
                (WASM, MODULE),
                ("text/markdown", b"doc"),
            ],
        ),
        (
            "older",
            OCI,
            &[("application/vnd.wasm.content.layer.v1+wasm", MODULE)],
        ),
        ("artifact", OCI, &[("application/wasm", MODULE)]),
        ("compat", OCI, &[(OCI_LAYER, &layer)]),
        (
            "onbase",
            OCI,
            &[(OCI_LAYER, &base), (OCI_LAYER, &layer), (OCI_LAYER, &base)],
        ),
        (
            "untarred",
            OCI,
            &[(
                "application/vnd.oci.image.layer.v1.tar",
                &tar(&[("plugin.wasm", MODULE)]),
            )],
        ),
        ("docker", DOCKER, &[(DOCKER_LAYER, &layer)]),
        (
            "dockerbase",
            DOCKER,
            &[(DOCKER_LAYER, &base), (DOCKER_LAYER, &layer)],
        ),
    ];
    for (tag, kind, layers) in cases {
        let (digest, _) = publisher.image(tag, kind, layers);
        let image = registry.image(&format!("team/filter:{tag}"));
        let module = fetch(quick(), &request(&image)).await;
        let module = module.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(
            (&module.bytes[..], module.manifest),
            (MODULE, Some(digest)),
            "{tag}"
        );
    }
}

#[tokio::test]
async fn of_an_index_the_first_image_with_a_module_is_taken() {
    let Some(registry) = Registry::start("") else {
        return;
    };
    let publisher = Publisher {
        to: registry.address,
        name: "filter".to_owned(),
    };
    let other = gzip(&tar(&[("bin/sh", b"x")]));
    for (tag, kind, of, other_layer) in [
        ("oci", OCI_INDEX, OCI, OCI_LAYER),
        ("docker", DOCKER_LIST, DOCKER, DOCKER_LAYER),
    ] {
        let first = publisher.image("first", of, &[(other_layer, &other)]);
        let second = publisher.image("second", of, &[(other_layer, &layer())]);
        let index = publisher.index(tag, kind, of, &[first, second]);
        let mut request = request(&registry.image(&format!("filter:{tag}")));
        for pin in [None, Some(index), Some(second.0), Some(Digest::of(MODULE))] {
            request.sha256 = pin;
            let module = fetch(quick(), &request).await.unwrap();
            assert_eq!(
                (&module.bytes[..], module.manifest),
                (MODULE, Some(second.0))
            );
        }
        request.sha256 = Some(first.0);
        let error = fetch(quick(), &request).await.unwrap_err();
        assert_eq!(error.phase, Phase::Verify);
    }
}

#[tokio::test]
async fn an_image_without_a_module_is_told_what_is_in_it() {
    let Some(registry) = Registry::start("") else {
        return;
    };
    let publisher = Publisher {
        to: registry.address,
        name: "filter".to_owned(),
    };
    let other = gzip(&tar(&[("main.wasm", MODULE)]));
    let chart = "application/vnd.cncf.helm.chart.content.v1.tar+gzip";
    for (tag, kind, bytes, why) in [
        (
            "name",
            OCI_LAYER,
            &other[..],
            "no plugin.wasm in the archive, only main.wasm",
        ),
        (
            "chart",
            chart,
            &other,
            "their types are application/vnd.cncf.helm",
        ),
        ("text", WASM, b"(module)", "wat2wasm"),
    ] {
        publisher.image(tag, OCI, &[(kind, bytes)]);
        let image = registry.image(&format!("filter:{tag}"));
        let error = fetch(quick(), &request(&image)).await.unwrap_err();
        assert!(
            !error.is_retryable && error.to_string().contains(why),
            "{error}"
        );
    }
}

/// This registry takes no artifact manifests; others have them.
#[tokio::test]
async fn an_artifact_manifest_is_read_too() {
    let server = Server::start(|seen, wire| {
        if seen.path.contains("/blobs/") {
            return answer(wire, 200, &[], MODULE);
        }
        let kind = "application/vnd.oci.artifact.manifest.v1+json";
        let digest = Digest::of(MODULE);
        let text = format!(
            r#"{{"mediaType":"{kind}","artifactType":"application/wasm",
            "blobs":[{{"mediaType":"{WASM}","digest":"{digest}","size":1}}]}}"#
        );
        assert!(seen.headers["accept"].contains(kind));
        answer(wire, 200, &[("content-type", kind)], text.as_bytes());
    });
    let module = fetch(quick(), &request(&server.image("a/b:v1")))
        .await
        .unwrap();
    assert_eq!(&module.bytes[..], MODULE);
}
