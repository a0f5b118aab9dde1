//! What a newcomer sees first.

use testkit::Mesh;

#[test]
fn the_shop_does_what_it_says() {
    if !testkit::require_root() {
        return;
    }
    let mesh = Mesh::builder().sample().up();
    let ask = |from: &str, args: &[&str]| {
        mesh.exec(from, ["curl", "-si", "-m", "10"].iter().chain(args))
            .ok()
    };
    let reviews = "http://reviews/";
    let answer = ask("frontend", &["-H", "end-user: jason", reviews]);
    assert!(answer.contains("v2"), "{answer}");
    assert!(
        answer.contains("x-shop: open"),
        "the filter marks every answer: {answer}"
    );
    assert!(ask("ratings", &[reviews]).contains("RBAC: access denied"));
    assert!(ask("frontend", &["http://ratings/"]).starts_with("HTTP/1.1 200"));
}
