//! Access log lines in Apache's "combined" form. SPEC §9.8.

use std::io::Write;
use std::net::IpAddr;

use http::HeaderValue;

use super::respond::http_date;
use super::stats::FileKind;

/// Longest request line, referer or user agent that is logged, in bytes before escaping; the rest
/// is cut off. Together with the escapes this keeps a line under 13 KiB.
const FIELD_BYTES_MAX: usize = 1024;

/// What the checkers of the mirror network call themselves.
const MIRROR_CHECK: &[u8] = b"ClamAV-MirrorCheck";

/// One answered request, made when its last byte was sent or its connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessRecord {
    /// The client.
    pub remote: IpAddr,
    /// When the request's headers were complete, in Unix seconds.
    pub received_s: u64,
    /// `GET /daily.cvd HTTP/1.1`, or empty where the request was not understood.
    pub request: String,
    /// The answer's status code.
    pub status: u16,
    /// Bytes of the body that the kernel took for the client, headers not counted.
    pub body_bytes: u64,
    /// Whether all of the answer was sent.
    pub complete: bool,
    /// The `Referer` header.
    pub referer: Option<HeaderValue>,
    /// The `User-Agent` header.
    pub user_agent: Option<HeaderValue>,
    /// What was asked for.
    pub kind: FileKind,
}

/// Takes a line per request.
///
/// Called on the server's task, so an implementation must not block for long.
pub trait AccessLog: Send + Sync {
    /// Takes one record.
    fn line(&self, record: &AccessRecord);
}

impl AccessRecord {
    /// Whether a checker of the mirror network asked, which statistics leave out.
    #[must_use]
    pub fn is_mirror_check(&self) -> bool {
        self.user_agent
            .as_ref()
            .is_some_and(|agent| agent.as_bytes().starts_with(MIRROR_CHECK))
    }

    /// Appends the record as one line of Apache's `combined` format, newline included. Times are
    /// UTC; user names are not known and `-`, as are zero bytes (Apache's `%b`).
    pub fn write_combined(&self, line: &mut Vec<u8>) {
        // Writing to a Vec cannot fail.
        let _ = write!(line, "{} - - [", self.remote);
        write_time(line, self.received_s);
        line.extend_from_slice(b"] ");
        write_quoted(line, Some(self.request.as_bytes()));
        let _ = write!(line, " {} ", self.status);
        if self.body_bytes == 0 {
            line.push(b'-');
        } else {
            let _ = write!(line, "{}", self.body_bytes);
        }
        for header in [&self.referer, &self.user_agent] {
            line.push(b' ');
            write_quoted(line, header.as_ref().map(HeaderValue::as_bytes));
        }
        line.push(b'\n');
    }
}

/// `10/Oct/2000:13:55:36 +0000`, cut out of `Tue, 10 Oct 2000 13:55:36 GMT`.
fn write_time(line: &mut Vec<u8>, unix_s: u64) {
    let date = http_date(unix_s);
    let mut words = date.split(' ').skip(1);
    for (separator, word) in ["", "/", "/", ":"].iter().zip(&mut words) {
        line.extend_from_slice(separator.as_bytes());
        line.extend_from_slice(word.as_bytes());
    }
    line.extend_from_slice(b" +0000");
}

/// Escapes as Apache's `ap_escape_logitem` does, so that no client can forge a line or end a quote.
fn write_quoted(line: &mut Vec<u8>, field: Option<&[u8]>) {
    line.push(b'"');
    match field {
        None | Some([]) => line.push(b'-'),
        Some(bytes) => {
            for &byte in bytes.iter().take(FIELD_BYTES_MAX) {
                match byte {
                    b'"' | b'\\' => line.extend_from_slice(&[b'\\', byte]),
                    b'\n' => line.extend_from_slice(b"\\n"),
                    b'\r' => line.extend_from_slice(b"\\r"),
                    b'\t' => line.extend_from_slice(b"\\t"),
                    0x08 => line.extend_from_slice(b"\\b"),
                    0x0b => line.extend_from_slice(b"\\v"),
                    b' '..=b'~' => line.push(byte),
                    _ => {
                        let _ = write!(line, "\\x{byte:02x}");
                    }
                }
            }
        }
    }
    line.push(b'"');
}

#[cfg(test)]
impl AccessRecord {
    pub(super) fn sample() -> Self {
        Self {
            remote: IpAddr::from([192, 0, 2, 7]),
            received_s: 971_186_136,
            request: "GET /daily.cvd HTTP/1.1".to_owned(),
            status: 206,
            body_bytes: 512,
            complete: true,
            referer: None,
            user_agent: Some(HeaderValue::from_static("ClamAV/1.4.6 (OS: Linux)")),
            kind: FileKind::Database,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(record: &AccessRecord) -> String {
        let mut line = Vec::new();
        record.write_combined(&mut line);
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn a_line_is_apaches_combined_form() {
        assert_eq!(
            line(&AccessRecord::sample()),
            "192.0.2.7 - - [10/Oct/2000:13:55:36 +0000] \"GET /daily.cvd HTTP/1.1\" 206 512 \"-\" \
             \"ClamAV/1.4.6 (OS: Linux)\"\n"
        );
    }

    #[test]
    fn no_body_and_no_request_are_dashes() {
        let record = AccessRecord {
            request: String::new(),
            status: 400,
            body_bytes: 0,
            user_agent: None,
            ..AccessRecord::sample()
        };
        assert_eq!(
            line(&record),
            "192.0.2.7 - - [10/Oct/2000:13:55:36 +0000] \"-\" 400 - \"-\" \"-\"\n"
        );
    }

    #[test]
    fn quotes_control_and_high_bytes_cannot_forge_a_line() {
        let agent = HeaderValue::from_bytes(b"a\"b\\c\td\xc3\xa4").unwrap();
        let record = AccessRecord {
            user_agent: Some(agent),
            request: "GET /\u{7f}\n HTTP/1.1".to_owned(),
            ..AccessRecord::sample()
        };
        let line = line(&record);
        assert!(line.contains(r#""GET /\x7f\n HTTP/1.1""#), "{line}");
        assert!(line.ends_with("\"a\\\"b\\\\c\\td\\xc3\\xa4\"\n"), "{line}");
        assert_eq!(line.matches('\n').count(), 1);
    }

    #[test]
    fn a_line_is_bounded_whatever_the_client_sends() {
        let long = "\u{1}".repeat(100_000);
        let record = AccessRecord {
            request: long,
            referer: Some(HeaderValue::from_bytes(&[0xff; 9000]).unwrap()),
            user_agent: Some(HeaderValue::from_bytes(&[0xff; 9000]).unwrap()),
            ..AccessRecord::sample()
        };
        assert!(line(&record).len() < 13 * 1024);
    }
}
