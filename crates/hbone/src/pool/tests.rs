use std::cell::Cell;
use std::future::pending;
use std::io;
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::sync::oneshot;

use super::*;
use crate::server;
use crate::testing::{connect_to, later, run, run_paused, spawn, transport};

type TestPool = Pool<&'static str, io::Error>;

/// The key of tests that need only one.
const KEY: &str = "web -> cart";

fn pool(settings: Settings) -> TestPool {
    Pool::new(settings, |driver| drop(spawn(driver)))
}

/// A peer that can be connected to many times, echoes, and counts.
#[derive(Clone, Default)]
struct Peer {
    state: Rc<PeerState>,
}

#[derive(Default)]
struct PeerState {
    settings: RefCell<Settings>,
    connects: Cell<usize>,
    /// One per connection: fire to drain it.
    drains: RefCell<Vec<oneshot::Sender<()>>>,
    /// Answer to the next CONNECTs instead of 200.
    refuse: Cell<Option<StatusCode>>,
    requests: Cell<usize>,
    open_connections: Cell<usize>,
}

impl Peer {
    fn with_limit(streams: u32) -> Self {
        let peer = Self::default();
        peer.state.settings.borrow_mut().server_max_streams = streams;
        peer
    }

    fn connects(&self) -> usize {
        self.state.connects.get()
    }

    /// The transport's connect: at once, and with a server behind it.
    fn connect(&self) -> DuplexStream {
        let state = Rc::clone(&self.state);
        state.connects.set(state.connects.get() + 1);
        let (near, far) = transport(1 << 16);
        let (drain, drained) = oneshot::channel();
        state.drains.borrow_mut().push(drain);
        spawn(serve(state, far, drained));
        near
    }

    async fn open(&self, pool: &TestPool) -> Result<Opened, Error<io::Error>> {
        let connect = async || Ok(self.connect());
        pool.open(&KEY, connect, &connect_to("10.0.0.1:80"), later())
            .await
    }
}

async fn serve(state: Rc<PeerState>, io: DuplexStream, drained: oneshot::Receiver<()>) {
    let settings = state.settings.borrow().clone();
    state.open_connections.set(state.open_connections.get() + 1);
    let mut connection = server::accept(io, &settings).await.unwrap();
    let mut drained = Some(drained);
    loop {
        let drain = async {
            match &mut drained {
                Some(drained) => drained.await.is_ok(),
                None => pending().await,
            }
        };
        let next = tokio::select! {
            drain = drain => {
                drained = None;
                if drain {
                    connection.drain();
                }
                continue;
            }
            next = connection.next() => next,
        };
        let Some(Ok(connect)) = next else { break };
        state.requests.set(state.requests.get() + 1);
        if let Some(status) = state.refuse.get() {
            connect.refuse(status).unwrap();
        } else if let Ok(tunnel) = connect.accept(HeaderMap::new()) {
            let (mut recv, mut send) = tunnel.into_split();
            spawn(async move { tokio::io::copy(&mut recv, &mut send).await });
        }
    }
    state.open_connections.set(state.open_connections.get() - 1);
}

async fn echoes(opened: &mut Opened) -> bool {
    let mut echo = [0; 4];
    let written = opened.tunnel.write_all(b"ping").await;
    written.is_ok() && opened.tunnel.read_exact(&mut echo).await.is_ok() && &echo == b"ping"
}

/// Waits for a condition that other tasks of the test bring about.
async fn eventually(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::task::yield_now().await;
    }
}

#[test]
fn tunnels_share_a_connection() {
    run(async {
        let (pool, peer) = (pool(Settings::default()), Peer::default());
        let mut tunnels = Vec::new();
        for _ in 0..5 {
            tunnels.push(peer.open(&pool).await.unwrap());
        }
        for tunnel in &mut tunnels {
            assert!(echoes(tunnel).await);
        }
        assert_eq!(
            (peer.connects(), pool.connections(), pool.tunnels()),
            (1, 1, 5)
        );
        drop(tunnels);
        assert_eq!((pool.connections(), pool.tunnels()), (1, 0));
    });
}

/// Starts `n` calls at once and returns what became of them.
async fn open_at_once(
    n: usize,
    pool: &TestPool,
    peer: &Peer,
) -> Vec<Result<Opened, Error<io::Error>>> {
    let call = |_| {
        let (pool, peer) = (pool.clone(), peer.clone());
        spawn(async move { peer.open(&pool).await })
    };
    let calls: Vec<_> = (0..n).map(call).collect();
    let mut results = Vec::new();
    for call in calls {
        results.push(call.await.unwrap());
    }
    results
}

#[test]
fn callers_at_the_same_time_share_one_handshake() {
    run(async {
        let (pool, peer) = (pool(Settings::default()), Peer::default());
        let mut opened = open_at_once(50, &pool, &peer).await;
        assert_eq!((peer.connects(), pool.tunnels()), (1, 50));
        for opened in &mut opened {
            assert!(echoes(opened.as_mut().unwrap()).await);
        }
    });
}

