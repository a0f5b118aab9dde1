use std::sync::Arc;

use identity::{Certified, Error, Fetcher, Keyring};
use mesh::spiffe::SpiffeId;
use prost::Message;
use proto::security::{self, Authorization};
use proto::workload::{Address, Workload, address};
use xds::client::{Handler, Resource, Update};

use super::{SharedStore, StoreWriter};
use crate::certificates::Certificates;

struct Silent;

impl Fetcher for Silent {
    async fn fetch(&self, _: &SpiffeId) -> Result<Certified, Error> {
        std::future::pending().await
    }
}

fn writer() -> (Arc<SharedStore>, Keyring, StoreWriter) {
    let (keyring, _) = Keyring::new(Silent);
    let store = Arc::new(SharedStore::new());
    let certificates = Certificates::new(keyring.clone());
    (
        store.clone(),
        keyring,
        StoreWriter::new(store, certificates, "n1"),
    )
}

fn put(name: &str, message: &impl Message) -> Update {
    Update::Put(Resource {
        name: name.into(),
        aliases: vec![],
        version: String::new(),
        bytes: message.encode_to_vec().into(),
    })
}

fn workload(node: &str, tunnel_protocol: i32) -> Address {
    Address {
        r#type: Some(address::Type::Workload(Workload {
            uid: "Kubernetes//Pod/shop/web".into(),
            name: "web".into(),
            namespace: "shop".into(),
            service_account: "web".into(),
            node: node.into(),
            tunnel_protocol,
            ..Default::default()
        })),
    }
}

fn policy(scope: security::Scope) -> Authorization {
    Authorization {
        name: "p".into(),
        namespace: "shop".into(),
        scope: scope.into(),
        rules: vec![security::Rule::default()],
        ..Default::default()
    }
}

/// Nothing is understood of a rule whose match compares with nothing.
fn broken(scope: security::Scope) -> Authorization {
    let mut policy = policy(scope);
    let nothing = security::StringMatch { match_type: None };
    let found = security::Match {
        principals: vec![nothing],
        ..Default::default()
    };
    policy.rules = vec![security::Rule {
        clauses: vec![security::Clause {
            matches: vec![found],
        }],
    }];
    policy
}

#[test]
fn a_bad_resource_is_refused_alone() {
    let (store, _, mut writer) = writer();
    let good = workload("n1", 1);
    let bad = workload("n1", 2);
    let refused = writer.apply(
        proto::ADDRESS_TYPE,
        vec![put("bad", &bad), put("Kubernetes//Pod/shop/web", &good)],
    );
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0].name, "bad");
    assert_eq!(
        refused[0].reason,
        "workload.tunnel_protocol: sidecar mTLS is not spoken here, it is not known here"
    );
    assert!(store.current().pod("shop", "web").is_some());
}

#[test]
fn certificates_are_kept_for_meshed_workloads_of_this_node_alone() {
    let (_, keyring, mut writer) = writer();
    let identity = SpiffeId::workload("cluster.local", "shop", "web").unwrap();
    let mut apply = |node, protocol| {
        let name = "Kubernetes//Pod/shop/web";
        writer.apply(
            proto::ADDRESS_TYPE,
            vec![put(name, &workload(node, protocol))],
        );
        keyring.state(&identity).is_some()
    };
    assert!(!apply("n1", 0));
    assert!(apply("n1", 1));
    assert!(!apply("n2", 1));
}

#[test]
fn a_policy_that_cannot_be_understood_keeps_its_last_good_version() {
    let (store, _, mut writer) = writer();
    let apply = |writer: &mut StoreWriter, policy: &Authorization| {
        writer.apply(proto::AUTHORIZATION_TYPE, vec![put("shop/p", policy)])
    };
    assert!(apply(&mut writer, &policy(security::Scope::Namespace)).is_empty());
    let before = store.current().policy("shop/p").cloned();
    assert_eq!(
        apply(&mut writer, &broken(security::Scope::Namespace)).len(),
        1
    );
    assert_eq!(store.current().policy("shop/p").cloned(), before);
}

#[test]
fn a_policy_never_understood_denies_what_it_was_meant_for() {
    let (store, _, mut writer) = writer();
    let update = put("shop/p", &broken(security::Scope::Global));
    assert_eq!(
        writer.apply(proto::AUTHORIZATION_TYPE, vec![update]).len(),
        1
    );
    let name = "Kubernetes//Pod/shop/web";
    writer.apply(proto::ADDRESS_TYPE, vec![put(name, &workload("n1", 1))]);
    let store = store.current();
    let workload = store.workload(name).unwrap();
    let policies = store.policies_for(workload).unwrap();
    let anybody = mesh::authz::Attributes::connection(None, "10.0.0.1".parse().unwrap(), None, 80);
    assert!(
        mesh::authz::decide(&policies, &anybody)
            .decision
            .check()
            .is_err()
    );
}

#[test]
fn readers_are_woken_by_a_change_and_see_all_of_it() {
    let (store, _, mut writer) = writer();
    let changes = store.changes();
    let before = store.current();
    let name = "Kubernetes//Pod/shop/web";
    writer.apply(proto::ADDRESS_TYPE, vec![put(name, &workload("n1", 1))]);
    assert!(changes.has_changed().unwrap());
    assert!(before.workload(name).is_none());
    assert!(store.current().workload(name).is_some());
}
