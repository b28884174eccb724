//! Exact deflate: opens a deflate stream into tokens and plain bytes, and makes from plain bytes the very stream
//! that stock zlib makes of them (RFC 1951; the rules zlib follows are in its deflate.c and trees.c). SPEC §5.4.
//!
//! The way: packed bytes -> `parse` -> tokens and plain bytes -> `search` (or tokens taken over from an older
//! stream) -> tokens -> `encode` -> packed bytes. Everything is fed in pieces, so memory does not grow with the file.

mod bit_writer;
mod bits;
mod block_header;
mod block_tokens;
mod code_lengths;
mod decode_table;
mod discover;
mod encode;
mod parameters;
mod parse;
mod reuse;
mod search;
mod stretch;
mod symbols;
mod token;
mod trees;

pub use discover::{
    CANDIDATES_MAX, Candidate, HEAD_PLAIN_BYTES_MAX, Head, LevelHint, Search, TABLE_BYTES,
};
pub use encode::Encoder;
pub use parameters::{Parameters, ParametersError, Strategy};
pub use parse::{
    Block, BlockKind, Codes, ParseError, ParseFault, Parsed, Parser, STRETCH_PLAIN_BYTES_MAX,
    Status, Step,
};
pub use reuse::Tokenizer;
pub use stretch::OldStretch;
pub use token::{Batch, Token};
