//! Sysctls of a container: only those of namespaces that it has of its own. Pure. sysctl(8), namespaces(7).

use crate::runtime::PlanError;

/// The file of a sysctl, if it belongs to a namespace that the container has of its own.
pub(in crate::runtime) fn path(name: &str, namespaces: u64) -> Result<String, PlanError> {
    let has = |flag: i32| namespaces & flag as u64 != 0;
    let refuse = || PlanError::Sysctl(name.to_owned());
    // Dots separate, and a slash may stand for a dot inside a part (sysctl(8)).
    let path = match name.find(['.', '/']) {
        Some(i) if name.as_bytes()[i] == b'.' => name
            .chars()
            .map(|c| match c {
                '.' => '/',
                '/' => '.',
                c => c,
            })
            .collect(),
        _ => name.to_owned(),
    };
    if path
        .split('/')
        .any(|part| part.is_empty() || part == ".." || part == ".")
    {
        return Err(refuse());
    }
    let allowed = match path.split_once('/') {
        Some(("net", _)) => has(libc::CLONE_NEWNET),
        Some(("fs", rest)) => rest.starts_with("mqueue/") && has(libc::CLONE_NEWIPC),
        Some(("user", _)) => has(libc::CLONE_NEWUSER),
        Some(("kernel", rest)) => match rest {
            "hostname" | "domainname" => has(libc::CLONE_NEWUTS),
            "msgmax" | "msgmnb" | "msgmni" | "sem" | "shmall" | "shmmax" | "shmmni"
            | "shm_rmid_forced" | "auto_msgmni" | "sem_next_id" | "msg_next_id" | "shm_next_id" => {
                has(libc::CLONE_NEWIPC)
            }
            _ => false,
        },
        _ => false,
    };
    if allowed { Ok(path) } else { Err(refuse()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sysctls_of_own_namespaces_only() {
        let net = libc::CLONE_NEWNET as u64;
        let ipc = libc::CLONE_NEWIPC as u64;
        assert_eq!(
            path("net.ipv4.ip_forward", net).unwrap(),
            "net/ipv4/ip_forward"
        );
        assert_eq!(
            path("net.ipv4.conf.eth0/1.rp_filter", net).unwrap(),
            "net/ipv4/conf/eth0.1/rp_filter"
        );
        assert_eq!(
            path("net/ipv4/ip_forward", net).unwrap(),
            "net/ipv4/ip_forward"
        );
        for (name, ns) in [
            ("net.ipv4.ip_forward", ipc),
            ("kernel.core_pattern", net | ipc),
            ("vm.swappiness", !0),
            ("kernel.shmmax", net),
            ("net/../kernel/core_pattern", net),
            ("net..x", net),
            ("", !0),
            ("net", net),
            ("fs.file-max", !0),
        ] {
            assert!(path(name, ns).is_err(), "{name}");
        }
    }
}
