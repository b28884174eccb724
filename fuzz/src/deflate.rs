//! Deflate streams: opened, made again, made of older ones.

use std::io::Read;

use tidecast_engine::foreign;
use tidecast_proto::deflate::{
    Batch, CANDIDATES_MAX, Encoder, Head, LevelHint, OldStretch, Parameters, ParseError,
    ParseFault, Parser, Status, Step, Strategy, Token, Tokenizer,
};

/// What a stream may open to here.
const PLAIN_BYTES_MAX: u64 = 1 << 20;

/// Feeds `packed` in pieces and shows what each step gave.
fn parse(
    packed: &[u8],
    piece: usize,
    mut show: impl FnMut(&Batch, &Step),
) -> Result<usize, ParseError> {
    let mut parser = Parser::with_limit(PLAIN_BYTES_MAX);
    let mut batch = Batch::default();
    let (mut at, mut end) = (0, 0);
    loop {
        batch.clear();
        let step = parser.advance(&packed[at..end], &mut batch)?;
        at += step.consumed;
        if step.stored {
            assert!(batch.tokens.is_empty());
        } else {
            let expanded: usize = batch.tokens.iter().map(|token| token.plain_bytes()).sum();
            assert_eq!(expanded, batch.plain.len());
        }
        show(&batch, &step);
        match step.status {
            Status::End => {
                assert_eq!(parser.finish()?.packed_bytes, at as u64);
                return Ok(at);
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

fn open(packed: &[u8], piece: usize) -> Result<Vec<u8>, ParseError> {
    let mut plain = Vec::new();
    parse(packed, piece, |batch, _| {
        plain.extend_from_slice(&batch.plain)
    })?;
    Ok(plain)
}

/// What another implementation makes of it; `None` when it refuses the stream or it opens to too much.
fn inflate(packed: &[u8]) -> Option<Vec<u8>> {
    let mut plain = Vec::new();
    flate2::read::DeflateDecoder::new(packed)
        .take(PLAIN_BYTES_MAX + 1)
        .read_to_end(&mut plain)
        .ok()
        .map(|_| plain)
}

/// A stream is refused or opened, whole or in pieces, as flate2 judges it.
pub fn deflate(bytes: &[u8]) {
    let whole = open(bytes, bytes.len().max(1));
    match (&whole, open(bytes, 3)) {
        (Ok(plain), pieces) => assert_eq!(Ok(plain), pieces.as_ref()),
        (Err(_), pieces) => assert!(pieces.is_err()),
    }
    let theirs = inflate(bytes);
    match whole {
        Ok(plain) => assert_eq!(Some(plain), theirs),
        Err(error) if matches!(error.fault, ParseFault::TooLarge { .. }) => {}
        Err(error) => assert!(theirs.is_none(), "{error}"),
    }
}

fn parameters(choice: u8) -> Parameters {
    let strategy = [
        Strategy::Default,
        Strategy::Filtered,
        Strategy::Huffman,
        Strategy::Rle,
        Strategy::Fixed,
    ][usize::from(choice) % 5];
    let level = 1 + choice / 5 % 9;
    Parameters::new(level, strategy, 1 + choice % 9).expect("in range")
}

/// What zlib makes of `plain`, tokens first found by `tokens`.
fn pack(
    plain: &[u8],
    parameters: Parameters,
    tokens: impl FnOnce(&mut Tokenizer, &mut Batch),
    old_bytes: usize,
) -> Vec<u8> {
    let mut tokenizer = Tokenizer::new(parameters, plain.len() as u64, old_bytes as u64);
    let mut batch = Batch::default();
    tokens(&mut tokenizer, &mut batch);
    tokenizer.finish(&mut batch);
    assert_eq!(batch.plain, plain);
    let mut packed = Vec::new();
    let mut encoder = Encoder::new(parameters, plain.len() as u64);
    encoder.push(&batch.tokens, &batch.plain, &mut packed);
    encoder.finish(&mut packed);
    packed
}

/// A byte of parameters, then a stream. Encoding its tokens, whoever made them, gives a stream that opens to the same
/// bytes; and one that our own search made of these gives itself.
pub fn again(bytes: &[u8]) {
    let [choice, stream @ ..] = bytes else {
        return;
    };
    let parameters = parameters(*choice);
    let (mut tokens, mut plain) = (Vec::new(), Vec::new());
    let parsed = parse(stream, stream.len().max(1), |batch, step| {
        if step.stored {
            tokens.extend(batch.plain.iter().map(|byte| Token::literal(*byte)));
        } else {
            tokens.extend_from_slice(&batch.tokens);
        }
        plain.extend_from_slice(&batch.plain);
    });
    if parsed.is_err() || plain.len() > 1 << 17 {
        return;
    }
    let encode = |tokens: &[Token], plain: &[u8]| {
        let mut packed = Vec::new();
        let mut encoder = Encoder::new(parameters, plain.len() as u64);
        encoder.push(tokens, plain, &mut packed);
        encoder.finish(&mut packed);
        packed
    };
    let packed = encode(&tokens, &plain);
    assert_eq!(inflate(&packed).as_ref(), Some(&plain));
    assert_eq!(open(&packed, packed.len()).as_ref(), Ok(&plain));

    let ours = pack(&plain, parameters, |it, out| it.push_new(&plain, out), 0);
    let (mut tokens, mut stored) = (Vec::new(), false);
    let read = parse(&ours, 64, |batch, step| {
        stored |= step.stored;
        tokens.extend_from_slice(&batch.tokens);
    });
    assert_eq!(read, Ok(ours.len()));
    if !stored {
        assert_eq!(encode(&tokens, &plain), ours);
    }
}

/// A content of some length out of a few bytes, as alike and as different as signature lines are.
fn grown(bytes: &[u8], repeats: usize) -> Vec<u8> {
    let mut plain = Vec::new();
    for round in 0..repeats {
        plain.extend_from_slice(bytes);
        plain.extend_from_slice(format!(":{}\n", round * round * 2_654_435_761).as_bytes());
    }
    plain
}

/// Parameters, a place, and how far to repeat, 4 bytes; then an old content and after a 0xff what a new one has at that
/// place instead. Streams made with the old one's tokens are the very ones that a search makes.
pub fn splice(bytes: &[u8]) {
    let Some(([choice, place, cut, repeats], rest)) = bytes.split_first_chunk() else {
        return;
    };
    let parameters = parameters(*choice);
    let (seed, insert) = match rest.iter().position(|byte| *byte == 0xff) {
        Some(at) => (&rest[..at], &rest[at + 1..]),
        None => (rest, &[][..]),
    };
    let old = grown(seed, usize::from(*repeats) * 8 % 600);
    let at = old.len() * usize::from(*place) / 256;
    let behind = (at + usize::from(*cut)).min(old.len());
    let new = [&old[..at], insert, &old[behind..]].concat();
    let search = |plain: &[u8]| pack(plain, parameters, |it, out| it.push_new(plain, out), 0);

    let mut batches = Vec::new();
    let mut read = 0;
    let packed_old = search(&old);
    let parsed = parse(&packed_old, 4096, |batch, _| {
        batches.push((read, batch.clone()));
        read += batch.plain.len();
    });
    assert_eq!(parsed, Ok(packed_old.len()));
    let same = |tokenizer: &mut Tokenizer, range: std::ops::Range<usize>, out: &mut Batch| {
        let range = range.start as u64..range.end as u64;
        for (at, batch) in &batches {
            if let Some(stretch) = OldStretch::cut(batch, *at as u64, &range) {
                tokenizer.push_same(stretch, out);
            }
        }
    };
    let spliced = pack(
        &new,
        parameters,
        |tokenizer, out| {
            same(tokenizer, 0..at, out);
            tokenizer.push_new(insert, out);
            same(tokenizer, behind..old.len(), out);
        },
        old.len(),
    );
    assert_eq!(spliced, search(&new));
    assert_eq!(inflate(&spliced), Some(new));
}

/// What zlib was told, guessed from a stream's start: few candidates, and those that differ nowhere make its tokens.
pub fn guess(bytes: &[u8]) {
    let [flags, stream @ ..] = bytes else {
        return;
    };
    let mut head = Head::default();
    let (mut tokens, mut plain, mut stored) = (Vec::new(), Vec::new(), false);
    let parsed = parse(stream, stream.len().max(1), |batch, step| {
        head.push(batch, step);
        stored |= step.stored;
        tokens.extend_from_slice(&batch.tokens);
        plain.extend_from_slice(&batch.plain);
    });
    if parsed.is_err() || plain.len() > 1 << 14 {
        return;
    }
    let search = head.search(LevelHint::from_extra_flags(*flags));
    assert!(search.candidates.len() <= CANDIDATES_MAX);
    for candidate in search.candidates.iter().take(1) {
        let mut batch = Batch::default();
        let mut tokenizer = Tokenizer::new(candidate.parameters, plain.len() as u64, 0);
        tokenizer.push_new(&plain, &mut batch);
        tokenizer.finish(&mut batch);
        if candidate.differs_at.is_none() && !stored {
            assert_eq!(batch.tokens, tokens);
        }
        assert_eq!(batch.plain, plain);
    }
}

/// A gzip header ends within the bytes, and more bytes do not move its end.
pub fn gzip_header(bytes: &[u8]) {
    if let Some(len) = foreign::gzip_header(bytes) {
        assert!((10..bytes.len()).contains(&len));
        assert_eq!(foreign::gzip_header(&bytes[..=len]), Some(len));
        assert_eq!(foreign::gzip_header(&bytes[..len]), None);
    }
}
