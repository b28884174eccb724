//! The progress bar, on a terminal only.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::shell::Shell;

/// A bar that counts bytes; draws nothing where nobody would see it.
pub(crate) struct Bar(ProgressBar);

impl Bar {
    /// A bar on stderr, if `shell` shows one.
    pub(crate) fn new(shell: &Shell<'_>) -> Self {
        let bar = ProgressBar::hidden();
        if shell.shows_progress() {
            // The template is a constant; were it wrong, the plain bar would do.
            let style = ProgressStyle::with_template(
                "{msg:20!} {wide_bar} {decimal_bytes}/{decimal_total_bytes} {eta}",
            )
            .unwrap_or_else(|_| ProgressStyle::default_bar());
            bar.set_style(style);
            bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        Self(bar)
    }

    /// How much there is in all.
    pub(crate) fn total(&self, bytes: u64) {
        self.0.set_length(bytes);
    }

    /// How much of it is done, and what is being done.
    pub(crate) fn at(&self, bytes: u64, what: &str) {
        if self.0.message() != what {
            self.0.set_message(what.to_owned());
        }
        self.0.set_position(bytes);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