#[test]
fn a_slow_handshake_holds_up_no_other_key() {
    run(async {
        let (pool, peer) = (pool(Settings::default()), Peer::default());
        let stuck = spawn({
            let pool = pool.clone();
            async move {
                let never = async || pending::<io::Result<DuplexStream>>().await;
                pool.open(&"stuck", never, &connect_to("10.0.0.2:80"), later())
                    .await
            }
        });
        tokio::task::yield_now().await;
        assert!(echoes(&mut peer.open(&pool).await.unwrap()).await);
        assert!(!stuck.is_finished());
    });
}

#[test]
fn a_failure_is_shared_by_those_who_waited_and_by_nobody_else() {
    run(async {
        let (pool, attempts) = (pool(Settings::default()), Rc::new(Cell::new(0)));
        let call = || {
            let (pool, attempts) = (pool.clone(), Rc::clone(&attempts));
            spawn(async move {
                let fail = async || {
                    attempts.set(attempts.get() + 1);
                    tokio::task::yield_now().await;
                    Err::<DuplexStream, _>(io::Error::from(io::ErrorKind::ConnectionRefused))
                };
                pool.open(&KEY, fail, &connect_to("10.0.0.1:80"), later())
                    .await
            })
        };
        for call in [call(), call(), call()] {
            let error = call.await.unwrap().unwrap_err();
            let Error::Connect(error) = error else {
                panic!("{error:?}")
            };
            assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        }
        assert_eq!(attempts.get(), 1);
        call().await.unwrap().unwrap_err();
        assert_eq!(attempts.get(), 2);
        assert_eq!(pool.connections(), 0);
    });
}

#[test]
fn a_waiting_caller_takes_over_when_the_connecting_one_goes_away() {
    run(async {
        let (pool, peer) = (pool(Settings::default()), Peer::default());
        let connecting = spawn({
            let pool = pool.clone();
            async move {
                let never = async || pending::<io::Result<DuplexStream>>().await;
                pool.open(&KEY, never, &connect_to("10.0.0.1:80"), later())
                    .await
            }
        });
        tokio::task::yield_now().await;
        let waiting = spawn({
            let (pool, peer) = (pool.clone(), peer.clone());
            async move { peer.open(&pool).await }
        });
        tokio::task::yield_now().await;
        assert_eq!(peer.connects(), 0);
        connecting.abort();
        assert!(echoes(&mut waiting.await.unwrap().unwrap()).await);
        assert_eq!(peer.connects(), 1);
    });
}

#[test]
fn a_full_connection_gets_company() {
    run(async {
        let settings = Settings {
            client_max_streams: 2,
            ..Settings::default()
        };
        let (pool, peer) = (pool(settings), Peer::default());
        let mut opened = open_at_once(5, &pool, &peer).await;
        assert_eq!(
            (peer.connects(), pool.connections(), pool.tunnels()),
            (3, 3, 5)
        );
        opened.truncate(1);
        // Places on the first connection are taken before those of the others.
        let _more = peer.open(&pool).await.unwrap();
        assert_eq!(peer.connects(), 3);
    });
}

#[test]
fn the_limit_of_the_peer_is_learnt_and_nobody_fails_meanwhile() {
    run(async {
        let (pool, peer) = (pool(Settings::default()), Peer::with_limit(2));
        let mut opened = open_at_once(12, &pool, &peer).await;
        for opened in &mut opened {
            assert!(echoes(opened.as_mut().unwrap()).await);
        }
        assert_eq!(
            (peer.connects(), pool.connections(), pool.tunnels()),
            (6, 6, 12)
        );
    });
}

#[test]
fn a_draining_connection_is_replaced_and_its_tunnels_go_on() {
    run(async {
        let (pool, peer) = (pool(Settings::default()), Peer::default());
        let mut old = peer.open(&pool).await.unwrap();
        let drain = peer.state.drains.borrow_mut().remove(0);
        drain.send(()).unwrap();
        // Calls made while the goodbye is on its way succeed as well.
        while peer.connects() == 1 {
            assert!(echoes(&mut peer.open(&pool).await.unwrap()).await);
        }
        assert!(echoes(&mut old).await);
        assert_eq!(pool.connections(), 1);
        drop(old);
        eventually(|| peer.state.open_connections.get() == 1).await;
    });
}

