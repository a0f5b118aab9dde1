//! A filter in front of a server: it serves, it changes under traffic, it ends.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, ChildStderr, ChildStdout, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Folder, guest};

/// No test waits longer for a line or an answer.
const PATIENCE: Duration = Duration::from_mins(1);

/// A `cairn filter run`; killed with its drop.
struct Running {
    child: Child,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
    address: String,
}

impl Running {
    fn start(folder: &Folder, words: &[&str]) -> Self {
        let mut command = folder.command(&["run", "--listen", "127.0.0.1:0"]);
        let mut child = command
            .args(words)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout: ChildStdout = child.stdout.take().unwrap();
        let stderr: ChildStderr = child.stderr.take().unwrap();
        let mut this = Self {
            child,
            stdout: lines(stdout),
            stderr: lines(stderr),
            address: String::new(),
        };
        let line = this.line("listening on http://");
        line.trim_start_matches("listening on http://")
            .clone_into(&mut this.address);
        this
    }

    /// Waits for a line on standard output that begins so.
    #[track_caller]
    fn line(&self, begins: &str) -> String {
        wait(&self.stdout, begins)
    }

    /// Waits for a line on standard error that holds this.
    #[track_caller]
    fn says(&self, part: &str) -> String {
        wait(&self.stderr, part)
    }

    fn connect(&self) -> Connection {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Connection(BufReader::new(stream))
    }

