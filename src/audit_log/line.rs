//! A line as it is read back.

use serde::Deserialize;

use super::time;

/// One line of the record. Fields that a line lacks are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Line {
    pub seq: u64,
    pub time: String,
    pub host: String,
    pub pid: u32,
    pub uid: u32,
    pub exe: String,
    pub slot: u64,
    pub token: String,
    pub user: String,
    pub op: String,
    pub key: String,
    pub label: String,
    pub version: Option<u64>,
    pub with: String,
    pub mechanism: String,
    pub result: String,
    pub rule: String,
    /// Of a checkpoint.
    pub signature: String,
    /// The hash of the line before, 64 digits; of the very first line zeros.
    pub prev: String,
}

impl Line {
    /// `None`: it is no line of the record.
    pub fn parse(text: &str) -> Option<Line> {
        serde_json::from_str(text).ok()
    }

    /// Microseconds since 1970.
    pub fn micros(&self) -> Option<u64> {
        time::parse(&self.time)
    }

    /// Written by the record itself, not by a caller.
    pub fn is_own(&self) -> bool {
        matches!(self.op.as_str(), CHECKPOINT | ROTATE | GAP | BEGIN)
    }

    pub fn is_good(&self) -> bool {
        matches!(self.result.as_str(), "" | "CKR_OK")
    }
}

pub const CHECKPOINT: &str = "checkpoint";
/// The last line of a full file.
pub const ROTATE: &str = "rotate";
/// The record was found damaged, and goes on from here.
pub const GAP: &str = "gap";
/// The first line of all.
pub const BEGIN: &str = "begin";
