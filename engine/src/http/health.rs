//! What `/healthz` and `/status.json` say. SPEC §9.7.

use std::sync::Arc;

use arc_swap::ArcSwap;

/// Whether this server should be in a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Health {
    /// A live release is served and its head has not expired.
    Serving {
        /// The release served.
        release: u64,
    },
    /// The last good release is still served, but nothing newer can be accepted.
    Stale {
        /// The release served.
        release: u64,
        /// Since when, in Unix seconds.
        since_s: u64,
    },
    /// Nothing to serve yet.
    #[default]
    NoRelease,
}

impl Health {
    /// Whether `/healthz` answers 200.
    #[must_use]
    pub fn is_ok(self) -> bool {
        matches!(self, Self::Serving { .. })
    }

    /// The body of `/healthz`, one line.
    #[must_use]
    pub fn text(self) -> String {
        match self {
            Self::Serving { release } => format!("ok release {release}\n"),
            Self::Stale { release, since_s } => {
                let since = super::respond::http_date(since_s);
                format!("stale release {release} since {since}\n")
            }
            Self::NoRelease => "no release yet\n".to_owned(),
        }
    }
}

/// The place where the current [`Health`] is found; clones share it. Starts as `NoRelease`.
#[derive(Debug, Clone, Default)]
pub struct HealthHandle(Arc<ArcSwap<Health>>);

impl HealthHandle {
    /// Replaces the current value.
    pub fn set(&self, health: Health) {
        self.0.store(Arc::new(health));
    }

    /// The current value.
    #[must_use]
    pub fn current(&self) -> Health {
        **self.0.load()
    }
}

/// Delivers the body of `/status.json`.
///
/// Called on the server's task for each request, so it must not block. Any
/// `Fn() -> serde_json::Value` is one.
pub trait StatusSource: Send + Sync {
    /// The status as it is now.
    fn status(&self) -> serde_json::Value;
}

impl<F> StatusSource for F
where
    F: Fn() -> serde_json::Value + Send + Sync,
{
    fn status(&self) -> serde_json::Value {
        self()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_fresh_release_is_healthy_and_the_others_say_why() {
        assert_eq!(HealthHandle::default().current(), Health::NoRelease);
        let serving = Health::Serving { release: 7 };
        assert!(serving.is_ok());
        assert_eq!(serving.text(), "ok release 7\n");
        let stale = Health::Stale {
            release: 7,
            since_s: 784_111_777,
        };
        assert!(!stale.is_ok());
        assert_eq!(
            stale.text(),
            "stale release 7 since Sun, 06 Nov 1994 08:49:37 GMT\n"
        );
        assert!(!Health::NoRelease.is_ok());
    }
}
