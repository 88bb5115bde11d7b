//! Paths, links, directories and memory that change while the supervisor looks at them: whatever it then
//! does must be in the container.
//!
//! `E2E_RACE_SECONDS` is for how long; a minute if it is not set. The container is nice to what runs
//! beside it.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::harness::{Done, Env};

suite!(races_spoil_nothing_outside);

/// Its argument is the seconds. One process swaps what a link leads to, also to descriptors (the
/// supervisor has some that lead into the store, where the container's may have the same numbers), one moves
/// directories; others make, give away and look at files through them, as root, as somebody else and in
/// another root directory; one does so with paths that change in memory. Each says how often.
const RACE: &str = r#"
import ctypes, os, socket, stat, sys, threading, time
end = time.time() + float(sys.argv[1]); stop = lambda: time.time() > end
c = ctypes.CDLL(None); result = ctypes.create_string_buffer(256)
os.chdir('/tmp'); os.umask(0)
for d in ('a', 'b', 'a/deep', 'a/deep/er', 'hand', 'root'): os.mkdir(d)
for f in ('a/f', 'b/f', 'a/deep/f', 'a/deep/er/f'): open(f, 'w')
os.chown('hand', 0, 50); os.chmod('hand', 0o2777); os.symlink('a', 'l'); os.mkdir('root/in')
fds = [os.open(p, os.O_RDONLY) for p in ('a', 'b', 'hand', 'a/f', '/', '/proc', '/dev/null') * 2]

def swap():
    targets = ['/proc/self/root', '../../../..', 'a', '/proc/1/cwd', '/dev/fd', 'b', '/proc', 'hand', '/proc/thread-self/cwd', 'a/deep/../../b']
    targets += ['/proc/self/fd/%d' % n for n in range(3, 16)] + ['self/fd/%d' % n for n in range(3, 16)]
    while not stop():
        for t in targets: os.symlink(t, 'n'); os.rename('n', 'l'); yield
def move():
    while not stop():
        for f, t in (('a/deep', 'b/deep'), ('b/deep', 'deep'), ('deep', 'a/deep'), ('root/in', 'in'), ('in', 'root/in')): os.rename(f, t)
        yield
def touch():
    for p in (b'l/f', b'a/deep/er/f', b'a/deep/er/../../f', b'b/deep/../../../tmp/l/f', b'l/../f', b'/proc/self/cwd/l/f', b'l'):
        c.chown(p, 8, 8); c.lchown(p, 9, 9); c.stat(p, result); c.lstat(p, result); c.setxattr(p, b'security.capability', b'x', 1, 0)
def make():
    for d in (b'l', b'a/deep/er/..', b'b/deep/../../l', b'hand', b'/dev/fd/3', b'/proc/self/cwd/l'):
        n = d + b'/new%d' % os.getpid()
        c.mkdir(n, 0o755); c.rmdir(n); c.symlink(b'/etc', n); c.chown(n, 5, 5); c.unlink(n); c.mknod(n, 0o20666, 259); c.unlink(n)
        c.mknod(n, 0o10666, 0); c.lchown(n, 5, 5); c.unlink(n)
        c.close(c.open(n, os.O_CREAT | os.O_WRONLY | os.O_NONBLOCK, 0o666)); c.unlink(n); c.close(c.open(d, os.O_TMPFILE | os.O_WRONLY, 0o666))
        s = socket.socket(socket.AF_UNIX)
        try: s.bind(n)
        except OSError: pass
        c.stat(n, result); c.unlink(n)
def repeated(*what):
    while not stop():
        for w in what: w()
        yield
def as_other(): os.setgid(34); os.setuid(33); return repeated(make, touch)
def elsewhere():
    os.chroot('root')
    def walk():
        c.chdir(b'/in')
        for p in (b'../../../../../b/f', b'../in/../../b/f', b'/in/../../../b/f', b'..'): c.chown(p, 7, 7); c.stat(p, result)
        c.mkdir(b'../../x', 0o755); c.rmdir(b'../../x'); c.mknod(b'../../y', 0o20666, 259); c.unlink(b'../../y')
    return repeated(walk)
def memory():
    buffer = ctypes.create_string_buffer(b'a/f', 5000)
    def flip():
        while not stop(): buffer[0] = b'a'; buffer[0] = b'l'; buffer[1] = b'/'; buffer[1] = b'x'
    threading.Thread(target=flip).start()
    def call():
        c.chown(buffer, 7, 7); c.mkdir(buffer, 0o755); c.stat(buffer, result)
        c.chown(ctypes.c_void_p(1), 5, 5); c.chown(b'x' * 100000, 5, 5); c.setgroups(65537, 1); c.setgroups(70000, 0)
    return repeated(call)

kids = {}
for job in (swap, move, lambda: repeated(make, touch), as_other, elsewhere, memory):
    k = os.fork()
    if k == 0:
        n = 0
        for _ in job(): n += 1
        os._exit(0 if n > 20 else 1)
    kids[k] = job
print(sum(os.waitstatus_to_exitcode(os.wait()[1]) for k in kids), os.getuid())
"#;

fn races_spoil_nothing_outside(e: &Env) -> Done {
    let seconds = std::env::var("E2E_RACE_SECONDS").unwrap_or_else(|_| "60".to_owned());
    let seconds: u64 = seconds.parse().expect("E2E_RACE_SECONDS is a number");
    let own = e.with_own_store();
    let name = own.image("python");
    e.give(&e.file("f", "x"));
    let run = |flags: &[&str], seconds: u64| {
        let args = ["python3", "-c", RACE, &seconds.to_string()];
        let before = outside(&e.dir);
        own.run_name(flags, &name, &args)
            .wrapped(["nice", "-n", "15"])
            .limit(seconds + 120)
            .ok()
            .out_is("0 0\n");
        let after = outside(&e.dir);
        assert!(before.len() > 5000, "{}", before.len());
        let differ = |a: &Listing, b: &Listing| -> Vec<String> {
            let only = a.iter().filter(|(path, what)| b.get(*path) != Some(what));
            only.take(20).map(|l| format!("{l:?}")).collect()
        };
        let (lost, new) = (differ(&before, &after), differ(&after, &before));
        assert!(
            lost.is_empty() && new.is_empty(),
            "before: {lost:#?}\nafter: {new:#?}"
        );
    };
    run(&[], seconds * 5 / 6);
    // The supervisor's own /proc is in sight.
    run(&["--pid", "host"], seconds / 6);
    Ok(())
}

/// Path → mode, size, time, and the owner that is recorded.
type Listing = BTreeMap<PathBuf, (u32, u64, i64, Option<Vec<u8>>)>;

/// All that is the user's, but the containers.
fn outside(dir: &Path) -> Listing {
    let mut found = Listing::new();
    let mut left = vec![dir.to_owned()];
    while let Some(path) = left.pop() {
        let meta = path.symlink_metadata().unwrap();
        let name = path.file_name().unwrap_or_default();
        if ["containers", "ephemeral", "tmp", "lock"]
            .iter()
            .any(|n| name == *n)
            && path.parent().is_some_and(|p| p.ends_with("store"))
        {
            continue;
        }
        if meta.is_dir() {
            left.extend(std::fs::read_dir(&path).unwrap().map(|f| f.unwrap().path()));
        }
        let owner = (meta.is_dir() || meta.is_file())
            .then(|| xattr::get(&path, "user.containers.override_stat").unwrap())
            .flatten();
        // Directories of the store change with what is in them: that is listed itself.
        let time = if meta.is_dir() { 0 } else { meta.mtime() };
        found.insert(path, (meta.mode(), meta.size(), time, owner));
    }
    found
}
