use super::*;

#[test]
fn mesh_names_are_safe_in_paths_and_namespace_names() {
    for good in ["default", "a", "t-1", "0", "abcdefghijklmnopqrstuvwx"] {
        assert_eq!(good.parse::<MeshName>().unwrap().as_str(), good);
    }
    for bad in [
        "",
        "-a",
        "a-",
        "A",
        "a/b",
        "a.b",
        "..",
        "a b",
        "abcdefghijklmnopqrstuvwxy",
    ] {
        assert!(bad.parse::<MeshName>().is_err(), "{bad:?}");
    }
}

#[test]
fn two_meshes_never_share_an_owner_tag() {
    let (a, ab): (MeshName, MeshName) = ("a".parse().unwrap(), "a-b".parse().unwrap());
    // The names of one may begin like the other's; the tags are what tells them apart.
    assert!(ab.netns("node1").starts_with(&a.netns("")));
    assert_ne!(a.owner(), ab.owner());
}

#[test]
fn a_reused_pid_is_not_the_runner() {
    let me = RunnerRecord::of_this_process(2, Vec::new()).unwrap();
    assert!(me.is_alive());
    let other = RunnerRecord {
        started: me.started + 1,
        ..me
    };
    assert!(!other.is_alive());
}

#[test]
fn a_process_that_ended_unreaped_is_not_alive() {
    let mut child = std::process::Command::new("true").spawn().unwrap();
    let pid = child.id();
    // Wait for the end without reaping: WNOWAIT leaves the zombie in place.
    let flags = nix::sys::wait::WaitPidFlag::WEXITED | nix::sys::wait::WaitPidFlag::WNOWAIT;
    let id = nix::sys::wait::Id::Pid(nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap()));
    nix::sys::wait::waitid(id, flags).unwrap();
    assert_eq!(start_time(pid), None);
    child.wait().unwrap();
}

#[test]
fn the_folder_is_made_for_root_only_and_goes_completely() {
    use std::os::unix::fs::PermissionsExt;

    let base = std::env::temp_dir().join(format!("cairn-state-{}", std::process::id()));
    let state = StateDir::at(base.join("m"));
    state.create().unwrap();
    assert_eq!(
        fs::metadata(state.root()).unwrap().permissions().mode() & 0o777,
        0o700
    );
    let record = RunnerRecord::of_this_process(2, vec![PathBuf::from("/x")]).unwrap();
    record.write(&state).unwrap();
    assert_eq!(RunnerRecord::read(&state), Some(record));

    fs::write(state.runner_log(), "said").unwrap();
    state.clear().unwrap();
    let left: Vec<_> = fs::read_dir(state.root())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(left, [state.runner_log()]);

    state.remove().unwrap();
    assert!(!base.exists());
    state.remove().unwrap();
}
