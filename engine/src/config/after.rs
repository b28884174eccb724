//! Who is told after a switch: the tables of a mirror's configuration about hook and clamd. SPEC §8.15.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{ConfigError, MirrorConfig};

/// How long a hook may run unless somebody says otherwise, in seconds.
const HOOK_TIMEOUT_S: u64 = 60;

/// Longest time a hook may be given, in seconds: an hour, after which most feeds have the next release.
const HOOK_TIMEOUT_S_MAX: u64 = 3600;

/// A command that runs after each switch: the table `hook`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HookConfig {
    /// The program, by its absolute path, and its arguments. No shell reads this.
    pub command: Vec<String>,
    /// How long it may run, in seconds.
    #[serde(default = "timeout_s")]
    pub timeout_s: u64,
}

fn timeout_s() -> u64 {
    HOOK_TIMEOUT_S
}

/// Where a clamd listens for commands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClamdAddress {
    /// `LocalSocket` of clamd.conf.
    Local(PathBuf),
    /// `TCPAddr` and `TCPSocket`, as `host:port`.
    Tcp(String),
}

impl ClamdAddress {
    /// Reads the path of a socket, or `host:port`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text.starts_with('/') {
            return Ok(Self::Local(text.into()));
        }
        let port = |port: &str| port.parse::<u16>().is_ok_and(|port| port != 0);
        match text.rsplit_once(':') {
            Some((host, number)) if !host.is_empty() && !host.contains('/') && port(number) => {
                Ok(Self::Tcp(text.into()))
            }
            _ => Err(
                "name the absolute path of clamd's socket (LocalSocket in clamd.conf), or host:port",
            ),
        }
    }
}

impl std::fmt::Display for ClamdAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Local(path) => path.display().fmt(f),
            Self::Tcp(address) => f.write_str(address),
        }
    }
}

impl MirrorConfig {
    /// Where the clamd is that is to load each new release, checked.
    ///
    /// # Errors
    /// [`ConfigError::Value`].
    pub fn clamd_address(&self, path: &Path) -> Result<Option<ClamdAddress>, ConfigError> {
        let parsed = self.clamd.as_deref().map(ClamdAddress::parse).transpose();
        parsed.map_err(|why| value(path, "clamd", why))
    }

    /// The command that runs after each switch, checked as far as can be without running it.
    ///
    /// # Errors
    /// [`ConfigError::Value`].
    pub fn hook(&self, path: &Path) -> Result<Option<&HookConfig>, ConfigError> {
        let Some(hook) = &self.hook else {
            return Ok(None);
        };
        match hook.command.first() {
            Some(program) if program.starts_with('/') => {}
            _ => {
                return Err(value(
                    path,
                    "hook.command",
                    "name the program by its absolute path, for example [\"/usr/local/bin/after-switch\", \"argument\"]",
                ));
            }
        }
        if hook.command.iter().any(|part| part.contains('\0')) {
            return Err(value(path, "hook.command", "a part of it holds a NUL"));
        }
        if !(1..=HOOK_TIMEOUT_S_MAX).contains(&hook.timeout_s) {
            let why = format!(
                "{} is not between 1 and {HOOK_TIMEOUT_S_MAX}",
                hook.timeout_s
            );
            return Err(value(path, "hook.timeout_s", why));
        }
        Ok(Some(hook))
    }
}

fn value(path: &Path, field: &'static str, why: impl Into<String>) -> ConfigError {
    ConfigError::Value {
        path: path.to_owned(),
        field,
        why: why.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mirror(lines: &str) -> MirrorConfig {
        let head = "fingerprint = \"x\"\nupstreams = [\"m\"]\ndocroot = \"/d\"\n";
        toml::from_str(&format!("{head}{lines}")).unwrap()
    }

    #[test]
    fn a_clamd_is_a_path_or_a_host_with_a_port() {
        for (text, address) in [
            (
                "/run/clamav/clamd.ctl",
                ClamdAddress::Local("/run/clamav/clamd.ctl".into()),
            ),
            ("localhost:3310", ClamdAddress::Tcp("localhost:3310".into())),
            ("[::1]:3310", ClamdAddress::Tcp("[::1]:3310".into())),
        ] {
            let config = mirror(&format!("clamd = {text:?}"));
            let parsed = config.clamd_address(Path::new("/m")).unwrap();
            assert_eq!(parsed, Some(address), "{text}");
        }
        for text in [
            "",
            "clamd.ctl",
            "localhost",
            "localhost:0",
            ":3310",
            "a/b:1",
        ] {
            let error = mirror(&format!("clamd = {text:?}")).clamd_address(Path::new("/m"));
            assert!(
                error.unwrap_err().to_string().contains("clamd: name"),
                "{text}"
            );
        }
    }

    #[test]
    fn a_hook_is_a_program_by_its_path_and_has_an_end() {
        let config = mirror("[hook]\ncommand = [\"/bin/true\", \"a b\"]\n");
        let hook = config.hook(Path::new("/m")).unwrap().unwrap();
        assert_eq!((hook.command.len(), hook.timeout_s), (2, 60));
        for (lines, part) in [
            ("command = []", "hook.command: name"),
            ("command = [\"true\"]", "hook.command: name"),
            (
                "command = [\"/bin/true\"]\ntimeout_s = 0",
                "hook.timeout_s: 0 is not",
            ),
            (
                "command = [\"/bin/true\"]\ntimeout_s = 3601",
                "hook.timeout_s: 3601",
            ),
        ] {
            let config = mirror(&format!("[hook]\n{lines}"));
            let error = config.hook(Path::new("/m")).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn what_is_written_of_them_reads_back() {
        let config = mirror("clamd = \"/c\"\ngrace_s = 5\n[hook]\ncommand = [\"/bin/true\"]\n");
        let text = toml::to_string(&config).unwrap();
        assert_eq!(
            toml::from_str::<MirrorConfig>(&text).unwrap(),
            config,
            "{text}"
        );
    }
}
