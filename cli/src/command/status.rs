//! `cairn status`: what is wrong with the objects, and who runs where.

use std::process::ExitCode;

use clap::ValueEnum;
use control::finding::{Finding, Severity};
use serde::Serialize;

use super::target;
use crate::{
    local_api::LocalApi,
    print,
    runner::{pod::Role, report::PodReport},
    state::{MeshName, RunnerRecord, StateDir},
};

/// How to print it.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print JSON, with every process.
    #[arg(long, short, value_enum)]
    output: Option<Output>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Output {
    Json,
}

/// The mesh in one document.
#[derive(Serialize)]
struct Status<'a> {
    mesh: &'a str,
    /// Whether no document is refused.
    ok: bool,
    /// Whether manifests are followed and processes restarted.
    running: bool,
    findings: &'a [Finding],
    processes: Vec<Process<'a>>,
}

/// A process of the mesh.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Process<'a> {
    role: Role,
    node: &'a str,
    namespace: &'a str,
    pod: &'a str,
    container: &'a str,
    image: &'a str,
    pid: Option<u32>,
    ip: &'a str,
    netns: &'a str,
    ready: bool,
    captured: bool,
    restarts: i32,
}

/// Prints one line per finding. Fails while a document is refused.
pub(super) async fn run(mesh: &MeshName, args: Args) -> anyhow::Result<ExitCode> {
    let pods = target::pods(mesh)?;
    let state = StateDir::new(mesh);
    let own = std::fs::read(state.findings()).unwrap_or_default();
    let mut findings: Vec<Finding> = serde_json::from_slice(&own).unwrap_or_default();
    let control = LocalApi::new(&state.control_socket()).findings().await;
    let answered = control.is_ok();
    match control {
        Ok(more) => findings.extend(more),
        Err(e) => print::warn(format_args!(
            "{}; what it finds is missing here",
            runtime::report(&e)
        )),
    }
    findings.sort();
    findings.dedup();
    let running = RunnerRecord::read(&state).is_some_and(|record| record.is_alive());
    if !running {
        print::warn(format_args!(
            "the runner of mesh {mesh} was killed: no change is followed and nothing is restarted, \
             cairn up starts the mesh anew, cairn down removes it"
        ));
    }
    let ok = findings
        .iter()
        .all(|finding| finding.severity != Severity::Error);
    if args.output.is_some() {
        let status = Status {
            mesh: mesh.as_str(),
            ok,
            running,
            findings: &findings,
            processes: processes(&pods),
        };
        print::out(serde_json::to_string_pretty(&status)?);
    } else {
        findings.iter().for_each(print::out);
        let ready = pods.iter().filter(|pod| pod.ready).count();
        print::say(format_args!(
            "mesh {mesh}: {ready} of {} pods ready, {} findings",
            pods.len(),
            findings.len()
        ));
        for pod in &pods {
            if let Some(obstacle) = &pod.obstacle {
                print::say(format_args!(
                    "pod {}/{}: {obstacle}",
                    pod.namespace, pod.name
                ));
            }
        }
    }
    Ok(if ok && answered && running {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn processes(pods: &[PodReport]) -> Vec<Process<'_>> {
    let mut processes = Vec::new();
    for pod in pods {
        processes.extend(pod.containers.iter().map(|container| Process {
            role: pod.role,
            node: &pod.node,
            namespace: &pod.namespace,
            pod: &pod.name,
            container: &container.name,
            image: &container.image,
            pid: container.pid,
            ip: &pod.ip,
            netns: &pod.netns,
            ready: pod.ready,
            captured: pod.captured,
            restarts: container.restarts,
        }));
    }
    processes
}
