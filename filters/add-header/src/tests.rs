use super::*;

fn parse(json: &str) -> Result<Config, String> {
    Config::parse(json.as_bytes())
}

#[test]
fn no_configuration_changes_nothing() {
    for nothing in ["", "  \n", "{}"] {
        let config = parse(nothing).unwrap();
        assert!(
            config.request.is_empty() && config.response.is_empty(),
            "{nothing:?}"
        );
    }
}

#[test]
fn edits_come_in_the_order_remove_set_add() {
    let config = parse(
        r#"{"response": {"add": [{"name": "a", "value": "1"}],
                         "set": [{"name": "b", "value": "2"}],
                         "remove": ["c"]}}"#,
    )
    .unwrap();
    let edits: Vec<_> = config.response.iter().collect();
    assert_eq!(
        edits,
        [Edit::Remove("c"), Edit::Set("b", "2"), Edit::Add("a", "1")]
    );
    assert_eq!(config.response.len(), 3);
    assert!(config.request.is_empty());
}

#[test]
fn a_mistake_is_named_with_its_place() {
    let error = parse(r#"{"respons": {}}"#).unwrap_err();
    assert!(
        error.contains("unknown field `respons`") && error.contains("line 1"),
        "{error}"
    );
    let error = parse("{").unwrap_err();
    assert!(
        error.starts_with("the configuration is not valid: EOF"),
        "{error}"
    );
}

#[test]
fn what_no_header_can_carry_is_refused() {
    for (json, says) in [
        (
            r#"{"request": {"set": [{"name": "a b", "value": ""}]}}"#,
            r#"request.set: "a b" is not"#,
        ),
        (
            r#"{"request": {"remove": [""]}}"#,
            r#"request.remove: "" is not"#,
        ),
        (
            r#"{"response": {"add": [{"name": "a", "value": "x\r\ny: z"}]}}"#,
            r#"response.add: the value of "a""#,
        ),
        (
            r#"{"response": {"add": [{"name": "a", "value": "ü"}]}}"#,
            r#"response.add: the value of "a""#,
        ),
    ] {
        let error = parse(json).unwrap_err();
        assert!(error.starts_with(says), "{json}: {error}");
    }
}

#[test]
fn pseudo_headers_may_be_rewritten() {
    let config = parse(r#"{"request": {"set": [{"name": ":path", "value": "/v2"}]}}"#).unwrap();
    assert_eq!(
        config.request.iter().next(),
        Some(Edit::Set(":path", "/v2"))
    );
}
