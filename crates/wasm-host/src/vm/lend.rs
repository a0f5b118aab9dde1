//! Lends the proxy's stream to host functions for the length of one callback.
//!
//! The engine wants the data of a store to own what it refers to; a stream belongs to the request
//! that is being handled. This is the only place where the compiler cannot follow who borrows what.
#![expect(
    unsafe_code,
    reason = "see the SAFETY comments: a borrow outlives its loan by construction"
)]

use std::fmt;
use std::mem;
use std::ptr::NonNull;

use wasmtime::Store;

use crate::embed::StreamHost;
use crate::vm::State;

/// A stream that may be there; only host functions called within [`with`] find one.
#[derive(Default)]
pub(crate) struct Lent(Option<NonNull<dyn StreamHost>>);

impl fmt::Debug for Lent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lent").field(&self.0.is_some()).finish()
    }
}

impl Lent {
    /// Returns the stream, if one is lent just now.
    #[expect(
        clippy::needless_pass_by_ref_mut,
        reason = "the exclusive borrow is what keeps the reference unique"
    )]
    pub(crate) fn get(&mut self) -> Option<&mut (dyn StreamHost + '_)> {
        // SAFETY: the pointer was made in `with` from a `&mut` that `with` holds, unused, until it
        // has cleared this field, so it is valid and nothing else uses its target. The result
        // borrows `self` mutably, so there is one such reference at a time, and it cannot be kept
        // beyond the host function that asked.
        self.0.map(|mut stream| unsafe { &mut *stream.as_mut() })
    }
}

/// Runs `guest` with `stream` lent to the store's host functions.
pub(super) fn with<R>(
    store: &mut Store<State>,
    stream: Option<&mut dyn StreamHost>,
    guest: impl FnOnce(&mut Store<State>) -> R,
) -> R {
    /// Ends the loan also when the guest's call unwinds.
    struct Loan<'a>(&'a mut Store<State>);

    impl Drop for Loan<'_> {
        fn drop(&mut self) {
            self.0.data_mut().lent = Lent(None);
        }
    }

    let lent = stream.map(|stream| {
        let stream: NonNull<dyn StreamHost + '_> = NonNull::from(stream);
        // SAFETY: only the lifetime in the type changes. `Loan` clears the field before this
        // function returns or unwinds, which is before the borrow of `stream` ends, and `Loan`
        // is not reachable for `guest`, so it cannot be forgotten.
        unsafe {
            mem::transmute::<NonNull<dyn StreamHost + '_>, NonNull<dyn StreamHost + 'static>>(
                stream,
            )
        }
    });
    store.data_mut().lent = Lent(lent);
    let loan = Loan(store);
    guest(&mut *loan.0)
}
