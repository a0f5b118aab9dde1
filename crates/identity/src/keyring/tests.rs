//! The keyring against a scripted authority, under paused time.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use mesh::spiffe::SpiffeId;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{CertSource, Fetcher, Keyring, MAX_FETCHES, State};
use crate::test_authority::{HOUR, Leaf, TestAuthority};
use crate::{Certified, Error};

/// An authority that does as told and keeps a list of what it was asked.
struct Script {
    authority: TestAuthority,
    clock: Clock,
    lifetime: Duration,
    /// Requests answered at once; the rest wait for permits.
    gate: Semaphore,
    failing: Mutex<HashMap<SpiffeId, Failure>>,
    asked: mpsc::UnboundedSender<(SpiffeId, Instant)>,
    under_way: AtomicUsize,
    most_under_way: AtomicUsize,
}

#[derive(Clone, Copy)]
enum Failure {
    Refuses,
    Hangs,
    Panics,
}

/// A wall clock that goes with tokio's.
#[derive(Clone, Copy)]
struct Clock(SystemTime, Instant);

impl Clock {
    fn now(self) -> SystemTime {
        self.0 + self.1.elapsed()
    }
}

impl Fetcher for Arc<Script> {
    async fn fetch(&self, id: &SpiffeId) -> Result<Certified, Error> {
        self.asked.send((id.clone(), Instant::now())).unwrap();
        let under_way = self.under_way.fetch_add(1, Ordering::Relaxed) + 1;
        self.most_under_way.fetch_max(under_way, Ordering::Relaxed);
        self.gate.acquire().await.unwrap().forget();
        self.gate
            .add_permits(usize::from(self.gate.available_permits() > 1000));
        self.under_way.fetch_sub(1, Ordering::Relaxed);
        let failure = self.failing.lock().get(id).copied();
        match failure {
            Some(Failure::Refuses) => return Err(Error::Key),
            Some(Failure::Hangs) => std::future::pending().await,
            Some(Failure::Panics) => panic!("scripted"),
            None => {}
        }
        let mut leaf = Leaf::of(id.as_str());
        leaf.not_before = self.clock.now();
        leaf.not_after = leaf.not_before + self.lifetime;
        Ok(self.authority.certify_leaf(&leaf, &[]))
    }
}

struct Bench {
    keyring: Keyring,
    script: Arc<Script>,
    asked: mpsc::UnboundedReceiver<(SpiffeId, Instant)>,
    started: Instant,
    _renewal: JoinSet<()>,
}

impl Bench {
    /// An authority that answers everything at once.
    fn open() -> Self {
        Self::new(1 << 20)
    }

    /// An authority that answers when told to.
    fn gated() -> Self {
        Self::new(0)
    }

    fn new(permits: usize) -> Self {
        let (sender, asked) = mpsc::unbounded_channel();
        let clock = Clock(SystemTime::now(), Instant::now());
        let script = Arc::new(Script {
            authority: TestAuthority::new(),
            clock,
            lifetime: 24 * HOUR,
            gate: Semaphore::new(permits),
            failing: Mutex::default(),
            asked: sender,
            under_way: AtomicUsize::new(0),
            most_under_way: AtomicUsize::new(0),
        });
        let (keyring, renewal) = Keyring::with_clock(Arc::clone(&script), move || clock.now());
        let mut tasks = JoinSet::new();
        tasks.spawn(renewal.run());
        Self {
            keyring,
            script,
            asked,
            started: Instant::now(),
            _renewal: tasks,
        }
    }

    fn fail(&self, id: &SpiffeId, failure: Option<Failure>) {
        let mut failing = self.script.failing.lock();
        match failure {
            Some(failure) => failing.insert(id.clone(), failure),
            None => failing.remove(id),
        };
    }

    /// Who was asked for next, and how long after the start.
    async fn next(&mut self) -> (SpiffeId, Duration) {
        let (id, at) = self.asked.recv().await.unwrap();
        (id, at - self.started)
    }
}

