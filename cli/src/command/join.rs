//! `tidecast join`.

use std::fmt::Write as _;
use std::io::{BufRead as _, IsTerminal as _};
use std::path::{Path, PathBuf};

use serde::Serialize;
use tidecast_engine::config::{self, MirrorConfig};
use tidecast_engine::docroot::{Docroot, Foreign, ForeignKind, Survey};
use tidecast_engine::keyfile;
use tidecast_engine::master::MASTER_CONFIG;
use tidecast_engine::mirror::{MIRROR_CONFIG, NODE_KEY};
use tidecast_proto::{fingerprint, limits};

use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::shell::{self, Shell};
use crate::text;

/// Foreign names shown before a person is asked: a screenful.
const FOREIGN_SHOWN: usize = 30;

/// Make this machine a mirror of a feed. Works offline.
///
/// Writes the configuration and makes this mirror's key; the docroot is only looked at. What lies in it and is
/// neither local_* nor in a release would be moved to .tidecast/removed by the first sync, so it is listed and you
/// are asked. Exit status: 0 joined, 1 it needs your yes, 2 the fingerprint or an option is wrong, 73 the docroot
/// or the state folder cannot be used, 77 no permission.
#[derive(Debug, clap::Args)]
pub(crate) struct Join {
    /// The master: host or host:port, port 4873 unless named.
    #[arg(value_name = "UPSTREAM")]
    upstream: String,
    /// The feed's fingerprint as its operators gave it to you: 64 hex digits, or 24 words in quotes.
    #[arg(long, value_name = "FINGERPRINT")]
    fingerprint: String,
    /// The folder web clients see.
    #[arg(long, value_name = "DIR")]
    docroot: PathBuf,
    /// How the master's operators reach you.
    #[arg(
        long,
        value_name = "MAIL",
        default_value = "",
        hide_default_value = true
    )]
    contact: String,
    /// What you call this mirror.
    #[arg(
        long,
        value_name = "NAME",
        default_value = "",
        hide_default_value = true
    )]
    name: String,
    /// A host name under which clients reach it; may be given up to 8 times.
    #[arg(long = "host", value_name = "NAME")]
    hosts: Vec<String>,
    /// Go on although the docroot holds other things, or looks like a web site.
    #[arg(short, long)]
    yes: bool,
}

#[derive(Debug, Serialize)]
struct Joined {
    node_key: String,
    docroot: String,
    foreign: Vec<ForeignName>,
    foreign_count: u64,
    fingerprint: String,
    config: String,
}

#[derive(Debug, Serialize)]
struct ForeignName {
    name: String,
    kind: &'static str,
    bytes: u64,
}

impl Join {
    pub(crate) fn run(self, shell: &mut Shell<'_>) -> Outcome {
        let feed = fingerprint::parse(&self.fingerprint).map_err(|error| {
            Failure::usage(format!("--fingerprint: {error}"))
                .hint("copy it from what the feed's operators gave you; the master shows it with `tidecast status`")
        })?;
        check_upstream(&self.upstream)?;
        self.check_details()?;
        let path = shell.state.join(MIRROR_CONFIG);
        refuse_other_state(shell, &path)?;
        let docroot = std::path::absolute(&self.docroot)
            .map_err(|error| Failure::file("find", &self.docroot, &error))?;
        let survey = Docroot::survey(&docroot, &feed)?;
        self.ask(shell, &docroot, &survey)?;

        shell::private_folder(&shell.state)?;
        let key = keyfile::load_or_generate(&shell.state.join(NODE_KEY))?;
        let config = MirrorConfig {
            fingerprint: feed.to_string(),
            upstreams: vec![self.upstream],
            docroot: docroot.clone(),
            name: self.name,
            contact: self.contact,
            hosts: self.hosts,
            ..MirrorConfig::default()
        };
        // Last, so that a join that failed can be done again.
        config::store(
            &path,
            &config,
            "A tidecast mirror. Restart the daemon after editing.",
        )?;

        let joined = Joined {
            node_key: key.public().to_string(),
            docroot: docroot.display().to_string(),
            foreign: survey.foreign.iter().map(foreign_name).collect(),
            foreign_count: survey.foreign_count as u64,
            fingerprint: feed.to_string(),
            config: path.display().to_string(),
        };
        let text = render(&joined, &shell.command("sync"), &shell.command("mirror"));
        shell.result(&joined, &text)?;
        Ok(Exit::Ok)
    }

    fn check_details(&self) -> Result<(), Failure> {
        if self.hosts.len() > limits::HOSTS_PER_MIRROR {
            return Err(Failure::usage(format!(
                "--host is given {} times, {} are allowed",
                self.hosts.len(),
                limits::HOSTS_PER_MIRROR
            )));
        }
        let hosts = self.hosts.iter().map(|host| ("--host", host));
        for (option, text) in [("--name", &self.name), ("--contact", &self.contact)]
            .into_iter()
            .chain(hosts)
        {
            if text.len() > limits::DETAIL_BYTES || text.contains(char::is_control) {
                return Err(Failure::usage(format!(
                    "{option} {:?}: at most {} bytes of plain text",
                    text::plain(text),
                    limits::DETAIL_BYTES
                )));
            }
        }
        Ok(())
    }

