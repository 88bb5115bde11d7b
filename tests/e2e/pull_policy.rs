//! `run --pull` and `pull --policy`: which image is used, when the registry has another, has none, or
//! is not there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::harness::{Cmd, Done, Env, Evil, Image, Output, Reply, Tar, closed_port, layout};

suite!(
    missing_takes_what_is_there,
    always_takes_what_the_registry_has,
    newer_takes_what_has_changed,
    never_asks_nobody,
    newer_asks_for_the_manifest_alone,
    newer_goes_on_when_the_download_fails,
    a_registry_that_is_down,
    a_name_that_the_registry_does_not_have,
    unknown_policy,
);

/// `busybox` under a name of the test's own, pulled; the registry has `busybox-config` there since.
fn moved(e: &Env) -> (Env, String) {
    let own = e.with_own_store();
    let name = format!(
        "{}/{}:latest",
        e.machine.registry,
        e.dir
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .replace('_', "-")
    );
    push(&name, "busybox");
    own.cmd(["pull", "-q", &name]).ok();
    push(&name, "busybox-config");
    (own, name)
}

fn push(name: &str, image: &str) {
    Cmd::host([
        "skopeo",
        "--insecure-policy",
        "copy",
        "--quiet",
        "--dest-tls-verify=false",
    ])
    .arg(format!("oci:{}:latest", layout(image).display()))
    .arg(format!("docker://{name}"))
    .limit(400)
    .ok();
}

/// In `busybox` this is a program, in `busybox-config` what its entry point is to print.
fn run(own: &Env, policy: &[&str], name: &str) -> Output {
    own.cmd(["run", "--rm", "-q", "--network=none"])
        .args(policy)
        .args([name, "echo", "ran"])
        .run()
}

const OLD: &str = "ran\n";
const NEW: &str = "entry echo ran\n";

/// The id that `pull` prints.
fn pulled(own: &Env, policy: &[&str], name: &str) -> String {
    own.cmd(["pull", "-q"]).args(policy).arg(name).ok().out()
}

fn missing_takes_what_is_there(e: &Env) -> Done {
    let (own, name) = moved(e);
    let id = own.cmd(["images", "-q", "--no-trunc"]).ok().out();
    for policy in [&[][..], &["--pull=missing"]] {
        run(&own, policy, &name).code_is(0).out_is(OLD).err_is("");
    }
    let got = pulled(&own, &["--policy=missing"], &name);
    assert_eq!(format!("sha256:{got}"), id);
    own.cmd(["rmi", &name]).ok();
    run(&own, &["--pull=missing"], &name).code_is(0).out_is(NEW);
    own.cmd(["rmi", &name]).ok();
    assert_ne!(pulled(&own, &["--policy=missing"], &name), got);
    Ok(())
}

fn always_takes_what_the_registry_has(e: &Env) -> Done {
    let (own, name) = moved(e);
    run(&own, &["--pull=always"], &name).code_is(0).out_is(NEW);
    run(&own, &["--pull=never"], &name).code_is(0).out_is(NEW);
    // And `pull` by itself, whatever is there.
    push(&name, "busybox");
    let id = pulled(&own, &[], &name);
    run(&own, &[], &name).code_is(0).out_is(OLD);
    assert_eq!(pulled(&own, &["--policy=always"], &name), id);
    Ok(())
}

fn newer_takes_what_has_changed(e: &Env) -> Done {
    let (own, name) = moved(e);
    run(&own, &["--pull=newer"], &name)
        .code_is(0)
        .out_is(NEW)
        .err_is("");
    let id = pulled(&own, &["--policy=newer"], &name);
    push(&name, "busybox");
    assert_ne!(pulled(&own, &["--policy=newer"], &name), id);
    run(&own, &[], &name).code_is(0).out_is(OLD);
    // What is not there at all is new.
    own.cmd(["rmi", &name]).ok();
    run(&own, &["--pull=newer"], &name).code_is(0).out_is(OLD);
    Ok(())
}

