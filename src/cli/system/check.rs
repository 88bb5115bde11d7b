//! `coracle system check`

use serde_json::json;

use crate::cli::{Failure, Global, human, text};
use crate::ops::check::{self, Fault, Options, Report};

/// Something is broken, and still where it was.
const EXIT_DAMAGED: u8 = 1;

/// Look whether the store is sound
///
/// Every blob is read and compared with its digest, every layer, image and container is looked at. With
/// --repair what is broken is moved to quarantine/ in the store, so that the next pull brings it anew, and what
/// nothing refers to is removed. Ends with 1 if something is broken and in the way still.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Look whether all is there; do not read it
    #[arg(short, long)]
    quick: bool,
    /// Put aside what is broken, and remove what nothing refers to
    #[arg(short, long)]
    repair: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(in crate::cli) fn exec(global: &Global, args: &Args) -> Result<u8, Failure> {
    let store = global.store()?;
    let options = Options {
        quick: args.quick,
        repair: args.repair,
    };
    let report = check::check(&store, options)?;
    match args.json {
        true => {
            let json = as_json(&report).to_string();
            text::stdout(|out| writeln!(out, "{}", text::json_printable(&json)))?;
        }
        false => text::stdout(|out| print(out, &report, args.repair))?,
    }
    Ok(if report.is_damaged() { EXIT_DAMAGED } else { 0 })
}

fn print(out: &mut dyn std::io::Write, report: &Report, repair: bool) -> std::io::Result<()> {
    for fault in &report.faults {
        let Fault { what, why, .. } = fault;
        let line = match &fault.moved {
            Some(to) => format!("{what}: {why}; moved to {}", to.display()),
            None => format!("{what}: {why}"),
        };
        writeln!(out, "{}", text::printable(&line))?;
        if let (Some(name), Some(_)) = (&fault.name, &fault.moved) {
            writeln!(out, "  pull or load it again: coracle pull {name}")?;
        }
    }
    let left = &report.leftovers;
    if left.layers + left.blobs > 0 {
        let size = human::size(left.bytes);
        let (layers, blobs) = (left.layers, left.blobs);
        let done = match repair {
            true => "removed",
            false => "`coracle system prune` removes them",
        };
        writeln!(
            out,
            "{layers} layers and {blobs} blobs that nothing refers to, {size}: {done}"
        )?;
    }
    if report.unread > 0 {
        let unread = report.unread;
        writeln!(
            out,
            "{unread} layers were not read: of an older store, or where user namespaces are not allowed"
        )?;
    }
    let damage = match report.faults.len() {
        0 => "nothing is broken".to_owned(),
        1 => "1 thing is broken".to_owned(),
        n => format!("{n} things are broken"),
    };
    let Report {
        images,
        layers,
        blobs,
        containers,
        ..
    } = report;
    writeln!(
        out,
        "Checked {images} names of images, {layers} layers, {blobs} blobs and {containers} containers: {damage}."
    )
}

fn as_json(report: &Report) -> serde_json::Value {
    let fault = |f: &Fault| {
        json!({
            "What": f.what,
            "Why": f.why,
            "MovedTo": f.moved,
            "Name": f.name,
        })
    };
    json!({
        "Images": report.images,
        "Layers": report.layers,
        "UnreadLayers": report.unread,
        "Blobs": report.blobs,
        "Containers": report.containers,
        "Faults": report.faults.iter().map(fault).collect::<Vec<_>>(),
        "Leftovers": {
            "Layers": report.leftovers.layers,
            "Blobs": report.leftovers.blobs,
            "Bytes": report.leftovers.bytes,
        },
    })
}
