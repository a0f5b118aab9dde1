use std::os::fd::OwnedFd;

use proto::zds::{AddWorkload, WorkloadRequest, WorkloadResponse, workload_request::Payload};

use super::{Error, Listener, Socket};

async fn pair() -> (Socket, Socket) {
    let path = std::env::temp_dir().join(format!("cairn-zds-{}", uuid()));
    let listener = Listener::bind(&path).unwrap();
    let client = Socket::connect(&path).unwrap();
    let server = listener.accept().await.unwrap();
    std::fs::remove_file(path).unwrap();
    (client, server)
}

fn uuid() -> String {
    use std::hash::{BuildHasher, Hasher};
    let hasher = std::collections::hash_map::RandomState::new().build_hasher();
    format!("{}-{:x}", std::process::id(), hasher.finish())
}

fn add(uid: &str) -> WorkloadRequest {
    let add = AddWorkload {
        uid: uid.into(),
        workload_info: None,
    };
    WorkloadRequest {
        payload: Some(Payload::Add(add)),
    }
}

#[tokio::test]
async fn a_descriptor_travels_with_its_message() {
    let (client, server) = pair().await;
    let file: OwnedFd = std::fs::File::open("/dev/null").unwrap().into();
    server.send(&add("a"), Some(&file)).await.unwrap();
    server.send(&add("b"), None).await.unwrap();

    let (message, descriptors) = client.recv::<WorkloadRequest>().await.unwrap();
    assert_eq!((message, descriptors.len()), (add("a"), 1));
    let (message, descriptors) = client.recv::<WorkloadRequest>().await.unwrap();
    assert_eq!((message, descriptors.len()), (add("b"), 0));
}

#[tokio::test]
async fn a_hang_up_is_told_from_an_empty_message() {
    let (client, server) = pair().await;
    drop(server);
    assert!(matches!(
        client.recv::<WorkloadResponse>().await,
        Err(Error::Closed)
    ));
}

#[tokio::test]
async fn a_message_over_the_limit_is_refused_at_both_ends() {
    let (client, server) = pair().await;
    let long = add(&"x".repeat(super::MAX_MESSAGE));
    assert!(matches!(
        server.send(&long, None).await,
        Err(Error::TooLong)
    ));
    // A peer without our check is found out by truncation.
    let bytes = prost::Message::encode_to_vec(&long);
    nix::unistd::write(server.0.get_ref(), &bytes).unwrap();
    assert!(matches!(
        client.recv::<WorkloadRequest>().await,
        Err(Error::TooLong)
    ));
}

#[tokio::test]
async fn nonsense_is_an_error_and_not_a_message() {
    let (client, server) = pair().await;
    nix::unistd::write(server.0.get_ref(), b"\xff\xff\xff").unwrap();
    assert!(matches!(
        client.recv::<WorkloadRequest>().await,
        Err(Error::Decode(_))
    ));
}
