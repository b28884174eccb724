//! What one hostile peer makes a process grow by: at most 32 MiB a connection, on either side.
//!
//! Each row has a process of its own for its victims, this program again, so that nothing but they is measured; the
//! attacker stays here. Growth is of `RssAnon`: the store is mapped, and its pages are the kernel's to take back.

#[path = "memory/masters.rs"]
mod masters;
#[path = "memory/mirrors.rs"]
mod mirrors;
mod support;
#[path = "memory/victim.rs"]
mod victim;

/// Most bytes that one connection may cost its victim.
const GROWTH_MAX: u64 = 32 * 1024 * 1024;

/// A row of the table; says what it holds against the limit, and fails beyond.
fn judge(rows: &[(&'static str, u64)]) {
    for (name, bytes) in rows {
        println!(
            "{:6.1} MiB per connection: {name}",
            *bytes as f64 / f64::from(1 << 20)
        );
    }
    for (name, bytes) in rows {
        assert!(*bytes <= GROWTH_MAX, "{name}: {bytes} bytes");
    }
}
