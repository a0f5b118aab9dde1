//! Control against what was recorded elsewhere.

mod istiod;
