//! Whatever happens in between, in the end a client has what the server has.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::wire::{ADDRESS, BAD, POLICY, Proxy, World, eventually, publish};

/// One thing that happens.
#[derive(Clone, Debug)]
enum Step {
    /// Several edits in one publication.
    Publish(Vec<Edit>),
    Cut,
    /// The server is away for a while and comes back with all it knew, and these edits.
    Restart(Vec<Edit>),
    /// Enough time for a round, or not.
    Wait(u64),
}

#[derive(Clone, Debug)]
struct Edit {
    type_url: &'static str,
    name: u8,
    /// `None` removes.
    content: Option<String>,
}

fn edit() -> impl Strategy<Value = Edit> {
    let content = prop_oneof![
        2 => Just(None),
        5 => (0..4_u8).prop_map(|n| Some(n.to_string())),
        2 => (0..2_u8).prop_map(|n| Some(format!("{BAD}{n}"))),
    ];
    (prop_oneof![Just(ADDRESS), Just(POLICY)], 0..6_u8, content).prop_map(
        |(type_url, name, content)| Edit {
            type_url,
            name,
            content,
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let edits = || prop::collection::vec(edit(), 1..6);
    prop_oneof![
        5 => edits().prop_map(Step::Publish),
        1 => Just(Step::Cut),
        1 => edits().prop_map(Step::Restart),
        3 => (0..40_u64).prop_map(Step::Wait),
    ]
}

/// What was published, and every good content a name ever had since it was last absent.
#[derive(Default)]
struct Model {
    published: BTreeMap<(&'static str, String), String>,
    good: BTreeMap<(&'static str, String), Vec<String>>,
}

impl Model {
    fn apply(&mut self, edits: &[Edit]) -> Vec<(&'static str, String)> {
        let mut texts = Vec::new();
        for edit in edits {
            let name = format!("n{}", edit.name);
            let key = (edit.type_url, name.clone());
            match &edit.content {
                None => {
                    self.published.remove(&key);
                    texts.push((edit.type_url, format!("-{name}")));
                }
                Some(content) => {
                    self.published.insert(key.clone(), content.clone());
                    if !content.starts_with(BAD) {
                        self.good.entry(key).or_default().push(content.clone());
                    }
                    texts.push((edit.type_url, format!("{name}={content}")));
                }
            }
        }
        texts
    }

    fn check(&self, proxy: &Proxy) {
        for type_url in [ADDRESS, POLICY] {
            let held: BTreeMap<String, String> = proxy
                .state(type_url)
                .iter()
                .filter_map(|text| text.split_once('='))
                .map(|(name, content)| (name.to_owned(), content.to_owned()))
                .collect();
            for (name, content) in &held {
                let key = (type_url, name.clone());
                let published = self.published.get(&key);
                let published = published.unwrap_or_else(|| panic!("{name} should be gone"));
                if published.starts_with(BAD) {
                    let good = self.good.get(&key).map(Vec::as_slice).unwrap_or_default();
                    assert!(
                        good.contains(content),
                        "{name}={content} was never published"
                    );
                } else {
                    assert_eq!(content, published, "{name}");
                }
            }
            for ((_, name), content) in self.published.iter().filter(|((of, _), _)| *of == type_url)
            {
                assert!(
                    content.starts_with(BAD) || held.contains_key(name),
                    "{name} is missing"
                );
            }
        }
    }
}

fn edit_all(world: &World, texts: &[(&'static str, String)]) {
    world.catalog.edit(|snapshot| {
        for (type_url, text) in texts {
            let resources = snapshot.resources_mut(type_url);
            match text.split_once('=') {
                Some((name, content)) => {
                    let entry = xds::server::Entry::new(content.as_bytes().to_vec());
                    resources.put(name, entry);
                }
                None => {
                    resources.remove(text.trim_start_matches('-'));
                }
            }
        }
    });
}

async fn run(steps: Vec<Step>) {
    let mut world = World::new();
    let mut model = Model::default();
    let proxy = world.client("z");
    for step in steps {
        match step {
            Step::Publish(edits) => edit_all(&world, &model.apply(&edits)),
            Step::Cut => world.cut(),
            Step::Restart(edits) => {
                world.stop();
                model.apply(&edits);
                let known = &model.published;
                world.start(|catalog| {
                    for ((type_url, name), content) in known {
                        publish(catalog, type_url, &[&format!("{name}={content}")]);
                    }
                });
            }
            Step::Wait(ms) => tokio::time::sleep(std::time::Duration::from_millis(ms)).await,
        }
    }
    eventually("one stream", || {
        proxy.is_connected() && world.server.clients().len() == 1
    })
    .await;
    world.synced().await;
    model.check(&proxy);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]
    #[test]
    fn client_and_server_agree_after_any_history(steps in prop::collection::vec(step(), 1..24)) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .expect("a runtime without threads");
        runtime.block_on(run(steps));
    }
}
