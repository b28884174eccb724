//! Stands between a client and a server and writes down what they said.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::http::{split_head, status_of};

/// Longest request head taken in, in bytes; clients send a few hundred.
const HEAD_MAX: usize = 64 * 1024;

/// One request and its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Exchange {
    /// Path and query.
    pub(crate) target: String,
    pub(crate) range: Option<String>,
    pub(crate) if_modified_since: Option<String>,
    pub(crate) user_agent: Option<String>,
    /// 0 when the server closed without an answer.
    pub(crate) status: u16,
    /// Bytes of the body that passed.
    pub(crate) body_bytes: usize,
}

/// `/test.cvd R I -> 206/512`: **R** for `bytes=0-511`, any other range in full, **I** for a
/// condition, then status and length of the body.
impl fmt::Display for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.target)?;
        match self.range.as_deref() {
            Some("bytes=0-511") => f.write_str(" R")?,
            Some(range) => write!(f, " R({range})")?,
            None => {}
        }
        if self.if_modified_since.is_some() {
            f.write_str(" I")?;
        }
        write!(f, " -> {}/{}", self.status, self.body_bytes)
    }
}

impl Exchange {
    /// As [`fmt::Display`], with the date of the condition and without the length of an error page,
    /// which is each server's own affair: `/test.cvd R I(23 Jun 2021 01:34:05) -> 304/0`.
    pub(crate) fn row(&self) -> String {
        let row = self.to_string();
        let (request, answer) = row.split_once(" -> ").unwrap_or((&row, ""));
        let answer = match self.status {
            404 => "404",
            _ => answer,
        };
        let Some(date) = &self.if_modified_since else {
            return format!("{request} -> {answer}");
        };
        let date = date
            .split_once(", ")
            .map_or(date.as_str(), |(_, date)| date);
        let date = date.trim_end_matches(" GMT");
        format!("{request}({date}) -> {answer}")
    }
}

/// A relay on a port of its own. Its threads end with the test process.
#[derive(Debug)]
pub(crate) struct Relay {
    port: u16,
    log: Arc<Mutex<Vec<Exchange>>>,
}

impl Relay {
    /// Relays to 127.0.0.1:`upstream`. Each connection carries one request: the relay asks the
    /// server to close after it, as freshclam does anyway.
    pub(crate) fn to(upstream: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let log = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&log);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let log = Arc::clone(&shared);
                // A client that hangs up is no failure of the relay: what it asked stands in the log.
                std::thread::spawn(move || drop(carry(client, upstream, &log)));
            }
        });
        Self { port, log }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Everything said since the last call, in order of the requests.
    pub(crate) fn take(&self) -> Vec<Exchange> {
        std::mem::take(&mut *self.log.lock().unwrap())
    }

    /// [`Self::take`], each as an [`Exchange::row`].
    pub(crate) fn rows(&self) -> Vec<String> {
        self.take().iter().map(Exchange::row).collect()
    }

    /// [`Self::take`], each in its short form.
    pub(crate) fn take_short(&self) -> Vec<String> {
        self.take().iter().map(Exchange::to_string).collect()
    }
}

fn carry(mut client: TcpStream, upstream: u16, log: &Mutex<Vec<Exchange>>) -> io::Result<()> {
    client.set_read_timeout(Some(Duration::from_secs(20)))?;
    let request = read_head(&mut client)?;
    let Some((head, _)) = split_head(&request) else {
        return Ok(());
    };
    let header = |name: &str| {
        let mut lines = head.lines().filter_map(|line| line.split_once(": "));
        let found = lines.find(|(have, _)| have.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.to_owned())
    };
    let exchange = Exchange {
        target: head.split(' ').nth(1).unwrap_or_default().to_owned(),
        range: header("range"),
        if_modified_since: header("if-modified-since"),
        user_agent: header("user-agent"),
        status: 0,
        body_bytes: 0,
    };
    let index = {
        let mut log = log.lock().unwrap();
        log.push(exchange);
        log.len() - 1
    };

    let mut forwarded = String::new();
    for line in head.lines() {
        if !line.to_ascii_lowercase().starts_with("connection:") {
            forwarded.push_str(line);
            forwarded.push_str("\r\n");
        }
    }
    forwarded.push_str("Connection: close\r\n\r\n");
    let mut server = TcpStream::connect(("127.0.0.1", upstream))?;
    server.write_all(forwarded.as_bytes())?;
    let mut answer = Vec::new();
    let received = server.read_to_end(&mut answer);
    if let Some((head, body)) = split_head(&answer) {
        // Noted before the client sees the last byte, so that whoever waited for the client finds
        // a complete log.
        if let Some(exchange) = log.lock().unwrap().get_mut(index) {
            exchange.status = status_of(head.lines().next().unwrap_or_default());
            exchange.body_bytes = body.len();
        }
    }
    client.write_all(&answer)?;
    client.shutdown(Shutdown::Write)?;
    received.map(drop)
}

fn read_head(client: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut request = Vec::new();
    let mut piece = [0; 4096];
    while split_head(&request).is_none() && request.len() < HEAD_MAX {
        let read = client.read(&mut piece)?;
        if read == 0 {
            break;
        }
        request.extend_from_slice(&piece[..read]);
    }
    Ok(request)
}
