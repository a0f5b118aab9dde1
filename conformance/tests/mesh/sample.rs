//! What a newcomer sees first.

use testkit::{Mesh, eventually};

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

/// Who saves the shop to change it has it whole, its filter included.
#[test]
fn the_shop_that_is_printed_works_where_it_is_applied() {
    if !testkit::require_root() {
        return;
    }
    let mesh = Mesh::builder().up();
    let shop = mesh.run(["sample", "shop"]).ok();
    mesh.apply("shop.yaml", &shop);
    eventually("the filter marks every answer", || {
        let ask = ["curl", "-si", "-m", "5", "http://reviews/"];
        let answer = mesh.exec("frontend", ask).stdout;
        answer.contains("x-shop: open").then_some(())
    });
    eventually("nothing is wrong with it", || {
        mesh.run(["status"]).stdout.is_empty().then_some(())
    });
}
