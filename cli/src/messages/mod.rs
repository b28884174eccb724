//! Every message that an operator can meet, with what to do: the content of `tidecast-messages(7)`.
//!
//! A message stands here as in the code, each placeholder by name. `tests/messages.rs` reads the sources and says
//! which entry is missing, ready to be pasted, and which has nothing in the code any more. What fills a placeholder
//! is listed only where it is a message of its own.

mod audit;
mod bugs;
mod bundles;
mod command;
mod configuration;
mod databases;
mod demo;
mod disk;
mod docroot;
mod http;
mod keys;
mod master;
mod progress;
mod publishing;
mod releases;
mod roots;
mod status;
mod store;
mod stream;
mod trust;
mod upstream;

/// Messages about one thing.
pub(crate) struct Subject {
    /// A heading, in capitals.
    pub(crate) title: &'static str,
    /// What its messages have in common.
    pub(crate) introduction: &'static str,
    /// By their first words.
    pub(crate) entries: &'static [Entry],
}

/// Messages that call for the same.
pub(crate) struct Entry {
    /// By their first words; `{path}` stands for what varies.
    pub(crate) messages: &'static [&'static str],
    /// What is so, where the message itself does not say it; or nothing.
    pub(crate) meaning: &'static str,
    /// What to do. Where the code gives a hint, its words.
    pub(crate) advice: &'static str,
}

/// All of them, what mirrors meet first.
pub(crate) const SUBJECTS: &[Subject] = &[
    docroot::SUBJECT,
    disk::SUBJECT,
    upstream::SUBJECT,
    stream::SUBJECT,
    bundles::SUBJECT,
    trust::SUBJECT,
    keys::SUBJECT,
    publishing::SUBJECT,
    releases::SUBJECT,
    roots::SUBJECT,
    master::SUBJECT,
    store::SUBJECT,
    databases::SUBJECT,
    configuration::SUBJECT,
    command::SUBJECT,
    status::SUBJECT,
    http::SUBJECT,
    audit::SUBJECT,
    progress::SUBJECT,
    demo::SUBJECT,
    bugs::SUBJECT,
];
