//! `coracle run`: docker's options, docker's meaning.

mod background;
mod quick;

pub(super) use quick::parse as parse_quickly;

use std::path::PathBuf;

use clap::ArgAction;

use super::intake::{IntakeArgs, RegistryArgs};
use background::KeepArgs;
pub(super) use background::{restart, time};

use super::run_values as values;
use super::{Failure, Global, progress};
use crate::ops::create;
use crate::ops::pull::{self, PullPolicy};
use crate::ops::run::{
    self, CommandLine, Device, EnvVar, IdentityChoice, ImageVolumes, Namespace, Network, Options,
    SHM_SIZE, SecretUse, Security, Ulimit, UserNamespace, Volume, VolumesFrom, What,
};
use crate::ops::start::{Attach, Keys};
use crate::rootfs::Driver;

/// Run a program in a new container
#[derive(Debug, Default, clap::Args)]
#[command(
    disable_help_flag = true,
    after_help = "Exit status: that of the program; 125 if coracle failed, 126 if the program cannot be executed, 127 if it was not found, 128+n if signal n ended it."
)]
pub(super) struct Args {
    /// Keep standard input open
    #[arg(short, long)]
    interactive: bool,
    /// Give the container a terminal
    #[arg(short, long)]
    tty: bool,
    /// Remove the container when it ends. Until then nothing that it writes outside of volumes is forced to disk
    #[arg(long)]
    rm: bool,
    /// Run it in the background and print its id
    #[arg(short, long)]
    detach: bool,
    /// Name of the container
    #[arg(long)]
    name: Option<String>,

    /// Mount a volume (a name, or none for one of the container's own) or a file or directory of the host (a path that begins with / or .)
    #[arg(short, long = "volume", value_name = "[SOURCE:]TARGET[:OPTIONS]", value_parser = values::volume, help_heading = "File systems")]
    volume: Vec<Volume>,
    /// Mount all volumes and bound directories of another container: CONTAINER[:ro]
    #[arg(long, value_name = "CONTAINER[:OPTIONS]", value_parser = values::volumes_from, help_heading = "File systems")]
    volumes_from: Vec<VolumesFrom>,
    /// Give it a secret: NAME[,type=mount|env][,target=NAME][,uid=N][,gid=N][,mode=OCTAL]
    #[arg(long, value_name = "NAME[,OPTION...]", value_parser = values::secret, help_heading = "File systems")]
    secret: Vec<SecretUse>,
    /// What the image's volumes are: anonymous, tmpfs or ignore [default: anonymous]
    #[arg(long, value_name = "KIND", value_parser = values::image_volumes, help_heading = "File systems")]
    image_volume: Option<ImageVolumes>,
    /// Mount: type=volume,source=NAME,target=DIR[,readonly], type=bind,source=DIR,target=DIR, type=image,source=IMAGE,target=DIR[,rw] or type=tmpfs,target=DIR
    #[arg(long, value_name = "KEY=VALUE,…", value_parser = values::mount, help_heading = "File systems")]
    mount: Vec<Volume>,
    /// Mount a file system in memory: TARGET[:OPTIONS]
    #[arg(long, value_name = "TARGET[:OPTIONS]", value_parser = values::tmpfs, help_heading = "File systems")]
    tmpfs: Vec<Volume>,
    /// Make the root file system read-only
    #[arg(long, help_heading = "File systems")]
    read_only: bool,
    /// Size of /dev/shm [default: 64m]
    #[arg(long, value_name = "BYTES", value_parser = values::size, help_heading = "File systems")]
    shm_size: Option<u64>,
    /// Bind a device of the host: SOURCE[:TARGET]
    #[arg(long, value_name = "SOURCE[:TARGET]", value_parser = values::device, help_heading = "File systems")]
    device: Vec<Device>,
    /// Run in the directory IMAGE instead of an image
    #[arg(long, help_heading = "File systems")]
    rootfs: bool,
    /// How layers become one tree [default: overlay]
    #[arg(long, value_name = "DRIVER", value_parser = values::driver, help_heading = "File systems")]
    storage_driver: Option<Driver>,

