//! Tests of the registry configuration.

use super::*;
use std::ffi::OsString;

fn parse(text: &str) -> Result<Registries, RegistriesError> {
    Registries::parse(text, Path::new("/x/registries.conf"))
}

/// `!` marks an insecure place.
fn places(c: &Registries, name: &str) -> Vec<String> {
    let places = c.places(&name.parse().unwrap()).unwrap();
    let (last, mirrors) = places.split_last().unwrap();
    assert!(!last.mirror && mirrors.iter().all(|p| p.mirror));
    places
        .iter()
        .map(|p| format!("{}{}", p.reference, if p.insecure { "!" } else { "" }))
        .collect()
}

const D: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

#[test]
fn the_example_of_the_manual() {
    let c = parse(
        r#"
        unqualified-search-registries = ["example.com"]
        [[registry]]
        prefix = "example.com/foo"
        insecure = false
        blocked = false
        location = "internal-registry-for-example.com/bar"
        [[registry.mirror]]
        location = "example-mirror-0.local/mirror-for-foo"
        [[registry.mirror]]
        location = "example-mirror-1.local/mirrors/foo"
        insecure = true
        [[registry]]
        location = "registry.com"
        [[registry.mirror]]
        location = "mirror.registry.com"
        "#,
    )
    .unwrap();
    assert_eq!(
        places(&c, "example.com/foo/image:latest"),
        [
            "example-mirror-0.local/mirror-for-foo/image:latest",
            "example-mirror-1.local/mirrors/foo/image:latest!",
            "internal-registry-for-example.com/bar/image:latest"
        ]
    );
    assert_eq!(
        places(&c, "registry.com/image"),
        [
            "mirror.registry.com/image:latest",
            "registry.com/image:latest"
        ]
    );
    // Whole parts only, and no other port.
    for other in [
        "example.com/food/image",
        "example.com/x",
        "registry.com:5000/x",
        "xregistry.com/a",
    ] {
        assert_eq!(places(&c, other), [format!("{other}:latest")]);
    }
    assert_eq!(c.notices(), []);
}

#[test]
fn the_longest_prefix_counts_and_wildcards_cover_domains() {
    let c = parse(
        r#"
        [[registry]]
        prefix = "*.example.com"
        insecure = true
        [[registry.mirror]]
        location = "m.io/all"
        [[registry]]
        prefix = "*.deep.example.com"
        location = "other.io/x"
        [[registry]]
        location = "a.example.com"
        [[registry]]
        prefix = "q.io/a:1"
        location = "r.io/b"
        [[registry]]
        prefix = "docker.io/library/debian"
        location = "hub.local/debian"
        "#,
    )
    .unwrap();
    for (name, want) in [
        (
            "b.example.com/x:1",
            &["m.io/all/x:1", "b.example.com/x:1!"][..],
        ),
        (
            "a.b.example.com/x:1",
            &["m.io/all/x:1", "a.b.example.com/x:1!"],
        ),
        ("a.deep.example.com/y/x:1", &["other.io/x/y/x:1"]),
        ("a.example.com/x:1", &["a.example.com/x:1"]),
        ("example.com/x:1", &["example.com/x:1"]),
        ("evilexample.com/x:1", &["evilexample.com/x:1"]),
        ("a.example.com.evil.io/x:1", &["a.example.com.evil.io/x:1"]),
        ("q.io/a:1", &["r.io/b:1"]),
        ("q.io/a:12", &["q.io/a:12"]),
        ("debian:12", &["hub.local/debian:12"]),
    ] {
        assert_eq!(places(&c, name), want, "{name}");
    }
}

#[test]
fn mirrors_for_digests_and_for_tags() {
    let c = parse(
        r#"
        [[registry]]
        location = "q.io"
        [[registry.mirror]]
        location = "d.io"
        pull-from-mirror = "digest-only"
        [[registry.mirror]]
        location = "t.io"
        pull-from-mirror = "tag-only"
        [[registry.mirror]]
        location = "a.io"
        pull-from-mirror = "all"
        [[registry]]
        location = "r.io"
        mirror-by-digest-only = true
        [[registry.mirror]]
        location = "rm.io"
        "#,
    )
    .unwrap();
    assert_eq!(places(&c, "q.io/x:1"), ["t.io/x:1", "a.io/x:1", "q.io/x:1"]);
    assert_eq!(places(&c, "r.io/x:1"), ["r.io/x:1"]);
    let pinned = |host: &str| format!("{host}/x@{D}");
    assert_eq!(
        places(&c, &pinned("q.io")),
        [pinned("d.io"), pinned("a.io"), pinned("q.io")]
    );
    assert_eq!(
        places(&c, &pinned("r.io")),
        [pinned("rm.io"), pinned("r.io")]
    );
}

