use super::*;

const ALL: u64 = (1 << (cap::LAST + 1)) - 1;

fn root() -> Cred {
    Cred::first(0, 0, &[], ALL, false)
}

fn user(id: u32) -> Cred {
    root()
        .set_one(Kind::Group, id)
        .and_then(|c| c.set_one(Kind::User, id))
        .unwrap()
}

fn uids(c: &Cred) -> [u32; 4] {
    [c.uid.real, c.uid.effective, c.uid.saved, c.uid.fs]
}

/// A process with real, effective, saved ids; no capability unless one of them is 0.
fn with(real: u32, effective: u32, saved: u32) -> Cred {
    root()
        .set_three(Kind::User, real, effective, saved)
        .unwrap()
}

#[test]
fn who_gave_up_root_does_not_regain_it() {
    let c = user(33);
    assert_eq!(uids(&c), [33; 4]);
    assert_eq!((c.permitted, c.effective, c.bounding), (0, 0, ALL));
    for attempt in [
        c.set_one(Kind::User, 0),
        c.set_two(Kind::User, 0, KEEP),
        c.set_two(Kind::User, KEEP, 0),
        c.set_three(Kind::User, KEEP, 0, KEEP),
        c.set_one(Kind::Group, 0),
        c.set_groups(&[]),
    ] {
        assert_eq!(attempt, Err(Errno::PERM));
    }
    assert_eq!(uids(&c.set_fs(Kind::User, 0)), [33; 4]);
}

#[test]
fn setuid_of_the_unprivileged_moves_between_real_and_saved() {
    // (before, id) → (after), None is EPERM
    for (before, id, after) in [
        ([5, 6, 7], 5, Some([5, 5, 7, 5])),
        ([5, 6, 7], 7, Some([5, 7, 7, 7])),
        ([5, 6, 7], 6, None),
        ([5, 6, 7], 8, None),
        ([5, 5, 5], 5, Some([5, 5, 5, 5])),
    ] {
        let c = with(before[0], before[1], before[2]).set_one(Kind::User, id);
        assert_eq!(c.as_ref().map(uids).ok(), after, "{before:?} {id}");
    }
    assert_eq!(root().set_one(Kind::User, KEEP), Err(Errno::INVAL));
}

#[test]
fn setreuid_sets_saved_when_real_is_set() {
    for (before, real, effective, after) in [
        ([5, 6, 7], KEEP, KEEP, Some([5, 6, 7, 6])),
        ([5, 6, 7], 6, 5, Some([6, 5, 5, 5])),
        ([5, 6, 7], KEEP, 7, Some([5, 7, 7, 7])),
        ([5, 6, 7], KEEP, 5, Some([5, 5, 7, 5])),
        ([5, 6, 7], 7, KEEP, None),
        ([5, 6, 7], KEEP, 8, None),
    ] {
        let c = with(before[0], before[1], before[2]).set_two(Kind::User, real, effective);
        assert_eq!(c.as_ref().map(uids).ok(), after, "{before:?}");
    }
    let c = root().set_two(Kind::User, 1, 2).unwrap();
    assert_eq!(uids(&c), [1, 2, 2, 2]);
}

#[test]
fn setresuid_wants_each_id_to_be_one_of_the_three() {
    let c = with(5, 6, 7);
    assert_eq!(
        uids(&c.set_three(Kind::User, 7, 5, 6).unwrap()),
        [7, 5, 6, 5]
    );
    assert_eq!(
        uids(&c.set_three(Kind::User, KEEP, KEEP, 5).unwrap()),
        [5, 6, 5, 6]
    );
    assert_eq!(c.set_three(Kind::User, KEEP, KEEP, 8), Err(Errno::PERM));
}

#[test]
fn seteuid_takes_effective_capabilities_and_gives_them_back() {
    let away = with(0, 33, 0);
    assert_eq!((away.permitted, away.effective), (ALL, 0));
    let back = away.set_three(Kind::User, KEEP, 0, KEEP).unwrap();
    assert_eq!(back.effective, ALL);
}

#[test]
fn keepcaps_keeps_what_is_permitted() {
    let (c, _) = root().prctl(8, [1, 0, 0, 0]).unwrap();
    assert_eq!(c.prctl(7, [0; 4]).unwrap().1, 1);
    let c = c.set_three(Kind::User, 9, 9, 9).unwrap();
    assert_eq!((c.permitted, c.effective), (ALL, 0));
    // setpriv: capset, and then groups with what is left.
    let setgid = 1 << cap::SETGID;
    let c = c.set_caps(setgid, setgid, 0).unwrap();
    let c = c.set_three(Kind::Group, 8, 8, 8).unwrap();
    assert_eq!(c.gid, Ids::all(8));
    let c = c.exec(&Executable::default()).unwrap();
    assert_eq!((c.permitted, c.effective, c.securebits), (0, 0, 0));
}

