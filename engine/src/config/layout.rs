//! Whether web clients see a docroot of links or a plain folder. SPEC §8.16.

use std::ffi::OsString;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::MirrorConfig;

/// How a docroot is laid out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// Each name is a symbolic link into the live tree. SPEC §8.3.
    #[default]
    Links,
    /// A plain folder that changes places with the next one as a whole, for web servers that refuse links.
    Exchange,
}

impl Layout {
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl MirrorConfig {
    /// The folder that releases are kept in: the docroot itself, or with [`Layout::Exchange`] `.<name>.tidecast` beside it.
    #[must_use]
    pub fn kept_docroot(&self) -> PathBuf {
        let name = match self.layout {
            Layout::Links => None,
            Layout::Exchange => self.docroot.file_name(),
        };
        // A docroot without a name is `/`, which is refused when it is to be exchanged.
        let Some(name) = name else {
            return self.docroot.clone();
        };
        let mut kept = OsString::from(".");
        kept.push(name);
        kept.push(".tidecast");
        self.docroot.with_file_name(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_kept_in_the_docroot_or_beside_one_that_is_exchanged() {
        let head = "fingerprint = \"x\"\nupstreams = [\"m\"]\ndocroot = \"/srv/clamav/\"\n";
        let links: MirrorConfig = toml::from_str(head).unwrap();
        assert_eq!(links.kept_docroot(), PathBuf::from("/srv/clamav"));
        let text = format!("{head}layout = \"exchange\"\n");
        let exchange: MirrorConfig = toml::from_str(&text).unwrap();
        assert_eq!(
            exchange.kept_docroot(),
            PathBuf::from("/srv/.clamav.tidecast")
        );
        let text = toml::to_string(&exchange).unwrap();
        assert_eq!(toml::from_str::<MirrorConfig>(&text).unwrap(), exchange);
        assert!(toml::from_str::<MirrorConfig>(&format!("{head}layout = \"Links\"\n")).is_err());
    }
}
