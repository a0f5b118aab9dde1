//! Decides whether a connection or request is allowed.
//!
//! One engine serves L4 and L7. Its only inputs are policies and an [`Attributes`] view; there is
//! no IO, no clock and no logging. L4 callers leave [`Attributes::http`] out.
//!
//! A [`Policy`] matches when any of its rules does; a rule when each of its clauses does; a clause
//! when it is empty or any of its matches does; a match when it has tests and all of them pass.
//! A policy without rules therefore never matches, and an ALLOW without rules denies everything.
//!
//! Order of actions: CUSTOM (see [`delegated`]), DENY, ALLOW. AUDIT and dry-run policies are
//! reported and never decide.
//!
//! Where a test needs an attribute that is missing, a positive test fails and a negative one
//! passes. Where it needs HTTP and there is none (opaque bytes), an ALLOW rule with such a test
//! never matches, and in DENY and CUSTOM the test is left out, which denies more.
//! Sources: Istio's AuthorizationPolicy reference; istio/ztunnel `src/rbac.rs` for L4.

use std::fmt;
use std::sync::Arc;

use crate::Str;
use crate::origin::{Origin, Target};

mod attributes;
mod dump;
mod eval;
mod matcher;
#[cfg(test)]
mod tests;

pub use attributes::Attributes;
pub use eval::{decide, delegated};
pub use matcher::{
    Attribute, HostMatch, InvalidPattern, PathMatch, PathTemplate, ServiceAccount, StringMatch,
    Test,
};

/// An authorization policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// The object it was made from.
    pub origin: Arc<Origin>,
    /// Where it applies.
    pub attachment: Attachment,
    /// What a match does.
    pub action: Action,
    /// It is evaluated and reported, never enforced.
    pub dry_run: bool,
    /// Any of these; none never matches.
    pub rules: Vec<Rule>,
}

impl Policy {
    /// The policy that stands in for one that could not be understood: it denies everything it
    /// is attached to.
    pub fn deny_all(origin: Arc<Origin>, attachment: Attachment) -> Self {
        Self {
            origin,
            attachment,
            action: Action::Deny,
            dry_run: false,
            rules: vec![Rule::default()],
        }
    }

    /// `namespace/name`.
    pub fn key(&self) -> Str {
        format!("{}/{}", self.origin.namespace, self.origin.name).into()
    }

    /// Namespace of the object.
    pub fn namespace(&self) -> &str {
        &self.origin.namespace
    }

    /// Which workloads it applies to. A policy of a waypoint applies to its targets alone, which
    /// for workloads means: to those that refer to it.
    pub fn scope(&self) -> Scope {
        match self.attachment {
            Attachment::Scope(scope) => scope,
            Attachment::Targets(_) => Scope::WorkloadSelector,
        }
    }

    /// Index of the first rule that matches.
    pub fn matching_rule(&self, attributes: &Attributes<'_>) -> Option<usize> {
        self.rules
            .iter()
            .position(|rule| rule.matches(attributes, &self.action))
    }
}

/// Where a policy applies.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Attachment {
    /// To workloads, at their own ztunnel.
    Scope(Scope),
    /// To what is behind a waypoint, at the waypoint.
    Targets(Vec<Target>),
}

/// Which workloads a policy applies to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scope {
    /// All.
    Global,
    /// Those of its namespace.
    Namespace,
    /// Those that refer to it.
    WorkloadSelector,
}

/// What a match does.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Action {
    /// Admits.
    Allow,
    /// Refuses.
    Deny,
    /// Is reported.
    Audit,
    /// Leaves the decision to an external authorizer.
    Custom {
        /// Name of the authorizer.
        provider: Str,
    },
}

/// All of the clauses; none matches everything.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rule {
    clauses: Vec<Clause>,
    needs_http: bool,
}

impl Rule {
    /// A rule of these clauses.
    pub fn new(clauses: Vec<Clause>) -> Self {
        let mut tests = clauses
            .iter()
            .flat_map(|clause| &clause.0)
            .flat_map(|found| &found.0);
        let needs_http = tests.any(|test| test.attribute.is_http());
        Self {
            clauses,
            needs_http,
        }
    }

    /// Its clauses.
    pub fn clauses(&self) -> &[Clause] {
        &self.clauses
    }
}

/// Any of the matches; none matches everything.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Clause(pub Vec<Match>);

/// All of the tests; none never matches.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Match(pub Vec<Test>);

/// A rule of a policy that matched.
#[derive(Clone, Copy)]
pub struct By<'p> {
    /// The policy.
    pub policy: &'p Policy,
    /// Index of the rule.
    pub rule: usize,
}

impl fmt::Debug for By<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rule {}", self.policy.origin, self.rule)
    }
}

/// What was decided, and by which rule.
#[derive(Clone, Copy, Debug)]
pub enum Decision<'p> {
    /// Allowed by a rule, or because no ALLOW policy applies.
    Allow {
        /// The rule, if an ALLOW policy applies.
        by: Option<By<'p>>,
    },
    /// Denied by a rule, or because ALLOW policies apply and none matched.
    Deny {
        /// The rule, if a DENY policy matched.
        by: Option<By<'p>>,
    },
}

impl Decision<'_> {
    /// The decision as a result that outlives the policies.
    ///
    /// # Errors
    /// When it is a denial.
    pub fn check(self) -> Result<(), Denied> {
        match self {
            Self::Allow { .. } => Ok(()),
            Self::Deny { by: None } => Err(Denied::NotAllowed),
            Self::Deny {
                by: Some(By { policy, rule }),
            } => Err(Denied::Explicitly {
                policy: policy.origin.clone(),
                rule,
            }),
        }
    }

    /// Whether it allows.
    pub fn is_allow(&self) -> bool {
        matches!(self, Self::Allow { .. })
    }
}

/// A decision and what is reported beside it.
#[derive(Clone, Debug)]
pub struct Verdict<'p> {
    /// What holds.
    pub decision: Decision<'p>,
    /// What would hold if the dry-run policies were enforced; `None` when there are none.
    pub dry_run: Option<Decision<'p>>,
    /// AUDIT policies that matched.
    pub audited: smallvec::SmallVec<[By<'p>; 1]>,
}

/// Why something was denied. The texts are those of ztunnel's log.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Denied {
    /// A DENY policy matched.
    #[error("explicitly denied by: {}/{}", policy.namespace, policy.name)]
    Explicitly {
        /// The policy.
        policy: Arc<Origin>,
        /// Index of its rule.
        rule: usize,
    },
    /// ALLOW policies apply and none matched.
    #[error("allow policies exist, but none allowed")]
    NotAllowed,
    /// A policy that applies was never received.
    #[error("policy {0} is not known yet")]
    Missing(Str),
    /// A CUSTOM policy matched and names an authorizer that is not there.
    #[error("explicitly denied by: {}/{}: no authorizer `{provider}`", policy.namespace, policy.name)]
    NoAuthorizer {
        /// The policy.
        policy: Arc<Origin>,
        /// Index of its rule.
        rule: usize,
        /// The authorizer it names.
        provider: Str,
    },
}
