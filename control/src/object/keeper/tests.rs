use std::collections::BTreeSet;
use std::path::Path;

use serde_json::json;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::*;
use crate::object::Kind;
use crate::source::{Document, Origin, Scope};

fn root() -> Root {
    Root::Written {
        order: 0,
        path: Arc::from(Path::new("shop")),
    }
}

fn snapshot(names: &[&str]) -> Event {
    let document = |name: &&str| Document {
        value: json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name},
        }),
        origin: Origin::default(),
    };
    Event::Snapshot {
        scope: Scope::new(root(), "a.yaml"),
        documents: names.iter().map(document).collect(),
        unreadable: vec![],
    }
}

fn key(name: &str) -> Key {
    Key::new(Kind::of("", "ConfigMap"), "default", name)
}

/// A file of this test alone, gone with it.
struct State(PathBuf);

impl State {
    fn new(test: &str) -> Self {
        Self(
            std::env::temp_dir().join(format!("control-keeper-{}-{test}.json", std::process::id())),
        )
    }
}

impl Drop for State {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A running keeper.
struct Running {
    handle: Handle,
    stop: oneshot::Sender<()>,
    task: JoinSet<()>,
}

impl Running {
    fn start(file: Option<&State>) -> Self {
        let file = file.map(|state| state.0.clone());
        let (keeper, handle) = Keeper::open(file, &[root()], Arc::default());
        let (stop, stopped) = oneshot::channel();
        let mut task = JoinSet::new();
        task.spawn(keeper.run(async move { drop(stopped.await) }));
        Self { handle, stop, task }
    }

    async fn stop(mut self) {
        self.stop.send(()).unwrap();
        self.task.join_next().await.unwrap().unwrap();
    }
}

async fn until(views: &mut watch::Receiver<Objects>, condition: impl Fn(&Objects) -> bool) {
    let wait = views.wait_for(condition);
    tokio::time::timeout(Duration::from_secs(20), wait)
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn events_and_statuses_reach_those_who_follow() {
    let running = Running::start(None);
    let handle = running.handle.clone();
    let mut views = handle.subscribe();
    handle.take(snapshot(&["a", "b"])).await.unwrap();
    until(&mut views, |objects| objects.find(&key("b")).is_some()).await;
    let before = handle.objects();

    let status = Some(json!({"x": 1}));
    let statuses = vec![(key("a"), status.clone()), (key("nobody"), status)];
    handle.set_statuses(statuses).await.unwrap();
    until(&mut views, |objects| {
        objects
            .find(&key("a"))
            .is_some_and(|object| object.status.is_some())
    })
    .await;
    let changes = handle.objects().changes_since(&before);
    assert_eq!(
        changes
            .iter()
            .map(|change| change.key().clone())
            .collect::<Vec<_>>(),
        [key("a")]
    );

    handle.take(Event::Synced).await.unwrap();
    handle.synced().await.unwrap();
    running.stop().await;
    assert_eq!(handle.take(snapshot(&[])).await, Err(Closed));
    assert_eq!(
        handle.objects().find(&key("a")).map(|o| o.key.clone()),
        Some(key("a"))
    );
}

#[tokio::test]
async fn findings_are_on_the_board() {
    let running = Running::start(None);
    let mut changes = running.handle.board().subscribe();
    running
        .handle
        .take(snapshot(&["Not_A_Name"]))
        .await
        .unwrap();
    changes.changed().await.unwrap();
    let found = running.handle.board().all();
    assert_eq!(found[0].field.as_deref(), Some("metadata.name"));
    running.handle.take(snapshot(&["a-name"])).await.unwrap();
    changes.changed().await.unwrap();
    assert_eq!(running.handle.board().all(), []);
    running.stop().await;
}

#[tokio::test]
async fn objects_are_there_again_after_a_restart() {
    let state = State::new("restart");
    let running = Running::start(Some(&state));
    let mut views = running.handle.subscribe();
    running.handle.take(snapshot(&["a"])).await.unwrap();
    until(&mut views, |objects| objects.find(&key("a")).is_some()).await;
    let first = running
        .handle
        .objects()
        .find(&key("a"))
        .unwrap()
        .life
        .clone();
    running.stop().await;

    let running = Running::start(Some(&state));
    assert_eq!(
        running.handle.objects().find(&key("a")).unwrap().life,
        first
    );
    let mut views = running.handle.subscribe();
    let gone = Event::Scopes {
        root: root(),
        names: BTreeSet::new(),
    };
    running.handle.take(gone).await.unwrap();
    until(&mut views, |objects| objects.find(&key("a")).is_none()).await;
    running.stop().await;
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&state.0).unwrap());
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test(start_paused = true)]
async fn changes_are_saved_while_control_runs() {
    let state = State::new("running");
    let running = Running::start(Some(&state));
    running.handle.take(snapshot(&["a"])).await.unwrap();
    let saved = async {
        loop {
            let saved = Saved::load(&state.0).unwrap();
            let store = Store::restore(saved, &[root()], Timestamp::now());
            if store.objects().find(&key("a")).is_some() {
                return;
            }
            tokio::time::sleep(SAVE_DELAY).await;
        }
    };
    tokio::time::timeout(SAVE_DELAY * 100, saved).await.unwrap();
    running.stop().await;
}

#[tokio::test]
async fn a_state_that_cannot_be_read_is_no_reason_not_to_start() {
    let state = State::new("broken");
    for text in [
        "{",
        "{\"format\": 99, \"revision\": 1, \"ages\": [], \"objects\": []}",
    ] {
        std::fs::write(&state.0, text).unwrap();
        let running = Running::start(Some(&state));
        assert!(!running.handle.objects().is_empty());
        running.stop().await;
    }
}
