//! What every test here needs: root, a mesh name of its own, and an end that leaves nothing.

use std::{
    collections::BTreeSet,
    fs,
    future::Future,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use cairn::{
    state::{MeshName, StateDir},
    world::teardown,
};

/// Tells the meshes of one test process apart.
static COUNT: AtomicU32 = AtomicU32::new(0);
/// No test may take longer.
const TEST_TIMEOUT: Duration = Duration::from_mins(2);

/// Runs `test` as root with a mesh name of its own, or says why not.
///
/// Whatever the test does, nothing of its mesh is left afterwards.
pub(crate) fn with_mesh<F: Future<Output = ()>>(test: impl FnOnce(MeshName) -> F) {
    if !nix::unistd::geteuid().is_root() {
        assert!(
            std::env::var_os("REQUIRE_ROOT").is_none(),
            "REQUIRE_ROOT is set and this is not root"
        );
        skipped();
        return;
    }
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("t{}-{count}", std::process::id());
    let mesh: MeshName = name.parse().unwrap();
    let _swept = Swept(mesh.clone());
    block_on(async {
        tokio::time::timeout(TEST_TIMEOUT, test(mesh))
            .await
            .expect("the test hangs");
    });
}

#[expect(clippy::print_stderr, reason = "who runs the tests has to hear of it")]
fn skipped() {
    eprintln!("\n*** SKIPPED: this test needs root ***\n");
}

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, future)
}

/// The program under test.
pub(crate) fn cairn() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_cairn"))
}

/// Removes what is left of a mesh, also when the test panicked.
pub(crate) struct Swept(pub(crate) MeshName);

impl Drop for Swept {
    fn drop(&mut self) {
        let mesh = self.0.clone();
        // A runtime of its own: the test's may be the one that is unwinding.
        let swept = std::thread::spawn(move || {
            block_on(teardown::teardown(&mesh)).unwrap();
            StateDir::new(&mesh).remove().unwrap();
        });
        swept.join().unwrap();
    }
}

/// What a mesh could leave behind, of those things that carry its name.
pub(crate) fn remains(mesh: &MeshName) -> BTreeSet<String> {
    let prefix = mesh.netns("");
    let mut remains = BTreeSet::new();
    for folder in [
        "/run/netns",
        "/etc/netns",
        "/run/nlink/netns-owners",
        "/run/cairn",
    ] {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let ours = names.filter(|name| name.starts_with(&prefix) || name == mesh.as_str());
        remains.extend(ours.map(|name| format!("{folder}/{name}")));
    }
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    remains.extend(
        mounts
            .lines()
            .filter(|line| line.contains(&prefix))
            .map(str::to_owned),
    );
    remains
}

/// Waits until `condition` holds; `what` says what was waited for when it never does.
#[track_caller]
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}
