//! Expressions that guests have made with `expr_create`.

use std::collections::HashMap;
use std::fmt;

use foldhash::fast::FixedState;

use crate::embed::Expression;

/// The expressions of one VM, by the token the guest knows.
#[derive(Default)]
pub(crate) struct Expressions {
    made: HashMap<u32, Box<dyn Expression>, FixedState>,
    next: u32,
}

impl fmt::Debug for Expressions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expressions")
            .field(&self.made.len())
            .finish()
    }
}

impl Expressions {
    pub(crate) fn len(&self) -> usize {
        self.made.len()
    }

    /// Keeps an expression and returns its token.
    pub(crate) fn keep(&mut self, expression: Box<dyn Expression>) -> u32 {
        while self.made.contains_key(&self.next) {
            self.next = self.next.wrapping_add(1);
        }
        let token = self.next;
        self.next = token.wrapping_add(1);
        self.made.insert(token, expression);
        token
    }

    /// Takes an expression out, so that evaluating it can look at everything else.
    pub(crate) fn take(&mut self, token: u32) -> Option<Box<dyn Expression>> {
        self.made.remove(&token)
    }

    /// Puts back what was taken out.
    pub(crate) fn put_back(&mut self, token: u32, expression: Box<dyn Expression>) {
        self.made.insert(token, expression);
    }
}
