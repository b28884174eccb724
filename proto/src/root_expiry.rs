//! How much life a root has left, and when to worry. SPEC §3.2.

use crate::id::Timestamp;
use crate::root::RootBody;

const DAY_MS: u64 = 24 * 3600 * 1000;

/// How urgent a new root is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ExpiryLevel {
    /// 90 days or less: find the holders of the root keys and a day.
    Notice,
    /// 30 days or less: do it now.
    Warning,
    /// 7 days or less: mirrors are about to stop taking releases.
    Alarm,
    /// Over: mirrors serve what they have and take nothing new but a newer root.
    Expired,
}

impl ExpiryLevel {
    /// The word for programs.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Alarm => "alarm",
            Self::Expired => "expired",
        }
    }
}

/// That a root expires soon, or has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExpiryWarning {
    /// Whole days left; 0 on the last one and after it.
    pub days: u64,
    /// How urgent it is.
    pub level: ExpiryLevel,
}

/// Days left at which each level begins, the most urgent first.
pub const WARNING_DAYS: [(u64, ExpiryLevel); 3] = [
    (7, ExpiryLevel::Alarm),
    (30, ExpiryLevel::Warning),
    (90, ExpiryLevel::Notice),
];

impl RootBody {
    /// What to say of this root's expiry at `now`; nothing while it has more than 90 days.
    #[must_use]
    pub fn expiry_warning(&self, now: Timestamp) -> Option<ExpiryWarning> {
        let left_ms = self.expires.0.saturating_sub(now.0);
        if left_ms == 0 {
            return Some(ExpiryWarning {
                days: 0,
                level: ExpiryLevel::Expired,
            });
        }
        WARNING_DAYS
            .into_iter()
            .find(|(days, _)| left_ms <= days * DAY_MS)
            .map(|(_, level)| ExpiryWarning {
                days: left_ms / DAY_MS,
                level,
            })
    }
}
