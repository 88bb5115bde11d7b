//! The machine under test: the user who runs coracle, directories, the registry, the images.

use std::collections::HashSet;
use std::ffi::OsString;
use std::net::{Ipv4Addr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

use super::env::Runtime;
use super::{Cmd, wait_until};

const INNER: &str = "CORACLE_E2E_INNER";
/// The user who has nothing: no subordinate ids, no groups, no shell worth the name.
const USER: &str = "coracle-test";
/// The user of the peer runtimes, which need subordinate ids.
const PEER: &str = "coracle-peer";
/// What a poor user's PATH has: ordinary programs, and neither newuidmap nor newgidmap.
const TOOLS: &[&str] = &[
    "fuse-overlayfs",
    "fusermount3",
    "sh",
    "env",
    "cat",
    "true",
    "false",
    "sleep",
    "id",
    "stty",
    "python3",
    "unshare",
];

static MACHINE: OnceLock<Machine> = OnceLock::new();
static REGISTRY: Mutex<Option<Child>> = Mutex::new(None);

/// What is made once for the whole suite.
#[derive(Debug)]
pub struct Machine {
    /// The suite was started by root (in the initial or any other user namespace).
    pub is_root: bool,
    /// Ids of the user who runs coracle.
    pub uid: u32,
    pub gid: u32,
    /// World-readable directory that holds everything.
    pub dir: PathBuf,
    /// Copy of the binary, owned by the user, as after a download.
    pub binary: PathBuf,
    /// `host:port` of a docker-registry on loopback.
    pub registry: String,
    runtime: Runtime,
    ready: Mutex<HashSet<String>>,
}

/// As root, go on in a mount namespace of our own: what tests mount vanishes with it.
pub fn enter_own_mount_namespace() {
    if !rustix::process::geteuid().is_root() || std::env::var_os(INNER).is_some() {
        return;
    }
    let me = std::env::current_exe().unwrap();
    let error = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "--"])
        .arg(me)
        .args(std::env::args_os().skip(1))
        .env(INNER, "1")
        .exec();
    panic!("cannot run unshare: {error}");
}

/// A port of loopback that nobody listens on, and nobody else can as long as the socket is held.
pub fn closed_port() -> (OwnedFd, u16) {
    use rustix::net::{AddressFamily, SocketAddrV4, SocketType, bind, getsockname, socket};
    let held = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&held, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = SocketAddrV4::try_from(getsockname(&held).unwrap()).unwrap();
    (held, address.port())
}

/// Root of the repository.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A test that panicked while it held the lock has made its own failure known.
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn number(args: &[&str]) -> Option<u32> {
    let out = Command::new(args[0]).args(&args[1..]).output().ok()?;
    String::from_utf8(out.stdout).ok()?.trim().parse().ok()
}

fn user(name: &str, subordinate_ids: bool) -> (u32, u32) {
    if number(&["id", "-u", name]).is_none() {
        let mut useradd = Command::new("useradd");
        useradd.args([
            "--shell",
            "/bin/sh",
            "--user-group",
            "--home-dir",
            "/nonexistent",
            "--no-create-home",
        ]);
        // A system user gets no range of subordinate ids.
        useradd
            .args((!subordinate_ids).then_some("--system"))
            .arg(name);
        assert!(
            useradd.status().unwrap().success(),
            "cannot make the user {name}"
        );
    }
    for file in ["/etc/subuid", "/etc/subgid"] {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let has = text.lines().any(|l| l.starts_with(&format!("{name}:")));
        assert_eq!(has, subordinate_ids, "subordinate ids of {name} in {file}");
    }
    (
        number(&["id", "-u", name]).unwrap(),
        number(&["id", "-g", name]).unwrap(),
    )
}