fn never_asks_nobody(e: &Env) -> Done {
    let (own, name) = moved(e);
    run(&own, &["--pull=never"], &name)
        .code_is(0)
        .out_is(OLD)
        .err_is("");
    pulled(&own, &["--policy=never"], &name);
    let evil = Evil::honest(Image::new(&[tar().end()]));
    run(&own, &["--pull=never"], &evil.name()).fails_with(125, "image not known");
    let pull = own.cmd(["pull", "--policy=never", &evil.name()]);
    pull.run().fails_with(125, "image not known");
    assert_eq!(evil.requests(), [""; 0]);
    Ok(())
}

fn tar() -> Tar {
    Tar::busybox().symlink("bin/echo", "busybox")
}

fn newer_asks_for_the_manifest_alone(e: &Env) -> Done {
    let own = e.with_own_store();
    let evil = Evil::honest(Image::new(&[tar().end()]));
    own.cmd(["pull", "-q", &evil.name()]).ok();
    let before = evil.requests().len();
    run(&own, &["--pull=newer"], &evil.name())
        .code_is(0)
        .out_is(OLD)
        .err_is("");
    let asked = evil.requests().split_off(before);
    assert!(
        !asked.is_empty() && asked.iter().all(|r| !r.contains("/blobs/")),
        "{asked:?}"
    );
    Ok(())
}

fn newer_goes_on_when_the_download_fails(e: &Env) -> Done {
    let own = e.with_own_store();
    let has_changed = Arc::new(AtomicBool::new(false));
    let changed = Arc::clone(&has_changed);
    let next = Image::new(&[tar().file("next", "x").end()]);
    let evil = Evil::image(Image::new(&[tar().end()]), move |path, reply| {
        if !changed.load(Ordering::Relaxed) {
            return reply;
        }
        // A new manifest, whose blobs are not there.
        match path.contains("/manifests/") {
            true => Reply::new(200, next.manifest.clone()).header("Content-Type", &next.media_type),
            false => Reply::new(404, "{}"),
        }
    });
    own.cmd(["pull", "-q", &evil.name()]).ok();
    has_changed.store(true, Ordering::Relaxed);
    run(&own, &["--pull=newer"], &evil.name())
        .code_is(0)
        .out_is(OLD)
        .err_has("warning: using the stored");
    run(&own, &["--pull=always"], &evil.name()).code_is(125);
    Ok(())
}

fn a_registry_that_is_down(e: &Env) -> Done {
    let own = e.with_own_store();
    let (_held, port) = closed_port();
    let name = format!("127.0.0.1:{port}/app:1");
    for policy in ["--pull=missing", "--pull=newer", "--pull=always"] {
        run(&own, &[policy], &name).fails_with(125, &port.to_string());
    }
    let there = own.image("busybox");
    own.cmd(["tag", &there, &name]).ok();
    for policy in ["--pull=missing", "--pull=never"] {
        run(&own, &[policy], &name)
            .code_is(0)
            .out_is(OLD)
            .err_is("");
    }
    run(&own, &["--pull=newer"], &name)
        .code_is(0)
        .out_is(OLD)
        .err_has("warning: using the stored");
    run(&own, &["--pull=always"], &name).fails_with(125, &port.to_string());
    for (policy, code) in [("missing", 0), ("never", 0), ("newer", 0), ("always", 125)] {
        own.cmd(["pull", "-q", "--policy", policy, &name])
            .run()
            .code_is(code);
    }
    Ok(())
}

/// As with an image that was tagged or loaded here and never pushed.
fn a_name_that_the_registry_does_not_have(e: &Env) -> Done {
    let own = e.with_own_store();
    let name = format!("{}/never/pushed:1", e.machine.registry);
    let there = own.image("busybox");
    own.cmd(["tag", &there, &name]).ok();
    for policy in ["--pull=missing", "--pull=never", "--pull=newer"] {
        run(&own, &[policy], &name).code_is(0).out_is(OLD);
    }
    run(&own, &["--pull=always"], &name).fails_with(125, "never/pushed");
    Ok(())
}

fn unknown_policy(e: &Env) -> Done {
    let name = e.image("busybox");
    let run = e.cmd(["run", "--pull=sometimes", &name]);
    run.run().fails_with(125, "missing, always, newer or never");
    let pull = e.cmd(["pull", "--policy=sometimes", &name]);
    pull.run()
        .fails_with(125, "missing, always, newer or never");
    Ok(())
}
