//! What is done with fuzzed bytes: one function per reader, each of which also says what must hold of whatever reads.
//!
//! They run under libFuzzer (`targets/`, nightly) and under the stable test `tests/corpus.rs` alike. A target panics when a
//! promise is broken, and in no other case.
#![forbid(unsafe_code)]

pub mod bundle;
pub mod database;
pub mod deflate;
pub mod http;
mod memory;
pub mod objects;
pub mod state;
pub mod store;
pub mod text;
pub mod wire;

/// A fuzz target.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name: of the program, and of its folders in `corpus` and `seeds`.
    pub name: &'static str,
    /// Feeds it one input.
    pub run: fn(&[u8]),
    /// Longest input worth trying, in bytes.
    pub bytes_max: usize,
    /// How many mutated inputs the stable test tries in its short form: what one processor does in some 1.2 seconds.
    pub executions: u32,
}

macro_rules! targets {
    ($($name:ident in $module:ident: $bytes_max:literal bytes, $executions:literal times;)*) => {
        /// Every target.
        pub const TARGETS: &[Target] = &[$(Target {
            name: stringify!($name),
            run: $module::$name,
            bytes_max: $bytes_max,
            executions: $executions,
        }),*];
    };
}

targets! {
    frames in wire: 4096 bytes, 350_000 times;
    greetings in wire: 1100 bytes, 80_000 times;
    session in wire: 2048 bytes, 12_000 times;
    bodies in objects: 2048 bytes, 40_000 times;
    objects in objects: 2048 bytes, 16_000 times;
    verify in objects: 2048 bytes, 1_600 times;
    ceremony in objects: 2048 bytes, 2_000 times;
    counters in objects: 1024 bytes, 2_000 times;
    list in bundle: 2048 bytes, 200_000 times;
    recipe in bundle: 1024 bytes, 300_000 times;
    parts in bundle: 2048 bytes, 250_000 times;
    run in bundle: 512 bytes, 110_000 times;
    bundle in bundle: 2048 bytes, 14_000 times;
    packed in bundle: 1024 bytes, 120_000 times;
    deflate in deflate: 1024 bytes, 16_000 times;
    again in deflate: 1024 bytes, 7_500 times;
    splice in deflate: 2048 bytes, 550 times;
    guess in deflate: 512 bytes, 800 times;
    gzip_header in deflate: 512 bytes, 400_000 times;
    cvd in database: 5120 bytes, 180_000 times;
    cvd_header in database: 512 bytes, 400_000 times;
    info in database: 1024 bytes, 20_000 times;
    tar in database: 4096 bytes, 100_000 times;
    cdiff in database: 1024 bytes, 200_000 times;
    dsig in database: 512 bytes, 2_500 times;
    database_names in database: 256 bytes, 650_000 times;
    http_target in http: 512 bytes, 300_000 times;
    http_range in http: 64 bytes, 500_000 times;
    http_headers in http: 512 bytes, 65_000 times;
    text in text: 256 bytes, 180_000 times;
    mirror_toml in text: 1024 bytes, 35_000 times;
    master_toml in text: 1024 bytes, 25_000 times;
    nodes in text: 1024 bytes, 140_000 times;
    control in text: 512 bytes, 200_000 times;
    status in text: 2048 bytes, 110_000 times;
    explain in text: 1024 bytes, 140_000 times;
    keyfile in text: 512 bytes, 40_000 times;
    index in state: 1024 bytes, 250_000 times;
    timestamp in state: 1024 bytes, 200_000 times;
    spool in state: 1024 bytes, 20_000 times;
    chain_log in state: 1024 bytes, 15_000 times;
    trust_log in state: 1024 bytes, 150_000 times;
    pack in store: 2048 bytes, 80_000 times;
    open_pack in store: 2048 bytes, 20_000 times;
    release_file in store: 1024 bytes, 75_000 times;
    stat_cache in store: 1024 bytes, 30_000 times;
}
