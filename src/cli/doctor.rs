//! `coracle doctor`

use super::table::Table;
use super::{Failure, Global, text};

use crate::ops::doctor::{Finding, Group, Report, doctor};

/// Show what this machine allows, what is chosen instead, and what an admin could change
///
/// Every line is the result of a trial in a short-lived child process. Nothing is changed. Ends with
/// 0 if containers can run on this machine, else with 1.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print JSON: can_run, blockers, rungs and findings
    #[arg(long)]
    json: bool,
}

pub(super) fn exec(global: &Global, args: &Args) -> Result<u8, Failure> {
    let report = doctor(global.root.as_deref())?;
    let out = if args.json {
        let mut json = serde_json::to_string_pretty(&report)
            .map_err(|e| Failure::usage(format!("cannot write JSON: {e}")))?;
        json.push('\n');
        json
    } else {
        render(&report)
    };
    text::stdout(|w| w.write_all(out.as_bytes()))?;
    Ok(u8::from(!report.can_run))
}

/// Groups under headings, in columns that are aligned over all of them.
fn render(report: &Report) -> String {
    let mut table = Table::new(&[]);
    let mut groups: Vec<Option<Group>> = Vec::new();
    for finding in &report.findings {
        for row in rows(finding) {
            groups.push(Some(finding.group));
            table.row(row);
        }
    }
    let mut out = String::new();
    let mut last = None;
    // One row is one line, so that headings can go between.
    for (line, group) in table.render().lines().zip(groups) {
        if group != last {
            if last.is_some() {
                out.push('\n');
            }
            out.push_str(group.map_or("", Group::title));
            out.push('\n');
            last = group;
        }
        out.push_str("  ");
        out.push_str(line);
        out.push('\n');
    }
    out.push('\n');
    out.push_str(&verdict(report));
    out.push('\n');
    out
}

fn rows(finding: &Finding) -> Vec<Vec<String>> {
    let line = |a: &str, b: &str, c: &str| vec![a.to_owned(), b.to_owned(), c.to_owned()];
    let mut rows = vec![line(finding.result.word(), finding.title, &finding.detail)];
    if let Some(instead) = &finding.instead {
        rows.push(line("", "", &format!("instead: {instead}")));
    }
    if let Some(admin) = &finding.admin {
        rows.push(line("", "", &format!("admin:   {admin}")));
    }
    rows
}

/// The last line.
fn verdict(report: &Report) -> String {
    let r = &report.rungs;
    if report.can_run {
        return format!(
            "Containers can run on this machine: identity {}, /proc {}, root file system {}, {}, \
             network {}, limits {}.",
            r.identity, r.proc, r.rootfs, r.pivot, r.network, r.limits
        );
    }
    let titles: Vec<&str> = report
        .blockers
        .iter()
        .map(|id| report.finding(id).map_or(*id, |f| f.title))
        .collect();
    format!(
        "Containers cannot run on this machine: {}.",
        titles.join(", ")
    )
}
