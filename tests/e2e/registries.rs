//! Short names, mirrors and what else registries.conf says.

use crate::harness::{Cmd, Done, Env, Registry, USER};

suite!(
    an_alias_wins_over_registries_to_search,
    registries_are_searched_in_order,
    an_ambiguous_name_is_an_error_where_that_is_wanted,
    a_start_reads_no_configuration,
    a_mirror_serves_under_the_name_that_was_asked_for,
    a_dead_mirror_is_told_and_passed_over,
    nobody_has_it,
    blocked,
    the_old_format,
    drop_ins_of_the_user,
    login_without_a_registry,
);

/// The command with this configuration alone.
fn with(e: &Env, cmd: Cmd, text: &str) -> Cmd {
    let path = e.dir.join("registries.conf");
    std::fs::write(&path, text).unwrap();
    cmd.env("CONTAINERS_REGISTRIES_CONF", path)
}

/// The host and port of the suite's registry.
fn registry(e: &Env) -> &str {
    // Of the two only the second is a name that distributions have no alias for.
    e.machine.pushed("busybox");
    e.machine.pushed("multi");
    &e.machine.registry
}

fn names(e: &Env) -> String {
    e.cmd(["images", "--format", "{{.Repository}}:{{.Tag}}"])
        .ok()
        .out()
}

fn an_alias_wins_over_registries_to_search(e: &Env) -> Done {
    let own = e.with_own_store();
    let r = registry(e);
    let text = format!(
        "unqualified-search-registries = [\"127.0.0.1:1\"]\n[aliases]\nbox = \"{r}/busybox\"\n"
    );
    with(e, own.cmd(["pull", "box"]), &text)
        .ok()
        .err_has(&format!("box is an alias of {r}/busybox:latest"));
    assert_eq!(names(&own), format!("{r}/busybox:latest\n"));
    // It is found again by the same name, in the store.
    with(
        e,
        own.run_name(&["--pull=never"], "box", &["echo", "x"]),
        &text,
    )
    .ok()
    .out_is("x\n");
    with(
        e,
        own.cmd(["pull", "-q", "--policy", "missing", "box:latest"]),
        &text,
    )
    .ok();
    // Said with a transport a name is none that could be short.
    with(e, own.cmd(["pull", "docker://box"]), &text)
        .env("HTTPS_PROXY", "http://127.0.0.1:1")
        .run()
        .fails_with(125, "docker.io")
        .err_lacks(r);
    Ok(())
}

fn registries_are_searched_in_order(e: &Env) -> Done {
    let own = e.with_own_store();
    let r = registry(e);
    let (_held, port) = crate::harness::closed_port();
    let text = format!("unqualified-search-registries = [\"127.0.0.1:{port}\", \"{r}\"]");
    with(e, own.cmd(["pull", "multi"]), &text)
        .ok()
        .err_has(&format!(
            "multi is looked for as 127.0.0.1:{port}/multi:latest, then {r}/multi:latest"
        ));
    assert_eq!(names(&own), format!("{r}/multi:latest\n"));
    with(e, own.run_name(&[], "multi", &["cat", "/arch"]), &text).ok();
    with(e, own.cmd(["pull", "none"]), &text)
        .run()
        .fails_with(
            125,
            &format!("127.0.0.1:{port}/none:latest: cannot connect"),
        )
        .err_has(&format!("{r}/none:latest: "));
    Ok(())
}

fn an_ambiguous_name_is_an_error_where_that_is_wanted(e: &Env) -> Done {
    let own = e.with_own_store();
    let r = registry(e);
    let text = format!(
        "short-name-mode = \"enforcing\"\nunqualified-search-registries = [\"{r}\", \"docker.io\"]"
    );
    with(e, own.cmd(["pull", "multi"]), &text)
        .stdin("1\n")
        .run()
        .fails_with(
            125,
            &format!("{r}/multi:latest, docker.io/library/multi:latest"),
        );
    assert_eq!(names(&own), "");
    Ok(())
}

fn a_start_reads_no_configuration(e: &Env) -> Done {
    let own = e.with_own_store();
    let image = own.image("busybox");
    own.cmd(["tag", &image, "docker.io/library/here"]).ok();
    // What would be an error if it were read.
    let nonsense = "[registries.search]";
    with(e, own.run_name(&[], "here", &["true"]), nonsense).ok();
    with(e, own.run_name(&[], &image, &["true"]), nonsense).ok();
    with(e, own.run_name(&[], "not-here", &["true"]), nonsense)
        .run()
        .fails_with(125, "version 1");
    Ok(())
}

