//! Where in an image the module is.

use super::{Candidate, Manifest, parse};
use crate::Digest;
use crate::unpack::Wanted;

const WASM: &str = "application/vnd.module.wasm.content.layer.v1+wasm";
const OCI: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const DOCKER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

fn layer(kind: &str, content: &str) -> String {
    let digest = Digest::of(content.as_bytes());
    format!(r#"{{"mediaType":"{kind}","digest":"{digest}","size":1}}"#)
}

fn image(layers: &[String]) -> Vec<u8> {
    format!(r#"{{"schemaVersion":2,"layers":[{}]}}"#, layers.join(",")).into_bytes()
}

fn order(bytes: &[u8]) -> Vec<(Digest, Wanted)> {
    match parse(bytes).unwrap() {
        Manifest::Image(candidates) => candidates
            .into_iter()
            .map(|Candidate { digest, wanted, .. }| (digest, wanted))
            .collect(),
        Manifest::Index(_) => panic!("it is an image"),
    }
}

#[test]
fn a_module_is_found_among_any_number_of_layers() {
    let module = (Digest::of(b"m"), Wanted::First);
    for layers in [
        vec![layer(WASM, "m")],
        vec![
            layer("application/vnd.module.wasm.config.v1+json", "c"),
            layer(WASM, "m"),
        ],
        vec![
            layer("text/plain", "r"),
            layer("application/wasm", "m"),
            layer("a/b", "x"),
        ],
    ] {
        assert_eq!(order(&image(&layers)), [module]);
    }
    let mixed = image(&[layer(OCI, "a"), layer(WASM, "m"), layer(DOCKER, "b")]);
    let archive = |content: &[u8]| (Digest::of(content), Wanted::Plugin);
    assert_eq!(order(&mixed), [module, archive(b"b"), archive(b"a")]);
}

#[test]
fn a_file_that_is_called_so_is_a_module_whatever_its_type() {
    let digest = Digest::of(b"m");
    let text = format!(
        r#"{{"blobs":[{{"mediaType":"application/octet-stream","digest":"{digest}","size":1,
        "annotations":{{"org.opencontainers.image.title":"my-filter.wasm"}}}}]}}"#
    );
    assert_eq!(order(text.as_bytes()), [(digest, Wanted::First)]);
}

#[test]
fn an_index_leads_to_images_and_not_to_how_they_were_built() {
    let (image, attestation) = (Digest::of(b"i"), Digest::of(b"a"));
    let text = format!(
        r#"{{"schemaVersion":2,"manifests":[
        {{"digest":"{attestation}","size":1,
          "annotations":{{"vnd.docker.reference.type":"attestation-manifest"}}}},
        {{"digest":"{image}","size":1,"annotations":null,"platform":{{"os":"linux"}}}}]}}"#
    );
    assert_eq!(parse(text.as_bytes()), Ok(Manifest::Index(vec![image])));
}

#[test]
fn what_leads_to_no_module_is_told() {
    let both = r#"{"schemaVersion":2,"layers":[],"manifests":[]}"#;
    let alien = image(&[layer("application/vnd.cncf.helm.chart", "h")]);
    let short = br#"{"layers":[{"mediaType":"application/wasm","digest":"sha256:12"}]}"#;
    let path = br#"{"layers":[{"mediaType":"application/wasm","digest":"../../x"}]}"#;
    for (bytes, why) in [
        (&b"<html>"[..], "cannot be read"),
        (b"{}", "names no layers"),
        (br#"{"schemaVersion":1,"fsLayers":[]}"#, "schema 1"),
        (both.as_bytes(), "both one image and several"),
        (br#"{"schemaVersion":2,"layers":[]}"#, "no layers"),
        (br#"{"schemaVersion":2,"manifests":[]}"#, "no image"),
        (&alien, "helm.chart"),
        (short, "not known: `sha256:12`"),
        (path, "not known"),
    ] {
        let error = parse(bytes).unwrap_err();
        assert!(error.contains(why), "{error}");
    }
}
