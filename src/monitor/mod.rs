//! The process after it was started: wait, signals, terminal.
