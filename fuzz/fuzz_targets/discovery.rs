//! Delta discovery, both halves: any requests and responses, in any order.
#![no_main]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use prost::Message;
use proto::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use xds::client::{Rejected, Subscriptions, Update, Watch};
use xds::server::{Catalog, Entry, Session};
use xds::{Node, Role};

const TYPES: [&str; 2] = [proto::ADDRESS_TYPE, proto::AUTHORIZATION_TYPE];

fn node() -> Node {
    Node {
        role: Role::Ztunnel,
        ip: None,
        pod: "z".into(),
        namespace: "istio-system".into(),
        node: "n".into(),
        metadata: BTreeMap::new(),
    }
}

/// Takes any response: what is held is what was applied, and the answer names the response.
fn receive(client: &mut Subscriptions, response: DeltaDiscoveryResponse) {
    let (url, nonce) = (response.type_url.clone(), response.nonce.clone());
    let mut offered = 0;
    let mut refused = BTreeSet::new();
    let mut handler = |_: &str, updates: Vec<Update>| {
        offered = updates.len();
        let puts = updates.into_iter().filter_map(|update| match update {
            Update::Put(put) => Some(put),
            Update::Remove(_) => None,
        });
        let bad = puts.filter(|put| put.bytes.len() % 2 == 1);
        bad.map(|put| {
            refused.insert(put.name.clone());
            Rejected {
                name: put.name,
                reason: "odd".into(),
            }
        })
        .collect()
    };
    let known = TYPES.contains(&&*url);
    let Some(received) = client.receive(response, &mut handler) else {
        assert!(!known);
        return;
    };
    assert_eq!(
        (&received.reply.type_url, &received.reply.response_nonce),
        (&url, &nonce)
    );
    assert_eq!(
        received.reply.error_detail.is_some(),
        !received.rejected.is_empty()
    );
    assert!(received.applied <= offered);
    assert!(received.reply.resource_names_subscribe.is_empty());
    for (name, version) in client.held(&url) {
        assert!(
            !refused.contains(name) || version.is_empty(),
            "{name} was refused"
        );
    }
}

/// Lets a client and a server that agree talk until neither has anything to say.
fn converge(catalog: &Arc<Catalog>, server: &mut Session, client: &mut Subscriptions) {
    let mut queue: Vec<DeltaDiscoveryRequest> = client.open();
    for _ in 0..100 {
        for request in std::mem::take(&mut queue) {
            let view = |_: &str, _: &_| Some(Arc::clone(catalog));
            server
                .request(request, view)
                .expect("two types are not too many");
        }
        if server.is_settled() {
            server.round();
        }
        while let Some(response) = server.next_response() {
            let mut all = |_: &str, _: Vec<Update>| vec![];
            let received = client
                .receive(response, &mut all)
                .expect("a type that was asked for");
            queue.push(received.reply);
        }
        if queue.is_empty() && server.is_settled() {
            return;
        }
    }
    panic!("they talk for ever");
}

fuzz_target!(|data: &[u8]| {
    let order: Arc<[String]> = TYPES.map(str::to_owned).into();
    let catalog = Catalog::new();
    let mut server = Session::new(7, order.clone());
    let mut client = Subscriptions::new(node().to_proto(), TYPES.map(Watch::everything));
    let mut nonces = BTreeSet::new();
    for message in cairn_fuzz::messages(data) {
        let Some((kind, bytes)) = message.split_first() else {
            continue;
        };
        match kind % 4 {
            0 => {
                if let Ok(request) = DeltaDiscoveryRequest::decode(bytes) {
                    drop(server.request(request, |_, _| Some(Arc::clone(&catalog))));
                }
            }
            1 => {
                if let Ok(response) = DeltaDiscoveryResponse::decode(bytes) {
                    receive(&mut client, response);
                }
            }
            2 => {
                let name: Arc<str> = String::from_utf8_lossy(bytes).into();
                let url = TYPES[usize::from(kind / 4) % 2];
                catalog.edit(|snapshot| {
                    let resources = snapshot.resources_mut(url);
                    if kind / 8 % 2 == 0 {
                        resources.put(name, Entry::new(bytes.to_vec()));
                    } else {
                        resources.remove(&name);
                    }
                });
            }
            _ => {
                if server.is_settled() {
                    server.round();
                }
                while let Some(response) = server.next_response() {
                    assert!(nonces.insert(response.nonce.clone()), "a nonce twice");
                    receive(&mut client, response);
                }
            }
        }
    }

    // Whatever was said before, a new stream brings the client to what the catalog holds.
    let mut server = Session::new(8, order);
    converge(&catalog, &mut server, &mut client);
    for url in TYPES {
        let held: BTreeMap<_, _> = client.held(url).collect();
        let snapshot = catalog.snapshot();
        let published: BTreeMap<_, _> = snapshot
            .resources(url)
            .iter()
            .filter(|(name, _)| !name.is_empty())
            .map(|(name, entry)| (name.to_string(), entry.version().to_string()))
            .collect();
        let held: BTreeMap<_, _> = held
            .into_iter()
            .map(|(name, version)| (name.to_owned(), version.to_owned()))
            .collect();
        assert_eq!(held, published);
    }
});
