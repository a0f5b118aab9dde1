//! `cairn down`: end the mesh, whatever state it is in.

use std::{process::ExitCode, time::Duration};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::time::{Instant, sleep};

use super::privileges;
use crate::{
    print,
    runner::{self, sweep},
    state::{MeshName, RunnerRecord, StateDir},
};

/// How long the runner gets to end the mesh in order.
const PATIENCE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(20);

/// Ends the mesh; one that is not up is down already.
pub(super) async fn run(mesh: &MeshName) -> anyhow::Result<ExitCode> {
    privileges::require("down")?;
    let state = StateDir::new(mesh);
    let was_up = match RunnerRecord::read(&state).filter(RunnerRecord::is_alive) {
        Some(record) => {
            ask(&record).await;
            true
        }
        None => false,
    };
    // Another command may be just about to let go of the mesh.
    let deadline = Instant::now() + PATIENCE;
    let swept = loop {
        match sweep(mesh).await {
            Err(runner::Error::Busy { .. } | runner::Error::AlreadyUp { .. })
                if Instant::now() < deadline =>
            {
                sleep(POLL).await;
            }
            other => break other?,
        }
    };
    let outcome = if was_up || swept {
        "is down"
    } else {
        "was not up"
    };
    print::say(format_args!("mesh {mesh} {outcome}"));
    Ok(ExitCode::SUCCESS)
}

/// Asks the runner to end, and ends it when it does not.
async fn ask(record: &RunnerRecord) {
    let Ok(pid) = i32::try_from(record.pid) else {
        return;
    };
    let deadline = Instant::now() + PATIENCE;
    let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
    while record.is_alive() && Instant::now() < deadline {
        sleep(POLL).await;
    }
    if record.is_alive() {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
}
