//! What a real istiod sent a ztunnel, against our messages, our client and our mesh.

use std::{collections::BTreeMap, fmt::Debug};

use conformance::{ambientz, vectors};
use mesh::authz::Policy;
use prost::{
    Message,
    encoding::{self, WireType},
};
use proto::{
    ADDRESS_TYPE, AUTHORIZATION_TYPE,
    discovery::{DeltaDiscoveryResponse, Resource},
    envoy::config::core::v3::Node,
    security::Authorization,
    workload::{Address, Service, Workload, address::Type},
};
use serde_json::Value;
use xds::client::{Decoded, Rejected, Subscriptions, Update, Watch, decode};

const ADDRESSES: &str = "xds/istio.workload.Address.delta.b64";
const POLICIES: &str = "xds/istio.security.Authorization.delta.b64";
const VIEW: &str = "xds/ambientz.json";

fn response(path: &str) -> DeltaDiscoveryResponse {
    vectors::response(path).expect("the vector is readable")
}

fn content(resource: &Resource) -> &[u8] {
    &resource
        .resource
        .as_ref()
        .expect("every recorded resource has content")
        .value
}

/// All recorded resources of a type, by name.
fn recorded<M: Message + Default>(path: &str) -> BTreeMap<String, M> {
    let resources = response(path).resources;
    let decoded: BTreeMap<_, _> = resources
        .iter()
        .map(|r| {
            (
                r.name.clone(),
                M::decode(content(r)).expect("every resource decodes"),
            )
        })
        .collect();
    assert_eq!(decoded.len(), resources.len(), "names are unique");
    decoded
}

fn workloads() -> BTreeMap<String, Workload> {
    let addresses = recorded::<Address>(ADDRESSES).into_iter();
    addresses
        .filter_map(|(name, address)| match address.r#type {
            Some(Type::Workload(workload)) => Some((name, workload)),
            _ => None,
        })
        .collect()
}

fn services() -> BTreeMap<String, Service> {
    let addresses = recorded::<Address>(ADDRESSES).into_iter();
    addresses
        .filter_map(|(name, address)| match address.r#type {
            Some(Type::Service(service)) => Some((name, service)),
            _ => None,
        })
        .collect()
}

/// One list of istiod's view, by the name its resources have on the wire.
fn view(list: &str, name: impl Fn(&Value) -> String) -> BTreeMap<String, Value> {
    let view = vectors::json(VIEW).expect("the view is readable");
    let items = view[list]
        .as_array()
        .expect("the view has this list")
        .clone();
    assert!(!items.is_empty(), "{list}");
    items.into_iter().map(|item| (name(&item), item)).collect()
}

fn text<'a>(item: &'a Value, key: &str) -> &'a str {
    item[key].as_str().expect("the view has this field")
}

/// Messages and view have the same names, and under each name the same values.
fn check<M>(
    messages: BTreeMap<String, M>,
    show: impl Fn(&M) -> Value,
    view: &BTreeMap<String, Value>,
) {
    assert!(
        messages.keys().eq(view.keys()),
        "{:?} {:?}",
        messages.keys(),
        view.keys()
    );
    for ((name, message), expected) in messages.into_iter().zip(view.values()) {
        assert_eq!(&show(&message), expected, "{name}");
    }
}

#[test]
fn workloads_have_the_values_istiod_shows() {
    let expected = view("workloads", |item| text(item, "uid").to_owned());
    check(workloads(), ambientz::workload, &expected);
}

#[test]
fn services_have_the_values_istiod_shows() {
    let name = |item: &Value| format!("{}/{}", text(item, "namespace"), text(item, "hostname"));
    check(services(), ambientz::service, &view("services", name));
}

#[test]
fn policies_have_the_values_istiod_shows() {
    let name = |item: &Value| format!("{}/{}", text(item, "namespace"), text(item, "name"));
    let policies = recorded::<Authorization>(POLICIES);
    check(policies, ambientz::policy, &view("policies", name));
}

