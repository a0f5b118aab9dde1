//! `cairn exec`: a command in a pod's network, in this process's place.
//!
//! The command gets this very process, so its input, terminal, signals and exit code are the
//! caller's own. It sees the host's files; only the network and its files in `/etc` are the pod's.

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    fs,
    os::unix::{ffi::OsStringExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::Context;
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, setns, unshare},
};
use nlink::netlink::namespace::NETNS_RUN_DIR;

use super::{privileges, target};
use crate::{runner::report::PodReport, state::MeshName};

/// Exit codes of shells for a command that is not there, or cannot be run.
const NOT_FOUND: u8 = 127;
const CANNOT_RUN: u8 = 126;

/// What to run where.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The namespace of the pod.
    #[arg(long, short, default_value = "default")]
    namespace: String,
    /// A Deployment, a pod, `control`, `ztunnel-NODE` or a waypoint.
    name: String,
    /// The command and its arguments.
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// Becomes the command. Returns only when it cannot.
pub(super) fn run(mesh: &MeshName, args: &Args) -> anyhow::Result<ExitCode> {
    privileges::require("exec")?;
    let pods = target::pods(mesh)?;
    let found = target::find(&pods, &args.namespace, &args.name)?;
    let pod = found.first().context("no pod")?;
    enter(pod).with_context(|| format!("enter pod {}/{}", pod.namespace, pod.name))?;
    let (program, words) = args.command.split_first().context("no command is given")?;
    let mut environment = environment(pod);
    environment.insert("PATH".into(), search_path()?);
    let mut command = Command::new(program);
    command.args(words).envs(environment);
    let error = command.exec();
    crate::print::fail(format_args!("{}: {error}", Path::new(program).display()));
    let code = if error.kind() == std::io::ErrorKind::NotFound {
        NOT_FOUND
    } else {
        CANNOT_RUN
    };
    Ok(ExitCode::from(code))
}

/// Moves this process into the pod's network, with the pod's files in `/etc`.
fn enter(pod: &PodReport) -> anyhow::Result<()> {
    let path = Path::new(NETNS_RUN_DIR).join(&pod.netns);
    let netns = fs::File::open(&path).with_context(|| path.display().to_string())?;
    setns(netns, CloneFlags::CLONE_NEWNET).context("enter its network")?;
    unshare(CloneFlags::CLONE_NEWNS).context("leave the host's mounts")?;
    // Ours go to nobody; the host's still come to us.
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_SLAVE | MsFlags::MS_REC, none)
        .context("keep mounts to ourselves")?;
    // `/sys` shows the network it was mounted in.
    let detached = umount2("/sys", MntFlags::MNT_DETACH).is_ok();
    let mounted = mount(Some("cairn"), "/sys", Some("sysfs"), MsFlags::empty(), none);
    if detached {
        mounted.context("mount /sys")?;
    }
    let folder = Path::new("/etc/netns").join(&pod.netns);
    for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let source = entry?.path();
        let target = Path::new("/etc").join(source.file_name().unwrap_or_default());
        mount(Some(&source), &target, none, MsFlags::MS_BIND, none)
            .with_context(|| target.display().to_string())?;
    }
    Ok(())
}

/// What the pod's first container has in its environment.
/// Where programs are found: as the caller has it, and last this program's own folder, so that
/// `cairn sample` is at hand in a pod wherever cairn is installed.
fn search_path() -> anyhow::Result<OsString> {
    let own = env::current_exe().context("find this program")?;
    let given = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&given).chain(own.parent().map(Path::to_owned));
    env::join_paths(folders).context("join the folders programs are found in")
}

fn environment(pod: &PodReport) -> BTreeMap<OsString, OsString> {
    let pid = pod.containers.iter().find_map(|container| container.pid);
    let file = pid.map(|pid| PathBuf::from(format!("/proc/{pid}/environ")));
    let bytes = file
        .and_then(|file| fs::read(file).ok())
        .unwrap_or_default();
    variables(&bytes)
}

/// `NAME=value` pairs, each ended by a zero (`proc_pid_environ(5)`).
fn variables(bytes: &[u8]) -> BTreeMap<OsString, OsString> {
    let pair = |text: &[u8]| {
        let at = text.iter().position(|byte| *byte == b'=')?;
        let (name, value) = (text.get(..at)?.to_vec(), text.get(at + 1..)?.to_vec());
        Some((OsString::from_vec(name), OsString::from_vec(value)))
    };
    bytes.split(|byte| *byte == 0).filter_map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_environment_is_understood() {
        let found = variables(b"A=1\0B=x=y\0EMPTY=\0\0nonsense\0");
        let expected = [("A", "1"), ("B", "x=y"), ("EMPTY", "")]
            .map(|(name, value)| (name.into(), value.into()));
        assert_eq!(found, BTreeMap::from(expected));
    }
}
