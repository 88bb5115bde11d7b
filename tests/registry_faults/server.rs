//! A small HTTP/1.1 server for tests that misbehaves on demand: real sockets on loopback, one thread
//! a connection, and a closure that writes whatever bytes it likes.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
    pub(crate) bytes: Vec<u8>,
    /// The body was not read to its end.
    pub(crate) cut: bool,
    /// How many requests came before this one, over all connections.
    pub(crate) index: usize,
    /// Which connection it came on.
    pub(crate) connection: u64,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.as_str())
    }

    /// The `Content-Length`.
    pub(crate) fn bytes_announced(&self) -> usize {
        self.header("content-length")
            .map_or(0, |n| n.parse().unwrap())
    }

    /// First byte of the `Range` header.
    pub(crate) fn from(&self) -> Option<usize> {
        let range = self.header("range")?.strip_prefix("bytes=")?;
        Some(range.split_once('-')?.0.parse().unwrap())
    }

    /// Last byte of the `Range` header, if it names one.
    pub(crate) fn last(&self) -> Option<usize> {
        let range = self.header("range")?.strip_prefix("bytes=")?;
        range.split_once('-')?.1.parse().ok()
    }
}

/// What becomes of the connection after a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    Keep,
    Close,
    /// Close with RST instead of FIN.
    Reset,
    /// Say no more until the client goes away.
    Hang,
}

/// The way back to the client. Errors are not shown: a client may go away at any time.
pub(crate) struct Out<'a> {
    stream: Option<&'a TcpStream>,
    sent: &'a AtomicU64,
}

impl Out<'_> {
    /// For an answer that nobody gets.
    pub(crate) fn nowhere() -> Self {
        static SENT: AtomicU64 = AtomicU64::new(0);
        Self {
            stream: None,
            sent: &SENT,
        }
    }

    /// Bytes as they are; whether the client still took them.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> bool {
        for part in bytes.chunks(64 << 10) {
            if (self.stream).is_some_and(|mut stream| stream.write_all(part).is_err()) {
                return false;
            }
            self.sent.fetch_add(part.len() as u64, Ordering::SeqCst);
        }
        true
    }

    /// A head without a length.
    pub(crate) fn head(&mut self, status: u16, headers: &[(&str, &str)]) {
        let mut head = format!("HTTP/1.1 {status} X\r\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        self.raw(head.as_bytes());
    }

    /// A reply to HEAD.
    pub(crate) fn head_only(&mut self, status: u16) -> After {
        self.head(status, &[("Content-Length", "0")]);
        After::Keep
    }

    /// A whole, correct reply.
    pub(crate) fn reply(&mut self, status: u16, headers: &[(&str, &str)], body: &[u8]) -> After {
        let length = body.len().to_string();
        let mut all = headers.to_vec();
        all.push(("Content-Length", &length));
        self.head(status, &all);
        self.raw(body);
        After::Keep
    }
}

