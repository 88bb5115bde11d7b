//! A registry that lies, stalls, cuts off and loops. Plain HTTP on loopback, one thread a connection.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::tarball::{Image, digest};

/// How a reply ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    Close,
    /// Say nothing more, and keep the connection.
    Stall,
    /// Break the connection with RST.
    Reset,
}

/// An HTTP reply, which need not be an honest one.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Content-Length, if it is not the length of the body.
    pub length: Option<u64>,
    /// Repeat the body so many times.
    pub times: u64,
    pub then: Then,
}

impl Reply {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.into(),
            length: None,
            times: 1,
            then: Then::Close,
        }
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Only the first `n` bytes, under the full Content-Length; then the connection stalls, breaks or
    /// closes.
    pub fn cut(mut self, n: usize, then: Then) -> Self {
        self.length = Some(self.body.len() as u64);
        self.body.truncate(n);
        self.then = then;
        self
    }
}

/// A running server; it stops when dropped.
#[derive(Debug)]
pub struct Evil {
    /// `host:port`
    pub address: String,
    stop: Arc<AtomicBool>,
    log: Arc<Mutex<Vec<String>>>,
}

impl Evil {
    /// Answer each request path with `answer`.
    pub fn new(answer: impl Fn(&str, &[String]) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let stop = Arc::new(AtomicBool::new(false));
        let log = Arc::new(Mutex::new(Vec::new()));
        let answer = Arc::new(answer);
        let (stopped, shared_log) = (Arc::clone(&stop), Arc::clone(&log));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                let (answer, log, stopped) = (
                    Arc::clone(&answer),
                    Arc::clone(&shared_log),
                    Arc::clone(&stopped),
                );
                std::thread::spawn(move || serve(stream, &*answer, &log, &stopped));
            }
        });
        Self { address, stop, log }
    }

    /// Serve an image under any name and tag; `tamper` may change what is sent for a path.
    pub fn image(
        image: Image,
        tamper: impl Fn(&str, Reply) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::new(move |path, _| {
            let reply = if path.contains("/manifests/") {
                Reply::new(200, image.manifest.clone())
                    .header("Content-Type", &image.media_type)
                    .header("Docker-Content-Digest", &digest(&image.manifest))
            } else if let Some((_, wanted)) = path.split_once("/blobs/") {
                match image.blob(wanted) {
                    Some(data) => Reply::new(200, data),
                    None => Reply::new(404, "{}"),
                }
            } else {
                Reply::new(200, "{}")
            };
            tamper(path, reply)
        })
    }

    /// Serve an image honestly.
    pub fn honest(image: Image) -> Self {
        Self::image(image, |_, reply| reply)
    }

    /// An image name at this server.
    pub fn name(&self) -> String {
        format!("{}/evil/image:latest", self.address)
    }

    /// Requests so far, as `METHOD PATH`.
    pub fn requests(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }
}

impl Drop for Evil {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes the accept loop.
        let _ = TcpStream::connect(&self.address);
    }
}

fn serve(
    stream: TcpStream,
    answer: &(dyn Fn(&str, &[String]) -> Reply + Send + Sync),
    log: &Mutex<Vec<String>>,
    stop: &AtomicBool,
) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            match reader.read_line(&mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) if line.trim().is_empty() => break,
                Ok(_) => head.push(line.trim().to_owned()),
            }
        }
        let Some(request) = head.first() else { return };
        let mut words = request.split(' ');
        let (method, path) = (
            words.next().unwrap_or(""),
            words.next().unwrap_or("").to_owned(),
        );
        log.lock().unwrap().push(format!("{method} {path}"));
        let head_only = method == "HEAD";
        let reply = answer(&path, &head[1..]);
        let length = reply
            .length
            .unwrap_or(reply.body.len() as u64 * reply.times);
        let mut text = format!(
            "HTTP/1.1 {} Reply\r\nContent-Length: {length}\r\n",
            reply.status
        );
        for (name, value) in &reply.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        let out = reader.get_mut();
        let mut sent = out.write_all(text.as_bytes());
        if !head_only {
            for _ in 0..reply.times {
                sent = sent.and_then(|()| out.write_all(&reply.body));
                if sent.is_err() {
                    return;
                }
            }
        }
        let _ = out.flush();
        match reply.then {
            // Truncated, or the client has what it wants: only an honest length can be followed by more.
            Then::Close if head_only || length == reply.body.len() as u64 * reply.times => {}
            Then::Close => return,
            Then::Stall => {
                while !stop.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(50));
                }
                return;
            }
            Then::Reset => {
                let linger = Some(Duration::ZERO);
                // Closing with unread or unsent data and no linger sends RST.
                let _ = rustix::net::sockopt::set_socket_linger(&*out, linger);
                return;
            }
        }
    }
}
