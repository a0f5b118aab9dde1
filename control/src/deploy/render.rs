//! Gateway → manifests.

use std::collections::BTreeMap;

use gateway_api::experimental::gateways::Gateway;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec};
use k8s_openapi::api::core::v1::{
    Capabilities, ConfigMapVolumeSource, Container, ContainerPort, EnvVar, EnvVarSource,
    HTTPGetAction, ObjectFieldSelector, PodSpec, PodTemplateSpec, Probe, ProjectedVolumeSource,
    ResourceRequirements, SecurityContext, Service, ServiceAccount, ServiceAccountTokenProjection,
    ServicePort, ServiceSpec, Volume, VolumeMount, VolumeProjection,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;

use super::files::file_stem;
use super::settings;
use super::{Template, gateway_label, service_account_name, service_name};
use crate::object::Object;
use crate::translate::names;

type Pairs = BTreeMap<String, String>;

const METRICS_PORT: i32 = 15020;
const STATUS_PORT: i32 = 15021;
/// Declared because dashboards look for it; metrics are at [`METRICS_PORT`].
const PROXY_METRICS_PORT: i32 = 15090;
const USER: i64 = 1337;

/// Version of the contract between a Gateway and what is deployed for it. A Gateway that names a
/// higher one belongs to another control plane.
const CONTROLLER_VERSION: u32 = 5;

/// Annotations of a Gateway that are for control alone.
const PRIVATE: &[&str] = &[
    "kubectl.kubernetes.io/last-applied-configuration",
    names::NAME_OVERRIDE,
    names::SERVICE_ACCOUNT,
    names::CONTROLLER_VERSION,
];

/// Returns what is deployed for a waypoint, ServiceAccount first; nothing if another control plane
/// looks after it.
pub(crate) fn render(object: &Object, gateway: &Gateway, template: &Template) -> Vec<Value> {
    let is_foreign = object
        .annotation(names::CONTROLLER_VERSION)
        .is_some_and(|version| {
            version
                .parse::<u32>()
                .map_or(true, |version| version > CONTROLLER_VERSION)
        });
    if is_foreign {
        return Vec::new();
    }
    let plan = Plan::new(object, gateway, template);
    let manifests = [
        serde_json::to_value(plan.service_account()),
        serde_json::to_value(plan.deployment()),
        serde_json::to_value(plan.service()),
    ];
    // Kubernetes' own types always have a JSON form.
    manifests.into_iter().flatten().collect()
}

/// Everything the manifests have in common.
struct Plan<'a> {
    object: &'a Object,
    gateway: &'a Gateway,
    template: &'a Template,
    name: String,
    account: String,
    labels: Pairs,
    annotations: Pairs,
    selector: Pairs,
}

fn pair(key: &str, value: impl Into<String>) -> (String, String) {
    (key.to_owned(), value.into())
}

impl<'a> Plan<'a> {
    fn new(object: &'a Object, gateway: &'a Gateway, template: &'a Template) -> Self {
        let infrastructure = gateway.spec.infrastructure.as_ref();
        let given = |pairs: Option<&Pairs>, own: &Pairs| match pairs {
            // Names that are Gateway API's to give cannot be asked for.
            Some(pairs) => {
                let mut pairs = pairs.clone();
                pairs.retain(|key, _| !key.starts_with("gateway.networking.k8s.io/"));
                pairs
            }
            None => own.clone(),
        };
        let labels = infrastructure.and_then(|given| given.labels.as_ref());
        let annotations = infrastructure.and_then(|given| given.annotations.as_ref());
        let mut labels = given(labels, &object.labels);
        let mut annotations = given(annotations, &object.annotations);
        annotations.retain(|key, _| !PRIVATE.contains(&key.as_str()));
        let selector = Pairs::from([pair(names::GATEWAY_NAME, gateway_label(&object.key.name))]);
        labels.extend(selector.clone());
        labels.extend([
            pair(names::GATEWAY_CLASS_NAME, &gateway.spec.gateway_class_name),
            pair(names::MANAGED, names::MANAGED_WAYPOINT),
        ]);
        Self {
            object,
            gateway,
            template,
            name: service_name(object),
            account: service_account_name(object),
            labels,
            annotations,
            selector,
        }
    }