    /// Set a variable: NAME=VALUE, or NAME to take the caller's
    #[arg(short, long, value_name = "NAME[=VALUE]", value_parser = values::env, help_heading = "Process")]
    env: Vec<EnvVar>,
    /// Read variables from a file
    #[arg(long, value_name = "FILE", help_heading = "Process")]
    env_file: Vec<PathBuf>,
    /// Working directory
    #[arg(short, long, value_name = "DIR", value_parser = values::absolute, help_heading = "Process")]
    workdir: Option<PathBuf>,
    /// User the program sees itself as: USER[:GROUP], names or numbers
    #[arg(short, long, help_heading = "Process")]
    user: Option<String>,
    /// Program to run in place of the image's
    #[arg(long, value_name = "PROGRAM", help_heading = "Process")]
    entrypoint: Option<String>,
    /// Run a small init that reaps processes and forwards signals
    #[arg(long, help_heading = "Process")]
    init: bool,
    /// Resource limit: NAME=SOFT[:HARD]
    #[arg(long, value_name = "NAME=SOFT[:HARD]", value_parser = values::ulimit, help_heading = "Process")]
    ulimit: Vec<Ulimit>,
    /// Add a supplementary group, by name or number; keep-groups keeps the caller's, as always
    #[arg(long, value_name = "GROUP", value_parser = values::group_add, help_heading = "Process")]
    group_add: Vec<Option<String>>,
    /// Signal that asks the program to end
    #[arg(long, value_name = "SIGNAL", value_parser = values::signal, help_heading = "Process")]
    stop_signal: Option<String>,

    /// Host name of the container
    #[arg(short = 'h', long, value_name = "NAME", value_parser = values::hostname, help_heading = "Network")]
    hostname: Option<String>,
    /// Network: the caller's (host), or loopback only (none)
    #[arg(long, visible_alias = "net", value_name = "MODE", default_value = "host", value_parser = values::network, help_heading = "Network")]
    network: Network,
    /// Add a line to /etc/hosts: NAME:ADDRESS
    #[arg(long, value_name = "NAME:ADDRESS", value_parser = values::add_host, help_heading = "Network")]
    add_host: Vec<(String, std::net::IpAddr)>,
    /// Name server for /etc/resolv.conf
    #[arg(long, value_name = "ADDRESS", help_heading = "Network")]
    dns: Vec<std::net::IpAddr>,

    #[command(flatten)]
    pub(super) keep: KeepArgs,

    /// User namespace: keep-id sees the caller's own uid and gid
    #[arg(long, value_name = "MODE", value_parser = values::userns, help_heading = "Isolation")]
    userns: Option<UserNamespace>,
    /// Users and owners inside: full, strict, ids or off [default: full]
    #[arg(long, value_name = "MODE", value_parser = values::identity, help_heading = "Isolation")]
    identity: Option<IdentityChoice>,
    /// Pid namespace: private or host
    #[arg(long, value_name = "MODE", default_value = "private", value_parser = values::namespace, help_heading = "Isolation")]
    pid: Namespace,
    /// IPC namespace: private or host
    #[arg(long, value_name = "MODE", default_value = "private", value_parser = values::namespace, help_heading = "Isolation")]
    ipc: Namespace,
    /// UTS namespace: private or host
    #[arg(long, value_name = "MODE", default_value = "private", value_parser = values::namespace, help_heading = "Isolation")]
    uts: Namespace,
    /// Add a capability, or ALL
    #[arg(long, value_name = "CAPABILITY", value_delimiter = ',', value_parser = values::capability, help_heading = "Isolation")]
    cap_add: Vec<String>,
    /// Drop a capability, or ALL
    #[arg(long, value_name = "CAPABILITY", value_delimiter = ',', value_parser = values::capability, help_heading = "Isolation")]
    cap_drop: Vec<String>,
    /// All capabilities (over the container's own namespaces), no filter, no masked paths
    #[arg(long, help_heading = "Isolation")]
    privileged: bool,
    /// seccomp=FILE|unconfined, no-new-privileges[=false], unmask=ALL|PATHS, mask=PATHS
    #[arg(long, value_name = "OPTION", help_heading = "Isolation")]
    security_opt: Vec<String>,
    /// Kernel parameter of the container's namespaces: NAME=VALUE
    #[arg(long, value_name = "NAME=VALUE", value_parser = values::pair, help_heading = "Isolation")]
    sysctl: Vec<(String, String)>,

    /// Label the container: NAME[=VALUE]
    #[arg(short, long, value_name = "NAME[=VALUE]", value_parser = values::label, help_heading = "Image and metadata")]
    label: Vec<(String, String)>,
    /// Annotate the container: NAME=VALUE
    #[arg(long, value_name = "NAME=VALUE", value_parser = values::pair, help_heading = "Image and metadata")]
    annotation: Vec<(String, String)>,
    /// When to pull: missing, always, newer or never
    #[arg(long, value_name = "POLICY", default_value = "missing", value_parser = values::pull, help_heading = "Image and metadata")]
    pull: PullPolicy,
    /// Pull without progress
    #[arg(short, long, help_heading = "Image and metadata")]
    quiet: bool,
    #[command(flatten)]
    registry: RegistryArgs,
    #[command(flatten)]
    intake: IntakeArgs,
    /// Write the id of the container to a new file
    #[arg(long, value_name = "FILE", help_heading = "Image and metadata")]
    cidfile: Option<PathBuf>,
    /// Write the pid of its first process to a file
    #[arg(long, value_name = "FILE", help_heading = "Image and metadata")]
    pidfile: Option<PathBuf>,
    /// Keys that leave it alone, with a terminal and a monitor of its own [default: ctrl-p,ctrl-q]
    #[arg(long, value_name = "KEYS", value_parser = values::keys, help_heading = "Process")]
    detach_keys: Option<Keys>,
    /// Hand signals on to the program [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = super::filters::truth, help_heading = "Process")]
    sig_proxy: Option<bool>,
    /// Print help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,

