use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nlink::netlink::namespace::Netns;
use nlink::netlink::nftables::Family;
use nlink::{Connection, Nftables, Route};
use proto::zds::{
    Ack, Version, WorkloadRequest, WorkloadResponse, ZdsHello, workload_request::Payload,
    workload_response,
};
use tokio::time::timeout;

use super::{Agent, Enrolment, Pod, Redirection, rules};
use crate::zds::Socket;

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A network namespace of this test, gone with the value.
struct TestNetns(Option<Netns>, String);

impl TestNetns {
    async fn new() -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            #[expect(clippy::disallowed_methods, reason = "a test has no Config")]
            let required = std::env::var("REQUIRE_ROOT").is_ok_and(|value| value == "1");
            assert!(!required, "REQUIRE_ROOT=1, but this is not root");
            eprintln!("SKIPPED: needs root (network namespaces)");
            return None;
        }
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("cairn-agent-test-{}-{number}", std::process::id());
        let netns = Netns::create(&name).unwrap();
        // As whoever makes pods does; a local route needs it.
        let links: Connection<Route> = Connection::new_in(&netns).unwrap();
        links.set_link_up("lo").await.unwrap();
        Some(Self(Some(netns), name))
    }

    fn open(&self) -> Netns {
        Netns::open(&self.1).unwrap()
    }
}

impl Drop for TestNetns {
    fn drop(&mut self) {
        if let Some(netns) = self.0.take() {
            netns.delete().unwrap();
        }
    }
}

async fn tables(netns: &Netns) -> Vec<String> {
    let connection: Connection<Nftables> = Connection::new_in(netns).unwrap();
    let tables = connection.list_tables_in(Family::Inet).await.unwrap();
    tables.into_iter().map(|table| table.name).collect()
}

async fn policy_rules(netns: &Netns) -> usize {
    let connection: Connection<Route> = Connection::new_in(netns).unwrap();
    let rules = connection.get_rules().await.unwrap();
    rules
        .iter()
        .filter(|rule| rule.priority() == rules::RULE_PRIORITY)
        .count()
}

fn pod() -> Pod {
    Pod {
        uid: "u1".into(),
        name: "web".into(),
        namespace: "shop".into(),
        service_account: "web".into(),
        redirection: Redirection::default(),
    }
}

/// A ztunnel that agrees to everything, until it has heard `requests`.
async fn ztunnel(path: &std::path::Path, requests: usize) -> Vec<Payload> {
    let socket = Socket::connect(path).unwrap();
    let hello = ZdsHello {
        version: Version::V1.into(),
    };
    socket.send(&hello, None).await.unwrap();
    let mut heard = vec![];
    while heard.len() < requests {
        let (request, _) = socket.recv::<WorkloadRequest>().await.unwrap();
        heard.push(request.payload.unwrap());
        let payload = Some(workload_response::Payload::Ack(Ack::default()));
        socket
            .send(&WorkloadResponse { payload }, None)
            .await
            .unwrap();
    }
    heard
}

fn socket_path() -> std::path::PathBuf {
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("cairn-agent-{}-{number}", std::process::id()))
}

#[tokio::test]
async fn rules_go_in_twice_and_come_out_without_a_trace() {
    let Some(netns) = TestNetns::new().await else {
        return;
    };
    let netns = netns.open();
    rules::install(&netns, Redirection::default())
        .await
        .unwrap();
    rules::install(&netns, Redirection::default())
        .await
        .unwrap();
    assert_eq!(tables(&netns).await.len(), 3);
    assert_eq!(policy_rules(&netns).await, 2);
    rules::remove(&netns).await.unwrap();
    rules::remove(&netns).await.unwrap();
    assert!(tables(&netns).await.is_empty());
    assert_eq!(policy_rules(&netns).await, 0);
}

#[tokio::test]
async fn a_pod_is_redirected_only_once_ztunnel_serves_it() {
    let Some(netns) = TestNetns::new().await else {
        return;
    };
    let path = socket_path();
    let (agent, life) = Agent::start(&path).unwrap();
    let test = async {
        agent.enrol(pod(), netns.open()).await.unwrap();
        assert_eq!(agent.states().borrow().get("u1"), Some(&Enrolment::Pending));
        assert!(
            tables(&netns.open()).await.is_empty(),
            "no ztunnel, no redirection"
        );

        let mut states = agent.states();
        let heard = ztunnel(&path, 2).await;
        assert!(matches!(
            heard.as_slice(),
            [Payload::Add(_), Payload::SnapshotSent(_)]
        ));
        let enabled = states.wait_for(|states| states.get("u1") == Some(&Enrolment::Enabled));
        drop(
            timeout(Duration::from_secs(10), enabled)
                .await
                .unwrap()
                .unwrap(),
        );
        assert_eq!(tables(&netns.open()).await.len(), 3);

        agent.leave("u1").await.unwrap();
        assert!(agent.states().borrow().is_empty());
        assert!(tables(&netns.open()).await.is_empty());
    };
    tokio::select! {
        () = life => unreachable!("the agent lives as long as its handle"),
        () = test => {}
    }
    std::fs::remove_file(path).unwrap();
}

#[tokio::test]
async fn a_new_ztunnel_is_told_of_every_pod() {
    let Some(netns) = TestNetns::new().await else {
        return;
    };
    let path = socket_path();
    let (agent, life) = Agent::start(&path).unwrap();
    let test = async {
        agent.enrol(pod(), netns.open()).await.unwrap();
        for _ in 0..2 {
            let heard = ztunnel(&path, 2).await;
            let Some(Payload::Add(add)) = heard.first() else {
                panic!("{heard:?}")
            };
            assert_eq!(add.workload_info.as_ref().unwrap().service_account, "web");
        }
    };
    tokio::select! {
        () = life => unreachable!("the agent lives as long as its handle"),
        () = test => {}
    }
    std::fs::remove_file(path).unwrap();
}
