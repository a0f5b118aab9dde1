use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use runtime::LocalTasks;
use telemetry::wasm::PluginMetrics;
use tokio::task::LocalSet;
use tokio::time::Instant;

use super::{CALLED, FORGOTTEN, PATIENCE, Turns, Usage};

const MS: Duration = Duration::from_millis(1);

/// One worker.
struct Stage {
    turns: Rc<Turns>,
    tasks: LocalTasks,
    metrics: PluginMetrics,
    /// What was said of the plugins, in order.
    told: Rc<RefCell<Vec<bool>>>,
}

impl Stage {
    fn new() -> Self {
        let tasks = LocalTasks::default();
        Self {
            turns: Turns::new(tasks.clone()),
            tasks,
            metrics: PluginMetrics::register(&mut Registry::default()),
            told: Rc::default(),
        }
    }

    fn plugin(&self, name: &str) -> Rc<Usage> {
        let (metrics, told) = (self.metrics.of(name), Rc::clone(&self.told));
        let tell = move |crowded| told.borrow_mut().push(crowded);
        Usage::new(Rc::clone(&self.turns), 10 * MS, metrics, Box::new(tell))
    }
}

/// Runs a test on a worker whose clock stands unless everybody waits.
fn on_a_worker<F: Future<Output = ()>>(test: impl FnOnce(Rc<Stage>) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, async { test(Rc::new(Stage::new())).await });
}

#[test]
fn a_plugin_that_does_little_has_its_turn_at_once() {
    on_a_worker(async |stage| {
        let usage = stage.plugin("shop.light");
        usage.spent(MS / 100);
        assert!(stage.turns.is_quiet() && usage.is_free());
        usage.first_turn().await.unwrap();
    });
}

#[test]
fn after_a_long_call_everybody_else_has_his_turn_first() {
    on_a_worker(async |stage| {
        let (slow, other) = (stage.plugin("shop.slow"), stage.plugin("shop.other"));
        let ran = Rc::new(Cell::new(0));
        for _ in 0..200 {
            let ran = Rc::clone(&ran);
            stage
                .tasks
                .spawn("ready", async move { ran.set(ran.get() + 1) });
        }
        slow.spent(3 * MS / 2);
        assert!(!other.is_free(), "whoever it was that took so long");
        other.turn().await;
        assert_eq!(ran.get(), 200);
    });
}

/// Has a plugin called by `count` requests, each of which takes it 8 ms, and returns how long that
/// took on a clock that stands while they run.
async fn called(stage: &Stage, usage: &Rc<Usage>, count: usize) -> Duration {
    let began = Instant::now();
    let running = Rc::new(Cell::new(count));
    for _ in 0..count {
        let (usage, running) = (Rc::clone(usage), Rc::clone(&running));
        let visit = stage.turns.visit();
        stage.tasks.spawn("request", async move {
            let _visit = visit;
            usage.first_turn().await.unwrap();
            usage.spent(8 * MS);
            running.set(running.get() - 1);
        });
    }
    while running.get() > 0 {
        tokio::task::yield_now().await;
        if !stage.turns.is_quiet() {
            tokio::time::sleep(MS / 100).await;
        }
    }
    began.elapsed()
}

#[test]
fn a_plugin_in_debt_rests_for_as_long_as_it_worked_while_others_want_to_run() {
    on_a_worker(async |stage| {
        let usage = stage.plugin("shop.slow");
        let other = stage.turns.visit();
        let took = called(&stage, &usage, 10).await;
        assert!((70 * MS..90 * MS).contains(&took), "{took:?}");
        drop(other);
    });
}

#[test]
fn it_does_not_rest_when_it_is_alone() {
    on_a_worker(async |stage| {
        let usage = stage.plugin("shop.slow");
        let took = called(&stage, &usage, 10).await;
        assert!(took < 8 * MS, "{took:?}");
    });
}

#[test]
fn its_own_requests_are_nobody_else() {
    on_a_worker(async |stage| {
        let usage = stage.plugin("shop.slow");
        usage.runs(|| 2);
        let _begun = (stage.turns.visit(), stage.turns.visit());
        let took = called(&stage, &usage, 10).await;
        assert!(took < 8 * MS, "{took:?}");
    });
}

/// Puts a plugin into debt and to rest.
async fn exhaust(stage: &Stage, usage: &Rc<Usage>, time: Duration) {
    usage.spent(time);
    tokio::task::yield_now().await;
    tokio::task::yield_now().await;
    assert!(!usage.is_free() && !stage.turns.passing.get());
}

