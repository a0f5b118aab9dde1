use std::sync::atomic::AtomicUsize;

use super::*;

fn limits() -> Limits {
    Limits {
        shared_bytes: 64,
        name_bytes: 8,
        queues: 2,
        queue_items: 2,
        ..Limits::default()
    }
}

#[test]
fn a_write_succeeds_only_against_the_version_it_saw() {
    let space = Registry::default().open("t", "vm");
    let limits = limits();
    space.set(b"k", b"1", 77, &limits).unwrap();
    let (_, cas) = space.get(b"k").unwrap();
    space.set(b"k", b"2", cas, &limits).unwrap();
    assert_eq!(space.set(b"k", b"3", cas, &limits), Err(NotStored::Changed));
    space.set(b"k", b"4", 0, &limits).unwrap();
    let (value, newer) = space.get(b"k").unwrap();
    assert_eq!((&*value, newer > cas), (&b"4"[..], true));
}

#[test]
fn empty_values_are_kept() {
    let space = Registry::default().open("t", "vm");
    space.set(b"k", b"", 0, &limits()).unwrap();
    assert_eq!(space.get(b"k").unwrap().0.len(), 0);
    assert_eq!(space.get(b"other"), None);
}

#[test]
fn data_is_bounded_and_replacing_frees() {
    let space = Registry::default().open("t", "vm");
    let limits = limits();
    space.set(b"k", &[0; 60], 0, &limits).unwrap();
    assert_eq!(space.set(b"j", &[0; 4], 0, &limits), Err(NotStored::Full));
    space.set(b"k", &[0; 10], 0, &limits).unwrap();
    space.set(b"j", &[0; 4], 0, &limits).unwrap();
    assert_eq!(
        space.set(b"much too long", b"", 0, &limits),
        Err(NotStored::Full)
    );
}

#[test]
fn tenants_see_nothing_of_each_other() {
    let registry = Registry::default();
    let (ours, theirs) = (registry.open("a", "vm"), registry.open("b", "vm"));
    let limits = limits();
    ours.set(b"k", b"1", 0, &limits).unwrap();
    assert_eq!(theirs.get(b"k"), None);
    let id = ours.register_queue(b"q", None, &limits).unwrap();
    assert_eq!(theirs.resolve_queue(b"vm", b"q"), None);
    assert_eq!(
        theirs.enqueue(id, b"", &limits).err(),
        Some(NotStored::Missing)
    );
    assert_eq!(theirs.dequeue(id), Err(Status::NotFound));
}

#[test]
fn vms_of_one_tenant_reach_each_others_queues_by_id_and_name() {
    let registry = Registry::default();
    let (one, two) = (registry.open("t", "one"), registry.open("t", "two"));
    let limits = limits();
    let id = one.register_queue(b"q", None, &limits).unwrap();
    assert_eq!(one.register_queue(b"q", None, &limits), Ok(id));
    assert_eq!(one.resolve_queue(b"", b"q"), Some(id));
    assert_eq!(two.resolve_queue(b"", b"q"), None);
    assert_eq!(two.resolve_queue(b"one", b"q"), Some(id));
    two.enqueue(id, b"hello", &limits).unwrap();
    assert_eq!(one.dequeue(id).as_deref(), Ok(&b"hello"[..]));
    assert_eq!(one.dequeue(id), Err(Status::Empty));
}

#[test]
fn the_last_to_register_is_notified_of_each_item() {
    let space = Registry::default().open("t", "vm");
    let limits = limits();
    let told = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&told);
    space.register_queue(b"q", None, &limits).unwrap();
    let notifier: QueueNotifier = Arc::new(move |_| {
        counter.fetch_add(1, Ordering::Relaxed);
    });
    let id = space.register_queue(b"q", Some(notifier), &limits).unwrap();
    for _ in 0..2 {
        let tell = space.enqueue(id, b"x", &limits).unwrap().unwrap();
        tell(id);
    }
    assert_eq!(told.load(Ordering::Relaxed), 2);
}

#[test]
fn queues_are_bounded_in_number_items_and_bytes() {
    let space = Registry::default().open("t", "vm");
    let limits = limits();
    let id = space.register_queue(b"a", None, &limits).unwrap();
    space.register_queue(b"b", None, &limits).unwrap();
    assert_eq!(
        space.register_queue(b"c", None, &limits),
        Err(Status::InternalFailure)
    );
    assert_eq!(
        space.enqueue(id, &[0; 65], &limits).err(),
        Some(NotStored::Full)
    );
    space.enqueue(id, b"1", &limits).unwrap();
    space.enqueue(id, b"2", &limits).unwrap();
    assert_eq!(
        space.enqueue(id, b"3", &limits).err(),
        Some(NotStored::Full)
    );
}

#[test]
fn a_space_goes_with_its_last_vm_and_takes_its_queues_along() {
    let registry = Registry::default();
    let keeper = registry.open("t", "other");
    let limits = limits();
    let space = registry.open("t", "vm");
    let again = registry.open("t", "vm");
    space.set(b"k", b"1", 0, &limits).unwrap();
    space.register_queue(b"q", None, &limits).unwrap();
    drop(space);
    assert!(again.get(b"k").is_some());
    drop(again);
    assert_eq!(registry.open("t", "vm").get(b"k"), None);
    assert_eq!(keeper.resolve_queue(b"vm", b"q"), None);
}
