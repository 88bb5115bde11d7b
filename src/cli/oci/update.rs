//! `coracle-oci update`

use std::io::Read as _;
use std::path::PathBuf;

use serde_json::Value;

use super::super::Failure;
use super::{Context, Problem};
use crate::ops::oci::update::{self, Limit};

/// Change the limits of a container
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Name of the container
    id: String,
    /// File with limits as in config.json (linux.resources), or - for standard input
    #[arg(short, long, value_name = "FILE|-")]
    resources: Option<PathBuf>,
    /// Memory in bytes; -1 is no limit
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    memory: Option<i64>,
    /// Memory that is left to it when there is little
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    memory_reservation: Option<i64>,
    /// Memory and swap together
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    memory_swap: Option<i64>,
    /// Number of processes
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pids_limit: Option<i64>,
    /// Share of the processors, 2 to 262144
    #[arg(long, value_name = "N")]
    cpu_share: Option<u64>,
    /// Microseconds in a period
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    cpu_quota: Option<i64>,
    /// Microseconds of a period
    #[arg(long, value_name = "N")]
    cpu_period: Option<u64>,
    /// Processors
    #[arg(long, value_name = "LIST")]
    cpuset_cpus: Option<String>,
    /// Memory nodes
    #[arg(long, value_name = "LIST")]
    cpuset_mems: Option<String>,
    /// Share of disk time, 10 to 1000
    #[arg(long, value_name = "N")]
    blkio_weight: Option<u16>,
}

pub(super) fn exec(c: &Context<'_>, args: &Args) -> Result<u8, Problem> {
    let document = args.resources.as_ref().map(read).transpose()?;
    let limit = |path, value: Option<Value>| value.map(|v| (path, v));
    let limits: Vec<Limit> = [
        limit(
            &["memory", "limit"] as &[&str],
            args.memory.map(Value::from),
        ),
        limit(
            &["memory", "reservation"],
            args.memory_reservation.map(Value::from),
        ),
        limit(&["memory", "swap"], args.memory_swap.map(Value::from)),
        limit(&["pids", "limit"], args.pids_limit.map(Value::from)),
        limit(&["cpu", "shares"], args.cpu_share.map(Value::from)),
        limit(&["cpu", "quota"], args.cpu_quota.map(Value::from)),
        limit(&["cpu", "period"], args.cpu_period.map(Value::from)),
        limit(&["cpu", "cpus"], args.cpuset_cpus.clone().map(Value::from)),
        limit(&["cpu", "mems"], args.cpuset_mems.clone().map(Value::from)),
        limit(&["blockIO", "weight"], args.blkio_weight.map(Value::from)),
    ]
    .into_iter()
    .flatten()
    .collect();
    update::update(&c.runtime, &args.id, document.as_deref(), &limits)?;
    Ok(0)
}

fn read(path: &PathBuf) -> Result<Vec<u8>, Failure> {
    let mut text = Vec::new();
    let read = if path.as_os_str() == "-" {
        std::io::stdin().lock().read_to_end(&mut text)
    } else {
        std::fs::File::open(path).and_then(|mut f| f.read_to_end(&mut text))
    };
    match read {
        Ok(_) => Ok(text),
        Err(e) => Err(Failure::io(format!("cannot read {}: {e}", path.display()))),
    }
}
