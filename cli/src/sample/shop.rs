//! The shop: what a mesh without manifests runs.

use std::{fs, io, path::PathBuf};

use crate::state::StateDir;

/// The shop's manifests as they are shown; [`write`] fills in where its filter is.
pub const MANIFESTS: &str = include_str!("../../sample/shop.yaml");

/// The filter `add-header`, built by `cargo xtask filters`.
const ADD_HEADER: &[u8] = include_bytes!("../../../filters/prebuilt/add-header.wasm");

/// Where [`MANIFESTS`] leaves room for the filter's path.
const FILTER_PATH: &str = "/run/cairn/default/sample/add-header.wasm";

/// What to try once the shop is up.
pub const NEXT: &str = "\
try:
  cairn exec frontend -- curl -s http://reviews:8080/              which version answers, and what it was sent
  cairn exec frontend -- curl -s -H 'end-user: jason' http://reviews:8080/version    the header match: always v2
  cairn exec frontend -- sh -c 'for i in $(seq 20); do curl -s http://reviews:8080/version; done'      90 % v1, 10 % v3
  cairn exec frontend -- curl -si http://reviews:8080/ | grep x-shop                 a header set by the filter
  cairn exec ratings -- curl -si http://reviews:8080/              denied by its identity: RBAC: access denied
  cairn get httproutes -o yaml · cairn status · cairn logs waypoint · cairn down";

/// Writes the shop into the mesh's state folder and returns the folder of its manifests.
pub fn write(state: &StateDir) -> io::Result<PathBuf> {
    let folder = state.sample();
    fs::create_dir_all(&folder)?;
    let filter = folder.join("add-header.wasm");
    fs::write(&filter, ADD_HEADER)?;
    fs::write(
        folder.join("shop.yaml"),
        MANIFESTS.replace(FILTER_PATH, &filter.display().to_string()),
    )?;
    Ok(folder)
}
