//! Signals a daemon listens to: TERM and INT drain, a second one ends at once, HUP reloads.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::exit::Exit;
use crate::failure::Failure;

/// Becomes true once, when the process shall end. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Listens for TERM and INT from now on.
    pub(crate) fn on_signal() -> Result<Self, Failure> {
        let mut terminate = listen(SignalKind::terminate())?;
        let mut interrupt = listen(SignalKind::interrupt())?;
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(async move {
            for ask in [true, false] {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                if ask {
                    tracing::info!("stopping; a second signal ends at once");
                    stop.send_replace(true);
                } else {
                    std::process::exit(Exit::General.code().into());
                }
            }
        });
        Ok(Self(stopped))
    }

    /// Completes when the process shall end.
    pub(crate) async fn asked(mut self) {
        if self.0.wait_for(|stop| *stop).await.is_err() {
            // The listener is gone, and with it the runtime.
            std::future::pending::<()>().await;
        }
    }
}

/// Listens for HUP.
pub(crate) fn hangup() -> Result<Signal, Failure> {
    listen(SignalKind::hangup())
}

fn listen(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|error| {
        Failure::new(
            Exit::Internal,
            format!("cannot listen for signals: {error}"),
        )
    })
}
