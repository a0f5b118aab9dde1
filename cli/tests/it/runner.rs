//! Manifests in, processes out: the runner with its own network, without the mesh's own pods.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    path::PathBuf,
    process::{Command, Output},
    time::Duration,
};

use cairn::{
    runner::{Claim, Options, Runner, report::PodReport},
    state::{MeshName, StateDir},
};
use nlink::netlink::namespace::{NetnsCommand, Overlay};
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};

use crate::support::{cairn, remains, with_mesh};

const PATIENCE: Duration = Duration::from_secs(30);

/// A runner that works through what happens whenever the test waits for something.
struct Mesh {
    runner: Runner,
    manifests: PathBuf,
}

impl Mesh {
    async fn start(mesh: &MeshName, yaml: &str) -> Self {
        let manifests = std::env::temp_dir().join(format!("cairn-it-{mesh}"));
        fs::create_dir_all(&manifests).unwrap();
        let claim = Claim::take(mesh).await.unwrap();
        let options = Options {
            nodes: 2,
            manifests: vec![manifests.clone()],
            path: "/usr/local/bin:/usr/bin:/bin".into(),
            program: cairn(),
            system: Vec::new(),
        };
        let mut mesh = Self {
            runner: Runner::start(claim, options).await.unwrap(),
            manifests,
        };
        mesh.apply("mesh.yaml", yaml);
        mesh.runner.reconcile().await;
        mesh
    }

    fn apply(&self, name: &str, yaml: &str) {
        let temporary = self.manifests.join(format!(".{name}"));
        fs::write(&temporary, yaml).unwrap();
        fs::rename(temporary, self.manifests.join(name)).unwrap();
    }

    /// Lets the runner work until `condition` holds.
    async fn until(&mut self, what: &str, mut condition: impl FnMut(&Self) -> bool) {
        let waiting = async {
            while !condition(self) {
                tokio::select! {
                    () = self.runner.changed() => {}
                    () = sleep(Duration::from_millis(20)) => {}
                }
                self.runner.reconcile().await;
            }
        };
        let waited = timeout(PATIENCE, waiting).await;
        assert!(
            waited.is_ok(),
            "waited in vain: {what}\n{:#?}\n{:#?}",
            self.pods(),
            self.runner.findings()
        );
    }

    async fn until_ready(&mut self, pods: usize) {
        self.until("all pods are ready", |mesh| {
            mesh.runner.unready().is_empty()
                && mesh.pods().len() == pods
                && mesh.pods().iter().all(|pod| pod.ready)
        })
        .await;
    }

    fn state(&self) -> &StateDir {
        self.runner.state()
    }

    fn pods(&self) -> Vec<PodReport> {
        PodReport::read_all(self.state())
    }

    fn pod(&self, deployment: &str) -> PodReport {
        let pods = self.pods();
        let found = pods
            .into_iter()
            .find(|pod| pod.is_called(deployment) && !pod.terminating);
        found.unwrap_or_else(|| panic!("no pod of {deployment}"))
    }

    /// The objects of `kind` as control reads them.
    fn objects(&self, kind: &str) -> Vec<Value> {
        let entries = fs::read_dir(self.state().objects())
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let is_meant = |path: &PathBuf| {
            path.file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .starts_with(&format!("{kind}."))
        };
        entries
            .filter(is_meant)
            .map(|path| serde_json::from_slice(&fs::read(path).unwrap()).unwrap())
            .collect()
    }

    /// Runs a program in a pod while the runner goes on: names are resolved by it.
    async fn exec(&mut self, deployment: &str, words: &[&str]) -> Output {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]);
        let command = NetnsCommand::new(&self.pod(deployment).netns, command).unwrap();
        let running = tokio::task::spawn_blocking(move || {
            command.etc_overlay(Overlay::Strict).output().unwrap()
        });
        tokio::pin!(running);
        loop {
            tokio::select! {
                output = &mut running => return output.unwrap(),
                () = self.runner.changed() => self.runner.reconcile().await,
            }
        }
    }

    async fn curl(&mut self, deployment: &str, words: &[&str]) -> String {
        let words = [&["curl", "-sS", "-m", "10"], words].concat();
        let output = self.exec(deployment, &words).await;
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{words:?}: {complaint}");
        String::from_utf8(output.stdout).unwrap()
    }

    async fn stop(self) {
        fs::remove_dir_all(&self.manifests).unwrap();
        // Boxed: the whole runner goes into it.
        Box::pin(self.runner.stop()).await.unwrap();
    }
}

