//! A runner that stays behind: its own session, none of the caller's descriptors, and a pipe on
//! which it says how it gets on until the mesh is ready or not.

use std::{fs, io, path::Path, process::Stdio};

use anyhow::Context;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
    signal::unix::{SignalKind, signal},
};

use crate::{
    print,
    state::{MeshName, StateDir},
};

/// Standard input, output and error.
const STANDARD: i32 = 2;

/// Something to tell the person who typed `up`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) enum Word {
    /// How it goes.
    Step(String),
    /// Something is wrong and does not stop us.
    Warning(String),
    /// The mesh is ready; what to try next.
    Ready(String),
    /// It will not be.
    Failed(String),
}

impl Word {
    /// Tells a person.
    pub(super) fn show(&self) {
        match self {
            Self::Step(text) | Self::Ready(text) => print::say(text),
            Self::Warning(text) => print::warn(text),
            Self::Failed(text) => print::fail(text),
        }
    }
}

/// To whom the runner talks.
#[derive(Debug)]
pub(super) enum Listener {
    /// A person, all the time.
    Terminal,
    /// The command that started us, until it has heard enough.
    Pipe,
    /// The log.
    Log,
}

impl Listener {
    /// Says `word`; the last one ends the conversation with the command that started us.
    pub(super) fn hear(&mut self, word: &Word, log: &Path) {
        match self {
            Self::Terminal | Self::Log => word.show(),
            Self::Pipe => {
                print::out(serde_json::to_string(word).unwrap_or_default());
                if matches!(word, Word::Ready(_) | Word::Failed(_)) {
                    *self = Self::Log;
                    // Closes our end of the pipe, so that the command sees the end.
                    let opened = fs::OpenOptions::new().create(true).append(true).open(log);
                    let _ = opened.map(nix::unistd::dup2_stdout);
                }
            }
        }
    }
}

/// Closes what the caller had open besides the standard three.
///
/// Must come first: whatever this process opened itself would be closed with it.
pub(super) fn close_inherited() {
    let open: Vec<i32> = fs::read_dir("/proc/self/fd")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    for descriptor in open.into_iter().filter(|descriptor| *descriptor > STANDARD) {
        // The one that listed the others is gone already.
        let _ = nix::unistd::close(descriptor);
    }
}

/// Makes this process its own session's leader, away from the caller's terminal.
pub(super) fn leave_session() -> io::Result<()> {
    nix::unistd::setsid().map(drop).map_err(io::Error::from)
}

/// Starts this program again as a runner that stays, and tells what it says until the mesh is
/// ready. Returns whether it is.
pub(super) async fn start_runner(
    mesh: &MeshName,
    args: &[std::ffi::OsString],
) -> anyhow::Result<bool> {
    let state = StateDir::new(mesh);
    state
        .create()
        .with_context(|| state.root().display().to_string())?;
    let log = state.runner_log();
    let log_file = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(&log)
        .with_context(|| log.display().to_string())?;
    let mut child = Command::new("/proc/self/exe")
        .arg0("cairn")
        .args(["--mesh", mesh.as_str()])
        .args(args)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log_file)
        .spawn()
        .context("start the runner")?;
    let pid = child
        .id()
        .and_then(|pid| i32::try_from(pid).ok())
        .map(Pid::from_raw);
    let mut interrupts = signal(SignalKind::interrupt())?;
    let mut asked = false;
    let mut lines =
        BufReader::new(child.stdout.take().context("the runner has no output")?).lines();
    loop {
        tokio::select! {
            line = lines.next_line() => {
                let Some(line) = line? else { break };
                let Ok(word) = serde_json::from_str::<Word>(&line) else { continue };
                word.show();
                match word {
                    Word::Ready(_) => return Ok(true),
                    Word::Failed(_) => return Ok(false),
                    Word::Step(_) | Word::Warning(_) => {}
                }
            }
            _ = interrupts.recv() => {
                // First politely, then at once.
                let how = if asked { Signal::SIGKILL } else { Signal::SIGTERM };
                asked = true;
                let _ = pid.map(|pid| kill(pid, how));
            }
        }
    }
    let status = child.wait().await?;
    print::fail(format_args!(
        "the runner ended before the mesh was ready ({status}); its log is {}",
        log.display()
    ));
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_the_pipe() {
        for word in [
            Word::Step("a".to_owned()),
            Word::Ready("b\nc".to_owned()),
            Word::Failed(String::new()),
        ] {
            let line = serde_json::to_string(&word).unwrap();
            assert!(!line.contains('\n'));
            assert_eq!(serde_json::from_str::<Word>(&line).unwrap(), word);
        }
    }
}
