use http::HeaderMap;
use proptest::prelude::*;

use super::baggage::Kind;
use super::*;

/// As a pod of a Deployment of Istio's ztunnel sends it; recorded on a real mesh.
const RECORDED_BAGGAGE: &str = "k8s.cluster.name=Kubernetes,k8s.namespace.name=app,k8s.pod.name=echo,service.name=echo,service.version=latest";

fn headers(name: &HeaderName, lines: &[&str]) -> HeaderMap {
    let line = |text: &&str| (name.clone(), text.parse().unwrap());
    lines.iter().map(line).collect()
}

fn recorded() -> Baggage {
    Baggage {
        cluster: Some("Kubernetes".into()),
        namespace: Some("app".into()),
        workload: Some((Kind::Pod, "echo".into())),
        service: Some("echo".into()),
        revision: Some("latest".into()),
        ..Baggage::default()
    }
}

#[test]
fn reads_and_writes_baggage_as_a_real_ztunnel() {
    let parsed = Baggage::from_headers(&headers(&BAGGAGE, &[RECORDED_BAGGAGE]));
    assert_eq!(parsed, recorded());
    assert_eq!(parsed.to_header().unwrap(), RECORDED_BAGGAGE);
}

#[test]
fn writes_every_key_in_ztunnels_order() {
    let baggage = Baggage {
        workload: Some((Kind::CronJob, "nightly".into())),
        region: Some("eu-1".into()),
        zone: Some("eu-1a".into()),
        ..recorded()
    };
    let expected = "k8s.cluster.name=Kubernetes,k8s.namespace.name=app,k8s.cronjob.name=nightly,service.name=echo,service.version=latest,cloud.region=eu-1,cloud.availability_zone=eu-1a";
    assert_eq!(baggage.to_header().unwrap(), expected);
    assert_eq!(Baggage::default().to_header(), None);
}

#[test]
fn merges_baggage_lines_and_skips_what_it_does_not_know() {
    let parsed = Baggage::from_headers(&headers(
        &BAGGAGE,
        &[
            "k8s.cluster.name=Kubernetes, ,=,service.name=,unknown=1,garbage",
            "k8s.namespace.name = app ;prop=1,k8s.pod.name=echo,service.name=echo,service.version=latest",
        ],
    ));
    assert_eq!(parsed, recorded());
    let garbage = Baggage::from_headers(&headers(&BAGGAGE, &["garbage"]));
    assert_eq!(garbage, Baggage::default());
}

#[test]
fn baggage_values_are_safe_as_labels_and_bounded() {
    let hostile = "service.name=a\"b{c}\\d e,k8s.namespace.name=".to_owned() + &"x".repeat(5000);
    let parsed = Baggage::from_headers(&headers(&BAGGAGE, &[&hostile]));
    assert_eq!(parsed.service.as_deref(), Some("a_b_c__d_e"));
    assert_eq!(parsed.namespace.map(|n| n.len()), Some(253));
    let forged = Baggage {
        service: Some("x,k8s.namespace.name=victim".into()),
        ..Baggage::default()
    };
    let header = forged.to_header().unwrap();
    assert_eq!(header, "service.name=x_k8s.namespace.name_victim");
}

fn check_forwarded(text: &str, ip: Option<&str>, port: Option<u16>, host: Option<&str>) {
    let expected = Forwarded {
        client_ip: ip.map(|ip| ip.parse().unwrap()),
        client_port: port,
        host: host.map(Into::into),
    };
    let parsed = Forwarded::from_headers(&headers(&FORWARDED, &[text]));
    assert_eq!(parsed, expected, "{text}");
}

#[test]
fn writes_forwarded_as_a_real_ztunnel() {
    let client = "10.244.1.5:58164".parse().unwrap();
    let with_host = Forwarded::header(client, Some("echo.app.svc.cluster.local")).unwrap();
    assert_eq!(
        with_host,
        "for=\"10.244.1.5:58164\";host=echo.app.svc.cluster.local"
    );
    assert_eq!(
        Forwarded::header(client, None).unwrap(),
        "for=\"10.244.1.5:58164\""
    );
    let v6 = Forwarded::header("[fd00::1]:80".parse().unwrap(), None).unwrap();
    assert_eq!(v6, "for=\"[fd00::1]:80\"");
}

#[test]
fn reads_forwarded_of_every_sender() {
    let host = Some("echo.app.svc.cluster.local");
    check_forwarded(
        "for=\"10.244.1.5:58164\";host=echo.app.svc.cluster.local",
        Some("10.244.1.5"),
        Some(58164),
        host,
    );
    check_forwarded("for=10.9.9.9", Some("10.9.9.9"), None, None);
    check_forwarded(
        "FOR=\"[fd00::1]:80\" ; Host=\"a.b:80\"",
        Some("fd00::1"),
        Some(80),
        Some("a.b"),
    );
    check_forwarded(
        "For=\"[fd00::1]\";proto=https;by=_x",
        Some("fd00::1"),
        None,
        None,
    );
    check_forwarded(
        "for=10.0.0.1, for=10.0.0.2;host=later",
        Some("10.0.0.1"),
        None,
        None,
    );
    check_forwarded("for=unknown;host=a.b", None, None, Some("a.b"));
    check_forwarded("for=\"10.0.0.1", None, None, None);
    check_forwarded("host=a/b;for=\"10.0\\.0.1\"", Some("10.0.0.1"), None, None);
    check_forwarded("garbage", None, None, None);
}

#[test]
fn builds_a_legal_traceparent_from_any_bytes() {
    let mut random = [0xab; 24];
    random[0] = 0x01;
    let expected = "00-01ababababababababababababababab-abababababababab-00";
    assert_eq!(traceparent(random), expected);
    let zeros = "00-00000000000000000000000000000001-0000000000000001-00";
    assert_eq!(traceparent([0; 24]), zeros);
}

proptest! {
    #[test]
    fn hostile_headers_never_panic(bytes in proptest::collection::vec(32u8..=255, 0..4000)) {
        let Ok(value) = HeaderValue::from_bytes(&bytes) else { return Ok(()) };
        let map: HeaderMap = [(BAGGAGE, value.clone()), (FORWARDED, value)].into_iter().collect();
        let baggage = Baggage::from_headers(&map);
        let again = baggage.to_header().map(|h| [(BAGGAGE, h)].into_iter().collect::<HeaderMap>());
        prop_assert_eq!(again.map(|map| Baggage::from_headers(&map)).unwrap_or_default(), baggage);
        Forwarded::from_headers(&map);
    }
}
