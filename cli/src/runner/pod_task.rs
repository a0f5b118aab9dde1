//! The life of one pod: captured if it is to be, given its token, its containers run, all ended.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use k8s_openapi::api::core::v1::{Container as ApiContainer, ServiceAccountTokenProjection};
use runtime::LocalTasks;
use tokio::{
    sync::{Notify, watch},
    time::sleep,
};

use super::{
    agent::{CaptureError, NodeAgent, Redirection},
    container::{Container, Reported, Surroundings},
    pod::{Capture, ContainerState, PodIdentity, PodState, Waiting},
    probe::Probe,
    process::{Invocation, given_env},
};
use crate::{
    local_api::{LocalApi, TokenRequest},
    state::{StateDir, write_atomically},
    world::{PodNetwork, services::Transport, teardown},
};

/// How long until something that failed is tried again.
const RETRY: Duration = Duration::from_millis(100);
/// Tokens are asked for again long before they expire.
const TOKEN_REFRESH: Duration = Duration::from_hours(1);
/// Who checks a token that does not say, and how long it is wanted for.
const TOKEN_AUDIENCE: &str = "istio-ca";
const TOKEN_SECONDS: i64 = 43_200;
/// The environment variables by which ztunnel and waypoints find what is mounted for them.
const AUTH_TOKEN: &str = "AUTH_TOKEN";
const ROOT_CERTS: [&str; 2] = ["CA_ROOT_CA", "XDS_ROOT_CA"];

/// What a pod's task is told while it runs.
#[derive(Debug)]
pub(super) struct PodControls {
    /// The ports that Services send to it.
    pub(super) ports: watch::Sender<BTreeSet<(Transport, u16)>>,
    /// Whether it is to be captured.
    pub(super) redirection: watch::Sender<Option<Redirection>>,
    /// Set once: it is to end, within so long.
    pub(super) stop: watch::Sender<Option<Duration>>,
    /// How it fares.
    pub(super) state: watch::Receiver<PodState>,
}

/// What all pods of a mesh share.
#[derive(Debug)]
pub(super) struct Kubelet {
    pub(super) state_dir: StateDir,
    /// The PATH processes are given.
    pub(super) path: OsString,
    /// What `cairn` in a manifest means.
    pub(super) program: PathBuf,
    /// The agents of the nodes that capture traffic.
    pub(super) agents: BTreeMap<String, NodeAgent>,
    /// Told whenever a pod's state changes.
    pub(super) changed: Arc<Notify>,
}

/// A pod about to run.
#[derive(Debug)]
pub(super) struct PodTask {
    pod: PodIdentity,
    network: PodNetwork,
    kubelet: Rc<Kubelet>,
    surroundings: Rc<Surroundings>,
}

impl PodTask {
    /// Prepares `pod` in its network. Nothing happens before [`PodTask::run`], which is given the
    /// receiver that comes with it.
    pub(super) fn new(
        pod: PodIdentity,
        network: PodNetwork,
        kubelet: Rc<Kubelet>,
    ) -> io::Result<(Self, PodControls, watch::Receiver<Option<Redirection>>)> {
        let containers = pod
            .spec()
            .containers
            .into_iter()
            .map(|container| ContainerState {
                name: container.name,
                image: container.image.unwrap_or_default(),
                waiting: Some(Waiting {
                    reason: "ContainerCreating",
                    message: String::new(),
                }),
                ..ContainerState::default()
            });
        let state = PodState {
            containers: containers.collect(),
            ..PodState::default()
        };
        let (reported, state) = Reported::new(state, kubelet.changed.clone());
        let (ports, wanted_ports) = watch::channel(BTreeSet::new());
        let (stop, stopped) = watch::channel(None);
        let (redirection, wanted) = watch::channel(None);
        let netns = network.netns().try_clone().map_err(io::Error::other)?;
        let surroundings = Surroundings {
            netns,
            state: reported,
            ports: wanted_ports,
            stop: stopped,
        };
        let task = Self {
            pod,
            network,
            kubelet,
            surroundings: Rc::new(surroundings),
        };
        Ok((
            task,
            PodControls {
                ports,
                redirection,
                stop,
                state,
            },
            wanted,
        ))
    }

