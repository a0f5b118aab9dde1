use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use jiff::Timestamp;
use parking_lot::{Condvar, Mutex};

use super::*;
use crate::object::{Objects, Store};

/// How long anything may take before a test gives up.
const LIMIT: Duration = Duration::from_secs(20);

/// A folder of this test alone.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!(
            "control-files-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(fs::canonicalize(path).unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn put(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A store behind a running source.
struct Mesh {
    shared: Arc<(Mutex<(Store, bool)>, Condvar)>,
    files: Files,
}

impl Mesh {
    fn follow(paths: &[&Path]) -> Self {
        let shared = Arc::new((
            Mutex::new((Store::new(Timestamp::now()), false)),
            Condvar::new(),
        ));
        let sink = shared.clone();
        let files = Files::start(roots(paths), move |event| {
            let mut store = sink.0.lock();
            store.1 |= matches!(event, Event::Synced);
            store.0.apply(event, Timestamp::now());
            sink.1.notify_all();
            Ok::<(), ()>(())
        });
        let mesh = Self {
            shared,
            files: files.unwrap(),
        };
        let mut store = mesh.shared.0.lock();
        mesh.shared
            .1
            .wait_while_for(&mut store, |store| !store.1, LIMIT);
        assert!(store.1, "the source has said what there is");
        drop(store);
        mesh
    }

    /// Waits until the config maps are these, as `name=value`.
    #[track_caller]
    fn holds(&self, expected: &[&str]) {
        self.until(&format!("holds {expected:?}"), |store| {
            config(store.objects()) == expected
        });
    }

    /// Waits until the findings begin like these.
    #[track_caller]
    fn finds(&self, expected: &[String]) {
        self.until(&format!("finds {expected:?}"), |store| {
            let findings: Vec<String> = store.findings().iter().map(ToString::to_string).collect();
            findings.len() == expected.len()
                && findings
                    .iter()
                    .zip(expected)
                    .all(|(f, start)| f.starts_with(start))
        });
    }

    #[track_caller]
    fn until(&self, what: &str, condition: impl Fn(&Store) -> bool) {
        let mut store = self.shared.0.lock();
        self.shared
            .1
            .wait_while_for(&mut store, |store| !condition(&store.0), LIMIT);
        let (now, found) = (config(store.0.objects()), store.0.findings());
        assert!(condition(&store.0), "{what}, not {now:?} with {found:?}");
    }
}

fn roots(paths: &[&Path]) -> Vec<Root> {
    let root = |(order, path): (u32, &&Path)| Root::Written {
        order,
        path: Arc::from(*path),
    };
    (0..).zip(paths).map(root).collect()
}

fn config(objects: &Objects) -> Vec<String> {
    let maps = objects.list::<k8s_openapi::api::core::v1::ConfigMap>();
    let text = |(object, map): (_, &k8s_openapi::api::core::v1::ConfigMap)| {
        let object: &Arc<crate::object::Object> = object;
        let value = map.data.as_ref().and_then(|data| data.get("x")).cloned();
        format!("{}={}", object.key.name, value.unwrap_or_default())
    };
    maps.map(text).collect()
}

fn map(name: &str, value: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{x: \"{value}\"}}\n"
    )
}

#[test]
fn edits_of_a_folder_are_followed() {
    let folder = Folder::new();
    folder.put("b/c.yml", &map("b", "1"));
    folder.put("a.yaml", &(map("a", "1") + &map("aa", "1")));
    let mesh = Mesh::follow(&[&folder.0]);
    mesh.holds(&["a=1", "aa=1", "b=1"]);

    folder.put("a.yaml", &map("a", "2"));
    mesh.holds(&["a=2", "b=1"]);

    folder.put("new/deep/d.json", r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "d"}, "data": {"x": "1"}}"#);
    mesh.holds(&["a=2", "b=1", "d=1"]);
    folder.put("new/deep/d.json", r#"[{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "d"}, "data": {"x": "2"}}]"#);
    mesh.holds(&["a=2", "b=1", "d=2"]);

    fs::remove_file(folder.path("b/c.yml")).unwrap();
    mesh.holds(&["a=2", "d=2"]);
    fs::remove_dir_all(folder.path("new")).unwrap();
    mesh.holds(&["a=2"]);
    mesh.files.stop();
}