#[test]
fn fsuid_takes_and_gives_the_capabilities_over_files() {
    let c = root().set_fs(Kind::User, 33);
    assert_eq!(uids(&c), [0, 0, 0, 33]);
    assert!(!c.can(cap::CHOWN) && c.can(cap::SETUID));
    assert_eq!(c.set_fs(Kind::User, 0), root());
    assert_eq!(root().set_fs(Kind::Group, 5).gid.fs, 5);
    assert_eq!(root().set_fs(Kind::User, KEEP), root());
}

#[test]
fn groups_are_sorted_and_need_setgid() {
    let c = root().set_groups(&[9, 3, 27]).unwrap();
    assert_eq!(*c.groups, [3, 9, 27]);
    assert!(c.in_group(27) && c.in_group(0) && !c.in_group(4));
    assert_eq!(root().set_groups(&[KEEP]), Err(Errno::INVAL));
    // Groups survive the change of user.
    assert_eq!(*c.set_one(Kind::User, 7).unwrap().groups, [3, 9, 27]);
}

#[test]
fn capset_never_adds_to_what_is_permitted() {
    let c = root().set_caps(1, 3, 0).unwrap();
    assert_eq!((c.effective, c.permitted), (1, 3));
    assert_eq!(c.set_caps(2, 3, 0).unwrap().effective, 2);
    for (e, p, i) in [(4, 7, 0), (4, 3, 0), (1, 3, 4)] {
        assert_eq!(c.set_caps(e, p, i), Err(Errno::PERM), "{e} {p} {i}");
    }
    // Beyond permitted but within the bounding set: with SETPCAP.
    assert!(root().set_caps(ALL, ALL, 4).is_ok());
    assert_eq!(user(5).set_caps(1, 1, 0), Err(Errno::PERM));
}

#[test]
fn prctl_of_bounding_set_and_securebits() {
    let r = root();
    assert_eq!(r.prctl(23, [5, 0, 0, 0]).unwrap().1, 1);
    let (c, _) = r.prctl(24, [5, 0, 0, 0]).unwrap();
    assert_eq!(c.prctl(23, [5, 0, 0, 0]).unwrap().1, 0);
    assert_eq!(r.prctl(23, [99, 0, 0, 0]), Err(Errno::INVAL));
    assert_eq!(user(5).prctl(24, [5, 0, 0, 0]), Err(Errno::PERM));
    // Locked bits stay.
    let locked = u64::from(NOROOT | NOROOT << 1);
    let (c, _) = r.prctl(28, [locked, 0, 0, 0]).unwrap();
    assert_eq!(c.prctl(27, [0; 4]).unwrap().1, locked as i64);
    assert_eq!(c.prctl(28, [0; 4]), Err(Errno::PERM));
    assert_eq!(r.prctl(28, [0x100, 0, 0, 0]), Err(Errno::PERM));
    assert_eq!(r.prctl(8, [2, 0, 0, 0]), Err(Errno::INVAL));
    let keep_locked = u64::from(KEEP_CAPS_LOCKED);
    let (c, _) = r.prctl(28, [keep_locked, 0, 0, 0]).unwrap();
    assert_eq!(c.prctl(8, [1, 0, 0, 0]), Err(Errno::PERM));
}

#[test]
fn ambient_capabilities_survive_an_ordinary_exec() {
    let net = 1u64 << 10;
    let (c, _) = root().prctl(8, [1, 0, 0, 0]).unwrap();
    let c = c.set_one(Kind::User, 7).unwrap();
    let c = c.set_caps(net, net, net).unwrap();
    assert_eq!(user(7).prctl(47, [2, 10, 0, 0]), Err(Errno::PERM));
    let (c, _) = c.prctl(47, [2, 10, 0, 0]).unwrap();
    assert_eq!(c.prctl(47, [1, 10, 0, 0]).unwrap().1, 1);
    let after = c.exec(&Executable::default()).unwrap();
    assert_eq!((after.permitted, after.effective), (net, net));
    let setuid = Executable {
        setuid: Some(8),
        ..Executable::default()
    };
    assert_eq!(c.exec(&setuid).unwrap().effective, 0);
    let (cleared, _) = c.prctl(47, [4, 0, 0, 0]).unwrap();
    assert_eq!(cleared.ambient, 0);
    assert_eq!(c.prctl(47, [4, 1, 0, 0]), Err(Errno::INVAL));
    assert_eq!(c.prctl(47, [9, 1, 0, 0]), Err(Errno::INVAL));
}

