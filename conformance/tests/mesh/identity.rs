//! What crosses the wire, and who may speak.

use testkit::{Mesh, eventually};

use crate::world::{client, server};

#[test]
fn strict_mtls_refuses_plaintext_and_keeps_the_mesh_talking() {
    if !testkit::require_root() {
        return;
    }
    let namespace = |name: &str, mode: &str| {
        format!(
            "---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}, labels: {{istio.io/dataplane-mode: {mode}}}}}\n"
        )
    };
    let manifest = [
        namespace("shop", "ambient"),
        namespace("outside", "none"),
        server("shop", "echo", "v1"),
        client("shop", "web"),
        client("outside", "stranger"),
    ]
    .concat();
    let mesh = Mesh::builder().manifest("world.yaml", &manifest).up();
    let ask = |from: &str| {
        let url = "http://echo.shop.svc.cluster.local/";
        mesh.exec(
            from,
            [
                "curl",
                "-s",
                "-m",
                "5",
                "-o",
                "/dev/null",
                "-w",
                "%{http_code}",
                url,
            ],
        )
        .stdout
    };
    assert_eq!(ask("shop/web"), "200");
    assert_eq!(ask("outside/stranger"), "200");
    mesh.apply(
        "strict.yaml",
        "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: strict, namespace: shop}\nspec: {mtls: {mode: STRICT}}\n",
    );
    eventually("plaintext is refused", || {
        (ask("outside/stranger") == "000").then_some(())
    });
    assert_eq!(ask("shop/web"), "200");
    mesh.remove("strict.yaml");
    eventually("plaintext is taken again", || {
        (ask("outside/stranger") == "200").then_some(())
    });
}
