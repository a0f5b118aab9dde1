//! AuthorizationPolicy at L7.

use proto::cairn::waypoint as wire;
use proto::cairn::waypoint::policy::Action;

use crate::client::request;
use crate::mesh::{CART_80, Mesh, origin, run, targets};

fn policy(name: &str, action: Action, rules: Vec<wire::PolicyRule>) -> wire::Policy {
    wire::Policy {
        origin: Some(origin("AuthorizationPolicy", name)),
        targets: targets(),
        action: action.into(),
        rules,
        ..Default::default()
    }
}

fn put(mesh: &Mesh, policy: &wire::Policy) {
    let name = &policy.origin.as_ref().unwrap().name;
    mesh.control.put(proto::POLICY_TYPE, name, policy);
}

fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| (*text).to_owned()).collect()
}

fn paths(list: &[&str]) -> wire::PolicyRule {
    let operation = wire::Operation {
        paths: strings(list),
        ..Default::default()
    };
    wire::PolicyRule {
        to: vec![operation],
        ..Default::default()
    }
}

fn principals(list: &[&str]) -> wire::PolicyRule {
    let source = wire::Source {
        principals: strings(list),
        ..Default::default()
    };
    wire::PolicyRule {
        from: vec![source],
        ..Default::default()
    }
}

#[test]
fn a_denied_request_is_403_and_reaches_no_endpoint() {
    run(|| async {
        let mesh = Mesh::start().await;
        let client = mesh.client().await;
        let backend = mesh.endpoint("v1").await;
        mesh.settled(&client).await;
        put(
            &mesh,
            &policy("no-admin", Action::Deny, vec![paths(&["/admin*"])]),
        );
        let answer = mesh
            .until(&client, "/admin/x", |answer| answer.status == 403)
            .await;
        assert_eq!(answer.text(), "RBAC: access denied");
        let before = backend.seen().len();
        assert_eq!(client.get(CART_80, "/admin/y").await.status, 403);
        assert_eq!(backend.seen().len(), before);
        assert_eq!(client.get(CART_80, "/other").await.status, 200);
        let labels = ["response_code=\"403\"", "response_flags=\"-\""];
        assert!(mesh.metric("istio_requests_total", &labels).await >= 2.0);
    });
}

#[test]
fn the_path_is_decided_by_as_the_endpoint_sees_it() {
    run(|| async {
        let mesh = Mesh::start().await;
        let client = mesh.client().await;
        let _backend = mesh.endpoint("v1").await;
        mesh.settled(&client).await;
        put(
            &mesh,
            &policy("no-admin", Action::Deny, vec![paths(&["/admin"])]),
        );
        mesh.until(&client, "/admin", |answer| answer.status == 403)
            .await;
        for path in [
            "/x/../admin",
            "/./admin",
            "/%61dmin",
            "/x/%2e%2e/admin",
            "/admin?x=/y",
        ] {
            assert_eq!(client.get(CART_80, path).await.status, 403, "{path}");
        }
        let answer = client.get(CART_80, "/x/../y").await;
        assert_eq!(answer.line(), "GET /y HTTP/1.1");
    });
}

#[test]
fn identities_are_those_of_the_certificate() {
    run(|| async {
        let mesh = Mesh::start().await;
        let client = mesh.client().await;
        let other = mesh.client_as("spiffe://cluster.local/ns/other/sa/x").await;
        let _backend = mesh.endpoint("v1").await;
        mesh.settled(&client).await;
        let web = "cluster.local/ns/web/sa/web";
        put(
            &mesh,
            &policy("only-web", Action::Allow, vec![principals(&[web])]),
        );
        mesh.until(&other, "/", |answer| answer.status == 403).await;
        assert_eq!(client.get(CART_80, "/").await.status, 200);
        // Nothing a client writes makes it somebody else.
        let claims = [
            (
                "x-forwarded-client-cert",
                "URI=spiffe://cluster.local/ns/web/sa/web",
            ),
            ("forwarded", "for=10.0.0.1;host=cart.shop"),
            ("baggage", "k8s.namespace.name=web"),
        ];
        assert_eq!(
            other
                .send(CART_80, request("GET", "/", &claims, ""))
                .await
                .status,
            403
        );
    });
}

#[test]
fn deny_comes_before_allow() {
    run(|| async {
        let mesh = Mesh::start().await;
        let client = mesh.client().await;
        let _backend = mesh.endpoint("v1").await;
        mesh.settled(&client).await;
        put(
            &mesh,
            &policy("allow", Action::Allow, vec![wire::PolicyRule::default()]),
        );
        put(
            &mesh,
            &policy("deny", Action::Deny, vec![paths(&["/secret"])]),
        );
        mesh.until(&client, "/secret", |answer| answer.status == 403)
            .await;
        assert_eq!(client.get(CART_80, "/").await.status, 200);
    });
}