#[test]
fn a_connection_that_died_unnoticed_costs_no_call() {
    run(async {
        let pool = pool(Settings::default());
        let peer = Peer::default();
        // A transport whose far end is gone by the time of the second call.
        let (near, far) = transport(1 << 16);
        let first = spawn({
            let pool = pool.clone();
            let mut near = Some(near);
            async move {
                let connect = async || Ok(near.take().unwrap());
                let refused = pool
                    .open(&KEY, connect, &connect_to("10.0.0.1:80"), later())
                    .await;
                assert!(matches!(
                    refused,
                    Err(Error::Tunnel(client::Error::Refused(_)))
                ));
            }
        });
        let mut connection = server::accept(far, &Settings::default()).await.unwrap();
        let connect = connection.next().await.unwrap().unwrap();
        connect.refuse(StatusCode::UNAUTHORIZED).unwrap();
        let cut = spawn(async move {
            // Runs until the client's goodbye or until it is cut, whichever is first.
            while connection.next().await.is_some() {}
        });
        first.await.unwrap();
        assert_eq!(pool.connections(), 1);
        cut.abort();
        // Not polled in between: the pool cannot know.
        assert!(echoes(&mut peer.open(&pool).await.unwrap()).await);
        assert_eq!(pool.connections(), 1);
    });
}

#[test]
fn a_refusal_is_final() {
    run(async {
        let (pool, peer) = (pool(Settings::default()), Peer::default());
        peer.state.refuse.set(Some(StatusCode::SERVICE_UNAVAILABLE));
        let error = peer.open(&pool).await.unwrap_err();
        assert_eq!(error.to_string(), "http status: 503 Service Unavailable");
        assert_eq!((peer.connects(), peer.state.requests.get()), (1, 1));
        assert_eq!((pool.connections(), pool.tunnels()), (1, 0));
    });
}

#[test]
fn a_connection_unused_for_five_minutes_is_closed() {
    run_paused(async {
        let (pool, peer) = (pool(Settings::default()), Peer::default());
        let tunnel = peer.open(&pool).await.unwrap();
        let minutes = |n: u64| tokio::time::sleep(Duration::from_mins(n));
        minutes(20).await;
        assert_eq!(pool.connections(), 1, "in use");
        drop(tunnel);
        minutes(4).await;
        assert_eq!(pool.connections(), 1, "not idle for long enough");
        drop(peer.open(&pool).await.unwrap());
        minutes(4).await;
        assert_eq!(
            (pool.connections(), peer.connects()),
            (1, 1),
            "used in between"
        );
        minutes(6).await;
        assert_eq!(
            (pool.connections(), peer.state.open_connections.get()),
            (0, 0)
        );
        assert!(echoes(&mut peer.open(&pool).await.unwrap()).await);
        assert_eq!(peer.connects(), 2);
    });
}

#[test]
fn the_deadline_covers_connecting_and_waiting_for_it() {
    run_paused(async {
        let pool = pool(Settings::default());
        let started = Instant::now();
        let deadline = started + Duration::from_secs(10);
        let calls = [(); 2].map(|()| {
            let pool = pool.clone();
            spawn(async move {
                let never = async || pending::<io::Result<DuplexStream>>().await;
                pool.open(&KEY, never, &connect_to("10.0.0.1:80"), deadline)
                    .await
            })
        });
        for call in calls {
            let error = call.await.unwrap().unwrap_err();
            assert!(matches!(error, Error::Tunnel(client::Error::Deadline)));
        }
        assert_eq!(started.elapsed(), Duration::from_secs(10));
    });
}

#[test]
fn a_withdrawn_key_gets_no_new_tunnels_on_old_connections() {
    run(async {
        let (pool, peer) = (pool(Settings::default()), Peer::default());
        let mut old = peer.open(&pool).await.unwrap();
        pool.retain(|key| *key != KEY);
        assert_eq!(pool.connections(), 0);
        assert!(echoes(&mut old).await);
        let _new = peer.open(&pool).await.unwrap();
        assert_eq!(peer.connects(), 2);
        drop(old);
        eventually(|| peer.state.open_connections.get() == 1).await;
    });
}

#[test]
fn a_key_withdrawn_while_connecting_is_not_pooled() {
    run(async {
        let (pool, peer) = (pool(Settings::default()), Peer::default());
        let connect = async || {
            pool.retain(|_| false);
            Ok(peer.connect())
        };
        let request = connect_to("10.0.0.1:80");
        let mut opened = pool.open(&KEY, connect, &request, later()).await.unwrap();
        assert!(echoes(&mut opened).await);
        assert_eq!(pool.connections(), 0);
    });
}

#[test]
fn a_dropped_pool_lets_tunnels_finish_and_closes() {
    run(async {
        let (pool, peer) = (pool(Settings::default()), Peer::default());
        let mut tunnel = peer.open(&pool).await.unwrap();
        drop(pool);
        assert!(echoes(&mut tunnel).await);
        assert_eq!(peer.state.open_connections.get(), 1);
        drop(tunnel);
        eventually(|| peer.state.open_connections.get() == 0).await;
    });
}

#[test]
fn futures_stay_small() {
    run(async {
        let (pool, peer) = (pool(Settings::default()), Peer::default());
        let request = connect_to("10.0.0.1:80");
        let connect = async || Ok(peer.connect());
        let open = size_of_val(&pool.open(&KEY, connect, &request, later()));
        assert!(open <= 2500, "open is {open} bytes");
    });
}
