//! `pull` from a real registry.

use rustix::process::Signal;

use crate::harness::{Done, Env, Feature, wait_until};

suite!(
    quiet_prints_the_id,
    lines_without_a_terminal,
    oci_and_docker_manifests_give_the_same_tree,
    index_chooses_this_machine,
    index_chooses_a_platform,
    platform_that_is_not_there,
    by_digest,
    by_a_wrong_digest,
    pull_again_changes_nothing,
    two_at_once,
    several_names,
    not_there,
    no_such_registry,
    http_only_on_loopback,
    certificates_of_one_registry,
    killed_and_again,
    shared_layers_are_fetched_once,
    from_a_layout_directory,
    pull_needs_no_namespace,
    store_is_private,
);

fn quiet_prints_the_id(e: &Env) -> Done {
    let own = e.with_own_store();
    let name = own.machine.pushed("busybox");
    let out = own.cmd(["pull", "-q", &name]).ok();
    let id = out.out().trim().to_owned();
    assert!(
        id.len() >= 12 && id.bytes().all(|b| b.is_ascii_hexdigit()),
        "{out:?}"
    );
    out.err_is("");
    own.run_name(&[], &id, &["true"]).ok();
    Ok(())
}

fn lines_without_a_terminal(e: &Env) -> Done {
    let own = e.with_own_store();
    let name = own.machine.pushed("nasty14");
    let out = own.cmd(["pull", &name]).ok();
    assert!(
        !out.stderr.contains(&0x1b) && !out.stderr.contains(&b'\r'),
        "{out:?}"
    );
    assert!(out.err().lines().count() <= 60, "too many words: {out:?}");
    assert_eq!(
        out.out().lines().count(),
        1,
        "stdout is for the id: {out:?}"
    );
    Ok(())
}

fn merged(e: &Env, image: &str) -> Vec<String> {
    crate::storage_drivers::view(e, "overlay", image)
}

fn oci_and_docker_manifests_give_the_same_tree(e: &Env) -> Done {
    e.need(Feature::Overlay)?;
    let (oci, docker) = (merged(e, "nasty14-gzip"), merged(e, "nasty14-gzip-docker"));
    crate::storage_drivers::assert_same("OCI and Docker", &oci, &docker);
    // Three compressions, one tree.
    let mixed = merged(e, "nasty14");
    assert_eq!(mixed.len(), oci.len());
    Ok(())
}

fn machine_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn index_chooses_this_machine(e: &Env) -> Done {
    let out = e.run(&[], "multi", &["cat", "/arch"]).code_is(0);
    assert_eq!(out.out().trim(), machine_arch());
    Ok(())
}

fn index_chooses_a_platform(e: &Env) -> Done {
    let own = e.with_own_store();
    let name = own.machine.pushed("multi");
    own.cmd(["pull", "-q", "--platform", "linux/s390x", &name])
        .ok();
    // The files are of that platform, even if the label says so only in the image.
    let out = own
        .cmd(["inspect", "--format", "{{.Architecture}}", &name])
        .ok();
    out.out_is("s390x\n");
    own.cmd([
        "pull",
        "-q",
        "--platform",
        &format!("linux/{}", machine_arch()),
        &name,
    ])
    .ok();
    own.run_name(&[], &name, &["cat", "/arch"])
        .ok()
        .out_is(&format!("{}\n", machine_arch()));
    Ok(())
}

fn platform_that_is_not_there(e: &Env) -> Done {
    let own = e.with_own_store();
    let name = own.machine.pushed("multi");
    own.cmd(["pull", "--platform", "linux/riscv64", &name])
        .run()
        .fails_with(125, "riscv64");
    own.cmd(["pull", "--platform", "nonsense", &name])
        .run()
        .code_is(125);
    Ok(())
}

/// Digest of a tag, as the registry has it.
fn digest_of(e: &Env, image: &str) -> String {
    let name = e.machine.pushed(image);
    let index = std::fs::read(crate::harness::layout(image).join("index.json")).unwrap();
    let index: serde_json::Value = serde_json::from_slice(&index).unwrap();
    let digest = index["manifests"][0]["digest"].as_str().unwrap();
    format!("{}@{digest}", name.trim_end_matches(":latest"))
}

