//! The local runner: the parts of Kubernetes that start processes.
//!
//! From the manifests people wrote and those control generates it makes pods, as controller
//! manager, scheduler, kubelet and endpoint controller would, and writes what it did as manifests
//! into the mesh's state folder, which control reads. It holds no state that the next run needs:
//! what is written is for control, for other `cairn` commands and for [`world::teardown`].
//!
//! The decisions are pure functions, each in a module of its own ([`rollout`], [`endpoints`],
//! [`service_ips`], [`desired`]); [`Runner::reconcile`] runs them in order whenever something
//! changed. Each pod has one task ([`pod_task`]) that alone writes the pod's state.
//!
//! Must never hold: what objects mean to traffic, or a second opinion on control's findings.

mod agent;
mod certificates;
pub(crate) mod container;
mod desired;
mod endpoints;
mod inputs;
mod listening;
mod logs;
mod names;
mod outlook;
pub mod pod;
mod pod_task;
mod probe;
mod process;
mod reconcile;
pub mod report;
mod rollout;
mod service_ips;
mod store;
pub mod system;

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use control::finding::Finding;
use jiff::Timestamp;
use nix::fcntl::{Flock, FlockArg};
use runtime::LocalTasks;
use tokio::{
    sync::{Notify, mpsc, watch},
    time::{Instant, sleep_until, timeout},
};

use self::{
    agent::NodeAgent,
    desired::Desired,
    inputs::Inputs,
    pod::{ConditionTimes, PodIdentity, Role},
    pod_task::{Kubelet, PodControls},
    service_ips::ServiceIps,
    store::Store,
    system::SystemPod,
};
use crate::{
    state::{MeshName, RunnerRecord, StateDir},
    world::{
        self, PodNetwork, World,
        resolver::{Zone, serve::Resolver},
        services::ServicePort,
        teardown,
    },
};

/// How often the runner looks without having been told to.
const TICK: Duration = Duration::from_secs(2);
/// How long pods get to end when the whole mesh goes.
const DOWN_GRACE: Duration = Duration::from_secs(2);
/// How long we wait for all of them.
const DOWN_PATIENCE: Duration = Duration::from_secs(6);

