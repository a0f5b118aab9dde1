//! How an error is told to an operator: one line, the causes behind it.

use std::error::Error;
use std::fmt::Write;

/// Joins an error and its causes with `: `. A cause that the text before already ends in, as
/// errors that print their source have it, is not repeated.
pub fn report(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !text.is_empty() && !line.ends_with(&text) {
            // Writing to a string cannot fail.
            let _ = write!(line, ": {text}");
        }
        cause = error.source();
    }
    line
}

#[cfg(test)]
mod tests {
    #[derive(Debug, thiserror::Error)]
    #[error("cannot connect")]
    struct Outer(#[source] Inner);

    #[derive(Debug, thiserror::Error)]
    #[error("refused")]
    struct Inner;

    #[derive(Debug, thiserror::Error)]
    #[error("it says: {0}")]
    struct Prints(#[source] Inner);

    #[test]
    fn causes_stand_behind_the_error_once() {
        assert_eq!(super::report(&Outer(Inner)), "cannot connect: refused");
        assert_eq!(super::report(&Prints(Inner)), "it says: refused");
    }
}
