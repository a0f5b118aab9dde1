//! The agent's one task: it owns the pods and the conversations with ztunnels.
//!
//! Each conversation is a future of its own with a queue, so that a slow ztunnel delays nobody;
//! two are normal while a ztunnel is being replaced. A pod is told to the newest one alone, a
//! pod that goes to all.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use nlink::netlink::namespace::Netns;
use proto::zds::{
    Ack, AddWorkload, DelWorkload, SnapshotSent, WorkloadInfo, WorkloadRequest, WorkloadResponse,
    ZdsHello, workload_request, workload_response,
};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};

use super::{Command, Enrolment, Error, LEAVE_END, LEAVE_LINGER, LEAVE_LOOK, Pod, rules};
use crate::zds::{Error as ZdsError, Listener, Socket};

/// How long a ztunnel may take to answer, as Istio's agent allows.
const ACK_DEADLINE: Duration = Duration::from_secs(5);
/// How long until a pod that a ztunnel refused is offered again.
const RETRY: Duration = Duration::from_secs(1);

pub(super) struct Server {
    listener: Listener,
    inbox: mpsc::Receiver<Command>,
    publish: watch::Sender<Arc<BTreeMap<String, Enrolment>>>,
    pods: BTreeMap<String, Enrolled>,
    leaving: BTreeMap<String, Leaving>,
    ztunnels: VecDeque<Ztunnel>,
    next_ztunnel: u64,
    work: FuturesUnordered<futures_util::future::BoxFuture<'static, Event>>,
}

struct Enrolled {
    pod: Pod,
    netns: Arc<Netns>,
    state: Enrolment,
    rules: Rules,
}

/// How far a pod's rules are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Rules {
    Out,
    GoingIn,
    In,
}

/// A pod on its way out. Dropped, it goes no further: the pod comes back, or is no more.
struct Leaving {
    netns: Arc<Netns>,
    _goes_on: oneshot::Sender<Infallible>,
}

/// The agent's end of one conversation; the newest is last.
struct Ztunnel {
    id: u64,
    queue: mpsc::UnboundedSender<Message>,
}

/// Something to tell a ztunnel.
enum Message {
    Add {
        pod: Pod,
        netns: Arc<Netns>,
        heard: oneshot::Sender<bool>,
    },
    Del {
        uid: String,
        heard: oneshot::Sender<bool>,
    },
}

/// What a piece of work ended in.
enum Event {
    /// A conversation is over.
    Gone { id: u64, why: ZdsError },
    /// A ztunnel has answered for a pod.
    Added {
        uid: String,
        accepted: bool,
        done: Option<oneshot::Sender<Result<(), Error>>>,
    },
    /// It is time to tell a ztunnel of a pod again.
    Retry { uid: String },
    /// The rules of a pod are in, or not.
    Redirected {
        uid: String,
        netns: Arc<Netns>,
        result: Result<(), Error>,
        done: Option<oneshot::Sender<Result<(), Error>>>,
    },
    /// Nothing is left in a pod that left, or it is not leaving any more.
    Left { uid: String, netns: Arc<Netns> },
}

