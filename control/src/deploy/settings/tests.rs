//! What an author sets, and what is not his to set.

use std::collections::BTreeMap;

use super::{Fault, Settings, of};
use crate::translate::names;

fn settings(text: &str) -> Settings {
    of(&BTreeMap::from([(
        names::PROXY_CONFIG.to_owned(),
        text.to_owned(),
    )]))
}

#[test]
fn settings_of_modules_are_the_authors() {
    for text in [
        "proxyMetadata:\n  WASM_INSECURE_REGISTRIES: registry:5000\n  WASM_MAX_HELD_BYTES: 4096\n",
        r#"{"proxyMetadata": {"WASM_INSECURE_REGISTRIES": "registry:5000", "WASM_MAX_HELD_BYTES": "4096"}}"#,
    ] {
        let Settings { env, faults } = settings(text);
        let env: Vec<_> = env.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let expected = [
            ("WASM_INSECURE_REGISTRIES", "registry:5000"),
            ("WASM_MAX_HELD_BYTES", "4096"),
        ];
        assert_eq!(env, expected);
        assert_eq!(faults, []);
    }
    assert_eq!(of(&BTreeMap::new()), Settings::default());
    assert_eq!(settings(""), Settings::default());
}

#[test]
fn who_a_waypoint_is_and_what_else_it_runs_with_is_not_the_authors() {
    let found = settings(
        "concurrency: 2\nproxyMetadata:\n  LD_PRELOAD: /tmp/x.so\n  POD_NAMESPACE: other\n  \
         STATE_DIR: /\n  WASM_PURGE_INTERVAL: [1h]\n",
    );
    assert_eq!(found.env, BTreeMap::new());
    let expected = [
        Fault::Field("concurrency".to_owned()),
        Fault::Variable("LD_PRELOAD".to_owned()),
        Fault::Variable("POD_NAMESPACE".to_owned()),
        Fault::Variable("STATE_DIR".to_owned()),
        Fault::Value("WASM_PURGE_INTERVAL".to_owned()),
    ];
    assert_eq!(found.faults, expected);
    for text in ["{", "- a", "a: 1\n---\nb: 2", "proxyMetadata"] {
        let found = settings(text);
        assert!(
            matches!(found.faults[..], [Fault::Unreadable(_)]),
            "{text}: {found:?}"
        );
    }
}
