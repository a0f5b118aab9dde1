//! Expressions over properties; the proxy brings what evaluates them.

use super::super::property;
use super::Result;
use crate::embed::{ForeignError, Notice};
use crate::vm::State;

/// The text becomes a token.
pub(super) fn create(state: &mut State, args: &[u8]) -> Result {
    let language = state.plugin.config.expressions.clone();
    let language = language.ok_or(ForeignError::NotFound)?;
    let text = std::str::from_utf8(args).map_err(|_| ForeignError::BadArgument)?;
    if state.root.expressions.len() >= state.limits().expressions {
        state.notice(Notice::StorageFull, "an expression");
        return Err(ForeignError::Internal);
    }
    let expression = language.parse(text)?;
    let token = state.root.expressions.keep(expression);
    Ok(token.to_le_bytes().to_vec())
}

/// The token becomes a value, as a property would be read.
pub(super) fn evaluate(state: &mut State, args: &[u8]) -> Result {
    if state.plugin.config.expressions.is_none() {
        return Err(ForeignError::NotFound);
    }
    let token = token(args)?;
    let expression = state.root.expressions.take(token);
    let expression = expression.ok_or(ForeignError::NotFound)?;
    let value = expression.evaluate(&mut |path| property::typed(state, path));
    state.root.expressions.put_back(token, expression);
    let mut out = Vec::new();
    value?.encode(&mut out);
    Ok(out)
}

/// The token is given back. One that is not known does no harm.
pub(super) fn delete(state: &mut State, args: &[u8]) -> Result {
    if state.plugin.config.expressions.is_none() {
        return Err(ForeignError::NotFound);
    }
    state.root.expressions.take(token(args)?);
    Ok(Vec::new())
}

fn token(args: &[u8]) -> std::result::Result<u32, ForeignError> {
    let bytes = args.try_into().map_err(|_| ForeignError::BadArgument)?;
    Ok(u32::from_le_bytes(bytes))
}
