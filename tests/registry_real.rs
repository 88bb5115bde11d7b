//! The client against the registry that Debian packages (`docker-registry`): plain, with a login,
//! and with TLS. Skipped, with a reason, where the program or `openssl` is not installed.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use coracle::config::auth::{Credentials, Login};
use coracle::config::certs::Certs;
use coracle::oci::{Digest, Reference, media};
use coracle::registry::{Client, Error, Options};

const REGISTRY: &str = "/usr/bin/docker-registry";
/// bcrypt of "s3cret".
const HTPASSWD: &str = "me:$2y$04$abcdefghijklmnopqrstuuLZYjhNQAOdpbzt4WxWlUHjv1wsyH5DG\n";

macro_rules! need {
    ($program:expr) => {
        if !Path::new($program).exists() {
            eprintln!("skipped: {} is not installed", $program);
            return;
        }
    };
}

/// A running registry; ends when dropped.
struct Registry {
    child: Child,
    name: String,
}

impl Registry {
    /// `http` and `auth` are lines of the configuration, indented as they must be.
    fn start(dir: &Path, http: &str, auth: &str) -> Self {
        // Somebody may take the port between our asking for a free one and the registry's bind.
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0")
                .and_then(|l| l.local_addr())
                .unwrap()
                .port();
            let name = format!("127.0.0.1:{port}");
            let config = format!(
                "version: 0.1\nlog:\n  level: error\n  accesslog:\n    disabled: true\nstorage:\n  filesystem:\n    rootdirectory: {root}\nhttp:\n  addr: {name}\n{http}{auth}",
                root = dir.join("root").display(),
            );
            let file = dir.join(format!("config-{port}.yml"));
            fs::write(&file, config).unwrap();
            let mut child = Command::new(REGISTRY)
                .arg("serve")
                .arg(&file)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(fs::File::create(dir.join("log")).unwrap())
                .spawn()
                .unwrap();
            let end = Instant::now() + Duration::from_secs(60);
            while Instant::now() < end && child.try_wait().unwrap().is_none() {
                if TcpStream::connect(&name).is_ok() {
                    return Self { child, name };
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        panic!(
            "the registry does not start: {}",
            fs::read_to_string(dir.join("log")).unwrap()
        );
    }

    fn reference(&self, rest: &str) -> Reference {
        format!("{}/{rest}", self.name).parse().unwrap()
    }

    /// One request, by hand: status and headers.
    fn raw(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> (u16, String) {
        let mut s = TcpStream::connect(&self.name).unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n",
            self.name,
            body.len()
        );
        s.write_all(head.as_bytes()).unwrap();
        s.write_all(body).unwrap();
        let mut reply = Vec::new();
        s.read_to_end(&mut reply).unwrap();
        let reply = String::from_utf8_lossy(&reply).into_owned();
        (reply[9..12].parse().unwrap(), reply)
    }

    fn push_blob(&self, repository: &str, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        let path = format!("/v2/{repository}/blobs/uploads/");
        let (status, reply) = self.raw("POST", &path, "", b"");
        assert_eq!(status, 202, "{reply}");
        let location = reply
            .lines()
            .find_map(|l| l.strip_prefix("Location: "))
            .unwrap();
        let path = location
            .strip_prefix(&format!("http://{}", self.name))
            .unwrap();
        let path = format!("{path}&digest={digest}");
        let octets = "Content-Type: application/octet-stream\r\n";
        let (status, reply) = self.raw("PUT", &path, octets, bytes);
        assert_eq!(status, 201, "{reply}");
        digest
    }

    /// An image of one layer; its manifest.
    fn push_image(&self, repository: &str, layer: &[u8]) -> Vec<u8> {
        let config =
            br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#;
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"{m}","config":{{"mediaType":"{c}","digest":"{cd}","size":{cs}}},"layers":[{{"mediaType":"{l}","digest":"{ld}","size":{ls}}}]}}"#,
            m = media::OCI_MANIFEST,
            c = media::OCI_CONFIG,
            cd = self.push_blob(repository, config),
            cs = config.len(),
            l = media::OCI_LAYER,
            ld = self.push_blob(repository, layer),
            ls = layer.len(),
        );
        let (status, reply) = self.raw(
            "PUT",
            &format!("/v2/{repository}/manifests/1"),
            &format!("Content-Type: {}\r\n", media::OCI_MANIFEST),
            manifest.as_bytes(),
        );
        assert_eq!(status, 201, "{reply}");
        manifest.into_bytes()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn layer() -> Vec<u8> {
    (0..500_000u32).flat_map(u32::to_le_bytes).collect()
}

fn read(client: &Client, r: &Reference, all: &[u8], offset: usize) -> Vec<u8> {
    let d = Digest::of(all);
    let mut blob = client.blob(r, &d, all.len() as u64, offset as u64).unwrap();
    let mut got = Vec::new();
    blob.read_to_end(&mut got).unwrap();
    got
}

#[test]
fn pull_from_a_plain_registry() {
    need!(REGISTRY);
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::start(dir.path(), "", "");
    let layer = layer();
    let manifest = registry.push_image("a/b", &layer);
    let client = Client::new(Options::default());

    let r = registry.reference("a/b:1");
    let got = client.manifest(&r).unwrap();
    assert_eq!(got.bytes, manifest);
    assert_eq!(got.media_type.as_deref(), Some(media::OCI_MANIFEST));
    assert_eq!(got.digest, Digest::of(&manifest));
    let pinned = r.with_digest(got.digest.clone());
    assert_eq!(client.manifest(&pinned).unwrap(), got);

    assert!(read(&client, &r, &layer, 0) == layer);
    assert!(read(&client, &r, &layer, 1_234_567) == layer[1_234_567..]);

    for (missing, word) in [("a/b:2", "manifest unknown"), ("a/c:1", "is not there")] {
        let e = client.manifest(&registry.reference(missing)).unwrap_err();
        assert!(matches!(e, Error::NotFound { .. }), "{e:?}");
        assert!(e.to_string().contains(word), "{e}");
    }
    let e = client.blob(&r, &Digest::of(b"no"), 2, 0).unwrap_err();
    assert!(matches!(e, Error::NotFound { .. }), "{e:?}");
    let e = client
        .blob(&r, &Digest::of(&layer), layer.len() as u64 + 1, 0)
        .unwrap_err();
    assert!(matches!(e, Error::Size { .. }), "{e:?}");
}

#[test]
fn pull_with_a_login() {
    need!(REGISTRY);
    let dir = tempfile::tempdir().unwrap();
    let layer = layer();
    Registry::start(dir.path(), "", "").push_image("a/b", &layer);
    let htpasswd = dir.path().join("htpasswd");
    fs::write(&htpasswd, HTPASSWD).unwrap();
    let auth = format!(
        "auth:\n  htpasswd:\n    realm: test\n    path: {}\n",
        htpasswd.display()
    );
    let registry = Registry::start(dir.path(), "", &auth);
    let r = registry.reference("a/b:1");
    let client = |password: Option<&str>| {
        let credentials = match password {
            Some(p) => Credentials::one(
                r.registry(),
                Login::Password {
                    user: "me".into(),
                    password: p.into(),
                },
            ),
            None => Credentials::none(),
        };
        Client::new(Options {
            credentials,
            ..Options::default()
        })
    };
    let good = client(Some("s3cret"));
    good.manifest(&r).unwrap();
    assert!(read(&good, &r, &layer, 0) == layer);
    for bad in [client(Some("wrong")), client(None)] {
        let e = bad.manifest(&r).unwrap_err();
        assert!(matches!(e, Error::LoginNeeded { .. }), "{e:?}");
    }
}

/// A certificate authority and a certificate for 127.0.0.1 signed by it.
fn certificates(dir: &Path) -> PathBuf {
    let openssl = |args: &str| {
        let done = Command::new("openssl")
            .args(args.split(' '))
            .current_dir(dir)
            .output()
            .unwrap();
        assert!(
            done.status.success(),
            "openssl {args}: {}",
            String::from_utf8_lossy(&done.stderr)
        );
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(&format!(
        "req -x509 {key} -keyout ca.key -out ca.pem -subj /CN=ca -days 2"
    ));
    openssl(&format!(
        "req {key} -keyout leaf.key -out leaf.csr -subj /CN=leaf"
    ));
    fs::write(
        dir.join("ext"),
        "subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n",
    )
    .unwrap();
    openssl(
        "x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out leaf.pem -days 2 -extfile ext",
    );
    dir.join("ca.pem")
}

/// A certificate for a client, `client.pem` and `client.key`, signed by the same authority.
fn client_certificate(dir: &Path) {
    for args in [
        "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout client.key -out client.csr -subj /CN=me",
        "x509 -req -in client.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out client.pem -days 2 -extfile ext",
    ] {
        let done = Command::new("openssl")
            .args(args.split(' '))
            .current_dir(dir)
            .output()
            .unwrap();
        assert!(done.status.success(), "openssl {args}");
    }
}

/// A client that looks for certificates below this directory.
fn with_certs(certs: Certs) -> Client {
    Client::new(Options {
        certs,
        retries: 1,
        ..Options::default()
    })
}

#[test]
fn certificates_of_one_registry() {
    need!(REGISTRY);
    need!("/usr/bin/openssl");
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let layer = layer();
    Registry::start(dir.path(), "", "").push_image("a/b", &layer);
    certificates(dir.path());
    client_certificate(dir.path());
    // It wants to see a certificate.
    let tls = format!(
        "  tls:\n    certificate: {0}/leaf.pem\n    key: {0}/leaf.key\n    clientcas: [{0}/ca.pem]\n",
        dir.path().display()
    );
    let registry = Registry::start(dir.path(), &tls, "");
    let r = registry.reference("a/b:1");
    let own = at("certs.d").join(&registry.name);
    fs::create_dir_all(&own).unwrap();
    let by_host = || with_certs(Certs::ByHost(vec![at("none"), at("certs.d")]));

    let e = by_host().manifest(&r).unwrap_err();
    assert!(matches!(e, Error::Tls { .. }), "{e:?}");
    // Trusted, and not yet known.
    fs::copy(at("ca.pem"), own.join("ca.crt")).unwrap();
    let e = by_host().manifest(&r).unwrap_err();
    assert!(
        matches!(e, Error::Tls { .. } | Error::Broken { .. }),
        "{e:?}"
    );
    fs::copy(at("client.pem"), own.join("me.cert")).unwrap();
    let e = by_host().manifest(&r).unwrap_err();
    assert!(e.to_string().contains("me.key"), "{e}");
    fs::copy(at("client.key"), own.join("me.key")).unwrap();
    let client = by_host();
    client.manifest(&r).unwrap();
    assert!(read(&client, &r, &layer, 0) == layer);
    // The same by the name of the directory; and what is for one registry is for no other.
    with_certs(Certs::Only(own.clone())).manifest(&r).unwrap();
    fs::rename(&own, at("certs.d").join("other.test")).unwrap();
    let e = by_host().manifest(&r).unwrap_err();
    assert!(matches!(e, Error::Tls { .. }), "{e:?}");
    // A client certificate is shown also where nothing is checked.
    let mine = at("mine");
    fs::create_dir(&mine).unwrap();
    fs::copy(at("client.pem"), mine.join("me.cert")).unwrap();
    fs::copy(at("client.key"), mine.join("me.key")).unwrap();
    Client::new(Options {
        certs: Certs::Only(mine.clone()),
        tls_verify: false,
        ..Options::default()
    })
    .manifest(&r)
    .unwrap();
    fs::write(mine.join("me.key"), "nonsense").unwrap();
    let e = with_certs(Certs::Only(mine)).manifest(&r).unwrap_err();
    assert!(e.to_string().contains("private key"), "{e}");
}

/// What the child process of the TLS test is asked to pull, and from where.
const CHILD: &str = "CORACLE_TEST_PULL";

#[test]
fn tls_is_checked_against_the_site_s_authorities() {
    need!(REGISTRY);
    need!("/usr/bin/openssl");
    let dir = tempfile::tempdir().unwrap();
    let layer = layer();
    Registry::start(dir.path(), "", "").push_image("a/b", &layer);
    let ca = certificates(dir.path());
    let tls = format!(
        "  tls:\n    certificate: {0}/leaf.pem\n    key: {0}/leaf.key\n",
        dir.path().display()
    );
    let registry = Registry::start(dir.path(), &tls, "");
    let r = registry.reference("a/b:1");

    let e = Client::new(Options::default()).manifest(&r).unwrap_err();
    assert!(matches!(e, Error::Tls { .. }), "{e:?}");
    assert!(e.hint().unwrap().contains("SSL_CERT_FILE"));

    let trusting = Client::new(Options {
        tls_verify: false,
        ..Options::default()
    });
    trusting.manifest(&r).unwrap();
    assert!(read(&trusting, &r, &layer, 100) == layer[100..]);

    assert_eq!(pull_in_child(&r, &ca), "ok");

    // The same registry, but it wants a token from a service that speaks plain http.
    let service = TcpListener::bind("127.0.0.1:0").unwrap();
    service.set_nonblocking(true).unwrap();
    let auth = format!(
        "auth:\n  token:\n    realm: http://{}/token\n    service: s\n    issuer: i\n    rootcertbundle: {}\n",
        service.local_addr().unwrap(),
        ca.display()
    );
    let registry = Registry::start(dir.path(), &tls, &auth);
    let said = pull_in_child(&registry.reference("a/b:1"), &ca);
    assert!(said.starts_with("RealmNotHttps"), "{said}");
    assert!(service.accept().is_err(), "the service was spoken to");
}

/// Pull in a process of its own: the authorities come from its environment.
fn pull_in_child(r: &Reference, ca: &Path) -> String {
    let done = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "pull_as_child", "--nocapture"])
        .env(CHILD, r.to_string())
        .env("SSL_CERT_FILE", ca)
        .env_remove("SSL_CERT_DIR")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&done.stderr).into_owned();
    let said = text.lines().find_map(|l| l.strip_prefix("child: "));
    said.unwrap_or_else(|| panic!("{text}")).to_owned()
}

/// Does nothing unless [`pull_in_child`] started it.
#[test]
fn pull_as_child() {
    let Ok(r) = std::env::var(CHILD) else {
        return;
    };
    match Client::new(Options::default()).manifest(&r.parse().unwrap()) {
        Ok(_) => eprintln!("child: ok"),
        Err(e) => eprintln!("child: {e:?}"),
    }
}
