//! The shop: what a mesh without manifests runs.

use std::{fs, io, path::PathBuf};

use crate::state::{MeshName, StateDir};

/// The shop's manifests, with the filter where the default mesh has it.
const MANIFESTS: &str = include_str!("../../sample/shop.yaml");

/// The filter `add-header`, built by `cargo xtask filters`.
const ADD_HEADER: &[u8] = include_bytes!("../../../filters/prebuilt/add-header.wasm");

/// Where [`MANIFESTS`] leaves room for the filter's path.
const FILTER_PATH: &str = "/run/cairn/default/sample/add-header.wasm";

/// What to try once the shop of a mesh is up, and what comes of it; `cairn` is how this program is
/// called.
pub fn next(cairn: &str, mesh: &MeshName) -> String {
    let cairn = if mesh.is_default() {
        cairn.to_owned()
    } else {
        format!("{cairn} --mesh {mesh}")
    };
    let tries = TRIES.map(|(command, outcome)| format!("  {cairn} {command:<84} {outcome}"));
    let more = ["get httproutes -o yaml", "status", "logs waypoint", "down"];
    format!(
        "try:\n{}\n  {}",
        tries.join("\n"),
        more.map(|command| format!("{cairn} {command}")).join(" · ")
    )
}

const TRIES: [(&str, &str); 5] = [
    (
        "exec frontend -- curl -s http://reviews/",
        "which version answers, and what it was sent",
    ),
    (
        "exec frontend -- curl -s -H 'end-user: jason' http://reviews/version",
        "the header match: always v2",
    ),
    (
        "exec frontend -- sh -c 'for i in $(seq 20); do curl -s http://reviews/version; done'",
        "90 % v1, 10 % v3",
    ),
    (
        "exec frontend -- curl -si http://reviews/",
        "x-shop: a header set by the filter",
    ),
    (
        "exec ratings -- curl -si http://reviews/",
        "denied by its identity: RBAC: access denied",
    ),
];

/// The shop's manifests, as they can be applied to a mesh.
pub fn manifests(state: &StateDir) -> String {
    MANIFESTS.replace(FILTER_PATH, &filter(state).display().to_string())
}

/// Writes the shop's filter into the mesh's state folder. Every mesh has it, so that the shop's
/// manifests can be saved, changed and applied to any.
pub fn write_filter(state: &StateDir) -> io::Result<()> {
    fs::create_dir_all(state.sample())?;
    fs::write(filter(state), ADD_HEADER)
}

/// Writes the shop into the mesh's state folder and returns the folder of its manifests.
pub fn write(state: &StateDir) -> io::Result<PathBuf> {
    let folder = state.sample();
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("shop.yaml"), manifests(state))?;
    Ok(folder)
}

fn filter(state: &StateDir) -> PathBuf {
    state.sample().join("add-header.wasm")
}