    fn interrupt(mut self) -> Option<i32> {
        let id = Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        kill(id, Signal::SIGINT).unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines(from: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (tell, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if tell.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

#[track_caller]
fn wait(lines: &Receiver<String>, part: &str) -> String {
    let mut seen = vec![];
    loop {
        match lines.recv_timeout(PATIENCE) {
            Ok(line) if line.contains(part) => return line,
            Ok(line) => seen.push(line),
            Err(error) => panic!("waited in vain for {part:?} ({error}); there was {seen:#?}"),
        }
    }
}

/// A connection that is kept.
struct Connection(BufReader<TcpStream>);

impl Connection {
    /// Sends a request and returns its answer, head and body.
    fn get(&mut self, path: &str) -> String {
        let request = format!("GET {path} HTTP/1.1\r\nhost: demo.example\r\n\r\n");
        self.0.get_mut().write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        while !answer.ends_with("\r\n\r\n") {
            let read = self.0.read_line(&mut answer).unwrap();
            assert_ne!(read, 0, "the connection was closed after {answer:?}");
        }
        let head = answer.to_ascii_lowercase();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .map_or(0, |length| length.trim().parse().unwrap());
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).unwrap();
        answer + &String::from_utf8(body).unwrap()
    }

    /// The version that signed an answer.
    fn version(&mut self) -> Option<String> {
        let answer = self.get("/");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let version = answer
            .lines()
            .find_map(|line| line.strip_prefix("x-version: "));
        version.map(str::to_owned)
    }
}

#[test]
fn a_module_serves_until_it_is_interrupted() {
    let folder = Folder::new();
    folder.write("guest.wasm", guest::signs("one"));
    let running = Running::start(&folder, &["guest.wasm", "--trace"]);
    let answer = running.connect().get("/hello?a=b");
    assert!(answer.contains("x-version: one"), "{answer}");
    assert!(answer.contains("\"path\": \"/hello?a=b\""), "{answer}");
    running.line("[host->vm] proxy_on_response_headers(");
    running.line("[vm->host] env.proxy_replace_header_map_value(2, 0, 9, 16, 3)");
    assert_eq!(running.interrupt(), Some(0));
}

#[test]
fn without_a_filter_requests_pass_as_they_are() {
    let folder = Folder::new();
    let running = Running::start(&folder, &["--no-filter"]);
    let answer = running.connect().get("/hello?a=b");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("\"path\": \"/hello?a=b\""), "{answer}");
    assert_eq!(running.interrupt(), Some(0));
    folder.write("guest.wasm", guest::signs("one"));
    let told = folder
        .filter(&["run", "guest.wasm", "--no-filter"])
        .ends(64);
    assert!(told.stderr.contains("cannot be used with"), "{told:?}");
}

#[test]
fn a_filter_of_a_module_is_chosen_by_its_root_id() {
    let folder = Folder::new();
    folder.write("guest.wasm", guest::signs_with_root_id());
    let running = Running::start(&folder, &["guest.wasm", "--root-id", "add_header"]);
    let version = running.connect().version();
    assert_eq!(version.as_deref(), Some("add_header"));
    assert_eq!(running.interrupt(), Some(0));
}

#[test]
fn a_module_that_cannot_run_is_told() {
    let folder = Folder::new();
    folder.write("guest.wasm", guest::wants_more());
    let words = ["run", "guest.wasm", "--listen", "127.0.0.1:0"];
    let told = folder.filter(&words).ends(1);
    assert!(told.stderr.contains("proxy_make_coffee"), "{told:?}");
    let words = ["run", "guest.wasm", "--upstream", "https://example"];
    assert!(folder.filter(&words).ends(1).stderr.contains("only http"));
}

#[test]
fn edits_take_effect_on_open_connections_and_bad_ones_do_not() {
    let folder = Folder::new();
    folder.write(
        "filter.yaml",
        "name: demo\nlang: c\nbuild: test ! -e broken && cp src/guest.wasm build/demo.wasm\n",
    );
    folder.write("src/guest.wasm", guest::signs("one"));
    let running = Running::start(&folder, &["--watch"]);
    let mut connection = running.connect();
    assert_eq!(connection.version().as_deref(), Some("one"));

    // A build that fails.
    folder.write("broken", "");
    running.says("failed");
    running.says("the filter that ran before goes on");
    assert_eq!(connection.version().as_deref(), Some("one"));
    std::fs::remove_file(folder.path("broken")).unwrap();
    running.says("demo runs");

    // A module that does not start, and one that no proxy can load.
    for (module, why) in [
        (guest::refuses(), "configuration"),
        (guest::wants_more(), "proxy_make_coffee"),
    ] {
        folder.write("src/guest.wasm", module);
        running.says(why);
        running.says("the filter that ran before goes on");
        assert_eq!(connection.version().as_deref(), Some("one"));
    }

    // A good one, on the same connection.
    folder.write("src/guest.wasm", guest::signs("two"));
    running.says("demo runs");
    assert_eq!(connection.version().as_deref(), Some("two"));
    // And with the configuration of the moment.
    folder.write(
        "filter.yaml",
        "name: other\nlang: c\nbuild: cp src/guest.wasm build/other.wasm\n",
    );
    running.says("other runs");
    assert_eq!(connection.version().as_deref(), Some("two"));
    drop(connection);
    assert_eq!(running.interrupt(), Some(0));
}

#[test]
fn changes_under_traffic_fail_no_request() {
    let folder = Folder::new();
    folder.write("guest.wasm", guest::signs("zero"));
    let running = Running::start(&folder, &["guest.wasm", "--watch"]);
    running.says("guest runs");
    let is_over = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..2)
        .map(|_| {
            let (mut connection, is_over) = (running.connect(), Arc::clone(&is_over));
            std::thread::spawn(move || {
                let mut answered = 0_u32;
                while !is_over.load(Ordering::Relaxed) {
                    // Fails the test if it is not a 200 with a signature.
                    assert!(connection.version().is_some());
                    answered += 1;
                }
                answered
            })
        })
        .collect();
    for version in ["one", "two", "three", "four", "five"] {
        folder.write("guest.wasm", guest::signs(version));
        running.says("guest runs");
        assert_eq!(running.connect().version().as_deref(), Some(version));
    }
    is_over.store(true, Ordering::Relaxed);
    for caller in callers {
        assert!(caller.join().unwrap() > 0);
    }
}

#[test]
fn a_filter_that_does_not_run_yet_refuses_until_it_does() {
    let folder = Folder::new();
    folder.write("guest.wasm", guest::refuses());
    let running = Running::start(&folder, &["guest.wasm", "--watch"]);
    let answer = running.connect().get("/");
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    folder.write("guest.wasm", guest::signs("one"));
    running.says("guest runs");
    assert_eq!(running.connect().version().as_deref(), Some("one"));
}
