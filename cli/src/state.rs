//! What a mesh on this machine is called, and the folder it keeps.
//!
//! Everything here can be read by a process that did not write it: `cairn down` finds its way
//! after `kill -9` of `cairn up` with nothing but this folder and the names of the namespaces.

use std::{
    fmt, fs, io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

/// Where the folders of all meshes are.
const ROOT: &str = "/run/cairn";

/// The longest mesh name: a path to a socket in its folder must fit 107 bytes.
const NAME_MAX: usize = 24;

/// The name that keeps two meshes on one machine apart.
///
/// Invariant: 1 to 24 of `a-z`, `0-9` and `-`, beginning and ending with a letter or digit.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MeshName(String);

impl MeshName {
    /// The mesh that commands mean when none is named.
    pub const DEFAULT: &str = "default";

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is the mesh that commands mean when none is named.
    pub fn is_default(&self) -> bool {
        self.0 == Self::DEFAULT
    }

    /// The tag that marks a network namespace as this mesh's own.
    pub fn owner(&self) -> String {
        format!("cairn/{}", self.0)
    }

    /// The name `ip netns` shows for a part of this mesh.
    pub fn netns(&self, part: &str) -> String {
        format!("cairn-{}-{part}", self.0)
    }
}

impl fmt::Display for MeshName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A mesh name that cannot be one.
#[derive(Debug, thiserror::Error)]
#[error(
    "mesh name {0:?} must be 1 to {NAME_MAX} of a-z, 0-9 and -, and begin and end with a letter or digit"
)]
pub struct InvalidName(String);

impl FromStr for MeshName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let inner = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let bytes = text.as_bytes();
        let ends = bytes.first().is_some_and(inner) && bytes.last().is_some_and(inner);
        if ends && bytes.len() <= NAME_MAX && bytes.iter().all(|b| inner(b) || *b == b'-') {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidName(text.to_owned()))
        }
    }
}

/// The folder of one mesh, `/run/cairn/NAME`, readable by root only.
#[derive(Clone, Debug)]
pub struct StateDir {
    root: PathBuf,
}

impl StateDir {
    /// The folder of `mesh`; nothing is created.
    pub fn new(mesh: &MeshName) -> Self {
        Self {
            root: Path::new(ROOT).join(mesh.as_str()),
        }
    }

