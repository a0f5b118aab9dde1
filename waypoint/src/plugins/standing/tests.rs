use std::time::Instant;

use wasm_host::HealthState;
use xds::client::{Reports, Stage};

use super::{Standing, Standings, health};
use crate::fixtures::plugin;

fn open(why: &str) -> HealthState {
    HealthState::Open {
        until: Instant::now(),
        why: why.to_owned(),
    }
}

#[test]
fn the_worst_worker_counts() {
    let plugin = plugin("auth");
    let restarting = HealthState::Restarting {
        until: Instant::now(),
    };
    let mut standing = Standing {
        trouble: [(0, (restarting, "a".to_owned()))].into(),
        ..Standing::default()
    };
    assert_eq!(health(&plugin, &standing).reason, "Restarting");
    standing
        .trouble
        .insert(1, (open("unreachable"), "plugin x stopped".to_owned()));
    let stage = health(&plugin, &standing);
    assert_eq!((stage.is, &*stage.reason), (Some(false), "Crashing"));
    assert!(stage.message.contains("plugin x stopped"), "{stage:?}");
    assert!(stage.message.contains("answered 503"), "{stage:?}");
    standing.trouble.insert(
        1,
        (open("ran longer than its budget of 10ms"), String::new()),
    );
    assert_eq!(health(&plugin, &standing).reason, "BudgetExceeded");
    standing.trouble.clear();
    assert_eq!(health(&plugin, &standing), Stage::yes("Healthy", "it runs"));
}

#[test]
fn loader_and_workers_speak_of_one_plugin() {
    let standings = Standings::new(Reports::default());
    let (name, plugin) = ("shop/auth".into(), plugin("auth"));
    standings.loader(&name, |report| report.generation = 3);
    standings.worker(&name, &plugin, 0, open("x"), "y");
    standings.worker(&name, &plugin, 0, HealthState::Healthy, "");
    let plugins = standings.0.plugins.lock();
    let report = &plugins[&name].report;
    assert_eq!(report.generation, 3);
    assert_eq!(report.healthy.is, Some(true));
    assert_eq!(report.stops, 1, "how often, also when it is well again");
    drop(plugins);
    standings.forget(&name);
    assert!(standings.0.plugins.lock().is_empty());
}