#[test]
fn a_file_that_is_replaced_by_renaming_is_seen() {
    let folder = Folder::new();
    let file = folder.put("a.yaml", &map("a", "1"));
    let (whole, single) = (Mesh::follow(&[&folder.0]), Mesh::follow(&[&file]));
    whole.holds(&["a=1"]);
    single.holds(&["a=1"]);
    for round in 2..5 {
        let draft = folder.put(".a.yaml.swp", &map("a", &round.to_string()));
        fs::rename(draft, &file).unwrap();
        whole.holds(&[&format!("a={round}")]);
        single.holds(&[&format!("a={round}")]);
    }
    fs::rename(&file, folder.path("b.yaml")).unwrap();
    single.finds(&[format!("{}: does not exist", file.display())]);
    single.holds(&["a=4"]);
    whole.holds(&["a=4"]);
    fs::rename(folder.path("b.yaml"), &file).unwrap();
    single.finds(&[]);
}

#[test]
fn a_file_is_left_alone_while_it_is_being_written() {
    let folder = Folder::new();
    let file = folder.put("a.yaml", &(map("a", "1") + &map("b", "1")));
    let mesh = Mesh::follow(&[&folder.0]);
    mesh.holds(&["a=1", "b=1"]);

    let mut writer = fs::File::create(&file).unwrap();
    writer.write_all(map("a", "2").as_bytes()).unwrap();
    writer.flush().unwrap();
    // That others are followed meanwhile shows that the source has looked, and has seen the half.
    for round in 0..5 {
        folder.put("c.yaml", &map("c", &round.to_string()));
        mesh.holds(&["a=1", "b=1", &format!("c={round}")]);
    }
    writer.write_all(map("b", "2").as_bytes()).unwrap();
    drop(writer);
    mesh.holds(&["a=2", "b=2", "c=4"]);
}

#[test]
fn a_broken_file_changes_nothing_and_is_reported_until_it_is_repaired() {
    let folder = Folder::new();
    let file = folder.put("a.yaml", &(map("a", "1") + &map("b", "1")));
    let mesh = Mesh::follow(&[&folder.0]);
    folder.put("a.yaml", &(map("a", "2") + "---\nkind: {\n"));
    mesh.holds(&["a=2", "b=1"]);
    mesh.finds(&[format!("{}:7", file.display())]);
    folder.put("a.yaml", &map("a", "3"));
    mesh.holds(&["a=3"]);
    mesh.finds(&[]);
}

#[test]
fn files_that_are_no_manifests_keep_what_they_held() {
    let folder = Folder::new();
    let file = folder.put("a.yaml", &map("a", "1"));
    let mesh = Mesh::follow(&[&folder.0]);
    mesh.holds(&["a=1"]);
    fs::write(&file, [0xff, 0xfe, 0x00]).unwrap();
    mesh.finds(&[format!(
        "{}: is not UTF-8 text, what it last held stays",
        file.display()
    )]);
    let large = fs::File::create(&file).unwrap();
    large.set_len(yaml::MAX_BYTES + 1).unwrap();
    drop(large);
    mesh.finds(&[format!("{}: is larger than 4 MiB", file.display())]);
    mesh.holds(&["a=1"]);
    folder.put("a.yaml", &map("a", "2"));
    mesh.holds(&["a=2"]);
    mesh.finds(&[]);
}

#[test]
fn hidden_names_and_other_files_are_passed_over() {
    let folder = Folder::new();
    folder.put(".hidden.yaml", &map("h", "1"));
    folder.put(".git/a.yaml", &map("g", "1"));
    folder.put("a.yaml~", &map("t", "1"));
    folder.put("README.md", "# a\n");
    folder.put("a.yaml", &map("a", "1"));
    Mesh::follow(&[&folder.0]).holds(&["a=1"]);
}

#[test]
fn a_turned_link_is_seen_as_kubernetes_turns_it() {
    let folder = Folder::new();
    folder.put("mount/..one/a.yaml", &map("a", "1"));
    folder.put("mount/..two/a.yaml", &map("a", "2"));
    let mount = folder.path("mount");
    symlink("..one", mount.join("..data")).unwrap();
    symlink("..data/a.yaml", mount.join("a.yaml")).unwrap();
    let mesh = Mesh::follow(&[&mount]);
    mesh.holds(&["a=1"]);
    symlink("..two", mount.join("..data.new")).unwrap();
    fs::rename(mount.join("..data.new"), mount.join("..data")).unwrap();
    mesh.holds(&["a=2"]);
}