    /// A state folder somewhere else, for tests of what is kept in it.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Creates the folder and those in it, for root only.
    pub fn create(&self) -> io::Result<()> {
        if let Some(parent) = self.root.parent() {
            fs::create_dir_all(parent)?;
        }
        for folder in [
            self.root.clone(),
            self.objects(),
            self.generated(),
            self.control(),
            self.logs(),
            self.pods(),
            self.waypoints(),
            self.zds(),
        ] {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)?;
        }
        Ok(())
    }

    /// Removes the folder, and the one above it when no other mesh has one. Gone already is fine.
    pub fn remove(&self) -> io::Result<()> {
        match fs::remove_dir_all(&self.root) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        if let Some(parent) = self.root.parent() {
            // Not empty means another mesh is up: its folder must stay.
            let _ = fs::remove_dir(parent);
        }
        Ok(())
    }

    /// Removes all that is in the folder but the runner's log, which may be open already.
    pub fn clear(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.root)? {
            let entry = entry?;
            if entry.path() == self.runner_log() {
                continue;
            }
            if entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())?;
            } else {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// Whether there is such a folder.
    pub fn exists(&self) -> bool {
        self.root.is_dir()
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What the runner wrote: Nodes, Pods, EndpointSlices, IPAddresses. Control watches it.
    pub fn objects(&self) -> PathBuf {
        self.root.join("objects")
    }

    /// What control wrote: the Deployments, Services and ServiceAccounts of Gateways. The runner
    /// watches it.
    pub fn generated(&self) -> PathBuf {
        self.root.join("generated")
    }

    /// What control keeps for itself: keys, uids, generations.
    pub fn control(&self) -> PathBuf {
        self.root.join("control")
    }

    /// The output of every container, one file each.
    pub fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    /// The log file of one container.
    pub fn log(&self, namespace: &str, pod: &str, container: &str) -> PathBuf {
        self.logs()
            .join(format!("{namespace}_{pod}_{container}.log"))
    }

    fn pods(&self) -> PathBuf {
        self.root.join("pods")
    }

    /// What is mounted into one pod: its token.
    pub fn pod(&self, uid: &str) -> PathBuf {
        self.pods().join(uid)
    }

    /// What the waypoints of Gateways keep over a restart, a folder for each.
    pub fn waypoints(&self) -> PathBuf {
        self.root.join("waypoints")
    }

    fn zds(&self) -> PathBuf {
        self.root.join("zds")
    }

    /// The socket on which a node's ztunnel learns its pods.
    pub fn zds_socket(&self, node: &str) -> PathBuf {
        self.zds().join(format!("{node}.sock"))
    }

    /// Control's local API.
    pub fn control_socket(&self) -> PathBuf {
        self.root.join("control.sock")
    }

    /// The roots of the mesh, PEM, written by control.
    pub fn root_cert(&self) -> PathBuf {
        self.root.join("root-cert.pem")
    }

    /// Who runs the mesh.
    pub fn record(&self) -> PathBuf {
        self.root.join("runner.json")
    }

    /// What the runner has to say about objects.
    pub fn findings(&self) -> PathBuf {
        self.root.join("findings.json")
    }

    /// Every pod with its role, node, network namespace and processes.
    pub fn processes(&self) -> PathBuf {
        self.root.join("processes.json")
    }

    /// What a detached runner says.
    pub fn runner_log(&self) -> PathBuf {
        self.root.join("runner.log")
    }

    /// The built-in sample, written out for people to edit.
    pub fn sample(&self) -> PathBuf {
        self.root.join("sample")
    }
}

/// Replaces the file at `path` in one step, so that a reader sees the old text or the new.
///
/// The temporary name begins with a dot: folders of manifests are watched, and such names are
/// ignored there.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let temporary = path.with_file_name(format!(".{}.new", name.to_string_lossy()));
    let mut options = fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)?;
    io::Write::write_all(&mut file, bytes)?;
    fs::rename(&temporary, path)
}

/// Who runs a mesh: enough to find the process again and to know that it is still the same one.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct RunnerRecord {
    /// The runner's process id.
    pub pid: u32,
    /// When that process began, in clock ticks since boot: a reused pid has another value.
    pub started: u64,
    /// How many nodes were asked for.
    pub nodes: u8,
    /// The manifests that were asked for, absolute.
    pub paths: Vec<PathBuf>,
}

impl RunnerRecord {
    /// The record of the calling process.
    pub fn of_this_process(nodes: u8, paths: Vec<PathBuf>) -> io::Result<Self> {
        let pid = std::process::id();
        let started =
            start_time(pid).ok_or_else(|| io::Error::other("/proc/self/stat cannot be read"))?;
        Ok(Self {
            pid,
            started,
            nodes,
            paths,
        })
    }

    /// Reads the record of a mesh; `None` when there is none that can be understood.
    pub fn read(state: &StateDir) -> Option<Self> {
        serde_json::from_slice(&fs::read(state.record()).ok()?).ok()
    }

    /// Writes the record.
    pub fn write(&self, state: &StateDir) -> io::Result<()> {
        write_atomically(&state.record(), &serde_json::to_vec(self)?)
    }

    /// Whether the very process that wrote this is still there.
    pub fn is_alive(&self) -> bool {
        start_time(self.pid) == Some(self.started)
    }
}

/// When process `pid` began, in clock ticks since boot (`proc_pid_stat(5)`, field 22); `None` for
/// a process that is gone or has ended without being waited for.
pub fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses and may hold anything.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    match fields.next()? {
        "Z" | "X" => None,
        _ => fields.nth(18)?.parse().ok(),
    }
}

#[cfg(test)]
mod tests;
