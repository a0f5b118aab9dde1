use super::*;

fn parse(json: &str) -> Result<Config, String> {
    Config::parse(json.as_bytes())
}

#[test]
fn a_prefix_covers_whole_path_elements() {
    let config = parse(r#"{"paths": [{"prefix": "/admin"}]}"#).unwrap();
    for (target, denied) in [
        ("/admin", true),
        ("/admin/", true),
        ("/admin/users?x=1", true),
        ("/admin?x=1", true),
        ("/administrator", false),
        ("/", false),
        ("/shop/admin", false),
        ("/shop?next=/admin", false),
    ] {
        assert_eq!(
            config.denies(target.as_bytes()).is_some(),
            denied,
            "{target}"
        );
    }
}

#[test]
fn a_trailing_slash_of_a_prefix_means_nothing() {
    let config = parse(r#"{"paths": [{"prefix": "/admin/"}]}"#).unwrap();
    assert!(config.denies(b"/admin").is_some());
    let everything = parse(r#"{"paths": [{"prefix": "/"}]}"#).unwrap();
    assert!(everything.denies(b"/anything").is_some());
}

#[test]
fn an_exact_path_covers_nothing_below_it() {
    let config = parse(r#"{"paths": [{"exact": "/metrics"}]}"#).unwrap();
    assert!(config.denies(b"/metrics").is_some());
    assert!(config.denies(b"/metrics?all").is_some());
    assert!(config.denies(b"/metrics/all").is_none());
}

#[test]
fn bytes_that_are_no_text_are_just_another_path() {
    let config = parse(r#"{"paths": [{"prefix": "/admin"}]}"#).unwrap();
    assert!(config.denies(b"/\xff\xfe").is_none());
    assert!(config.denies(b"/admin/\xff").is_some());
}

#[test]
fn the_answer_is_403_without_a_body_unless_configured() {
    let config = parse(r#"{"paths": [{"exact": "/"}]}"#).unwrap();
    assert_eq!((config.status, config.body.as_str()), (403, ""));
    let config = parse(r#"{"paths": [{"exact": "/"}], "status": 404, "body": "gone"}"#).unwrap();
    assert_eq!((config.status, config.body.as_str()), (404, "gone"));
}

#[test]
fn a_configuration_that_protects_nothing_is_refused() {
    for (json, says) in [
        ("", "there is no configuration"),
        (
            "{}",
            "the configuration is not valid: missing field `paths`",
        ),
        (r#"{"paths": []}"#, "`paths` is empty"),
        (
            r#"{"paths": [{"prefix": "admin"}]}"#,
            "`paths`: \"admin\" does not begin",
        ),
        (
            r#"{"paths": [{"regex": ".*"}]}"#,
            "the configuration is not valid: unknown variant `regex`",
        ),
        (
            r#"{"paths": [{"exact": "/"}], "status": 99}"#,
            "`status`: 99",
        ),
        (
            r#"{"paths": "/admin"}"#,
            "the configuration is not valid: invalid type",
        ),
        ("not json", "the configuration is not valid: expected"),
    ] {
        let error = parse(json).unwrap_err();
        assert!(error.starts_with(says), "{json}: {error}");
    }
}
