//! An HTTP client that keeps its connection and survives its server.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::support::http::{Response, split_head, status_of};

/// How long a server on a busy machine may take for one answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Broken {
    /// Nobody listens, or the connection ended before the first byte of an answer.
    Down,
    /// It ended amid an answer, which the client sees: fewer bytes came than were announced.
    Cut,
}

/// A client of 127.0.0.1.
#[derive(Debug)]
pub(crate) struct Connection {
    port: u16,
    stream: Option<TcpStream>,
}

impl Connection {
    pub(crate) fn to(port: u16) -> Self {
        Self { port, stream: None }
    }

    /// Makes the next request go over a new connection.
    pub(crate) fn hang_up(&mut self) {
        self.stream = None;
    }

    /// Asks for `target` with additional header lines.
    pub(crate) fn ask(&mut self, target: &str, headers: &[String]) -> Result<Response, Broken> {
        // A server may close a connection that was idle, or that has carried enough.
        if self.stream.is_some() {
            match self.ask_once(target, headers) {
                Err(Broken::Down) => {}
                answered => return answered,
            }
        }
        let address = SocketAddr::from(([127, 0, 0, 1], self.port));
        let stream = TcpStream::connect(address).map_err(|_| Broken::Down)?;
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        self.stream = Some(stream);
        self.ask_once(target, headers)
    }

    fn ask_once(&mut self, target: &str, headers: &[String]) -> Result<Response, Broken> {
        let mut stream = self.stream.take().ok_or(Broken::Down)?;
        let mut request = format!("GET {target} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n", self.port);
        for header in headers {
            request.push_str(header);
            request.push_str("\r\n");
        }
        request.push_str("\r\n");
        stream
            .write_all(request.as_bytes())
            .map_err(|_| Broken::Down)?;
        let mut answer = Vec::new();
        let response = match receive(&mut stream, &mut answer) {
            Ok(response) => response,
            Err(_) if answer.is_empty() => return Err(Broken::Down),
            Err(_) => return Err(Broken::Cut),
        };
        if response.header("connection") != Some("close") {
            self.stream = Some(stream);
        }
        Ok(response)
    }
}

/// Reads one answer with a length; `answer` keeps what came, also of one that broke off.
fn receive(stream: &mut TcpStream, answer: &mut Vec<u8>) -> io::Result<Response> {
    let mut piece = [0; 64 * 1024];
    loop {
        if let Some((head, body)) = split_head(answer) {
            let mut lines = head.lines();
            let status = status_of(lines.next().unwrap_or_default());
            let headers: Vec<(String, String)> = lines
                .filter_map(|line| line.split_once(": "))
                .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
                .collect();
            let response = Response {
                status,
                headers,
                body: Vec::new(),
            };
            let length = response.header("content-length");
            let length: usize = length.and_then(|text| text.parse().ok()).unwrap_or(0);
            if body.len() >= length {
                assert_eq!(body.len(), length, "more than one answer came");
                let body = body.to_vec();
                return Ok(Response { body, ..response });
            }
        }
        let read = stream.read(&mut piece)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        answer.extend_from_slice(&piece[..read]);
    }
}