#[test]
fn what_was_begun_is_finished_before_more_is_begun() {
    on_a_worker(async |stage| {
        let usage = stage.plugin("shop.slow");
        let _other = stage.turns.visit();
        exhaust(&stage, &usage, 50 * MS).await;
        let order = Rc::new(RefCell::new(Vec::new()));
        for (is_new, name) in [(true, "new"), (true, "newer"), (false, "begun")] {
            let (usage, order) = (Rc::clone(&usage), Rc::clone(&order));
            stage.tasks.spawn("request", async move {
                if is_new {
                    usage.first_turn().await.unwrap();
                } else {
                    usage.turn().await;
                }
                order.borrow_mut().push(name);
            });
        }
        tokio::time::sleep(200 * MS).await;
        assert_eq!(*order.borrow(), ["begun", "new", "newer"]);
    });
}

#[test]
fn nobody_waits_for_ever_for_his_first_turn() {
    on_a_worker(async |stage| {
        let usage = stage.plugin("shop.slow");
        let _other = stage.turns.visit();
        let (served, refused) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        for _ in 0..500 {
            let (usage, served, refused) =
                (Rc::clone(&usage), Rc::clone(&served), Rc::clone(&refused));
            let visit = stage.turns.visit();
            stage.tasks.spawn("request", async move {
                let _visit = visit;
                let began = Instant::now();
                match usage.first_turn().await {
                    Ok(()) => {
                        usage.spent(50 * MS);
                        served.set(served.get() + 1);
                    }
                    Err(why) => {
                        assert!(why.contains("no turn in 10 s"), "{why}");
                        assert!(began.elapsed() >= PATIENCE);
                        refused.set(refused.get() + 1);
                    }
                }
            });
        }
        tokio::time::sleep(2 * PATIENCE).await;
        assert_eq!(served.get() + refused.get(), 500);
        // One in 50 ms: the clock stands while they work.
        assert!((190..=210).contains(&served.get()), "{served:?}");
    });
}

#[test]
fn who_gives_up_waiting_holds_up_nobody() {
    on_a_worker(async |stage| {
        let usage = stage.plugin("shop.slow");
        let _other = stage.turns.visit();
        exhaust(&stage, &usage, 50 * MS).await;
        let mut first = Box::pin(usage.turn());
        let mut second = Box::pin(usage.turn());
        assert!(futures_util::poll!(&mut first).is_pending());
        assert!(futures_util::poll!(&mut second).is_pending());
        drop(first);
        second.await;
        assert!(stage.turns.queue.borrow().is_empty());
    });
}

#[test]
fn who_is_called_and_does_not_come_holds_up_nobody() {
    on_a_worker(async |stage| {
        let usage = stage.plugin("shop.slow");
        let _other = stage.turns.visit();
        exhaust(&stage, &usage, 50 * MS).await;
        let mut stuck: Vec<_> = (0..3 * CALLED).map(|_| Box::pin(usage.turn())).collect();
        for one in &mut stuck {
            assert!(futures_util::poll!(one).is_pending());
        }
        usage.first_turn().await.unwrap();
        // They come later, and have their turn then.
        for one in stuck {
            one.await;
        }
    });
}

#[test]
fn a_plugin_without_debt_does_not_wait_for_one_that_rests() {
    on_a_worker(async |stage| {
        let (slow, light) = (stage.plugin("shop.slow"), stage.plugin("shop.light"));
        let _other = stage.turns.visit();
        exhaust(&stage, &slow, 50 * MS).await;
        assert!(light.is_free() && !slow.is_free());
    });
}

#[test]
fn who_is_granted_long_calls_may_make_them() {
    on_a_worker(async |stage| {
        let (metrics, tell) = (stage.metrics.of("shop.slow"), |_| {});
        let turns = Rc::clone(&stage.turns);
        let usage = Usage::new(turns, 1000 * MS, metrics, Box::new(tell));
        usage.spent(99 * MS);
        assert!(usage.is_free() && stage.turns.is_quiet());
        usage.spent(200 * MS);
        assert!(!usage.is_free());
    });
}

#[test]
fn debt_is_forgotten_with_the_plugin() {
    on_a_worker(async |stage| {
        let usage = stage.plugin("shop.slow");
        let _other = stage.turns.visit();
        exhaust(&stage, &usage, 50 * MS).await;
        drop(usage);
        tokio::time::sleep(100 * MS).await;
        assert!(stage.turns.is_quiet());
    });
}

#[test]
fn long_waits_are_told_once_and_taken_back_when_there_were_none_for_a_while() {
    on_a_worker(async |stage| {
        let usage = stage.plugin("shop.slow");
        let _other = stage.turns.visit();
        called(&stage, &usage, 10).await;
        assert!(stage.told.borrow().is_empty(), "the last waited for 72 ms");
        called(&stage, &usage, 50).await;
        assert_eq!(*stage.told.borrow(), [true]);
        tokio::time::sleep(2 * FORGOTTEN).await;
        assert_eq!(*stage.told.borrow(), [true, false]);
    });
}
