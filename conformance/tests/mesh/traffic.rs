//! What a client sees of routes, policies and protocols.

use testkit::{Mesh, Output};

use crate::world::shared;

fn curl(mesh: &Mesh, from: &str, args: &[&str]) -> Output {
    let common = ["curl", "-s", "-m", "20"];
    mesh.exec(from, common.iter().chain(args))
}

fn status(mesh: &Mesh, from: &str, args: &[&str]) -> String {
    let write = ["-o", "/dev/null", "-w", "%{http_code}"];
    let args: Vec<_> = write.iter().chain(args).copied().collect();
    curl(mesh, from, &args).stdout
}

#[test]
fn a_service_answers_by_name_and_by_address() {
    let Some(mesh) = shared() else { return };
    let service = mesh.object("service", "default/echo").unwrap();
    let vip = service
        .pointer("/spec/clusterIP")
        .unwrap()
        .as_str()
        .unwrap()
        .to_owned();
    for host in [
        "echo",
        "echo.default",
        "echo.default.svc.cluster.local",
        &vip,
    ] {
        assert_eq!(
            status(&mesh, "web", &[&format!("http://{host}/")]),
            "200",
            "{host}"
        );
    }
}

#[test]
fn a_header_match_chooses_the_version() {
    let Some(mesh) = shared() else { return };
    for _ in 0..20 {
        let answer = curl(&mesh, "web", &["-H", "x-version: v2", "http://echo/"]).ok();
        assert!(answer.contains("v2"), "{answer}");
    }
}

#[test]
fn weights_split_requests_within_three_points() {
    let Some(mesh) = shared() else { return };
    let script = "for i in $(seq 1000); do echo 'url=http://echo/'; done | curl -s -K - | grep -o '\"version\": *\"v[12]\"'";
    let answers = mesh.exec("web", ["bash", "-c", script]).ok();
    let second = answers.lines().filter(|line| line.contains("v2")).count();
    assert_eq!(answers.lines().count(), 1000);
    assert!((70..=130).contains(&second), "{second} of 1000 went to v2");
}

#[test]
fn a_failing_backend_is_retried() {
    let Some(mesh) = shared() else { return };
    let url = format!("http://echo/fail?times=2&key={}", std::process::id());
    assert_eq!(status(&mesh, "web", &[&url]), "200");
}

#[test]
fn a_stalled_backend_is_given_up_at_the_timeout() {
    let Some(mesh) = shared() else { return };
    let write = "%{http_code} %{time_total}";
    let args = ["-o", "/dev/null", "-w", write, "http://echo/delay/10000"];
    let answer = curl(&mesh, "web", &args).ok();
    let (code, seconds) = answer.split_once(' ').unwrap();
    assert_eq!(code, "504");
    let seconds: f64 = seconds.parse().unwrap();
    assert!((0.5..5.0).contains(&seconds), "{seconds}");
}

#[test]
fn filters_of_a_route_change_path_and_headers_both_ways() {
    let Some(mesh) = shared() else { return };
    let answer = curl(&mesh, "web", &["-i", "http://echo/old/things?q=1"]).ok();
    assert!(answer.contains("/new/things"), "{answer}");
    assert!(answer.to_lowercase().contains("x-to: client"), "{answer}");
    assert!(answer.contains("x-from"), "{answer}");
}

#[test]
fn the_waypoint_denies_an_identity_with_403() {
    let Some(mesh) = shared() else { return };
    let args = ["-w", " %{http_code}", "http://echo/"];
    let answer = curl(&mesh, "intruder", &args).stdout;
    assert_eq!(answer, "RBAC: access denied 403");
    assert_eq!(status(&mesh, "web", &["http://echo/"]), "200");
}

#[test]
fn ztunnel_denies_an_identity_with_a_reset() {
    let Some(mesh) = shared() else { return };
    let answer = curl(&mesh, "intruder", &["http://plain.bare/"]);
    assert!(matches!(answer.code, Some(52 | 56)), "{answer:?}");
    assert_eq!(status(&mesh, "web", &["http://plain.bare/"]), "200");
}

#[test]
fn requests_through_the_waypoint_have_an_id_and_others_have_none() {
    let Some(mesh) = shared() else { return };
    let through = curl(&mesh, "web", &["http://echo/"]).ok().to_lowercase();
    assert!(through.contains("x-request-id"), "{through}");
    let around = curl(&mesh, "web", &["http://plain.bare/"])
        .ok()
        .to_lowercase();
    assert!(!around.contains("x-request-id"), "{around}");
}

#[test]
fn http2_and_grpc_pass_the_waypoint() {
    let Some(mesh) = shared() else { return };
    let version = [
        "--http2-prior-knowledge",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code} %{http_version}",
    ];
    let args: Vec<_> = version.iter().chain(&["http://echo/"]).copied().collect();
    assert_eq!(curl(&mesh, "web", &args).stdout, "200 2");
    let call = ["cairn", "sample", "grpc-client", "http://echo", "ping"];
    assert!(mesh.exec("web", call).ok().contains("ping"));
}

#[test]
fn websocket_frames_pass_the_waypoint_both_ways() {
    let Some(mesh) = shared() else { return };
    let call = ["cairn", "sample", "ws-client", "http://echo/", "one", "two"];
    let answer = mesh.exec("web", call).ok();
    assert!(answer.contains("one") && answer.contains("two"), "{answer}");
}

#[test]
fn a_protocol_in_which_the_server_speaks_first_passes_without_a_waypoint() {
    let Some(mesh) = shared() else { return };
    let call = [
        "cairn",
        "sample",
        "tcp-client",
        "banner.bare:9000",
        "--send",
        "hello",
    ];
    let answer = mesh.exec("web", call).ok();
    assert!(answer.contains("hello"), "{answer}");
}

#[test]
fn malformed_http_passes_byte_exact_without_a_waypoint() {
    let Some(mesh) = shared() else { return };
    let call = [
        "cairn",
        "sample",
        "tcp-client",
        "malformed.bare:9000",
        "--malformed",
    ];
    mesh.exec("web", call).ok();
}

#[test]
fn a_gibibyte_streams_both_ways_with_the_right_checksum() {
    let Some(mesh) = shared() else { return };
    let sum = "head -c 1073741824 /dev/zero | sha256sum | cut -d' ' -f1";
    let expected = mesh.exec("web", ["bash", "-c", sum]).ok();
    let upload = "head -c 1073741824 /dev/zero | curl -s -m 300 -T - http://echo/upload";
    let answer = mesh.exec("web", ["bash", "-c", upload]).ok();
    assert!(
        answer.contains(expected.trim()),
        "{answer} is not {expected}"
    );
    let download = "curl -s -m 300 http://echo/bytes/1073741824 | wc -c";
    assert_eq!(
        mesh.exec("web", ["bash", "-c", download]).ok().trim(),
        "1073741824"
    );
}

#[test]
fn a_pod_outside_of_the_mesh_reaches_what_permits_it() {
    let Some(mesh) = shared() else { return };
    assert_eq!(
        status(
            &mesh,
            "outside/stranger",
            &["http://plain.bare.svc.cluster.local/"]
        ),
        "200"
    );
}