#[test]
fn every_address_is_a_workload_or_a_service() {
    let n_addresses = response(ADDRESSES).resources.len();
    assert_eq!(workloads().len() + services().len(), n_addresses);
}

#[test]
fn envelopes_are_as_a_client_has_to_expect_them() {
    for (path, type_url) in [(ADDRESSES, ADDRESS_TYPE), (POLICIES, AUTHORIZATION_TYPE)] {
        let response = response(path);
        assert_eq!(response.type_url, type_url);
        assert!(!response.nonce.is_empty());
        for resource in &response.resources {
            let any = resource
                .resource
                .as_ref()
                .expect("every resource has content");
            assert_eq!(any.type_url, type_url);
            assert!(
                resource.aliases.is_empty(),
                "aliases are for on-demand streams"
            );
        }
    }
    for address in response(ADDRESSES).resources {
        // A 64-bit hash in hex, without leading zeros.
        let version = address.version;
        assert!(u64::from_str_radix(&version, 16).is_ok(), "{version}");
    }
    for policy in response(POLICIES).resources {
        assert_eq!(policy.version, "", "policies have no version");
    }
}

/// Decodes, encodes, decodes again. Equal lengths say that no field was dropped: an unknown one
/// would be missing from the second encoding.
fn survives<M: Message + Default + PartialEq + Debug>(bytes: &[u8]) {
    let message = M::decode(bytes).expect("recorded bytes decode");
    let again = message.encode_to_vec();
    assert_eq!(again.len(), bytes.len(), "{message:?}");
    assert_eq!(
        M::decode(again.as_slice()).expect("our own bytes decode"),
        message
    );
}

#[test]
fn re_encoding_loses_nothing() {
    for path in [ADDRESSES, POLICIES] {
        survives::<DeltaDiscoveryResponse>(&vectors::bytes(path).expect("the vector is readable"));
    }
    for address in response(ADDRESSES).resources {
        survives::<Address>(content(&address));
    }
    for policy in response(POLICIES).resources {
        survives::<Authorization>(content(&policy));
    }
}

/// Fields no version of these messages has, of every wire type a newer one could use.
fn unknown_fields() -> Vec<u8> {
    let mut bytes = Vec::new();
    encoding::uint64::encode(1000, &u64::MAX, &mut bytes);
    encoding::fixed32::encode(1001, &7, &mut bytes);
    encoding::fixed64::encode(1002, &7, &mut bytes);
    encoding::string::encode(1003, &"from the future".to_owned(), &mut bytes);
    encoding::encode_key(1004, WireType::StartGroup, &mut bytes);
    encoding::uint32::encode(1, &7, &mut bytes);
    encoding::encode_key(1004, WireType::EndGroup, &mut bytes);
    bytes
}

fn check_tolerates<M: Message + Default + PartialEq + Debug>(bytes: &[u8], more: &[u8]) {
    let known = M::decode(bytes).expect("recorded bytes decode");
    let extended = M::decode([bytes, more].concat().as_slice());
    assert_eq!(extended.expect("unknown fields are skipped"), known);
}

#[test]
fn unknown_fields_break_nothing() {
    let unknown = unknown_fields();
    for path in [ADDRESSES, POLICIES] {
        let bytes = vectors::bytes(path).expect("the vector is readable");
        check_tolerates::<DeltaDiscoveryResponse>(&bytes, &unknown);
    }
    for policy in response(POLICIES).resources {
        check_tolerates::<Authorization>(content(&policy), &unknown);
    }
    for address in response(ADDRESSES).resources {
        check_tolerates::<Address>(content(&address), &unknown);
        // Inside the workload or service: a message field that comes twice is merged.
        let message = Address::decode(content(&address)).expect("recorded bytes decode");
        let tag = match message.r#type {
            Some(Type::Workload(_)) => 1,
            Some(Type::Service(_)) => 2,
            None => continue,
        };
        let mut nested = Vec::new();
        encoding::bytes::encode(tag, &unknown, &mut nested);
        check_tolerates::<Address>(content(&address), &nested);
    }
}

