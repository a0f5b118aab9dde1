//! What is read, and what is not.

use super::{Failure, read};

#[test]
fn only_absolute_files_are_read() {
    for url in [
        "oci://registry/x",
        "https://x/y.wasm",
        "registry/x",
        "file://relative.wasm",
    ] {
        let failure = read(url).unwrap_err();
        assert!(
            matches!(&failure, Failure::Final(why) if why.starts_with(url)),
            "{failure:?}"
        );
    }
}

#[test]
fn a_missing_file_is_named_and_may_come() {
    let url = "file:///no/such/module.wasm";
    let why = format!("{url}: No such file or directory");
    assert_eq!(read(url), Err(Failure::Unread(why.into())));
}
