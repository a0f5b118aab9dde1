//! Expressions over properties, which the proxy evaluates for guests.
//!
//! A guest makes them with the foreign functions `expr_create`, `expr_evaluate` and `expr_delete`.
//! What language they are in, in Envoy it is CEL, and how much work one may be, is the proxy's to
//! say: evaluation happens in the host, where the budget of a callback does not interrupt. That is
//! why this crate brings no evaluator.

use std::fmt;

use super::{ForeignError, Value};

/// Looks up properties for an expression, as the guest itself would find them.
pub type Properties<'a> = dyn FnMut(&[&str]) -> Option<Value<'static>> + 'a;

/// A language of expressions.
pub trait Expressions: fmt::Debug + Send + Sync {
    /// Reads an expression. What cannot be read is [`ForeignError::BadArgument`].
    ///
    /// # Errors
    /// What the guest is answered.
    fn parse(&self, text: &str) -> Result<Box<dyn Expression>, ForeignError>;
}

/// An expression that was read.
pub trait Expression {
    /// Evaluates it, in bounded time. What cannot be evaluated is [`ForeignError::Internal`].
    ///
    /// # Errors
    /// What the guest is answered.
    fn evaluate(&self, properties: &mut Properties<'_>) -> Result<Value<'static>, ForeignError>;
}