fn mirrored(e: &Env, mirror: &str) -> String {
    format!(
        "[[registry]]\nprefix = \"images.test/team\"\nlocation = \"{}\"\n[[registry.mirror]]\nlocation = \"{mirror}\"\n",
        registry(e)
    )
}

fn a_mirror_serves_under_the_name_that_was_asked_for(e: &Env) -> Done {
    let own = e.with_own_store();
    // A mirror that wants a login of its own, and a place that nobody could reach.
    let mirror = Registry::with_login(e);
    mirror.image(e, "busybox");
    let text = format!(
        "[[registry]]\nprefix = \"images.test/team\"\nlocation = \"127.0.0.1:1\"\n[[registry.mirror]]\nlocation = \"{}\"\n",
        mirror.name
    );
    let name = "images.test/team/busybox:latest";
    with(e, own.cmd(["pull", "-q", name]), &text)
        .run()
        .fails_with(125, &format!("{}/busybox:latest: ", mirror.name))
        .err_has("127.0.0.1:1/busybox:latest: cannot connect");
    own.cmd(["login", "-u", USER.0, "--password-stdin", &mirror.name])
        .stdin(USER.1)
        .ok();
    with(e, own.cmd(["pull", "-q", name]), &text)
        .ok()
        .err_is("");
    assert_eq!(names(&own), format!("{name}\n"));
    own.run_name(&["--pull=never"], name, &["true"]).ok();
    let digests = own
        .cmd(["inspect", "--format", "{{.RepoDigests}}", name])
        .ok();
    assert!(
        digests.out().contains("images.test/team/busybox@"),
        "{digests:?}"
    );
    Ok(())
}

fn a_dead_mirror_is_told_and_passed_over(e: &Env) -> Done {
    let own = e.with_own_store();
    let (_held, port) = crate::harness::closed_port();
    let text = mirrored(e, &format!("127.0.0.1:{port}/m"));
    with(
        e,
        own.cmd(["pull", "-q", "images.test/team/busybox"]),
        &text,
    )
    .ok()
    .err_has(&format!(
        "127.0.0.1:{port}/m/busybox:latest was passed over: cannot connect"
    ));
    assert_eq!(names(&own), "images.test/team/busybox:latest\n");
    Ok(())
}

fn nobody_has_it(e: &Env) -> Done {
    let own = e.with_own_store();
    let text = mirrored(e, &format!("{}/m", registry(e)));
    with(e, own.cmd(["pull", "images.test/team/none"]), &text)
        .run()
        .fails_with(125, "images.test/team/none:latest cannot be had anywhere")
        .err_has(&format!("{}/m/none:latest: ", e.machine.registry))
        .err_has(&format!("{}/none:latest: ", e.machine.registry));
    Ok(())
}

fn blocked(e: &Env) -> Done {
    let own = e.with_own_store();
    let text = format!(
        "[[registry]]\nlocation = \"{}\"\nblocked = true",
        registry(e)
    );
    let image = e.machine.pushed("busybox");
    with(e, own.cmd(["pull", &image]), &text)
        .run()
        .fails_with(125, "blocked")
        .err_has("registries.conf");
    Ok(())
}

fn the_old_format(e: &Env) -> Done {
    let image = e.machine.pushed("busybox");
    let text = "[registries.search]\nregistries = ['docker.io']\n";
    with(e, e.with_own_store().cmd(["pull", &image]), text)
        .run()
        .fails_with(125, "version 1")
        .err_has("hint: version 2");
    Ok(())
}

fn drop_ins_of_the_user(e: &Env) -> Done {
    let own = e.with_own_store();
    let r = registry(e);
    for dir in [
        "home/.config",
        "home/.config/containers",
        "home/.config/containers/registries.conf.d",
    ] {
        e.subdir(dir);
    }
    e.file(
        "home/.config/containers/registries.conf.d/mine.conf",
        format!("magic = true\n[aliases]\nbox = \"{r}/busybox\"\n"),
    );
    own.cmd(["pull", "-q", "box"])
        .ok()
        .err_has("magic is not supported");
    assert_eq!(names(&own), format!("{r}/busybox:latest\n"));
    Ok(())
}

fn login_without_a_registry(e: &Env) -> Done {
    let r = Registry::with_login(e);
    let text = format!("unqualified-search-registries = [\"{}\"]", r.name);
    with(e, e.cmd(["login", "-u", USER.0, "--password-stdin"]), &text)
        .stdin(USER.1)
        .ok();
    e.cmd(["login", "--get-login", &r.name]).ok().out_is("me\n");
    with(e, e.cmd(["logout"]), &text).ok();
    Ok(())
}
