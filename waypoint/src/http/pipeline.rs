//! The order in which things happen to a request, which is what users can observe.
//!
//! Sanitize, CUSTOM policies, AUTHN plugins, (tokens), AUTHZ plugins, DENY and ALLOW policies,
//! STATS and then other plugins, route and its filters, endpoint. Source: DESIGN §5, which is
//! Istio's order; the test of this file holds it.

use http::Response;
use hyper::body::{Body as _, Incoming};
use mesh::plugin::Phase;

use super::body::Body;
use super::context::RequestCtx;
use super::error::Error;
use super::head::Head;
use super::{authz, retry, route};
use crate::plugins::{self, Flow};

/// Runs one clean request through the waypoint.
///
/// A stage passes the request on, answers it itself, or fails. Failures leave here as [`Error`];
/// [`respond`](super::respond) is the only place that words them.
///
/// # Errors
/// See [`Kind`](super::error::Kind).
pub(crate) async fn run(
    cx: &mut RequestCtx,
    mut head: Head,
    body: Incoming,
) -> Result<Response<Body>, Error> {
    let ends = body.is_end_stream();

    authz::custom(cx, &head)?;
    for phase in [Phase::Authn, Phase::Authz] {
        if let Flow::Reply(reply) = plugins::request(cx, phase, &mut head, ends)? {
            return Ok(reply);
        }
    }
    authz::check(cx, &head)?;

    let mut changed = false;
    for phase in [Phase::Stats, Phase::Unspecified] {
        if let Flow::Reply(reply) = plugins::request(cx, phase, &mut head, ends)? {
            return Ok(reply);
        }
        changed |= cx.plugins.take_changed();
    }
    if changed {
        // What was decided holds for the request that was looked at, and for no other.
        authz::check(cx, &head)?;
    }

    let routed = match route::select(cx, &mut head)? {
        route::Flow::Reply(reply) => return Ok(reply),
        route::Flow::To(routed) => routed,
    };
    cx.plugins.keep_request(&head);
    let mut response = retry::send(cx, &routed, head, body).await?;
    routed.edit_response(&mut response);
    Ok(response)
}
