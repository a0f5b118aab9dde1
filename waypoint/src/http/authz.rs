//! May it proceed? Asks `mesh::authz` and turns a no into an error.

use mesh::authz::{Verdict, decide, delegated};

use super::context::RequestCtx;
use super::error::Error;
use super::head::{Head, View};

/// Asks the external authorizers of CUSTOM policies that match.
///
/// There is none yet that could be asked, so a request that one of them is to decide about is
/// denied: not being able to ask is no permission.
///
/// # Errors
/// `Denied`.
pub(crate) fn custom(cx: &RequestCtx, head: &Head) -> Result<(), Error> {
    let headers = View(&head.headers);
    let attributes = cx.tunnel.attributes().with_request(head.view(&headers));
    match delegated(&cx.rules.policies, &attributes).next() {
        Some(by) => Err(by.unknown_authorizer().into()),
        None => Ok(()),
    }
}

/// Decides by the DENY and ALLOW policies.
///
/// # Errors
/// `Denied`.
pub(crate) fn check(cx: &RequestCtx, head: &Head) -> Result<(), Error> {
    let policies = &cx.rules.policies;
    if policies.is_empty() {
        return Ok(());
    }
    let headers = View(&head.headers);
    let attributes = cx.tunnel.attributes().with_request(head.view(&headers));
    let verdict = decide(policies, &attributes);
    note(&verdict);
    Ok(verdict.decision.check()?)
}

/// Logs what policies under trial would have done, and what is audited.
pub(crate) fn note(verdict: &Verdict<'_>) {
    if let Some(trial) = &verdict.dry_run
        && trial.is_allow() != verdict.decision.is_allow()
    {
        tracing::info!(?trial, decision = ?verdict.decision, "dry-run: policies would decide otherwise");
    }
    for by in &verdict.audited {
        tracing::info!(?by, "audit policy match");
    }
}