    /// Image, and the program with its arguments
    #[arg(required = true, trailing_var_arg = true, value_names = ["IMAGE", "PROGRAM"], num_args = 1..)]
    image_and_command: Vec<String>,
}

impl Args {
    pub(super) fn is_quiet(&self) -> bool {
        self.quiet
    }
}

pub(super) fn exec(global: &Global, args: Args) -> Result<u8, Failure> {
    let quiet = args.quiet;
    let detach = args.detach;
    let attach = Attach {
        input: args.interactive,
        keys: args.detach_keys.clone().unwrap_or_default(),
        signals: args.sig_proxy.unwrap_or(true),
    };
    // Whatever outlives this process, or has to be watched by one that does: somebody may leave a terminal by the keys,
    // and what a terminal shows is kept. One that goes at its end keeps a log only if asked to.
    let monitored = args.keep.needs_monitor()
        || args.detach_keys.is_some()
        || args.sig_proxy == Some(false)
        || args.tty && (args.interactive || !args.rm)
        || args.rm && args.keep.asks_for_log();
    let mut options = options(args)?;
    options.driver = options.driver.or_else(|| global.driver_of(&options.what));
    if options.tty
        && options.interactive
        && !detach
        && !rustix::termios::isatty(rustix::stdio::stdin())
    {
        super::text::stderr(
            "warning: standard input is not a terminal: keys and window size have nowhere to come from",
        );
    }
    let store = global.store()?;
    let progress = progress::new(quiet);
    if detach {
        options.keep.detached = true;
        let id = create::run_detached(&store, &options, &*progress)?;
        super::text::stdout(|out| writeln!(out, "{id}"))?;
        return Ok(0);
    }
    if monitored {
        options.keep.input_once = true;
        let left = create::run_attached(&store, &options, &attach, &*progress)?;
        return super::start::left(left);
    }
    let ended = run::run(&store, &options, &*progress)?;
    Ok(ended.exit_code())
}

/// Options of which one would silently have no effect.
fn refuse_conflicts(a: &Args) -> Result<(), Failure> {
    let conflicts = [
        (
            a.userns == Some(UserNamespace::KeepId) && a.user.is_some(),
            "--userns keep-id and --user exclude each other: the one id has one name",
        ),
        (
            a.userns == Some(UserNamespace::KeepId)
                && a.identity.is_some_and(|i| i != IdentityChoice::Off),
            "--userns keep-id and --identity exclude each other: who keeps the caller's id is nobody else",
        ),
        (
            a.group_add.iter().any(Option::is_some)
                && (a.userns == Some(UserNamespace::KeepId)
                    || matches!(a.identity, Some(IdentityChoice::Off | IdentityChoice::Ids))),
            "--group-add needs emulated identities (--identity full or strict): a container with one id has one group",
        ),
        (
            a.uts == Namespace::Host && a.hostname.is_some(),
            "--uts host and --hostname exclude each other: the name would be the host's",
        ),
        (
            a.ipc == Namespace::Host && a.shm_size.is_some(),
            "--ipc host and --shm-size exclude each other: /dev/shm is the host's",
        ),
        (
            a.rootfs && a.image_volume.is_some(),
            "--rootfs and --image-volume exclude each other: a directory declares no volumes",
        ),
        (
            a.rootfs && a.storage_driver.is_some(),
            "--rootfs and --storage-driver exclude each other: a directory is used as it is",
        ),
    ];
    if let Some((_, why)) = conflicts.iter().find(|(conflict, _)| *conflict) {
        return Err(Failure::usage(*why));
    }
    for (name, _) in &a.sysctl {
        let of = |prefix: &str| {
            name.strip_prefix(prefix)
                .is_some_and(|n| n.starts_with(['.', '/']))
        };
        let (option, own) = match name.as_str() {
            _ if of("net") && a.network == Network::Host => ("--network host", "--network none"),
            _ if of("fs.mqueue") && a.ipc == Namespace::Host => ("--ipc host", "--ipc private"),
            _ => continue,
        };
        return Err(Failure::usage(format!(
            "--sysctl {name}: with {option} it is the host's, which only root can change"
        ))
        .with_hint(format!("{own} gives the container one of its own")));
    }
    Ok(())
}

/// What was typed, for `generate systemd --new`.
fn command_line() -> Option<CommandLine> {
    let words = std::env::args_os().map(|w| w.to_string_lossy().into_owned());
    Some(CommandLine {
        words: words.collect(),
        dir: std::env::current_dir().ok()?,
    })
}

