//! One mesh of one test, driven through the command people type.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

use crate::eventually;

/// Meshes of one test process; the process id tells those of two test processes apart.
static COUNT: AtomicU32 = AtomicU32::new(0);

/// A running mesh. Its name is nobody else's, and it is gone with the value.
#[derive(Debug)]
pub struct Mesh {
    name: String,
    manifests: PathBuf,
    /// The command that drives it; `None` is [`cairn`], looked for when it is needed.
    cairn: Option<PathBuf>,
}

/// What a mesh starts with.
#[derive(Debug)]
pub struct Builder {
    mesh: Mesh,
    nodes: u32,
    sample: bool,
    program: Option<PathBuf>,
}

/// How a command ended.
#[derive(Debug)]
pub struct Output {
    /// What it was.
    pub command: String,
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// What it wrote.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
}

impl Output {
    /// What it wrote, if it ended well.
    ///
    /// # Panics
    /// When it did not.
    #[track_caller]
    pub fn ok(self) -> String {
        let Self {
            command,
            code,
            stdout,
            stderr,
        } = self;
        assert!(
            code == Some(0),
            "{command}\nexit code {code:?}\n{stdout}\n{stderr}"
        );
        stdout
    }
}

/// Whether tests that need root can run. Where they must, being without it is a failure.
///
/// # Panics
/// Without root when `REQUIRE_ROOT=1` is set, as CI does: a ring that was not run is not green.
pub fn require_root() -> bool {
    let root = Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|out| out.stdout == b"0\n");
    if !root {
        #[expect(clippy::disallowed_methods, reason = "a test has no Config")]
        let required = std::env::var("REQUIRE_ROOT").is_ok_and(|value| value == "1");
        assert!(!required, "REQUIRE_ROOT=1, but this is not root");
        #[expect(clippy::print_stderr, reason = "a skipped ring says so")]
        {
            eprintln!("SKIPPED: needs root (network namespaces)");
        }
    }
    root
}

/// The release binary of `cairn`, which tests start processes from.
///
/// # Panics
/// When it has not been built.
pub fn cairn() -> PathBuf {
    #[expect(clippy::disallowed_methods, reason = "a test has no Config")]
    let given = std::env::var("CAIRN_BIN").ok().map(PathBuf::from);
    let path = given.unwrap_or_else(|| {
        let test = std::env::current_exe().unwrap_or_default();
        // target/PROFILE/deps/TEST
        let target = test.ancestors().nth(3).unwrap_or(Path::new("target"));
        target.join("release/cairn")
    });
    assert!(
        path.exists(),
        "{} is missing: cargo build --release -p cairn",
        path.display()
    );
    path
}

impl Mesh {
    /// Begins a mesh with a name of its own and no manifests.
    ///
    /// # Panics
    /// When its folder cannot be made.
    pub fn builder() -> Builder {
        Self::builder_for("t")
    }

    /// As [`builder`](Self::builder), with a name that begins like this.
    ///
    /// # Panics
    /// When its folder cannot be made.
    pub fn builder_for(prefix: &str) -> Builder {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{prefix}{}x{number}", std::process::id());
        let manifests = std::env::temp_dir().join(format!("cairn-test-{name}"));
        let made = std::fs::create_dir_all(&manifests);
        assert!(made.is_ok(), "{}: {made:?}", manifests.display());
        Builder {
            mesh: Self {
                name,
                manifests,
                cairn: None,
            },
            nodes: 2,
            sample: false,
            program: None,
        }
    }

    /// The mesh's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The folder of manifests `up` watches.
    pub fn manifests(&self) -> &Path {
        &self.manifests
    }

    /// Writes a manifest as editors do: beside its place, then renamed into it.
    ///
    /// # Panics
    /// When it cannot be written.
    #[track_caller]
    pub fn apply(&self, file: &str, yaml: &str) {
        let draft = self.manifests.join(format!(".{file}.draft"));
        let written = std::fs::write(&draft, yaml)
            .and_then(|()| std::fs::rename(&draft, self.manifests.join(file)));
        assert!(written.is_ok(), "{file}: {written:?}");
    }

