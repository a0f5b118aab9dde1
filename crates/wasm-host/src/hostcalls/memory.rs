//! One host call, and its way into guest memory.

use wasmtime::{Caller, Extern, Memory};

use crate::abi::Status;
use crate::hostcalls::{Answer, Fault};
use crate::trap::{Reason, no_memory};
use crate::vm::{Phase, State};

/// Address and length of guest bytes, unchecked. For buffers: offset and size.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span(pub(super) u32, pub(super) u32);

/// Where the guest wants to be told the address and the length of what it is given.
#[derive(Clone, Copy, Debug)]
pub(super) struct Out(pub(super) u32, pub(super) u32);

/// The most that is kept of a scratch buffer from call to call.
const SCRATCH_KEPT: usize = 64 << 10;

/// A call of a host function.
pub(crate) struct Call<'a> {
    caller: Caller<'a, State>,
    memory: Memory,
    /// Whether it must not be carried out.
    pub(super) denied: bool,
}

/// What a guest may call before it has a context. WASI is allowed as well.
const WHILE_STARTING: [&str; 3] = [
    "proxy_log",
    "proxy_get_log_level",
    "proxy_get_current_time_nanoseconds",
];

/// What a guest may call while it allocates memory for us.
const WHILE_ALLOCATING: [&str; 4] = ["proxy_log", "fd_write", "clock_time_get", "poll_oneoff"];

impl<'a> Call<'a> {
    /// Counts the call and checks that it is allowed now; if not, that is the end of the VM.
    /// What this plugin may not call at all is admitted as [`Call::denied`].
    pub(super) fn admit(
        mut caller: Caller<'a, State>,
        name: &'static str,
    ) -> wasmtime::Result<Self> {
        let state = caller.data_mut();
        state.count_host_call()?;
        let frame = &state.frame;
        let forbidden = frame.allocating && !WHILE_ALLOCATING.contains(&name)
            || frame.phase == Phase::Starting
                && name.starts_with("proxy_")
                && !WHILE_STARTING.contains(&name);
        if forbidden {
            return Err(Reason::Forbidden { function: name }.into());
        }
        let denied = state.denies(name);
        let memory = match caller.data().memory {
            Some(memory) => memory,
            // The start section runs before the VM has looked its memory up.
            None => caller
                .get_export("memory")
                .and_then(Extern::into_memory)
                .ok_or_else(no_memory)?,
        };
        Ok(Self {
            caller,
            memory,
            denied,
        })
    }

    /// Returns the state of the VM.
    pub(super) fn state(&mut self) -> &mut State {
        self.caller.data_mut()
    }

    /// Returns guest memory and the state of the VM side by side.
    pub(super) fn split(&mut self) -> (&mut [u8], &mut State) {
        self.memory.data_and_store_mut(&mut self.caller)
    }

    /// Checks that `len` bytes at `address` are guest memory.
    pub(super) fn check(&self, address: u32, len: u32) -> Result<(), Status> {
        slice(self.memory.data(&self.caller), Span(address, len)).map(|_| ())
    }

    /// Checks both places of an [`Out`].
    pub(super) fn check_out(&self, out: Out) -> Result<(), Status> {
        self.check(out.0, 4)?;
        self.check(out.1, 4)
    }

    /// Writes bytes to `address`.
    pub(super) fn write(&mut self, address: u32, bytes: &[u8]) -> Result<(), Status> {
        let (memory, _) = self.split();
        let len = u32::try_from(bytes.len()).map_err(|_| Status::InvalidMemoryAccess)?;
        slice_mut(memory, Span(address, len))?.copy_from_slice(bytes);
        Ok(())
    }

    /// Writes a number to `address`.
    pub(super) fn write_u32(&mut self, address: u32, value: u32) -> Result<(), Status> {
        self.write(address, &value.to_le_bytes())
    }

    /// Gives the guest bytes of its own: allocates, copies, tells address and length.
    ///
    /// Nothing is allocated for no bytes, since some guests cannot do that. The call that matters
    /// has been made by now, so `out` should have been checked before it.
    pub(super) fn give(&mut self, bytes: &[u8], out: Out) -> Answer {
        self.give_with(bytes.len(), out, |_, place| place.copy_from_slice(bytes))
    }

