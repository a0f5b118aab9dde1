//! Shared data and queues: what VMs on different workers see of each other.
//!
//! Everything is kept per tenant and VM id; nothing crosses tenants. A lock is held while bytes
//! are looked up or stored, never while a guest runs.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::abi::Status;
use crate::embed::QueueNotifier;
use crate::limits::Limits;

/// All tenants of a host.
#[derive(Debug, Default)]
pub(crate) struct Registry(Mutex<HashMap<String, Weak<Tenant>>>);

/// What the VMs of one tenant share.
#[derive(Debug, Default)]
struct Tenant {
    spaces: Mutex<HashMap<String, Weak<Space>>>,
    queues: Mutex<BTreeMap<u32, Queue>>,
}

/// What the VMs of one tenant and id share; gone with the last of them.
#[derive(Debug)]
pub(crate) struct Space {
    tenant: Arc<Tenant>,
    vm_id: String,
    data: Mutex<Data>,
}

#[derive(Debug, Default)]
struct Data {
    entries: HashMap<Box<[u8]>, Entry>,
    /// Keys and values together.
    bytes: usize,
    last_cas: u32,
}

#[derive(Debug)]
struct Entry {
    value: Arc<[u8]>,
    cas: u32,
}

struct Queue {
    vm_id: String,
    name: Box<[u8]>,
    items: VecDeque<Box<[u8]>>,
    bytes: usize,
    notifier: Option<QueueNotifier>,
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("vm_id", &self.vm_id)
            .field("items", &self.items.len())
            .finish_non_exhaustive()
    }
}

/// Queue ids are unique in the process, and never 0.
static NEXT_QUEUE: AtomicU32 = AtomicU32::new(1);

impl Registry {
    /// Opens the space of a tenant's VM id, creating it for the first.
    pub(crate) fn open(&self, tenant: &str, vm_id: &str) -> Arc<Space> {
        let mut tenants = self.0.lock();
        tenants.retain(|_, tenant| tenant.strong_count() > 0);
        let owner = tenants
            .get(tenant)
            .and_then(Weak::upgrade)
            .unwrap_or_else(|| {
                let fresh = Arc::new(Tenant::default());
                tenants.insert(tenant.to_owned(), Arc::downgrade(&fresh));
                fresh
            });
        drop(tenants);
        let mut spaces = owner.spaces.lock();
        if let Some(space) = spaces.get(vm_id).and_then(Weak::upgrade) {
            return space;
        }
        let space = Arc::new(Space {
            tenant: Arc::clone(&owner),
            vm_id: vm_id.to_owned(),
            data: Mutex::default(),
        });
        spaces.insert(vm_id.to_owned(), Arc::downgrade(&space));
        drop(spaces);
        space
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        let mut spaces = self.tenant.spaces.lock();
        // A successor may have been opened between our last reference going and this.
        if spaces
            .get(&self.vm_id)
            .is_some_and(|space| space.strong_count() == 0)
        {
            spaces.remove(&self.vm_id);
            self.tenant
                .queues
                .lock()
                .retain(|_, queue| queue.vm_id != self.vm_id);
        }
    }
}

impl Space {
    /// Returns a datum and the number of its last write.
    pub(crate) fn get(&self, key: &[u8]) -> Option<(Arc<[u8]>, u32)> {
        let data = self.data.lock();
        data.entries
            .get(key)
            .map(|entry| (Arc::clone(&entry.value), entry.cas))
    }