    /// Removes a manifest.
    ///
    /// # Panics
    /// When it is not there.
    #[track_caller]
    pub fn remove(&self, file: &str) {
        let removed = std::fs::remove_file(self.manifests.join(file));
        assert!(removed.is_ok(), "{file}: {removed:?}");
    }

    /// Runs a `cairn` command on this mesh.
    pub fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Output {
        output(&mut self.command(args))
    }

    /// Runs a program inside a Deployment, pod, waypoint, `control` or `ztunnel-NODE` of
    /// namespace `default`, or of another as `namespace/name`.
    pub fn exec<S: AsRef<OsStr>>(
        &self,
        target: &str,
        program: impl IntoIterator<Item = S>,
    ) -> Output {
        output(&mut self.exec_command(target, program))
    }

    /// As [`exec`](Self::exec), not started yet: for pipes and for programs that go on.
    pub fn exec_command<S: AsRef<OsStr>>(
        &self,
        target: &str,
        program: impl IntoIterator<Item = S>,
    ) -> Command {
        let (namespace, name) = target.split_once('/').unwrap_or(("default", target));
        let mut command = self.command(["exec", "-n", namespace, name, "--"]);
        command.args(program);
        command
    }

    /// Starts a program inside a pod and lets it run until the returned value is dropped.
    ///
    /// # Panics
    /// When it cannot be started.
    #[track_caller]
    pub fn spawn<S: AsRef<OsStr>>(
        &self,
        target: &str,
        program: impl IntoIterator<Item = S>,
    ) -> Running {
        let mut command = self.exec_command(target, program);
        let child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        match child {
            Ok(child) => Running(Some(child)),
            Err(error) => panic!("{command:?}: {error}"),
        }
    }

    /// The objects of a kind, as `get -A -o json` shows them.
    ///
    /// # Panics
    /// When the answer is no JSON.
    #[track_caller]
    pub fn objects(&self, kind: &str) -> Vec<Value> {
        let output = self.run(["get", kind, "-A", "-o", "json"]);
        if output.code != Some(0) {
            return vec![];
        }
        let text = output.ok();
        let parsed: Result<Value, _> = serde_json::from_str(&text);
        let list = parsed.unwrap_or_else(|error| panic!("{error}: {text}"));
        match list.get("items").and_then(Value::as_array) {
            Some(items) => items.clone(),
            None => vec![list],
        }
    }

    /// One object, by kind and `namespace/name`.
    #[track_caller]
    pub fn object(&self, kind: &str, key: &str) -> Option<Value> {
        let (namespace, name) = key.split_once('/').unwrap_or(("", key));
        self.objects(kind).into_iter().find(|object| {
            let is = |field: &str, wanted: &str| {
                let found = object
                    .pointer(field)
                    .and_then(Value::as_str)
                    .unwrap_or_default();
                found == wanted
            };
            is("/metadata/name", name)
                && (namespace.is_empty() || is("/metadata/namespace", namespace))
        })
    }

    /// Every process of the mesh, as `status -o json` shows them.
    ///
    /// # Panics
    /// When the answer is no JSON.
    #[track_caller]
    pub fn status(&self) -> Value {
        let output = self.run(["status", "-o", "json"]);
        let parsed = serde_json::from_str(&output.stdout);
        parsed.unwrap_or_else(|error| panic!("{error}: {output:?}"))
    }

    /// Waits until `curl` from a pod gets an answer that `accept` likes.
    #[track_caller]
    pub fn until(
        &self,
        what: &str,
        from: &str,
        curl: &[&str],
        accept: impl Fn(&Output) -> bool,
    ) -> String {
        eventually(what, || {
            let answer = self.exec(from, ["curl", "-s", "-m", "5"].iter().chain(curl));
            accept(&answer).then_some(answer.stdout)
        })
    }

    fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(self.cairn.clone().unwrap_or_else(cairn));
        command
            .arg("--mesh")
            .arg(&self.name)
            .args(args)
            .stdin(Stdio::null());
        command
    }
}