#[test]
fn methods_hosts_headers_and_ports_count() {
    run(|| async {
        let mesh = Mesh::start().await;
        let client = mesh.client().await;
        let _backend = mesh.endpoint("v1").await;
        mesh.settled(&client).await;
        let operation = wire::Operation {
            methods: strings(&["GET"]),
            hosts: strings(&["CART.shop"]),
            ports: vec![80],
            ..Default::default()
        };
        let condition = wire::Condition {
            key: "request.headers[x-role]".to_owned(),
            not_values: strings(&["guest"]),
            ..Default::default()
        };
        let rule = wire::PolicyRule {
            to: vec![operation],
            when: vec![condition],
            ..Default::default()
        };
        put(&mesh, &policy("narrow", Action::Allow, vec![rule]));
        mesh.until(&client, "/", |_| true).await;
        let send = async |method: &str, headers: &[(&str, &str)]| {
            client
                .send(CART_80, request(method, "/", headers, ""))
                .await
                .status
        };
        mesh.eventually("it is in force", async || send("PUT", &[]).await == 403)
            .await;
        assert_eq!(send("GET", &[]).await, 200);
        assert_eq!(send("GET", &[("host", "cart.shop:8080")]).await, 200);
        assert_eq!(send("GET", &[("host", "other")]).await, 403);
        assert_eq!(send("GET", &[("x-role", "guest")]).await, 403);
        assert_eq!(
            send("GET", &[("x-role", "staff"), ("x-role", "guest")]).await,
            403
        );
        assert_eq!(client.get("10.96.0.1:81", "/").await.status, 403);
    });
}

#[test]
fn a_policy_for_an_authorizer_that_is_not_there_denies() {
    run(|| async {
        let mesh = Mesh::start().await;
        let client = mesh.client().await;
        let _backend = mesh.endpoint("v1").await;
        mesh.settled(&client).await;
        let mut custom = policy("ask", Action::Custom, vec![paths(&["/ask"])]);
        custom.provider = "opa".to_owned();
        put(&mesh, &custom);
        mesh.until(&client, "/ask", |answer| answer.status == 403)
            .await;
        assert_eq!(client.get(CART_80, "/").await.status, 200);
    });
}

#[test]
fn a_policy_that_cannot_be_understood_denies_and_is_reported() {
    run(|| async {
        let mesh = Mesh::start().await;
        let client = mesh.client().await;
        let _backend = mesh.endpoint("v1").await;
        mesh.settled(&client).await;
        let source = wire::Source {
            ip_blocks: strings(&["10.0.0.300"]),
            ..Default::default()
        };
        let rule = wire::PolicyRule {
            from: vec![source],
            ..Default::default()
        };
        put(&mesh, &policy("typo", Action::Allow, vec![rule]));
        mesh.until(&client, "/", |answer| answer.status == 403)
            .await;
        let rejection = mesh.control.rejection().await;
        assert_eq!(&*rejection.name, "typo");
        assert!(
            rejection.reason.contains("rules[0].from[0].ip_blocks[0]"),
            "{rejection:?}"
        );
        put(
            &mesh,
            &policy("typo", Action::Allow, vec![wire::PolicyRule::default()]),
        );
        mesh.until(&client, "/", |answer| answer.status == 200)
            .await;
    });
}

#[test]
fn grpc_is_told_in_its_own_words() {
    run(|| async {
        let mesh = Mesh::start().await;
        let client = mesh.client().await;
        let _backend = mesh.endpoint("v1").await;
        mesh.settled(&client).await;
        put(
            &mesh,
            &policy("no", Action::Deny, vec![wire::PolicyRule::default()]),
        );
        mesh.until(&client, "/", |answer| answer.status == 403)
            .await;
        let headers = [("content-type", "application/grpc")];
        let answer = client
            .send(CART_80, request("POST", "/pkg.S/M", &headers, ""))
            .await;
        assert_eq!(
            (answer.status, answer.header("grpc-status")),
            (200, Some("7"))
        );
    });
}

#[test]
fn a_dry_run_denies_nothing() {
    run(|| async {
        let mesh = Mesh::start().await;
        let client = mesh.client().await;
        let _backend = mesh.endpoint("v1").await;
        mesh.settled(&client).await;
        let mut trial = policy("trial", Action::Deny, vec![wire::PolicyRule::default()]);
        trial.dry_run = true;
        put(&mesh, &trial);
        put(
            &mesh,
            &policy("marker", Action::Deny, vec![paths(&["/marker"])]),
        );
        mesh.until(&client, "/marker", |answer| answer.status == 403)
            .await;
        assert_eq!(client.get(CART_80, "/").await.status, 200);
    });
}