    /// Runs the pod to its end and hands its network back; no process is left in it.
    pub(super) async fn run(self, mut wanted: watch::Receiver<Option<Redirection>>) -> PodNetwork {
        let token = self.token();
        let prepared = async {
            // Before the first process there is nobody to capture too late.
            self.follow(&mut wanted).await;
            if let Some(token) = &token {
                self.obtain(token).await;
            }
            self.report(|state| state.held_up = None);
        };
        let ready_to_run = tokio::select! {
            () = prepared => true,
            _ = self.surroundings.stopped() => false,
        };
        if ready_to_run {
            let captured = async {
                while wanted.changed().await.is_ok() {
                    self.follow(&mut wanted).await;
                }
                std::future::pending::<()>().await;
            };
            tokio::select! {
                () = self.run_containers(token.is_some()) => {}
                () = captured => {}
                () = self.refresh(token.as_ref()) => {}
            }
        }
        self.bury().await
    }

    fn report(&self, change: impl FnOnce(&mut PodState)) {
        self.surroundings.state.update(change);
    }

    /// Makes the capture what is wanted now, trying until it is.
    async fn follow(&self, wanted: &mut watch::Receiver<Option<Redirection>>) {
        loop {
            let now = *wanted.borrow_and_update();
            let outcome = tokio::select! {
                outcome = self.capture(now) => outcome,
                Ok(()) = wanted.changed() => continue,
            };
            match outcome {
                Ok(()) => return,
                Err(e) => self.report(|state| {
                    state.held_up = Some(format!("cannot be captured: {}", runtime::report(&e)));
                }),
            }
            sleep(RETRY).await;
        }
    }

    async fn capture(&self, wanted: Option<Redirection>) -> Result<(), CaptureError> {
        let Some(agent) = self.kubelet.agents.get(&self.pod.node) else {
            return Ok(());
        };
        let before = self.surroundings.state.borrow().capture;
        match wanted {
            None if before == Capture::Off => return Ok(()),
            None => {
                // The others are told first that this pod takes plain traffic.
                self.report(|state| state.capture = Capture::Off);
                agent.leave(&self.pod.uid).await?;
            }
            Some(redirection) => {
                self.report(|state| {
                    state.capture = Capture::Pending;
                    state.held_up = Some(format!("waits for ztunnel on {}", self.pod.node));
                });
                let pod = ztunnel::agent::Pod {
                    uid: self.pod.uid.clone(),
                    name: self.pod.name.clone(),
                    namespace: self.pod.namespace.clone(),
                    service_account: self.pod.service_account(),
                    redirection,
                };
                let netns = self.network.descriptor().map_err(nlink::Error::from)?;
                agent.enrol(pod, netns).await?;
                self.report(|state| {
                    state.capture = Capture::On;
                    state.held_up = None;
                });
            }
        }
        Ok(())
    }

    /// The token the pod asks to have mounted, if any.
    fn token(&self) -> Option<ServiceAccountTokenProjection> {
        let volumes = self.pod.spec().volumes.unwrap_or_default().into_iter();
        let mut sources = volumes
            .filter_map(|volume| volume.projected?.sources)
            .flatten();
        sources.find_map(|source| source.service_account_token)
    }

    fn token_file(&self) -> PathBuf {
        self.kubelet.state_dir.pod(&self.pod.uid).join("token")
    }