impl Builder {
    /// Starts with a manifest.
    #[must_use]
    #[track_caller]
    pub fn manifest(self, file: &str, yaml: &str) -> Self {
        self.mesh.apply(file, yaml);
        self
    }

    /// Has this many nodes instead of two.
    #[must_use]
    pub fn nodes(mut self, nodes: u32) -> Self {
        self.nodes = nodes;
        self
    }

    /// Is driven by this `cairn` instead of [`cairn`].
    #[must_use]
    pub fn cairn(mut self, path: PathBuf) -> Self {
        self.mesh.cairn = Some(path);
        self
    }

    /// Runs this program wherever a manifest says `cairn`; it is told which product to be.
    #[must_use]
    pub fn program(mut self, path: PathBuf) -> Self {
        self.program = Some(path);
        self
    }

    /// Runs the built-in sample instead of manifests.
    #[must_use]
    pub fn sample(mut self) -> Self {
        self.sample = true;
        self
    }

    /// Starts the mesh and returns when it is ready.
    ///
    /// # Panics
    /// When it does not become ready; with everything it said.
    #[must_use]
    #[track_caller]
    pub fn up(self) -> Mesh {
        let (mesh, output) = self.try_up();
        output.ok();
        mesh
    }

    /// As [`up`](Self::up), with the outcome instead of a panic.
    #[must_use]
    pub fn try_up(self) -> (Mesh, Output) {
        let nodes = self.nodes.to_string();
        let mut command = self.mesh.command(["up", "--detach", "--nodes", &nodes]);
        if let Some(program) = &self.program {
            command.arg("--program").arg(program);
        }
        if !self.sample {
            command.arg(&self.mesh.manifests);
        }
        let output = output(&mut command);
        (self.mesh, output)
    }
}

impl Mesh {
    /// Prints what the mesh is like and the ends of its logs.
    #[expect(
        clippy::print_stderr,
        reason = "a failing test shows what its mesh was like"
    )]
    fn tell(&self) {
        let status = self.run(["status"]);
        eprintln!(
            "mesh {} at failure:\n{}{}",
            self.name, status.stdout, status.stderr
        );
        for name in ["control", "ztunnel-node1", "ztunnel-node2", "waypoint"] {
            let log = self.run(["logs", name]).stdout;
            let lines: Vec<_> = log.lines().collect();
            let end = lines.iter().rev().take(LOG_LINES).rev();
            eprintln!("the end of the log of {name}:");
            end.for_each(|line| eprintln!("{line}"));
        }
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.tell();
        }
        let down = self.run(["down"]);
        let _ = std::fs::remove_dir_all(&self.manifests);
        if !std::thread::panicking() {
            assert!(down.code == Some(0), "{down:?}");
        }
    }
}

/// Lines of each log that a failing test shows.
const LOG_LINES: usize = 40;

/// A program that runs inside a pod.
#[derive(Debug)]
pub struct Running(Option<Child>);

impl Running {
    /// Waits for its end.
    ///
    /// # Panics
    /// When it cannot be waited for.
    #[track_caller]
    pub fn wait(mut self) -> Output {
        let child = self.0.take();
        let waited = child.map(Child::wait_with_output);
        match waited {
            Some(Ok(out)) => finished("a program in a pod".to_owned(), &out),
            other => panic!("{other:?}"),
        }
    }

    /// Asks it to end, as Ctrl-C does, and waits.
    #[track_caller]
    pub fn stop(self) -> Output {
        if let Some(child) = &self.0 {
            let _ = Command::new("kill")
                .args(["-INT", &child.id().to_string()])
                .status();
        }
        self.wait()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn output(command: &mut Command) -> Output {
    let text = format!("{command:?}");
    match command.output() {
        Ok(out) => finished(text, &out),
        Err(error) => {
            let stderr = error.to_string();
            Output {
                command: text,
                code: None,
                stdout: String::new(),
                stderr,
            }
        }
    }
}

fn finished(command: String, out: &std::process::Output) -> Output {
    Output {
        command,
        code: out.status.code(),
        stdout: String::from_utf8_lossy(&out.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&out.stderr).into_owned(),
    }
}
