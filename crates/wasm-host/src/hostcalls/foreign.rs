//! Functions by name: those of the proxy, and those that Envoy has and that make sense anywhere.
//!
//! Source: Envoy 1.40, `source/extensions/common/wasm/foreign.cc` and the messages beside it for
//! names, arguments and statuses.

pub(crate) mod codec;
#[cfg(feature = "crypto")]
mod crypto;
mod expression;
pub(crate) mod message;
mod state;

use crate::abi::Status;
use crate::embed::ForeignError;
use crate::hostcalls::Answer;
use crate::hostcalls::memory::{Call, Out, Span, slice};
use crate::vm::State;

type Result = std::result::Result<Vec<u8>, ForeignError>;

/// Calls a function by name. An address of 0 says that the guest does not want to know that part
/// of the result.
pub(super) fn call(call: &mut Call<'_>, name: Span, args: Span, out: Out) -> Answer {
    for address in [out.0, out.1] {
        if address != 0 {
            call.check(address, 4)?;
        }
    }
    let (memory, state) = call.split();
    let (name, args) = (slice(memory, name)?, slice(memory, args)?);
    let name = std::str::from_utf8(name).map_err(|_| Status::NotFound)?;
    let result = match state.host.foreign_function(name, args) {
        Some(result) => result,
        None => built_in(state, name, args),
    };
    let result = result.map_err(|error| match error {
        ForeignError::NotFound => Status::NotFound,
        ForeignError::BadArgument => Status::BadArgument,
        ForeignError::Serialization => Status::SerializationFailure,
        ForeignError::Internal => Status::InternalFailure,
    })?;
    call.give_optional(&result, out)
}

fn built_in(state: &mut State, name: &str, args: &[u8]) -> Result {
    if args.len() > state.limits().foreign_bytes {
        return Err(ForeignError::BadArgument);
    }
    match name {
        "compress" => codec::compress(args),
        "uncompress" => codec::uncompress(args, state.limits().foreign_bytes),
        #[cfg(feature = "crypto")]
        "verify_signature" => crypto::verify_signature(args),
        #[cfg(feature = "crypto")]
        "sign" => crypto::sign(args),
        "clear_route_cache" => {
            super::stream::clear_route(state);
            Ok(Vec::new())
        }
        "set_envoy_filter_state" => state::set_filter_state(state, args),
        "declare_property" => state::declare_property(state, args),
        "expr_create" => expression::create(state, args),
        "expr_evaluate" => expression::evaluate(state, args),
        "expr_delete" => expression::delete(state, args),
        _ => Err(ForeignError::NotFound),
    }
}

/// The names of the functions above, for the page that lists them.
#[cfg(test)]
pub(crate) const NAMES: [&str; 10] = [
    "clear_route_cache",
    "compress",
    "declare_property",
    "expr_create",
    "expr_delete",
    "expr_evaluate",
    "set_envoy_filter_state",
    "sign",
    "uncompress",
    "verify_signature",
];