impl Server {
    pub(super) fn new(
        listener: Listener,
        inbox: mpsc::Receiver<Command>,
        publish: watch::Sender<Arc<BTreeMap<String, Enrolment>>>,
    ) -> Self {
        Self {
            listener,
            inbox,
            publish,
            pods: BTreeMap::new(),
            leaving: BTreeMap::new(),
            ztunnels: VecDeque::new(),
            next_ztunnel: 0,
            work: FuturesUnordered::new(),
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            tokio::select! {
                command = self.inbox.recv() => match command {
                    Some(command) => self.command(command),
                    None => return,
                },
                socket = self.listener.accept() => match socket {
                    Ok(socket) => self.welcome(socket),
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a ztunnel");
                        tokio::time::sleep(Duration::from_millis(200)).await;
                    }
                },
                Some(event) = self.work.next() => self.event(event),
            }
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Enrol { pod, netns, done } => {
                let uid = pod.uid.clone();
                self.leaving.remove(&uid);
                let netns = Arc::new(netns);
                let state = Enrolment::Pending;
                self.pods.insert(
                    uid.clone(),
                    Enrolled {
                        pod: *pod,
                        netns,
                        state,
                        rules: Rules::Out,
                    },
                );
                self.publish();
                self.tell_newest(&uid, Some(done));
            }
            Command::Leave { uid, done } => self.leave(uid, done),
            Command::Forget { uid, done } => {
                self.pods.remove(&uid);
                self.leaving.remove(&uid);
                self.publish();
                for ztunnel in &self.ztunnels {
                    let (heard, _) = oneshot::channel();
                    let _ = ztunnel.queue.send(Message::Del {
                        uid: uid.clone(),
                        heard,
                    });
                }
                let _ = done.send(Ok(()));
            }
        }
    }

    fn leave(&mut self, uid: String, done: oneshot::Sender<Result<(), Error>>) {
        let Some(enrolled) = self.pods.remove(&uid) else {
            let _ = done.send(Ok(()));
            return;
        };
        self.publish();
        let queues = self.ztunnels.iter().map(|ztunnel| ztunnel.queue.clone());
        let queues = queues.collect();
        let (goes_on, comes_back) = oneshot::channel();
        let netns = enrolled.netns.clone();
        let leaving = Leaving {
            netns: netns.clone(),
            _goes_on: goes_on,
        };
        self.leaving.insert(uid.clone(), leaving);
        self.work.push(Box::pin(async move {
            tokio::select! {
                biased;
                _ = comes_back => {}
                () = leave(&uid, enrolled, queues, done) => {}
            }
            Event::Left { uid, netns }
        }));
    }

    /// Begins a conversation: everything known now, then whatever comes.
    fn welcome(&mut self, socket: Socket) {
        let id = self.next_ztunnel;
        self.next_ztunnel += 1;
        let (queue, messages) = mpsc::unbounded_channel();
        let mut snapshot = vec![];
        for (uid, enrolled) in &self.pods {
            let (heard, answer) = oneshot::channel();
            let (pod, netns) = (enrolled.pod.clone(), enrolled.netns.clone());
            snapshot.push(Message::Add { pod, netns, heard });
            self.work.push(Box::pin(added(uid.clone(), answer, None)));
        }
        tracing::info!(ztunnel = id, pods = snapshot.len(), "ztunnel connected");
        self.ztunnels.push_back(Ztunnel { id, queue });
        self.work.push(Box::pin(async move {
            let why = converse(socket, snapshot, messages).await;
            Event::Gone { id, why }
        }));
    }

    /// Tells the newest ztunnel of a pod; without one the pod waits for the next to connect.
    fn tell_newest(&self, uid: &str, done: Option<oneshot::Sender<Result<(), Error>>>) {
        let (Some(enrolled), Some(newest)) = (self.pods.get(uid), self.ztunnels.back()) else {
            done.map(|done| done.send(Ok(())));
            return;
        };
        let (heard, answer) = oneshot::channel();
        let (pod, netns) = (enrolled.pod.clone(), enrolled.netns.clone());
        let _ = newest.queue.send(Message::Add { pod, netns, heard });
        self.work
            .push(Box::pin(added(uid.to_owned(), answer, done)));
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Gone { id, why } => {
                tracing::info!(ztunnel = id, reason = %why, "ztunnel disconnected");
                self.ztunnels.retain(|ztunnel| ztunnel.id != id);
            }
            Event::Added {
                uid,
                accepted: false,
                done,
            } => {
                done.map(|done| done.send(Ok(())));
                if self.pods.contains_key(&uid) && !self.ztunnels.is_empty() {
                    self.work.push(Box::pin(async move {
                        tokio::time::sleep(RETRY).await;
                        Event::Retry { uid }
                    }));
                }
            }
            Event::Retry { uid } => {
                let pending = |pod: &Enrolled| pod.state == Enrolment::Pending;
                if self.pods.get(&uid).is_some_and(pending) {
                    self.tell_newest(&uid, None);
                }
            }
            Event::Added {
                uid,
                accepted: true,
                done,
            } => self.redirect(uid, done),
            Event::Redirected {
                uid,
                netns,
                result,
                done,
            } => {
                self.redirected(&uid, &netns, &result);
                done.map(|done| done.send(result));
            }
            Event::Left { uid, netns } => {
                let left = |leaving: &Leaving| Arc::ptr_eq(&leaving.netns, &netns);
                if self.leaving.get(&uid).is_some_and(left) {
                    self.leaving.remove(&uid);
                }
            }
        }
    }

    fn redirected(&mut self, uid: &str, netns: &Arc<Netns>, result: &Result<(), Error>) {
        // A pod that left and came back meanwhile has rules on their way for itself.
        let enrolled = self.pods.get_mut(uid);
        let enrolled = enrolled.filter(|enrolled| Arc::ptr_eq(&enrolled.netns, netns));
        match (result, enrolled) {
            (Ok(()), Some(enrolled)) => {
                enrolled.rules = Rules::In;
                enrolled.state = Enrolment::Enabled;
                self.publish();
            }
            (Ok(()), None) => {}
            (Err(error), _) => {
                tracing::error!(%uid, error = %error, "the pod is not in the mesh");
            }
        }
    }

    /// ztunnel listens in the pod: now packets may be sent its way.
    fn redirect(&mut self, uid: String, done: Option<oneshot::Sender<Result<(), Error>>>) {
        let Some(enrolled) = self.pods.get_mut(&uid) else {
            done.map(|done| done.send(Ok(())));
            return;
        };
        let netns = enrolled.netns.clone();
        if enrolled.rules == Rules::In {
            self.event(Event::Redirected {
                uid,
                netns,
                result: Ok(()),
                done,
            });
            return;
        }
        enrolled.rules = Rules::GoingIn;
        let redirection = enrolled.pod.redirection;
        let pod = name(&enrolled.pod);
        self.work.push(Box::pin(async move {
            let result = rules::install(&netns, redirection).await;
            let result = result.map_err(|source| Error::Redirect { pod, source });
            Event::Redirected {
                uid,
                netns,
                result,
                done,
            }
        }));
    }

    fn publish(&self) {
        let states = self
            .pods
            .iter()
            .map(|(uid, enrolled)| (uid.clone(), enrolled.state));
        self.publish.send_replace(Arc::new(states.collect()));
    }
}