/// Why a mesh could not be started or ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The mesh is up.
    #[error("mesh {mesh} is up already, run by process {pid}; cairn down ends it")]
    AlreadyUp {
        /// The mesh.
        mesh: MeshName,
        /// Who runs it.
        pid: u32,
    },
    /// Another command is starting or ending the mesh.
    #[error("mesh {mesh} is being started or ended by another process; wait for it")]
    Busy {
        /// The mesh.
        mesh: MeshName,
    },
    /// The state folder cannot be used.
    #[error("{path}", path = path.display())]
    State {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The network cannot be made or removed.
    #[error("network of the mesh")]
    World(#[from] world::Error),
    /// The manifests cannot be followed.
    #[error("manifests cannot be followed")]
    Manifests(#[source] io::Error),
    /// A node's agent cannot be started.
    #[error("agent of {node}")]
    Agent {
        /// The node.
        node: String,
        /// Why.
        source: ztunnel::agent::Error,
    },
}

/// What a mesh is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many nodes it has.
    pub nodes: u8,
    /// The manifests, absolute paths.
    pub manifests: Vec<PathBuf>,
    /// The PATH its processes get.
    pub path: OsString,
    /// What `cairn` in a manifest means.
    pub program: PathBuf,
    /// The mesh's own pods. Traffic of pods is captured on nodes that have a ztunnel.
    pub system: Vec<SystemPod>,
}

/// A mesh that is nobody else's to start or end, with an empty state folder.
#[derive(Debug)]
pub struct Claim {
    mesh: MeshName,
    state: StateDir,
    /// How many namespaces of a killed run had to be removed.
    pub swept: usize,
    lock: Flock<fs::File>,
}

impl Claim {
    /// Takes the mesh, removing what a killed run left of it.
    pub async fn take(mesh: &MeshName) -> Result<Self, Error> {
        let state = StateDir::new(mesh);
        let lock = lock(mesh, &state)?;
        let swept = teardown::teardown(mesh).await?;
        state
            .clear()
            .and_then(|()| state.create())
            .map_err(at(state.root()))?;
        Ok(Self {
            mesh: mesh.clone(),
            state,
            swept,
            lock,
        })
    }

    /// The mesh's state folder.
    pub fn state(&self) -> &StateDir {
        &self.state
    }
}

/// A pod and what the runner holds of it.
#[derive(Debug)]
struct Entry {
    identity: PodIdentity,
    controls: PodControls,
    netns: String,
    times: ConditionTimes,
    leaving: Option<Leaving>,
}

/// A pod on its way out.
#[derive(Debug)]
struct Leaving {
    since: Timestamp,
    /// When its processes are told, after the rest of the mesh has heard of it.
    stop_at: Instant,
}

/// What was last told to the nodes.
#[derive(Debug, Default)]
struct Published {
    ports: Option<Vec<ServicePort>>,
    findings: Option<Vec<Finding>>,
    pods: Vec<u8>,
}

/// A running mesh.
#[derive(Debug)]
pub struct Runner {
    state: StateDir,
    world: World,
    began: Timestamp,
    kubelet: Rc<Kubelet>,
    inputs: Inputs,
    desired: Desired,
    ips: ServiceIps,
    refused_ips: Vec<service_ips::Refused>,
    store: Store,
    pods: BTreeMap<String, Entry>,
    next_age: u64,
    published: Published,
    /// What went wrong in the last round, beyond people's objects.
    problems: Vec<String>,
    zone: watch::Sender<Arc<Zone>>,
    _resolver: Resolver,
    tasks: LocalTasks,
    ended: (mpsc::UnboundedSender<Ended>, mpsc::UnboundedReceiver<Ended>),
    buried: Vec<Ended>,
    /// Nobody else starts or ends this mesh while it is held.
    _lock: Flock<fs::File>,
}

/// A pod whose last process is gone.
#[derive(Debug)]
struct Ended {
    uid: String,
    network: PodNetwork,
}

impl Runner {
    /// Builds the network of a mesh and starts its own pods.
    ///
    /// Needs a [`tokio::task::LocalSet`]. [`Runner::reconcile`] does the rest.
    pub async fn start(claim: Claim, options: Options) -> Result<Self, Error> {
        let Claim {
            mesh, state, lock, ..
        } = claim;
        let record = RunnerRecord::of_this_process(options.nodes, options.manifests.clone());
        record
            .and_then(|record| record.write(&state))
            .map_err(at(&state.record()))?;
        let world = World::create(&mesh, options.nodes).await?;
        let (zone, zones) = watch::channel(Arc::default());
        let resolver = Resolver::new(zones);
        world.nodes().try_for_each(|node| resolver.listen(node))?;
        let changed = Arc::new(Notify::new());
        let mut roots = options.manifests.clone();
        roots.push(state.generated());
        let mut runner = Self {
            kubelet: Rc::new(Kubelet {
                agents: agents(&options.system, &state)?,
                state_dir: state.clone(),
                path: options.path,
                program: options.program,
                changed: changed.clone(),
            }),
            inputs: Inputs::start(&roots, system::objects(), changed).map_err(Error::Manifests)?,
            store: Store::new(state.objects()),
            began: Timestamp::now(),
            desired: Desired::default(),
            ips: ServiceIps::default(),
            refused_ips: Vec::new(),
            pods: BTreeMap::new(),
            next_age: 0,
            published: Published::default(),
            problems: Vec::new(),
            tasks: LocalTasks::default(),
            ended: mpsc::unbounded_channel(),
            buried: Vec::new(),
            _resolver: resolver,
            _lock: lock,
            state,
            world,
            zone,
        };
        for pod in options.system {
            runner.add_system_pod(pod).await?;
        }
        Ok(runner)
    }

    /// The mesh's state folder.
    pub fn state(&self) -> &StateDir {
        &self.state
    }

    /// Resolves when there is something to do. Cancel safe.
    pub async fn changed(&mut self) {
        let next = self
            .pods
            .values()
            .filter_map(|pod| Some(pod.leaving.as_ref()?.stop_at))
            .min();
        let tick = Instant::now() + TICK;
        tokio::select! {
            () = self.kubelet.changed.notified() => {}
            Some(ended) = self.ended.1.recv() => self.buried.push(ended),
            () = sleep_until(next.unwrap_or(tick).min(tick)) => {}
        }
    }

    /// Ends all pods and removes all there is of the mesh.
    pub async fn stop(mut self) -> Result<(), Error> {
        for pod in self.pods.values() {
            pod.controls
                .stop
                .send_replace(Some(DOWN_GRACE.min(pod.identity.grace())));
        }
        let all_ended = async {
            while !self.pods.is_empty() {
                match self.ended.1.recv().await {
                    Some(ended) => drop(self.pods.remove(&ended.uid)),
                    None => break,
                }
            }
        };
        // Who has not ended by then is ended with its network.
        let _ = timeout(DOWN_PATIENCE, all_ended).await;
        let (mesh, state) = (self.world.mesh().clone(), self.state.clone());
        // Its descriptors would keep the namespaces alive.
        drop(self);
        teardown::teardown(&mesh).await?;
        state.remove().map_err(at(state.root()))
    }
}

/// Removes what is left of a mesh without a runner.
///
/// Returns whether there was anything.
pub async fn sweep(mesh: &MeshName) -> Result<bool, Error> {
    let state = StateDir::new(mesh);
    if !state.exists() && !teardown::exists(mesh)? {
        return Ok(false);
    }
    let _lock = lock(mesh, &state)?;
    teardown::teardown(mesh).await?;
    state.remove().map_err(at(state.root()))?;
    Ok(true)
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::State { path, source }
}

/// Takes the mesh for this process, as long as the returned lock is held.
fn lock(mesh: &MeshName, state: &StateDir) -> Result<Flock<fs::File>, Error> {
    use std::os::unix::fs::MetadataExt;

    loop {
        state.create().map_err(at(state.root()))?;
        let folder = fs::File::open(state.root()).map_err(at(state.root()))?;
        let ours = folder.metadata().map_err(at(state.root()))?.ino();
        let Ok(lock) = Flock::lock(folder, FlockArg::LockExclusiveNonblock) else {
            let alive = RunnerRecord::read(state).filter(RunnerRecord::is_alive);
            return Err(alive.map_or_else(
                || Error::Busy { mesh: mesh.clone() },
                |record| Error::AlreadyUp {
                    mesh: mesh.clone(),
                    pid: record.pid,
                },
            ));
        };
        // Whoever held it before may have removed the folder: then it is not the one with the name.
        if fs::metadata(state.root()).is_ok_and(|named| named.ino() == ours) {
            return Ok(lock);
        }
    }
}

/// An agent for every node that has a ztunnel.
fn agents(system: &[SystemPod], state: &StateDir) -> Result<BTreeMap<String, NodeAgent>, Error> {
    let ztunnels = system.iter().filter(|pod| pod.role == Role::Ztunnel);
    let agent = |pod: &SystemPod| {
        let node = pod.node.clone();
        match NodeAgent::start(&state.zds_socket(&node)) {
            Ok(agent) => Ok((node, agent)),
            Err(source) => Err(Error::Agent { node, source }),
        }
    };
    ztunnels.map(agent).collect()
}
