//! The three files that a container gets from its engine: /etc/hosts, /etc/hostname and
//! /etc/resolv.conf. hosts(5), resolv.conf(5).

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;
use std::net::IpAddr;
use std::path::PathBuf;

use super::options::{Network, Options};

const LOCAL_HOSTS: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\nff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n";

/// Host files that we read whole.
const HOST_FILE_MAX: u64 = 1 << 20;

/// All of them: path and content.
pub(super) fn all(o: &Options, hostname: &str) -> Vec<(PathBuf, String)> {
    let own_hosts = match o.network {
        Network::Host => read_host_file("/etc/hosts"),
        Network::None => String::new(),
    };
    vec![
        ("/etc/hosts".into(), hosts(o, hostname, &own_hosts)),
        ("/etc/hostname".into(), format!("{hostname}\n")),
        (
            "/etc/resolv.conf".into(),
            resolv_conf(&o.dns, &read_host_file("/etc/resolv.conf")),
        ),
    ]
}

/// A host without such a file gives its containers an empty one.
fn read_host_file(path: &str) -> String {
    let mut text = String::with_capacity(4096);
    let read = File::open(path).and_then(|f| f.take(HOST_FILE_MAX).read_to_string(&mut text));
    if read.is_ok() { text } else { String::new() }
}

/// /etc/hosts: the host's own where the network is, else one with localhost; then `--add-host`.
fn hosts(o: &Options, hostname: &str, host_file: &str) -> String {
    let mut text = match o.network {
        Network::Host if !host_file.is_empty() => host_file.to_owned(),
        _ => LOCAL_HOSTS.to_owned(),
    };
    if !text.ends_with('\n') {
        text.push('\n');
    }
    for (name, address) in &o.hosts {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{address}\t{name}");
    }
    let known = text
        .lines()
        .any(|l| !l.starts_with('#') && l.split_whitespace().skip(1).any(|n| n == hostname));
    if !known {
        let _ = writeln!(text, "127.0.1.1\t{hostname}");
    }
    text
}

/// /etc/resolv.conf: with `--dns` those servers in place of the host's.
fn resolv_conf(dns: &[IpAddr], host_file: &str) -> String {
    if dns.is_empty() {
        return host_file.to_owned();
    }
    let mut text = String::new();
    for address in dns {
        let _ = writeln!(text, "nameserver {address}");
    }
    for line in host_file
        .lines()
        .filter(|l| !l.trim_start().starts_with("nameserver"))
    {
        let _ = writeln!(text, "{line}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dns_replaces_servers_and_keeps_the_rest() {
        let host = "# c\nsearch a.b\nnameserver 127.0.0.53\noptions edns0\n";
        assert_eq!(resolv_conf(&[], host), host);
        assert_eq!(
            resolv_conf(&["1.2.3.4".parse().unwrap()], host),
            "nameserver 1.2.3.4\n# c\nsearch a.b\noptions edns0\n"
        );
    }
}
