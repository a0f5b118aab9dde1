//! What is fetched for a plugin, and what is not.

use std::sync::Arc;

use mesh::plugin::{Plugin, PullPolicy, PullSecret};
use modules::{Digest, Reference};

use prost::Message as _;
use runtime::TaskSet;
use xds::client::{Handler as _, Refusals, Resource, Update};

use super::source::{failure, request};
use super::{Failure, Loader};
use crate::fixtures::place;
use crate::state::{SharedWriter, State, Writer};

fn plugin(url: &str) -> Plugin {
    Plugin::try_from(message(url)).unwrap()
}

fn message(url: &str) -> proto::cairn::waypoint::Plugin {
    proto::cairn::waypoint::Plugin {
        origin: Some(proto::cairn::waypoint::Origin {
            kind: "WasmPlugin".to_owned(),
            namespace: "team".to_owned(),
            name: "filter".to_owned(),
            ..Default::default()
        }),
        targets: vec![proto::cairn::waypoint::Target {
            kind: Some(proto::cairn::waypoint::target::Kind::Waypoint(true)),
        }],
        url: url.to_owned(),
        ..Default::default()
    }
}

#[test]
fn everything_the_object_says_of_its_module_is_asked_for() {
    let digest = Digest::of(b"module");
    let mut plugin = plugin("oci://ghcr.io/team/filter:v1");
    plugin.sha256 = Some(digest.hex().into());
    plugin.pull_policy = PullPolicy::Always;
    plugin.revision = "7".into();
    let secret = br#"{"auths":{"ghcr.io":{"username":"me","password":"secret"}}}"#;
    plugin.pull_secret = Some(PullSecret::new(secret));
    let request = request(&plugin).unwrap();
    assert_eq!(
        request.reference.to_string(),
        "oci://ghcr.io/team/filter:v1"
    );
    assert_eq!(request.sha256, Some(digest));
    assert_eq!(request.policy, modules::PullPolicy::Always);
    assert_eq!((&*request.revision, &*request.tenant), ("7", "team"));
    assert_eq!(format!("{:?}", request.credentials), r#"{"ghcr.io"}"#);
}

#[test]
fn what_no_try_can_change_is_refused_at_once() {
    let refused = |plugin: &Plugin| match request(plugin) {
        Err(Failure::Final(reason, why)) => (reason, why.to_string()),
        other => panic!("{other:?}"),
    };
    let (reason, why) = refused(&plugin("file://relative.wasm"));
    assert_eq!(reason, "InvalidURL");
    assert!(
        why.starts_with("file://relative.wasm: the path must be absolute"),
        "{why}"
    );
    let mut secret = plugin("oci://ghcr.io/a/b");
    secret.pull_secret = Some(PullSecret::new(b"hunter2"));
    let (reason, why) = refused(&secret);
    assert_eq!(reason, "InvalidPullSecret");
    assert!(!why.contains("hunter2"), "{why}");
    let mut unfetchable = plugin("oci://ghcr.io/a/b");
    unfetchable.unfetchable = Some("its Secret is not there".into());
    assert_eq!(
        refused(&unfetchable),
        ("ImagePullFailed", "its Secret is not there".to_owned())
    );
}

#[tokio::test]
async fn a_missing_file_is_named_and_may_come() {
    let url = "file:///no/such/module.wasm";
    let asked = request(&plugin(url)).unwrap();
    let error = modules::Fetcher::default().fetch(&asked).await.unwrap_err();
    let why: Arc<str> = format!("{url}: No such file or directory").into();
    let reference = Reference::parse(url).unwrap();
    assert_eq!(
        failure(&reference, &error),
        Failure::Unread("FileUnreadable", why)
    );
}

#[test]
fn who_compiles_gives_way_to_who_serves() {
    // The 19th field is how far a thread gives way; two of them stand before the bracket.
    let nice = || {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        fields.split(' ').nth(16).unwrap().parse::<i32>().unwrap()
    };
    let before = nice();
    let compiling = std::thread::spawn(move || {
        super::compile::give_way();
        nice()
    });
    assert!(compiling.join().unwrap() >= 10);
    assert_eq!(nice(), before, "no other thread does");
}

/// Code is memory, and a module that nobody names any more is of use to nobody.
#[tokio::test]
async fn what_was_compiled_goes_with_the_last_plugin_that_names_it() {
    let (writer, loads) = Writer::new(Arc::new(State::new(&place())));
    let mut idle = writer.idle();
    let writer = SharedWriter::new(writer);
    let host = wasm_host::Host::new(wasm_host::HostSettings::default()).unwrap();
    let loader = Loader::new(host, writer.clone(), Refusals::unheard());
    let compiler = loader.compiler.clone();
    let tasks = TaskSet::current();
    tasks.spawn("plugins", loader.run(loads, tasks.clone()));
    let module = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../filters/prebuilt/add-header.wasm"
    );
    let message = message(&format!("file://{module}")).encode_to_vec();
    let put = |name: &str| {
        Update::Put(Resource {
            name: name.to_owned(),
            aliases: vec![],
            version: "1".to_owned(),
            bytes: message.clone().into(),
        })
    };
    let apply = |updates| {
        let refused = writer.with(|writer| writer.apply(proto::PLUGIN_TYPE, updates));
        assert!(refused.is_empty(), "{refused:?}");
    };
    let remembered = async |n: usize| {
        while compiler.remembered() != n {
            tokio::task::yield_now().await;
        }
    };
    apply(vec![put("team/one"), put("team/two")]);
    idle.wait_for(|idle| *idle).await.unwrap();
    assert_eq!(compiler.remembered(), 1);
    apply(vec![Update::Remove("team/one".to_owned())]);
    tokio::task::yield_now().await;
    assert_eq!(compiler.remembered(), 1, "the other still names it");
    apply(vec![Update::Remove("team/two".to_owned())]);
    let patience = std::time::Duration::from_secs(20);
    let gone = tokio::time::timeout(patience, remembered(0)).await;
    assert!(gone.is_ok(), "it stays");
}
