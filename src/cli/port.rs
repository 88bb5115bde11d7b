//! `coracle port CONTAINER`

use super::{Failure, Global};
use crate::ops::ps;

/// Show the ports that a container has published
///
/// A container has the network of its caller, where a port that the program opens is open, or none. No port is published,
/// so that there is nothing to show.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// All containers
    #[arg(short, long, conflicts_with = "container")]
    all: bool,
    /// Name or id of the container
    #[arg(required_unless_present = "all")]
    container: Option<String>,
    /// Only this one: PORT[/PROTOCOL]
    #[arg(value_parser = port)]
    port: Option<String>,
}

/// As docker completes it.
fn port(s: &str) -> Result<String, String> {
    let (number, protocol) = s.split_once('/').unwrap_or((s, "tcp"));
    match number.parse::<u16>() {
        Ok(1..) if ["tcp", "udp", "sctp"].contains(&protocol) => Ok(format!("{number}/{protocol}")),
        _ => Err("want PORT[/tcp|udp|sctp]".to_owned()),
    }
}

pub(super) fn exec(global: &Global, args: &Args) -> Result<u8, Failure> {
    let store = global.store()?;
    if let Some(container) = &args.container {
        ps::find(&store, container)?;
        if let Some(port) = &args.port {
            return Err(Failure::usage(format!("no port {port} of container {container} is published")).with_hint(
                "with --network host (the default of run) a port that the program opens is open on the host",
            ));
        }
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    #[test]
    fn ports_have_a_protocol() {
        for (text, want) in [
            ("80", Some("80/tcp")),
            ("53/udp", Some("53/udp")),
            ("0", None),
            ("65536", None),
            ("80/x", None),
            ("http", None),
        ] {
            assert_eq!(super::port(text).ok().as_deref(), want, "{text}");
        }
    }
}