    fn metadata(&self, name: &str) -> ObjectMeta {
        let owner = OwnerReference {
            api_version: "gateway.networking.k8s.io/v1".to_owned(),
            kind: "Gateway".to_owned(),
            name: self.object.key.name.to_string(),
            uid: self.object.life.uid.to_string(),
            ..OwnerReference::default()
        };
        ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(self.object.key.namespace.to_string()),
            labels: Some(self.labels.clone()),
            annotations: Some(self.annotations.clone()).filter(|pairs| !pairs.is_empty()),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        }
    }

    fn service_account(&self) -> ServiceAccount {
        ServiceAccount {
            metadata: self.metadata(&self.account),
            ..ServiceAccount::default()
        }
    }

    fn service(&self) -> Service {
        let mut metadata = self.metadata(&self.name);
        let annotations = metadata.annotations.get_or_insert_default();
        annotations
            .entry(names::TRAFFIC_DISTRIBUTION.to_owned())
            .or_insert_with(|| "PreferClose".to_owned());
        let kind = self
            .object
            .annotation(names::SERVICE_TYPE)
            .unwrap_or("ClusterIP");
        let mut requested = self.gateway.spec.addresses.iter().flatten();
        let address = requested.find_map(|address| address.value.clone());
        Service {
            metadata,
            spec: Some(ServiceSpec {
                type_: Some(kind.to_owned()),
                selector: Some(self.selector.clone()),
                ip_family_policy: Some("PreferDualStack".to_owned()),
                ports: Some(self.ports()),
                load_balancer_ip: address.filter(|_| kind == "LoadBalancer"),
                ..ServiceSpec::default()
            }),
            ..Service::default()
        }
    }

    /// The port of readiness first, then one per distinct port of the listeners.
    fn ports(&self) -> Vec<ServicePort> {
        let port = |name: &str, number: i32, protocol: &str| ServicePort {
            name: Some(name.to_owned()),
            port: number,
            target_port: Some(IntOrString::Int(number)),
            protocol: Some("TCP".to_owned()),
            app_protocol: Some(protocol.to_owned()),
            ..ServicePort::default()
        };
        let mut ports = vec![port("status-port", STATUS_PORT, "tcp")];
        for listener in &self.gateway.spec.listeners {
            if ports.iter().all(|found| found.port != listener.port) {
                let protocol = listener.protocol.to_ascii_lowercase();
                ports.push(port(&listener.name, listener.port, &protocol));
            }
        }
        ports
    }

    fn deployment(&self) -> Deployment {
        Deployment {
            metadata: self.metadata(&self.name),
            spec: Some(DeploymentSpec {
                selector: LabelSelector {
                    match_labels: Some(self.selector.clone()),
                    ..LabelSelector::default()
                },
                template: PodTemplateSpec {
                    metadata: Some(ObjectMeta {
                        labels: Some(self.pod_labels()),
                        annotations: Some(self.pod_annotations()),
                        ..ObjectMeta::default()
                    }),
                    spec: Some(self.pod()),
                },
                ..DeploymentSpec::default()
            }),
            ..Deployment::default()
        }
    }

    /// A waypoint is not captured itself unless its author asks for that, to put it behind another
    /// proxy.
    fn pod_labels(&self) -> Pairs {
        let mut labels = Pairs::from([pair(names::DATAPLANE_MODE, names::NONE)]);
        labels.extend(self.labels.clone());
        labels.extend([
            pair("sidecar.istio.io/inject", "false"),
            pair(names::CANONICAL_NAME, &self.name),
            pair(names::CANONICAL_REVISION, "latest"),
        ]);
        labels
    }

    fn pod_annotations(&self) -> Pairs {
        let mut annotations = self.annotations.clone();
        annotations.extend([
            pair(names::REV, "default"),
            pair("prometheus.io/path", "/stats/prometheus"),
            pair("prometheus.io/port", METRICS_PORT.to_string()),
            pair("prometheus.io/scrape", "true"),
        ]);
        annotations
    }

    fn pod(&self) -> PodSpec {
        let token = ServiceAccountTokenProjection {
            audience: Some("istio-ca".to_owned()),
            expiration_seconds: Some(43200),
            path: "istio-token".to_owned(),
        };
        let projection = VolumeProjection {
            service_account_token: Some(token),
            ..VolumeProjection::default()
        };
        PodSpec {
            service_account_name: Some(self.account.clone()),
            termination_grace_period_seconds: Some(30),
            containers: vec![self.container()],
            volumes: Some(vec![
                Volume {
                    name: "istio-token".to_owned(),
                    projected: Some(ProjectedVolumeSource {
                        sources: Some(vec![projection]),
                        ..ProjectedVolumeSource::default()
                    }),
                    ..Volume::default()
                },
                Volume {
                    name: "istiod-ca-cert".to_owned(),
                    config_map: Some(ConfigMapVolumeSource {
                        name: "istio-ca-root-cert".to_owned(),
                        ..ConfigMapVolumeSource::default()
                    }),
                    ..Volume::default()
                },
            ]),
            ..PodSpec::default()
        }
    }

    fn container(&self) -> Container {
        let Template {
            image,
            command,
            args,
            cpu,
            memory,
            ..
        } = self.template;
        let port = |name: &str, number| ContainerPort {
            name: Some(name.to_owned()),
            container_port: number,
            protocol: Some("TCP".to_owned()),
            ..ContainerPort::default()
        };
        let resources = |cpu: &str, memory: &str| {
            Some(BTreeMap::from([
                ("cpu".to_owned(), Quantity(cpu.to_owned())),
                ("memory".to_owned(), Quantity(memory.to_owned())),
            ]))
        };
        let mount = |name: &str, path: &str| VolumeMount {
            name: name.to_owned(),
            mount_path: path.to_owned(),
            ..VolumeMount::default()
        };
        let own_image = self.object.annotation("sidecar.istio.io/proxyImage");
        Container {
            name: "istio-proxy".to_owned(),
            image: Some(own_image.unwrap_or(image).to_owned()),
            command: Some(command.clone()).filter(|command| !command.is_empty()),
            args: Some(args.clone()).filter(|args| !args.is_empty()),
            env: Some(self.env()),
            ports: Some(vec![
                port("metrics", METRICS_PORT),
                port("status-port", STATUS_PORT),
                port("http-envoy-prom", PROXY_METRICS_PORT),
            ]),
            resources: Some(ResourceRequirements {
                requests: resources(&cpu.0, &memory.0),
                limits: resources(&cpu.1, &memory.1),
                ..ResourceRequirements::default()
            }),
            startup_probe: Some(probe(1, 30)),
            readiness_probe: Some(probe(15, 4)),
            security_context: Some(restricted()),
            volume_mounts: Some(vec![
                mount("istio-token", "/var/run/secrets/tokens"),
                mount("istiod-ca-cert", "/var/run/secrets/istio"),
            ]),
            ..Container::default()
        }
    }

    fn env(&self) -> Vec<EnvVar> {
        let field = |name: &str, path: &str| EnvVar {
            name: name.to_owned(),
            value_from: Some(EnvVarSource {
                field_ref: Some(ObjectFieldSelector {
                    field_path: path.to_owned(),
                    ..ObjectFieldSelector::default()
                }),
                ..EnvVarSource::default()
            }),
            ..EnvVar::default()
        };
        let value = |name: &str, value: &str| EnvVar {
            name: name.to_owned(),
            value: Some(value.to_owned()),
            ..EnvVar::default()
        };
        let mut env = vec![
            field("POD_NAME", "metadata.name"),
            field("POD_NAMESPACE", "metadata.namespace"),
            field("NODE_NAME", "spec.nodeName"),
            field("INSTANCE_IP", "status.podIP"),
            field("SERVICE_ACCOUNT", "spec.serviceAccountName"),
            value("TERMINATION_GRACE_PERIOD_SECONDS", "30"),
        ];
        env.extend(
            self.object
                .annotation("sidecar.istio.io/logLevel")
                .map(|level| value("RUST_LOG", level)),
        );
        env.extend(
            self.template
                .env
                .iter()
                .map(|(name, text)| value(name, text)),
        );
        if let Some(folder) = &self.template.state {
            // What one Gateway's waypoint has fetched with its secrets is no other's to read.
            let own = folder.join(file_stem(&self.object.key));
            env.push(value("STATE_DIR", &own.display().to_string()));
        }
        let own = settings::of(&self.annotations).env;
        env.extend(own.iter().map(|(name, text)| value(name, text)));
        env
    }
}

fn probe(period: i32, failures: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some("/healthz/ready".to_owned()),
            port: IntOrString::Int(STATUS_PORT),
            scheme: Some("HTTP".to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period),
        failure_threshold: Some(failures),
        ..Probe::default()
    }
}

fn restricted() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        capabilities: Some(Capabilities {
            drop: Some(vec!["ALL".to_owned()]),
            add: None,
        }),
        privileged: Some(false),
        read_only_root_filesystem: Some(true),
        run_as_group: Some(USER),
        run_as_non_root: Some(true),
        run_as_user: Some(USER),
        ..SecurityContext::default()
    }
}
