//! The order in which things happen to a request, which is what users can observe.
//!
//! Sanitize, CUSTOM policies, AUTHN plugins, (tokens), AUTHZ plugins, DENY and ALLOW policies,
//! STATS and then other plugins, route and its filters, plugins of the rule, endpoint. Source: DESIGN §5, which is
//! Istio's order; the test of this file holds it.

use std::rc::Rc;

use http::Response;
use hyper::body::Incoming;
use mesh::plugin::Phase;

use super::body::{Body, Inbound};
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
    let outcome = stages(cx, &mut head, Inbound::Client(body)).await;
    // Plugins look at the request when they log, also one that went nowhere.
    cx.plugins.keep(head);
    outcome
}

async fn stages(
    cx: &mut RequestCtx,
    head: &mut Head,
    mut body: Inbound,
) -> Result<Response<Body>, Error> {
    authz::custom(cx, head)?;
    for phase in [Phase::Authn, Phase::Authz] {
        if let Flow::Reply(reply) = plugins::request(cx, phase, head, &mut body).await? {
            return Ok(reply);
        }
    }
    // Whatever was changed so far is what is decided about now.
    cx.plugins.take_changed();
    authz::check(cx, head)?;

    let mut changed = false;
    for phase in [Phase::Stats, Phase::Unspecified] {
        if let Flow::Reply(reply) = plugins::request(cx, phase, head, &mut body).await? {
            return Ok(reply);
        }
        changed |= cx.plugins.take_changed();
    }
    if changed {
        // What was decided holds for the request that was looked at, and for no other.
        authz::check(cx, head)?;
    }

    let routed = match route::select(cx, head)? {
        route::Flow::Reply(reply) => return Ok(reply),
        route::Flow::To(routed) => routed,
    };
    for plugin in &routed.plugins {
        if let Flow::Reply(reply) = plugins::one(cx, plugin, head, &mut body).await? {
            return Ok(reply);
        }
    }
    body.promise(plugins::length(&head.headers));
    let head = Rc::new(std::mem::replace(head, Head::away()));
    cx.plugins.sent(&head);
    let mut response = match cx.plugins.exchange().cloned() {
        None => retry::send(cx, &routed, &head, body).await?,
        // A plugin may have its own answer while the request is still on its way.
        Some(exchange) => tokio::select! {
            biased;
            verdict = exchange.concluded() => return plugins::concluded(cx, verdict),
            response = Box::pin(retry::send(cx, &routed, &head, body)) => response?,
        },
    };
    routed.edit_response(&mut response);
    Ok(response)
}
