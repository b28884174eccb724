//! The bodies of SPEC §3 without their rules: every field holds what its bytes can spell, so that an insider's objects can
//! be written down.

use bincode::{Decode, Encode};
use tidecast_proto::chunker::Chunking;
use tidecast_proto::extension::Extension;
use tidecast_proto::manifest::Flags;

pub(crate) type Hash = [u8; 32];

#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub(crate) struct Root {
    pub(crate) version: u64,
    pub(crate) epoch: u64,
    pub(crate) feed: String,
    pub(crate) expires: u64,
    pub(crate) root_keys: Vec<Hash>,
    pub(crate) root_threshold: u16,
    pub(crate) release_keys: Vec<Hash>,
    pub(crate) release_threshold: u16,
    pub(crate) added_threshold: u16,
    pub(crate) head_keys: Vec<Hash>,
    pub(crate) head_ttl_max_ms: u64,
    pub(crate) masters: Vec<Master>,
    pub(crate) chunking: Chunking,
    pub(crate) revoked_manifests: Vec<Hash>,
    pub(crate) release_min: u64,
    pub(crate) extensions: Vec<Extension>,
}

#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub(crate) struct Master {
    pub(crate) name: String,
    pub(crate) node_key: Hash,
    pub(crate) addresses: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub(crate) struct Manifest {
    pub(crate) feed: Hash,
    pub(crate) epoch_min: u64,
    pub(crate) release: u64,
    pub(crate) previous: Option<Hash>,
    pub(crate) anchor: Option<(u64, Hash)>,
    pub(crate) created: u64,
    pub(crate) notes: String,
    pub(crate) files: Vec<File>,
    pub(crate) flags: Flags,
    pub(crate) extensions: Vec<Extension>,
}

#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) size: u64,
    pub(crate) executable: bool,
    pub(crate) mtime_s: u64,
    pub(crate) hash: Hash,
    pub(crate) list: Option<Hash>,
    pub(crate) recipe: Option<Hash>,
    pub(crate) database: Option<(String, u64, u64)>,
}

#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub(crate) struct Head {
    pub(crate) feed: Hash,
    pub(crate) epoch: u64,
    pub(crate) seq: u64,
    pub(crate) issued: u64,
    pub(crate) expires: u64,
    pub(crate) release: u64,
    pub(crate) manifest: Hash,
    pub(crate) manifest_bytes: u64,
    pub(crate) root_version: u64,
    pub(crate) phase: u8,
    pub(crate) extensions: Vec<Extension>,
}

#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub(crate) struct Receipt {
    pub(crate) feed: Hash,
    pub(crate) release: u64,
    pub(crate) manifest: Hash,
    pub(crate) state: u8,
    pub(crate) switched: u64,
    pub(crate) issued: u64,
    pub(crate) extensions: Vec<Extension>,
}

pub(crate) type Entries = Vec<(Hash, u32)>;

#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub(crate) struct Recipe {
    pub(crate) opened: Hash,
    pub(crate) segments: Vec<Segment>,
}

#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub(crate) enum Segment {
    Literal(Vec<u8>),
    Plain(u64),
    Deflate(u8, u8, u8, u64, u64),
}
