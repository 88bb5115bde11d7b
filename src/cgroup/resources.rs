//! Limits of the runtime-spec (`linux.resources`, in the terms of version 1) to files of version 2. Pure.
//! config-linux.md "Control groups"; the translations are those of crun(1), "CGROUP v2".

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::Error;

/// One file and what is written to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    /// What the user called it.
    pub what: &'static str,
    /// Who must be enabled for it.
    pub controller: Option<&'static str>,
    pub file: String,
    pub value: String,
    /// It is what a group has anyway, and need not be written.
    pub usual: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Resources {
    memory: Memory,
    cpu: Cpu,
    pids: Pids,
    #[serde(rename = "blockIO")]
    block_io: BlockIo,
    hugepage_limits: Vec<Hugepage>,
    unified: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Memory {
    limit: Option<i64>,
    swap: Option<i64>,
    reservation: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Cpu {
    shares: Option<u64>,
    quota: Option<i64>,
    period: Option<u64>,
    burst: Option<u64>,
    idle: Option<i64>,
    cpus: Option<String>,
    mems: Option<String>,
    #[serde(rename = "realtimeRuntime")]
    realtime_runtime: Option<i64>,
    #[serde(rename = "realtimePeriod")]
    realtime_period: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Pids {
    limit: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct BlockIo {
    weight: Option<u16>,
    throttle_read_bps_device: Vec<Throttle>,
    throttle_write_bps_device: Vec<Throttle>,
    #[serde(rename = "throttleReadIOPSDevice")]
    throttle_read_iops_device: Vec<Throttle>,
    #[serde(rename = "throttleWriteIOPSDevice")]
    throttle_write_iops_device: Vec<Throttle>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Throttle {
    major: u32,
    minor: u32,
    rate: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Hugepage {
    page_size: String,
    limit: u64,
}

/// All that was asked for, in an order in which the kernel takes it.
pub(super) fn settings(resources: Option<&Value>) -> Result<Vec<Setting>, Error> {
    let Some(resources) = resources else {
        return Ok(Vec::new());
    };
    let r: Resources = serde_json::from_value(resources.clone())?;
    let mut all = Vec::new();
    let mut add = |what, controller, file: &str, value: String| {
        all.push(Setting {
            what,
            controller: Some(controller),
            file: file.to_owned(),
            value,
            usual: false,
        });
    };
    memory(&r.memory, &mut add)?;
    cpu(&r.cpu, &mut add)?;
    if let Some(limit) = r.pids.limit.filter(|l| *l != 0) {
        add("the number of processes", "pids", "pids.max", most(limit));
    }
    io(&r.block_io, &mut add);
    for page in &r.hugepage_limits {
        if page.page_size.contains('/') {
            return Err(Error::Value("hugepageLimits"));
        }
        let file = format!("hugetlb.{}.max", page.page_size);
        add("huge pages", "hugetlb", &file, page.limit.to_string());
    }
    for (file, value) in r.unified {
        let Some((controller, _)) = file.split_once('.').filter(|_| !file.contains('/')) else {
            return Err(Error::Value("unified"));
        };
        all.push(Setting {
            what: "a file of unified",
            controller: [
                "cpu", "cpuset", "io", "memory", "pids", "hugetlb", "rdma", "misc",
            ]
            .into_iter()
            .find(|c| *c == controller),
            file,
            value,
            usual: false,
        });
    }
    if r.cpu.shares == Some(USUAL_SHARES) {
        // containerd says so of every container.
        let weight = all.iter_mut().filter(|s| s.file == "cpu.weight");
        weight.for_each(|s| s.usual = true);
    }
    Ok(all)
}

/// What a group of version 1 has unless it is told otherwise.
const USUAL_SHARES: u64 = 1024;

type Add<'a> = dyn FnMut(&'static str, &'static str, &str, String) + 'a;

fn memory(m: &Memory, add: &mut Add<'_>) -> Result<(), Error> {
    let limit = m.limit.filter(|l| *l != 0);
    if let Some(limit) = limit {
        add("memory", "memory", "memory.max", most(limit));
    }
    if let Some(low) = m.reservation.filter(|l| *l != 0) {
        add("memory", "memory", "memory.low", most(low));
    }
    match m.swap.filter(|s| *s != 0) {
        None => {}
        Some(swap) if swap < 0 => add("swap", "memory", "memory.swap.max", most(-1)),
        // Version 1 counts memory and swap together.
        Some(swap) => match limit {
            Some(limit) if limit > 0 && swap >= limit => {
                add(
                    "swap",
                    "memory",
                    "memory.swap.max",
                    (swap - limit).to_string(),
                );
            }
            _ => {
                return Err(Error::Value(
                    "memory.swap (it includes memory.limit, which is needed)",
                ));
            }
        },
    }
    Ok(())
}

fn cpu(c: &Cpu, add: &mut Add<'_>) -> Result<(), Error> {
    if let Some(shares) = c.shares.filter(|s| *s != 0) {
        // 2 to 262144 become 1 to 10000.
        let shares = shares.clamp(2, 262_144);
        let weight = 1 + (shares - 2) * 9999 / 262_142;
        add("CPU time", "cpu", "cpu.weight", weight.to_string());
    }
    let period = c.period.filter(|p| *p != 0);
    if c.quota.is_some_and(|q| q != 0) || period.is_some() {
        let quota = c.quota.filter(|q| *q > 0);
        let quota = quota.map_or_else(|| "max".to_owned(), |q| q.to_string());
        add(
            "CPU time",
            "cpu",
            "cpu.max",
            format!("{quota} {}", period.unwrap_or(100_000)),
        );
    }
    if let Some(burst) = c.burst {
        add("CPU time", "cpu", "cpu.max.burst", burst.to_string());
    }
    if let Some(idle) = c.idle {
        add("CPU time", "cpu", "cpu.idle", idle.to_string());
    }
    if c.realtime_runtime.is_some_and(|r| r != 0) || c.realtime_period.is_some_and(|p| p != 0) {
        return Err(Error::Value("cpu.realtimeRuntime (version 2 has none)"));
    }
    for (file, value) in [("cpuset.cpus", &c.cpus), ("cpuset.mems", &c.mems)] {
        if let Some(value) = value.as_ref().filter(|v| !v.is_empty()) {
            add("CPUs", "cpuset", file, value.clone());
        }
    }
    Ok(())
}

fn io(b: &BlockIo, add: &mut Add<'_>) {
    if let Some(weight) = b.weight.filter(|w| *w != 0) {
        // 10 to 1000 become 1 to 10000.
        let weight = 1 + (u32::from(weight).clamp(10, 1000) - 10) * 9999 / 990;
        add("disk time", "io", "io.weight", format!("default {weight}"));
    }
    for (list, word) in [
        (&b.throttle_read_bps_device, "rbps"),
        (&b.throttle_write_bps_device, "wbps"),
        (&b.throttle_read_iops_device, "riops"),
        (&b.throttle_write_iops_device, "wiops"),
    ] {
        for t in list {
            let value = format!("{}:{} {word}={}", t.major, t.minor, t.rate);
            add("disk traffic", "io", "io.max", value);
        }
    }
}

/// Anything negative is no limit.
fn most(limit: i64) -> String {
    if limit < 0 {
        "max".to_owned()
    } else {
        limit.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(json: &str) -> Vec<String> {
        settings(Some(&serde_json::from_str(json).unwrap()))
            .unwrap()
            .into_iter()
            .map(|s| format!("{}={}", s.file, s.value))
            .collect()
    }

    #[test]
    fn limits_become_files() {
        assert_eq!(
            of(
                r#"{"memory":{"limit":1000,"swap":1500,"reservation":10},"cpu":{"shares":1024,"quota":50000,"period":100000,
                "cpus":"0-1"},"pids":{"limit":-1},"blockIO":{"weight":10},"unified":{"memory.high":"5"}}"#
            ),
            [
                "memory.max=1000",
                "memory.low=10",
                "memory.swap.max=500",
                "cpu.weight=39",
                "cpu.max=50000 100000",
                "cpuset.cpus=0-1",
                "pids.max=max",
                "io.weight=default 1",
                "memory.high=5"
            ]
        );
        // What asks for nothing asks for nothing.
        assert!(of(r#"{"devices":[{"allow":false,"access":"rwm"}],"memory":{},"cpu":{"shares":0},"pids":{"limit":0}}"#).is_empty());
    }

    #[test]
    fn no_file_but_those_of_a_group() {
        for json in [
            r#"{"unified":{"../x.y":"1"}}"#,
            r#"{"unified":{"x":"1"}}"#,
            r#"{"hugepageLimits":[{"pageSize":"../2MB","limit":1}]}"#,
            r#"{"memory":{"swap":5}}"#,
            r#"{"cpu":{"realtimeRuntime":5}}"#,
        ] {
            assert!(
                settings(Some(&serde_json::from_str(json).unwrap())).is_err(),
                "{json}"
            );
        }
    }
}