#[test]
fn what_is_blocked_is_an_error() {
    let c = parse("[[registry]]\nlocation = \"q.io/bad\"\nblocked = true").unwrap();
    let e = c.places(&"q.io/bad/x".parse().unwrap()).unwrap_err();
    assert!(matches!(&e, RegistriesError::Blocked { prefix, .. } if prefix == "q.io/bad"));
    assert!(e.to_string().contains("registries.conf") && e.hint().is_some());
    c.places(&"q.io/good".parse().unwrap()).unwrap();
}

#[test]
fn explicit_security_takes_insecurity_away() {
    let mut c = parse("[[registry]]\nlocation=\"q.io\"\ninsecure=true\n[[registry.mirror]]\nlocation=\"m.io\"\ninsecure=true").unwrap();
    assert_eq!(places(&c, "q.io/x:1"), ["m.io/x:1!", "q.io/x:1!"]);
    assert!(c.is_insecure("q.io", "") && c.is_insecure("q.io", "x") && !c.is_insecure("m.io", ""));
    c.secure();
    assert!(!c.is_insecure("q.io", ""));
    assert_eq!(places(&c, "q.io/x:1"), ["m.io/x:1", "q.io/x:1"]);
}

#[test]
fn short_names() {
    let means = |text: &str, name: &str| {
        let m = parse(text).unwrap().meaning(name).unwrap();
        let names: Vec<_> = m.candidates.iter().map(ToString::to_string).collect();
        names.join(" ")
    };
    let hub = "docker.io/library/debian:latest";
    assert_eq!(means("", "debian"), hub);
    assert_eq!(means("unqualified-search-registries = []", "debian"), hub);
    assert_eq!(means("", "me/app:1"), "docker.io/me/app:1");
    let two = r#"unqualified-search-registries = ["q.io", "docker.io"]"#;
    assert_eq!(
        means(two, "debian:12"),
        "q.io/debian:12 docker.io/library/debian:12"
    );
    let alias = format!("{two}\n[aliases]\n\"debian\" = \"r.io/d/debian\"\n\"n/a\" = \"r.io/x\"");
    assert_eq!(means(&alias, "debian"), "r.io/d/debian:latest");
    assert_eq!(means(&alias, "debian:12"), "r.io/d/debian:12");
    assert_eq!(means(&alias, "n/a:1"), "r.io/x:1");
    assert_eq!(means(&alias, "a:1"), "q.io/a:1 docker.io/library/a:1");
    assert_eq!(
        means(&alias, &format!("debian@{D}")),
        format!("r.io/d/debian@{D}")
    );

    // Only "enforcing" minds that there are two.
    for (mode, ok) in [
        ("", true),
        ("permissive", true),
        ("disabled", true),
        ("enforcing", false),
    ] {
        let text = format!("short-name-mode = \"{mode}\"\n{alias}");
        let c = parse(&text).unwrap();
        assert_eq!(c.meaning("x").is_ok(), ok, "{mode}");
        assert!(c.meaning("debian").is_ok(), "{mode}");
    }
    let one = "short-name-mode = \"enforcing\"\nunqualified-search-registries = [\"q.io\"]";
    assert_eq!(means(one, "x"), "q.io/x:latest");
    let e = parse(&format!("short-name-mode = \"enforcing\"\n{two}"))
        .unwrap()
        .meaning("x")
        .unwrap_err();
    assert!(
        e.to_string()
            .contains("q.io/x:latest, docker.io/library/x:latest"),
        "{e}"
    );
}

#[test]
fn what_makes_no_sense_is_refused() {
    for bad in [
        "x",
        "short-name-mode = \"sometimes\"",
        "unqualified-search-registries = [\"https://q.io\"]",
        "unqualified-search-registries = [\"q.io/a\"]",
        "unqualified-search-registries = [\"q\"]",
        "[[registry]]",
        "[[registry]]\nprefix = \"q.io\"",
        "[[registry]]\nlocation = \"https://q.io\"",
        "[[registry]]\nlocation = \"host\"",
        "[[registry]]\nprefix = \"me/app\"\nlocation = \"q.io\"",
        "[[registry]]\nprefix = \"a.*.io\"\nlocation = \"q.io\"",
        "[[registry]]\nprefix = \"*.io/x\"",
        "[[registry]]\nprefix = \"*.\"",
        "[[registry]]\nlocation = \"*.io\"",
        "[[registry]]\nlocation = \"q.io\"\n[[registry.mirror]]\ninsecure = true",
        "[[registry]]\nlocation = \"q.io\"\n[[registry.mirror]]\nlocation = \"m.io\"\npull-from-mirror = \"x\"",
        "[[registry]]\nlocation = \"q.io\"\nmirror-by-digest-only = true\n[[registry.mirror]]\nlocation = \"m.io\"\npull-from-mirror = \"all\"",
        "[aliases]\n\"q.io/x\" = \"r.io/x\"",
        "[aliases]\n\"x:1\" = \"r.io/x\"",
        "[aliases]\n\"x\" = \"y\"",
        "[aliases]\n\"x\" = \"r.io/x:1\"",
        "[aliases]\n\"x\" = \"r.io/x:latest\"",
    ] {
        assert!(parse(bad).is_err(), "{bad}");
    }
    let e = parse("[registries.search]\nregistries = ['q.io']").unwrap_err();
    assert!(matches!(e, RegistriesError::Version1 { .. }));
    assert!(e.hint().unwrap().contains("unqualified-search-registries"));
    // A rule that makes no name.
    let c = parse("[[registry]]\nprefix = \"q.io\"\nlocation = \"q.io/UP\"").unwrap();
    assert!(c.places(&"q.io/x".parse().unwrap()).is_err());
}

