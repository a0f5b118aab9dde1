//! Removing all of a mesh's network, whoever made it and however that one ended.
//!
//! The only source is the owner tags of the namespaces, so it works after `kill -9`, after a
//! failed start, and when there was nothing at all.

use std::{fs, io, path::Path, time::Duration};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use nlink::netlink::namespace::{self, Netns};
use tokio::time::{Instant, sleep};

use super::{ETC_NETNS, Error};
use crate::state::MeshName;

/// How long killed processes get to disappear.
const KILL_TIMEOUT: Duration = Duration::from_secs(10);
const KILL_POLL: Duration = Duration::from_millis(10);

/// Whether there is anything of `mesh`'s network on this machine.
pub fn exists(mesh: &MeshName) -> Result<bool, Error> {
    owned(mesh).map(|names| !names.is_empty())
}

/// Ends every process in the mesh's namespaces and removes the namespaces with all they hold.
///
/// Returns how many namespaces there were. Processes of other meshes and of the caller are never
/// touched.
pub async fn teardown(mesh: &MeshName) -> Result<usize, Error> {
    let names = owned(mesh)?;
    // All are told first, so that they end side by side.
    for name in &names {
        kill_all(name)?;
    }
    for name in &names {
        end_processes(name).await?;
        delete_netns(name)?;
    }
    remove_empty_folders();
    Ok(names.len())
}

/// Ends every other process in a namespace, at once, and waits until they are gone.
pub async fn end_processes(name: &str) -> Result<(), Error> {
    let deadline = Instant::now() + KILL_TIMEOUT;
    loop {
        let left = kill_all(name)?;
        if left.is_empty() {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(Error::Unkillable {
                netns: name.to_owned(),
                pids: left,
            });
        }
        sleep(KILL_POLL).await;
    }
}

fn owned(mesh: &MeshName) -> Result<Vec<String>, Error> {
    namespace::list_owned(&mesh.owner()).map_err(|source| Error::Kernel {
        netns: mesh.netns("*"),
        action: "list the mesh's namespaces",
        source,
    })
}

/// Sends SIGKILL to every other process in a namespace and returns who was there.
fn kill_all(name: &str) -> Result<Vec<u32>, Error> {
    let failed = |source| Error::Kernel {
        netns: name.to_owned(),
        action: "find its processes",
        source,
    };
    let netns = match Netns::open(name) {
        Ok(netns) => netns,
        // A tag without a namespace: the one who made it was killed in between.
        Err(e) if e.is_not_found() => return Ok(Vec::new()),
        Err(e) => return Err(failed(e)),
    };
    let mut pids = netns.pids().map_err(failed)?;
    // A proxy that only keeps a thread in here lives elsewhere, as we do.
    pids.retain(|pid| {
        *pid != std::process::id() && Netns::from_pid(*pid).is_ok_and(|home| home == netns)
    });
    for pid in &pids {
        // Gone in between is as good as killed.
        let _ = i32::try_from(*pid).map(|raw| kill(Pid::from_raw(raw), Signal::SIGKILL));
    }
    Ok(pids)
}

/// Removes one namespace's name and its files for `/etc`. Gone already is fine.
pub(super) fn delete_netns(name: &str) -> Result<(), Error> {
    let failed = |source| Error::Kernel {
        netns: name.to_owned(),
        action: "delete the namespace",
        source,
    };
    match namespace::delete(name) {
        Err(e) if e.is_not_found() => namespace::remove_owner_tag(name).map_err(failed)?,
        other => other.map_err(failed)?,
    }
    let folder = Path::new(ETC_NETNS).join(name);
    match fs::remove_dir_all(&folder) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::File {
            path: folder,
            source: e,
        }),
        _ => Ok(()),
    }
}

/// Takes away the folders that were made for the first mesh; with another mesh up they are not
/// empty and stay.
fn remove_empty_folders() {
    let tags = Path::new(namespace::OWNER_TAG_DIR);
    for folder in [Some(tags), tags.parent(), Some(Path::new(ETC_NETNS))]
        .into_iter()
        .flatten()
    {
        let _ = fs::remove_dir(folder);
    }
}
