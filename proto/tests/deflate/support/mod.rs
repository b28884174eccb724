//! What the tests share.

pub(crate) mod inputs;
pub(crate) mod zlib;

use tidecast_proto::deflate::{Batch, ParseError, Parsed, Parser, Status, Step};

/// How often a random test repeats its quick form.
pub(crate) fn effort() -> u64 {
    std::env::var("TIDECAST_DEFLATE_CASES").map_or(1, |times| {
        times
            .parse()
            .expect("TIDECAST_DEFLATE_CASES is a whole number")
    })
}

/// Feeds a whole stream in pieces of `piece` bytes and shows every stretch; also returns what was read.
pub(crate) fn parse(
    packed: &[u8],
    plain_bytes_max: u64,
    piece: usize,
    mut stretch: impl FnMut(&Batch, &Step),
) -> Result<Parsed, ParseError> {
    let mut parser = Parser::with_limit(plain_bytes_max);
    let mut batch = Batch::default();
    let (mut at, mut end) = (0, piece.min(packed.len()));
    loop {
        batch.clear();
        let step = parser.advance(&packed[at..end], &mut batch)?;
        at += step.consumed;
        stretch(&batch, &step);
        match step.status {
            Status::More => {}
            Status::NeedInput => {
                assert_eq!(at, end, "all input is consumed before more is asked for");
                if end == packed.len() {
                    return parser.finish();
                }
                end = packed.len().min(end + piece);
            }
            Status::End => {
                let parsed = parser.finish()?;
                assert_eq!(parsed.packed_bytes, at as u64);
                return Ok(parsed);
            }
        }
    }
}

/// What a stream opens to, and how many bytes of `packed` it took.
pub(crate) fn open(
    packed: &[u8],
    plain_bytes_max: u64,
    piece: usize,
) -> Result<(Vec<u8>, usize), ParseError> {
    let mut plain = Vec::new();
    let parsed = parse(packed, plain_bytes_max, piece, |batch, step| {
        if step.stored {
            assert!(batch.tokens.is_empty());
        } else {
            let expanded: usize = batch.tokens.iter().map(|token| token.plain_bytes()).sum();
            assert_eq!(expanded, batch.plain.len());
        }
        plain.extend_from_slice(&batch.plain);
    })?;
    assert_eq!(parsed.plain_bytes, plain.len() as u64);
    Ok((plain, usize::try_from(parsed.packed_bytes).expect("small")))
}
