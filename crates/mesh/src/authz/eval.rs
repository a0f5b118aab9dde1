//! From policies and attributes to a decision.

use std::sync::Arc;

use smallvec::SmallVec;

use super::{Action, Attributes, By, Clause, Decision, Denied, Match, Policy, Rule, Verdict};

/// Decides by the DENY and ALLOW policies of `policies`, which are those that apply.
///
/// Any DENY that matches denies; then, without ALLOW policies, all is allowed; with some, one has
/// to match. Cost: each test of each policy at most once (twice with dry-run policies).
pub fn decide<'p>(policies: &'p [Arc<Policy>], attributes: &Attributes<'_>) -> Verdict<'p> {
    let enforced = policies
        .iter()
        .map(|policy| &**policy)
        .filter(|policy| !policy.dry_run);
    let audits = enforced
        .clone()
        .filter(|policy| policy.action == Action::Audit);
    let dry_run = policies.iter().any(|policy| policy.dry_run);
    Verdict {
        decision: decide_by(enforced, attributes),
        dry_run: dry_run.then(|| decide_by(policies.iter().map(|policy| &**policy), attributes)),
        audited: audits
            .filter_map(|policy| by(policy, attributes))
            .collect::<SmallVec<_>>(),
    }
}

fn decide_by<'p>(
    policies: impl Iterator<Item = &'p Policy> + Clone,
    attributes: &Attributes<'_>,
) -> Decision<'p> {
    let mut denies = policies
        .clone()
        .filter(|policy| policy.action == Action::Deny);
    if let Some(by) = denies.find_map(|policy| by(policy, attributes)) {
        return Decision::Deny { by: Some(by) };
    }
    let mut allows = policies
        .filter(|policy| policy.action == Action::Allow)
        .peekable();
    if allows.peek().is_none() {
        return Decision::Allow { by: None };
    }
    match allows.find_map(|policy| by(policy, attributes)) {
        Some(by) => Decision::Allow { by: Some(by) },
        None => Decision::Deny { by: None },
    }
}

/// The CUSTOM policies that match, in order: each leaves the decision to its authorizer.
///
/// A caller that has no authorizer of that name must deny; see [`By::unknown_authorizer`].
pub fn delegated<'p>(
    policies: &'p [Arc<Policy>],
    attributes: &Attributes<'_>,
) -> impl Iterator<Item = By<'p>> {
    policies
        .iter()
        .map(|policy| &**policy)
        .filter(|policy| !policy.dry_run && matches!(policy.action, Action::Custom { .. }))
        .filter_map(move |policy| by(policy, attributes))
}

fn by<'p>(policy: &'p Policy, attributes: &Attributes<'_>) -> Option<By<'p>> {
    policy
        .matching_rule(attributes)
        .map(|rule| By { policy, rule })
}

impl By<'_> {
    /// The denial of a request whose CUSTOM policy names an authorizer that is not there.
    pub fn unknown_authorizer(&self) -> Denied {
        let provider = match &self.policy.action {
            Action::Custom { provider } => provider.clone(),
            Action::Allow | Action::Deny | Action::Audit => "".into(),
        };
        Denied::NoAuthorizer {
            policy: self.policy.origin.clone(),
            rule: self.rule,
            provider,
        }
    }
}

impl Rule {
    pub(super) fn matches(&self, attributes: &Attributes<'_>, action: &Action) -> bool {
        let opaque = attributes.http.is_none();
        let widens = match action {
            Action::Deny | Action::Custom { .. } => true,
            Action::Allow | Action::Audit => false,
        };
        if opaque && self.needs_http && !widens {
            return false;
        }
        self.clauses.iter().all(|clause| clause.matches(attributes))
    }
}

impl Clause {
    fn matches(&self, attributes: &Attributes<'_>) -> bool {
        self.0.is_empty() || self.0.iter().any(|found| found.matches(attributes))
    }
}

impl Match {
    fn matches(&self, attributes: &Attributes<'_>) -> bool {
        !self.0.is_empty()
            && self.0.iter().all(|test| {
                // Reached for opaque bytes only where leaving the test out denies more.
                (attributes.http.is_none() && test.attribute.is_http()) || test.passes(attributes)
            })
    }
}
