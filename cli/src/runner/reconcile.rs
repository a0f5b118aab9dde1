//! One round of the runner: look at what is wanted and what is there, and take the next steps.

use std::{rc::Rc, sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{PodSpec, PodTemplateSpec, Service},
    discovery::v1::EndpointSlice,
};
use serde_json::Value;
use tokio::time::Instant;

use super::{
    Ended, Entry, Error, Leaving, Runner, agent,
    desired::{self, Desired, Named, ObjectKey},
    endpoints::{self, Backend},
    logs,
    names::{pod_name, template_hash},
    pod::{self, ConditionTimes, PodIdentity, Role},
    pod_task::PodTask,
    rollout::{self, Member, Strategy},
    store::json,
    system::{self, SYSTEM_NAMESPACE, SystemPod},
};
use crate::world::{PodNames, resolver::Zone};

/// How long the mesh gets to hear that a pod leaves before its processes are told to end.
const LAME_DUCK: Duration = Duration::from_secs(1);
/// The label by which pods of a Gateway are known.
const GATEWAY_NAME: &str = "gateway.networking.k8s.io/gateway-name";
const HOSTNAME_LABEL: &str = "kubernetes.io/hostname";

/// What a new pod is made from.
struct Blueprint {
    namespace: String,
    name: String,
    node: String,
    deployment: Option<ObjectKey>,
    hash: String,
    template: Rc<PodTemplateSpec>,
    role: Role,
}

impl Runner {
    /// Takes the next steps towards what the manifests say.
    ///
    /// What cannot be done is tried again in the next round and is among the findings meanwhile.
    pub async fn reconcile(&mut self) {
        self.problems.clear();
        self.remove_ended().await;
        if self.inputs.take() || self.desired.services.is_empty() {
            self.desired = Desired::of(self.inputs.objects());
        }
        self.refused_ips = self.ips.update(self.desired.services.values());
        self.roll_deployments().await;
        self.tell_pods();
        if let Err(e) = self.publish().await {
            self.problems.push(runtime::report(&e));
        }
        self.stop_leavers();
        logs::bound(&self.state.logs());
    }

    async fn remove_ended(&mut self) {
        while let Ok(ended) = self.ended.1.try_recv() {
            self.buried.push(ended);
        }
        for Ended { uid, network } in std::mem::take(&mut self.buried) {
            self.pods.remove(&uid);
            if let Err(e) = self.world.remove_pod(network).await {
                self.problems.push(runtime::report(&e));
            }
        }
    }

    /// Makes and lets go pods until every Deployment has what it asks for.
    async fn roll_deployments(&mut self) {
        let gone: Vec<String> = self
            .pods
            .values()
            .filter(|pod| self.is_orphan(pod))
            .map(uid)
            .collect();
        for uid in &gone {
            self.let_go(uid);
        }

        let wanted: Vec<Named<Deployment>> = self.desired.runnable().cloned().collect();
        for deployment in &wanted {
            let Some(spec) = &deployment.object.spec else {
                continue;
            };
            let hash = template_hash(&spec.template);
            let members: Vec<Member> = self.members(&deployment.key, &hash);
            let replicas = usize::try_from(spec.replicas.unwrap_or(1)).unwrap_or(0);
            let recreate =
                spec.strategy.as_ref().and_then(|of| of.type_.as_deref()) == Some("Recreate");
            let strategy = if recreate {
                Strategy::Recreate
            } else {
                Strategy::RollingUpdate
            };
            // Pods made before a Recreate must be gone entirely, not just on their way.
            let waits = recreate && self.has_leavers(&deployment.key);
            let plan = rollout::plan(replicas, strategy, &members);
            for _ in 0..if waits { 0 } else { plan.create } {
                self.add_pod_of(&deployment.key, &hash, &spec.template)
                    .await;
            }
            for uid in &plan.delete {
                self.let_go(uid);
            }
        }
    }

    fn is_orphan(&self, pod: &Entry) -> bool {
        let deployment = pod.identity.deployment.as_ref();
        deployment.is_some_and(|key| !self.desired.deployments.contains_key(key))
    }

    fn has_leavers(&self, deployment: &ObjectKey) -> bool {
        let of_it = |pod: &&Entry| pod.identity.deployment.as_ref() == Some(deployment);
        self.pods
            .values()
            .filter(of_it)
            .any(|pod| pod.leaving.is_some())
    }

