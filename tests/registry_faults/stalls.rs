//! Registries that keep us waiting, or are not there.

use std::time::Instant;

use super::*;

#[track_caller]
fn stalls_in_time<T: std::fmt::Debug>(f: impl FnOnce() -> Result<T, Error>) {
    let start = Instant::now();
    let e = f().unwrap_err();
    assert!(matches!(e, Error::Stalled { .. }), "{e:?}");
    let took = start.elapsed();
    assert!(took >= STALL && took < STALL * 20, "took {took:?}");
}

#[test]
fn a_registry_that_never_answers() {
    let s = Server::start(|_, _| After::Hang);
    stalls_in_time(|| impatient().manifest(&image(&s)));
    assert_eq!(s.asked().len(), 2, "a stall is tried again once");
}

#[test]
fn a_head_that_never_ends() {
    let s = Server::start(|_, out| {
        out.raw(b"HTTP/1.1 200 OK\r\n");
        // A byte now and then must not keep us waiting for ever.
        while out.raw(b"a") {
            std::thread::sleep(STALL / 4);
        }
        After::Close
    });
    stalls_in_time(|| impatient().manifest(&image(&s)));
}

#[test]
fn a_blob_that_stops_in_the_middle() {
    let all = content(100_000);
    let data = all.clone();
    let s = Server::start(move |a, out| {
        serve_part(a, out, &data, 10_000);
        After::Hang
    });
    stalls_in_time(|| read_blob(&impatient(), &s, &all, 0));
    assert_eq!(s.asked()[1].from(), Some(10_000));
}

#[test]
fn a_blob_that_stalls_once_is_resumed() {
    let all = content(100_000);
    let data = all.clone();
    let s = Server::start(move |a, out| {
        if a.index == 0 {
            serve_part(a, out, &data, 10_000);
            return After::Hang;
        }
        serve_range(a, out, &data)
    });
    assert!(read_blob(&impatient(), &s, &all, 0).unwrap() == all);
}

#[test]
fn a_manifest_that_trickles() {
    let s = Server::start(|_, out| {
        out.head(200, &[("Content-Length", "1000")]);
        while out.raw(b" ") {
            std::thread::sleep(STALL / 4);
        }
        After::Close
    });
    let start = Instant::now();
    let e = impatient().manifest(&image(&s)).unwrap_err();
    assert!(matches!(e, Error::TooSlow { .. }), "{e:?}");
    assert!(start.elapsed() < STALL * 20, "took {:?}", start.elapsed());
}

#[test]
fn nobody_listens() {
    use rustix::net::{AddressFamily, SocketAddrV4, SocketType, bind, getsockname, socket};
    // Bound and not listening: nobody else can have the port meanwhile.
    let held = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    let any = SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, 0);
    bind(&held, &any).unwrap();
    let port = SocketAddrV4::try_from(getsockname(&held).unwrap())
        .unwrap()
        .port();
    let r: Reference = format!("127.0.0.1:{port}/x:1").parse().unwrap();
    let start = Instant::now();
    let e = client().manifest(&r).unwrap_err();
    assert!(matches!(e, Error::Connect { .. }), "{e:?}");
    assert!(e.hint().is_some());
    assert!(start.elapsed() < Duration::from_secs(10));
}
