use serde_json::{Value, json};

use super::*;

fn service(name: &str, spec: &Value) -> Named<Service> {
    let object = json!({"metadata": {"namespace": "default", "name": name}, "spec": spec});
    Named {
        key: ObjectKey::new("default", name),
        object: serde_json::from_value(object).unwrap(),
    }
}

fn backend(name: &str, host: u8, ready: bool) -> Backend {
    Backend {
        uid: format!("uid-{name}"),
        namespace: "default".to_owned(),
        name: name.to_owned(),
        node: "node1".to_owned(),
        ip: Ipv4Addr::new(10, 91, 1, host),
        labels: BTreeMap::from([("app".to_owned(), "web".to_owned())]),
        ports: BTreeMap::from([("http".to_owned(), 8000 + u16::from(host))]),
        hostname: Some(name.to_owned()),
        subdomain: Some("web".to_owned()),
        ready,
        terminating: false,
    }
}

/// `VIP:PORT → endpoints` of the only Service, whose spec is `spec`.
fn check(spec: &Value, backends: &[Backend], expected: &str) {
    let services = [service("web", spec)];
    let mut ips = ServiceIps::default();
    ips.update(&services);
    let slices = slices(&services, backends);
    let ports = service_ports(&services, &ips, &slices);
    let said: Vec<String> = ports
        .iter()
        .map(|port| {
            let endpoints: Vec<_> = port.endpoints.iter().map(ToString::to_string).collect();
            format!(
                "{:?} {} → {}",
                port.transport,
                port.port,
                endpoints.join(" ")
            )
        })
        .collect();
    assert_eq!(said.join("; "), expected);
}

#[test]
fn only_ready_pods_of_the_selector_stand_behind_a_service() {
    let spec = json!({"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]});
    let mut other = backend("other", 9, true);
    other.labels.insert("app".to_owned(), "db".to_owned());
    let mut elsewhere = backend("elsewhere", 8, true);
    elsewhere.namespace = "shop".to_owned();
    let mut leaving = backend("leaving", 7, true);
    leaving.terminating = true;
    let backends = [
        backend("a", 2, true),
        backend("b", 3, false),
        other,
        elsewhere,
        leaving,
    ];
    check(&spec, &backends, "Tcp 80 → 10.91.1.2:8080");
}

#[test]
fn a_named_port_is_looked_up_in_each_pod() {
    let spec = json!({"selector": {"app": "web"}, "ports": [
        {"name": "h", "port": 80, "targetPort": "http"},
        {"name": "d", "port": 53, "protocol": "UDP"},
        {"name": "none", "port": 81, "targetPort": "nope"},
    ]});
    check(
        &spec,
        &[backend("a", 2, true), backend("b", 3, true)],
        "Tcp 80 → 10.91.1.2:8002 10.91.1.3:8003; Udp 53 → 10.91.1.2:53 10.91.1.3:53; Tcp 81 → ",
    );
}

#[test]
fn addresses_are_published_early_when_asked_for() {
    let spec = json!({
        "selector": {"app": "web"}, "ports": [{"port": 80}], "publishNotReadyAddresses": true,
    });
    check(&spec, &[backend("a", 2, false)], "Tcp 80 → 10.91.1.2:80");
}

#[test]
fn a_service_without_selector_uses_the_slices_people_wrote() {
    let services = [service(
        "db",
        &json!({"ports": [{"name": "pg", "port": 5432}]}),
    )];
    let mut ips = ServiceIps::default();
    ips.update(&services);
    assert!(slices(&services, &[backend("a", 2, true)]).is_empty());
    let written: EndpointSlice = serde_json::from_value(json!({
        "metadata": {"name": "db-1", "namespace": "default", "labels": {SERVICE_LABEL: "db"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.91.1.9"]}, {"addresses": ["10.91.1.8"], "conditions": {"ready": false}}],
        "ports": [{"name": "pg", "port": 5433}],
    }))
    .unwrap();
    let ports = service_ports(&services, &ips, &[written]);
    assert_eq!(ports[0].endpoints, ["10.91.1.9:5433".parse().unwrap()]);
}

#[test]
fn the_slice_says_what_kubernetes_would() {
    let spec = json!({"selector": {"app": "web"}, "ports": [{"port": 80}]});
    let slices = slices(&[service("web", &spec)], &[backend("a", 2, true)]);
    let slice = serde_json::to_value(&slices[0]).unwrap();
    assert_eq!(slice["metadata"]["labels"][SERVICE_LABEL], "web");
    assert!(
        slice["metadata"]["name"]
            .as_str()
            .unwrap()
            .starts_with("web-")
    );
    assert_eq!(
        slice["ports"],
        json!([{"name": "", "port": 80, "protocol": "TCP"}])
    );
    assert_eq!(
        slice["endpoints"],
        json!([{
            "addresses": ["10.91.1.2"],
            "conditions": {"ready": true, "serving": true, "terminating": false},
            "hostname": "a",
            "nodeName": "node1",
            "targetRef": {"kind": "Pod", "namespace": "default", "name": "a", "uid": "uid-a"},
        }])
    );
}

#[test]
fn names_lead_to_the_address_or_to_ready_pods_or_elsewhere() {
    let selector = json!({"app": "web"});
    let services = [
        service(
            "vip",
            &json!({"selector": selector, "ports": [{"port": 80}]}),
        ),
        service("web", &json!({"selector": selector, "clusterIP": "None"})),
        service(
            "far",
            &json!({"type": "ExternalName", "externalName": "example.com"}),
        ),
    ];
    let mut ips = ServiceIps::default();
    ips.update(&services);
    let slices = slices(&services, &[backend("a", 2, true), backend("b", 3, false)]);
    let names = names(&services, &ips, &slices);
    let of = |name: &str| names[&("default".to_owned(), name.to_owned())].clone();
    assert_eq!(of("vip"), Target::Vip(ips.get(&services[0].key).unwrap()));
    let a = EndpointName {
        ip: Ipv4Addr::new(10, 91, 1, 2),
        hostname: Some("a".to_owned()),
    };
    assert_eq!(of("web"), Target::Endpoints(vec![a]));
    assert_eq!(of("far"), Target::Alias("example.com".to_owned()));
}

#[test]
fn a_pod_must_listen_on_what_its_services_target() {
    let services = [
        service(
            "web",
            &json!({"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}]}),
        ),
        service(
            "dns",
            &json!({"selector": {"app": "web"}, "ports": [{"port": 53, "protocol": "UDP"}]}),
        ),
        service(
            "db",
            &json!({"selector": {"app": "db"}, "ports": [{"port": 5432}]}),
        ),
    ];
    let ports = targeted_ports(&services, &backend("a", 2, false));
    assert_eq!(
        ports,
        BTreeSet::from([(Transport::Tcp, 8002), (Transport::Udp, 53)])
    );
}
