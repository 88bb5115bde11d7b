//! To come.

suite!();