fn id(name: &str) -> SpiffeId {
    SpiffeId::workload("cluster.local", "shop", name).unwrap()
}

fn serial(source: &CertSource) -> Vec<u8> {
    source.current().unwrap().chain()[0].to_vec()
}

#[tokio::test(start_paused = true)]
async fn waits_for_the_first_certificate() {
    let mut bench = Bench::gated();
    let cart = id("cart");
    let source = bench.keyring.source(&cart);
    let missing = source.current().unwrap_err();
    assert_eq!(
        missing.to_string(),
        format!("identity error: no certificate for {cart}: it is being requested")
    );
    assert!(matches!(
        bench.keyring.state(&cart),
        Some(State::Initializing)
    ));
    assert_eq!(bench.next().await.0, cart);
    let (got, ()) = tokio::join!(source.get(), async { bench.script.gate.add_permits(1) });
    assert_eq!(got.unwrap().id(), &cart);
    assert!(source.current().is_ok());
}

#[tokio::test(start_paused = true)]
async fn one_request_serves_everybody_who_waits() {
    let mut bench = Bench::open();
    let cart = id("cart");
    let (a, b, c) = tokio::join!(
        bench.keyring.get(&cart),
        bench.keyring.get(&cart),
        bench.keyring.get(&cart)
    );
    let chains = [a, b, c].map(|certified| certified.unwrap().chain()[0].clone());
    assert!(chains.iter().all(|chain| *chain == chains[0]));
    bench.next().await;
    assert!(bench.asked.is_empty());
}

