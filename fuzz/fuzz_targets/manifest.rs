//! Manifests: bounded whatever the text, and JSON means to this reader what it says.
#![no_main]

use std::sync::Arc;

use control::source::yaml;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(map) => 1 + map.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn size(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(size).sum::<usize>(),
        Value::Object(map) => 1 + map.values().map(size).sum::<usize>(),
        Value::String(text) => 1 + text.len(),
        _ => 1,
    }
}

fuzz_target!(|text: &str| {
    let file: Arc<str> = "f.yaml".into();
    let manifest = yaml::parse(&file, text);
    for finding in &manifest.unreadable {
        assert!(finding.line > 0 && !finding.what.is_empty());
    }
    let total: usize = manifest
        .documents
        .iter()
        .map(|document| size(&document.value))
        .sum();
    assert!(total <= 32 << 20, "{total} values and bytes");
    for document in manifest.documents {
        let value = document.value;
        assert!(!value.is_null() && !value.is_array() && depth(&value) <= 101);
        // What is a list is taken apart, so it would not come back.
        let is_list = |kind: &Value| kind.as_str().is_some_and(|kind| kind.ends_with("List"));
        if value.get("kind").is_some_and(is_list) {
            continue;
        }
        let json = value.to_string();
        let again = yaml::parse(&file, &json);
        assert!(
            again.unreadable.is_empty(),
            "{json}: {:?}",
            again.unreadable
        );
        assert_eq!(again.documents.len(), 1, "{json}");
        assert_eq!(again.documents[0].value, value, "{json}");
    }
});
