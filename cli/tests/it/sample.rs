//! The sample's programs against each other and against curl, on the loopback of a pod of its own.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, Command, Output, Stdio},
};

use cairn::sample::bytes::checksum;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use crate::support::{cairn, eventually};

/// A server of the sample on a port of its own.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn start(words: &[&str]) -> Self {
        let mut child = Command::new(cairn())
            .arg("sample")
            .args(words)
            .args(["--port", "0"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = lines.next().unwrap().unwrap();
        // Whoever closes the other end would end the server's output.
        std::thread::spawn(move || lines.for_each(drop));
        Self {
            child,
            port: line.rsplit(' ').next().unwrap().parse().unwrap(),
        }
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    fn curl(&self, words: &[&str], path: &str) -> String {
        let output = Command::new("curl")
            .args(["-sS", "-m", "60"])
            .args(words)
            .arg(self.url(path))
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{words:?} {path}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    fn json(&self, words: &[&str], path: &str) -> Value {
        serde_json::from_str(&self.curl(words, path)).unwrap()
    }

    fn status(&self, words: &[&str], path: &str) -> String {
        self.curl(
            &[&["-o", "/dev/null", "-w", "%{http_code}"], words].concat(),
            path,
        )
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn sample(words: &[&str]) -> Output {
    Command::new(cairn())
        .arg("sample")
        .args(words)
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> String {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn an_answer_says_who_gave_it_and_what_arrived() {
    let server = Server::start(&["server", "--name", "reviews", "--version", "v2"]);
    for (flag, protocol) in [
        ("--http1.1", "HTTP/1.1"),
        ("--http2-prior-knowledge", "HTTP/2.0"),
    ] {
        let answer = server.json(&[flag, "-H", "x-user: me", "-d", "12345"], "/a?b=c");
        assert_eq!(
            (&answer["service"], &answer["version"]),
            (&"reviews".into(), &"v2".into())
        );
        assert_eq!(
            (&answer["method"], &answer["path"]),
            (&"POST".into(), &"/a?b=c".into())
        );
        assert_eq!(
            (&answer["protocol"], &answer["bodyBytes"]),
            (&protocol.into(), &5.into())
        );
        assert_eq!(answer["headers"]["x-user"], "me");
        assert!(answer["client"].as_str().unwrap().starts_with("127.0.0.1:"));
    }
    assert_eq!(server.curl(&[], "/version"), "reviews v2\n");
    assert!(
        server
            .curl(&["-H", "accept: text/plain"], "/")
            .starts_with("reviews v2")
    );
}

#[test]
fn a_server_fails_as_often_as_it_is_told_for_each_key() {
    let server = Server::start(&["server"]);
    let statuses: Vec<String> = (0..4)
        .map(|_| server.status(&[], "/fail?times=2&key=a"))
        .collect();
    assert_eq!(statuses, ["500", "500", "200", "200"]);
    assert_eq!(server.status(&[], "/fail?times=1&key=b"), "500");
    assert_eq!(server.json(&[], "/fail?times=1&key=b")["attempts"], 2);
    assert_eq!(server.status(&[], "/status/418"), "418");
    assert_eq!(server.status(&[], "/status/9"), "400");
    assert_eq!(server.json(&[], "/delay/5")["path"], "/delay/5");
}

#[test]
fn bulk_arrives_whole_both_ways() {
    let server = Server::start(&["server"]);
    let len = 10_000_001;
    let url = server.url(&format!("/bytes/{len}"));
    for flag in ["--http1.1", "--http2-prior-knowledge"] {
        let sum = format!("curl -sS {flag} {url} | tee /dev/stderr 2>/dev/null | sha256sum");
        let output = Command::new("sh").args(["-c", &sum]).output().unwrap();
        assert_eq!(stdout(&output).split(' ').next().unwrap(), checksum(len));

        let upload = format!(
            "curl -sS {url} | curl -sS {flag} -T - {}",
            server.url("/upload")
        );
        let output = Command::new("sh").args(["-c", &upload]).output().unwrap();
        let seen: Value = serde_json::from_str(&stdout(&output)).unwrap();
        assert_eq!(
            (&seen["bytes"], &seen["sha256"]),
            (&len.into(), &checksum(len).into())
        );
    }
    assert_eq!(
        server.curl(&[], &format!("/sha256/{len}")).trim(),
        checksum(len)
    );
    assert_eq!(server.curl(&["-d", "as it was"], "/echo"), "as it was");
}

#[test]
fn a_websocket_echoes_frames_after_101() {
    let server = Server::start(&["server"]);
    let output = sample(&["ws-client", &server.url("/any"), "one", "two"]);
    assert_eq!(stdout(&output), "101\none\ntwo\n");
    let refused = sample(&["ws-client", "http://127.0.0.1:1/"]);
    assert_eq!(refused.status.code(), Some(1));
}

#[test]
fn a_grpc_call_comes_back_with_its_status() {
    let server = Server::start(&["server"]);
    let output = sample(&["grpc-client", &server.url(""), "hello there"]);
    assert_eq!(stdout(&output), "hello there\ngrpc-status 0\n");
}

#[test]
fn a_service_asks_others_and_hands_the_trace_on() {
    let ratings = Server::start(&["server", "--name", "ratings"]);
    let reviews = Server::start(&[
        "server",
        "--name",
        "reviews",
        "--upstream",
        &ratings.url("/stars"),
    ]);
    let answer = reviews.json(&["-H", "x-request-id: r1", "-H", "x-private: p"], "/");
    let upstream = &answer["upstream"][0];
    assert_eq!(
        (&upstream["status"], &upstream["answer"]["service"]),
        (&200.into(), &"ratings".into())
    );
    assert_eq!(upstream["answer"]["headers"]["x-request-id"], "r1");
    assert_eq!(upstream["answer"]["headers"].get("x-private"), None);
    drop(ratings);
    assert!(reviews.json(&[], "/")["upstream"][0]["error"].is_string());
}

#[test]
fn the_server_of_the_other_protocol_speaks_first() {
    let server = Server::start(&["tcp-server", "--name", "mail"]);
    let address = format!("127.0.0.1:{}", server.port);
    let output = sample(&[
        "tcp-client",
        &address,
        "--send",
        "helo me",
        "--send",
        "again",
    ]);
    assert_eq!(
        stdout(&output),
        "220 mail ready\n250 helo me\n250 again\n221 bye\n"
    );
}

#[test]
fn malformed_http_arrives_byte_for_byte() {
    let server = Server::start(&["tcp-server", "--mode", "malformed"]);
    let output = sample(&[
        "tcp-client",
        "--malformed",
        &format!("127.0.0.1:{}", server.port),
    ]);
    assert!(output.status.success());
    assert_eq!(output.stdout, cairn::sample::tcp::MALFORMED);
}

#[test]
fn a_server_finishes_what_it_began_before_it_ends() {
    let mut server = Server::start(&["server"]);
    let mut client = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    client
        .write_all(b"GET /delay/500 HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    eventually("the server has read the request", || {
        has_read_all(server.port)
    });
    let pid = Pid::from_raw(server.child.id().try_into().unwrap());
    kill(pid, Signal::SIGTERM).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!(server.child.wait().unwrap().success());
}

/// Whether a connection to `port` is established and its server has read what was sent.
fn has_read_all(port: u16) -> bool {
    // sl, local address, remote address, state, tx_queue:rx_queue
    let is_drained = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words[1].ends_with(&format!(":{port:04X}"))
            && words[3] == "01"
            && words[4].ends_with(":00000000")
    };
    std::fs::read_to_string("/proc/net/tcp6")
        .unwrap()
        .lines()
        .skip(1)
        .any(is_drained)
}
