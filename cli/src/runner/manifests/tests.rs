use super::*;

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("cairn-manifests-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn put(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        let temporary = self.0.join(".temporary");
        fs::write(&temporary, text).unwrap();
        fs::rename(&temporary, &path).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn document(name: &str) -> String {
    format!("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {name}\n")
}

fn manifests(folder: &Folder) -> Manifests {
    Manifests::new(vec![folder.0.clone()], Arc::default()).unwrap()
}

fn names(manifests: &Manifests) -> Vec<String> {
    let name = |document: &Document| {
        document.value["metadata"]["name"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    manifests.documents().map(name).collect()
}

#[test]
fn documents_come_in_the_order_of_file_names_with_their_lines() {
    let folder = Folder::new("order");
    folder.put("b.yaml", &document("third"));
    folder.put(
        "a.yaml",
        &format!(
            "# shop\n---\n{}---\n---\n{}",
            document("first"),
            document("second")
        ),
    );
    folder.put(".hidden.yaml", &document("hidden"));
    folder.put("notes.txt", "not: [a manifest");
    let mut manifests = manifests(&folder);
    assert!(manifests.reload());
    assert_eq!(names(&manifests), ["first", "second", "third"]);
    let lines: Vec<u32> = manifests
        .documents()
        .map(|document| document.origin.line)
        .collect();
    assert_eq!(lines, [3, 9, 1]);
    assert!(!manifests.reload());
}

#[test]
fn a_broken_file_keeps_what_it_held_and_a_removed_one_does_not() {
    let folder = Folder::new("broken");
    let path = folder.put("a.yaml", &document("one"));
    let mut manifests = manifests(&folder);
    manifests.reload();
    folder.put("a.yaml", &format!("{}---\nkind: [", document("two")));
    assert!(!manifests.reload());
    assert_eq!(names(&manifests), ["one"]);
    folder.put("a.yaml", &document("two"));
    assert!(manifests.reload());
    assert_eq!(names(&manifests), ["two"]);
    fs::remove_file(path).unwrap();
    assert!(manifests.reload());
    assert!(names(&manifests).is_empty());
}

#[test]
fn lists_are_taken_apart() {
    let folder = Folder::new("list");
    let list =
        r#"{"kind": "List", "items": [{"metadata": {"name": "x"}}, {"metadata": {"name": "y"}}]}"#;
    folder.put("list.json", list);
    let mut manifests = manifests(&folder);
    manifests.reload();
    assert_eq!(names(&manifests), ["x", "y"]);
}

#[tokio::test]
async fn a_file_renamed_into_place_is_noticed() {
    let folder = Folder::new("notice");
    let changed = Arc::new(Notify::new());
    let mut manifests = Manifests::new(vec![folder.0.clone()], changed.clone()).unwrap();
    manifests.reload();
    folder.put("a.yaml", &document("new"));
    let noticed = async {
        while !manifests.reload() {
            changed.notified().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), noticed)
        .await
        .unwrap();
    assert_eq!(names(&manifests), ["new"]);
}
