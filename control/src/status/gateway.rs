//! Gateways and their classes.

use gateway_api::experimental::gatewayclasses::GatewayClass;
use gateway_api::experimental::gateways::{Gateway, GatewayListeners, GatewaySpec};

use super::{Condition, Judged, ListenerStatus, Note, Status, Truth, Words, wording};
use crate::deploy::settings;
use crate::object::Object;
use crate::translate::gateway::{Front, PARAMETERS, Role, Unreachable, parameters, role_of_class};
use crate::translate::names;
use crate::translate::waypoint::is_mesh;

/// Whether control takes an object as it is.
pub(super) const ACCEPTED: &str = "Accepted";
/// Whether a Gateway can be reached.
pub(super) const PROGRAMMED: &str = "Programmed";
/// Whether all references of an object resolve.
pub(super) const RESOLVED_REFS: &str = "ResolvedRefs";
/// Whether the API's version is one that control knows.
pub(super) const SUPPORTED_VERSION: &str = "SupportedVersion";

const CONFLICTED: &str = "Conflicted";

/// Judges a class; `None` if it is another controller's.
pub(crate) fn gateway_class(object: &Object, class: &GatewayClass) -> Option<Judged> {
    let condition = |kind, state, message: String| Condition::new(object, kind, state, message);
    let mut notes = Vec::new();
    let accepted = match role_of_class(class) {
        Role::Foreign => return None,
        Role::Waypoint => condition(
            ACCEPTED,
            (Truth::True, "Accepted"),
            wording::gateway::CLASS_ACCEPTED.to_owned(),
        ),
        Role::Remote => condition(
            ACCEPTED,
            (Truth::True, "Accepted"),
            wording::gateway::CLASS_REMOTE.to_owned(),
        ),
        Role::Ingress => {
            let words = wording::gateway::ingress_not_served();
            let message = words.to_string();
            // The class itself is always there; only one that somebody wrote is worth a word.
            if *object.key.name != *names::INGRESS_CLASS {
                notes.push(Note::new("spec.controllerName", words));
            }
            condition(ACCEPTED, (Truth::False, "Unsupported"), message)
        }
    };
    let version = condition(
        SUPPORTED_VERSION,
        (Truth::True, SUPPORTED_VERSION),
        wording::gateway::VERSION.to_owned(),
    );
    let status = Status {
        conditions: vec![accepted, version],
        // Features of a mesh are those of XMesh; a waypoint's class has none of a gateway's.
        supported_features: Some(Vec::new()),
        ..Status::default()
    };
    Some((status, notes))
}

/// Judges a Gateway; `None` if it is another controller's.
pub(crate) fn gateway(
    object: &Object,
    gateway: &Gateway,
    role: Role,
    front: &Front,
) -> Option<Judged> {
    let spec = &gateway.spec;
    match role {
        Role::Foreign => None,
        Role::Ingress => Some(not_served(object)),
        Role::Remote => Some(remote(object, front)),
        Role::Waypoint => {
            let (status, mut notes) = waypoint(object, &spec.listeners, parameters(spec), front);
            notes.extend(settings(object, spec));
            Some((status, notes))
        }
    }
}

/// The warning about a Gateway whose class does not exist. It may yet come, and be anybody's, so
/// there is no condition.
pub(crate) fn without_class(gateway: &GatewaySpec) -> Note {
    let words = wording::gateway::class_missing(&gateway.gateway_class_name);
    Note::new("spec.gatewayClassName", words)
}

fn not_served(object: &Object) -> Judged {
    let words = wording::gateway::ingress_not_served();
    let refused =
        |kind| Condition::new(object, kind, (Truth::False, "NotServed"), words.to_string());
    let conditions = vec![refused(ACCEPTED), refused(PROGRAMMED)];
    let status = Status {
        conditions,
        ..Status::default()
    };
    (status, vec![Note::new("spec.gatewayClassName", words)])
}

fn remote(object: &Object, front: &Front) -> Judged {
    let condition =
        |kind, reason, message: &str| Condition::new(object, kind, (Truth::True, reason), message);
    let conditions = vec![
        condition(ACCEPTED, "Accepted", wording::gateway::GATEWAY_ACCEPTED),
        condition(PROGRAMMED, "Programmed", wording::gateway::GATEWAY_REMOTE),
    ];
    (
        Status {
            conditions,
            addresses: addresses(front),
            ..Status::default()
        },
        Vec::new(),
    )
}

fn waypoint(
    object: &Object,
    given: &[GatewayListeners],
    parameters: Option<(&str, &str)>,
    front: &Front,
) -> Judged {
    let (listeners, mut notes) = listeners(object, given);
    if parameters == Some(PARAMETERS) {
        let field = "spec.infrastructure.parametersRef";
        notes.push(Note::new(field, wording::gateway::parameters_not_applied()));
    }
    let accepted = if let Some((reason, field, words)) = refusal(parameters, front) {
        let message = words.to_string();
        notes.push(Note::new(field, words));
        Condition::new(object, ACCEPTED, (Truth::False, reason), message)
    } else {
        let (state, message) = accepted(given);
        Condition::new(object, ACCEPTED, state, message)
    };
    let programmed = match &front.unreachable {
        None => {
            let message = wording::gateway::programmed(&front.assigned);
            Condition::new(object, PROGRAMMED, (Truth::True, "Programmed"), message)
        }
        Some(missing) => {
            let message = wording::gateway::unreachable(missing).to_string();
            Condition::new(
                object,
                PROGRAMMED,
                (Truth::False, unreachable(missing)),
                message,
            )
        }
    };
    let state = (Truth::True, RESOLVED_REFS);
    let resolved = Condition::new(
        object,
        RESOLVED_REFS,
        state,
        wording::route::REFERENCES_RESOLVED,
    );
    let is_refused = matches!(front.unreachable, Some(Unreachable::Unsupported(_)));
    let status = Status {
        conditions: vec![accepted, programmed, resolved],
        addresses: addresses(front),
        listeners: (!is_refused).then_some(listeners),
        ..Status::default()
    };
    (status, notes)
}

