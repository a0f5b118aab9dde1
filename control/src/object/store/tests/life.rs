//! The life of an object: uid, generation, age, version, and what of it outlives a restart.

use super::*;

#[test]
fn the_generation_rises_with_the_spec_only() {
    let mut desk = Desk::new();
    desk.put("a.yaml", &route("a", "/a"));
    let first = desk.object("HTTPRoute", "a").clone();
    assert_eq!((first.life.generation, first.life.created), (1, at(1)));

    desk.put(
        "a.yaml",
        &route("a", "/a").replace("name: a", "name: a, labels: {x: z}"),
    );
    let labelled = desk.object("HTTPRoute", "a").clone();
    assert_eq!(labelled.life.generation, 1);
    assert!(labelled.life.version > first.life.version);
    assert_eq!(labelled.life.uid, first.life.uid);

    assert!(
        desk.store
            .set_status(&first.key, Some(json!({"parents": []})))
    );
    assert!(
        !desk
            .store
            .set_status(&first.key, Some(json!({"parents": []})))
    );
    let with_status = desk.object("HTTPRoute", "a").clone();
    assert_eq!(with_status.life.generation, 1);
    assert!(with_status.life.version > labelled.life.version);

    desk.put("a.yaml", &route("a", "/b"));
    let second = desk.object("HTTPRoute", "a");
    assert_eq!((second.life.generation, second.life.created), (2, at(1)));
    assert_eq!(second.life.uid, first.life.uid);
    assert_eq!(second.status.as_deref(), Some(&json!({"parents": []})));
}

#[test]
fn another_object_of_the_same_name_is_another_object() {
    let mut desk = Desk::new();
    desk.put("a.yaml", &service("a", 80));
    let first = desk.object("Service", "a").life.clone();
    desk.put("a.yaml", "").put("a.yaml", &service("a", 80));
    let second = &desk.object("Service", "a").life;
    assert_ne!(first.uid, second.uid);
    assert_eq!((first.created, second.created), (at(1), at(3)));
}

#[test]
fn objects_of_one_file_are_of_one_age_and_a_given_age_counts() {
    let mut desk = Desk::new();
    desk.put("a.yaml", &service("a", 80));
    desk.put("a.yaml", &(service("b", 80) + &service("a", 80)));
    desk.put("b.yaml", &service("c", 80));
    let given = service("d", 80).replace(
        "name: d",
        "name: d, creationTimestamp: 2020-02-02T02:02:02Z",
    );
    desk.put("c.yaml", &given);
    let age = |name| desk.object("Service", name).life.created;
    assert_eq!((age("a"), age("b"), age("c")), (at(1), at(1), at(3)));
    assert_eq!(age("d").to_string(), "2020-02-02T02:02:02Z");
}

#[test]
fn a_file_that_moves_lines_changes_no_object_but_its_lines() {
    let mut desk = Desk::new();
    desk.put("a.yaml", &route("a", "/a"));
    let before = desk.store.objects().clone();
    desk.put("a.yaml", &format!("# x\n# y\n{}", route("a", "/a")));
    assert_eq!(desk.store.objects().revision(), before.revision());
    assert!(desk.store.objects().changes_since(&before).is_empty());
    let lines = &desk.object("HTTPRoute", "a").origin.lines;
    assert_eq!(lines.locate(&FieldPath::from("metadata.name")).line, 6);
}

#[test]
fn an_objects_life_and_status_count_only_where_they_are_recorded() {
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: a, uid: u1, generation: 4}\n\
        spec: {nodeName: n1, containers: [{name: a}]}\nstatus: {podIP: 10.0.0.1, phase: Running}\n";
    let mut desk = Desk::new();
    desk.put("a.yaml", pod);
    assert_ne!(&*desk.object("Pod", "a").life.uid, "u1");
    assert_eq!(desk.object("Pod", "a").status, None);
    desk.put("a.yaml", "")
        .put_in(recorded(), "state/a.yaml", pod);
    let object = desk.object("Pod", "a");
    assert_eq!((&*object.life.uid, object.life.generation), ("u1", 4));
    assert_eq!(object.status.as_ref().unwrap()["podIP"], "10.0.0.1");
    let typed: &k8s_openapi::api::core::v1::Pod = object.decoded().unwrap();
    assert_eq!(
        typed.status.as_ref().unwrap().pod_ip.as_deref(),
        Some("10.0.0.1")
    );
    desk.put_in(
        recorded(),
        "state/a.yaml",
        &pod.replace("10.0.0.1", "10.0.0.2"),
    );
    assert_eq!(
        desk.object("Pod", "a").status.as_ref().unwrap()["podIP"],
        "10.0.0.2"
    );
}

#[test]
fn lives_statuses_and_last_good_versions_outlive_a_restart() {
    let mut desk = Desk::new();
    desk.put("a.yaml", &(route("a", "/a") + &service("s", 80)));
    desk.put("a.yaml", &(route("a", "/b") + &service("s", 80)));
    let key = desk.object("HTTPRoute", "a").key.clone();
    let status =
        json!({"parents": [{"conditions": [{"lastTransitionTime": "2026-01-01T00:00:00Z"}]}]});
    desk.store.set_status(&key, Some(status.clone()));
    let before = desk.store.objects().clone();
    let saved = serde_json::to_string(&desk.store.save()).unwrap();

    let restored = Store::restore(serde_json::from_str(&saved).unwrap(), &[written()], at(100));
    let mut desk = Desk {
        store: restored,
        second: 100,
    };
    assert!(desk.store.objects().changes_since(&before).is_empty());
    assert_eq!(desk.store.objects().revision(), before.revision());

    // The file is read again, unchanged.
    desk.put("a.yaml", &(route("a", "/b") + &service("s", 80)));
    desk.store.apply(Event::Synced, at(101));
    assert!(desk.store.objects().changes_since(&before).is_empty());
    let object = desk.object("HTTPRoute", "a");
    assert_eq!((object.life.generation, object.life.created), (2, at(1)));
    assert_eq!(object.status.as_deref(), Some(&status));
    assert_eq!(object.to_json()["status"], status);

    // It was broken meanwhile.
    let restored = Store::restore(serde_json::from_str(&saved).unwrap(), &[written()], at(100));
    let mut desk = Desk {
        store: restored,
        second: 100,
    };
    desk.put("a.yaml", "kind: [\n");
    assert!(desk.store.objects().changes_since(&before).is_empty());

    // Another object was added to the file meanwhile: it is as old as the others.
    desk.put(
        "a.yaml",
        &(route("a", "/b") + &service("s", 80) + &service("t", 80)),
    );
    assert_eq!(desk.object("Service", "t").life.created, at(1));

    // The file went away meanwhile.
    let restored = Store::restore(serde_json::from_str(&saved).unwrap(), &[written()], at(100));
    let mut desk = Desk {
        store: restored,
        second: 100,
    };
    desk.store.apply(
        Event::Scopes {
            root: written(),
            names: BTreeSet::new(),
        },
        at(101),
    );
    assert!(desk.find("HTTPRoute", "a").is_none());

    // Control is started with other paths.
    let restored = Store::restore(
        serde_json::from_str(&saved).unwrap(),
        &[recorded()],
        at(100),
    );
    let desk = Desk {
        store: restored,
        second: 100,
    };
    assert!(desk.find("HTTPRoute", "a").is_none() && desk.find("Namespace", "default").is_some());
}
