//! Every host function, as guests call it: statuses, bytes, and what the proxy sees.

mod bodies;
mod foreign;
mod headers;
mod pointers;
mod properties;
mod storage;
mod wasi;

/// The statuses and texts a guest logged, without the request id, joined by spaces.
fn said(lines: &[String]) -> String {
    lines
        .iter()
        .map(|line| line.trim_start_matches("id-1: "))
        .collect::<Vec<_>>()
        .join(" ")
}