/// A Service and a Deployment of the sample server; `more` is put into the container.
fn app(name: &str, replicas: u32, version: &str, more: &str) -> String {
    let mut yaml = format!(
        "apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec:
  selector: {{app: {name}}}
  ports: [{{name: http, port: 80, targetPort: 8080}}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      terminationGracePeriodSeconds: 5
      containers:
        - name: app
          image: sample
          command: [cairn, sample, server]
          args: [--name, {name}, --version, {version}]
"
    );
    for line in more.lines() {
        writeln!(yaml, "          {line}").unwrap();
    }
    yaml + "---\n"
}

#[test]
fn deployments_run_spread_and_are_reached_by_name() {
    with_mesh(async |name| {
        let yaml = app("web", 2, "v1", "") + &app("client", 1, "v1", "");
        let mut mesh = Mesh::start(&name, &yaml).await;
        mesh.until_ready(3).await;
        let nodes: BTreeSet<String> = mesh
            .pods()
            .into_iter()
            .filter(|pod| pod.is_called("web"))
            .map(|pod| pod.node)
            .collect();
        assert_eq!(
            nodes,
            BTreeSet::from(["node1".to_owned(), "node2".to_owned()])
        );

        let mut seen = BTreeSet::new();
        for _ in 0..20 {
            let answer = mesh.curl("client", &["http://web/"]).await;
            let answer: Value = serde_json::from_str(&answer).unwrap();
            assert_eq!(answer["service"], "web");
            let client = answer["client"].as_str().unwrap();
            assert!(
                client.starts_with(&format!("{}:", mesh.pod("client").ip)),
                "{client}"
            );
            seen.insert(answer["pod"].as_str().unwrap().to_owned());
        }
        assert_eq!(seen.len(), 2, "both pods take part");
        for url in [
            "http://web.default/",
            "http://web.default.svc.cluster.local/",
            "http://web/",
        ] {
            mesh.curl("client", &[url]).await;
        }
        let nope = mesh.exec("client", &["curl", "-s", "http://nope/"]).await;
        assert_eq!(nope.status.code(), Some(6), "curl: could not resolve host");
        mesh.stop().await;
        assert_eq!(remains(&name), [].into());
    });
}

#[test]
fn what_runs_is_written_as_objects() {
    with_mesh(async |name| {
        let mut mesh = Mesh::start(&name, &app("web", 1, "v1", "")).await;
        mesh.until_ready(1).await;
        let pod = &mesh.objects("pod")[0];
        assert_eq!(pod["status"]["phase"], "Running");
        assert_eq!(pod["metadata"]["labels"]["app"], "web");
        assert!(
            pod["status"]["conditions"]
                .as_array()
                .unwrap()
                .iter()
                .all(|one| one["status"] == "True")
        );
        let slice = mesh
            .objects("endpointslice")
            .into_iter()
            .find(|slice| slice["metadata"]["namespace"] == "default");
        let endpoint = slice.unwrap()["endpoints"][0].clone();
        assert_eq!(endpoint["addresses"][0], pod["status"]["podIP"]);
        assert_eq!(endpoint["targetRef"]["uid"], pod["metadata"]["uid"]);
        assert_eq!(mesh.objects("node").len(), 2);
        let ips: Vec<Value> = mesh
            .objects("ipaddress")
            .iter()
            .map(|ip| ip["spec"]["parentRef"]["name"].clone())
            .collect();
        for service in ["web", "istiod", "kube-dns"] {
            assert!(ips.contains(&service.into()), "{service} has an address");
        }
        mesh.stop().await;
    });
}

#[test]
fn a_changed_template_is_rolled_without_losing_a_request() {
    with_mesh(async |name| {
        let mut mesh = Mesh::start(
            &name,
            &(app("web", 2, "v1", "") + &app("client", 1, "v1", "")),
        )
        .await;
        mesh.until_ready(3).await;
        let old: BTreeSet<String> = mesh.pods().into_iter().map(|pod| pod.name).collect();

        mesh.apply(
            "mesh.yaml",
            &(app("web", 2, "v2", "") + &app("client", 1, "v1", "")),
        );
        let deadline = Instant::now() + PATIENCE;
        let mut versions = BTreeSet::new();
        let mut both = 0;
        loop {
            let version = mesh.curl("client", &["http://web/version"]).await;
            versions.insert(version.trim().to_owned());
            let web: Vec<PodReport> = mesh
                .pods()
                .into_iter()
                .filter(|pod| pod.is_called("web"))
                .collect();
            let serving = web
                .iter()
                .filter(|pod| pod.ready && !pod.terminating)
                .count();
            assert!(serving >= 2, "never fewer than asked for: {web:#?}");
            both += usize::from(web.len() > 2);
            if web.len() == 2 && web.iter().all(|pod| !old.contains(&pod.name)) {
                break;
            }
            assert!(Instant::now() < deadline, "{web:#?}");
        }
        assert!(both > 0, "one more than asked for while it changes");
        assert_eq!(
            mesh.curl("client", &["http://web/version"]).await,
            "web v2\n"
        );
        assert!(versions.contains("web v1"), "{versions:?}");
        mesh.stop().await;
    });
}

#[test]
fn a_process_that_dies_is_started_again_in_its_pod() {
    with_mesh(async |name| {
        let mut mesh = Mesh::start(&name, &app("web", 1, "v1", "")).await;
        mesh.until_ready(1).await;
        let before = mesh.pod("web");
        let pid = before.containers[0].pid.unwrap();
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(pid.try_into().unwrap()),
            nix::sys::signal::SIGKILL,
        )
        .unwrap();
        mesh.until("it is back", |mesh| {
            let pod = mesh.pod("web");
            pod.ready && pod.containers[0].pid.is_some_and(|now| now != pid)
        })
        .await;
        let after = mesh.pod("web");
        assert_eq!((after.name, after.ip), (before.name, before.ip));
        assert_eq!(after.containers[0].restarts, 1);
        let last =
            &mesh.objects("pod")[0]["status"]["containerStatuses"][0]["lastState"]["terminated"];
        assert_eq!(last["signal"], 9);
        mesh.stop().await;
    });
}

