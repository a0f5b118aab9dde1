//! What is found in what was downloaded, and what is refused.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::Wanted::{First, Plugin};
use super::module;

const LIMIT: u64 = 1 << 20;
const MODULE: &[u8] = b"\0asm\x01\0\0\0 and so on";

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(vec![], Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// One entry of an archive; the checksum is right.
pub(crate) fn entry(name: &str, kind: u8, size: usize, bytes: &[u8]) -> Vec<u8> {
    let mut header = [0u8; 512];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[100..108].copy_from_slice(b"0000644\0");
    header[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
    header[148..156].copy_from_slice(b"        ");
    header[156] = kind;
    header[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut entry = header.to_vec();
    entry.extend_from_slice(bytes);
    entry.resize(entry.len().next_multiple_of(512), 0);
    entry
}

pub(crate) fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let entries = files
        .iter()
        .map(|(name, bytes)| entry(name, b'0', bytes.len(), bytes));
    let mut archive: Vec<u8> = entries.flatten().collect();
    archive.resize(archive.len() + 1024, 0);
    archive
}

fn refused(bytes: &[u8], wanted: super::Wanted) -> String {
    module(bytes, wanted, LIMIT).unwrap_err()
}

#[test]
fn a_module_is_found_as_it_is_compressed_or_in_an_archive() {
    let archive = tar(&[("._x.wasm", b"mac"), ("x.wasm", MODULE), ("y", b"more")]);
    for bytes in [
        MODULE.to_vec(),
        gzip(MODULE),
        archive.clone(),
        gzip(&archive),
    ] {
        assert_eq!(module(&bytes, First, LIMIT).unwrap(), MODULE);
    }
    let layer = tar(&[("etc/x", b"mac"), ("./plugin.wasm", MODULE), ("y", b"more")]);
    assert_eq!(module(&gzip(&layer), Plugin, LIMIT).unwrap(), MODULE);
    let deep = tar(&[("opt/filter/plugin.wasm", MODULE)]);
    assert_eq!(module(&deep, Plugin, LIMIT).unwrap(), MODULE);
}

#[test]
fn long_names_of_gnu_and_pax_are_read() {
    let long = format!("{}/plugin.wasm", "d".repeat(120));
    let mut gnu = entry("././@LongLink", b'L', long.len(), long.as_bytes());
    gnu.extend(entry("cut", b'0', MODULE.len(), MODULE));
    assert_eq!(module(&gnu, Plugin, LIMIT).unwrap(), MODULE);

    let record = format!(" path={long}\n");
    let length = record.len() + 3;
    let record = format!("{length}{record}");
    let mut pax = entry("pax", b'x', record.len(), record.as_bytes());
    pax.extend(entry("cut", b'0', MODULE.len(), MODULE));
    assert_eq!(module(&pax, Plugin, LIMIT).unwrap(), MODULE);
}

#[test]
fn an_archive_that_leads_out_of_itself_is_refused() {
    for name in ["../plugin.wasm", "a/../../plugin.wasm", "/plugin.wasm"] {
        let why = refused(&tar(&[(name, MODULE)]), Plugin);
        assert!(why.contains("leads out of it"), "{why}");
        let why = refused(&tar(&[(name, MODULE)]), First);
        assert!(why.contains("leads out of it"), "{why}");
    }
    for kind in *b"12" {
        let why = refused(&entry("plugin.wasm", kind, 0, b""), Plugin);
        assert!(why.contains("no plain file"), "{why}");
    }
}

#[test]
fn of_a_layer_there_is_one_module_or_none() {
    let two = tar(&[("plugin.wasm", MODULE), ("a/plugin.wasm", MODULE)]);
    assert!(refused(&two, Plugin).contains("more than one"));
    let none = refused(&tar(&[("etc/passwd", b"x"), ("main.wasm", MODULE)]), Plugin);
    assert_eq!(
        none,
        "there is no plugin.wasm in the archive, only etc/passwd, main.wasm"
    );
}

#[test]
fn a_bomb_is_noticed_while_it_goes_off() {
    let zeros = vec![0; 64 << 20];
    let mut bytes = MODULE.to_vec();
    bytes.extend(&zeros);
    let why = module(&gzip(&bytes), First, 1 << 30).unwrap_err();
    assert!(why.contains("100 times larger"), "{why}");
    let why = refused(
        &gzip(&tar(&[("pad", &zeros), ("plugin.wasm", MODULE)])),
        Plugin,
    );
    assert!(why.contains("100 times larger"), "{why}");

    let noise: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..))
        .take(2 << 20)
        .collect();
    let mut large = MODULE.to_vec();
    large.extend(&noise);
    assert!(refused(&gzip(&large), First).contains("more than 1048576 bytes"));
    assert!(refused(&large, First).contains("more than 1048576 bytes"));
    assert!(refused(&tar(&[("plugin.wasm", &large)]), Plugin).contains("more than"));
    let why = refused(
        &tar(&[("a", &noise), ("b", &noise), ("plugin.wasm", MODULE)]),
        Plugin,
    );
    assert!(why.contains("more in it"), "{why}");
}

#[test]
fn what_is_cut_or_damaged_is_refused() {
    let whole = gzip(MODULE);
    assert!(refused(&whole[..whole.len() - 6], First).contains("decompressed"));
    let archive = tar(&[("plugin.wasm", MODULE)]);
    assert!(refused(&archive[..520], Plugin).contains("ends in the middle"));
    let mut damaged = archive;
    damaged.splice(1024..1024, entry("x", b'0', 0, b""));
    damaged[1024] = b'y';
    assert!(
        refused(&damaged, Plugin).contains("checksum"),
        "{}",
        refused(&damaged, Plugin)
    );
    let claims = entry("plugin.wasm", b'0', 4096, MODULE);
    assert!(refused(&claims, Plugin).contains("ends in the middle"));
}

#[test]
fn what_is_no_module_is_called_what_it_is() {
    for (bytes, what) in [
        (&b""[..], "empty"),
        (b"<!DOCTYPE html>", "HTML"),
        (b"{\"errors\":[]}", "JSON"),
        (b"PK\x03\x04zip", "zip"),
        (b"\x28\xb5\x2f\xfd", "zstd"),
        (b"\x7fELF", "program for this machine"),
        (b"(module)", "wat2wasm"),
        (b"version https://git-lfs.github.com/spec/v1", "Git LFS"),
        (b"hello", "\\0asm"),
    ] {
        assert!(refused(bytes, First).contains(what), "{what}");
        if !bytes.is_empty() {
            assert!(refused(&tar(&[("plugin.wasm", bytes)]), Plugin).contains(what));
        }
    }
}
