use std::cell::RefCell;
use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use proto::zds::{
    AddWorkload, DelWorkload, KeepWorkload, SnapshotSent, WorkloadInfo, WorkloadRequest,
    WorkloadResponse, ZdsHello, workload_request::Payload, workload_response,
};
use runtime::Gates;

use super::{Manager, Pods};
use crate::netns::Namespace;
use crate::pod::PodInfo;
use crate::zds::{Listener, Socket};

/// Serves by writing down.
#[derive(Clone, Default)]
struct Book(Rc<RefCell<Entries>>);

#[derive(Default)]
struct Entries {
    served: BTreeSet<String>,
    broken: BTreeSet<String>,
    starts: usize,
}

struct Entry(Book, String);

impl Drop for Entry {
    fn drop(&mut self) {
        self.0.0.borrow_mut().served.remove(&self.1);
    }
}

impl Pods for Book {
    type Served = Entry;

    fn serve(&self, pod: &PodInfo, _: &Arc<Namespace>) -> std::io::Result<Entry> {
        let mut entries = self.0.borrow_mut();
        if entries.broken.contains(&pod.uid) {
            return Err(std::io::Error::other("on purpose"));
        }
        entries.starts += 1;
        entries.served.insert(pod.uid.clone());
        Ok(Entry(self.clone(), pod.uid.clone()))
    }

    fn count(&self, _: usize, _: Vec<PodInfo>) {}
}

/// An agent under the test's control, and the manager that talks to it.
struct World {
    path: PathBuf,
    listener: Listener,
    socket: Socket,
    book: Book,
    gates: Gates,
}

impl World {
    /// Runs `test` beside a manager that has just said hello.
    async fn run<F: Future<Output = ()>>(test: impl FnOnce(Self) -> F) {
        let unique = uuid();
        let path = std::env::temp_dir().join(format!("cairn-inpod-{unique}"));
        let listener = Listener::bind(&path).unwrap();
        let (book, gates) = (Book::default(), Gates::default());
        let manager = Manager::new(&path, book.clone(), gates.gate("workload proxy manager"));
        let test = async {
            let socket = hello(&listener).await;
            let world = Self {
                path: path.clone(),
                listener,
                socket,
                book,
                gates,
            };
            test(world).await;
        };
        tokio::select! {
            () = manager.run() => unreachable!("a manager runs for ever"),
            () = test => {}
        }
        std::fs::remove_file(path).unwrap();
    }

    async fn ask(&self, payload: Payload, descriptor: Option<&OwnedFd>) -> String {
        let request = WorkloadRequest {
            payload: Some(payload),
        };
        self.socket.send(&request, descriptor).await.unwrap();
        let (answer, _) = self.socket.recv::<WorkloadResponse>().await.unwrap();
        match answer.payload.unwrap() {
            workload_response::Payload::Ack(ack) => ack.error,
        }
    }

    async fn add(&self, uid: &str) -> String {
        let netns: OwnedFd = std::fs::File::open("/proc/self/ns/net").unwrap().into();
        self.ask(add(uid), Some(&netns)).await
    }

    fn served(&self) -> Vec<String> {
        self.book.0.borrow().served.iter().cloned().collect()
    }
}

async fn hello(listener: &Listener) -> Socket {
    let socket = listener.accept().await.unwrap();
    let (hello, _) = socket.recv::<ZdsHello>().await.unwrap();
    assert_eq!(hello.version, 1);
    socket
}

fn uuid() -> String {
    use std::hash::{BuildHasher, Hasher};
    let hasher = std::collections::hash_map::RandomState::new().build_hasher();
    format!("{}-{:x}", std::process::id(), hasher.finish())
}

fn add(uid: &str) -> Payload {
    let info = WorkloadInfo {
        name: uid.into(),
        namespace: "shop".into(),
        service_account: "default".into(),
    };
    Payload::Add(AddWorkload {
        uid: uid.into(),
        workload_info: Some(info),
    })
}

fn snapshot() -> Payload {
    Payload::SnapshotSent(SnapshotSent {})
}

#[tokio::test]
async fn ready_only_after_the_snapshot_is_served() {
    World::run(|world| async move {
        assert_eq!(world.add("a").await, "");
        assert_eq!(world.gates.pending(), ["workload proxy manager"]);
        assert_eq!(world.ask(snapshot(), None).await, "");
        world.gates.ready().await;
        assert_eq!(world.served(), ["a"]);
    })
    .await;
}

#[tokio::test]
async fn pods_survive_the_agent_and_those_it_no_longer_names_drain() {
    World::run(|mut world| async move {
        for uid in ["a", "b", "c"] {
            assert_eq!(world.add(uid).await, "");
        }
        world.ask(snapshot(), None).await;

        world.socket = {
            drop(world.socket);
            hello(&world.listener).await
        };
        assert_eq!(
            world.book.0.borrow().served.len(),
            3,
            "nothing stops while the agent is away"
        );
        assert_eq!(world.add("a").await, "");
        world
            .ask(Payload::Keep(KeepWorkload { uid: "b".into() }), None)
            .await;
        world.ask(snapshot(), None).await;
        let entries = world.book.0.borrow();
        assert_eq!(entries.served.iter().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(
            entries.starts, 3,
            "a pod that is served already is not started again"
        );
        assert!(world.path.exists());
    })
    .await;
}

#[tokio::test]
async fn a_deleted_pod_is_no_longer_served() {
    World::run(|world| async move {
        world.add("a").await;
        world.ask(snapshot(), None).await;
        assert_eq!(
            world
                .ask(Payload::Del(DelWorkload { uid: "a".into() }), None)
                .await,
            ""
        );
        assert!(world.served().is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_pod_that_cannot_start_is_refused_and_keeps_ztunnel_from_being_ready() {
    World::run(|world| async move {
        world.book.0.borrow_mut().broken.insert("a".into());
        let error = world.add("a").await;
        assert_eq!(error, "cannot listen in the pod: on purpose");
        world.ask(snapshot(), None).await;
        assert_eq!(world.gates.pending(), ["workload proxy manager"]);
        // The pod heals, and the agent offers it again before the retry comes round.
        world.book.0.borrow_mut().broken.clear();
        assert_eq!(world.add("a").await, "");
        world.gates.ready().await;
    })
    .await;
}

#[tokio::test]
async fn descriptors_belong_to_additions_and_only_one() {
    World::run(|world| async move {
        assert_eq!(world.ask(add("a"), None).await, "No control message");
        let netns: OwnedFd = std::fs::File::open("/proc/self/ns/net").unwrap().into();
        let answer = world.ask(snapshot(), Some(&netns)).await;
        assert_eq!(answer, "Unexpected control message");
    })
    .await;
}

#[tokio::test]
async fn a_second_snapshot_ends_the_conversation_and_a_new_one_begins() {
    World::run(|world| async move {
        world.ask(snapshot(), None).await;
        let request = WorkloadRequest {
            payload: Some(snapshot()),
        };
        world.socket.send(&request, None).await.unwrap();
        let ended = world.socket.recv::<WorkloadResponse>().await;
        assert!(matches!(ended, Err(crate::zds::Error::Closed)), "{ended:?}");
        hello(&world.listener).await;
    })
    .await;
}
