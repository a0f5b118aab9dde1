use serde_json::json;

use super::*;

fn found(tree: &Value, pattern: &str) -> Vec<String> {
    let mut found = Vec::new();
    visit(tree, pattern, &mut |path, value| {
        found.push(format!("{path}={value}"));
    });
    found
}

#[test]
fn a_path_reads_back_as_it_was_written() {
    for text in [
        "",
        "spec.rules[0].matches[1].path.value",
        "[3].spec",
        "spec.a[0][1].b",
    ] {
        assert_eq!(FieldPath::from(text).to_string(), text);
    }
}

#[test]
fn a_key_that_is_no_plain_word_stands_in_brackets() {
    let path = FieldPath::from("metadata.labels").key("app.kubernetes.io/name");
    assert_eq!(path.to_string(), "metadata.labels[app.kubernetes.io/name]");
    assert_eq!(FieldPath::from(path.to_string().as_str()), path);
}

#[test]
fn a_path_leads_to_its_value() {
    let tree = json!({"spec": {"ports": [{"name": "a"}, {"name": "b"}]}});
    assert_eq!(
        FieldPath::from("spec.ports[1].name").resolve(&tree),
        Some(&json!("b"))
    );
    assert_eq!(FieldPath::from("spec.ports[2].name").resolve(&tree), None);
    assert_eq!(FieldPath::from("spec.ports.name").resolve(&tree), None);
}

#[test]
fn a_pattern_names_every_item_and_every_value() {
    let tree = json!({"spec": {
        "rules": [{"matches": [{"path": 1}, {"path": 2}]}, {"matches": [{"path": 3}]}],
        "labels": {"a": 1, "b.c": 2},
    }});
    assert_eq!(
        found(&tree, "spec.rules[].matches[].path"),
        [
            "spec.rules[0].matches[0].path=1",
            "spec.rules[0].matches[1].path=2",
            "spec.rules[1].matches[0].path=3"
        ]
    );
    assert_eq!(
        found(&tree, "spec.labels{}"),
        ["spec.labels.a=1", "spec.labels[b.c]=2"]
    );
    assert_eq!(found(&tree, "spec.labels[]"), Vec::<String>::new());
}

#[test]
fn a_null_counts_as_left_out() {
    let tree = json!({"spec": {"a": null, "items": [null, 1]}});
    assert_eq!(found(&tree, "spec.a"), Vec::<String>::new());
    assert_eq!(found(&tree, "spec.items[]"), ["spec.items[1]=1"]);
}

#[test]
fn values_are_changed_where_the_pattern_points() {
    let mut tree = json!({"a": [{"b": 1}, {"c": 1}, {"b": 2}]});
    visit_mut(&mut tree, "a[].b", &mut |value| *value = json!("x"));
    assert_eq!(tree, json!({"a": [{"b": "x"}, {"c": 1}, {"b": "x"}]}));
}
