use http::StatusCode;
use mesh::authz::Denied;
use mesh::origin::Origin;
use telemetry::http::Flag;

use super::{response, row};
use crate::http::error::Kind;

#[test]
fn statuses_and_flags_are_those_of_the_reference() {
    for (kind, status, grpc, flag) in [
        (
            Kind::BadRequest("why"),
            400,
            13,
            Flag::DownstreamProtocolError,
        ),
        (Kind::ConnectFailed, 503, 14, Flag::UpstreamConnectFailure),
        (Kind::Denied(Denied::NotAllowed), 403, 7, Flag::None),
        (Kind::InvalidBackend, 500, 14, Flag::None),
        (Kind::NoEndpoint, 503, 14, Flag::NoHealthyUpstream),
        (Kind::NoRoute, 404, 12, Flag::NoRoute),
        (Kind::Overload, 503, 14, Flag::Overload),
        (Kind::Plugin, 503, 14, Flag::None),
        (Kind::Protocol, 502, 14, Flag::UpstreamProtocolError),
        (Kind::Reset, 503, 14, Flag::UpstreamTermination),
        (Kind::Timeout, 504, 4, Flag::UpstreamTimeout),
        (Kind::TooLarge, 431, 8, Flag::DownstreamProtocolError),
    ] {
        let row = row(&kind);
        assert_eq!(
            (row.status.as_u16(), row.grpc, row.flag),
            (status, grpc, flag),
            "{kind:?}"
        );
    }
}

#[test]
fn a_denial_tells_the_client_nothing_and_the_operator_the_policy() {
    let policy = Origin::named("AuthorizationPolicy", "shop", "secret-name").into();
    let row = row(&Kind::Denied(Denied::Explicitly { policy, rule: 2 }));
    assert_eq!(row.text, "RBAC: access denied");
    assert_eq!(
        row.details,
        "rbac_access_denied_matched_policy[ns[shop]-policy[secret-name]-rule[2]]"
    );
    let response = format!("{:?}", response(&row, false));
    assert!(!response.contains("secret-name"), "{response}");
}

#[test]
fn grpc_gets_its_status_in_the_headers_of_a_200() {
    let response = response(&row(&Kind::Denied(Denied::NotAllowed)), true);
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["grpc-status"], "7");
    assert_eq!(response.headers()["grpc-message"], "RBAC: access denied");
    assert_eq!(response.headers()["content-type"], "application/grpc");
}
