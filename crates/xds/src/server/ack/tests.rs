use super::*;

fn puts(names: &[&str]) -> Vec<(Arc<str>, Arc<Entry>)> {
    names
        .iter()
        .map(|name| {
            (
                (*name).into(),
                Arc::new(Entry::new(name.as_bytes().to_vec())),
            )
        })
        .collect()
}

fn read(message: &str, names: &[&str]) -> Vec<(String, String)> {
    rejections(message, &puts(names))
        .into_iter()
        .map(|r| (r.name.to_string(), r.reason))
        .collect()
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(name, reason)| ((*name).to_owned(), (*reason).to_owned()))
        .collect()
}

#[test]
fn reads_one_reason_for_each_name() {
    let names = ["ns/a", "ns/b", "ns/c"];
    assert_eq!(
        read("ns/a: bad address; ns/c: port 70000", &names),
        pairs(&[("ns/a", "bad address"), ("ns/c", "port 70000")])
    );
}

#[test]
fn a_reason_may_contain_the_separators() {
    assert_eq!(
        read(
            "ns/a: rule 0: bad; worse: much; ns/b: no",
            &["ns/a", "ns/b"]
        ),
        pairs(&[("ns/a", "rule 0: bad; worse: much"), ("ns/b", "no")])
    );
}

#[test]
fn a_name_may_contain_a_separator() {
    assert_eq!(
        read("a: b: reason", &["a: b"]),
        pairs(&[("a: b", "reason")])
    );
}

#[test]
fn a_message_without_names_is_about_everything_sent() {
    assert_eq!(
        read("all wrong", &["ns/a", "ns/b"]),
        pairs(&[("ns/a", "all wrong"), ("ns/b", "all wrong")])
    );
}

#[test]
fn a_rejected_resource_has_no_version_until_a_newer_one_is_acked() {
    let mut holding = Holding::default();
    let batch = |text: &str, generation| Batch {
        type_url: "type".into(),
        puts: vec![("a".into(), Arc::new(Entry::new(text.as_bytes().to_vec())))],
        removals: Vec::new(),
        completion: Some(Completion {
            generation,
            entries: None,
        }),
        on_demand: true,
    };
    let first = batch("1", 1).settle(None, &mut holding);
    assert_eq!(first.acked.len(), 1);
    assert_eq!(
        holding.version("a"),
        first.acked.first().map(|(_, version)| *version)
    );

    let second = batch("2", 2).settle(Some("a: no"), &mut holding);
    assert_eq!((second.acked.len(), second.rejected.len()), (0, 1));
    assert_eq!(
        (holding.version("a"), holding.generation()),
        (None, Some(2))
    );

    batch("3", 3).settle(None, &mut holding);
    assert_eq!(holding.version("a"), Some(Entry::new("3").version()));
    assert_eq!(holding.rejected().count(), 0);
}

proptest::proptest! {
    #[test]
    fn any_message_rejects_only_what_was_sent(message: String, names: Vec<String>) {
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        for (name, _) in read(&message, &names) {
            proptest::prop_assert!(names.contains(&name.as_str()));
        }
    }
}