    pub(super) fn members(&self, deployment: &ObjectKey, hash: &str) -> Vec<Member> {
        let of_it = |pod: &&Entry| {
            pod.identity.deployment.as_ref() == Some(deployment) && pod.leaving.is_none()
        };
        let member = |pod: &Entry| Member {
            uid: pod.identity.uid.clone(),
            current: pod.identity.hash == hash,
            ready: pod.controls.state.borrow().is_ready(),
            age: pod.identity.age,
        };
        self.pods.values().filter(of_it).map(member).collect()
    }

    /// Begins to let a pod go: from here on it is no endpoint.
    fn let_go(&mut self, uid: &str) {
        let Some(pod) = self.pods.get_mut(uid) else {
            return;
        };
        if pod.leaving.is_none() {
            let served = pod.controls.state.borrow().is_ready();
            let wait = if served { LAME_DUCK } else { Duration::ZERO };
            pod.leaving = Some(Leaving {
                since: Timestamp::now(),
                stop_at: Instant::now() + wait,
            });
        }
    }

    fn stop_leavers(&mut self) {
        let now = Instant::now();
        for pod in self.pods.values_mut() {
            let due = pod
                .leaving
                .as_ref()
                .is_some_and(|leaving| leaving.stop_at <= now);
            if due && pod.controls.stop.borrow().is_none() {
                pod.controls.stop.send_replace(Some(pod.identity.grace()));
            }
            if due && let Some(leaving) = &mut pod.leaving {
                // Told already: no reason to wake up for it again.
                leaving.stop_at = now + Duration::from_hours(1);
            }
        }
    }

    async fn add_pod_of(&mut self, deployment: &ObjectKey, hash: &str, template: &PodTemplateSpec) {
        let Some(node) = self.place(deployment, template.spec.as_ref()) else {
            self.problems.push(format!(
                "Deployment {deployment}: no node matches its nodeSelector"
            ));
            return;
        };
        let labels = desired::labels(template.metadata.as_ref());
        let blueprint = Blueprint {
            namespace: deployment.namespace.clone(),
            name: pod_name(&deployment.name, hash),
            node,
            deployment: Some(deployment.clone()),
            hash: hash.to_owned(),
            template: Rc::new(template.clone()),
            role: if labels.contains_key(GATEWAY_NAME) {
                Role::Waypoint
            } else {
                Role::App
            },
        };
        if let Err(e) = self.add_pod(blueprint).await {
            self.problems
                .push(format!("Deployment {deployment}: {}", runtime::report(&e)));
        }
    }

    /// The node for the next pod of `deployment`.
    fn place(&self, deployment: &ObjectKey, spec: Option<&PodSpec>) -> Option<String> {
        let selector = spec.and_then(|spec| spec.node_selector.as_ref());
        let hostname = selector.and_then(|selector| selector.get(HOSTNAME_LABEL));
        let named = spec.and_then(|spec| spec.node_name.as_ref()).or(hostname);
        let nodes = self
            .world
            .nodes()
            .filter(|node| named.is_none_or(|name| *name == node.name));
        let load = nodes.map(|node| {
            let here = self
                .pods
                .values()
                .filter(|pod| pod.identity.node == node.name && pod.leaving.is_none());
            let own = here
                .clone()
                .filter(|pod| pod.identity.deployment.as_ref() == Some(deployment))
                .count();
            (node.name.as_str(), own, here.count())
        });
        rollout::place(load).map(str::to_owned)
    }

    pub(super) async fn add_system_pod(&mut self, pod: SystemPod) -> Result<(), Error> {
        let SystemPod {
            name,
            role,
            node,
            template,
        } = pod;
        let namespace = SYSTEM_NAMESPACE.to_owned();
        self.add_pod(Blueprint {
            namespace,
            name,
            node,
            deployment: None,
            hash: String::new(),
            template,
            role,
        })
        .await
    }

