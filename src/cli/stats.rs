//! `coracle stats [CONTAINER...]`

use std::io::IsTerminal as _;
use std::time::Duration;

use serde_json::{Value, json};

use super::table::Table;
use super::{Failure, Global, format, human, inspect, text};
use crate::ops::stats::{Stats, Usage, Watch, Which};

/// Headings that are not the names of fields, as podman's.
const HEADINGS: [(&str, &str); 10] = [
    ("AvgCPU", "AVG CPU %"),
    ("BlockIO", "BLOCK IO"),
    ("CPU", "CPU %"),
    ("CPUPerc", "CPU %"),
    ("CPUTime", "CPU TIME"),
    ("MemPerc", "MEM %"),
    ("MemUsage", "MEM USAGE / LIMIT"),
    ("MemUsageBytes", "MEM USAGE / LIMIT"),
    ("NetIO", "NET IO"),
    ("UpTime", "CPU TIME"),
];

/// Show what containers use of processors, memory, disks and network
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Show also those that do not run
    #[arg(short, long, conflicts_with_all = ["containers", "latest"])]
    all: bool,
    /// Print with a Go-like template, "table TEMPLATE", or "json"
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Seconds between two looks
    #[arg(short, long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    interval: u64,
    /// The youngest container
    #[arg(short, long, conflicts_with = "containers")]
    latest: bool,
    /// Do not clear a terminal before each look
    #[arg(long)]
    no_reset: bool,
    /// Look once and end
    #[arg(long)]
    no_stream: bool,
    /// Do not shorten ids
    #[arg(long)]
    no_trunc: bool,
    /// Name or id of the container
    #[arg(value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(super) fn exec(global: &Global, args: &Args) -> Result<u8, Failure> {
    let store = global.store()?;
    let which = Which {
        names: args.containers.clone(),
        all: args.all,
        latest: args.latest,
    };
    let mut watch = Watch::new(&store, which);
    let clears = !args.no_stream && !args.no_reset && std::io::stdout().is_terminal();
    let mut first = true;
    loop {
        let stats = match watch.look() {
            // They have ended while we looked on: there is no more to see.
            Err(crate::ops::Error::NotRunning(_)) if !first => return Ok(0),
            result => result?,
        };
        if clears {
            text::stdout(|out| out.write_all(b"\x1b[2J\x1b[H"))?;
        }
        show(args, &stats)?;
        if args.no_stream {
            return Ok(0);
        }
        first = false;
        std::thread::sleep(Duration::from_secs(args.interval));
    }
}

fn show(args: &Args, stats: &[Stats]) -> Result<u8, Failure> {
    let id = |s: &Stats| match args.no_trunc {
        true => s.id.clone(),
        false => s.id[..12].to_owned(),
    };
    match format::wanted(args.format.as_deref()) {
        Some(format) if format::is_json(format) => {
            inspect::print_pretty(&stats.iter().map(|s| podman(s, &id(s))).collect())
        }
        Some(format) => {
            let records: Vec<Value> = stats.iter().map(|s| template(s, &id(s))).collect();
            let style = format::Style {
                headings: &HEADINGS,
                bare: false,
            };
            format::styled(format, &records, &style)?;
            Ok(0)
        }
        None => {
            let mut table = Table::new(&[
                "ID",
                "NAME",
                "CPU %",
                "MEM USAGE / LIMIT",
                "MEM %",
                "NET IO",
                "BLOCK IO",
                "PIDS",
                "CPU TIME",
                "AVG CPU %",
            ]);
            for s in stats {
                let c = Cells::of(s.usage.as_ref());
                let name = s.name.clone().unwrap_or_default();
                table.row(vec![
                    id(s),
                    name,
                    c.cpu,
                    c.memory,
                    c.share,
                    c.network,
                    c.blocks,
                    c.pids,
                    c.time,
                    c.average,
                ]);
            }
            text::stdout(|out| out.write_all(table.render().as_bytes()))?;
            Ok(0)
        }
    }
}