    /// Stores a datum. `cas` 0 does not compare; nor does a key that is not there.
    ///
    /// # Errors
    /// `CAS_MISMATCH` when another write came first; `Full` beyond the limits.
    pub(crate) fn set(
        &self,
        key: &[u8],
        value: &[u8],
        cas: u32,
        limits: &Limits,
    ) -> Result<(), NotStored> {
        if key.len() > limits.name_bytes {
            return Err(NotStored::Full);
        }
        let mut data = self.data.lock();
        let old = data.entries.get(key);
        if cas != 0 && old.is_some_and(|entry| entry.cas != cas) {
            return Err(NotStored::Changed);
        }
        let freed = old.map_or(0, |entry| key.len() + entry.value.len());
        let bytes = data.bytes - freed + key.len() + value.len();
        if bytes > limits.shared_bytes {
            return Err(NotStored::Full);
        }
        data.bytes = bytes;
        data.last_cas = data.last_cas.checked_add(1).unwrap_or(1);
        let entry = Entry {
            value: Arc::from(value),
            cas: data.last_cas,
        };
        match data.entries.get_mut(key) {
            Some(old) => *old = entry,
            None => drop(data.entries.insert(Box::from(key), entry)),
        }
        Ok(())
    }

    /// Opens a queue of this VM id, creating it if there is none; the last to do so is notified.
    pub(crate) fn register_queue(
        &self,
        name: &[u8],
        notifier: Option<QueueNotifier>,
        limits: &Limits,
    ) -> Result<u32, Status> {
        if name.len() > limits.name_bytes {
            return Err(Status::InternalFailure);
        }
        let mut queues = self.tenant.queues.lock();
        if let Some((id, queue)) = queues
            .iter_mut()
            .find(|(_, queue)| queue.is(&self.vm_id, name))
        {
            queue.notifier = notifier;
            return Ok(*id);
        }
        if queues
            .values()
            .filter(|queue| queue.vm_id == self.vm_id)
            .count()
            >= limits.queues
        {
            return Err(Status::InternalFailure);
        }
        let id = NEXT_QUEUE.fetch_add(1, Ordering::Relaxed).max(1);
        let queue = Queue {
            vm_id: self.vm_id.clone(),
            name: Box::from(name),
            items: VecDeque::new(),
            bytes: 0,
            notifier,
        };
        queues.insert(id, queue);
        Ok(id)
    }

    /// Finds a queue of this tenant; an empty VM id means our own.
    pub(crate) fn resolve_queue(&self, vm_id: &[u8], name: &[u8]) -> Option<u32> {
        let vm_id = if vm_id.is_empty() {
            &self.vm_id
        } else {
            std::str::from_utf8(vm_id).ok()?
        };
        let queues = self.tenant.queues.lock();
        queues
            .iter()
            .find(|(_, queue)| queue.is(vm_id, name))
            .map(|(id, _)| *id)
    }

    /// Appends an item and returns whom to tell.
    pub(crate) fn enqueue(
        &self,
        id: u32,
        item: &[u8],
        limits: &Limits,
    ) -> Result<Option<QueueNotifier>, NotStored> {
        let mut queues = self.tenant.queues.lock();
        let queue = queues.get_mut(&id).ok_or(NotStored::Missing)?;
        if queue.items.len() >= limits.queue_items || queue.bytes + item.len() > limits.shared_bytes
        {
            return Err(NotStored::Full);
        }
        queue.bytes += item.len();
        queue.items.push_back(Box::from(item));
        Ok(queue.notifier.clone())
    }

    /// Takes the oldest item.
    pub(crate) fn dequeue(&self, id: u32) -> Result<Box<[u8]>, Status> {
        let mut queues = self.tenant.queues.lock();
        let queue = queues.get_mut(&id).ok_or(Status::NotFound)?;
        let item = queue.items.pop_front().ok_or(Status::Empty)?;
        queue.bytes -= item.len();
        Ok(item)
    }
}

/// Why something was not stored.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum NotStored {
    /// Another write came first.
    Changed,
    /// There is no such queue.
    Missing,
    /// There is no room.
    Full,
}

impl Queue {
    fn is(&self, vm_id: &str, name: &[u8]) -> bool {
        self.vm_id == vm_id && *self.name == *name
    }
}

#[cfg(test)]
mod tests;
