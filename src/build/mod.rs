//! Containerfiles: text to instructions, words to values, stages to an order, ignore files to a filter, and
//! what makes two steps the same one. Pure: nothing here reads a file or knows a store; `ops::build` does.
//!
//! The language is that of BuildKit's Dockerfile frontend 1.x
//! (<https://docs.docker.com/reference/dockerfile/>). No crate that could be found has heredocs, flags and
//! expansion with modifiers, so it is our own: see docs/design.md.
//!
//! ```text
//! text → lines (directives, continuations, heredocs) → parse (instructions) → stages (which are needed)
//!                                                     expand (words, when a step is carried out)
//! ```
//!
//! The text is hostile input: each part has a limit, nothing recurses deeper than [`DEPTH_MAX`], and
//! expansion has a budget. What is wrong is told with its line.

mod ast;
mod copy;
mod error;
mod expand;
mod flags;
mod glob;
mod ignore;
mod key;
mod lines;
mod parse;
mod pattern;
mod stages;
mod values;

pub use ast::{Command, Copy, From, Healthcheck, Heredoc, Instruction, Run, Step};
pub use error::{Error, Problem};
pub use expand::{Quoting, Scope, expand, expand_words};
pub use glob::Glob;
pub use ignore::Ignore;
pub use key::Key;
pub use lines::Directives;
pub use parse::instruction;
pub use stages::{Base, Containerfile, Stage};
pub use values::{Chmod, absolute, ports};

/// Most bytes of a Containerfile, with its heredocs.
pub const TEXT_MAX: usize = 16 << 20;
/// Most instructions.
const STEPS_MAX: usize = 10_000;
/// Most heredocs of one instruction.
const HEREDOCS_MAX: usize = 256;
/// Deepest nesting of `${x:-${y:-…}}`.
const DEPTH_MAX: u32 = 32;
/// Most bytes that an expansion makes: what the kernel takes as one argument (execve(2), MAX_ARG_STRLEN).
const EXPANDED_MAX: usize = 128 << 10;
/// Most bytes of an ignore file, and of its patterns.
pub const IGNORE_MAX: usize = 4 << 20;
