//! Any manifest to resources: proxies understand all that control tells them, and the way objects
//! came makes no difference.
#![no_main]

use std::path::PathBuf;
use std::sync::Arc;

use control::object::Store;
use control::source::{Document, Event, Root, Scope, yaml};
use control::translate::{Settings, Translator};
use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use mesh::{authz, convert, plugin, route, service, workload};
use proto::workload::address;

fn scope() -> Scope {
    let path = PathBuf::from("f.yaml").into();
    Scope::new(Root::Recorded { order: 0, path }, "f.yaml")
}

fn apply(store: &mut Store, documents: Vec<Document>) {
    let snapshot = Event::Snapshot {
        scope: scope(),
        documents,
        unreadable: vec![],
    };
    store.apply(snapshot, Timestamp::UNIX_EPOCH);
}

fn understood<T>(name: &str, converted: Result<T, convert::Rejected>) {
    if let Err(rejected) = converted {
        panic!("{name} is not understood: {rejected}");
    }
}

fuzz_target!(|text: &str| {
    let documents = || yaml::parse(&Arc::from("f.yaml"), text).documents;
    if documents().len() > 8 {
        return;
    }
    let mut store = Store::new(Timestamp::UNIX_EPOCH);
    apply(&mut store, documents());
    let mut translator = Translator::new(Settings::default());
    translator.update(store.objects());
    let resources = translator.resources();
    for (name, address) in &resources.addresses {
        match (**address).clone().r#type {
            Some(address::Type::Workload(message)) => {
                understood(name, workload::Workload::try_from(message));
            }
            Some(address::Type::Service(message)) => {
                understood(name, service::Service::try_from(message));
            }
            None => panic!("{name} is nothing"),
        }
    }
    for (name, message) in &resources.authorizations {
        understood(name, authz::Policy::try_from((**message).clone()));
    }
    for told in resources.waypoints.values() {
        for (name, message) in &told.routes {
            understood(name, route::Route::try_from((**message).clone()));
        }
        for (name, message) in &told.policies {
            understood(name, authz::Policy::try_from((**message).clone()));
        }
        for (name, message) in &told.plugins {
            understood(name, plugin::Plugin::try_from((**message).clone()));
        }
    }
    for findings in [store.findings(), translator.findings(store.objects())] {
        assert!(
            findings
                .iter()
                .all(|finding| !finding.to_string().is_empty())
        );
    }

    // One object after the other, as people edit.
    let mut slow = Store::new(Timestamp::UNIX_EPOCH);
    let mut stepwise = Translator::new(Settings::default());
    let all = documents();
    for known in 0..=all.len() {
        apply(&mut slow, all[..known].to_vec());
        stepwise.update(slow.objects());
    }
    assert_eq!(stepwise.resources(), resources);
    let statuses = |of: &Translator| {
        of.statuses()
            .into_iter()
            .map(|(key, status)| format!("{key} {status:?}"))
            .collect::<Vec<_>>()
    };
    assert_eq!(statuses(&stepwise), statuses(&translator));
});
