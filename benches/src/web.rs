//! A web server that counts: what tools that fetch over HTTP are served by.
//!
//! It knows what those tools ask for: GET, one range or several (answered as `multipart/byteranges`, RFC 9110 section
//! 14.6), and connections that stay open.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};

/// Longest line of a request: zsync asks for many ranges at once.
const LINE_BYTES_MAX: u64 = 64 * 1024;
/// A connection on which nothing comes for so long is closed.
const IDLE: Duration = Duration::from_secs(10);
const BOUNDARY: &str = "tidecast-bench-part";

/// A server for one folder. Its threads end with the process.
#[derive(Debug)]
pub(crate) struct Web {
    port: u16,
    bytes: Arc<AtomicU64>,
}

impl Web {
    /// Serves `folder` on a port of its own.
    pub(crate) fn serve(folder: &Path) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let bytes = Arc::new(AtomicU64::new(0));
        let (folder, counter) = (folder.to_owned(), Arc::clone(&bytes));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (folder, counter) = (folder.clone(), Arc::clone(&counter));
                // A client that hangs up early ends its own thread only.
                std::thread::spawn(move || converse(&stream, &folder, &counter));
            }
        });
        Ok(Self { port, bytes })
    }

    /// Address of a file in the folder.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.port)
    }

    /// TCP payload so far, both ways.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::SeqCst)
    }
}

/// Counts what passes, where it passes.
struct Counted<'a, S> {
    stream: S,
    bytes: &'a AtomicU64,
}

impl<S: Read> Read for Counted<'_, S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.stream.read(buffer)?;
        self.bytes.fetch_add(read as u64, Ordering::SeqCst);
        Ok(read)
    }
}

impl<S: Write> Write for Counted<'_, S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.stream.write(bytes)?;
        self.bytes.fetch_add(written as u64, Ordering::SeqCst);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

fn converse(stream: &TcpStream, folder: &Path, bytes: &AtomicU64) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(IDLE))?;
    let mut requests = BufReader::new(Counted { stream, bytes });
    let mut out = Counted { stream, bytes };
    while let Some(request) = Request::read(&mut requests)? {
        answer(&request, folder, &mut out)?;
        if request.close {
            break;
        }
    }
    Ok(())
}

struct Request {
    head: bool,
    path: String,
    range: Option<String>,
    close: bool,
}

impl Request {
    /// The next request, or `None` when the client has hung up.
    fn read(stream: &mut impl BufRead) -> io::Result<Option<Self>> {
        let first = line(stream)?;
        let mut words = first.split(' ');
        let (Some(method), Some(target)) = (words.next(), words.next()) else {
            return Ok(None);
        };
        let mut request = Self {
            head: method == "HEAD",
            path: target.split('?').next().unwrap_or_default().to_owned(),
            range: None,
            close: first.ends_with("HTTP/1.0"),
        };
        loop {
            let header = line(stream)?;
            if header.is_empty() {
                return Ok(Some(request));
            }
            let (name, value) = header.split_once(':').unwrap_or((&header, ""));
            match name.to_ascii_lowercase().as_str() {
                "range" => request.range = Some(value.trim().to_owned()),
                "connection" => request.close |= value.trim().eq_ignore_ascii_case("close"),
                _ => {}
            }
        }
    }
}

fn line(stream: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    stream.take(LINE_BYTES_MAX).read_line(&mut line)?;
    line.truncate(line.trim_end().len());
    Ok(line)
}

fn answer(request: &Request, folder: &Path, out: &mut impl Write) -> io::Result<()> {
    let Some((mut file, length)) = open(folder, &request.path) else {
        return out.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    };
    let ranges = request
        .range
        .as_deref()
        .and_then(|text| ranges(text, length));
    let body = |file: &mut File, out: &mut dyn Write, from: u64, bytes: u64| {
        if request.head {
            return Ok(());
        }
        file.seek(SeekFrom::Start(from))?;
        io::copy(&mut file.take(bytes), out).map(drop)
    };
    match ranges.as_deref() {
        None => {
            write_head(out, "200 OK", length, "Accept-Ranges: bytes\r\n")?;
            body(&mut file, out, 0, length)
        }
        Some([]) => {
            let extra = format!("Content-Range: bytes */{length}\r\n");
            write_head(out, "416 Range Not Satisfiable", 0, &extra)
        }
        Some([(from, to)]) => {
            let extra = format!("Content-Range: bytes {from}-{to}/{length}\r\n");
            write_head(out, "206 Partial Content", to - from + 1, &extra)?;
            body(&mut file, out, *from, to - from + 1)
        }
        Some(many) => {
            let part = |(from, to): &(u64, u64)| {
                format!(
                    "\r\n--{BOUNDARY}\r\nContent-Type: application/octet-stream\r\n\
                     Content-Range: bytes {from}-{to}/{length}\r\n\r\n"
                )
            };
            let end = format!("\r\n--{BOUNDARY}--\r\n");
            let sizes = many
                .iter()
                .map(|range| part(range).len() as u64 + range.1 - range.0 + 1);
            let total = sizes.sum::<u64>() + end.len() as u64;
            let extra = format!("Content-Type: multipart/byteranges; boundary={BOUNDARY}\r\n");
            write_head(out, "206 Partial Content", total, &extra)?;
            for range in many {
                out.write_all(part(range).as_bytes())?;
                body(&mut file, out, range.0, range.1 - range.0 + 1)?;
            }
            out.write_all(end.as_bytes())
        }
    }
}

