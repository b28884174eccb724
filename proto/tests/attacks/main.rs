//! Attacks on what is signed: a thief, a liar and an insider against the rules of SPEC §3 and §5.
//!
//! `cargo test -p tidecast-proto --test attacks -- --nocapture` runs the short form and prints what was tried and
//! which rule refused it; `TIDECAST_LONG=1` in front of it reaches the full figures. `TIDECAST_SEED=N` tries others, and
//! `TIDECAST_CASE=N` with a test's name repeats one case alone.
#![deny(unsafe_code)]

#[path = "../support/mod.rs"]
mod support;

mod additions;
mod altered;
mod counting;
mod curve;
mod domains;
mod fields;
mod forged;
mod insider;
mod life;
mod mixed;
mod raw;
mod replay;
mod rng;
mod rules;
mod series;
mod thresholds;
mod tuf;
