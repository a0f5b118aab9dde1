use serde_json::json;

use super::*;

fn service(name: &str, spec: &serde_json::Value) -> Named<Service> {
    let object = json!({"metadata": {"namespace": "default", "name": name}, "spec": spec});
    Named {
        key: ObjectKey::new("default", name),
        object: serde_json::from_value(object).unwrap(),
    }
}

fn any(name: &str) -> Named<Service> {
    service(name, &json!({}))
}

#[test]
fn an_address_is_the_same_after_everything_began_anew() {
    let services = ["reviews", "ratings", "frontend"].map(any);
    let (mut first, mut second) = (ServiceIps::default(), ServiceIps::default());
    first.update(&services);
    second.update(services.iter().rev());
    assert_eq!(first.given, second.given);
    assert_eq!(first.given.values().collect::<BTreeSet<_>>().len(), 3);
}

#[test]
fn a_service_keeps_its_address_while_others_come_and_go() {
    let mut ips = ServiceIps::default();
    let reviews = any("reviews");
    ips.update([&reviews]);
    let before = ips.get(&reviews.key).unwrap();
    let crowd: Vec<_> = (0..500).map(|n| any(&format!("s{n}"))).collect();
    ips.update(crowd.iter().chain([&reviews]));
    assert_eq!(ips.get(&reviews.key), Some(before));
    ips.update(&[]);
    assert_eq!(ips.get(&reviews.key), None);
}

#[test]
fn no_two_services_share_an_address() {
    let mut ips = ServiceIps::default();
    let crowd: Vec<_> = (0..3000).map(|n| any(&format!("s{n}"))).collect();
    assert!(ips.update(&crowd).is_empty());
    assert_eq!(ips.given.values().collect::<BTreeSet<_>>().len(), 3000);
    let dynamic = |ip: &&Ipv4Addr| offset(**ip).is_some_and(|at| at >= DYNAMIC_FROM);
    assert!(ips.given.values().all(|ip| dynamic(&ip)));
}

#[test]
fn a_fixed_address_is_given_once_and_only_from_the_network() {
    let mut ips = ServiceIps::default();
    let fixed = |name, ip: &str| service(name, &json!({"clusterIP": ip}));
    let services = [
        fixed("a", "10.92.0.77"),
        fixed("b", "10.92.0.77"),
        fixed("c", "10.1.2.3"),
        any("d"),
    ];
    let refused = ips.update(&services);
    assert_eq!(
        ips.get(&services[0].key),
        Some(Ipv4Addr::new(10, 92, 0, 77))
    );
    let names: Vec<_> = refused
        .iter()
        .map(|refused| refused.service.name.as_str())
        .collect();
    assert_eq!(names, ["b", "c"]);
    assert!(ips.get(&services[3].key).is_some());
}

#[test]
fn headless_services_and_aliases_have_none() {
    let mut ips = ServiceIps::default();
    let services = [
        service("headless", &json!({"clusterIP": "None"})),
        service(
            "alias",
            &json!({"type": "ExternalName", "externalName": "example.com"}),
        ),
    ];
    assert!(ips.update(&services).is_empty());
    assert_eq!(ips.objects().count(), 0);
}

#[test]
fn the_object_names_its_service() {
    let mut ips = ServiceIps::default();
    ips.update(&[service("dns", &json!({"clusterIP": "10.92.0.10"}))]);
    let object = ips.objects().next().unwrap();
    assert_eq!(object.metadata.name.as_deref(), Some("10.92.0.10"));
    assert_eq!(object.spec.parent_ref.resource, "services");
    assert_eq!(object.spec.parent_ref.name, "dns");
    assert!(is_resolver(
        ips.get(&ObjectKey::new("default", "dns")).unwrap()
    ));
}
