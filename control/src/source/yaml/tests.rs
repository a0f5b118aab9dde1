use std::fmt::Write;

use super::*;

fn parse_text(text: &str) -> Manifest {
    parse(&Arc::from("a.yaml"), text)
}

/// `kind/name` of each document, with the line it begins at.
fn names(manifest: &Manifest) -> Vec<String> {
    let name = |document: &Document| {
        let value = &document.value;
        let kind = value.get("kind").and_then(Value::as_str).unwrap_or("?");
        let name = value
            .pointer("/metadata/name")
            .and_then(Value::as_str)
            .unwrap_or("?");
        format!("{}:{kind}/{name}", document.origin.lines.start().line)
    };
    manifest.documents.iter().map(name).collect()
}

fn line_of(document: &Document, path: &str) -> (u32, u32) {
    let position = document.origin.lines.locate(&FieldPath::from(path));
    (position.line, position.column)
}

const ROUTE: &str = "\
# a comment
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: reviews
spec:
  rules:
  - matches:
    - path:
        value: /reviews
    - headers:
      - {name: version, value: v2}
    backendRefs: [{name: reviews,
      port: 80}]
";

#[test]
fn every_field_knows_its_line_and_column() {
    let manifest = parse_text(ROUTE);
    let [document] = &manifest.documents[..] else {
        panic!("{manifest:?}")
    };
    for (path, place) in [
        ("metadata.name", (5, 9)),
        ("spec", (6, 1)),
        ("spec.rules[0]", (8, 5)),
        ("spec.rules[0].matches[0].path", (9, 7)),
        ("spec.rules[0].matches[0].path.value", (10, 16)),
        ("spec.rules[0].matches[1].headers[0].value", (12, 32)),
        ("spec.rules[0].backendRefs[0].port", (14, 13)),
        ("spec.rules[0].backendRefs[0].weight", (13, 19)),
    ] {
        assert_eq!(line_of(document, path), place, "{path}");
    }
}

#[test]
fn lines_count_through_the_whole_file() {
    let text = format!("---\nkind: A\nmetadata: {{name: a}}\n---\n{ROUTE}");
    let manifest = parse_text(&text);
    assert_eq!(names(&manifest), ["2:A/a", "6:HTTPRoute/reviews"]);
    assert_eq!(
        line_of(
            &manifest.documents[1],
            "spec.rules[0].matches[0].path.value"
        ),
        (14, 16)
    );
}

#[test]
fn one_malformed_document_leaves_the_others() {
    let text = "kind: A\nmetadata: {name: a}\n---\nkind: B\nmetadata: {name: [\n---\nkind: C\nmetadata: {name: c}\n";
    let manifest = parse_text(text);
    assert_eq!(names(&manifest), ["1:A/a", "7:C/c"]);
    let [finding] = &manifest.unreadable[..] else {
        panic!("{manifest:?}")
    };
    assert_eq!(finding.file.as_deref(), Some("a.yaml"));
    assert!((4..=6).contains(&finding.line), "{finding:?}");
    assert!(finding.what.starts_with("is not valid YAML: "), "{finding}");
}

#[test]
fn a_syntax_error_names_its_line() {
    let manifest = parse_text("kind: A\nmetadata:\n  name: a\n  labels: {x: \"y\nspec: 1\n");
    assert_eq!(manifest.documents.len(), 0);
    assert!(
        manifest.unreadable[0].line >= 4,
        "{:?}",
        manifest.unreadable
    );
    let manifest = parse_text("kind: A\nmetadata:\n\tname: a\n");
    assert_eq!(manifest.unreadable[0].line, 3, "{:?}", manifest.unreadable);
}

#[test]
fn a_key_that_occurs_twice_is_refused() {
    let manifest = parse_text("kind: A\nspec:\n  port: 1\n  port: 2\n");
    assert_eq!(manifest.documents.len(), 0);
    let finding = &manifest.unreadable[0];
    assert_eq!(finding.line, 4, "{finding:?}");
    assert!(finding.what.contains("port"), "{finding}");
}

#[test]
fn aliases_and_merge_keys_work_within_bounds() {
    let manifest = parse_text("kind: A\na: &x {p: 1}\nb: *x\nc: {<<: *x, q: 2}\n");
    let value = &manifest.documents[0].value;
    assert_eq!(value["b"], serde_json::json!({"p": 1}));
    assert_eq!(value["c"], serde_json::json!({"p": 1, "q": 2}));

    let mut laughs = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned();
    for level in 1..12 {
        let below = format!("*a{},", level - 1).repeat(9);
        writeln!(laughs, "a{level}: &a{level} [{below}]").unwrap();
    }
    let manifest = parse_text(&laughs);
    assert_eq!(
        (manifest.documents.len(), manifest.unreadable.len()),
        (0, 1)
    );
}

#[test]
fn an_alias_that_leads_into_itself_is_refused() {
    for text in [
        "&a [*a]",
        "&a [[*a], *a]",
        "&a {kind: List, items: [*a]}",
        "&a {x: *a, y: *a}",
        "kind: A\nb: &b [*b, *b]\n",
        "&a {<<: *a}",
    ] {
        let manifest = parse_text(text);
        assert_eq!(
            (manifest.documents.len(), manifest.unreadable.len()),
            (0, 1),
            "{text}"
        );
    }
}

