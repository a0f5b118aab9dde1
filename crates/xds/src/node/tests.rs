use super::*;

fn node(role: Role) -> Node {
    Node {
        role,
        ip: None,
        pod: "ztunnel-4tl4g".to_owned(),
        namespace: "istio-system".to_owned(),
        node: "m1".to_owned(),
        metadata: BTreeMap::new(),
    }
}

fn text<'a>(node: &'a core::Node, key: &str) -> Option<&'a str> {
    match node.metadata.as_ref()?.fields.get(key)?.kind.as_ref()? {
        Kind::StringValue(text) => Some(text),
        _ => None,
    }
}

#[test]
fn names_a_ztunnel_as_istiod_expects() {
    let sent = node(Role::Ztunnel).to_proto();
    assert_eq!(
        sent.id,
        "ztunnel~1.1.1.1~ztunnel-4tl4g.istio-system~istio-system.svc.cluster.local"
    );
    assert_eq!(text(&sent, "NAME"), Some("ztunnel-4tl4g"));
    assert_eq!(text(&sent, "NAMESPACE"), Some("istio-system"));
    assert_eq!(text(&sent, "INSTANCE_IPS"), Some("1.1.1.1"));
    assert_eq!(text(&sent, "NODE_NAME"), Some("m1"));
    assert_eq!(
        (
            sent.cluster.as_str(),
            sent.locality,
            sent.user_agent_name.as_str()
        ),
        ("", None, "")
    );
}

#[test]
fn a_waypoint_carries_its_own_address_and_metadata() {
    let mut waypoint = node(Role::Waypoint).with("SERVICE_ACCOUNT", "waypoint");
    waypoint.ip = "2001:2::f1".parse().ok();
    let sent = waypoint.to_proto();
    assert!(sent.id.starts_with("waypoint~2001:2::f1~"), "{}", sent.id);
    assert_eq!(text(&sent, "SERVICE_ACCOUNT"), Some("waypoint"));
}

#[test]
fn given_metadata_wins_over_the_derived() {
    assert_eq!(
        text(
            &node(Role::Ztunnel).with("NAME", "other").to_proto(),
            "NAME"
        ),
        Some("other")
    );
}