fn by_digest(e: &Env) -> Done {
    for image in ["busybox", "multi"] {
        let own = e.with_root(e.dir.join(image));
        let name = digest_of(e, image);
        own.cmd(["pull", "-q", &name]).ok();
        own.run_name(&["--pull=never"], &name, &["echo", "x"])
            .ok()
            .out_is("x\n");
    }
    Ok(())
}

fn by_a_wrong_digest(e: &Env) -> Done {
    let own = e.with_own_store();
    let right = digest_of(e, "busybox");
    let wrong = format!("{}{}", &right[..right.len() - 64], "0".repeat(64));
    own.cmd(["pull", &wrong]).run().code_is(125);
    own.cmd(["pull", &right[..right.len() - 3]])
        .run()
        .code_is(125);
    Ok(())
}

fn pull_again_changes_nothing(e: &Env) -> Done {
    let own = e.with_own_store();
    let name = own.machine.pushed("nasty14");
    own.cmd(["pull", "-q", &name]).ok();
    let before = own.layers();
    let first = own.cmd(["pull", "-q", &name]).ok().out();
    let second = own.cmd(["pull", "-q", &name]).ok().out();
    assert_eq!(first, second);
    assert_eq!(before, own.layers());
    Ok(())
}

fn two_at_once(e: &Env) -> Done {
    let own = e.with_own_store();
    let names = [own.machine.pushed("python"), own.machine.pushed("debian")];
    // The same image twice, and one that shares its big layer.
    let all: Vec<_> = [&names[0], &names[0], &names[1]]
        .map(|n| own.cmd(["pull", "-q", n]).limit(400).spawn())
        .into_iter()
        .map(crate::harness::Proc::wait)
        .collect();
    let ids: Vec<String> = all.into_iter().map(|o| o.code_is(0).out()).collect();
    assert_eq!(ids[0], ids[1]);
    own.run_name(&[], &names[0], &["python3", "-c", "print(1)"])
        .ok()
        .out_is("1\n");
    own.run_name(&[], &names[1], &["bash", "-c", "echo 2"])
        .ok()
        .out_is("2\n");
    own.nothing_unfinished();
    Ok(())
}

fn several_names(e: &Env) -> Done {
    let own = e.with_own_store();
    let (a, b) = (own.machine.pushed("busybox"), own.machine.pushed("multi"));
    let ids = own.cmd(["pull", "-q", &a, &b]).ok().out();
    assert_eq!(ids.lines().count(), 2);
    // One that fails ends it; what came before is there.
    let missing = format!("{}/none", e.machine.registry);
    own.cmd(["rmi", &a, &b]).ok();
    own.cmd(["pull", "-q", &a, &missing, &b]).run().code_is(125);
    assert_eq!(own.cmd(["images", "-q"]).ok().out().lines().count(), 1);
    Ok(())
}

fn not_there(e: &Env) -> Done {
    let own = e.with_own_store();
    for name in ["none:latest", "busybox:no-such-tag"] {
        let full = format!("{}/{name}", e.machine.registry);
        own.machine.pushed("busybox");
        own.cmd(["pull", &full])
            .run()
            .fails_with(125, name.split(':').next().unwrap());
    }
    Ok(())
}

fn no_such_registry(e: &Env) -> Done {
    let own = e.with_own_store();
    let (_held, port) = crate::harness::closed_port();
    let name = format!("127.0.0.1:{port}/x:latest");
    own.cmd(["pull", &name]).run().fails_with(125, "127.0.0.1");
    Ok(())
}

fn certificates_of_one_registry(e: &Env) -> Done {
    e.need(Feature::Program("openssl"))?;
    let own = e.with_own_store();
    let r = crate::harness::Registry::with_tls(e);
    let name = r.image(e, "busybox");
    own.cmd(["pull", "-q", &name])
        .run()
        .fails_with(125, "no secure connection")
        .err_has("certs.d");
    let certs = format!("home/.config/containers/certs.d/{}", r.name);
    for (at, _) in certs.match_indices('/') {
        e.subdir(&certs[..at]);
    }
    e.subdir(&certs);
    let ca = std::fs::read(e.dir.join("ca.pem")).unwrap();
    e.file(&format!("{certs}/ca.crt"), &ca);
    own.cmd(["pull", "-q", &name]).ok();
    // The one that is named stands alone.
    e.subdir("certs");
    let pull = || {
        own.cmd(["pull", "-q", "--cert-dir"])
            .arg(e.dir.join("certs"))
            .arg(&name)
    };
    pull().run().code_is(125);
    e.file("certs/ca.crt", &ca);
    pull().ok();
    e.file("certs/me.cert", &ca);
    pull().run().fails_with(125, "me.key");
    own.cmd(["pull", "-q", "--tls-verify=false", &r.image(e, "multi")])
        .ok();
    own.cmd(["login", "-u", "me", "--password-stdin", &r.name])
        .stdin("x")
        .ok();
    Ok(())
}