#[test]
fn unknown_enum_values_break_nothing() {
    let (_, known) = workloads().pop_first().expect("there are workloads");
    // Fields 5, 12 and 17: tunnel_protocol, workload_type, status.
    for tag in [5, 12, 17] {
        let mut bytes = known.encode_to_vec();
        encoding::int32::encode(tag, &99, &mut bytes);
        let message = Workload::decode(bytes.as_slice()).expect("an enum is open");
        assert_eq!(message.uid, known.uid);
        let numbers = [
            message.tunnel_protocol,
            message.workload_type,
            message.status,
        ];
        assert_eq!(numbers.iter().filter(|number| **number == 99).count(), 1);
    }
}

fn client() -> Subscriptions {
    let watches = [
        Watch::everything(ADDRESS_TYPE),
        Watch::everything(AUTHORIZATION_TYPE),
    ];
    Subscriptions::new(Node::default(), watches)
}

#[test]
fn our_client_takes_and_acknowledges_all_of_it() {
    let mut client = client();
    let mut n_applied = 0;
    let mut handler = |type_url: &str, updates: Vec<Update>| -> Vec<Rejected> {
        n_applied += updates.len();
        let rejected = match type_url {
            ADDRESS_TYPE => decode::<Address>(updates).1,
            _ => decode::<Authorization>(updates).1,
        };
        assert_eq!(rejected, []);
        rejected
    };
    for path in [ADDRESSES, POLICIES] {
        let response = response(path);
        let nonce = response.nonce.clone();
        let received = client
            .receive(response, &mut handler)
            .expect("the type is subscribed");
        assert_eq!(received.reply.error_detail, None);
        assert_eq!(received.reply.response_nonce, nonce);
    }
    assert!(client.is_ready());
    assert_eq!(
        n_applied,
        workloads().len() + services().len() + recorded::<Authorization>(POLICIES).len()
    );
}

#[test]
fn after_a_reconnect_istiod_is_told_the_versions_it_gave() {
    let mut client = client();
    for path in [ADDRESSES, POLICIES] {
        client
            .receive(response(path), &mut |_: &str, _| Vec::new())
            .expect("subscribed");
    }
    let requests = client.open();
    for (request, path) in requests.iter().zip([ADDRESSES, POLICIES]) {
        let given = response(path)
            .resources
            .into_iter()
            .map(|r| (r.name, r.version));
        assert_eq!(request.initial_resource_versions, given.collect());
    }
}

#[test]
fn our_mesh_understands_all_of_it() {
    for (name, message) in workloads() {
        let workload = mesh::workload::Workload::try_from(message);
        assert!(workload.is_ok(), "{name}: {workload:?}");
    }
    for (name, message) in services() {
        let service = mesh::service::Service::try_from(message);
        assert!(service.is_ok(), "{name}: {service:?}");
    }
    for (name, message) in recorded::<Authorization>(POLICIES) {
        let policy = Policy::try_from(message);
        assert!(policy.is_ok(), "{name}: {policy:?}");
    }
}

#[test]
fn a_broken_resource_among_the_recorded_is_the_only_one_refused() {
    let mut response = response(ADDRESSES);
    let n_all = response.resources.len();
    let spoilt = response
        .resources
        .get_mut(3)
        .expect("there are more than three");
    let name = spoilt.name.clone();
    spoilt
        .resource
        .as_mut()
        .expect("it has content")
        .value
        .push(0xff);
    let mut decoded = Vec::new();
    let received = client()
        .receive(response, &mut |_: &str, updates| {
            let (good, rejected) = decode::<Address>(updates);
            decoded.extend(good);
            rejected
        })
        .expect("the type is subscribed");
    assert_eq!(decoded.len(), n_all - 1);
    assert!(
        !decoded
            .iter()
            .any(|put| matches!(put, Decoded::Put(put, _) if *put == name))
    );
    let error = received.reply.error_detail.expect("a NACK");
    assert!(
        error.message.starts_with(&format!("{name}: ")),
        "{}",
        error.message
    );
}
