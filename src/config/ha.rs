//! `kind = "ha"`: a slot over several HSMs.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::file::Source;
use super::slots::WrittenSlot;
use super::{FilterRules, MemberRules};
use crate::error::Result;

/// Which member is asked first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// The first of the list that is there.
    #[default]
    Priority,
    /// Each in turn.
    RoundRobin,
}

/// What becomes of a key that is generated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mirror {
    /// It stays on the member that made it.
    #[default]
    Pin,
    /// It is copied to the others, wrapped under a key that all hold.
    Wrap,
}

/// When a member that fails is left alone, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// So many failures in a row.
    pub failures: u32,
    pub retry: Duration,
    /// What `retry` grows to, twice as long after each vain attempt.
    pub most: Duration,
    /// How often a member that nobody uses is looked at.
    pub check: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        let seconds = Duration::from_secs;
        Patience { failures: 3, retry: seconds(1), most: seconds(60), check: seconds(30) }
    }
}

/// One HSM of several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HaMember {
    /// For people, and what the tombstones call it: it stays when the HSM's module moves.
    pub name: String,
    pub rules: MemberRules,
}

/// A slot over several HSMs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HaRules {
    pub label: String,
    pub filter: FilterRules,
    pub order: Order,
    pub mirror: Mirror,
    /// Label of the AES key that all members hold, for `mirror = "wrap"`.
    pub wrapping_key: Option<String>,
    /// So many members at least must have a new token object, or it is not made.
    pub copies: usize,
    pub patience: Patience,
    /// Directory of the tombstones and of what was seen of the members.
    pub state: PathBuf,
    /// In the order of their priority.
    pub members: Vec<HaMember>,
}

const KEYS: &str = "order, mirror, wrapping_key, copies, failures, retry, retry_most, check, state and member belong to a \
                    slot with kind = \"ha\", name to its members";

impl Source<'_> {
    /// Whether a slot has none of the keys of one over several HSMs.
    pub(super) fn is_single(&self, at: usize, written: &WrittenSlot) -> Result<()> {
        let WrittenSlot {
            order, mirror, wrapping_key, copies, failures, retry, retry_most, check, state, member, ..
        } = written;
        let numbers =
            [retry, retry_most, check].into_iter().all(Option::is_none) && failures.is_none() && copies.is_none();
        let words =
            order.is_none() && mirror.is_none() && wrapping_key.is_none() && state.is_none() && member.is_none();
        if numbers && words { Ok(()) } else { Err(self.wrong(at, KEYS)) }
    }

    pub(super) fn ha(&self, at: usize, mut written: WrittenSlot, tokens: &std::path::Path) -> Result<HaRules> {
        if written.has_member_keys() || written.name.is_some() {
            return Err(self.wrong(at, "module, token, pin and their like stand in each [[slot.member]] of an HA slot"));
        }
        let label = written.label.take();
        let label = label.ok_or_else(|| self.wrong(at, "an HA slot needs a `label`, which applications see"))?;
        self.label_fits(at, &label)?;
        if written.security_officer == Some(true) {
            return Err(
                self.wrong(at, "the security officer does not log in to an HA slot: initialise each member itself")
            );
        }
        let filter = self.filter(&mut written)?;
        let members = written.member.take().unwrap_or_default();
        let members = members.into_iter().map(|one| self.ha_member(one)).collect::<Result<Vec<_>>>()?;
        self.check_overlay(at, &filter, members.iter().map(|one| one.rules.sessions))?;
        let twice =
            |at: usize, one: &HaMember| members.iter().skip(at.saturating_add(1)).any(|other| other.name == one.name);
        if members.len() < 2 || members.iter().enumerate().any(|(at, one)| twice(at, one)) {
            return Err(self.wrong(at, "an HA slot needs two or more [[slot.member]] tables, each with its own `name`"));
        }
        let same = |at: usize, one: &HaMember| {
            // With other arguments or another environment one module may lead to another HSM.
            let place = |one: &HaMember| {
                let MemberRules { module, init_args, chosen, isolation, .. } = one.rules.clone();
                (module, init_args, chosen, isolation.map(|rules| rules.environment))
            };
            members.iter().skip(at.saturating_add(1)).any(|other| place(other) == place(one))
        };
        if members.iter().enumerate().any(|(at, one)| same(at, one)) {
            return Err(self.wrong(at, "two members of this HA slot are the same token of the same module"));
        }
        let mirror = written.mirror.take().unwrap_or_default();
        if (mirror == Mirror::Wrap) != written.wrapping_key.is_some() {
            let why = "mirror = \"wrap\" and wrapping_key, the label of an AES key that all members hold, go together";
            return Err(self.wrong(at, why));
        }
        let copies = if mirror == Mirror::Wrap { 2 } else { 1 };
        let copies = self.within(written.copies.take(), "copies", 1..=members.len())?.unwrap_or(copies);
        let state = self.path_of(written.state.take())?;
        Ok(HaRules {
            label,
            filter,
            order: written.order.unwrap_or_default(),
            mirror,
            wrapping_key: written.wrapping_key.take(),
            copies,
            patience: self.patience(&mut written)?,
            state: state.unwrap_or_else(|| tokens.parent().unwrap_or(std::path::Path::new("/")).join("ha")),
            members,
        })
    }

    fn patience(&self, written: &mut WrittenSlot) -> Result<Patience> {
        let default = Patience::default();
        let millis = |value, key, default: Duration| -> Result<Duration> {
            let found = self.within(value, key, 0.0..=86_400.0)?;
            Ok(found.map_or(default, Duration::from_secs_f64))
        };
        let retry = millis(written.retry.take(), "retry", default.retry)?;
        Ok(Patience {
            failures: self.within(written.failures.take(), "failures", 1..=1_000_000)?.unwrap_or(default.failures),
            retry,
            most: millis(written.retry_most.take(), "retry_most", default.most)?.max(retry),
            check: millis(written.check.take(), "check", default.check)?,
        })
    }

    fn ha_member(&self, written: toml::Spanned<WrittenSlot>) -> Result<HaMember> {
        let at = written.span().start;
        let mut written = written.into_inner();
        self.is_single(at, &written)?;
        if written.has_filter_keys() {
            let why = "label, mechanisms, objects, read_only and their like are said once for the whole HA slot";
            return Err(self.wrong(at, why));
        }
        let name = written.name.take().filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| self.wrong(at, "each [[slot.member]] needs a `name`, such as \"east\""))?;
        Ok(HaMember { name, rules: self.member(at, written)? })
    }
}