/// What is to be said of the settings that a Gateway gives its waypoint.
fn settings(object: &Object, spec: &GatewaySpec) -> Vec<Note> {
    let infrastructure = spec.infrastructure.as_ref();
    // As `deploy` chooses.
    let (field, annotations) = match infrastructure.and_then(|given| given.annotations.as_ref()) {
        Some(annotations) => ("spec.infrastructure.annotations", annotations),
        None => ("metadata.annotations", &object.annotations),
    };
    let field = format!("{field}[{}]", names::PROXY_CONFIG);
    let faults = settings::of(annotations).faults.into_iter();
    faults
        .map(|fault| Note::new(field.clone(), wording::gateway::setting(&fault)))
        .collect()
}

/// Judges listeners: the first on HBONE's port is the waypoint's, any other is refused.
fn listeners(object: &Object, given: &[GatewayListeners]) -> (Vec<ListenerStatus>, Vec<Note>) {
    let mut notes = Vec::new();
    let mut has_mesh = false;
    let mut listeners = Vec::new();
    for (index, found) in given.iter().enumerate() {
        let is_good = is_mesh(found) && !has_mesh;
        has_mesh |= is_good;
        if !is_good {
            notes.push(Note::new(
                format!("spec.listeners[{index}]"),
                wording::gateway::listener(found),
            ));
        }
        listeners.push(listener(object, found, is_good));
    }
    (listeners, notes)
}

/// Returns why a Gateway is refused as a whole: reason, field and words.
fn refusal(
    parameters: Option<(&str, &str)>,
    front: &Front,
) -> Option<(&'static str, &'static str, Words)> {
    match (parameters, &front.unreachable) {
        (Some((group, kind)), _) if (group, kind) != PARAMETERS => Some((
            "InvalidParameters",
            "spec.infrastructure.parametersRef",
            wording::gateway::parameters(group, kind),
        )),
        (_, Some(Unreachable::Unsupported(addresses))) => Some((
            "UnsupportedAddress",
            "spec.addresses",
            wording::gateway::addresses(addresses),
        )),
        _ => None,
    }
}

/// A refused listener of a known protocol does not spoil the Gateway, which is deployed with all of
/// its ports and reached at HBONE's (scenarios 14 and 16).
fn accepted(listeners: &[GatewayListeners]) -> ((Truth, &'static str), &'static str) {
    let is_known = |listener: &&GatewayListeners| {
        matches!(
            listener.protocol.as_str(),
            names::HBONE | "HTTP" | "HTTPS" | "TLS" | "TCP" | "UDP"
        )
    };
    match listeners.iter().filter(is_known).count() {
        n if n == listeners.len() => (
            (Truth::True, "Accepted"),
            wording::gateway::GATEWAY_ACCEPTED,
        ),
        0 => (
            (Truth::False, "ListenersNotValid"),
            wording::gateway::LISTENERS_NONE,
        ),
        _ => (
            (Truth::True, "ListenersNotValid"),
            wording::gateway::LISTENERS_SOME,
        ),
    }
}

fn listener(object: &Object, found: &GatewayListeners, is_good: bool) -> ListenerStatus {
    let condition = |kind, state, message: String| Condition::new(object, kind, state, message);
    let fine = |kind, state| condition(kind, state, wording::gateway::LISTENER_FINE.to_owned());
    let refused = || wording::gateway::listener(found).to_string();
    let (accepted, programmed) = if is_good {
        (
            fine(ACCEPTED, (Truth::True, "Accepted")),
            fine(PROGRAMMED, (Truth::True, PROGRAMMED)),
        )
    } else {
        (
            condition(ACCEPTED, (Truth::False, "UnsupportedProtocol"), refused()),
            condition(PROGRAMMED, (Truth::False, "Invalid"), refused()),
        )
    };
    ListenerStatus {
        name: found.name.clone(),
        supported_kinds: supported_kinds(&found.protocol),
        attached_routes: 0,
        conditions: vec![
            accepted,
            fine(CONFLICTED, (Truth::False, "NoConflicts")),
            programmed,
            fine(RESOLVED_REFS, (Truth::True, RESOLVED_REFS)),
        ],
    }
}

fn supported_kinds(protocol: &str) -> &'static [&'static str] {
    match protocol {
        "HTTP" | "HTTPS" => &["HTTPRoute", "GRPCRoute"],
        "TLS" => &["TLSRoute"],
        "TCP" => &["TCPRoute"],
        "UDP" => &["UDPRoute"],
        _ => &[],
    }
}

fn unreachable(missing: &Unreachable) -> &'static str {
    match missing {
        Unreachable::Unsupported(_) => "UnsupportedAddress",
        Unreachable::NoService(_) => "AddressNotUsable",
        Unreachable::NoEndpoints(_) | Unreachable::Pending(_) => "AddressNotAssigned",
    }
}

fn addresses(front: &Front) -> Option<Vec<(&'static str, String)>> {
    let parts = front.addresses.iter().map(|address| {
        let (kind, value) = address.parts();
        (kind, value.to_owned())
    });
    let addresses: Vec<_> = parts.collect();
    (!addresses.is_empty()).then_some(addresses)
}
