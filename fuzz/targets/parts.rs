//! A bundle's parts, one after the other.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidecast_proto::bundle::{FilePart, Header, PartHeader, PartKind, RunPart, put_part};

fuzz_target!(|bytes: &[u8]| {
    let mut rest = bytes;
    while let Ok(Some((header, used))) = PartHeader::parse(rest) {
        let Some(body) = rest.get(used..used + header.body_bytes) else {
            return;
        };
        let again = match header.kind {
            PartKind::HEADER => Header::decode(body).map(|it| it.encode()),
            PartKind::FILE => FilePart::decode(body).map(|it| it.encode()),
            PartKind::RUN => RunPart::decode(body).map(|it| it.encode()),
            _ => Ok(body.to_vec()),
        };
        let Ok(again) = again else { return };
        assert_eq!(again, body);
        let mut part = Vec::new();
        put_part(header.kind, body, &mut part);
        assert_eq!(part, rest[..part.len()]);
        rest = &rest[part.len()..];
    }
});
