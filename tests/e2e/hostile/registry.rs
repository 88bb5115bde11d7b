//! Registries that lead astray, stall or break off.

use super::{broken_off, refused, simple};
use crate::harness::{Done, Env, Evil, Reply, Then, wait_until};

suite!(
    redirect_loop,
    redirect_to_a_file,
    stalling_registry,
    resetting_registry,
    registry_that_recovers,
);

fn redirect_loop(e: &Env) -> Done {
    for status in [301, 302, 307, 308] {
        let evil = Evil::new(move |path, _| {
            let next = if path.contains("?a") {
                path.replace("?a", "?b")
            } else {
                format!("{}?a", path.split('?').next().unwrap())
            };
            Reply::new(status, "").header("Location", &next)
        });
        refused(e, &evil, "redirect");
        assert!(
            evil.requests().len() < 100,
            "{} requests",
            evil.requests().len()
        );
    }
    Ok(())
}

fn redirect_to_a_file(e: &Env) -> Done {
    let victim = e.file("secret", "secret").display().to_string();
    for target in [
        format!("file://{victim}"),
        "ftp://127.0.0.1/x".into(),
        "gopher://x".into(),
        "javascript:x".into(),
        "http://".into(),
    ] {
        let image = simple();
        let evil = Evil::image(image, move |path, reply| {
            if path.contains("/blobs/") {
                Reply::new(307, "").header("Location", &target)
            } else {
                reply
            }
        });
        refused(e, &evil, "");
    }
    Ok(())
}

fn stalling_registry(e: &Env) -> Done {
    let image = simple();
    let evil = Evil::image(image, |path, reply| {
        if path.contains("/blobs/") {
            reply.cut(1000, Then::Stall)
        } else {
            reply
        }
    });
    let own = e.with_own_store();
    let mut p = own.cmd(["pull", &evil.name()]).limit(400).spawn();
    wait_until("the blobs are asked for", || {
        evil.requests().iter().any(|r| r.contains("/blobs/"))
    });
    // Into the silence; nothing depends on how far.
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert!(p.is_running());
    p.signal(rustix::process::Signal::INT);
    // The limit for silence is the product's, 30 s; that Ctrl-C works at once is what people need.
    let start = std::time::Instant::now();
    let out = p.wait();
    assert!(start.elapsed().as_secs() < 20, "{out:?}");
    assert_ne!(out.code(), 0);
    own.cmd(["images", "-q"]).ok().out_is("");
    Ok(())
}

fn resetting_registry(e: &Env) -> Done {
    let image = simple();
    let evil = Evil::image(image, |path, reply| {
        if path.contains("/blobs/") {
            reply.cut(1000, Then::Reset)
        } else {
            reply
        }
    });
    broken_off(e, &evil);
    assert!(
        evil.requests().len() < 60,
        "{} requests",
        evil.requests().len()
    );
    Ok(())
}

fn registry_that_recovers(e: &Env) -> Done {
    // Twice cut off, once busy, then all is well: the pull must succeed.
    let image = simple();
    let count = std::sync::atomic::AtomicUsize::new(0);
    let evil = Evil::image(image, move |path, reply| {
        if !path.contains("/blobs/") {
            return reply;
        }
        match count.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
            0 => reply.cut(20_000, Then::Reset),
            1 => Reply::new(503, "busy").header("Retry-After", "1"),
            2 => reply.cut(0, Then::Close),
            _ => reply,
        }
    });
    let own = e.with_own_store();
    own.cmd(["pull", "-q", &evil.name()]).limit(400).ok();
    own.run_name(&[], &evil.name(), &["true"]).ok();
    Ok(())
}
