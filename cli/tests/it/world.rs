//! The network alone: no manifests, no processes but the tests' own sockets.

use std::{
    collections::BTreeMap,
    io::{self, ErrorKind, Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use cairn::{
    state::MeshName,
    world::{
        PodNames, PodNetwork, World,
        addresses::DNS_VIP,
        resolver::{EndpointName, Target, Zone, serve::Resolver},
        services::{ServicePort, Transport},
        teardown,
    },
};
use hickory_proto::{
    op::{Message, MessageType, OpCode, Query, ResponseCode},
    rr::{Name, RecordType},
};
use nlink::netlink::namespace::{NetnsCommand, Overlay};
use tokio::sync::watch;

use crate::support::{Swept, eventually, remains, with_mesh};

const PATIENCE: Duration = Duration::from_secs(5);
const VIP: Ipv4Addr = Ipv4Addr::new(10, 92, 3, 4);

async fn two_nodes(mesh: &MeshName) -> World {
    World::create(mesh, 2).await.unwrap()
}

async fn pod(world: &mut World, node: &str, name: &str) -> PodNetwork {
    world
        .add_pod(
            node,
            &PodNames {
                namespace: "default",
                pod: name,
                hostname: name,
            },
        )
        .await
        .unwrap()
}

fn service(transport: Transport, endpoints: &[&PodNetwork]) -> ServicePort {
    let endpoints = endpoints
        .iter()
        .map(|pod| SocketAddrV4::new(pod.ip, 8080))
        .collect();
    ServicePort {
        name: "default/it".to_owned(),
        vip: VIP,
        transport,
        port: 80,
        endpoints,
    }
}

/// Serves TCP on 8080 in `pod`: each client is told the server's name and its own address.
fn serve(pod: &PodNetwork, name: &'static str) {
    let listener = pod
        .netns()
        .run(|| TcpListener::bind("0.0.0.0:8080"))
        .unwrap()
        .unwrap();
    thread::spawn(move || {
        while let Ok((mut client, from)) = listener.accept() {
            thread::spawn(move || {
                client
                    .write_all(format!("{name} {}\n", from.ip()).as_bytes())
                    .unwrap();
                // Then an echo, for those who stay.
                let _ = io::copy(&mut client.try_clone().unwrap(), &mut client);
            });
        }
    });
}

fn connect(pod: &PodNetwork, to: impl Into<SocketAddr>) -> io::Result<TcpStream> {
    let to = to.into();
    let stream = pod
        .netns()
        .run(|| TcpStream::connect_timeout(&to, PATIENCE))
        .unwrap()?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn line(stream: &mut TcpStream) -> String {
    let mut line = Vec::new();
    let mut byte = [0];
    while stream.read(&mut byte).unwrap() == 1 && byte != *b"\n" {
        line.extend(byte);
    }
    String::from_utf8(line).unwrap()
}

#[test]
fn pods_reach_each_other_across_nodes_from_their_own_addresses() {
    with_mesh(async |mesh| {
        let mut world = two_nodes(&mesh).await;
        let near = pod(&mut world, "node1", "near").await;
        let far = pod(&mut world, "node2", "far").await;
        let beside = pod(&mut world, "node2", "beside").await;
        serve(&far, "far");
        for client in [&near, &beside, &far] {
            let mut stream = connect(client, (far.ip, 8080)).unwrap();
            assert_eq!(line(&mut stream), format!("far {}", client.ip));
        }
    });
}

#[test]
fn a_service_spreads_over_its_endpoints_and_keeps_the_clients_address() {
    with_mesh(async |mesh| {
        let mut world = two_nodes(&mesh).await;
        let client = pod(&mut world, "node1", "client").await;
        let (one, two) = (
            pod(&mut world, "node1", "one").await,
            pod(&mut world, "node2", "two").await,
        );
        serve(&one, "one");
        serve(&two, "two");
        world
            .apply_services(&[service(Transport::Tcp, &[&one, &two])])
            .await
            .unwrap();

        let mut answers = BTreeMap::<String, usize>::new();
        for _ in 0..200 {
            *answers
                .entry(line(&mut connect(&client, (VIP, 80)).unwrap()))
                .or_default() += 1;
        }
        let expected = [format!("one {}", client.ip), format!("two {}", client.ip)];
        assert!(answers.keys().eq(expected.iter()), "{answers:?}");
        // Binomial with p = 1/2: 60 of 200 is more than five standard deviations off.
        assert!(answers.values().all(|count| *count > 60), "{answers:?}");
    });
}

#[test]
fn a_pod_reaches_itself_through_its_service() {
    with_mesh(async |mesh| {
        let mut world = two_nodes(&mesh).await;
        let only = pod(&mut world, "node2", "only").await;
        serve(&only, "only");
        world
            .apply_services(&[service(Transport::Tcp, &[&only])])
            .await
            .unwrap();
        // Its node stands in: a host takes no packet from its own address.
        assert_eq!(
            line(&mut connect(&only, (VIP, 80)).unwrap()),
            "only 10.91.2.1"
        );
    });
}

#[test]
fn a_service_without_ready_endpoints_refuses_at_once() {
    with_mesh(async |mesh| {
        let mut world = two_nodes(&mesh).await;
        let client = pod(&mut world, "node1", "client").await;
        world
            .apply_services(&[service(Transport::Tcp, &[]), service(Transport::Udp, &[])])
            .await
            .unwrap();

        let begun = Instant::now();
        assert_eq!(
            connect(&client, (VIP, 80)).unwrap_err().kind(),
            ErrorKind::ConnectionRefused
        );
        // An address no Service has is no different.
        let unknown = Ipv4Addr::new(10, 92, 200, 1);
        assert_eq!(
            connect(&client, (unknown, 80)).unwrap_err().kind(),
            ErrorKind::ConnectionRefused
        );

        let udp = client
            .netns()
            .run(|| UdpSocket::bind("0.0.0.0:0"))
            .unwrap()
            .unwrap();
        udp.set_read_timeout(Some(PATIENCE)).unwrap();
        udp.connect((VIP, 80)).unwrap();
        udp.send(b"anyone?").unwrap();
        assert_eq!(
            udp.recv(&mut [0; 16]).unwrap_err().kind(),
            ErrorKind::ConnectionRefused
        );
        assert!(
            begun.elapsed() < PATIENCE,
            "refused only after {:?}",
            begun.elapsed()
        );
    });
}

#[test]
fn new_endpoints_take_new_connections_and_leave_old_ones_alone() {
    with_mesh(async |mesh| {
        let mut world = two_nodes(&mesh).await;
        let client = pod(&mut world, "node1", "client").await;
        let (old, new) = (
            pod(&mut world, "node1", "old").await,
            pod(&mut world, "node2", "new").await,
        );
        serve(&old, "old");
        serve(&new, "new");
        world
            .apply_services(&[service(Transport::Tcp, &[&old])])
            .await
            .unwrap();
        let mut kept = connect(&client, (VIP, 80)).unwrap();
        assert!(line(&mut kept).starts_with("old"));

        world
            .apply_services(&[service(Transport::Tcp, &[&new])])
            .await
            .unwrap();
        for _ in 0..20 {
            assert!(line(&mut connect(&client, (VIP, 80)).unwrap()).starts_with("new"));
        }
        kept.write_all(b"still here\n").unwrap();
        assert_eq!(line(&mut kept), "still here");
    });
}

fn query(name: &str) -> Vec<u8> {
    let mut message = Message::new(99, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
    message.to_vec().unwrap()
}

fn addresses(response: &[u8]) -> (ResponseCode, Vec<String>) {
    let message = Message::from_vec(response).unwrap();
    let found = message
        .answers
        .iter()
        .map(|record| record.data.to_string())
        .collect();
    (message.metadata.response_code, found)
}

/// Asks from inside `pod`, on a thread of its own: the resolver shares the test's.
async fn ask_udp(pod: &PodNetwork, query: Vec<u8>) -> Vec<u8> {
    let socket = pod
        .netns()
        .run(|| UdpSocket::bind("0.0.0.0:0"))
        .unwrap()
        .unwrap();
    tokio::task::spawn_blocking(move || {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.send_to(&query, (DNS_VIP, 53)).unwrap();
        let mut buffer = vec![0; 4096];
        let (len, from) = socket.recv_from(&mut buffer).unwrap();
        assert_eq!(from.ip(), IpAddr::V4(DNS_VIP));
        buffer.truncate(len);
        buffer
    })
    .await
    .unwrap()
}

async fn ask_tcp(pod: &PodNetwork, query: Vec<u8>) -> Vec<u8> {
    let mut stream = connect(pod, (DNS_VIP, 53)).unwrap();
    tokio::task::spawn_blocking(move || {
        stream
            .write_all(&u16::try_from(query.len()).unwrap().to_be_bytes())
            .unwrap();
        stream.write_all(&query).unwrap();
        let mut len = [0; 2];
        stream.read_exact(&mut len).unwrap();
        let mut response = vec![0; usize::from(u16::from_be_bytes(len))];
        stream.read_exact(&mut response).unwrap();
        response
    })
    .await
    .unwrap()
}

#[test]
fn every_node_resolves_names_over_udp_and_tcp() {
    with_mesh(async |mesh| {
        let mut world = two_nodes(&mesh).await;
        let key = |name: &str| ("default".to_owned(), name.to_owned());
        let many = (1..=200).map(|n| EndpointName {
            ip: Ipv4Addr::new(10, 91, 1, n),
            hostname: None,
        });
        let mut zone = Zone::default();
        zone.services.insert(key("it"), Target::Vip(VIP));
        zone.services
            .insert(key("many"), Target::Endpoints(many.collect()));
        let (zones, current) = watch::channel(Arc::new(zone.clone()));
        let resolver = Resolver::new(current);
        for node in world.nodes() {
            resolver.listen(node).unwrap();
        }
        for node in ["node1", "node2"] {
            let client = pod(&mut world, node, &format!("client-{node}")).await;
            let found = (ResponseCode::NoError, vec![VIP.to_string()]);
            assert_eq!(
                addresses(&ask_udp(&client, query("it.default.svc.cluster.local.")).await),
                found
            );
            assert_eq!(
                addresses(&ask_tcp(&client, query("it.default.svc.cluster.local.")).await),
                found
            );

            let missing = ask_udp(&client, query("nope.default.svc.cluster.local.")).await;
            assert_eq!(addresses(&missing), (ResponseCode::NXDomain, vec![]));

            // Too much for a datagram: the client is sent to TCP, where all of it fits.
            let cut = Message::from_vec(
                &ask_udp(&client, query("many.default.svc.cluster.local.")).await,
            )
            .unwrap();
            assert!(cut.metadata.truncation && cut.answers.is_empty());
            let (_, all) =
                addresses(&ask_tcp(&client, query("many.default.svc.cluster.local.")).await);
            assert_eq!(all.len(), 200);

            let garbage = ask_udp(&client, vec![0, 1, 0, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0]).await;
            assert_eq!(addresses(&garbage).0, ResponseCode::FormErr);
        }
        let client = pod(&mut world, "node1", "client").await;
        zone.services.remove(&key("it"));
        zones.send_replace(Arc::new(zone));
        let gone = ask_udp(&client, query("it.default.svc.cluster.local.")).await;
        assert_eq!(addresses(&gone).0, ResponseCode::NXDomain);
    });
}

#[test]
fn a_process_in_a_pod_has_its_own_names_and_the_hosts_files() {
    with_mesh(async |mesh| {
        let mut world = two_nodes(&mesh).await;
        let pod = pod(&mut world, "node1", "web").await;
        let mut cat = std::process::Command::new("cat");
        cat.args(["/etc/resolv.conf", "/etc/hosts"]);
        let output = NetnsCommand::new(pod.name(), cat)
            .unwrap()
            .etc_overlay(Overlay::Strict)
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        for expected in [
            "nameserver 10.92.0.10",
            "search default.svc.cluster.local svc.cluster.local cluster.local",
            "options ndots:5",
            &format!("{}\tweb", pod.ip),
        ] {
            assert!(text.contains(expected), "{expected:?} is not in {text}");
        }
        let mut same = std::process::Command::new("cat");
        same.arg("/etc/passwd");
        let output = NetnsCommand::new(pod.name(), same)
            .unwrap()
            .etc_overlay(Overlay::Strict)
            .output()
            .unwrap();
        assert_eq!(output.stdout, std::fs::read("/etc/passwd").unwrap());
    });
}

#[test]
fn teardown_ends_processes_and_leaves_nothing() {
    with_mesh(async |mesh| {
        let mut world = two_nodes(&mesh).await;
        let pod = pod(&mut world, "node1", "sleeper").await;
        let mut sleep = std::process::Command::new("sleep");
        sleep.arg("1000");
        let command = NetnsCommand::new(pod.name(), sleep)
            .unwrap()
            .etc_overlay(Overlay::Strict);
        let mut child = command.spawn().unwrap();
        assert!(!remains(&mesh).is_empty());
        // As after `kill -9` of the runner: nobody remembers what there was.
        drop((pod, world));

        let removed = teardown::teardown(&mesh).await.unwrap();
        assert_eq!(removed, 4, "fabric, two nodes and a pod");
        assert!(!child.wait().unwrap().success());
        assert_eq!(remains(&mesh), [].into());
        assert_eq!(teardown::teardown(&mesh).await.unwrap(), 0);
    });
}

#[test]
fn a_removed_pod_gives_its_link_and_name_back() {
    with_mesh(async |mesh| {
        let mut world = two_nodes(&mesh).await;
        for _ in 0..3 {
            let pod = pod(&mut world, "node1", "again").await;
            let name = pod.name().to_owned();
            world.remove_pod(pod).await.unwrap();
            assert!(!remains(&mesh).iter().any(|left| left.contains(&name)));
        }
    });
}

#[test]
fn meshes_with_the_same_addresses_do_not_touch_each_other() {
    with_mesh(async |mesh| {
        Box::pin(with_other(&mesh)).await;
    });
}

async fn with_other(mesh: &MeshName) {
    // Its name begins with the other's, as `a` and `a-b` do.
    let other: MeshName = format!("{mesh}-b").parse().unwrap();
    let _swept = Swept(other.clone());
    let (mut world, mut twin) = (two_nodes(mesh).await, two_nodes(&other).await);
    let (server, stranger) = (
        pod(&mut world, "node1", "server").await,
        pod(&mut twin, "node1", "client").await,
    );
    let client = pod(&mut world, "node1", "client").await;
    assert_eq!(server.ip, stranger.ip, "the same plan in both");
    serve(&server, "server");
    let refused = connect(&stranger, (server.ip, 8080));

    drop((twin, stranger));
    teardown::teardown(&other).await.unwrap();
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    assert_eq!(remains(&other), [].into());
    eventually("the first mesh still works", || {
        line(&mut connect(&client, (server.ip, 8080)).unwrap()).starts_with("server")
    });
}
