//! Turns `crates/proto/proto` into the committed Rust of `crates/proto/src/gen`.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

const FILES: [&str; 7] = [
    "istio/workload.proto",
    "istio/authorization.proto",
    "istio/ca.proto",
    "istio/zds.proto",
    "envoy/discovery.proto",
    "google/rpc/status.proto",
    "cairn/waypoint.proto",
];

fn proto_crate() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../proto")
}

/// Writes the generated files, and removes those no message asks for any more.
pub(crate) fn write() -> Result<()> {
    let dir = proto_crate().join("src/gen");
    let wanted = generate()?;
    for entry in fs::read_dir(&dir)? {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if !wanted.contains_key(&name) {
            fs::remove_file(path)?;
        }
    }
    for (name, code) in wanted {
        fs::write(dir.join(name), code)?;
    }
    Ok(())
}

/// Generates the files into a temporary folder and returns them by name.
fn generate() -> Result<BTreeMap<String, String>> {
    let root = proto_crate().join("proto");
    let descriptors = protox::compile(FILES, [&root]).context("compiling crates/proto/proto")?;
    let out = std::env::temp_dir().join(format!("cairn-gen-{}", std::process::id()));
    fs::create_dir_all(&out)?;
    let result = (|| {
        tonic_prost_build::configure()
            .out_dir(&out)
            .btree_map(".")
            .bytes(".istio")
            .bytes(".cairn")
            // Written by hand, so that nobody prints credentials by accident.
            .skip_debug([".cairn.waypoint.v1.PullSecret"])
            .compile_fds(descriptors)?;
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(&out)? {
            let path = entry?.path();
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            files.insert(name, fs::read_to_string(&path)?);
        }
        Ok(files)
    })();
    fs::remove_dir_all(&out)?;
    result
}

#[cfg(test)]
mod tests {
    #[test]
    fn committed_code_is_what_the_messages_generate() {
        let dir = super::proto_crate().join("src/gen");
        for (name, code) in super::generate().unwrap() {
            let committed = std::fs::read_to_string(dir.join(&name)).unwrap_or_default();
            assert!(committed == code, "{name} is stale: run `cargo xtask gen`");
        }
    }
}
