//! The door for fuzz targets: parsers of this crate that take bytes from pods and node agents.
//!
//! Compiled only with `--cfg fuzzing`; no product code may stand here.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use mesh::store::Store;
use mesh::workload::Workload;
use prost::Message;
use proto::zds::WorkloadRequest;
use runtime::Gates;
use telemetry::dns::{DnsMetrics, Transport};

use crate::dns;
use crate::inpod::{Conversation, Manager, Pods};
use crate::netns::Namespace;
use crate::pod::PodInfo;

/// The answer to a DNS message from a pod; every resolver behind us is silent.
pub fn dns(store: &Store, client: &Workload, query: &[u8], udp: bool) -> Option<Vec<u8>> {
    let settings = dns::Settings {
        cluster_domain: "cluster.local".to_owned(),
        resolvers: vec![],
        metrics: DnsMetrics::default(),
    };
    let transport = if udp { Transport::Udp } else { Transport::Tcp };
    let message = dns::read(query)?;
    match dns::decide(&settings, store, client, &message, transport) {
        dns::Outcome::Answered(answer) => dns::encode(&answer, transport),
        dns::Outcome::Elsewhere(counted) => {
            dns::unanswered(&settings, &message, counted, transport)
        }
    }
}

/// A ztunnel in conversation with a node agent, serving pods by writing them down.
pub struct Agent {
    manager: Manager<Book>,
    conversation: Conversation,
    book: Book,
    descriptor: OwnedFd,
}

#[derive(Clone, Debug, Default)]
struct Book(Rc<RefCell<BTreeSet<String>>>);

struct Entry(Book, String);

impl Drop for Entry {
    fn drop(&mut self) {
        self.0.0.borrow_mut().remove(&self.1);
    }
}

impl Pods for Book {
    type Served = Entry;

    fn serve(&self, pod: &PodInfo, _: &Arc<Namespace>) -> io::Result<Entry> {
        self.0.borrow_mut().insert(pod.uid.clone());
        Ok(Entry(self.clone(), pod.uid.clone()))
    }

    fn count(&self, _: usize, _: Vec<PodInfo>) {}
}

impl std::fmt::Debug for Agent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Agent").field(&self.book).finish()
    }
}

impl Agent {
    /// A conversation that has just begun.
    ///
    /// # Errors
    /// When this process cannot open its own network namespace.
    pub fn new() -> io::Result<Self> {
        let book = Book::default();
        let gate = Gates::default().gate("fuzz");
        Ok(Self {
            manager: Manager::new(Path::new("/nowhere"), book.clone(), gate),
            conversation: Conversation::new(),
            book,
            descriptor: std::fs::File::open("/proc/self/ns/net")?.into(),
        })
    }

    /// Takes a packet and so many descriptors; `None` when the conversation ends, else what is
    /// wrong, if anything is.
    pub fn packet(&mut self, bytes: &[u8], descriptors: usize) -> Option<String> {
        let request = WorkloadRequest::decode(bytes).ok()?;
        let descriptors = (0..descriptors).filter_map(|_| self.descriptor.try_clone().ok());
        let answer = self
            .manager
            .request(&mut self.conversation, request, descriptors.collect());
        answer.ok().map(|ack| ack.error)
    }

    /// The pods that are served.
    pub fn served(&self) -> Vec<String> {
        self.book.0.borrow().iter().cloned().collect()
    }
}
