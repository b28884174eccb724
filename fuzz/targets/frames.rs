//! A stream of frames: header, then body as a request and as an answer.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidecast_proto::wire::{Answer, FRAME_HEADER_BYTES, FrameType, Request, frame, parse_header};

fuzz_target!(|bytes: &[u8]| {
    let mut rest = bytes;
    while let Some((header, behind)) = rest.split_first_chunk::<FRAME_HEADER_BYTES>() {
        let Ok((kind, len)) = parse_header(*header) else {
            return;
        };
        let Some((body, behind)) = behind.split_at_checked(len) else {
            return;
        };
        rest = behind;
        if let Ok(request) = Request::decode(kind, body) {
            assert_eq!(request.to_frame(), frame(kind, body));
        }
        match Answer::decode(kind, body.to_vec()) {
            Ok(Answer::Object(header)) => assert_eq!(header.to_frame(), frame(kind, body)),
            Ok(Answer::Wait(wait)) => assert_eq!(wait.to_frame(), frame(kind, body)),
            Ok(Answer::Chunk { body: kept, .. } | Answer::Part(kept)) => assert_eq!(kept, body),
            Ok(Answer::Absent) => assert_eq!(kind, FrameType::ABSENT),
            _ => (),
        }
    }
});
