//! Proxies: who is asked through them, and what happens when they refuse or misbehave.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use coracle::config::Env;
use coracle::config::proxy::Proxies;

use super::*;

/// A proxy on loopback; its thread ends with the test.
struct Relay {
    addr: String,
    /// Heads of the requests, or what SOCKS was asked for.
    asked: Arc<Mutex<Vec<String>>>,
}

impl Relay {
    /// Each connection is handed to `serve`, with the list to write down what it asks for.
    fn start(serve: impl Fn(TcpStream, &Mutex<Vec<String>>) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let (shared, serve) = (Arc::clone(&asked), Arc::new(serve));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (shared, serve) = (Arc::clone(&shared), Arc::clone(&serve));
                std::thread::spawn(move || serve(stream, &shared));
            }
        });
        Self { addr, asked }
    }

    /// One that speaks CONNECT, and leads to `server` whatever is asked for.
    fn connect(server: &Server) -> Self {
        let target = server.name();
        Self::start(move |stream, asked| {
            let head = head(&stream);
            let ok = head.starts_with("CONNECT ");
            asked.lock().unwrap().push(head);
            if ok {
                let _ = (&stream).write_all(b"HTTP/1.1 200 OK\r\n\r\n");
                tunnel(stream, TcpStream::connect(&target).unwrap());
            }
        })
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

/// Up to and with the empty line, byte by byte: what follows is not ours.
fn head(stream: &TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && (&mut &*stream).read(&mut byte).is_ok_and(|n| n == 1) {
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

fn tunnel(a: TcpStream, b: TcpStream) {
    let pump = |mut from: TcpStream, mut to: TcpStream| {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(std::net::Shutdown::Both);
    };
    let (a2, b2) = (a.try_clone().unwrap(), b.try_clone().unwrap());
    std::thread::spawn(move || pump(a2, b2));
    pump(b, a);
}

/// A client in this environment, which speaks plain http with anybody.
fn in_env(vars: &[(&str, String)]) -> Client {
    let get = |name: &str| {
        let found = vars.iter().find(|(n, _)| *n == name);
        found.map(|(_, v)| v.into())
    };
    Client::new(Options {
        proxies: Proxies::new(Env::new(&get)),
        tls_verify: false,
        retries: 0,
        stall_timeout: STALL,
        connect_timeout: Duration::from_secs(2),
        ..options()
    })
}

/// A name that only the proxy can resolve.
fn far() -> Reference {
    "registry.test:5000/some/image:1".parse().unwrap()
}

#[test]
fn a_name_that_only_the_proxy_knows() {
    let s = Server::start(|_, out| ok_manifest(out));
    for (https, http) in [
        ("HTTPS_PROXY", "HTTP_PROXY"),
        ("https_proxy", "http_proxy"),
        ("ALL_PROXY", "x"),
        ("all_proxy", "x"),
    ] {
        let relay = Relay::connect(&s);
        let c = in_env(&[(https, relay.addr.clone()), (http, relay.addr.clone())]);
        c.manifest(&far()).unwrap();
        // https is tried first, and the server does not speak it.
        let asked = relay.asked();
        assert_eq!(asked.len(), 2, "{https}: {asked:?}");
        for head in asked {
            assert!(
                head.starts_with("CONNECT registry.test:5000 HTTP/1.1\r\n"),
                "{head}"
            );
            assert!(!head.to_lowercase().contains("authorization"));
        }
    }
}

#[test]
fn each_scheme_goes_its_own_way() {
    let s = Server::start(|_, out| ok_manifest(out));
    let relay = Relay::connect(&s);
    // The proxy for https is none for http.
    let c = in_env(&[("HTTPS_PROXY", relay.addr.clone())]);
    c.manifest(&far()).unwrap_err();
    assert_eq!(relay.asked().len(), 1);
    // An exception is asked for directly, and is not there.
    let no = (
        "NO_PROXY",
        "other.test, .registry.test,registry.test:5000".to_owned(),
    );
    let c = in_env(&[("ALL_PROXY", relay.addr.clone()), no]);
    let e = c.manifest(&far()).unwrap_err();
    assert!(
        matches!(e, Error::HostNotFound { .. } | Error::Connect { .. }),
        "{e:?}"
    );
    assert_eq!(relay.asked().len(), 1);
    // Loopback is never behind a proxy.
    let c = in_env(&[("ALL_PROXY", relay.addr.clone())]);
    c.manifest(&image(&s)).unwrap();
    assert_eq!(relay.asked().len(), 1);
}

#[test]
fn a_proxy_that_wants_a_login() {
    let s = Server::start(|_, out| ok_manifest(out));
    let relay = Relay::connect(&s);
    let c = in_env(&[("ALL_PROXY", format!("http://me:s3cr%65t@{}", relay.addr))]);
    c.manifest(&far()).unwrap();
    for head in relay.asked() {
        assert!(
            head.contains(&format!("Proxy-Authorization: {BASIC}\r\n")),
            "{head}"
        );
    }
    // The registry does not see it.
    assert!(
        s.asked()
            .iter()
            .all(|a| a.header("proxy-authorization").is_none())
    );

    let refusing = Relay::start(|stream, asked| {
        asked.lock().unwrap().push(head(&stream));
        let _ = (&stream).write_all(b"HTTP/1.1 407 Login\r\nContent-Length: 0\r\n\r\n");
    });
    let e = in_env(&[("ALL_PROXY", format!("http://me:s3cret@{}", refusing.addr))])
        .manifest(&far())
        .unwrap_err();
    assert!(matches!(e, Error::Proxy { .. }), "{e:?}");
    let told = e.told();
    assert!(told.contains("407") && !told.contains("s3cret"), "{told}");
    assert!(e.hint().unwrap().contains("HTTPS_PROXY"));
}

#[test]
fn proxies_that_misbehave() {
    let serve: [fn(&TcpStream); 4] = [
        |_| {},
        |mut s| {
            let _ = s.write_all(b"SSH-2.0-nonsense\x1b[2J\r\n\r\n");
        },
        |mut s| {
            let line = [b'a'; 1 << 10];
            while s.write_all(b"HTTP/1.1 200 OK\r\nX: ").is_ok() && s.write_all(&line).is_ok() {}
        },
        |mut s| {
            let _ = s.write_all(b"HTTP/1.1 200 ");
            std::thread::sleep(Duration::from_secs(20));
        },
    ];
    for (i, answer) in serve.into_iter().enumerate() {
        let relay = Relay::start(move |stream, asked| {
            asked.lock().unwrap().push(head(&stream));
            answer(&stream);
        });
        let start = std::time::Instant::now();
        let e = in_env(&[("ALL_PROXY", relay.addr.clone())])
            .manifest(&far())
            .unwrap_err();
        assert!(start.elapsed() < Duration::from_secs(15), "{i}: {e:?}");
        assert!(!e.told().contains('\x1b'), "{i}: {e:?}");
        assert!(!relay.asked().is_empty(), "{i}");
    }
}

#[test]
fn what_is_no_proxy_is_an_error_and_not_a_way_around_it() {
    let s = Server::start_on("127.0.0.1".parse().unwrap(), |_, out| ok_manifest(out));
    let port = s.name().rsplit(':').next().unwrap().to_owned();
    // Not loopback by name, but it would be reached directly.
    let r: Reference = format!("0.0.0.0:{port}/some/image:1").parse().unwrap();
    in_env(&[]).manifest(&r).unwrap();
    let before = s.connections();
    for bad in ["ftp://me:s3cret@p:1", "http://", "http://a b", "://"] {
        let e = in_env(&[("ALL_PROXY", bad.into())])
            .manifest(&r)
            .unwrap_err();
        let told = e.told();
        assert!(
            told.contains("ALL_PROXY") && !told.contains("s3cret"),
            "{bad}: {told}"
        );
    }
    assert_eq!(s.connections(), before);
    // One that is not there is told from a registry that is not there.
    let e = in_env(&[("ALL_PROXY", "127.0.0.1:1".into())])
        .manifest(&r)
        .unwrap_err();
    assert!(e.told().contains("by way of ALL_PROXY"), "{e:?}");
}

#[test]
fn a_socks_proxy_resolves_names() {
    let s = Server::start(|_, out| ok_manifest(out));
    let target = s.name();
    let relay = Relay::start(move |stream, asked| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut take = |n: usize| {
            let mut bytes = vec![0; n];
            reader.read_exact(&mut bytes).unwrap();
            bytes
        };
        let methods = take(2)[1];
        take(methods.into());
        (&stream).write_all(&[5, 0]).unwrap();
        let request = take(4);
        assert_eq!(request, [5, 1, 0, 3], "CONNECT to a name");
        let length = take(1)[0];
        let name = String::from_utf8(take(length.into())).unwrap();
        let port = take(2);
        let port = u16::from_be_bytes([port[0], port[1]]);
        asked.lock().unwrap().push(format!("{name}:{port}"));
        (&stream)
            .write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])
            .unwrap();
        assert!(reader.buffer().is_empty() || reader.fill_buf().is_ok());
        tunnel(stream, TcpStream::connect(&target).unwrap());
    });
    for scheme in ["socks5", "socks5h"] {
        let c = in_env(&[("all_proxy", format!("{scheme}://{}", relay.addr))]);
        c.manifest(&far()).unwrap();
    }
    assert!(relay.asked().iter().all(|a| a == "registry.test:5000"));
}
