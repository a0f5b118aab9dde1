//! Promises of the engine, at L4 through `istio.security.Authorization` and at L7 through
//! `cairn.waypoint.v1.Policy`, so that the grammar of values is covered on the way.

use std::sync::Arc;

use super::{Action, Attachment, Attributes, Policy, Rule, Scope, decide, delegated};
use crate::origin::Origin;
use crate::request::Request;
use crate::spiffe::SpiffeId;

mod l4;
mod l7;
mod oracle;

/// A connection or request under test; the address is that of a pod in 10.0.1.0/24.
struct Call {
    peer: Option<SpiffeId>,
    port: u16,
    http: Option<Http>,
}

struct Http {
    method: &'static str,
    path: &'static str,
    host: &'static str,
    headers: Vec<(String, String)>,
}

fn from(peer: &str) -> Call {
    let peer = (!peer.is_empty()).then(|| format!("spiffe://{peer}").parse().unwrap());
    Call {
        peer,
        port: 8080,
        http: None,
    }
}

const WEB: &str = "cluster.local/ns/shop/sa/web";

impl Call {
    fn port(self, port: u16) -> Self {
        Self { port, ..self }
    }

    fn get(self, path: &'static str) -> Self {
        self.send("GET", path)
    }

    fn send(self, method: &'static str, path: &'static str) -> Self {
        Self {
            http: Some(Http {
                method,
                path,
                host: "cart.shop",
                headers: vec![],
            }),
            ..self
        }
    }

    fn host(mut self, host: &'static str) -> Self {
        self.http.as_mut().unwrap().host = host;
        self
    }

    fn header(mut self, name: &str, value: &str) -> Self {
        self.http
            .as_mut()
            .unwrap()
            .headers
            .push((name.to_owned(), value.to_owned()));
        self
    }

    fn with<T>(&self, judge: impl FnOnce(&Attributes<'_>) -> T) -> T {
        let source = "10.0.1.7".parse().unwrap();
        let destination = "10.0.2.9".parse().ok();
        let peer = self.peer.as_ref();
        let attributes = Attributes::connection(peer, source, destination, self.port);
        match &self.http {
            None => judge(&attributes),
            Some(http) => judge(&attributes.with_request(Request {
                method: http.method,
                path: http.path,
                query: None,
                host: http.host,
                headers: &http.headers,
            })),
        }
    }
}

/// Decides and words the outcome: `allow`, `allow by NAME/RULE`, `deny by NAME/RULE`, `deny`.
#[track_caller]
fn check(policies: &[Policy], call: &Call, expected: &str) {
    let policies: Vec<_> = policies.iter().cloned().map(Arc::new).collect();
    let outcome = call.with(|attributes| {
        let verdict = decide(&policies, attributes);
        let (word, by) = match verdict.decision {
            super::Decision::Allow { by } => ("allow", by),
            super::Decision::Deny { by } => ("deny", by),
        };
        match by {
            None => word.to_owned(),
            Some(by) => format!("{word} by {}/{}", by.policy.origin.name, by.rule),
        }
    });
    assert_eq!(outcome, expected);
}

fn bare(name: &str, action: Action, rules: Vec<Rule>) -> Policy {
    Policy {
        origin: Arc::new(Origin::named("AuthorizationPolicy", "shop", name)),
        attachment: Attachment::Scope(Scope::Namespace),
        action,
        dry_run: false,
        rules,
    }
}

/// A rule that matches everything.
fn any() -> Vec<Rule> {
    vec![Rule::default()]
}

#[test]
fn allows_without_policies() {
    check(&[], &from(WEB), "allow");
}

#[test]
fn denies_before_allow() {
    let allow = bare("allow", Action::Allow, any());
    let deny = bare("deny", Action::Deny, any());
    check(&[allow, deny], &from(WEB), "deny by deny/0");
}

#[test]
fn denies_everything_when_allow_has_no_rules() {
    check(&[bare("empty", Action::Allow, vec![])], &from(WEB), "deny");
}

#[test]
fn ignores_deny_without_rules() {
    check(&[bare("empty", Action::Deny, vec![])], &from(WEB), "allow");
}

#[test]
fn reports_dry_run_and_does_not_enforce_it() {
    let trial = Policy {
        dry_run: true,
        ..bare("trial", Action::Deny, any())
    };
    check(std::slice::from_ref(&trial), &from(WEB), "allow");
    let policies = [Arc::new(trial)];
    from(WEB).with(|attributes| {
        let verdict = decide(&policies, attributes);
        assert!(!verdict.dry_run.unwrap().is_allow());
    });
}

#[test]
fn a_dry_run_allow_does_not_make_the_rest_denied() {
    let trial = Policy {
        dry_run: true,
        ..bare("trial", Action::Allow, vec![])
    };
    check(&[trial], &from(WEB), "allow");
}

#[test]
fn reports_audit_and_decides_without_it() {
    let policies = [Arc::new(bare("watch", Action::Audit, any()))];
    from(WEB).with(|attributes| {
        let verdict = decide(&policies, attributes);
        assert!(verdict.decision.is_allow());
        assert_eq!(verdict.audited.len(), 1);
    });
}

#[test]
fn names_the_unknown_authorizer_of_a_custom_policy() {
    let custom = Action::Custom {
        provider: "opa".into(),
    };
    let policies = [Arc::new(bare("ask", custom, any()))];
    from(WEB).with(|attributes| {
        let by = delegated(&policies, attributes).next().unwrap();
        let denied = by.unknown_authorizer().to_string();
        assert_eq!(
            denied,
            "explicitly denied by: shop/ask: no authorizer `opa`"
        );
        assert!(decide(&policies, attributes).decision.is_allow());
    });
}

#[test]
fn words_denials_as_ztunnel_does() {
    let reason = |policies: Vec<Policy>| {
        let policies: Vec<_> = policies.into_iter().map(Arc::new).collect();
        from(WEB).with(|attributes| {
            decide(&policies, attributes)
                .decision
                .check()
                .unwrap_err()
                .to_string()
        })
    };
    let deny = bare("no", Action::Deny, any());
    assert_eq!(reason(vec![deny]), "explicitly denied by: shop/no");
    let allow = bare("yes", Action::Allow, vec![]);
    assert_eq!(
        reason(vec![allow]),
        "allow policies exist, but none allowed"
    );
}

#[test]
fn a_stand_in_for_a_broken_policy_denies_all() {
    let origin = Arc::new(Origin::named("AuthorizationPolicy", "shop", "broken"));
    let stand_in = Policy::deny_all(origin, Attachment::Scope(Scope::Global));
    check(&[stand_in], &from(WEB).get("/"), "deny by broken/0");
}