fn write_head(out: &mut impl Write, status: &str, length: u64, extra: &str) -> io::Result<()> {
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{extra}\r\n");
    out.write_all(head.as_bytes())
}

/// A file below `folder`, with its length.
fn open(folder: &Path, path: &str) -> Option<(File, u64)> {
    let relative = PathBuf::from(path.trim_start_matches('/'));
    let plain = |part: Component<'_>| matches!(part, Component::Normal(_));
    if !relative.components().all(plain) {
        return None;
    }
    let file = File::open(folder.join(relative)).ok()?;
    let meta = file.metadata().ok()?;
    meta.is_file().then_some((file, meta.len()))
}

/// The ranges asked for, inclusive, cut to the file; `None` when the header is not understood, which means all of it.
fn ranges(text: &str, length: u64) -> Option<Vec<(u64, u64)>> {
    let mut ranges = Vec::new();
    for range in text.strip_prefix("bytes=")?.split(',') {
        let (from, to) = range.trim().split_once('-')?;
        let last = length.checked_sub(1)?;
        let (from, to) = match (from, to) {
            ("", suffix) => (length.saturating_sub(suffix.parse().ok()?), last),
            (from, "") => (from.parse().ok()?, last),
            (from, to) => (from.parse().ok()?, to.parse::<u64>().ok()?.min(last)),
        };
        if from <= to {
            ranges.push((from, to));
        }
    }
    Some(ranges)
}

/// Reads two files beside each other and fails when they differ: no figure is worth anything otherwise.
pub(crate) fn ensure_equal(one: &Path, other: &Path) -> Result<()> {
    let read =
        |path: &Path| std::fs::read(path).with_context(|| format!("read {}", path.display()));
    anyhow::ensure!(
        read(one)? == read(other)?,
        "{} and {} differ",
        one.display(),
        other.display()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(web: &Web, head: &str) -> Vec<u8> {
        let mut stream = TcpStream::connect(("127.0.0.1", web.port)).unwrap();
        let request = format!("GET /file HTTP/1.1\r\n{head}Connection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        answer
    }

    #[test]
    fn ranges_are_cut_to_the_file() {
        assert_eq!(ranges("bytes=0-3,8-", 10), Some(vec![(0, 3), (8, 9)]));
        assert_eq!(ranges("bytes=-4", 10), Some(vec![(6, 9)]));
        assert_eq!(ranges("bytes=5-900", 10), Some(vec![(5, 9)]));
        assert_eq!(ranges("bytes=10-", 10), Some(vec![]));
        assert_eq!(ranges("lines=1-2", 10), None);
    }

    #[test]
    fn what_is_sent_and_received_is_counted_and_several_ranges_come_as_parts() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), b"0123456789").unwrap();
        let web = Web::serve(folder.path()).unwrap();
        let whole = ask(&web, "");
        assert!(whole.ends_with(b"\r\n\r\n0123456789"));
        let asked = b"GET /file HTTP/1.1\r\nConnection: close\r\n\r\n".len();
        assert_eq!(web.bytes(), (whole.len() + asked) as u64);

        let parts = String::from_utf8(ask(&web, "Range: bytes=0-1,4-6\r\n")).unwrap();
        let (head, body) = parts.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 206 "));
        assert!(head.contains(&format!("Content-Length: {}", body.len())));
        assert!(body.contains("bytes 0-1/10\r\n\r\n01\r\n--"));
        assert!(body.contains("bytes 4-6/10\r\n\r\n456\r\n--"));
    }
}