    /// Goes on when there is nothing to decide, when `--yes` decided, or when a person says so now.
    fn ask(&self, shell: &Shell<'_>, docroot: &Path, survey: &Survey) -> Result<(), Failure> {
        if self.yes || (survey.concerns.is_empty() && survey.foreign_count == 0) {
            return Ok(());
        }
        let why = reasons(docroot, survey);
        let asked =
            !shell.json && std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
        if asked {
            eprint!("{why}\nGo on? [y/N] ");
            let mut answer = String::new();
            let read = std::io::stdin().lock().read_line(&mut answer);
            if read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes") {
                return Ok(());
            }
            return Err(Failure::new(
                Exit::General,
                "not joined; nothing was changed",
            ));
        }
        let hint = if survey.concerns.is_empty() {
            "with --yes they are moved to .tidecast/removed by the first sync, and kept there for 30 days"
        } else {
            "name a folder that holds nothing but the databases; or, if you are sure, add --yes"
        };
        Err(Failure::new(Exit::General, format!("{why}nothing was changed")).hint(hint))
    }
}

pub(super) fn check_upstream(upstream: &str) -> Result<(), Failure> {
    let full = tidecast_engine::mirror::with_port(upstream);
    let fits = full.rsplit_once(':').is_some_and(|(host, port)| {
        let port = port.parse::<u16>().is_ok_and(|port| port != 0);
        port && !host.is_empty() && !host.contains(|c: char| c.is_whitespace() || c == '/')
    });
    if fits {
        return Ok(());
    }
    Err(
        Failure::usage(format!("{:?} is no upstream", text::plain(upstream)))
            .hint("name the master as host or host:port, for example master.example.org:4873"),
    )
}

/// One state folder is one node's.
fn refuse_other_state(shell: &Shell<'_>, config: &Path) -> Result<(), Failure> {
    let state = shell.state.display();
    if shell.state.join(MASTER_CONFIG).exists() {
        let what = format!("{state} is a master's; nothing was changed");
        return Err(Failure::new(Exit::CannotCreate, what)
            .hint("give the mirror a state folder of its own with --state"));
    }
    if config.exists() {
        let what = format!("{state} holds a mirror already; nothing was changed");
        return Err(Failure::new(Exit::CannotCreate, what).hint(format!(
            "edit {}, or name another state folder with --state",
            config.display()
        )));
    }
    Ok(())
}

fn foreign_name(foreign: &Foreign) -> ForeignName {
    ForeignName {
        name: foreign.name.clone(),
        kind: kind_word(foreign.kind),
        bytes: foreign.bytes,
    }
}

fn kind_word(kind: ForeignKind) -> &'static str {
    match kind {
        ForeignKind::File => "file",
        ForeignKind::Folder => "folder",
        ForeignKind::Link => "link",
        ForeignKind::Other => "other",
    }
}

/// What a person must know before saying yes.
fn reasons(docroot: &Path, survey: &Survey) -> String {
    let mut text = String::new();
    for concern in &survey.concerns {
        let _ = writeln!(text, "{}", text::plain(&concern.to_string()));
    }
    if survey.foreign_count == 0 {
        return text;
    }
    let _ = writeln!(
        text,
        "{} in {} will be moved to .tidecast/removed by the first sync, unless the feed has the same:",
        text::plural(survey.foreign_count as u64, "name"),
        docroot.display()
    );
    for foreign in survey.foreign.iter().take(FOREIGN_SHOWN) {
        let end = match foreign.kind {
            ForeignKind::Folder => "/",
            ForeignKind::Link => " (link)",
            ForeignKind::Other => " (special)",
            ForeignKind::File => "",
        };
        let _ = writeln!(
            text,
            "  {}{end}  {}",
            text::plain(&foreign.name),
            text::bytes(foreign.bytes)
        );
    }
    if survey.foreign_count > FOREIGN_SHOWN {
        let _ = writeln!(text, "  and {} more", survey.foreign_count - FOREIGN_SHOWN);
    }
    text
}

fn render(joined: &Joined, sync: &str, mirror: &str) -> String {
    let foreign = match joined.foreign_count {
        0 => String::new(),
        count => format!(
            "\n{} of yours will be moved to {}/.tidecast/removed by the first sync, unless the feed has the same",
            text::plural(count, "name"),
            joined.docroot
        ),
    };
    format!(
        "node key  {key}\ndocroot   {}\nconfig    {}{foreign}\n\n\
         Next: the master's operator types\n        tidecast node admit {key}\n      then here\n        {sync}    (once)\n        {mirror}  (stays, and serves clients with --http 0.0.0.0:80)\n",
        joined.docroot,
        joined.config,
        key = joined.node_key,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidecast_engine::docroot::Concern;

    #[test]
    fn an_upstream_is_a_host_with_or_without_a_port() {
        for good in [
            "master.example.org",
            "192.0.2.1:4873",
            "2001:db8::1",
            "[::1]:9",
        ] {
            assert!(check_upstream(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            ":4873",
            "host:",
            "host:0",
            "host:99999",
            "https://host",
            "a b",
        ] {
            assert!(check_upstream(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_person_reads_why_and_what_would_be_moved() {
        let survey = Survey {
            exists: true,
            joined: false,
            foreign: vec![Foreign {
                name: "index\u{1b}.html".into(),
                bytes: 1_500,
                kind: ForeignKind::File,
            }],
            foreign_count: FOREIGN_SHOWN + 1,
            concerns: vec![Concern::DefaultFolder("/var/www/html".into())],
        };
        let text = reasons(Path::new("/var/www/html"), &survey);
        assert!(
            text.contains("/var/www/html is the web server's default folder"),
            "{text}"
        );
        assert!(text.contains("index\\u{1b}.html  1.50 kB"), "{text}");
        assert!(text.contains("and 1 more"), "{text}");
    }
}
