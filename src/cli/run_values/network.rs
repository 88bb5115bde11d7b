//! Names and addresses.

use std::net::IpAddr;

use super::Parsed;
use crate::ops::run::Network;

/// hostname(7), with room for what docker takes.
pub(in crate::cli) fn hostname(s: &str) -> Parsed<String> {
    let ok = !s.is_empty()
        && s.len() <= 64
        && s.bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
    if ok {
        Ok(s.to_owned())
    } else {
        Err(format!(
            "{s:?} is not a host name of at most 64 letters, digits, dots and hyphens"
        ))
    }
}

/// `--network`
pub(in crate::cli) fn network(s: &str) -> Parsed<Network> {
    match s {
        "host" => Ok(Network::Host),
        "none" => Ok(Network::None),
        "bridge" | "private" | "pasta" | "slirp4netns" | "default" => Err(format!(
            "network {s:?} is not supported yet; want host or none"
        )),
        _ => Err(format!("unknown network {s:?}; want host or none")),
    }
}

/// `NAME:ADDRESS`, or `NAME=ADDRESS`
pub(in crate::cli) fn add_host(s: &str) -> Parsed<(String, IpAddr)> {
    let (name, address) = s.split_once(['=', ':']).ok_or("want NAME:ADDRESS")?;
    if address == "host-gateway" {
        return Err(
            "host-gateway has no meaning here: with --network host the host is 127.0.0.1"
                .to_owned(),
        );
    }
    let name = hostname(name)?;
    let bare = address
        .strip_prefix('[')
        .and_then(|a| a.strip_suffix(']'))
        .unwrap_or(address);
    let address = bare
        .parse()
        .map_err(|_| format!("{address:?} is not an IP address"))?;
    Ok((name, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        assert!(
            add_host("a:1.2.3.4").is_ok()
                && add_host("a:[::1]").is_ok()
                && add_host("a:::1").is_ok()
        );
        for bad in ["a", "a:b", "a\nb:1.2.3.4", ":1.2.3.4", "a:host-gateway"] {
            assert!(add_host(bad).is_err(), "{bad}");
        }
    }
}