    /// Fetches the token and waits for the roots, until both are there.
    async fn obtain(&self, token: &ServiceAccountTokenProjection) {
        loop {
            match self.fetch(token).await {
                Ok(()) if self.kubelet.state_dir.root_cert().exists() => return,
                Ok(()) => self.report(|state| {
                    state.held_up = Some("waits for control's root certificate".to_owned());
                }),
                Err(e) => {
                    let why = format!("waits for a token: {}", runtime::report(&*e));
                    self.report(|state| state.held_up = Some(why));
                }
            }
            sleep(RETRY).await;
        }
    }

    async fn fetch(
        &self,
        token: &ServiceAccountTokenProjection,
    ) -> Result<(), Box<dyn std::error::Error>> {
        let request = TokenRequest {
            namespace: self.pod.namespace.clone(),
            service_account: self.pod.service_account(),
            pod: self.pod.name.clone(),
            pod_uid: self.pod.uid.clone(),
            node: self.pod.node.clone(),
            audience: token
                .audience
                .clone()
                .unwrap_or_else(|| TOKEN_AUDIENCE.to_owned()),
            expiration_seconds: u64::try_from(token.expiration_seconds.unwrap_or(TOKEN_SECONDS))?,
        };
        let text = LocalApi::new(&self.kubelet.state_dir.control_socket())
            .token(&request)
            .await?;
        let file = self.token_file();
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder)?;
        }
        write_atomically(&file, text.as_bytes())?;
        Ok(())
    }

    /// Replaces the token from time to time; without control the old one serves on.
    async fn refresh(&self, token: Option<&ServiceAccountTokenProjection>) {
        let Some(token) = token else {
            return std::future::pending().await;
        };
        loop {
            sleep(TOKEN_REFRESH).await;
            if let Err(e) = self.fetch(token).await {
                tracing::warn!(pod = %self.pod.key(), error = runtime::report(&*e), "cannot refresh the token");
            }
        }
    }

    /// Runs all containers until the pod is to end and they have ended.
    async fn run_containers(&self, has_token: bool) {
        let mut given = given_env(&self.kubelet.path, &self.pod);
        if has_token {
            let text = |path: &Path| path.display().to_string();
            given.insert(AUTH_TOKEN.to_owned(), text(&self.token_file()));
            given.extend(
                ROOT_CERTS.map(|name| (name.to_owned(), text(&self.kubelet.state_dir.root_cert()))),
            );
        }
        let tasks = LocalTasks::default();
        for (index, container) in self.pod.spec().containers.into_iter().enumerate() {
            if let Some(container) = self.container(index, &container, &given) {
                let surroundings = self.surroundings.clone();
                tasks.spawn("container", async move {
                    container.supervise(&surroundings).await;
                });
            }
        }
        tasks.finished().await;
    }

    fn container(
        &self,
        index: usize,
        api: &ApiContainer,
        given: &BTreeMap<String, String>,
    ) -> Option<Container> {
        let PodIdentity {
            namespace, name, ..
        } = &self.pod;
        let probe = |probe: &Option<k8s_openapi::api::core::v1::Probe>| {
            Probe::of(probe.as_ref()?, &self.pod)
        };
        Some(Container {
            index,
            invocation: Invocation::of(api, &self.pod, given, &self.kubelet.program)?,
            log: self.kubelet.state_dir.log(namespace, name, &api.name),
            startup: probe(&api.startup_probe),
            readiness: probe(&api.readiness_probe),
            liveness: probe(&api.liveness_probe),
        })
    }

    /// Ends what the containers left, and has the pod forgotten.
    async fn bury(self) -> PodNetwork {
        if let Err(e) = teardown::end_processes(self.network.name()).await {
            tracing::warn!(pod = %self.pod.key(), error = runtime::report(&e), "processes are left");
        }
        if let Some(agent) = self.kubelet.agents.get(&self.pod.node)
            && let Err(e) = agent.forget(&self.pod.uid).await
        {
            tracing::warn!(pod = %self.pod.key(), error = runtime::report(&e), "the agent cannot forget");
        }
        let _ = fs::remove_dir_all(self.kubelet.state_dir.pod(&self.pod.uid));
        self.network
    }
}
