//! Telling what a test could not try.

/// Says it aloud and, for the summary of `tests/run`, in the file that `TIDECAST_SKIPS` names.
pub(crate) fn skip(test: &str, why: &str) {
    use std::io::Write;
    let line = format!("SKIPPED {test}: {why}");
    eprintln!("{line}");
    if let Some(path) = std::env::var_os("TIDECAST_SKIPS") {
        let file = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(path);
        // The summary loses a line; the test has said it all the same.
        let _ = file.and_then(|mut file| writeln!(file, "{line}"));
    }
}
