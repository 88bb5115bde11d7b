//! The usual command lines of `run`, without clap.
//!
//! Building seventy definitions to look up the three options of a command line is a twentieth of the CPU time of
//! a start. So what is written most is read here, by the same functions for the values. Whatever is not wholly of
//! that kind, be it another option, one given twice or a value that is refused, is left to clap, which also has
//! the words to say what is wrong. Tests hold this to what clap makes of each option, and of lines at random.

use std::ffi::OsString;

use super::super::run_values as values;
use super::super::{App, Command, Global};
use super::Args;

/// Variables that stand for options, which clap reads, and for files of options.
const VARIABLES: [&str; 5] = [
    "CORACLE_MAX_LAYER_SIZE",
    "CORACLE_KEEP_BLOBS",
    "CORACLE_ADDITIONAL_STORES",
    "CONTAINERS_CONF",
    "CONTAINERS_CONF_OVERRIDE",
];

/// What clap would make of the arguments of the process, its own name among them; nothing if clap has to be asked.
pub(in crate::cli) fn parse(words: &[OsString]) -> Option<App> {
    if VARIABLES.iter().any(|v| std::env::var_os(v).is_some()) {
        return None;
    }
    let words: Option<Vec<&str>> = words.iter().map(|w| w.to_str()).collect();
    let mut words = words?.into_iter().skip(1);
    let mut line = Line::default();
    loop {
        match words.next()? {
            "run" => break,
            "--root" => line.value("root", words.next()?)?,
            word => line.value("root", word.strip_prefix("--root=")?)?,
        }
    }
    let image = loop {
        let word = words.next()?;
        if let Some(long) = word.strip_prefix("--") {
            line.long(long, &mut words)?;
        } else if let Some(letters) = word.strip_prefix('-') {
            line.short(letters, &mut words)?;
        } else {
            break word;
        }
    };
    let Line {
        global, mut args, ..
    } = line;
    args.image_and_command = std::iter::once(image)
        .chain(words)
        .map(str::to_owned)
        .collect();
    Some(App {
        global,
        command: Command::Run(Box::new(args)),
    })
}

/// As much of the command line as was read.
#[derive(Default)]
struct Line {
    global: Global,
    args: Args,
    /// Options with a default that were given.
    given: Vec<&'static str>,
}

impl Line {
    /// `NAME`, `NAME=VALUE` or, with the next word, `NAME VALUE`.
    fn long<'a>(&mut self, word: &'a str, next: &mut impl Iterator<Item = &'a str>) -> Option<()> {
        match word.split_once('=') {
            Some((name, "true")) if self.flag(name) => Some(()),
            Some((name, value)) => self.value(name, value),
            None if self.flag(word) => Some(()),
            None => self.value(word, next.next()?),
        }
    }

    /// Letters of options without values, at the end of which there may be one with a value: in the same word,
    /// behind `=` or not, or the next one.
    fn short<'a>(
        &mut self,
        letters: &'a str,
        next: &mut impl Iterator<Item = &'a str>,
    ) -> Option<()> {
        let mut rest = letters;
        loop {
            let letter = rest.chars().next()?;
            rest = &rest[letter.len_utf8()..];
            let name = match letter {
                'd' => "detach",
                'e' => "env",
                'h' => "hostname",
                'i' => "interactive",
                'l' => "label",
                'q' => "quiet",
                't' => "tty",
                'u' => "user",
                'v' => "volume",
                'w' => "workdir",
                _ => return None,
            };
            if !self.flag(name) {
                return match rest {
                    "" => self.value(name, next.next()?),
                    value => self.value(name, value.strip_prefix('=').unwrap_or(value)),
                };
            }
            if rest.is_empty() {
                return Some(());
            }
        }
    }

    /// Set an option that has no value; no if it is none of them, or was set before.
    fn flag(&mut self, name: &str) -> bool {
        let a = &mut self.args;
        let flag = match name {
            "detach" => &mut a.detach,
            "init" => &mut a.init,
            "interactive" => &mut a.interactive,
            "privileged" => &mut a.privileged,
            "quiet" => &mut a.quiet,
            "read-only" => &mut a.read_only,
            "rm" => &mut a.rm,
            "rootfs" => &mut a.rootfs,
            "tty" => &mut a.tty,
            _ => return false,
        };
        !std::mem::replace(flag, true)
    }

    fn value(&mut self, name: &str, v: &str) -> Option<()> {
        // What looks like an option, or is nothing, is a mistake more often than not.
        if v.is_empty() || v.starts_with('-') {
            return None;
        }
        let Self {
            global,
            args: a,
            given,
        } = self;
        match name {
            "add-host" => a.add_host.push(values::add_host(v).ok()?),
            "annotation" => a.annotation.push(values::pair(v).ok()?),
            "cap-add" => a.cap_add.extend(capabilities(v)?),
            "cap-drop" => a.cap_drop.extend(capabilities(v)?),
            "cidfile" => set(&mut a.cidfile, v.into())?,
            "pidfile" => set(&mut a.pidfile, v.into())?,
            "device" => a.device.push(values::device(v).ok()?),
            "dns" => a.dns.push(v.parse().ok()?),
            "entrypoint" => set(&mut a.entrypoint, v.to_owned())?,
            "env" => a.env.push(values::env(v).ok()?),
            "env-file" => a.env_file.push(v.into()),
            "group-add" => a.group_add.push(values::group_add(v).ok()?),
            "hostname" => set(&mut a.hostname, values::hostname(v).ok()?)?,
            "identity" => set(&mut a.identity, values::identity(v).ok()?)?,
            "image-volume" => set(&mut a.image_volume, values::image_volumes(v).ok()?)?,
            "ipc" => a.ipc = once(given, "ipc", values::namespace(v).ok()?)?,
            "label" => a.label.push(values::label(v).ok()?),
            "mount" => a.mount.push(values::mount(v).ok()?),
            "name" => set(&mut a.name, v.to_owned())?,
            "net" | "network" => a.network = once(given, "network", values::network(v).ok()?)?,
            "pid" => a.pid = once(given, "pid", values::namespace(v).ok()?)?,
            "pull" => a.pull = once(given, "pull", values::pull(v).ok()?)?,
            "root" => set(&mut global.root, v.into())?,
            "security-opt" => a.security_opt.push(v.to_owned()),
            "shm-size" => set(&mut a.shm_size, values::size(v).ok()?)?,
            "stop-signal" => set(&mut a.stop_signal, values::signal(v).ok()?)?,
            "storage-driver" => set(&mut a.storage_driver, values::driver(v).ok()?)?,
            "sysctl" => a.sysctl.push(values::pair(v).ok()?),
            "tmpfs" => a.tmpfs.push(values::tmpfs(v).ok()?),
            "ulimit" => a.ulimit.push(values::ulimit(v).ok()?),
            "user" => set(&mut a.user, v.to_owned())?,
            "userns" => set(&mut a.userns, values::userns(v).ok()?)?,
            "uts" => a.uts = once(given, "uts", values::namespace(v).ok()?)?,
            "volume" => a.volume.push(values::volume(v).ok()?),
            "volumes-from" => a.volumes_from.push(values::volumes_from(v).ok()?),
            "workdir" => set(&mut a.workdir, values::absolute(v).ok()?)?,
            _ => return None,
        }
        Some(())
    }
}