impl Machine {
    pub fn get() -> &'static Self {
        MACHINE.get().unwrap()
    }

    /// Make users, directories and the registry. On the main thread: the registry dies with it.
    pub fn set_up() {
        let is_root = rustix::process::geteuid().is_root();
        let runtime = Runtime::from_env();
        let (uid, gid) = match (is_root, runtime) {
            (true, Runtime::Coracle) => user(USER, false),
            (true, Runtime::Podman) => user(PEER, true),
            (false, _) => (
                rustix::process::geteuid().as_raw(),
                rustix::process::getegid().as_raw(),
            ),
        };
        // Not below /tmp: that may be a tmpfs, and an ordinary disk is what is to be tested.
        let dir = PathBuf::from(format!("/var/tmp/coracle-e2e-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("bin")).unwrap();
        std::fs::create_dir_all(dir.join("registry")).unwrap();
        std::fs::create_dir_all(dir.join("t")).unwrap();
        let source = std::env::var_os("CORACLE_BIN")
            .map_or_else(|| env!("CARGO_BIN_EXE_coracle").into(), PathBuf::from);
        let binary = dir.join("bin/coracle");
        std::fs::copy(&source, &binary)
            .unwrap_or_else(|e| panic!("cannot copy {}: {e}", source.display()));
        std::os::unix::fs::symlink("coracle", dir.join("bin/coracle-oci")).unwrap();
        std::fs::copy(std::env::current_exe().unwrap(), dir.join("walk")).unwrap();
        for tool in TOOLS {
            let found = ["/usr/bin", "/bin", "/usr/sbin", "/sbin"]
                .iter()
                .map(|d| Path::new(d).join(tool))
                .find(|p| p.exists());
            if let Some(path) = found {
                std::os::unix::fs::symlink(path, dir.join("bin").join(tool)).unwrap();
            }
        }
        for path in [
            dir.clone(),
            dir.join("bin"),
            binary.clone(),
            dir.join("t"),
            dir.join("registry"),
        ] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
            std::os::unix::fs::chown(&path, Some(uid), Some(gid)).unwrap();
        }
        let mut machine = Self {
            is_root,
            uid,
            gid,
            binary,
            registry: String::new(),
            runtime,
            ready: Mutex::new(HashSet::new()),
            dir,
        };
        machine.open_fuse();
        machine.show_one_cgroup_version();
        machine.start_registry();
        MACHINE.set(machine).unwrap();
    }

    /// Stop the registry and remove everything.
    pub fn tear_down() {
        if let Some(mut child) = lock(&REGISTRY).take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let machine = Self::get();
        if std::env::var_os("E2E_KEEP").is_none() {
            remove(&machine.dir);
        }
    }

    /// A /dev/fuse that everybody may open, as on ordinary machines; only in our mount namespace.
    fn open_fuse(&self) {
        let Ok(now) = std::fs::metadata("/dev/fuse") else {
            return;
        };
        if !self.is_root || now.permissions().mode() & 0o666 == 0o666 {
            return;
        }
        let node = self.dir.join("fuse");
        let made = Command::new("mknod")
            .arg(&node)
            .args(["-m", "666", "c", "10", "229"])
            .status();
        if made.is_ok_and(|s| s.success()) {
            let _ = Command::new("mount")
                .arg("--bind")
                .arg(&node)
                .arg("/dev/fuse")
                .status();
        }
    }

    /// podman and crun refuse a machine with both cgroup versions: show them the second alone.
    fn show_one_cgroup_version(&self) {
        if self.is_root
            && self.runtime == Runtime::Podman
            && Path::new("/sys/fs/cgroup/unified").exists()
        {
            let _ = Command::new("mount")
                .args(["-t", "cgroup2", "none", "/sys/fs/cgroup"])
                .status();
        }
    }

    /// The port is free when it is chosen; if somebody takes it before the registry does, it is another.
    fn start_registry(&mut self) {
        let started = (0..5).any(|_| {
            self.registry = format!("127.0.0.1:{}", closed_port().1);
            self.try_registry()
        });
        let log = self.dir.join("registry.log");
        assert!(
            started,
            "the registry does not start: {}",
            std::fs::read_to_string(log).unwrap_or_default()
        );
    }

    /// Whether the registry has started on the chosen port.
    fn try_registry(&self) -> bool {
        let config = self.dir.join("registry.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\n  \
             delete: {{enabled: true}}\nhttp: {{addr: '{}'}}\n",
            self.dir.join("registry").display(),
            self.registry
        );
        std::fs::write(&config, text).unwrap();
        // A registry must not outlive a suite that was killed.
        let mut argv = self.drop_privileges();
        argv.splice(1..1, ["--pdeathsig".into(), "KILL".into()]);
        let log = std::fs::File::create(self.dir.join("registry.log")).unwrap();
        let mut child = Command::new(&argv[0])
            .args(&argv[1..])
            .args(["docker-registry", "serve"])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut ended = false;
        wait_until("the registry answers", || {
            ended = child.try_wait().unwrap().is_some();
            ended || TcpStream::connect(&self.registry).is_ok()
        });
        *lock(&REGISTRY) = Some(child);
        !ended
    }

    /// Ids of a user who has subordinate ids. The suite must have been started by root.
    pub fn peer() -> (u32, u32) {
        user(PEER, true)
    }

    /// The words that turn the suite's user into the test user, before a command.
    pub fn drop_privileges(&self) -> Vec<OsString> {
        let mut words: Vec<OsString> = vec!["setpriv".into()];
        if self.is_root {
            let (uid, gid) = (self.uid.to_string(), self.gid.to_string());
            for word in ["--reuid", &uid, "--regid", &gid, "--clear-groups"] {
                words.push(word.into());
            }
        }
        // podman needs its setuid helpers, which no_new_privs disarms.
        if self.runtime == Runtime::Coracle {
            words.push("--no-new-privs".into());
        }
        words
    }

    /// The name of a test image in the registry; pushed there on first use.
    pub fn pushed(&self, image: &str) -> String {
        let name = format!("{}/{image}:latest", self.registry);
        let mut ready = lock(&self.ready);
        if ready.insert(format!("pushed {image}")) {
            let (directory, format) = match image.strip_suffix("-docker") {
                Some(base) => (base, Some("v2s2")),
                None => (image, None),
            };
            let mut skopeo = Cmd::host(["skopeo", "--insecure-policy", "copy", "--quiet", "--all"]);
            skopeo = match format {
                Some(format) => skopeo.args(["--format", format]),
                None => skopeo.arg("--preserve-digests"),
            };
            skopeo
                .arg("--dest-tls-verify=false")
                .arg(format!("oci:{}:latest", layout(directory).display()))
                .arg(format!("docker://{name}"))
                .limit(400)
                .ok();
        }
        name
    }

    /// The name of a test image that is present in the store that tests share.
    pub fn pulled(&self, image: &str, pull: impl FnOnce(&str)) -> String {
        let name = self.pushed(image);
        // Held while pulling, so that each image is pulled once.
        let mut ready = lock(&self.ready);
        if !ready.contains(image) {
            pull(&name);
            ready.insert(image.to_owned());
        }
        name
    }

    pub fn shared_root(&self) -> PathBuf {
        self.dir.join("shared")
    }
}

/// The OCI layout of a test image.
pub fn layout(image: &str) -> PathBuf {
    let images = std::env::var_os("E2E_IMAGES")
        .map_or_else(|| repository().join("target/images"), PathBuf::from);
    let path = images.join(image);
    assert!(
        path.join("index.json").exists(),
        "there is no {}: run scripts/make-images",
        path.display()
    );
    path
}

/// Remove a tree, also one with mode-000 directories; a mount left below it is not followed.
pub fn remove(path: &Path) {
    let end = Instant::now() + Duration::from_secs(5);
    loop {
        let _ = Command::new("chmod")
            .args(["-R", "u+rwX"])
            .arg(path)
            .stderr(Stdio::null())
            .status();
        let done = Command::new("rm")
            .args(["-rf", "--one-file-system"])
            .arg(path)
            .stderr(Stdio::null())
            .status();
        if done.is_ok_and(|s| s.success()) || Instant::now() > end {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}
