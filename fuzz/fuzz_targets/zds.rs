//! The conversation with a node agent: pods are served that were added, kept or not, and no others.
#![no_main]

use std::collections::BTreeSet;

use libfuzzer_sys::fuzz_target;
use prost::Message;
use proto::zds::{WorkloadRequest, ZdsHello, workload_request::Payload};
use ztunnel::fuzz::Agent;

fuzz_target!(|data: &[u8]| {
    drop(ZdsHello::decode(data));
    let mut agent = Agent::new().expect("a network namespace");
    let mut pods = BTreeSet::new();
    let mut snapshot = Some(BTreeSet::new());
    for packet in cairn_fuzz::messages(data) {
        let Some((descriptors, bytes)) = packet.split_first() else {
            continue;
        };
        let descriptors = usize::from(descriptors % 3);
        let answer = agent.packet(bytes, descriptors);
        let Ok(request) = WorkloadRequest::decode(bytes) else {
            assert_eq!(answer, None);
            break;
        };
        let Some(error) = answer else {
            break;
        };
        assert_eq!(
            WorkloadRequest::decode(&request.encode_to_vec()[..]).as_ref(),
            Ok(&request)
        );
        if error.is_empty() {
            match request
                .payload
                .expect("an empty request ends the conversation")
            {
                Payload::Add(add) => {
                    assert_eq!(descriptors, 1);
                    assert!(add.workload_info.is_some());
                    snapshot.as_mut().map(|known| known.insert(add.uid.clone()));
                    pods.insert(add.uid);
                }
                Payload::Keep(keep) => {
                    snapshot
                        .as_mut()
                        .expect("only before the snapshot")
                        .insert(keep.uid);
                }
                Payload::Del(del) => {
                    snapshot.as_mut().map(|known| known.remove(&del.uid));
                    pods.remove(&del.uid);
                }
                Payload::SnapshotSent(_) => {
                    let known = snapshot.take().expect("one snapshot");
                    pods.retain(|uid| known.contains(uid));
                }
            }
        }
        assert_eq!(agent.served(), pods.iter().cloned().collect::<Vec<_>>());
    }
});
