//! Credentials go to their own registry, and nothing of them is told.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{Credentials, Login};

fn config(key: &str) -> Credentials {
    let auth = STANDARD.encode("me:pa:ss");
    let text = format!(r#"{{"auths":{{"{key}":{{"auth":"{auth}"}}}}}}"#);
    Credentials::from_docker_config(text.as_bytes()).unwrap()
}

#[test]
fn every_form_of_a_key_that_has_been_in_use_is_read() {
    for (key, host, repository, fits) in [
        ("ghcr.io", "ghcr.io", "a/b", true),
        ("https://ghcr.io", "ghcr.io", "a/b", true),
        ("https://ghcr.io/v2/", "ghcr.io", "a/b", true),
        (
            "https://index.docker.io/v1/",
            "docker.io",
            "library/a",
            true,
        ),
        ("docker.io", "docker.io", "a/b", true),
        ("localhost:5000", "localhost:5000", "a", true),
        ("localhost:5000", "localhost:5001", "a", false),
        ("localhost:5000", "localhost", "a", false),
        ("ghcr.io/a", "ghcr.io", "a/b", true),
        ("ghcr.io/a", "ghcr.io", "ab", false),
        ("*.example.com", "x.example.com", "a", true),
        ("*.example.com", "example.com", "a", false),
        ("*.example.com", "a.b.example.com", "a", false),
        ("*.example.com", "x.example.com:5000", "a", false),
        ("ghcr.io", "ghcr.io.evil.example", "a", false),
        ("ghcr.io", "evilghcr.io", "a", false),
    ] {
        let login = config(key);
        let login = login.login(host, repository);
        assert_eq!(login.is_some(), fits, "{key} for {host}/{repository}");
        if let Some(login) = login {
            assert_eq!(login, &Login::Basic("me".to_owned(), "pa:ss".to_owned()));
        }
    }
}

#[test]
fn the_longest_path_wins() {
    let text = r#"{"auths":{
        "r.example":{"username":"all","password":"x"},
        "r.example/team":{"username":"team","password":"x"},
        "*.example":{"registrytoken":"t"}}}"#;
    let credentials = Credentials::from_docker_config(text.as_bytes()).unwrap();
    let user = |host, repository| match credentials.login(host, repository) {
        Some(Login::Basic(user, _)) => user.clone(),
        other => format!("{other:?}"),
    };
    assert_eq!(user("r.example", "team/filter"), "team");
    assert_eq!(user("r.example", "teams/filter"), "all");
    assert_eq!(user("s.example", "x"), "Some(Bearer)");
}

#[test]
fn the_older_file_is_read_as_well() {
    let auth = STANDARD.encode("me:pass");
    let text = format!(r#"{{"https://r.example":{{"auth":"{auth}","email":"x"}}}}"#);
    let old = Credentials::from_docker_config(text.as_bytes()).unwrap();
    assert!(old.login("r.example", "a").is_some());
    let empty = Credentials::from_docker_config(b"{}").unwrap();
    assert!(empty.login("r.example", "a").is_none());
}

#[test]
fn a_program_that_keeps_credentials_is_named() {
    let text = br#"{"credsStore":"desktop","credHelpers":{"gcr.io":"gcloud"},"auths":{"x.io":{}}}"#;
    let credentials = Credentials::from_docker_config(text).unwrap();
    let helper = |text| {
        let image = crate::Reference::parse(text).unwrap();
        credentials
            .helper(image.image().unwrap())
            .map(str::to_owned)
    };
    assert_eq!(helper("gcr.io/a/b").as_deref(), Some("gcloud"));
    assert_eq!(helper("x.io/a").as_deref(), Some("desktop"));
}

#[test]
fn a_secret_that_cannot_be_read_is_refused_and_not_told() {
    for text in [
        &b"hunter2"[..],
        br#"{"auths":"hunter2"}"#,
        br#"{"auths":{"r.example":{"auth":"hunter2"}}}"#,
        br#"{"auths":{"r.example":{"username":["hunter2"]}}}"#,
    ] {
        let error = Credentials::from_docker_config(text)
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("the pull secret cannot be used") && !error.contains("hunter2"),
            "{error}"
        );
    }
    let shown = format!("{:?}", config("r.example"));
    assert_eq!(shown, r#"{"r.example"}"#);
}

#[test]
fn who_shows_other_credentials_is_another() {
    let one = Credentials::basic("r.example", "me", "one");
    let two = Credentials::basic("r.example", "me", "two");
    assert_ne!(
        one.identity("r.example", "a"),
        two.identity("r.example", "a")
    );
    assert_eq!(one.identity("s.example", "a"), "");
}
