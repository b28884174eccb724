//! What this master's operator lays down for a node. SPEC §7.4.

use serde::{Deserialize, Serialize};
use tidecast_proto::limits;

/// Least rate that can be set: mirrors leave a source that delivers less than the useful rate, and a node may have two
/// connections for a moment.
pub const RATE_BYTES_PER_S_MIN: u64 = 2 * limits::USEFUL_BYTES_PER_S as u64;

/// Highest rate that can be set: more than any line carries.
pub const RATE_BYTES_PER_S_MAX: u64 = 1_000_000_000_000;

/// Connections a node may have unless something else is set: one that stays, one that probes, a `sync -n` by hand, and
/// one whose end has not been noticed yet.
pub const CONNECTIONS: usize = 4;

/// Most that can be set.
pub const CONNECTIONS_MAX: usize = 64;

/// Longest note, in bytes.
pub const NOTE_BYTES: usize = 1024;

/// What the operator wrote about a node. It wins over what the node says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NodeSettings {
    /// What the operator calls it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How to reach whoever runs it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contact: Option<String>,
    /// Whatever is worth remembering.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Most bytes a second that its answers may take, all its connections together; no bound without.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_bytes_per_s: Option<u64>,
    /// Most connections it may have at once; [`CONNECTIONS`] without.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<usize>,
}

/// What is to change of it: `None` leaves a setting as it is, `Some(None)` takes it away.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SettingsChange {
    /// [`NodeSettings::name`].
    pub name: Option<Option<String>>,
    /// [`NodeSettings::contact`].
    pub contact: Option<Option<String>>,
    /// [`NodeSettings::note`].
    pub note: Option<Option<String>>,
    /// [`NodeSettings::rate_bytes_per_s`].
    pub rate_bytes_per_s: Option<Option<u64>>,
    /// [`NodeSettings::connections`].
    pub connections: Option<Option<usize>>,
}

impl SettingsChange {
    /// Whether nothing is to change.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Why a setting cannot be. The operator is at fault; nothing was changed.
#[expect(missing_docs, reason = "each message names its fields")]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingError {
    /// So slow that mirrors would take the master for stuck, or beyond sense.
    #[error(
        "a rate of {got} bytes/s is not between {RATE_BYTES_PER_S_MIN} and {RATE_BYTES_PER_S_MAX}: mirrors leave a source that sends fewer than {} bytes/s",
        limits::USEFUL_BYTES_PER_S
    )]
    Rate { got: u64 },
    /// None at all, or more than anybody needs.
    #[error("{got} connections are not between 1 and {CONNECTIONS_MAX}")]
    Connections { got: usize },
    /// A text that is too long.
    #[error("the {field} has {got} bytes, more than {most}")]
    Long {
        field: &'static str,
        got: usize,
        most: usize,
    },
    /// A text with characters that could move a terminal's cursor.
    #[error("the {field} holds control characters")]
    Control { field: &'static str },
}

impl NodeSettings {
    /// Makes the change.
    ///
    /// # Errors
    /// [`SettingError`]; these are what they were.
    pub fn change(&mut self, change: &SettingsChange) -> Result<(), SettingError> {
        fn replace<T: Clone>(kept: &mut Option<T>, change: &Option<Option<T>>) {
            if let Some(new) = change {
                kept.clone_from(new);
            }
        }
        let mut new = self.clone();
        replace(&mut new.name, &change.name);
        replace(&mut new.contact, &change.contact);
        replace(&mut new.note, &change.note);
        replace(&mut new.rate_bytes_per_s, &change.rate_bytes_per_s);
        replace(&mut new.connections, &change.connections);
        new.check()?;
        *self = new;
        Ok(())
    }

    /// Judges them, whoever wrote them.
    ///
    /// # Errors
    /// [`SettingError`].
    pub fn check(&self) -> Result<(), SettingError> {
        for (field, text, most) in [
            ("name", &self.name, limits::DETAIL_BYTES),
            ("contact", &self.contact, limits::DETAIL_BYTES),
            ("note", &self.note, NOTE_BYTES),
        ] {
            let text = text.as_deref().unwrap_or_default();
            let got = text.len();
            if got > most {
                return Err(SettingError::Long { field, got, most });
            }
            if text.chars().any(char::is_control) {
                return Err(SettingError::Control { field });
            }
        }
        match self.rate_bytes_per_s {
            Some(got) if !(RATE_BYTES_PER_S_MIN..=RATE_BYTES_PER_S_MAX).contains(&got) => {
                return Err(SettingError::Rate { got });
            }
            _ => {}
        }
        match self.connections {
            Some(got) if !(1..=CONNECTIONS_MAX).contains(&got) => {
                Err(SettingError::Connections { got })
            }
            _ => Ok(()),
        }
    }

    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_touches_what_it_names_and_a_wrong_one_nothing() {
        let mut settings = NodeSettings {
            note: Some("in Utrecht".into()),
            ..NodeSettings::default()
        };
        let mut change = SettingsChange {
            name: Some(Some("m7".into())),
            rate_bytes_per_s: Some(Some(RATE_BYTES_PER_S_MIN)),
            connections: Some(Some(1)),
            ..SettingsChange::default()
        };
        settings.change(&change).unwrap();
        let expected = NodeSettings {
            name: Some("m7".into()),
            contact: None,
            note: Some("in Utrecht".into()),
            rate_bytes_per_s: Some(RATE_BYTES_PER_S_MIN),
            connections: Some(1),
        };
        assert_eq!(settings, expected);
        change.name = Some(None);
        change.rate_bytes_per_s = Some(Some(RATE_BYTES_PER_S_MIN - 1));
        let refused = settings.change(&change).unwrap_err();
        assert!(refused.to_string().contains("8192"), "{refused}");
        assert_eq!(settings, expected);
    }

    #[test]
    fn what_has_no_sense_is_refused() {
        let refused = |settings: NodeSettings| settings.check().unwrap_err();
        let with = |connections| NodeSettings {
            connections: Some(connections),
            ..NodeSettings::default()
        };
        for got in [0, CONNECTIONS_MAX + 1] {
            assert_eq!(refused(with(got)), SettingError::Connections { got });
        }
        let name = |name: &str| NodeSettings {
            name: Some(name.into()),
            ..NodeSettings::default()
        };
        let field = "name";
        assert_eq!(refused(name("a\u{1b}[2J")), SettingError::Control { field });
        let long = refused(name(&"x".repeat(limits::DETAIL_BYTES + 1)));
        assert!(matches!(long, SettingError::Long { .. }), "{long}");
        name(&"x".repeat(limits::DETAIL_BYTES)).check().unwrap();
    }
}