/// Figures for people, as podman writes them.
struct Cells {
    cpu: String,
    average: String,
    time: String,
    memory: String,
    share: String,
    network: String,
    blocks: String,
    pids: String,
}

impl Cells {
    fn of(usage: Option<&Usage>) -> Self {
        let Some(u) = usage else {
            let none = || "--".to_owned();
            return Self {
                cpu: none(),
                average: none(),
                time: none(),
                memory: pair((0, 0), human::size),
                share: none(),
                network: pair((0, 0), human::size),
                blocks: pair((0, 0), human::size),
                pids: none(),
            };
        };
        Self {
            cpu: percent(u.share),
            average: percent(u.average),
            time: human::duration(u.cpu),
            memory: pair((u.memory, u.limit), human::size),
            share: percent(match u.limit {
                0 => 0.0,
                limit => u.memory as f64 / limit as f64,
            }),
            network: pair(u.network, human::size),
            blocks: pair(u.blocks, human::size),
            pids: u.pids.to_string(),
        }
    }
}

fn percent(share: f64) -> String {
    format!("{:.2}%", share * 100.0)
}

fn pair((a, b): (u64, u64), size: impl Fn(u64) -> String) -> String {
    match (a, b) {
        (0, 0) => "-- / --".to_owned(),
        (a, b) => format!("{} / {}", size(a), size(b)),
    }
}

/// For templates: podman's names and docker's.
fn template(s: &Stats, id: &str) -> Value {
    let c = Cells::of(s.usage.as_ref());
    let bytes = s.usage.as_ref().map_or((0, 0), |u| (u.memory, u.limit));
    json!({
        "ID": id,
        "ContainerID": s.id,
        "Container": id,
        "Name": s.name.as_deref().unwrap_or_default(),
        "CPU": c.cpu,
        "CPUPerc": c.cpu,
        "AvgCPU": c.average,
        "CPUTime": c.time,
        "UpTime": c.time,
        "MemUsage": c.memory,
        "MemUsageBytes": pair(bytes, binary),
        "MemPerc": c.share,
        "NetIO": c.network,
        "BlockIO": c.blocks,
        "PIDs": c.pids,
        "PIDS": c.pids,
    })
}

/// As podman prints it.
fn podman(s: &Stats, id: &str) -> Value {
    let c = Cells::of(s.usage.as_ref());
    json!({
        "id": id,
        "name": s.name.as_deref().unwrap_or_default(),
        "cpu_time": c.time,
        "cpu_percent": c.cpu,
        "avg_cpu": c.average,
        "mem_usage": c.memory,
        "mem_percent": c.share,
        "net_io": c.network,
        "block_io": c.blocks,
        "pids": c.pids,
    })
}

/// `1.5MiB`: powers of 1024, four digits, as go-units writes them.
fn binary(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let digits = match value {
        v if unit == 0 || v >= 1000.0 => 0,
        v if v >= 100.0 => 1,
        v if v >= 10.0 => 2,
        _ => 3,
    };
    let text = format!("{value:.digits$}");
    let text = match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => &text,
    };
    format!("{text}{}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_as_podman_writes_them() {
        for (bytes, want) in [
            (0, "0B"),
            (1023, "1023B"),
            (1536, "1.5KiB"),
            (10 << 20, "10MiB"),
            (123_456_789, "117.7MiB"),
            (1 << 30, "1GiB"),
        ] {
            assert_eq!(binary(bytes), want);
        }
        assert_eq!(pair((0, 0), binary), "-- / --");
        assert_eq!(pair((0, 1024), binary), "0B / 1KiB");
        assert_eq!(percent(1.5), "150.00%");
        let stopped = Stats {
            id: "a".repeat(64),
            name: None,
            usage: None,
        };
        assert_eq!(podman(&stopped, "a")["pids"], "--");
    }
}
