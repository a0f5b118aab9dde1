//! Names, labels and formats an operator sees.
