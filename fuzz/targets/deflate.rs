//! A deflate stream: refused or opened, whole or in pieces, as flate2 judges it.
#![no_main]

use std::io::Read;

use libfuzzer_sys::fuzz_target;
use tidecast_proto::deflate::{Batch, ParseError, ParseFault, Parser, Status};

const PLAIN_BYTES_MAX: u64 = 1 << 20;

fn open(packed: &[u8], piece: usize) -> Result<Vec<u8>, ParseError> {
    let mut parser = Parser::with_limit(PLAIN_BYTES_MAX);
    let mut batch = Batch::default();
    let mut plain = Vec::new();
    let (mut at, mut end) = (0, 0);
    loop {
        batch.clear();
        let step = parser.advance(&packed[at..end], &mut batch)?;
        at += step.consumed;
        if !step.stored {
            let expanded: usize = batch.tokens.iter().map(|token| token.plain_bytes()).sum();
            assert_eq!(expanded, batch.plain.len());
        }
        plain.extend_from_slice(&batch.plain);
        match step.status {
            Status::End => {
                assert_eq!(parser.finish()?.packed_bytes, at as u64);
                return Ok(plain);
            }
            Status::NeedInput if end == packed.len() => {
                parser.finish()?;
                unreachable!("a stream that wants more has not ended");
            }
            Status::NeedInput => end = packed.len().min(end + piece),
            Status::More => {}
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let whole = open(bytes, bytes.len().max(1));
    match (&whole, open(bytes, 3)) {
        (Ok(plain), pieces) => assert_eq!(Ok(plain), pieces.as_ref()),
        (Err(_), pieces) => assert!(pieces.is_err()),
    }
    let mut theirs = Vec::new();
    let read = flate2::read::DeflateDecoder::new(bytes)
        .take(PLAIN_BYTES_MAX + 1)
        .read_to_end(&mut theirs);
    match whole {
        Ok(plain) => {
            assert!(read.is_ok());
            assert_eq!(plain, theirs);
        }
        Err(error) if matches!(error.fault, ParseFault::TooLarge { .. }) => {}
        Err(error) => assert!(read.is_err(), "{error}"),
    }
});
