//! What was promised for updates, and how it stands.

use super::figures::Figure;
use super::ours::Update;
use super::step::Step;
use crate::tidecast::lossless;

/// Megabytes promised for a mirror's and a publisher's own memory.
const MIRROR_ANON_MIB: f64 = 64.0;
const PUBLISHER_ANON_MIB: f64 = 256.0;

/// What was promised for a step.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Promise {
    /// Bytes on a held connection.
    pub(super) held: Option<f64>,
    /// Bytes of a `sync`.
    pub(super) fresh: Option<f64>,
    /// Whether the promises about processor time hold for it: it is a day.
    pub(super) cpu: bool,
}

/// One update with what it is held against.
struct Sample<'a> {
    update: &'a Update,
    stock_cpu_s: f64,
    cdiff_bytes: f64,
}

/// Everything about tidecast's own side of a step. Each update comes with the processor seconds of stock zlib, taken in
/// the same run.
pub(super) fn figures_of(step: &Step, promise: Promise, updates: &[(Update, f64)]) -> Vec<Figure> {
    type Value = fn(&Sample<'_>) -> f64;
    let if_a_day = |most: f64| promise.cpu.then_some(most);
    let rows: [(&str, &'static str, Option<f64>, Value); 14] = [
        (
            "held connection, payload both ways",
            "B",
            promise.held,
            |s| s.update.held.bytes,
        ),
        ("the same beyond the cdiff", "B", None, |s| {
            s.update.held.bytes - s.cdiff_bytes
        }),
        ("sync, payload both ways", "B", promise.fresh, |s| {
            s.update.fresh.bytes
        }),
        ("the same as sync itself tells it", "B", None, |s| {
            s.update.fresh_bytes_told
        }),
        (
            "stock zlib packing the databases again, CPU",
            "s",
            None,
            |s| s.stock_cpu_s,
        ),
        ("held mirror's CPU by that", "x", if_a_day(1.0 / 8.0), |s| {
            s.update.held.cpu_s / s.stock_cpu_s
        }),
        ("sync's CPU by that", "x", None, |s| {
            s.update.fresh.cpu_s / s.stock_cpu_s
        }),
        (
            "announcement to switch by the mirror's CPU",
            "x",
            if_a_day(0.8),
            |s| s.update.held.wall_s / s.update.held.cpu_s,
        ),
        ("sync's wall by its CPU", "x", None, |s| {
            s.update.fresh.wall_s / s.update.fresh.cpu_s
        }),
        (
            "held mirror's peak RssAnon",
            "MiB",
            Some(MIRROR_ANON_MIB),
            |s| s.update.held_anon_mib,
        ),
        ("sync's peak RssAnon", "MiB", Some(MIRROR_ANON_MIB), |s| {
            s.update.fresh_anon_mib
        }),
        ("publishing, CPU", "s", None, |s| s.update.publish_cpu_s),
        ("publishing, CPU by stock zlib's", "x", if_a_day(2.5), |s| {
            s.update.publish_cpu_s / s.stock_cpu_s
        }),
        (
            "publisher's peak RssAnon",
            "MiB",
            Some(PUBLISHER_ANON_MIB),
            |s| s.update.publish_anon_mib,
        ),
    ];
    let samples = || {
        updates.iter().map(|(update, stock_cpu_s)| Sample {
            update,
            stock_cpu_s: *stock_cpu_s,
            cdiff_bytes: lossless(step.cdiff_bytes),
        })
    };
    let figures = rows.into_iter().map(|(what, unit, most, value)| {
        let figure = Figure::new(what, unit, samples().map(|sample| value(&sample)).collect());
        match most {
            Some(most) => figure.at_most(most),
            None => figure,
        }
    });
    figures.collect()
}
