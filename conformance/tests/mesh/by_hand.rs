//! A mesh whose waypoint the test plays itself: it shows what ztunnel sends to one.
//!
//! As recorded: Service `app/echo` with a pod on each node, and the waypoint `app/waypoint`, used
//! for the Service and for the pods.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, MutexGuard};
use testkit::{Mesh, eventually};

use crate::places::{self, Place};

/// A running mesh, for one test at a time: there is but one waypoint to play.
pub(crate) struct ByHand {
    pub(crate) mesh: Arc<Mesh>,
    /// The pod on the first node, which calls.
    pub(crate) near: Place,
    /// The pod on the second.
    pub(crate) far: Place,
    pub(crate) waypoint: Place,
    pub(crate) vip: Ipv4Addr,
    _turn: MutexGuard<'static, ()>,
}

static SHARED: Mutex<Weak<Mesh>> = Mutex::new(Weak::new());
static TURN: Mutex<()> = Mutex::new(());

/// The mesh, ready; `None` where there is no root.
pub(crate) fn up() -> Option<ByHand> {
    if !testkit::require_root() {
        return None;
    }
    let mut shared = SHARED.lock();
    let mesh = shared.upgrade().unwrap_or_else(|| {
        let mesh = Arc::new(Mesh::builder().manifest("by_hand.yaml", MANIFEST).up());
        *shared = Arc::downgrade(&mesh);
        mesh
    });
    drop(shared);
    let turn = TURN.lock();
    let echo = places::pods(&mesh, "app", "echo");
    let [near, far] = echo.try_into().unwrap();
    eventually("ztunnel knows the waypoint", || {
        let dump = places::config_dump(&mesh, &near.node).to_string();
        // One of the Service, two of the pods.
        (dump.matches("hboneMtlsPort").count() == 3).then_some(())
    });
    Some(ByHand {
        waypoint: places::pod(&mesh, "app", "waypoint"),
        vip: places::vip(&mesh, "app/echo"),
        mesh,
        near,
        far,
        _turn: turn,
    })
}

impl ByHand {
    /// The waypoint's HBONE port, which nobody else listens on.
    pub(crate) fn listen(&self) -> TcpListener {
        let address = SocketAddr::new(self.waypoint.ip.into(), 15008);
        let listener = places::inside(&self.waypoint.netns, || TcpListener::bind(address));
        let listener = listener.unwrap();
        listener.set_nonblocking(true).unwrap();
        listener
    }
}

const MANIFEST: &str = include_str!("by_hand.yaml");
