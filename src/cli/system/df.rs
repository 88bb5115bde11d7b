//! `coracle system df`

use serde_json::{Value, json};

use crate::cli::table::Table;
use crate::cli::{Failure, Global, format, human, text};
use crate::oci::Reference;
use crate::ops::ps::State;
use crate::ops::usage::{self, Usage};

/// Show what takes the space
///
/// What several images share counts once in the sum. Reclaimable is what would be free without the images that
/// no container was made from, without the containers that have ended, and without the volumes that no container was
/// made with.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Show each image, each container and each volume
    #[arg(short, long, conflicts_with = "format")]
    verbose: bool,
    /// Print with a Go-like template, "table TEMPLATE", or "json"
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
}

/// A line of the summary.
struct Sum {
    kind: &'static str,
    total: usize,
    active: usize,
    size: u64,
    reclaimable: u64,
}

pub(in crate::cli) fn exec(global: &Global, args: &Args) -> Result<u8, Failure> {
    let store = global.store()?;
    let usage = usage::usage(&store)?;
    let sums = sums(&usage);
    if let Some(template) = format::wanted(args.format.as_deref()) {
        let records: Vec<Value> = sums.iter().map(record).collect();
        format::records(template, &records)?;
        return Ok(0);
    }
    let out = match args.verbose {
        true => verbose(&usage),
        false => summary(&sums),
    };
    text::stdout(|w| w.write_all(out.as_bytes()))?;
    Ok(0)
}

fn sums(usage: &Usage) -> [Sum; 4] {
    let of = |wanted: fn(&usage::ContainerUsage) -> bool| -> u64 {
        let chosen = usage.containers.iter().filter(|c| wanted(c));
        chosen.map(|c| c.size).sum()
    };
    let running = |c: &&usage::ContainerUsage| c.container.state == State::Running;
    let is_used = |v: &usage::VolumeUsage| !v.volume.containers.is_empty();
    let left = &usage.leftovers;
    [
        Sum {
            kind: "Images",
            total: usage.images.len(),
            active: usage.images.iter().filter(|i| i.containers > 0).count(),
            size: usage.image_bytes,
            reclaimable: usage.image_reclaimable,
        },
        Sum {
            kind: "Containers",
            total: usage.containers.len(),
            active: usage.containers.iter().filter(running).count(),
            size: of(|_| true),
            reclaimable: of(usage::ContainerUsage::is_reclaimable),
        },
        Sum {
            kind: "Local Volumes",
            total: usage.volumes.len(),
            active: usage.volumes.iter().filter(|v| is_used(v)).count(),
            size: usage.volumes.iter().map(|v| v.size).sum(),
            reclaimable: {
                let unused = usage.volumes.iter().filter(|v| !is_used(v));
                unused.map(|v| v.size).sum()
            },
        },
        Sum {
            kind: "Leftovers",
            total: usize::try_from(left.layers + left.blobs).unwrap_or(usize::MAX),
            active: 0,
            size: left.bytes,
            reclaimable: left.bytes,
        },
    ]
}

impl Sum {
    fn reclaimable(&self) -> String {
        let percent = match self.size {
            0 => 0,
            size => self.reclaimable.saturating_mul(100) / size,
        };
        format!("{} ({percent}%)", human::size(self.reclaimable))
    }
}

fn record(sum: &Sum) -> Value {
    json!({
        "Type": sum.kind,
        "TotalCount": sum.total,
        "Total": sum.total,
        "Active": sum.active,
        "Size": human::size(sum.size),
        "RawSize": sum.size,
        "Reclaimable": sum.reclaimable(),
        "RawReclaimable": sum.reclaimable,
    })
}

fn summary(sums: &[Sum]) -> String {
    let mut table = Table::new(&["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"]);
    for sum in sums {
        table.row(vec![
            sum.kind.to_owned(),
            sum.total.to_string(),
            sum.active.to_string(),
            human::size(sum.size),
            sum.reclaimable(),
        ]);
    }
    table.render()
}

fn verbose(usage: &Usage) -> String {
    let mut images = Table::new(&[
        "REPOSITORY",
        "TAG",
        "IMAGE ID",
        "CREATED",
        "SIZE",
        "SHARED SIZE",
        "UNIQUE SIZE",
        "CONTAINERS",
    ]);
    for i in &usage.images {
        let name = i.names.first();
        images.row(vec![
            name.map_or_else(|| "<none>".to_owned(), Reference::name),
            name.and_then(Reference::tag).unwrap_or("<none>").to_owned(),
            i.image.id.short().to_owned(),
            human::ago(i.image.created.as_deref()),
            human::size(i.shared + i.unique),
            human::size(i.shared),
            human::size(i.unique),
            i.containers.to_string(),
        ]);
    }
    let mut containers = Table::new(&[
        "CONTAINER ID",
        "IMAGE",
        "SIZE",
        "CREATED",
        "STATUS",
        "NAMES",
    ]);
    for c in &usage.containers {
        let image = c.container.image.as_ref();
        let image = image.map(|i| match &i.reference {
            Some(name) => name.to_string(),
            None => i.id.short().to_owned(),
        });
        containers.row(vec![
            c.container.id.chars().take(12).collect(),
            image.unwrap_or_else(|| "<none>".to_owned()),
            human::size(c.size),
            human::ago(c.container.created.as_deref()),
            c.container.state.name().to_owned(),
            c.container.name.clone().unwrap_or_default(),
        ]);
    }
    let mut volumes = Table::new(&["VOLUME NAME", "LINKS", "SIZE"]);
    for v in &usage.volumes {
        volumes.row(vec![
            v.volume.record.name.clone(),
            v.volume.containers.len().to_string(),
            human::size(v.size),
        ]);
    }
    let left = &usage.leftovers;
    format!(
        "Images space usage:\n\n{}\nContainers space usage:\n\n{}\nLocal Volumes space usage:\n\n{}\nLeftovers: {} layers and {} blobs that nothing refers to, {}\n",
        images.render(),
        containers.render(),
        volumes.render(),
        left.layers,
        left.blobs,
        human::size(left.bytes),
    )
}
