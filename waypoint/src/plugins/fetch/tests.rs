//! What is read, and what is not.

use super::read;

#[test]
fn only_absolute_files_are_read() {
    for url in [
        "oci://registry/x",
        "https://x/y.wasm",
        "registry/x",
        "file://relative.wasm",
    ] {
        assert!(read(url).unwrap_err().contains(url), "{url}");
    }
}

#[test]
fn a_missing_file_is_named() {
    let error = read("file:///no/such/module.wasm").unwrap_err();
    assert!(error.starts_with("/no/such/module.wasm: "), "{error}");
}
