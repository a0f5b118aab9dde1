//! What a filter costs is measured, and told to people and programs.

use super::{Folder, guest};

#[test]
fn a_filter_is_measured() {
    let folder = Folder::new();
    folder.write("guest.wasm", guest::signs("one"));
    let words = ["bench", "guest.wasm", "--requests", "200"];
    let json = folder
        .filter(&[&words[..], &["-o", "json"]].concat())
        .ends(0)
        .json();
    assert_eq!(json["requests"], 200);
    assert_eq!(json["failed"], 0);
    // One call of the guest for its header; context, headers, and no more that it has.
    assert_eq!(json["hostCalls"], 1.0);
    assert!(json["guestMicroseconds"].as_f64().unwrap() > 0.0, "{json}");
    assert!(
        json["medianWithMicroseconds"].as_f64().unwrap() > 0.0,
        "{json}"
    );
    let text = folder.filter(&words).ends(0).stdout;
    assert!(text.contains("in the filter"), "{text}");
}

#[test]
fn a_filter_that_cannot_run_is_not_measured() {
    let folder = Folder::new();
    folder.write("guest.wasm", guest::refuses());
    let told = folder.filter(&["bench", "guest.wasm"]).ends(1);
    assert!(told.stdout.is_empty(), "{told:?}");
}