fn name(pod: &Pod) -> String {
    format!("{}/{}", pod.namespace, pod.name)
}

async fn added(
    uid: String,
    answer: oneshot::Receiver<bool>,
    done: Option<oneshot::Sender<Result<(), Error>>>,
) -> Event {
    let accepted = answer.await.unwrap_or(false);
    Event::Added {
        uid,
        accepted,
        done,
    }
}

/// Takes a pod out of the mesh. Dropped anywhere, it leaves what another enrolment builds upon.
async fn leave(
    uid: &str,
    enrolled: Enrolled,
    ztunnels: Vec<mpsc::UnboundedSender<Message>>,
    done: oneshot::Sender<Result<(), Error>>,
) {
    let Enrolled {
        pod, netns, rules, ..
    } = enrolled;
    let redirected = rules != Rules::Out;
    let result = if redirected {
        tokio::time::sleep(LEAVE_LINGER).await;
        rules::release(&netns, pod.redirection).await
    } else {
        Ok(())
    };
    for ztunnel in ztunnels {
        let (heard, answer) = oneshot::channel();
        let uid = uid.to_owned();
        if ztunnel.send(Message::Del { uid, heard }).is_ok() {
            let _ = answer.await;
        }
    }
    let pod = name(&pod);
    let result = result.map_err(|source| Error::Redirect {
        pod: pod.clone(),
        source,
    });
    let _ = done.send(result);
    if !redirected {
        return;
    }
    let end = Instant::now() + LEAVE_END;
    loop {
        // First for what is on its way at this moment.
        tokio::time::sleep(LEAVE_LOOK).await;
        // Who cannot tell must wait.
        if Instant::now() >= end || !rules::is_in_use(&netns).await.unwrap_or(true) {
            break;
        }
    }
    if let Err(error) = rules::remove(&netns).await {
        let error = runtime::report(&error);
        tracing::warn!(%pod, %error, "what its redirection left in the pod cannot be removed");
    }
}

/// One conversation, strictly question and answer, until it breaks.
async fn converse(
    socket: Socket,
    snapshot: Vec<Message>,
    mut messages: mpsc::UnboundedReceiver<Message>,
) -> ZdsError {
    let conversation = async {
        let hello = timeout(ACK_DEADLINE, socket.recv::<ZdsHello>()).await;
        hello.map_err(|_| ZdsError::Protocol("no hello in time"))??;
        for message in snapshot {
            tell(&socket, message).await?;
        }
        let sent = workload_request::Payload::SnapshotSent(SnapshotSent {});
        ask(&socket, sent, None).await?;
        loop {
            tokio::select! {
                message = messages.recv() => match message {
                    Some(message) => tell(&socket, message).await?,
                    None => return Err(ZdsError::Closed),
                },
                // Between questions a ztunnel has nothing to say; this sees it hang up.
                unasked = socket.recv::<WorkloadResponse>() => {
                    unasked?;
                    return Err(ZdsError::Protocol("an answer nobody asked for"));
                }
            }
        }
    };
    let result: Result<Infallible, ZdsError> = conversation.await;
    match result {
        Err(error) => error,
        Ok(never) => match never {},
    }
}

async fn tell(socket: &Socket, message: Message) -> Result<(), ZdsError> {
    match message {
        Message::Add { pod, netns, heard } => {
            let info = WorkloadInfo {
                name: pod.name,
                namespace: pod.namespace,
                service_account: pod.service_account,
            };
            let add = AddWorkload {
                uid: pod.uid,
                workload_info: Some(info),
            };
            let descriptor = netns.as_fd().try_clone_to_owned()?;
            let ack = ask(
                socket,
                workload_request::Payload::Add(add),
                Some(&descriptor),
            )
            .await?;
            if !ack.error.is_empty() {
                tracing::warn!(error = ack.error, "ztunnel could not take a pod");
            }
            let _ = heard.send(ack.error.is_empty());
        }
        Message::Del { uid, heard } => {
            let ack = ask(
                socket,
                workload_request::Payload::Del(DelWorkload { uid }),
                None,
            )
            .await?;
            let _ = heard.send(ack.error.is_empty());
        }
    }
    Ok(())
}

async fn ask(
    socket: &Socket,
    payload: workload_request::Payload,
    descriptor: Option<&std::os::fd::OwnedFd>,
) -> Result<Ack, ZdsError> {
    socket
        .send(
            &WorkloadRequest {
                payload: Some(payload),
            },
            descriptor,
        )
        .await?;
    let answer = timeout(ACK_DEADLINE, socket.recv::<WorkloadResponse>()).await;
    let (answer, _) = answer.map_err(|_| ZdsError::Protocol("no answer in time"))??;
    match answer.payload {
        Some(workload_response::Payload::Ack(ack)) => Ok(ack),
        None => Err(ZdsError::Protocol("an empty answer")),
    }
}