/// Aliases of aliases of one thing, in the way `item` says.
fn laughs(first: &str, item: impl Fn(usize) -> String) -> String {
    let mut text = format!("- &a0 {first}\n");
    for level in 1..40 {
        writeln!(text, "- &a{level} {}", item(level - 1)).unwrap();
    }
    text
}

#[test]
fn no_way_to_repeat_oneself_comes_to_more_than_a_file_may() {
    for text in [
        laughs("{x: 1}", |n| format!("{{<<: *a{n}, \"y\": 1, << : *a{n}}}")),
        laughs("[{x: 1}]", |n| format!("[*a{n}, *a{n}]")),
        laughs("{kind: List, items: [1]}", |n| {
            format!("{{kind: List, items: [*a{n}, *a{n}]}}")
        }),
        // Not many values, but much text.
        format!("a: &a {}\nb: [{}]", "x".repeat(1 << 20), "*a,".repeat(1000)),
        // Many documents of many values.
        format!(
            "- &a [{}]\n{}",
            "1,".repeat(10_000),
            "- {x: *a}\n".repeat(1000)
        ),
    ] {
        let manifest = parse_text(&text);
        assert_eq!(manifest.unreadable.len(), 1, "{text:.40}");
        let what = &manifest.unreadable[0].what;
        assert!(what.contains("too many values"), "{what}");
    }
}

#[test]
fn nesting_without_end_is_refused() {
    let manifest = parse_text(&format!("kind: {}", "[".repeat(100_000)));
    assert_eq!(
        (manifest.documents.len(), manifest.unreadable.len()),
        (0, 1)
    );
    let manifest = parse_text(&format!("kind: {}1{}", "{a: ".repeat(200), "}".repeat(200)));
    assert_eq!(
        (manifest.documents.len(), manifest.unreadable.len()),
        (0, 1)
    );
}

#[test]
fn lists_and_arrays_are_taken_apart() {
    let text = "\
kind: List
apiVersion: v1
items:
- kind: A
  metadata: {name: a}
- kind: BList
  apiVersion: x/v1
  items:
  - metadata: {name: b}
    spec: {port: 1}
";
    let manifest = parse_text(text);
    assert_eq!(names(&manifest), ["4:A/a", "9:B/b"]);
    let b = &manifest.documents[1];
    assert_eq!(b.value["apiVersion"], "x/v1");
    assert_eq!(line_of(b, "spec.port"), (10, 18));
    assert_eq!(
        names(&parse_text("[{kind: A, metadata: {name: a}}, {kind: B}]")),
        ["1:A/a", "1:B/?"]
    );
    assert_eq!(
        names(&parse_text("kind: AccessList\nmetadata: {name: a}")),
        ["1:AccessList/a"]
    );
}

#[test]
fn json_is_read_as_it_is_written_anywhere() {
    let text = "{\n\t\"kind\": \"A\",\n\t\"metadata\": {\"name\": \"\\u00e4\\/\\ud83d\\ude00\"},\n\t\"n\": [1, -2, 3.5, 18446744073709551615, true, null]\n}\n";
    let manifest = parse_text(text);
    let expected: Value = serde_json::from_str(text).unwrap();
    assert_eq!(
        manifest.documents[0].value, expected,
        "{:?}",
        manifest.unreadable
    );
    assert_eq!(line_of(&manifest.documents[0], "metadata.name").0, 3);
}

#[test]
fn scalars_mean_what_they_mean_to_kubectl() {
    let manifest = parse_text(
        "{mode: 0644, text: \"0644\", on: yes, time: 2026-01-01T00:00:00Z, empty: , map: {8080: x}}",
    );
    assert_eq!(
        manifest.documents[0].value,
        serde_json::json!({
            "mode": 420, "text": "0644", "on": true, "time": "2026-01-01T00:00:00Z",
            "empty": null, "map": {"8080": "x"}
        })
    );
}

#[test]
fn what_says_nothing_is_no_document() {
    for text in [
        "",
        "\n\n",
        "# only a comment\n",
        "---\n---\n# x\n---\n",
        "%YAML 1.2\n---\n",
        "null",
    ] {
        let manifest = parse_text(text);
        assert_eq!(
            (manifest.documents.len(), manifest.unreadable.len()),
            (0, 0),
            "{text:?}"
        );
    }
    let manifest = parse_text("\u{feff}%YAML 1.2\n---\nkind: A\nmetadata: {name: a}\n...\n");
    assert_eq!(names(&manifest), ["3:A/a"], "{:?}", manifest.unreadable);
    let manifest = parse_text("--- {kind: A, metadata: {name: a}}\n--- # x\nkind: B\n");
    assert_eq!(
        names(&manifest),
        ["1:A/a", "3:B/?"],
        "{:?}",
        manifest.unreadable
    );
}

#[test]
fn a_marker_inside_a_block_of_text_cuts_nothing() {
    let manifest =
        parse_text("kind: A\nmetadata: {name: a}\ndata:\n  x: |\n    a\n    ---\n    b\n----: 1\n");
    assert_eq!(names(&manifest), ["1:A/a"], "{:?}", manifest.unreadable);
    assert_eq!(manifest.documents[0].value["data"]["x"], "a\n---\nb\n");
}