/// The value of an option with a default, if it was not given before.
fn once<T>(given: &mut Vec<&'static str>, name: &'static str, value: T) -> Option<T> {
    if given.contains(&name) {
        return None;
    }
    given.push(name);
    Some(value)
}

/// The value of an option, if it was not given before.
fn set<T>(option: &mut Option<T>, value: T) -> Option<()> {
    option.replace(value).is_none().then_some(())
}

fn capabilities(list: &str) -> Option<Vec<String>> {
    list.split(',')
        .map(|c| values::capability(c).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use clap::FromArgMatches as _;
    use proptest::prelude::*;

    use super::*;
    use crate::cli::{matches, only};

    fn words(line: &[&str]) -> Vec<OsString> {
        ["coracle"].iter().chain(line).map(OsString::from).collect()
    }

    fn by_clap(line: &[&str]) -> Option<App> {
        let (_, mut matches) = matches(&mut only("run").unwrap(), &words(line))
            .ok()?
            .ok()?;
        App::from_arg_matches_mut(&mut matches).ok()
    }

    fn said(app: Option<App>) -> Option<String> {
        app.map(|a| format!("{a:?}"))
    }

    /// Options with a value that is good and, where there is one, a value that is not.
    const OPTIONS: &[(&str, &str, &str)] = &[
        ("--add-host", "a:1.2.3.4", "a"),
        ("--annotation", "a=b", "a"),
        ("--cap-add", "CAP_CHOWN,kill", "flying"),
        ("--cap-drop", "ALL", "a,,b"),
        ("--cidfile", "/x", ""),
        ("--pidfile", "/x", ""),
        ("--device", "/dev/null:/dev/n", "null"),
        ("--dns", "1.1.1.1", "x"),
        ("--entrypoint", "/bin/sh", ""),
        ("--env", "A=b", "=b"),
        ("-e", "A=b=c", ""),
        ("--env-file", "/x", ""),
        ("--group-add", "keep-groups", ""),
        ("--hostname", "h", "a b"),
        ("-h", "h", "/"),
        ("--identity", "off", "of"),
        ("--image-volume", "tmpfs", "x"),
        ("--ipc", "host", "x"),
        ("--label", "a=b", "="),
        ("-l", "a", ""),
        ("--mount", "type=tmpfs,target=/x", "type=x"),
        ("--name", "n", ""),
        ("--net", "none", "x"),
        ("--network", "host", ""),
        ("--pid", "host", "hos"),
        ("--pull", "never", "nev"),
        ("--root", "/r", ""),
        ("--security-opt", "no-new-privileges", ""),
        ("--shm-size", "1m", "m"),
        ("--stop-signal", "TERM", "x"),
        ("--storage-driver", "copy", "x"),
        ("--sysctl", "net.a=1", "net.a"),
        ("--tmpfs", "/x:size=1m", "x"),
        ("--ulimit", "nofile=1:2", "nofile"),
        ("--user", "1:2", ""),
        ("-u", "root", "-1"),
        ("--userns", "keep-id", "x"),
        ("--uts", "host", "x"),
        ("--volume", "/:/b:ro", "a:b:c:d"),
        ("-v", "/:/b", ":"),
        ("--volume", "data:/b:ro,U", "da/ta:/b"),
        ("-v", "/b", "b"),
        ("--volumes-from", "web:ro", "web:x"),
        ("--workdir", "/w", "w"),
        ("-w", "/w", ""),
    ];
    const FLAGS: &[&str] = &[
        "--detach",
        "-d",
        "-dit",
        "--init",
        "--interactive",
        "-i",
        "--privileged",
        "--quiet",
        "-q",
        "--read-only",
        "--rm",
        "--rootfs",
        "--tty",
        "-t",
        "-it",
        "-qit",
    ];

    #[test]
    fn each_option_means_what_clap_makes_of_it() {
        for (name, good, bad) in OPTIONS {
            let joined = match name.strip_prefix("--") {
                Some(_) => vec![format!("{name}={good}")],
                None => vec![format!("{name}{good}"), format!("{name}={good}")],
            };
            let mut lines = vec![vec!["run", name, good, "image"]];
            lines.extend(
                joined
                    .iter()
                    .map(|j| vec!["run", j.as_str(), "image", "-x"]),
            );
            for line in lines {
                let quick = said(parse(&words(&line)));
                assert!(quick.is_some(), "{line:?}");
                assert_eq!(quick, said(by_clap(&line)), "{line:?}");
            }
            assert!(
                parse(&words(&["run", name, bad, "image"])).is_none(),
                "{name} {bad}"
            );
        }
        for flag in FLAGS {
            let line = ["--root=/r", "run", flag, "image", "--rm", "--", "-x"];
            let quick = said(parse(&words(&line)));
            assert!(quick.is_some() && quick == said(by_clap(&line)), "{flag}");
            assert!(parse(&words(&["run", flag, flag, "image"])).is_none());
            if flag.starts_with("--") {
                let on = format!("{flag}=true");
                let on = parse(&words(&[
                    "--root=/r",
                    "run",
                    &on,
                    "image",
                    "--rm",
                    "--",
                    "-x",
                ]));
                assert_eq!(said(on), quick, "{flag}");
            }
        }
    }

    #[test]
    fn each_option_of_clap_is_known_or_rare() {
        let rare = [
            "additional-store",
            "cgroup-manager",
            "conmon",
            "db-backend",
            "debug",
            "events-backend",
            "log-driver",
            "log-level",
            "log-opt",
            "remote",
            "runroot",
            "runtime",
            "storage-opt",
            "tmpdir",
            "version",
            "arch",
            "authfile",
            "cert-dir",
            "detach-keys",
            "health-cmd",
            "health-interval",
            "health-retries",
            "health-start-period",
            "health-timeout",
            "help",
            "keep-blobs",
            "max-layer-size",
            "no-healthcheck",
            "os",
            "platform",
            "log-driver",
            "log-opt",
            "restart",
            "sig-proxy",
            "signature-policy",
            "stop-timeout",
            "timeout",
            "tls-verify",
            "variant",
        ];
        let app = only("run").unwrap();
        let run = app.get_subcommands().next().unwrap();
        let names = OPTIONS.iter().map(|(name, ..)| name).chain(FLAGS);
        let known: Vec<&str> = names
            .filter_map(|n| n.strip_prefix("--"))
            .chain(rare)
            .collect();
        for option in app.get_arguments().chain(run.get_arguments()) {
            if let Some(long) = option.get_long() {
                assert!(known.contains(&long), "--{long}: here, or left to clap?");
            }
            // A variable that is not named here would be passed over in silence.
            if let Some(variable) = option.get_env() {
                let known = VARIABLES.iter().any(|v| *v == variable);
                assert!(known, "{variable:?} stands for an option");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn lines_at_random_mean_what_clap_makes_of_them(
            picked in proptest::collection::vec((any::<prop::sample::Index>(), 0..6u8), 0..7)
        ) {
            let rest = ["image", "--", "-", "", "-x", "--no-such", "run", "--root", "=", "-e=", "--rm=", "--rm=true", "--tty=false", "-ti=f", "-vi", "é", "-é"];
            let mut line = vec!["run"];
            for (index, how) in &picked {
                let (name, good, bad) = index.get(OPTIONS);
                match how {
                    0 => line.extend([name, good]),
                    1 => line.extend([name, bad]),
                    2 => line.push(name),
                    3 => line.push(good),
                    4 => line.push(FLAGS[index.index(FLAGS.len())]),
                    _ => line.push(rest[index.index(rest.len())]),
                }
            }
            if let Some(quick) = said(parse(&words(&line))) {
                prop_assert_eq!(Some(quick), said(by_clap(&line)), "{:?}", line);
            }
        }
    }
}
