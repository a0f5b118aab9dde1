//! Which pods this ztunnel serves: ztunnel's side of ZDS.
//!
//! The agent says which pods there are and hands over their network namespaces; [`Pods`] starts
//! and stops serving them. What a pod is served with survives the agent: while it is away, pods
//! stay as they are.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use proto::zds::workload_request::Payload;
use proto::zds::{
    Ack, AddWorkload, Version, WorkloadRequest, WorkloadResponse, ZdsHello, workload_response,
};
use runtime::Readiness;
use tokio::time::Instant;

use crate::netns::Namespace;
use crate::pod::PodInfo;
use crate::zds::{Error, Socket};

#[cfg(test)]
mod tests;

const FIRST_BACKOFF: Duration = Duration::from_millis(10);
const MAX_BACKOFF: Duration = Duration::from_secs(15);
/// How often a pod that could not be started is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// Starts and stops serving pods.
pub(crate) trait Pods {
    /// What keeps a pod served; dropping it lets the pod drain.
    type Served;

    /// Begins to serve a pod: when this returns, its ports are listened on.
    ///
    /// # Errors
    /// When they cannot be.
    fn serve(&self, pod: &PodInfo, netns: &Arc<Namespace>) -> std::io::Result<Self::Served>;

    /// Tells operators how many pods are served and which wait.
    fn count(&self, served: usize, pending: Vec<PodInfo>);
}

/// The pods of a node, in conversation with its agent.
pub(crate) struct Manager<P: Pods> {
    socket: PathBuf,
    pods: P,
    served: BTreeMap<String, Served<P::Served>>,
    pending: BTreeMap<String, (PodInfo, Arc<Namespace>)>,
    readiness: Readiness,
}

struct Served<S> {
    inode: u64,
    _alive: S,
}

/// What has been heard since the agent was connected to.
pub(crate) struct Conversation {
    /// Pods that are to be kept; `None` once the snapshot is complete.
    snapshot: Option<BTreeSet<String>>,
}

impl Conversation {
    /// Nothing has been heard yet.
    pub(crate) fn new() -> Self {
        Self {
            snapshot: Some(BTreeSet::new()),
        }
    }
}

impl<P: Pods> Manager<P> {
    /// A manager that has not met its agent yet.
    pub(crate) fn new(socket: &Path, pods: P, readiness: Readiness) -> Self {
        Self {
            socket: socket.to_owned(),
            pods,
            served: BTreeMap::new(),
            pending: BTreeMap::new(),
            readiness,
        }
    }

    /// Talks to the agent for as long as the process lives, reconnecting when it goes away.
    pub(crate) async fn run(mut self) {
        let mut backoff = FIRST_BACKOFF;
        loop {
            match Socket::connect(&self.socket) {
                Ok(socket) => {
                    tracing::info!(socket = %self.socket.display(), "connected to the node agent");
                    backoff = FIRST_BACKOFF;
                    let error = self.converse(&socket).await;
                    tracing::warn!(error = %runtime::report(&error), "the node agent is gone");
                }
                Err(error) => {
                    let error = runtime::report(&error);
                    tracing::debug!(%error, "the node agent cannot be reached");
                }
            }
            self.readiness.pending();
            tokio::time::sleep(backoff).await;
            backoff = (backoff * 2).min(MAX_BACKOFF);
        }
    }

    async fn converse(&mut self, socket: &Socket) -> Error {
        let mut conversation = Conversation::new();
        self.pending.clear();
        let hello = ZdsHello {
            version: Version::V1.into(),
        };
        if let Err(error) = socket.send(&hello, None).await {
            return error;
        }
        let mut retry_at = Instant::now() + RETRY;
        loop {
            tokio::select! {
                request = socket.recv::<WorkloadRequest>() => {
                    let answered = match request {
                        Ok((request, descriptors)) => {
                            self.request(&mut conversation, request, descriptors)
                        }
                        Err(error) => return error,
                    };
                    let ack = match answered {
                        Ok(ack) => ack,
                        Err(error) => return error,
                    };
                    let payload = Some(workload_response::Payload::Ack(ack));
                    if let Err(error) = socket.send(&WorkloadResponse { payload }, None).await {
                        return error;
                    }
                }
                () = tokio::time::sleep_until(retry_at) => {
                    self.retry();
                    retry_at = Instant::now() + RETRY;
                }
            }
            self.tell(&conversation);
        }
    }

