//! Where work that blocks is done, as a parameter: the simulator has it done where it is asked for.

/// Where work is done that takes long or waits for the disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Blocking {
    /// On the runtime's threads for that.
    #[default]
    Threads,
    /// Where it is asked for, at once: a simulator's order of events must not depend on threads.
    Inline,
}

impl Blocking {
    /// Does `work` and brings back its result; `None` when it panicked on its thread, or the runtime is shutting down.
    pub(crate) async fn run<T: Send + 'static>(
        self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        match self {
            Self::Threads => tokio::task::spawn_blocking(work).await.ok(),
            Self::Inline => Some(work()),
        }
    }
}