/// `server.py LOG`: an HTTP server that writes down what it is asked for. LOG.ready says that it listens.
const PLAIN_SERVER: &str = r#"
import http.server, sys
class Asked(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        open(sys.argv[1], 'a').write(self.path)
        self.send_error(404)
server = http.server.HTTPServer(('192.0.2.1', 5000), Asked)
open(sys.argv[1] + '.ready', 'w')
server.serve_forever()
"#;

fn http_only_on_loopback(e: &Env) -> Done {
    e.need(Feature::Root)?;
    e.need(Feature::Program("ip"))?;
    let own = e.with_own_store();
    // An address of this machine that is not loopback, in a network of the command's own.
    let log = e.dir.join("log");
    let script = format!(
        "ip link set lo up && ip addr add 192.0.2.1/32 dev lo || exit 9
         python3 {} {log} & server=$!
         until [ -e {log}.ready ]; do sleep 0.05; done
         \"$@\"; code=$?; kill $server; exit $code",
        e.file("server.py", PLAIN_SERVER).display(),
        log = log.display()
    );
    own.cmd(["pull", "192.0.2.1:5000/x:latest"])
        .wrapped(["unshare", "--net", "sh", "-c", &script, "sh"])
        .run()
        .code_is(125);
    assert!(
        !log.exists(),
        "plain HTTP to an address that is not loopback"
    );
    Ok(())
}

fn killed_and_again(e: &Env) -> Done {
    let own = e.with_own_store();
    let name = own.machine.pushed("python");
    let p = own.cmd(["pull", "-q", &name]).spawn();
    wait_until("a layer is on its way", || {
        std::fs::read_dir(own.root().join("tmp")).is_ok_and(|mut d| d.next().is_some())
    });
    p.signal(Signal::KILL);
    let _ = p.wait();
    own.cmd(["images"]).ok();
    own.cmd(["pull", "-q", &name]).limit(400).ok();
    own.run_name(&[], &name, &["python3", "-c", "print(1)"])
        .ok()
        .out_is("1\n");
    own.nothing_unfinished();
    Ok(())
}

fn shared_layers_are_fetched_once(e: &Env) -> Done {
    let own = e.with_own_store();
    own.image("busybox");
    let layers = std::fs::read_dir(own.root().join("layers"))
        .unwrap()
        .count();
    own.image("busybox-config");
    assert_eq!(
        std::fs::read_dir(own.root().join("layers"))
            .unwrap()
            .count(),
        layers + 1
    );
    Ok(())
}

fn from_a_layout_directory(e: &Env) -> Done {
    let own = e.with_own_store();
    let origin = format!("oci:{}", e.layout("busybox").display());
    let id = own.cmd(["pull", "-q", &origin]).ok().out();
    own.run_name(&[], id.trim(), &["true"]).ok();
    Ok(())
}

fn pull_needs_no_namespace(e: &Env) -> Done {
    e.need(Feature::Root)?;
    let own = e.with_own_store();
    let name = own.machine.pushed("nasty14");
    let cmd = own.cmd(["pull", "-q", &name]);
    cmd.wrapped(crate::nested::WITHOUT_USER_NAMESPACES).ok();
    own.run_name(&["--pull=never"], &name, &["true"]).ok();
    Ok(())
}

fn store_is_private(e: &Env) -> Done {
    use std::os::unix::fs::MetadataExt as _;
    let own = e.with_own_store();
    own.image("nasty14");
    // Set-id programs of strangers lie in there, owned by the user.
    let mode = std::fs::metadata(own.root()).unwrap().mode() & 0o7777;
    assert_eq!(mode, 0o700, "{mode:o}");
    Ok(())
}