#[tokio::test(start_paused = true)]
async fn renews_at_half_life_and_tells_the_holders() {
    let mut bench = Bench::open();
    let mut source = bench.keyring.source(&id("cart"));
    source.get().await.unwrap();
    let first = serial(&source);
    assert_eq!(bench.next().await.1, Duration::ZERO);
    source.state.mark_unchanged();
    source.changed().await.unwrap();
    assert_ne!(serial(&source), first);
    let (_, at) = bench.next().await;
    let half = 12 * HOUR;
    assert!(
        at >= half.mul_f64(0.95) && at <= half.mul_f64(1.05),
        "{at:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_failed_renewal_keeps_the_certificate_while_it_is_valid() {
    let mut bench = Bench::open();
    let cart = id("cart");
    let mut source = bench.keyring.source(&cart);
    source.get().await.unwrap();
    let first = serial(&source);
    bench.fail(&cart, Some(Failure::Refuses));
    bench.next().await;
    // Half a day of failing renewals.
    let mut waits = Vec::new();
    let (_, mut before) = bench.next().await;
    source.state.mark_unchanged();
    loop {
        let at = tokio::select! {
            biased;
            changed = source.changed() => break changed.unwrap(),
            (_, at) = bench.next() => at,
        };
        waits.push(at.saturating_sub(before));
        before = at;
        assert_eq!(serial(&source), first);
    }
    // Certificates know whole seconds only.
    assert!(
        bench.started.elapsed() + Duration::from_secs(1) >= 24 * HOUR,
        "kept to the end"
    );
    let expected = [
        0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 150.0, 150.0,
    ];
    for (wait, expected) in waits.iter().zip(expected) {
        let wait = wait.as_secs_f64();
        assert!(
            (0.8 * expected..=1.2 * expected + 0.01).contains(&wait),
            "{wait} for {expected}"
        );
    }
    source.get().await.unwrap_err();

    bench.fail(&cart, None);
    source.available().await.unwrap();
    assert_ne!(serial(&source), first);
}

#[tokio::test(start_paused = true)]
async fn after_a_failure_whoever_connects_gets_what_comes_of_the_next_attempt() {
    let mut bench = Bench::open();
    let cart = id("cart");
    bench.fail(&cart, Some(Failure::Refuses));
    let refused = bench.keyring.get(&cart).await.unwrap_err();
    assert!(
        refused.to_string().contains("no private key could be made"),
        "{refused}"
    );
    bench.next().await;
    bench.fail(&cart, None);
    bench.keyring.get(&cart).await.unwrap();
    let (_, at) = bench.next().await;
    assert!(
        at >= Duration::from_millis(400) && at <= Duration::from_millis(601),
        "{at:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn however_long_it_has_failed_whoever_connects_waits_a_second() {
    let mut bench = Bench::open();
    let cart = id("cart");
    bench.fail(&cart, Some(Failure::Refuses));
    let source = bench.keyring.source(&cart);
    let mut last = Duration::ZERO;
    for _ in 0..8 {
        last = bench.next().await.1;
    }
    bench.fail(&cart, None);
    source.get().await.unwrap();
    let (_, at) = bench.next().await;
    assert!(at <= last + Duration::from_millis(1001), "{last:?} {at:?}");
}

#[tokio::test(start_paused = true)]
async fn back_off_is_per_identity() {
    let bench = Bench::open();
    bench.fail(&id("broken"), Some(Failure::Refuses));
    bench.keyring.get(&id("broken")).await.unwrap_err();
    bench.keyring.get(&id("cart")).await.unwrap();
    assert_eq!(bench.started.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn an_authority_that_hangs_is_given_up_on() {
    let bench = Bench::open();
    bench.fail(&id("cart"), Some(Failure::Hangs));
    let refused = bench.keyring.get(&id("cart")).await.unwrap_err();
    assert!(refused.to_string().contains("within 10 s"), "{refused}");
    assert_eq!(bench.started.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_panics_is_a_failure_like_others() {
    let bench = Bench::open();
    bench.fail(&id("cart"), Some(Failure::Panics));
    let refused = bench.keyring.get(&id("cart")).await.unwrap_err();
    assert!(refused.to_string().contains("panicked"), "{refused}");
    bench.fail(&id("cart"), None);
    bench.keyring.source(&id("cart")).available().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_certificate_of_another_time_is_a_failure() {
    let clock = Clock(SystemTime::now() + 48 * HOUR, Instant::now());
    let bench = Bench::open();
    let (keyring, renewal) = Keyring::with_clock(Arc::clone(&bench.script), move || clock.now());
    let mut tasks = JoinSet::new();
    tasks.spawn(renewal.run());
    let refused = keyring.get(&id("cart")).await.unwrap_err();
    assert!(
        refused.to_string().contains("compare this machine's clock"),
        "{refused}"
    );
}

#[tokio::test(start_paused = true)]
async fn asks_for_eight_at_once_and_no_more() {
    let mut bench = Bench::gated();
    for n in 0..20 {
        bench.keyring.prefetch(&id(&format!("w{n}")));
    }
    for _ in 0..MAX_FETCHES {
        bench.next().await;
    }
    tokio::task::yield_now().await;
    assert!(bench.asked.is_empty());
    bench.script.gate.add_permits(20);
    for n in 0..20 {
        bench.keyring.get(&id(&format!("w{n}"))).await.unwrap();
    }
    assert_eq!(
        bench.script.most_under_way.load(Ordering::Relaxed),
        MAX_FETCHES
    );
}

#[tokio::test(start_paused = true)]
async fn a_waiting_connection_goes_before_what_was_announced() {
    let mut bench = Bench::gated();
    for n in 0..20 {
        bench.keyring.prefetch(&id(&format!("w{n:02}")));
    }
    for _ in 0..MAX_FETCHES {
        bench.next().await;
    }
    let keyring = bench.keyring.clone();
    let mut waiting = JoinSet::new();
    waiting.spawn(async move { keyring.get(&id("urgent")).await });
    let keyring = bench.keyring.clone();
    waiting.spawn(async move { keyring.get(&id("w19")).await });
    tokio::task::yield_now().await;
    bench.script.gate.add_permits(3);
    let next = [
        bench.next().await.0,
        bench.next().await.0,
        bench.next().await.0,
    ];
    let order = ["w19", "urgent", "w08"].map(id);
    assert_eq!(
        next, order,
        "in the order of their arrival, then the announced ones"
    );
    bench.script.gate.add_permits(20);
    while let Some(got) = waiting.join_next().await {
        got.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_announced_goes_before_renewals() {
    let mut bench = Bench::open();
    for n in 0..MAX_FETCHES {
        bench.keyring.get(&id(&format!("old{n}"))).await.unwrap();
        bench.next().await;
    }
    // All renewals fall due while the authority is busy with as many new ones.
    bench.script.gate.forget_permits(1 << 20);
    for n in 0..MAX_FETCHES {
        bench.keyring.prefetch(&id(&format!("busy{n}")));
        bench.next().await;
    }
    bench.keyring.prefetch(&id("announced"));
    tokio::time::advance(Duration::from_secs(9)).await;
    bench.script.gate.add_permits(1);
    assert_eq!(bench.next().await.0, id("announced"));
}

#[tokio::test(start_paused = true)]
async fn a_forgotten_identity_leaves_no_key_behind() {
    let mut bench = Bench::open();
    let cart = id("cart");
    let mut source = bench.keyring.source(&cart);
    let certified = Arc::downgrade(&source.get().await.unwrap());
    bench.keyring.forget(&cart);
    assert!(
        certified.upgrade().is_none(),
        "a source that outlives the identity keeps its key"
    );
    assert!(source.get().await.is_err());
    assert!(source.available().await.is_err());
    source.state.mark_unchanged();
    assert!(source.changed().await.is_err());
    assert!(bench.keyring.state(&cart).is_none());
    bench.next().await;

    bench.keyring.get(&cart).await.unwrap();
    assert_eq!(bench.next().await.0, cart, "asked for anew");
}

#[tokio::test(start_paused = true)]
async fn an_answer_for_a_forgotten_identity_is_thrown_away() {
    let mut bench = Bench::gated();
    let cart = id("cart");
    bench.keyring.prefetch(&cart);
    bench.next().await;
    bench.keyring.forget(&cart);
    bench.keyring.prefetch(&cart);
    bench.next().await;
    // The first answer belongs to nobody, the second to the new entry.
    bench.script.gate.add_permits(1);
    tokio::task::yield_now().await;
    bench.keyring.forget(&id("unknown"));
    bench.script.gate.add_permits(1);
    bench.keyring.get(&cart).await.unwrap();
    assert!(bench.asked.is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_dump_shows_every_identity_as_istioctl_reads_it() {
    let bench = Bench::open();
    bench.fail(&id("broken"), Some(Failure::Refuses));
    bench.keyring.get(&id("broken")).await.unwrap_err();
    bench.keyring.get(&id("cart")).await.unwrap();
    let dump = serde_json::to_value(bench.keyring.dump()).unwrap();
    let [broken, cart] = dump.as_array().unwrap().as_slice() else {
        panic!("{dump}")
    };
    assert_eq!(
        broken["identity"],
        "spiffe://cluster.local/ns/shop/sa/broken"
    );
    assert_eq!(
        broken["state"],
        "Unavailable: no private key could be made: the system gave no randomness"
    );
    assert_eq!(broken["certChain"], serde_json::json!([]));
    assert_eq!(cart["state"], "Available");
    assert_eq!(cart["rootCerts"].as_array().unwrap().len(), 1);
    let leaf = &cart["certChain"][0];
    let mut keys: Vec<_> = leaf.as_object().unwrap().keys().collect();
    keys.sort();
    assert_eq!(keys, ["expirationTime", "pem", "serialNumber", "validFrom"]);
    let time = leaf["validFrom"].as_str().unwrap();
    assert!(time.len() == 20 && time.ends_with('Z'), "{time}");
    assert!(
        leaf["serialNumber"]
            .as_str()
            .unwrap()
            .bytes()
            .all(|b| b.is_ascii_digit())
    );
    assert!(
        leaf["pem"]
            .as_str()
            .unwrap()
            .starts_with("LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0t")
    );
}
