//! The node agent, as a library: enrols pods into the mesh and lets them go again.
//!
//! `cairn up` runs it for each of its nodes; the CNI node agent of a Kubernetes node is the same
//! library. It knows network namespaces, redirection rules and ZDS, nothing of Kubernetes: who
//! is to be enrolled is decided by whoever calls it.
//!
//! The order of steps is what keeps a running pod reachable. Coming in: ztunnel listens in the
//! pod, then packets are redirected to it, then others are told to use HBONE. Going out: others
//! are told first, and only when they had time to hear it do redirection and listeners go. What
//! connections that were redirected live on goes last, when none is left or all had their time.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nlink::netlink::namespace::Netns;
use tokio::sync::{mpsc, oneshot, watch};

pub mod rules;
mod server;
#[cfg(test)]
mod tests;

use crate::served::LEAVE_DRAIN;
pub use crate::zds::Error as ZdsError;
pub use rules::Redirection;

/// How long the rest of the mesh gets to hear that a pod left, before it really does.
const LEAVE_LINGER: Duration = Duration::from_secs(2);
/// How long a pod that left keeps what its old connections live on: ztunnel ends them before.
const LEAVE_END: Duration = LEAVE_DRAIN.saturating_add(Duration::from_secs(10));
/// How often it is looked whether any is left.
const LEAVE_LOOK: Duration = Duration::from_secs(2);

/// A pod, as the agent is told of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pod {
    /// Kubernetes uid.
    pub uid: String,
    /// Name.
    pub name: String,
    /// Namespace.
    pub namespace: String,
    /// Service account.
    pub service_account: String,
    /// What of its traffic is captured.
    pub redirection: Redirection,
}

/// How far a pod's enrolment is. The value of its annotation `ambient.istio.io/redirection`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Enrolment {
    /// ztunnel could not be told yet; the pod's traffic is untouched.
    Pending,
    /// ztunnel serves the pod.
    Enabled,
}

/// Why a pod could not be enrolled or let go.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The socket for ztunnel could not be made.
    #[error("cannot listen for ztunnel")]
    Listen(#[source] ZdsError),
    /// The kernel refused the redirection.
    #[error("cannot change the redirection of pod {pod}")]
    Redirect {
        /// The pod, `namespace/name`.
        pod: String,
        /// What the kernel said.
        #[source]
        source: nlink::Error,
    },
    /// The agent has been stopped.
    #[error("the node agent has stopped")]
    Stopped,
}

/// A running agent. Clones drive the same one; it stops with the last clone.
#[derive(Clone, Debug)]
pub struct Agent {
    commands: mpsc::Sender<Command>,
    states: watch::Receiver<Arc<BTreeMap<String, Enrolment>>>,
}

#[derive(Debug)]
enum Command {
    Enrol {
        pod: Box<Pod>,
        netns: Netns,
        done: oneshot::Sender<Result<(), Error>>,
    },
    Leave {
        uid: String,
        done: oneshot::Sender<Result<(), Error>>,
    },
    Forget {
        uid: String,
        done: oneshot::Sender<Result<(), Error>>,
    },
}

impl Agent {
    /// Listens for ztunnel at `socket` and returns the agent with the future that is its life;
    /// the caller runs it as a task.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn start(socket: &Path) -> Result<(Self, impl Future<Output = ()> + Send + use<>), Error> {
        let listener = crate::zds::Listener::bind(socket).map_err(Error::Listen)?;
        let (commands, inbox) = mpsc::channel(64);
        let (publish, states) = watch::channel(Arc::default());
        let life = server::Server::new(listener, inbox, publish).run();
        Ok((Self { commands, states }, life))
    }

    /// Enrols a pod, running or about to start. Returns when the pod is captured, or when it is
    /// known that this must wait for a ztunnel; [`states`](Self::states) tells when it happened.
    ///
    /// # Errors
    /// When the kernel refuses the redirection; the pod is then not enrolled.
    pub async fn enrol(&self, pod: Pod, netns: Netns) -> Result<(), Error> {
        let pod = Box::new(pod);
        self.ask(|done| Command::Enrol { pod, netns, done }).await
    }

    /// Lets a running pod go: nothing new is redirected, no listener is left in it, and its
    /// connections drain. When they have, nothing of the redirection is left.
    ///
    /// # Errors
    /// When the kernel refuses to take the redirection back.
    pub async fn leave(&self, uid: &str) -> Result<(), Error> {
        self.ask(|done| Command::Leave {
            uid: uid.to_owned(),
            done,
        })
        .await
    }

    /// Forgets a pod whose network namespace is gone or about to go.
    ///
    /// # Errors
    /// When the agent has stopped.
    pub async fn forget(&self, uid: &str) -> Result<(), Error> {
        self.ask(|done| Command::Forget {
            uid: uid.to_owned(),
            done,
        })
        .await
    }

    /// How far each enrolled pod is, by uid. A pod that is leaving is already absent.
    pub fn states(&self) -> watch::Receiver<Arc<BTreeMap<String, Enrolment>>> {
        self.states.clone()
    }

    async fn ask(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<(), Error>>) -> Command,
    ) -> Result<(), Error> {
        let (done, answer) = oneshot::channel();
        self.commands
            .send(command(done))
            .await
            .map_err(|_| Error::Stopped)?;
        answer.await.map_err(|_| Error::Stopped)?
    }
}