    /// Gives the guest `len` bytes that `fill` writes into the place made for them.
    pub(super) fn give_with(
        &mut self,
        len: usize,
        out: Out,
        fill: impl FnOnce(&mut State, &mut [u8]),
    ) -> Answer {
        self.check_out(out)?;
        let len = u32::try_from(len).map_err(|_| Status::InvalidMemoryAccess)?;
        let address = if len == 0 { 0 } else { self.allocate(len)? };
        if len > 0 {
            let (memory, state) = self.split();
            fill(state, slice_mut(memory, Span(address, len))?);
        }
        self.write_u32(out.0, address)?;
        self.write_u32(out.1, len)?;
        Ok(())
    }

    /// Gives the guest bytes it may not want: an address of 0 is not written to.
    pub(super) fn give_optional(&mut self, bytes: &[u8], out: Out) -> Answer {
        let len = u32::try_from(bytes.len()).map_err(|_| Status::InvalidMemoryAccess)?;
        if out.0 != 0 {
            let address = if len == 0 { 0 } else { self.allocate(len)? };
            if len > 0 {
                self.write(address, bytes)?;
            }
            self.write_u32(out.0, address)?;
        }
        if out.1 != 0 {
            self.write_u32(out.1, len)?;
        }
        Ok(())
    }

    /// Gives the guest what `write` puts into the scratch buffer; its memory is reused.
    pub(super) fn give_scratch(
        &mut self,
        out: Out,
        write: impl FnOnce(&[u8], &mut State, &mut Vec<u8>) -> Result<(), Status>,
    ) -> Answer {
        self.check_out(out)?;
        let (memory, state) = self.split();
        let mut scratch = std::mem::take(&mut state.scratch);
        scratch.clear();
        let written = write(memory, state, &mut scratch);
        let answer = match written {
            Ok(()) => self.give(&scratch, out),
            Err(status) => Err(status.into()),
        };
        if scratch.capacity() <= SCRATCH_KEPT {
            self.state().scratch = scratch;
        }
        answer
    }

    /// Has the guest allocate memory. It may grow doing so, and it may not do much else.
    fn allocate(&mut self, len: u32) -> Result<u32, Fault> {
        // Taken out rather than cloned; a guest that is allocating gets no further allocation.
        let Some(allocator) = self.state().allocator.take() else {
            return Err(Status::InvalidMemoryAccess.into());
        };
        self.state().frame.allocating = true;
        let address = allocator.call_within(&mut self.caller, len)?;
        let state = self.state();
        state.frame.allocating = false;
        state.allocator = Some(allocator);
        if address == 0 {
            return Err(Status::InvalidMemoryAccess.into());
        }
        self.check(address, len)?;
        Ok(address)
    }
}

/// Returns guest bytes, or `INVALID_MEMORY_ACCESS`. No arithmetic can overflow.
pub(super) fn slice(memory: &[u8], span: Span) -> Result<&[u8], Status> {
    let Span(address, len) = span;
    let start = usize::try_from(address).map_err(|_| Status::InvalidMemoryAccess)?;
    let len = usize::try_from(len).map_err(|_| Status::InvalidMemoryAccess)?;
    memory
        .get(start..)
        .and_then(|rest| rest.get(..len))
        .ok_or(Status::InvalidMemoryAccess)
}

fn slice_mut(memory: &mut [u8], span: Span) -> Result<&mut [u8], Status> {
    let Span(address, len) = span;
    let start = usize::try_from(address).map_err(|_| Status::InvalidMemoryAccess)?;
    let len = usize::try_from(len).map_err(|_| Status::InvalidMemoryAccess)?;
    memory
        .get_mut(start..)
        .and_then(|rest| rest.get_mut(..len))
        .ok_or(Status::InvalidMemoryAccess)
}

/// Reads a little-endian number.
pub(super) fn read_u32(memory: &[u8], address: u32) -> Result<u32, Status> {
    let bytes = slice(memory, Span(address, 4))?;
    bytes
        .first_chunk()
        .map(|b| u32::from_le_bytes(*b))
        .ok_or(Status::InvalidMemoryAccess)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_end_where_memory_ends() {
        let memory = [0; 16];
        assert_eq!(slice(&memory, Span(0, 16)).map(<[u8]>::len), Ok(16));
        assert_eq!(slice(&memory, Span(16, 0)).map(<[u8]>::len), Ok(0));
        for bad in [
            Span(0, 17),
            Span(16, 1),
            Span(17, 0),
            Span(u32::MAX, u32::MAX),
            Span(1, u32::MAX),
        ] {
            assert_eq!(
                slice(&memory, bad),
                Err(Status::InvalidMemoryAccess),
                "{bad:?}"
            );
        }
    }
}