#[test]
fn a_removed_deployment_takes_its_pods_with_it() {
    with_mesh(async |name| {
        let mut mesh = Mesh::start(&name, &app("web", 2, "v1", "")).await;
        mesh.apply("other.yaml", &app("other", 1, "v1", ""));
        mesh.until_ready(3).await;
        fs::remove_file(mesh.manifests.join("mesh.yaml")).unwrap();
        mesh.until("its pods are gone", |mesh| mesh.pods().len() == 1)
            .await;
        assert_eq!(mesh.pods()[0].deployment.as_deref(), Some("other"));
        assert_eq!(mesh.objects("pod").len(), 1);
        mesh.stop().await;
    });
}

#[test]
fn probes_decide_about_traffic_and_restarts() {
    let ready = "readinessProbe: {httpGet: {path: /status/200, port: 8080}, periodSeconds: 1}\n\
         startupProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}\n\
         livenessProbe: {exec: {command: [sh, -c, 'test -n \"$POD\"']}, periodSeconds: 1}\n\
         env: [{name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]";
    let unready = "readinessProbe: {httpGet: {path: /status/500, port: 8080}, periodSeconds: 1}";
    let unwell = "livenessProbe: {httpGet: {path: /status/500, port: 8080}, periodSeconds: 1, failureThreshold: 1}";
    with_mesh(async |name| {
        let yaml = app("ready", 1, "v1", ready)
            + &app("unready", 1, "v1", unready)
            + &app("unwell", 1, "v1", unwell);
        let mut mesh = Mesh::start(&name, &yaml).await;
        mesh.until("the unwell one is restarted", |mesh| {
            mesh.pods()
                .iter()
                .any(|pod| pod.is_called("unwell") && pod.containers[0].restarts > 1)
        })
        .await;
        mesh.until("the ready one is ready", |mesh| mesh.pod("ready").ready)
            .await;
        assert!(!mesh.pod("unready").ready);
        assert_eq!(mesh.pod("ready").containers[0].restarts, 0);
        let refused = mesh.exec("ready", &["curl", "-s", "http://unready/"]).await;
        assert_eq!(refused.status.code(), Some(7), "curl: connection refused");
        let missing = mesh.runner.unready();
        assert!(
            missing
                .iter()
                .any(|line| line.contains("pod default/unready-")),
            "{missing:?}"
        );
        mesh.stop().await;
    });
}

