//! What can be shown of a process: podman's descriptors, and ps(1)'s names for them.

use super::processes::{Names, Process};

/// A column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the words are podman's")]
pub enum Column {
    Args,
    Comm,
    Elapsed,
    Group,
    Gid,
    HostGroup,
    HostPid,
    HostUser,
    Nice,
    Cpu,
    Pgid,
    Pid,
    Ppid,
    RealGroup,
    RealUser,
    Resident,
    Seccomp,
    Stat,
    State,
    Time,
    Tty,
    Uid,
    User,
    VirtualSize,
}

/// A word that is no column.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no descriptor: want some of {known}", known = known())]
pub struct UnknownColumn(String);

use Column as C;

/// Words, heading, column. The first word of a column is podman's.
const WORDS: &[(&str, &str, Column)] = &[
    ("args", "COMMAND", C::Args),
    ("cmd", "CMD", C::Args),
    ("command", "COMMAND", C::Args),
    ("comm", "COMMAND", C::Comm),
    ("ucmd", "CMD", C::Comm),
    ("etime", "ELAPSED", C::Elapsed),
    ("group", "GROUP", C::Group),
    ("egroup", "EGROUP", C::Group),
    ("gid", "GID", C::Gid),
    ("hgroup", "HGROUP", C::HostGroup),
    ("hpid", "HPID", C::HostPid),
    ("huser", "HUSER", C::HostUser),
    ("nice", "NI", C::Nice),
    ("ni", "NI", C::Nice),
    ("pcpu", "%CPU", C::Cpu),
    ("%cpu", "%CPU", C::Cpu),
    ("pgid", "PGID", C::Pgid),
    ("pgrp", "PGRP", C::Pgid),
    ("pid", "PID", C::Pid),
    ("ppid", "PPID", C::Ppid),
    ("rgroup", "RGROUP", C::RealGroup),
    ("ruser", "RUSER", C::RealUser),
    ("rss", "RSS", C::Resident),
    ("seccomp", "SECCOMP", C::Seccomp),
    ("stat", "STAT", C::Stat),
    ("state", "STATE", C::State),
    ("time", "TIME", C::Time),
    ("tty", "TTY", C::Tty),
    ("tt", "TT", C::Tty),
    ("uid", "UID", C::Uid),
    ("euid", "EUID", C::Uid),
    ("user", "USER", C::User),
    ("euser", "EUSER", C::User),
    ("vsz", "VSZ", C::VirtualSize),
];

/// podman's.
const DEFAULT: &str = "user,pid,ppid,pcpu,etime,tty,time,args";
/// `ps -ef` and `ps aux`, which people type after `docker top`, as far as they can be had.
const FULL: &str = "user,pid,ppid,pcpu,etime,tty,time,cmd";
const BSD: &str = "user,pid,pcpu,vsz,rss,tty,stat,time,args";

fn known() -> String {
    let words: Vec<&str> = WORDS.iter().map(|(word, ..)| *word).collect();
    words.join(", ")
}

impl Column {
    /// Columns with their headings, of what stands after the container: descriptors (with commas or spaces
    /// between), or the options of ps(1) that people use: `-ef`, `aux`, `-o LIST`.
    ///
    /// # Errors
    /// A word that is none of these.
    pub fn parse(words: &[String]) -> Result<Vec<(&'static str, Self)>, UnknownColumn> {
        let mut list: Vec<&str> = Vec::new();
        for word in words {
            let option = word.strip_prefix('-').unwrap_or(word);
            match option {
                "e" | "A" => {}
                "ef" | "eF" | "f" | "fe" => list.extend(FULL.split(',')),
                "aux" | "auxw" | "auxww" | "axu" | "u" => list.extend(BSD.split(',')),
                "o" | "eo" | "Ao" | "axo" => {}
                option => {
                    let option = option.strip_prefix('o').filter(|_| word.starts_with('-'));
                    let text = option.unwrap_or(word);
                    list.extend(text.split([',', ' ']).filter(|w| !w.is_empty()));
                }
            }
        }
        if list.is_empty() {
            list.extend(DEFAULT.split(','));
        }
        let find = |word: &&str| {
            let lower = word.to_ascii_lowercase();
            let known = WORDS.iter().find(|(w, ..)| *w == lower);
            let (_, heading, column) = known.ok_or_else(|| UnknownColumn((*word).to_owned()))?;
            Ok((*heading, *column))
        };
        list.iter().map(find).collect()
    }