#[test]
fn set_id_files_change_effective_and_saved() {
    let sudo = Executable {
        setuid: Some(0),
        ..Executable::default()
    };
    let c = user(33).exec(&sudo).unwrap();
    assert_eq!(uids(&c), [33, 0, 0, 0]);
    assert_eq!((c.effective, c.permitted), (ALL, ALL));
    let crontab = Executable {
        setgid: Some(101),
        ..Executable::default()
    };
    let c = user(33).exec(&crontab).unwrap();
    assert_eq!(
        (c.gid.real, c.gid.effective, c.gid.saved, c.gid.fs),
        (33, 101, 101, 101)
    );
    assert_eq!(c.permitted, 0);
    // Of another user: no capabilities.
    let man = Executable {
        setuid: Some(6),
        ..Executable::default()
    };
    let c = root().exec(&man).unwrap();
    assert_eq!((uids(&c), c.effective), ([0, 6, 6, 6], 0));
}

#[test]
fn no_new_privs_takes_set_id_and_file_capabilities_away() {
    let (c, _) = user(33).prctl(38, [1, 0, 0, 0]).unwrap();
    assert_eq!(c.prctl(39, [0; 4]).unwrap().1, 1);
    assert_eq!(c.prctl(38, [0; 4]), Err(Errno::INVAL));
    let file = Executable {
        setuid: Some(0),
        setgid: Some(0),
        caps: Some(FileCaps {
            permitted: 1,
            inheritable: 0,
            effective: true,
        }),
    };
    let c = c.exec(&file).unwrap();
    assert_eq!((uids(&c), c.gid, c.permitted), ([33; 4], Ids::all(33), 0));
}

#[test]
fn file_capabilities_are_bounded() {
    let net = 1u64 << 13;
    let ping = |permitted| Executable {
        caps: Some(FileCaps {
            permitted,
            inheritable: 0,
            effective: true,
        }),
        ..Executable::default()
    };
    let c = user(33).exec(&ping(net)).unwrap();
    assert_eq!((c.permitted, c.effective), (net, net));
    let bounded = Cred {
        bounding: ALL & !net,
        ..user(33)
    };
    assert_eq!(bounded.exec(&ping(net)), Err(Errno::PERM));
}

#[test]
fn root_gets_its_capabilities_at_exec_and_noroot_does_not() {
    let dropped = root().set_caps(0, 0, 0).unwrap();
    assert_eq!(dropped.exec(&Executable::default()).unwrap().effective, ALL);
    let bare = Cred {
        securebits: NOROOT,
        ..root()
    };
    assert_eq!(bare.exec(&Executable::default()).unwrap().permitted, 0);
}

#[test]
fn chown_by_root_owner_and_others() {
    let u = user(33).clone();
    let member = Cred {
        groups: [50].into(),
        ..u.clone()
    };
    for (who, owner, group, new_owner, new_group, may) in [
        (&root(), 1, 1, 2, 2, true),
        (&u, 33, 33, KEEP, KEEP, true),
        (&u, 33, 33, 33, 33, true),
        (&u, 33, 33, 34, KEEP, false),
        (&u, 33, 33, KEEP, 50, false),
        (&member, 33, 33, KEEP, 50, true),
        (&member, 34, 33, KEEP, 50, false),
        (&u, 0, 0, 33, KEEP, false),
        (&u, 0, 0, KEEP, KEEP, true),
    ] {
        let got = who.may_chown(owner, group, new_owner, new_group);
        assert_eq!(got, may, "{owner}:{group} to {new_owner}:{new_group}");
    }
}

#[test]
fn file_capabilities_in_their_three_revisions() {
    let v2 = [
        1u8, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0,
    ];
    let want = FileCaps {
        permitted: 0x2000 | 1 << 32,
        inheritable: 2 << 32,
        effective: true,
    };
    assert_eq!(FileCaps::parse(&v2), Some(want));
    assert_eq!(FileCaps::parse(&v2[..16]), None);
    let v1 = [0u8, 0, 0, 1, 1, 0, 0, 0, 2, 0, 0, 0];
    let got = FileCaps::parse(&v1).unwrap();
    assert_eq!(
        (got.permitted, got.inheritable, got.effective),
        (1, 2, false)
    );
    assert_eq!(FileCaps::parse(&[0; 20]), None);
}

#[test]
fn credentials_travel() {
    let all = Cred::first(7, 8, &[9, 3, 9], ALL, true);
    assert_eq!(Cred::from_bytes(&all.to_bytes()), Some(all.clone()));
    // Groups are looked up in order, whoever wrote them.
    let json = String::from_utf8(all.to_bytes()).unwrap();
    let shuffled = json.replace("[3,9,9]", "[9,3,9]");
    assert_ne!(json, shuffled);
    assert_eq!(Cred::from_bytes(shuffled.as_bytes()), Some(all));
    assert_eq!(Cred::from_bytes(b"{}"), None);
    assert_eq!(Cred::from_bytes(b"[1]"), None);
}