#[test]
fn a_pod_that_never_listens_is_a_warning_and_not_waited_for() {
    let yaml = app("web", 1, "v1", "")
        .replace("[cairn, sample, server]", "[sleep, '1000']")
        .replace("args: [--name, web, --version, v1]", "args: []");
    with_mesh(async |name| {
        let mut mesh = Mesh::start(&name, &yaml).await;
        assert_eq!(mesh.runner.unready().len(), 1);
        mesh.until("it is warned about", |mesh| {
            mesh.runner
                .findings()
                .iter()
                .any(|finding| finding.what.contains("does not listen on port 8080"))
        })
        .await;
        assert_eq!(mesh.runner.unready(), Vec::<String>::new());
        assert!(!mesh.pod("web").ready);
        mesh.stop().await;
    });
}

#[test]
fn a_program_that_cannot_be_started_says_why() {
    let yaml = app("web", 1, "v1", "").replace("[cairn, sample, server]", "[/no/such/program]");
    with_mesh(async |name| {
        let mut mesh = Mesh::start(&name, &yaml).await;
        mesh.until("it says why", |mesh| {
            mesh.runner
                .unready()
                .iter()
                .any(|line| line.contains("/no/such/program") && line.contains("No such file"))
        })
        .await;
        let waiting =
            mesh.objects("pod")[0]["status"]["containerStatuses"][0]["state"]["waiting"].clone();
        assert_eq!(waiting["reason"], "CreateContainerError");
        mesh.stop().await;
    });
}

#[test]
fn several_containers_share_their_pods_network() {
    let second = "- name: second\n  image: sample\n  command: [cairn, sample, server, --port, '9090', --name, second]";
    let yaml = app("web", 1, "v1", "").trim_end_matches("---\n").to_owned()
        + &second
            .lines()
            .fold(String::new(), |text, line| text + "        " + line + "\n");
    with_mesh(async |name| {
        let mut mesh = Mesh::start(&name, &yaml).await;
        mesh.until_ready(1).await;
        assert_eq!(
            mesh.curl("web", &["http://localhost:9090/version"]).await,
            "second v1\n"
        );
        assert_eq!(
            mesh.curl("web", &["http://localhost:8080/version"]).await,
            "web v1\n"
        );
        let pod = mesh.pod("web");
        for container in ["app", "second"] {
            let log =
                fs::read_to_string(mesh.state().log("default", &pod.name, container)).unwrap();
            assert!(log.contains("GET /version"), "{container}: {log}");
        }
        mesh.stop().await;
    });
}

#[test]
fn a_killed_runner_leaves_a_mesh_that_the_next_one_removes() {
    with_mesh(async |name| {
        let mut mesh = Mesh::start(&name, &app("web", 1, "v1", "")).await;
        mesh.until_ready(1).await;
        let pid = mesh.pod("web").containers[0].pid.unwrap();
        // Forgotten, not stopped: as after `kill -9`, nobody ends anything.
        let manifests = mesh.manifests.clone();
        drop(mesh);
        assert!(
            fs::metadata(format!("/proc/{pid}")).is_ok(),
            "pods go on without their runner"
        );

        let mut mesh = Mesh::start(&name, &app("web", 1, "v1", "")).await;
        assert!(
            cairn::state::start_time(pid).is_none(),
            "the old pod is gone"
        );
        mesh.until_ready(1).await;
        assert!(
            Claim::take(&name).await.is_err(),
            "a mesh that is up is nobody else's"
        );
        mesh.stop().await;
        assert!(!manifests.exists());
        assert_eq!(remains(&name), [].into());
    });
}
