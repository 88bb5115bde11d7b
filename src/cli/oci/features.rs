//! `coracle-oci features`

use super::{Problem, state};
use crate::ops::oci::features;

/// Print what this runtime can do, as JSON
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) fn exec(_: &Args) -> Result<u8, Problem> {
    state::print(&features::features(super::SPEC))
}
