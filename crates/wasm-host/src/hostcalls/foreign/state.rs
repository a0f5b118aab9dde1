//! State and properties with rules of their own.

use super::{Result, message};
use crate::embed::{ForeignError, Notice};
use crate::vm::{NotDeclared, Phase, State};

/// `{1 path, 2 value, 3 span}`: state for the proxy itself. How long it lives is the proxy's to
/// know; names it does not know are not found.
pub(super) fn set_filter_state(state: &mut State, args: &[u8]) -> Result {
    let fields = message::read(args).ok_or(ForeignError::BadArgument)?;
    let name = message::text(&fields, 1).ok_or(ForeignError::BadArgument)?;
    let value = message::bytes(&fields, 2);
    if state.frame.phase == Phase::Ended {
        state.notice(
            Notice::WriteIgnored,
            "filter state of a stream that has ended",
        );
        return Ok(Vec::new());
    }
    let known = state
        .stream_host()
        .is_some_and(|stream| stream.set_filter_state(name, value));
    if known {
        Ok(Vec::new())
    } else {
        Err(ForeignError::NotFound)
    }
}

/// `{1 name, 2 readonly, 3 type, 4 schema, 5 span}`: what may be done to a property. Type and
/// schema are for evaluators that read serialised values, of which there is none here.
pub(super) fn declare_property(state: &mut State, args: &[u8]) -> Result {
    let fields = message::read(args).ok_or(ForeignError::BadArgument)?;
    let (name, read_only) = (message::bytes(&fields, 1), message::number(&fields, 2) != 0);
    let limit = state.limits().property_bytes;
    match state.root.declared.add(name, read_only, limit) {
        Ok(()) => Ok(Vec::new()),
        Err(NotDeclared::Again) => Err(ForeignError::BadArgument),
        Err(NotDeclared::Full) => {
            state.notice(Notice::StorageFull, "a declared property");
            Err(ForeignError::Internal)
        }
    }
}