/// For a request whose head has come: bytes of the body to be read, if not all.
type Cut = dyn Fn(&Asked) -> Option<usize> + Send + Sync;
type Handler = dyn Fn(&Asked, &mut Out<'_>) -> After + Send + Sync;

/// A running server; stops when dropped.
pub(crate) struct Server {
    addr: SocketAddr,
    state: Arc<State>,
}

struct State {
    handler: Box<Handler>,
    cut: Box<Cut>,
    asked: Mutex<Vec<Asked>>,
    sent: AtomicU64,
    connections: AtomicU64,
    stop: AtomicBool,
}

impl Server {
    pub(crate) fn start(
        handler: impl Fn(&Asked, &mut Out<'_>) -> After + Send + Sync + 'static,
    ) -> Server {
        Self::start_on(IpAddr::V4(Ipv4Addr::LOCALHOST), handler)
    }

    /// One that stops reading some bodies before their end.
    pub(crate) fn start_cutting(
        cut: impl Fn(&Asked) -> Option<usize> + Send + Sync + 'static,
        handler: impl Fn(&Asked, &mut Out<'_>) -> After + Send + Sync + 'static,
    ) -> Server {
        Self::start_with(IpAddr::V4(Ipv4Addr::LOCALHOST), cut, handler)
    }

    /// On an address of this machine.
    pub(crate) fn start_on(
        ip: IpAddr,
        handler: impl Fn(&Asked, &mut Out<'_>) -> After + Send + Sync + 'static,
    ) -> Server {
        Self::start_with(ip, |_| None, handler)
    }

    fn start_with(
        ip: IpAddr,
        cut: impl Fn(&Asked) -> Option<usize> + Send + Sync + 'static,
        handler: impl Fn(&Asked, &mut Out<'_>) -> After + Send + Sync + 'static,
    ) -> Server {
        let listener = TcpListener::bind((ip, 0)).unwrap();
        let addr = listener.local_addr().unwrap();
        let state = Arc::new(State {
            handler: Box::new(handler),
            cut: Box::new(cut),
            asked: Mutex::default(),
            sent: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        });
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.stop.load(Ordering::SeqCst) {
                    break;
                }
                let Ok(stream) = stream else { continue };
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || serve(&stream, &shared));
            }
        });
        Server { addr, state }
    }

    /// `127.0.0.1:PORT`.
    pub(crate) fn name(&self) -> String {
        self.addr.to_string()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    /// Every request so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.state.asked.lock().unwrap().clone()
    }

    /// Bytes sent so far.
    pub(crate) fn sent(&self) -> u64 {
        self.state.sent.load(Ordering::SeqCst)
    }

    /// Connections so far, also those that never spoke HTTP.
    pub(crate) fn connections(&self) -> u64 {
        self.state.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.addr);
    }
}

fn serve(stream: &TcpStream, state: &State) {
    let connection = state.connections.fetch_add(1, Ordering::SeqCst);
    let _ = stream.set_nodelay(true);
    let mut reader = BufReader::new(stream);
    loop {
        let Ok(mut asked) = read_request(&mut reader, &state.cut) else {
            return;
        };
        asked.connection = connection;
        {
            let mut all = state.asked.lock().unwrap();
            asked.index = all.len();
            all.push(asked.clone());
        }
        let mut out = Out {
            stream: Some(stream),
            sent: &state.sent,
        };
        match (state.handler)(&asked, &mut out) {
            After::Keep => {}
            After::Close => return,
            After::Reset => {
                rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO)).unwrap();
                return;
            }
            After::Hang => {
                let _ = io::copy(&mut reader, &mut io::sink());
                return;
            }
        }
    }
}

fn read_request(reader: &mut BufReader<&TcpStream>, cut: &Cut) -> io::Result<Asked> {
    let bad = || io::Error::from(io::ErrorKind::InvalidData);
    // A TLS hello ends here: it has no line end for long, so look at the first byte.
    if !reader
        .fill_buf()?
        .first()
        .is_some_and(u8::is_ascii_uppercase)
    {
        return Err(bad());
    }
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace();
    let (Some(method), Some(path)) = (words.next(), words.next()) else {
        return Err(bad());
    };
    let mut asked = Asked {
        method: method.to_owned(),
        path: path.to_owned(),
        headers: Vec::new(),
        body: String::new(),
        bytes: Vec::new(),
        cut: false,
        index: 0,
        connection: 0,
    };
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => asked
                .headers
                .push((name.to_owned(), value.trim().to_owned())),
            None => break,
        }
    }
    let length = asked.bytes_announced();
    let cut = cut(&asked).filter(|n| *n < length);
    asked.cut = cut.is_some();
    asked.bytes = vec![0; cut.unwrap_or(length)];
    reader.read_exact(&mut asked.bytes)?;
    asked.body = String::from_utf8_lossy(&asked.bytes).into_owned();
    Ok(asked)
}
