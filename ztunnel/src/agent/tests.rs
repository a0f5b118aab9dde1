use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use nlink::netlink::link::VethLink;
use nlink::netlink::namespace::Netns;
use nlink::netlink::nftables::Family;
use nlink::{Connection, Ipv4Address, Nftables, Route};
use proto::zds::{
    Ack, Version, WorkloadRequest, WorkloadResponse, ZdsHello, workload_request::Payload,
    workload_response,
};
use socket2::{Domain, SockRef, Type};
use tokio::time::timeout;

use super::{Agent, Enrolment, Pod, Redirection, rules};
use crate::netns::Namespace;
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

/// Whether anything is redirected.
async fn redirects(netns: &Netns) -> bool {
    let connection: Connection<Nftables> = Connection::new_in(netns).unwrap();
    let rules = connection
        .list_rules("cairn-ambient-nat", Family::Inet)
        .await;
    !rules.unwrap().is_empty()
}

async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let waited = timeout(Duration::from_secs(30), async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    waited.await.expect(what);
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
    assert_eq!(netns.sysctl().get(rules::PICK_UP).unwrap(), "1");
}

/// A pod and somebody else, with a wire between them.
struct Pair {
    pod: Netns,
    peer: Netns,
    _names: [TestNetns; 2],
}

const POD: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const PEER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
/// How long something that must happen may take.
const PATIENCE: Option<Duration> = Some(Duration::from_secs(5));

impl Pair {
    async fn new() -> Option<Self> {
        let names = [TestNetns::new().await?, TestNetns::new().await?];
        let [pod, peer] = [names[0].open(), names[1].open()];
        let links: Connection<Route> = Connection::new_in(&pod).unwrap();
        let wire = VethLink::new("eth0", "eth0").peer_netns_fd(peer.as_fd());
        links.add_link(wire).await.unwrap();
        for (netns, address) in [(&pod, POD), (&peer, PEER)] {
            let links: Connection<Route> = Connection::new_in(netns).unwrap();
            let address = Ipv4Address::new("eth0", address, 24);
            links.add_address(address).await.unwrap();
            links.set_link_up("eth0").await.unwrap();
        }
        Some(Self {
            pod,
            peer,
            _names: names,
        })
    }
}

fn listen(netns: &Netns, port: u16) -> TcpListener {
    let bound = netns.run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)));
    bound.unwrap().unwrap()
}

/// A connection to port 80, and its other end, which `listener` must be the one to get.
fn connect(from: &Netns, to: Ipv4Addr, listener: &TcpListener) -> [TcpStream; 2] {
    let dialled = from.run(|| TcpStream::connect((to, 80)));
    [dialled.unwrap().unwrap(), accept(listener)]
}

fn accept(listener: &TcpListener) -> TcpStream {
    SockRef::from(listener).set_read_timeout(PATIENCE).unwrap();
    listener.accept().expect("it went to somebody else").0
}

/// A connection carries bytes; its first end speaks first.
fn alive(ends: &mut [TcpStream; 2]) {
    for (from, to) in [(0, 1), (1, 0)] {
        ends[from].write_all(b"!").unwrap();
        ends[to].set_read_timeout(PATIENCE).unwrap();
        ends[to].read_exact(&mut [0]).unwrap();
    }
}

#[tokio::test]
async fn open_connections_outlive_enrolment_and_what_was_redirected_outlives_leaving() {
    let Some(Pair { pod, peer, _names }) = Pair::new().await else {
        return;
    };
    let application = listen(&pod, 80);
    let elsewhere = listen(&peer, 80);
    let inbound = listen(&pod, 15006);
    let outbound = listen(&pod, 15001);
    let mut open = vec![];
    for _ in 0..3 {
        for server_first in [false, true] {
            for mut ends in [
                connect(&peer, POD, &application),
                connect(&pod, PEER, &elsewhere),
            ] {
                if server_first {
                    ends.reverse();
                }
                open.push(ends);
            }
        }
        rules::install(&pod, Redirection::default()).await.unwrap();
        open.iter_mut().for_each(alive);
        open.push(connect(&peer, POD, &inbound));
        open.push(connect(&pod, PEER, &outbound));
        assert!(rules::is_in_use(&pod).await.unwrap());
        rules::release(&pod, Redirection::default()).await.unwrap();
        open.iter_mut().for_each(alive);
    }
    open.push(connect(&peer, POD, &application));
    open.push(connect(&pod, PEER, &elsewhere));
    drop(open.extract_if(.., is_redirected).collect::<Vec<_>>());
    until("nothing lives on the redirection", async || {
        !rules::is_in_use(&pod).await.unwrap()
    })
    .await;
    rules::remove(&pod).await.unwrap();
    open.iter_mut().for_each(alive);
    rules::install(&pod, Redirection::default()).await.unwrap();
    open.iter_mut().for_each(alive);
    drop(connect(&peer, POD, &inbound));
}

