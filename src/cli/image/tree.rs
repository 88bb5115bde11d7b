//! `coracle image tree IMAGE`

use crate::cli::{Failure, Global, human, text};
use crate::ops::tree;

/// Show the layers of an image, and which images share them
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Name or id of the image
    image: String,
}

pub(in crate::cli) fn exec(global: &Global, args: &Args) -> Result<u8, Failure> {
    let store = global.store()?;
    let tree = tree::tree(&store, &args.image)?;
    let names = |names: &[crate::oci::Reference]| -> String {
        let names = names.iter().map(ToString::to_string);
        names.collect::<Vec<_>>().join(", ")
    };
    text::stdout(|out| {
        writeln!(out, "Image ID: {}", tree.image.id.short())?;
        writeln!(out, "Tags:     {}", text::printable(&names(&tree.names)))?;
        writeln!(out, "Size:     {}", human::size(tree.image.size()))?;
        writeln!(out, "Layers, the lowest first:")?;
        let last = tree.layers.len().saturating_sub(1);
        for (i, layer) in tree.layers.iter().enumerate() {
            let branch = if i == last { "└──" } else { "├──" };
            let (id, size) = (layer.diff_id.short(), human::size(layer.size));
            write!(out, "{branch} {id}  {size:>6}")?;
            if !layer.others.is_empty() {
                let others = names(&layer.others);
                write!(out, "  also in {}", text::printable(&others))?;
            }
            writeln!(out)?;
        }
        Ok(())
    })?;
    Ok(0)
}
