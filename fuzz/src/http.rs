//! What HTTP clients send, behind hyper.

use ::http::header::{
    IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, REFERER, USER_AGENT,
};
use ::http::{HeaderMap, HeaderValue};
use tidecast_engine::foreign;
use tidecast_engine::http::{AccessRecord, FileKind};

/// Request targets: whatever name comes out leads nowhere but below the docroot, and to nothing hidden.
pub fn http_target(bytes: &[u8]) {
    let Ok(target) = core::str::from_utf8(bytes) else {
        return;
    };
    let Some((name, local)) = foreign::request_path(target) else {
        return;
    };
    assert!(target.starts_with('/'));
    if name.is_empty() {
        return;
    }
    assert!(!name.contains(['\0', '\\']));
    assert!(
        name.split('/')
            .all(|part| !part.is_empty() && !part.starts_with('.'))
    );
    assert_eq!(local, name.starts_with("local_"));
    // A name asks for itself, once its percent signs are spelled out.
    let plain = format!("/{}", name.replace('%', "%25"));
    assert_eq!(foreign::request_path(&plain), Some((name, local)));
}

/// `Range` headers behind a byte that is the file's size, as a power of two: what is sent lies within the file.
pub fn http_range(bytes: &[u8]) {
    let [size, header @ ..] = bytes else {
        return;
    };
    let Ok(header) = core::str::from_utf8(header) else {
        return;
    };
    let size = 1_u64.checked_shl(u32::from(*size)).unwrap_or(0);
    if let Some(part) = foreign::range(header, size) {
        assert!(part.start < part.end || (size == 0 && part.is_empty()));
        assert!(part.end <= size);
    }
}

const NAMES: [::http::HeaderName; 7] = [
    IF_MATCH,
    IF_NONE_MATCH,
    IF_MODIFIED_SINCE,
    IF_UNMODIFIED_SINCE,
    IF_RANGE,
    REFERER,
    USER_AGENT,
];

/// Conditional headers, and what of a request goes into the access log: a line each, whose first byte chooses the header.
/// Nobody is refused but by the headers that may do so, and no request makes a second line.
pub fn http_headers(bytes: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n').take(16) {
        if let [choice, value @ ..] = line
            && let Ok(value) = HeaderValue::from_bytes(value)
        {
            headers.append(&NAMES[usize::from(*choice) % NAMES.len()], value);
        }
    }
    let (status, range) = foreign::conditions(&headers, &[0xab; 32], 784_111_777);
    let has = |names: &[::http::HeaderName]| names.iter().any(|name| headers.contains_key(name));
    match status {
        200 => {}
        304 => assert!(has(&[IF_NONE_MATCH, IF_MODIFIED_SINCE])),
        412 => assert!(has(&[IF_MATCH, IF_UNMODIFIED_SINCE])),
        other => panic!("{other}"),
    }
    assert!(range || has(&[IF_RANGE]));

    let record = AccessRecord {
        remote: [192, 0, 2, 1].into(),
        received_s: 784_111_777,
        request: String::from_utf8_lossy(bytes).into_owned(),
        status,
        body_bytes: bytes.len() as u64,
        complete: range,
        referer: headers.get(REFERER).cloned(),
        user_agent: headers.get(USER_AGENT).cloned(),
        kind: FileKind::Other,
    };
    let mut line = Vec::new();
    record.write_combined(&mut line);
    assert!(line.len() < 13 * 1024);
    let end = line.pop();
    assert_eq!(end, Some(b'\n'));
    assert!(line.iter().all(|byte| (b' '..=b'~').contains(byte)));
    let bare = line.iter().enumerate().filter(|(at, byte)| {
        let escapes = line[..*at]
            .iter()
            .rev()
            .take_while(|b| **b == b'\\')
            .count();
        **byte == b'"' && escapes % 2 == 0
    });
    assert_eq!(bare.count(), 6, "{}", line.escape_ascii());
}
