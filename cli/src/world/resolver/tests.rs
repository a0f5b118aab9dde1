use super::*;

fn zone() -> Zone {
    let key = |namespace: &str, name: &str| (namespace.to_owned(), name.to_owned());
    let endpoint = |ip: [u8; 4], hostname: Option<&str>| EndpointName {
        ip: Ipv4Addr::from(ip),
        hostname: hostname.map(str::to_owned),
    };
    let peers = vec![
        endpoint([10, 91, 1, 2], Some("db-0")),
        endpoint([10, 91, 2, 3], None),
    ];
    Zone {
        namespaces: ["default", "empty"].map(str::to_owned).into(),
        services: BTreeMap::from([
            (
                key("default", "reviews"),
                Target::Vip(Ipv4Addr::new(10, 92, 7, 8)),
            ),
            (key("default", "db"), Target::Endpoints(peers)),
            (key("default", "idle"), Target::Endpoints(Vec::new())),
            (
                key("default", "near"),
                Target::Alias("reviews.default.svc.cluster.local".to_owned()),
            ),
            (
                key("default", "far"),
                Target::Alias("example.com".to_owned()),
            ),
            (
                key("default", "loop"),
                Target::Alias("loop.default.svc.cluster.local".to_owned()),
            ),
        ]),
    }
}

fn query(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

/// `CODE data …`, the authority as `soa`.
fn check(name: &str, kind: RecordType, expected: &str) {
    let response = zone().answer(&query(name, kind), 0);
    // What leaves must be readable.
    let response = Message::from_vec(&response.to_vec().unwrap()).unwrap();
    let mut words = vec![format!("{:?}", response.metadata.response_code)];
    words.extend(
        response
            .answers
            .iter()
            .map(|record| record.data.to_string()),
    );
    words.extend(response.authorities.iter().map(|_| "soa".to_owned()));
    assert_eq!(words.join(" "), expected, "{name} {kind}");
    assert_eq!(response.metadata.id, 7);
    assert!(response.metadata.recursion_desired);
}

#[test]
fn a_service_name_leads_to_its_address() {
    check(
        "reviews.default.svc.cluster.local.",
        RecordType::A,
        "NoError 10.92.7.8",
    );
    check(
        "REVIEWS.default.svc.Cluster.Local.",
        RecordType::A,
        "NoError 10.92.7.8",
    );
}

#[test]
fn a_name_without_an_address_of_that_family_is_not_missing() {
    check(
        "reviews.default.svc.cluster.local.",
        RecordType::AAAA,
        "NoError soa",
    );
    check(
        "reviews.default.svc.cluster.local.",
        RecordType::TXT,
        "NoError soa",
    );
    check(
        "idle.default.svc.cluster.local.",
        RecordType::A,
        "NoError soa",
    );
}

#[test]
fn names_on_the_way_to_a_service_exist() {
    for name in [
        "cluster.local.",
        "svc.cluster.local.",
        "empty.svc.cluster.local.",
        "default.pod.cluster.local.",
    ] {
        check(name, RecordType::A, "NoError soa");
    }
}

#[test]
fn unknown_names_do_not_exist() {
    for name in [
        "nope.default.svc.cluster.local.",
        "nope.svc.cluster.local.",
        "x.reviews.default.svc.cluster.local.",
        "reviews.default.svc.cluster.local.default.svc.cluster.local.",
        "nope.cluster.local.",
    ] {
        check(name, RecordType::A, "NXDomain soa");
    }
    // Not ours to speak for, but nothing else can be reached from here.
    check("example.com.", RecordType::A, "NXDomain");
    check("notcluster.local.", RecordType::A, "NXDomain");
}

#[test]
fn a_headless_name_leads_to_the_ready_pods_by_turns() {
    check(
        "db.default.svc.cluster.local.",
        RecordType::A,
        "NoError 10.91.1.2 10.91.2.3",
    );
    let second = zone().answer(&query("db.default.svc.cluster.local.", RecordType::A), 1);
    assert_eq!(second.answers[0].data.to_string(), "10.91.2.3");
}

#[test]
fn pods_of_a_headless_service_have_names() {
    check(
        "db-0.db.default.svc.cluster.local.",
        RecordType::A,
        "NoError 10.91.1.2",
    );
    check(
        "10-91-2-3.db.default.svc.cluster.local.",
        RecordType::A,
        "NoError 10.91.2.3",
    );
    check(
        "db-1.db.default.svc.cluster.local.",
        RecordType::A,
        "NXDomain soa",
    );
    check(
        "10-91-1-2.default.pod.cluster.local.",
        RecordType::A,
        "NoError 10.91.1.2",
    );
    check(
        "10-91-1.default.pod.cluster.local.",
        RecordType::A,
        "NXDomain soa",
    );
}

#[test]
fn aliases_are_followed_as_far_as_the_cluster_goes() {
    let near = "NoError reviews.default.svc.cluster.local. 10.92.7.8";
    check("near.default.svc.cluster.local.", RecordType::A, near);
    check(
        "far.default.svc.cluster.local.",
        RecordType::A,
        "NoError example.com.",
    );
    let response = zone().answer(&query("loop.default.svc.cluster.local.", RecordType::A), 0);
    assert_eq!(response.metadata.response_code, ResponseCode::ServFail);
}

#[test]
fn odd_requests_get_an_error_and_no_data() {
    let code = |message: &Message| zone().answer(message, 0).metadata.response_code;
    let plain = query("reviews.default.svc.cluster.local.", RecordType::A);

    let mut none = plain.clone();
    none.queries.clear();
    assert_eq!(code(&none), ResponseCode::FormErr);

    let mut notify = plain.clone();
    notify.metadata.op_code = OpCode::Notify;
    assert_eq!(code(&notify), ResponseCode::NotImp);

    let mut chaos = plain.clone();
    chaos.queries[0].set_query_class(DNSClass::CH);
    assert_eq!(code(&chaos), ResponseCode::Refused);

    let mut future = plain;
    let mut edns = Edns::new();
    edns.set_version(1);
    future.set_edns(edns);
    assert_eq!(code(&future), ResponseCode::BADVERS);
}