pub(super) fn options(a: Args) -> Result<Options, Failure> {
    refuse_conflicts(&a)?;
    let mut words = a.image_and_command.into_iter();
    let image = words.next().unwrap_or_default();
    let mut env = Vec::new();
    for file in &a.env_file {
        env.extend(values::env_file(file)?);
    }
    env.extend(a.env);
    let mut volumes = a.volume;
    volumes.extend(a.mount);
    volumes.extend(a.tmpfs);
    values::no_duplicate_targets(&volumes)?;
    let mut security = Security::default();
    for word in &a.security_opt {
        values::security(word, &mut security)?;
    }
    Ok(Options {
        what: if a.rootfs {
            What::Directory(image.into())
        } else {
            What::Image(image)
        },
        command: words.collect(),
        entrypoint: a.entrypoint,
        interactive: a.interactive,
        tty: a.tty,
        remove: a.rm,
        made: if a.rm && !a.detach {
            None
        } else {
            command_line()
        },
        name: a.name,
        volumes,
        volumes_from: a.volumes_from,
        image_volumes: a.image_volume.unwrap_or_default(),
        secrets: a.secret,
        env,
        workdir: a.workdir,
        user: a.user,
        groups: a.group_add.into_iter().flatten().collect(),
        userns: a.userns.unwrap_or_default(),
        identity: a.identity,
        hostname: a.hostname,
        read_only: a.read_only,
        network: a.network,
        pid: a.pid,
        ipc: a.ipc,
        uts: a.uts,
        cap_add: a.cap_add,
        cap_drop: a.cap_drop,
        privileged: a.privileged,
        security,
        init: a.init,
        ulimits: a.ulimit,
        hosts: a.add_host,
        dns: a.dns,
        shm_size: a.shm_size.unwrap_or(SHM_SIZE),
        devices: a.device,
        labels: a.label,
        annotations: a.annotation,
        stop_signal: a.stop_signal,
        sysctls: a.sysctl,
        pull: a.pull,
        pulling: pull::Options {
            access: a.registry.access(),
            intake: a.intake.options()?,
        },
        driver: a.storage_driver,
        cidfile: a.cidfile,
        pidfile: a.pidfile,
        health: a.keep.health()?,
        keep: a.keep.keep()?,
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use crate::cli::{App, Command};

    fn parsed(line: &[&str]) -> super::Args {
        let line = ["coracle", "run"].iter().chain(line);
        match App::try_parse_from(line).unwrap().command {
            Command::Run(args) => *args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_would_have_no_effect_is_refused() {
        for (line, why) in [
            (&["--uts", "host", "-h", "x"][..], "the name would be"),
            (&["--ipc=host", "--shm-size=1m"], "/dev/shm is"),
            (&["--userns=keep-id", "-u", "1"], "the one id"),
            (&["--userns=keep-id", "--identity=full"], "nobody else"),
            (&["--userns=keep-id", "--group-add=7"], "one group"),
            (&["--identity=ids", "--group-add=lp"], "one group"),
            (&["--rootfs", "--storage-driver=copy"], "as it is"),
            (&["--sysctl", "net.ipv4.ip_forward=1"], "--network none"),
            (&["--sysctl", "net/core/somaxconn=1"], "--network none"),
            (
                &["--ipc=host", "--sysctl", "fs.mqueue.msg_max=1"],
                "--ipc private",
            ),
        ] {
            let e = super::options(parsed(&[line, &["image"]].concat())).unwrap_err();
            assert!(format!("{e:?}").contains(why), "{line:?}: {e:?}");
        }
        for line in [
            &["--uts", "host"][..],
            &[
                "--network=host",
                "-h",
                "x",
                "--add-host",
                "a:1.2.3.4",
                "--dns",
                "1.1.1.1",
            ],
            &["--network=none", "--sysctl", "net.ipv4.ip_forward=1"],
            &["--ipc=host"],
            &["--identity=off", "--group-add=keep-groups"],
            &["--group-add=7", "--group-add=lp"],
        ] {
            super::options(parsed(&[line, &["image"]].concat())).unwrap();
        }
    }

    #[test]
    fn what_stands_after_the_image_belongs_to_the_program() {
        for (line, want) in [
            (&["-eA=b", "-uroot", "x", "-d"][..], &["x", "-d"][..]),
            (&["x", "--rm", "--help"], &["x", "--rm", "--help"]),
            (&["-it", "--", "x", "-y"], &["x", "-y"]),
            (&["x", "--", "-y"], &["x", "--", "-y"]),
            (&["x", "sh", "-c", "-e"], &["x", "sh", "-c", "-e"]),
        ] {
            assert_eq!(parsed(line).image_and_command, want);
        }
    }
}