    /// Carries out one request. A failure that concerns one pod is an answer; a broken protocol
    /// ends the conversation.
    pub(crate) fn request(
        &mut self,
        conversation: &mut Conversation,
        request: WorkloadRequest,
        mut descriptors: Vec<std::os::fd::OwnedFd>,
    ) -> Result<Ack, Error> {
        let descriptor = descriptors.pop();
        if !descriptors.is_empty() {
            return Ok(refuse("more than one file descriptor"));
        }
        match (request.payload, descriptor) {
            (Some(Payload::Add(_)), None) => Ok(refuse("No control message")),
            (Some(Payload::Add(add)), Some(descriptor)) => {
                self.add(conversation, add, Arc::new(Namespace::new(descriptor)))
            }
            (_, Some(_)) => Ok(refuse("Unexpected control message")),
            (Some(Payload::Keep(keep)), None) => match &mut conversation.snapshot {
                Some(snapshot) => {
                    snapshot.insert(keep.uid);
                    Ok(Ack::default())
                }
                None => Err(Error::Protocol("a pod is kept after the snapshot")),
            },
            (Some(Payload::Del(del)), None) => {
                if let Some(snapshot) = &mut conversation.snapshot {
                    snapshot.remove(&del.uid);
                }
                self.pending.remove(&del.uid);
                self.served.remove(&del.uid);
                Ok(Ack::default())
            }
            (Some(Payload::SnapshotSent(_)), None) => {
                let Some(known) = conversation.snapshot.take() else {
                    return Err(Error::Protocol("a second snapshot"));
                };
                self.served.retain(|uid, _| known.contains(uid));
                Ok(Ack::default())
            }
            (None, None) => Err(Error::Protocol("an empty request")),
        }
    }

    fn add(
        &mut self,
        conversation: &mut Conversation,
        add: AddWorkload,
        netns: Arc<Namespace>,
    ) -> Result<Ack, Error> {
        let length = add.encoded_len();
        let info = add
            .workload_info
            .ok_or(Error::Protocol("a pod without workload_info"))?;
        tracing::debug!(uid = add.uid, length, "pod added");
        if let Some(snapshot) = &mut conversation.snapshot {
            snapshot.insert(add.uid.clone());
        }
        let pod = PodInfo {
            uid: add.uid,
            name: info.name,
            namespace: info.namespace,
            service_account: info.service_account,
        };
        Ok(match self.start(&pod, &netns) {
            Ok(()) => {
                self.pending.remove(&pod.uid);
                Ack::default()
            }
            Err(error) => {
                tracing::warn!(pod = pod.name, %error, "cannot serve the pod, will try again");
                self.pending.insert(pod.uid.clone(), (pod, netns));
                refuse(&format!("cannot listen in the pod: {error}"))
            }
        })
    }

    fn start(&mut self, pod: &PodInfo, netns: &Arc<Namespace>) -> std::io::Result<()> {
        let inode = netns.inode()?;
        if self
            .served
            .get(&pod.uid)
            .is_some_and(|served| served.inode == inode)
        {
            return Ok(());
        }
        let alive = self.pods.serve(pod, netns)?;
        // A pod with this uid in another namespace drains as its entry is replaced.
        self.served.insert(
            pod.uid.clone(),
            Served {
                inode,
                _alive: alive,
            },
        );
        Ok(())
    }

    fn retry(&mut self) {
        for (uid, (pod, netns)) in std::mem::take(&mut self.pending) {
            if let Err(error) = self.start(&pod, &netns) {
                tracing::warn!(pod = pod.name, %error, "still cannot serve the pod");
                self.pending.insert(uid, (pod, netns));
            }
        }
    }

    fn tell(&self, conversation: &Conversation) {
        let pending = self.pending.values().map(|(pod, _)| pod.clone());
        self.pods.count(self.served.len(), pending.collect());
        if conversation.snapshot.is_none() && self.pending.is_empty() {
            self.readiness.ready();
        } else {
            self.readiness.pending();
        }
    }
}

fn refuse(error: &str) -> Ack {
    Ack {
        error: error.to_owned(),
    }
}
