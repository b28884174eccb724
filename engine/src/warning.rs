//! What a status warns of long before it goes wrong, and how often a log repeats it. SPEC §10.2.

use serde::{Deserialize, Serialize};
use tidecast_proto::id::Timestamp;
use tidecast_proto::root::RootBody;
use tidecast_proto::root_expiry::{ExpiryLevel, ExpiryWarning};

/// How often a log says again what has not changed.
const REPEAT_MS: u64 = 24 * 3600 * 1000;

/// Something that is well today and will not stay so.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// What it is about: `root_expires`, `key_shared`, `trust_log`.
    pub about: String,
    /// How urgent it is: `notice`, `warning`, `alarm` or `expired`.
    pub level: String,
    /// What is so, for people.
    pub what: String,
    /// Whole days left until it happens, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<u64>,
}

impl Warning {
    /// What there is to say of a root's end at `now`: from 90 days before it on.
    #[must_use]
    pub fn of_root(root: &RootBody, now: Timestamp) -> Option<Self> {
        let ExpiryWarning { days, level } = root.expiry_warning(now)?;
        let version = root.version;
        let what = match (level, days) {
            (ExpiryLevel::Expired, _) => {
                format!("root {version} has expired: nothing but a newer root is taken")
            }
            (_, 0) => format!("root {version} expires today: nothing newer is taken after it"),
            (_, 1) => format!("root {version} expires in 1 day: nothing newer is taken after it"),
            (_, days) => {
                format!("root {version} expires in {days} days: nothing newer is taken after it")
            }
        };
        Some(Self {
            about: "root_expires".into(),
            level: level.word().into(),
            what,
            days: Some(days),
        })
    }

    /// Writes it to the log.
    pub(crate) fn log(&self) {
        let (about, what) = (&self.about, &self.what);
        match self.level.as_str() {
            "notice" => tracing::info!(%about, "{what}"),
            "warning" => tracing::warn!(%about, "{what}"),
            _ => tracing::error!(%about, "{what}"),
        }
    }
}

/// Remembers what a log was told of one thing, so that it hears it once a day and whenever it gets worse.
#[derive(Debug, Default)]
pub(crate) struct Reminder {
    said: Option<(Timestamp, String)>,
}

impl Reminder {
    /// Whether the log should be told at `now`; taken as done.
    pub(crate) fn is_due(&mut self, warning: &Warning, now: Timestamp) -> bool {
        if let Some((at, level)) = &self.said
            && *level == warning.level
            && now.0.abs_diff(at.0) < REPEAT_MS
        {
            return false;
        }
        self.said = Some((now, warning.level.clone()));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_said_once_a_day_and_worse_at_once() {
        let warning = |level: &str| Warning {
            level: level.into(),
            ..Warning::default()
        };
        let mut reminder = Reminder::default();
        let day = |days: u64| Timestamp(1 + days * REPEAT_MS);
        assert!(reminder.is_due(&warning("notice"), day(0)));
        assert!(!reminder.is_due(&warning("notice"), Timestamp(REPEAT_MS)));
        assert!(reminder.is_due(&warning("notice"), day(1)));
        assert!(reminder.is_due(&warning("warning"), day(1)));
        assert!(!reminder.is_due(&warning("warning"), day(1)));
        // A clock that was set back does not silence it for long.
        assert!(reminder.is_due(&warning("warning"), Timestamp(0)));
    }
}