    pub(super) fn cell(self, p: &Process, names: &Names) -> String {
        match self {
            C::Args => p.arguments.clone(),
            C::Comm => p.command.clone(),
            C::Elapsed => clock(p.elapsed, false),
            C::Group => names.group(p.gid[1]),
            C::Gid => p.gid[1].to_string(),
            C::HostGroup => names.host_group(p.host_gid),
            C::HostPid => p.host_pid.to_string(),
            C::HostUser => names.host_user(p.host_uid),
            C::Nice => p.nice.to_string(),
            C::Cpu => {
                let (busy, all) = p.ticks;
                let tenths = (busy * 1000).checked_div(all).unwrap_or(0);
                format!("{}.{}", tenths / 10, tenths % 10)
            }
            C::Pgid => p.group.to_string(),
            C::Pid => p.pid.to_string(),
            C::Ppid => p.parent.to_string(),
            C::RealGroup => names.group(p.gid[0]),
            C::RealUser => names.user(p.uid[0]),
            C::Resident => p.resident.to_string(),
            C::Seccomp => match p.seccomp {
                0 => "disabled".to_owned(),
                1 => "strict".to_owned(),
                _ => "filter".to_owned(),
            },
            C::Stat => p.state_word(),
            C::State => p.state.to_string(),
            C::Time => clock(p.time, true),
            C::Tty => terminal(p.terminal),
            C::Uid => p.uid[1].to_string(),
            C::User => names.user(p.uid[1]),
            C::VirtualSize => p.virtual_size.to_string(),
        }
    }
}

/// `[DD-]HH:MM:SS`; hours only where there are some, unless `hours`.
fn clock(seconds: u64, hours: bool) -> String {
    let (days, h, m, s) = (
        seconds / 86400,
        seconds / 3600 % 24,
        seconds / 60 % 60,
        seconds % 60,
    );
    match (days, h) {
        (1.., _) => format!("{days}-{h:02}:{m:02}:{s:02}"),
        (0, 0) if !hours => format!("{m:02}:{s:02}"),
        _ => format!("{h:02}:{m:02}:{s:02}"),
    }
}

/// The name of a terminal by its number, linux/Documentation/admin-guide/devices.txt.
fn terminal(device: u32) -> String {
    let (major, minor) = (device >> 8 & 0xfff, device & 0xff | device >> 12 & 0xfff00);
    match major {
        0 => "?".to_owned(),
        4 if minor < 64 => format!("tty{minor}"),
        4 => format!("ttyS{}", minor - 64),
        136..=143 => format!("pts/{}", (major - 136) * 256 + minor),
        _ => format!("{major}:{minor}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headings(words: &[&str]) -> Result<String, UnknownColumn> {
        let words: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
        let columns = Column::parse(&words)?;
        let headings: Vec<&str> = columns.iter().map(|(h, _)| *h).collect();
        Ok(headings.join(" "))
    }

    #[test]
    fn descriptors_and_options_of_ps() {
        let default = "USER PID PPID %CPU ELAPSED TTY TIME COMMAND";
        for (words, want) in [
            (&[][..], default),
            (&["pid,user", "args"], "PID USER COMMAND"),
            (&["pid user hpid"], "PID USER HPID"),
            (&["-o", "pid,comm"], "PID COMMAND"),
            (&["-opid,%CPU"], "PID %CPU"),
            (&["-eo", "pid"], "PID"),
            (&["-ef"], "USER PID PPID %CPU ELAPSED TTY TIME CMD"),
            (&["aux"], "USER PID %CPU VSZ RSS TTY STAT TIME COMMAND"),
        ] {
            assert_eq!(headings(words).unwrap(), want, "{words:?}");
        }
        let unknown = headings(&["pid,capeff"]).unwrap_err().to_string();
        assert!(unknown.starts_with("\"capeff\" is no descriptor: want some of args, cmd,"));
    }

    #[test]
    fn times_and_terminals() {
        assert_eq!(clock(61, false), "01:01");
        assert_eq!(clock(61, true), "00:01:01");
        assert_eq!(clock(3661, false), "01:01:01");
        assert_eq!(clock(90061, false), "1-01:01:01");
        let names = [0, 0x8800, 0x8803, 0x401, 0x440].map(terminal);
        assert_eq!(names, ["?", "pts/0", "pts/3", "tty1", "ttyS0"]);
    }
}