    async fn add_pod(&mut self, blueprint: Blueprint) -> Result<(), Error> {
        let Blueprint {
            namespace,
            name,
            node,
            deployment,
            hash,
            template,
            role,
        } = blueprint;
        let hostname = template
            .spec
            .as_ref()
            .and_then(|spec| spec.hostname.clone())
            .unwrap_or_else(|| name.clone());
        let names = PodNames {
            namespace: &namespace,
            pod: &name,
            hostname: &hostname,
        };
        // Boxed: what is said to the kernel takes much room, and most rounds make no pod.
        let network = Box::pin(self.world.add_pod(&node, &names)).await?;
        let node_ip = self
            .world
            .nodes()
            .find(|host| host.name == node)
            .map(|host| host.ip);
        self.next_age += 1;
        let identity = PodIdentity {
            uid: uuid::Uuid::new_v4().to_string(),
            node_ip: node_ip.unwrap_or(network.ip),
            ip: network.ip,
            created: pod::whole_seconds(Timestamp::now()),
            age: self.next_age,
            namespace,
            name,
            node,
            deployment,
            hash,
            template,
            role,
        };
        let netns = network.name().to_owned();
        let (task, controls, wanted) =
            PodTask::new(identity.clone(), network, self.kubelet.clone())
                .map_err(super::at(&self.state.logs()))?;
        let uid = identity.uid.clone();
        let entry = Entry {
            identity,
            controls,
            netns,
            times: ConditionTimes::default(),
            leaving: None,
        };
        // Told before it runs, so that it never runs uncaptured.
        self.tell(&entry);
        let (ended, done) = (self.ended.0.clone(), uid.clone());
        self.tasks.spawn("pod", async move {
            let network = task.run(wanted).await;
            // Nobody listens any more only when the runner itself is gone.
            let _ = ended.send(Ended { uid: done, network });
        });
        self.pods.insert(uid, entry);
        Ok(())
    }

    fn tell_pods(&self) {
        self.pods.values().for_each(|pod| self.tell(pod));
    }

    /// Tells a pod's task what of the objects concerns it.
    fn tell(&self, pod: &Entry) {
        let backend = pod.backend();
        let ports = endpoints::targeted_ports(self.desired.services.values(), &backend);
        set(&pod.controls.ports, ports);
        let namespace_labels = self
            .desired
            .namespaces
            .get(pod.identity.namespace.as_str())
            .cloned()
            .unwrap_or_default();
        let wanted = agent::redirection(
            &namespace_labels,
            &pod.identity.labels(),
            &pod.identity.annotations(),
        );
        set(&pod.controls.redirection, wanted);
    }

    /// Writes all objects, and tells the nodes what follows from them.
    async fn publish(&mut self) -> Result<(), Error> {
        let services: Vec<Named<Service>> = self.desired.services.values().cloned().collect();
        let backends: Vec<Backend> = self.pods.values().map(Entry::backend).collect();
        let own = endpoints::slices(&services, &backends);
        let dns = system::dns_slice(self.world.nodes());
        let objects = self.objects(own.iter().chain([&dns]));
        self.store
            .sync(&objects)
            .map_err(super::at(&self.state.objects()))?;

        let slices: Vec<EndpointSlice> = own
            .into_iter()
            .chain(self.desired.slices.iter().cloned())
            .collect();
        let zone = Zone {
            namespaces: self.desired.namespaces.keys().cloned().collect(),
            services: endpoints::names(&services, &self.ips, &slices),
        };
        self.zone.send_if_modified(|last| {
            let differs = **last != zone;
            if differs {
                *last = Arc::new(zone);
            }
            differs
        });
        let ports = endpoints::service_ports(&services, &self.ips, &slices);
        if self.published.ports.as_ref() != Some(&ports) {
            self.world.apply_services(&ports).await?;
            self.published.ports = Some(ports);
        }
        self.publish_report()
    }

    fn objects<'s>(&mut self, slices: impl Iterator<Item = &'s EndpointSlice>) -> Vec<Value> {
        let mut objects = system::objects();
        objects.extend(
            self.world
                .nodes()
                .map(|node| json(&system::node_object(node, self.began))),
        );
        objects.extend(self.ips.objects().map(|ip| json(&ip)));
        objects.extend(slices.map(json));
        for pod in self.pods.values_mut() {
            let since = pod
                .leaving
                .as_ref()
                .map(|leaving| pod::whole_seconds(leaving.since));
            let state = pod.controls.state.borrow().clone();
            objects.push(json(&pod::object(
                &pod.identity,
                &state,
                since,
                &mut pod.times,
            )));
        }
        objects
    }
}

impl Entry {
    /// The pod as it may stand behind a Service.
    pub(super) fn backend(&self) -> Backend {
        let state = self.controls.state.borrow();
        self.identity.backend(&state, self.leaving.is_some())
    }
}

fn uid(pod: &Entry) -> String {
    pod.identity.uid.clone()
}

/// Sends only what is new, so that nobody wakes up for nothing.
fn set<T: PartialEq>(channel: &tokio::sync::watch::Sender<T>, value: T) {
    channel.send_if_modified(|current| {
        let differs = *current != value;
        if differs {
            *current = value;
        }
        differs
    });
}