#[test]
fn what_has_no_effect_is_told() {
    let c = parse(
        "credential-helpers = [\"vault\"]\nmagic = 1\n[[registry]]\nlocation = \"q.io\"\nfast = true",
    )
    .unwrap();
    let told: Vec<_> = c.notices().iter().map(ToString::to_string).collect();
    for (told, word) in told
        .iter()
        .zip(["magic", "credential-helpers", "registry.fast"])
    {
        assert!(told.contains(word) && told.contains("no effect"), "{told}");
    }
    assert_eq!(told.len(), 3, "{told:?}");
    let usual = parse("credential-helpers = [\"containers-auth.json\"]").unwrap();
    assert_eq!(usual.notices(), []);
}

#[test]
fn files_overwrite_each_other_in_order() {
    let tmp = tempfile::tempdir().unwrap();
    let put = |path: &str, text: &str| {
        let path = tmp.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let load = |file: Option<&str>| {
        let get = |name: &str| match name {
            "HOME" => Some(OsString::from(tmp.path().join("home"))),
            "CONTAINERS_REGISTRIES_CONF" => file.map(|f| tmp.path().join(f).into()),
            _ => None,
        };
        Registries::load_from(tmp.path(), Env::new(&get))
    };
    let x = |c: &Registries| c.meaning("x").unwrap().candidates[0].registry().to_owned();
    let search = |host: &str| format!("unqualified-search-registries = [\"{host}\"]\n");

    let c = load(None).unwrap();
    assert_eq!(
        (x(&c).as_str(), c.default_registry()),
        ("docker.io", "docker.io")
    );
    put("etc/containers/registries.conf", &search("main.io"));
    assert_eq!(load(None).unwrap().default_registry(), "main.io");
    put(
        "etc/containers/registries.conf.d/10-a.conf",
        &search("a.io"),
    );
    put(
        "etc/containers/registries.conf.d/20-b.conf",
        "[aliases]\nx = \"b.io/x\"",
    );
    put("etc/containers/registries.conf.d/30-c.txt", "nonsense");
    fs::create_dir(
        tmp.path()
            .join("etc/containers/registries.conf.d/40-d.conf"),
    )
    .unwrap();
    let c = load(None).unwrap();
    assert_eq!((x(&c).as_str(), c.default_registry()), ("b.io", "a.io"));
    put(
        "home/.config/containers/registries.conf.d/u.conf",
        "[aliases]\nx = \"\"",
    );
    assert_eq!(x(&load(None).unwrap()), "a.io");
    // The user's own file takes the place of all of the machine's.
    put("home/.config/containers/registries.conf", &search("own.io"));
    assert_eq!(x(&load(None).unwrap()), "own.io");
    // What podman was told once stands above all files, and nothing but aliases is taken from there.
    let recorded = "home/.cache/containers/short-name-aliases.conf";
    put(
        "var/cache/containers/short-name-aliases.conf",
        "[aliases]\nx = \"root.io/x\"",
    );
    assert_eq!(x(&load(None).unwrap()), "root.io");
    put(
        recorded,
        &format!("{}[aliases]\nx = \"said.io/x\"", search("odd.io")),
    );
    let c = load(None).unwrap();
    assert_eq!(
        (x(&c).as_str(), c.default_registry()),
        ("said.io", "own.io")
    );
    let because = c.meaning("x").unwrap().because;
    assert_eq!(because, Because::Alias(tmp.path().join(recorded)));
    put(recorded, "[aliases]\nx = \"no name\"");
    assert!(matches!(load(None), Err(RegistriesError::Value { .. })));
    fs::remove_file(tmp.path().join(recorded)).unwrap();
    let of_root = "var/cache/containers/short-name-aliases.conf";
    fs::remove_file(tmp.path().join(of_root)).unwrap();
    put("mine.conf", &search("mine.io"));
    put("etc/containers/registries.conf.d/10-a.conf", "");
    assert_eq!(x(&load(Some("mine.conf")).unwrap()), "mine.io");
    assert!(matches!(
        load(Some("missing.conf")),
        Err(RegistriesError::Read { .. })
    ));
    put(
        "home/.config/containers/registries.conf",
        "[registries.block]\nregistries = []",
    );
    assert!(matches!(load(None), Err(RegistriesError::Version1 { .. })));
}
