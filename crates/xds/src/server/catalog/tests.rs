use std::{cell::Cell, rc::Rc};

use super::*;

const TYPE: &str = "type.googleapis.com/test.Thing";

fn entry(text: &'static str) -> Entry {
    Entry::new(text.as_bytes())
}

fn names(resources: &Resources) -> Vec<&str> {
    resources.iter().map(|(name, _)| &**name).collect()
}

#[test]
fn a_version_is_sixteen_digits_of_the_contents_hash() {
    let version = entry("abc").version();
    // SHA-256 of "abc" begins so; a change here makes every client fetch everything once.
    assert_eq!(version.to_string(), "ba7816bf8f01cfea");
    assert!(version.is("ba7816bf8f01cfea"));
    assert!(!version.is(""));
    assert!(!version.is("ba7816bf8f01cfeb"));
    assert_eq!(entry("abc").version(), version);
    assert_ne!(entry("abd").version(), version);
}

#[test]
fn putting_the_same_again_changes_nothing() {
    let catalog = Catalog::new();
    let put = |snapshot: &mut Snapshot| {
        snapshot.resources_mut(TYPE).put("a", entry("1"));
    };
    assert_eq!(catalog.edit(put), 1);
    let seen = catalog.subscribe();
    assert_eq!(catalog.edit(put), 1);
    assert!(
        !seen.has_changed().unwrap(),
        "streams were woken for nothing"
    );
    assert_eq!(
        catalog.edit(|s| assert!(s.resources_mut(TYPE).remove("a"))),
        2
    );
    assert!(seen.has_changed().unwrap());
}

#[test]
fn a_type_without_resources_is_no_change() {
    let catalog = Catalog::new();
    assert_eq!(
        catalog.edit(|s| assert!(s.resources_mut(TYPE).is_empty())),
        0
    );
}

#[test]
fn a_published_snapshot_does_not_change_with_its_copy() {
    let catalog = Catalog::new();
    let mut work = Snapshot::default();
    work.resources_mut(TYPE).put("a", entry("1"));
    catalog.publish(work.clone());
    work.resources_mut(TYPE).put("b", entry("1"));
    let published = catalog.snapshot();
    assert_eq!(names(&published.resources(TYPE)), ["a"]);
    assert_eq!(catalog.publish(work), 2);
    assert_eq!(names(&published.resources(TYPE)), ["a"]);
    assert_eq!(names(&catalog.snapshot().resources(TYPE)), ["a", "b"]);
}

#[test]
fn replacing_keeps_what_is_equal_and_drops_the_rest() {
    let mut resources = Resources::default();
    resources.put("kept", entry("1"));
    resources.put("changed", entry("1"));
    resources.put("dropped", entry("1"));
    let kept = Arc::clone(resources.get("kept").unwrap());
    let desired = || [("kept".into(), entry("1")), ("changed".into(), entry("2"))];
    assert!(resources.replace(desired()));
    assert_eq!(names(&resources), ["changed", "kept"]);
    assert!(Arc::ptr_eq(&kept, resources.get("kept").unwrap()));
    assert!(!resources.replace(desired()));
}

#[test]
fn finds_resources_by_name_and_by_alias() {
    let mut resources = Resources::default();
    let with = |text, alias: &str| entry(text).with_aliases([alias.into()]);
    resources.put("pod", with("1", "net/10.0.0.1"));
    resources.put("twin", with("1", "net/10.0.0.1"));
    assert_eq!(resources.resolve("pod"), BTreeSet::from(["pod".into()]));
    assert_eq!(
        resources.resolve("net/10.0.0.1"),
        BTreeSet::from(["pod".into(), "twin".into()])
    );
    assert!(resources.resolve("net/10.0.0.").is_empty());

    resources.put("pod", with("1", "net/10.0.0.2"));
    resources.remove("twin");
    assert!(resources.resolve("net/10.0.0.1").is_empty());
    assert_eq!(
        resources.resolve("net/10.0.0.2"),
        BTreeSet::from(["pod".into()])
    );
}

/// A value that counts how often it is compared.
#[derive(Clone)]
struct Counted(u32, Rc<Cell<u32>>);

impl PartialEq for Counted {
    fn eq(&self, other: &Self) -> bool {
        self.1.set(self.1.get() + 1);
        self.0 == other.0
    }
}

/// The cost of a push rests on this property of the map, so it is tested here.
#[test]
fn a_difference_costs_what_changed() {
    let n_compared = Rc::new(Cell::new(0));
    let old: OrdMap<u32, Counted> = (0..100_000)
        .map(|k| (k, Counted(k, Rc::clone(&n_compared))))
        .collect();
    let mut new = old.clone();
    new.insert(70_000, Counted(0, Rc::clone(&n_compared)));
    new.remove(&30_000);
    assert_eq!(old.diff(&new).count(), 2);
    assert!(
        n_compared.get() < 1_000,
        "compared {} of 100,000",
        n_compared.get()
    );
}