#[test]
fn a_path_that_is_a_link_may_be_turned() {
    let folder = Folder::new();
    folder.put("one/a.yaml", &map("a", "1"));
    folder.put("two/a.yaml", &map("a", "2"));
    let current = folder.path("current");
    symlink("one", &current).unwrap();
    let mesh = Mesh::follow(&[&current]);
    mesh.holds(&["a=1"]);
    symlink("two", folder.path("next")).unwrap();
    fs::rename(folder.path("next"), &current).unwrap();
    mesh.holds(&["a=2"]);
    folder.put("two/a.yaml", &map("a", "3"));
    mesh.holds(&["a=3"]);
}

#[test]
fn a_link_out_of_the_folder_is_ignored_and_reported() {
    let folder = Folder::new();
    folder.put("outside.yaml", &map("o", "1"));
    folder.put("in/a.yaml", &map("a", "1"));
    let link = folder.path("in/o.yaml");
    symlink("../outside.yaml", &link).unwrap();
    symlink("a.yaml", folder.path("in/again.yaml")).unwrap();
    symlink(".", folder.path("in/loop")).unwrap();
    let mesh = Mesh::follow(&[&folder.path("in")]);
    mesh.holds(&["a=1"]);
    mesh.finds(&[format!(
        "{}: is a link that leads out of the folder, it is ignored",
        link.display()
    )]);
}

#[test]
fn a_path_may_come_later_and_go_without_losing_anything() {
    let folder = Folder::new();
    let path = folder.path("not/yet");
    let mesh = Mesh::follow(&[&path]);
    mesh.finds(&[format!(
        "{}: does not exist, what it last held stays in effect",
        path.display()
    )]);
    folder.put("not/yet/a.yaml", &map("a", "1"));
    mesh.holds(&["a=1"]);
    mesh.finds(&[]);
    fs::remove_dir_all(folder.path("not")).unwrap();
    mesh.finds(&[format!("{}: does not exist", path.display())]);
    mesh.holds(&["a=1"]);
    folder.put("not/yet/b.yaml", &map("b", "1"));
    mesh.holds(&["b=1"]);
    folder.put("not/yet/b.yaml", &map("b", "2"));
    mesh.holds(&["b=2"]);
}

#[test]
fn of_several_paths_the_first_counts() {
    let folder = Folder::new();
    folder.put("one/z.yaml", &map("a", "one"));
    folder.put("two/a.yaml", &(map("a", "two") + &map("b", "two")));
    let mesh = Mesh::follow(&[&folder.path("one"), &folder.path("two")]);
    mesh.holds(&["a=one", "b=two"]);
    let file = folder.path("two/a.yaml");
    mesh.finds(&[format!(
        "{}:2 ConfigMap default/a: is also declared in",
        file.display()
    )]);
    fs::remove_file(folder.path("one/z.yaml")).unwrap();
    mesh.holds(&["a=two", "b=two"]);
}

#[test]
fn files_can_be_read_once() {
    let folder = Folder::new();
    folder.put("a.yaml", &map("a", "1"));
    fs::File::open(folder.path("a.yaml"))
        .unwrap()
        .set_modified(std::time::SystemTime::now() - Duration::from_secs(9))
        .unwrap();
    let mut store = Store::new(Timestamp::now());
    for event in read(roots(&[&folder.0, &folder.path("missing")])) {
        store.apply(event, Timestamp::now());
    }
    assert_eq!(config(store.objects()), ["a=1"]);
    assert_eq!(store.findings().len(), 1);
    assert!(store.is_synced());
}

#[test]
fn the_source_ends_when_nobody_listens() {
    let folder = Folder::new();
    let (told, heard) = std::sync::mpsc::channel();
    let mut files = Files::start(roots(&[&folder.0]), move |_| {
        let _ = told.send(());
        Err(())
    })
    .unwrap();
    heard.recv_timeout(LIMIT).unwrap();
    files.thread.take().unwrap().join().unwrap();
}