/// Whether an end of it is ztunnel's.
fn is_redirected(ends: &mut [TcpStream; 2]) -> bool {
    let ports = ends.each_ref().map(|end| end.local_addr().unwrap().port());
    ports.contains(&15006) || ports.contains(&15001)
}

/// The answers of such a connection leave the pod, and are reset elsewhere, when they meet one
/// moment without the mark or its route.
#[tokio::test]
async fn a_connection_in_a_clients_name_notices_no_change_of_rules() {
    let Some(Pair {
        pod,
        peer: _,
        _names,
    }) = Pair::new().await
    else {
        return;
    };
    let filters = ["all", "eth0", "lo"].map(|link| format!("net.ipv4.conf.{link}.rp_filter"));
    for filter in &filters {
        pod.sysctl().set(filter, "0").unwrap();
    }
    let application = listen(&pod, 80);
    rules::install(&pod, Redirection::default()).await.unwrap();
    let namespace = Namespace::new(pod.as_fd().try_clone_to_owned().unwrap());
    let dialled = namespace.connect((POD, 80).into(), Some(PEER.into()));
    let dialled = timeout(Duration::from_secs(5), dialled).await.unwrap();
    let dialled = dialled.unwrap().into_std().unwrap();
    dialled.set_nonblocking(false).unwrap();
    let mut ends = [dialled, accept(&application)];
    assert!(rules::is_in_use(&pod).await.unwrap());
    let enough = Arc::new(AtomicBool::new(false));
    let talk = std::thread::spawn({
        let enough = enough.clone();
        move || {
            while !enough.load(Ordering::Relaxed) {
                alive(&mut ends);
            }
        }
    });
    for _ in 0..100 {
        rules::release(&pod, Redirection::default()).await.unwrap();
        rules::install(&pod, Redirection::default()).await.unwrap();
    }
    enough.store(true, Ordering::Relaxed);
    talk.join().unwrap();
}

#[tokio::test]
async fn a_connection_between_the_ports_of_an_ended_one_is_redirected() {
    let Some(Pair { pod, peer, _names }) = Pair::new().await else {
        return;
    };
    let application = listen(&pod, 80);
    let inbound = listen(&pod, 15006);
    // It begins before the pod is let go for good, and ends when nobody watches.
    rules::install(&pod, Redirection::default()).await.unwrap();
    rules::release(&pod, Redirection::default()).await.unwrap();
    let [dialled, accepted] = connect(&peer, POD, &application);
    let from = dialled.local_addr().unwrap();
    rules::remove(&pod).await.unwrap();
    for end in [&dialled, &accepted] {
        // Reset, so that the port can be taken again at once.
        SockRef::from(end).set_linger(Some(Duration::ZERO)).unwrap();
    }
    drop((dialled, accepted));
    rules::install(&pod, Redirection::default()).await.unwrap();
    let again = peer.run(|| {
        let socket = socket2::Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.bind(&from.into())?;
        socket.connect(&SocketAddr::from((POD, 80)).into())?;
        Ok::<_, std::io::Error>(socket)
    });
    let _again = again.unwrap().unwrap();
    accept(&inbound);
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

        // ztunnel is gone again; there is nobody to tell.
        agent.leave("u1").await.unwrap();
        assert!(agent.states().borrow().is_empty());
        until("nothing is left", async || {
            tables(&netns.open()).await.is_empty()
        })
        .await;
    };
    tokio::select! {
        () = life => unreachable!("the agent lives as long as its handle"),
        () = test => {}
    }
    std::fs::remove_file(path).unwrap();
}

#[tokio::test]
async fn a_pod_that_comes_back_while_it_leaves_is_served_again() {
    let Some(netns) = TestNetns::new().await else {
        return;
    };
    let path = socket_path();
    let (agent, life) = Agent::start(&path).unwrap();
    let test = async {
        for _ in 0..2 {
            let enrolment = agent.enrol(pod(), netns.open());
            enrolment.await.unwrap();
            let mut states = agent.states();
            let enabled = states.wait_for(|states| states.get("u1") == Some(&Enrolment::Enabled));
            drop(
                timeout(Duration::from_secs(10), enabled)
                    .await
                    .unwrap()
                    .unwrap(),
            );
            // Whoever wants it back does not wait for it to have left.
            let leaving = timeout(Duration::from_millis(100), agent.leave("u1")).await;
            assert!(leaving.is_err(), "others get time to hear of it");
        }
        agent.enrol(pod(), netns.open()).await.unwrap();
        tokio::time::sleep(super::LEAVE_LINGER * 2).await;
        assert!(redirects(&netns.open()).await);
    };
    tokio::select! {
        () = life => unreachable!("the agent lives as long as its handle"),
        _ = ztunnel(&path, usize::MAX) => unreachable!("it hears without end"),
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
