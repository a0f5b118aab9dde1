//! Resources from the control plane: understood whole or rejected by field, and a fallback denies.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mesh::authz;
use mesh::convert::{self, Rejected};
use mesh::plugin::Plugin;
use mesh::route::Route;
use mesh::service::Service;
use mesh::store::Store;
use mesh::workload::Workload;
use prost::Message;
use proto::cairn::waypoint as ours;
use proto::security::Authorization;
use proto::workload::{Address, address};

/// Decodes a message that encodes to itself.
fn decode<M: Message + Default + PartialEq + std::fmt::Debug>(bytes: &[u8]) -> Option<M> {
    let message = M::decode(bytes).ok()?;
    let again = M::decode(&message.encode_to_vec()[..]).expect("what was encoded decodes");
    // Numbers that are not equal to themselves.
    assert!(message == again || format!("{message:?}").contains("NaN"));
    Some(message)
}

fn check<T>(converted: Result<T, Rejected>) -> Option<T> {
    converted
        .map_err(|rejected| assert!(!rejected.why.is_empty()))
        .ok()
}

fn address(store: &mut Store, bytes: &[u8]) {
    match decode::<Address>(bytes).and_then(|address| address.r#type) {
        Some(address::Type::Workload(message)) => {
            if let Some(workload) = check(Workload::try_from(message)) {
                store.upsert_workload(workload);
            }
        }
        Some(address::Type::Service(message)) => {
            if let Some(service) = check(Service::try_from(message)) {
                store.upsert_service(service);
            }
        }
        None => {}
    }
}

fn authorization(store: &mut Store, bytes: &[u8]) {
    let Some(message) = decode::<Authorization>(bytes) else {
        return;
    };
    let fallback = convert::authz::deny_all(&message);
    let policy = check(authz::Policy::try_from(message)).unwrap_or(fallback);
    store.upsert_policy(policy);
}

fuzz_target!(|data: &[u8]| {
    let mut store = Store::default();
    for bytes in cairn_fuzz::messages(data) {
        let Some((kind, bytes)) = bytes.split_first() else {
            continue;
        };
        match kind % 5 {
            0 => address(&mut store, bytes),
            1 => authorization(&mut store, bytes),
            2 => {
                if let Some(message) = decode::<ours::Policy>(bytes) {
                    convert::policy::deny_all("shop/p", &message);
                    check(authz::Policy::try_from(message));
                }
            }
            3 => {
                if let Some(message) = decode::<ours::Route>(bytes)
                    && let Err(why) = Route::try_from(message.clone())
                {
                    convert::route::broken(&message, &why);
                }
            }
            _ => {
                if let Some(message) = decode::<ours::Plugin>(bytes) {
                    convert::plugin::broken("shop/p", &message);
                    check(Plugin::try_from(message));
                }
            }
        }
    }
    // Whatever the mesh holds, every connection of every workload has an answer.
    let clients: Vec<_> = store.workloads().cloned().collect();
    for client in &clients {
        drop(store.policies_for(client));
        for to in clients.iter().flat_map(|of| &of.addresses).take(4) {
            drop(store.next_hop(client, (*to, 80).into(), &mut || 0.5));
        }
        for to in store.services().flat_map(|of| &of.service.vips).take(4) {
            drop(store.next_hop(client, (to.ip, 80).into(), &mut || 0.999_999));
        }
    }
    // What came can go, and nothing is left.
    let services: Vec<String> = store
        .services()
        .map(|of| of.service.key.to_string())
        .collect();
    let uids = clients.iter().map(|client| client.uid.to_string());
    let names: Vec<String> = services.into_iter().chain(uids).collect();
    // Twice, for a service and a workload of one name.
    for name in names.iter().chain(&names) {
        store.remove(name);
    }
    assert_eq!(
        (store.workloads().count(), store.services().count()),
        (0, 0)
    );
});
