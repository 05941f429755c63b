//! `keyward mechanisms --compare`: our mechanisms beside those of another module.

use std::collections::BTreeMap;
use std::path::Path;

use cryptoki_sys::*;
use keyward::mechanism::table;
use keyward::module::survey;
use serde_json::{Value, json};

use super::{Arguments, Offered, sizes};
use crate::failure::{Exit, Failure, Result};
use crate::names;
use crate::report::{self, Report, cell};

/// Sizes and flags, as one side tells them.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Side {
    size: (u64, u64),
    flags: CK_FLAGS,
}

/// A mechanism that one side has, or both in different ways.
struct Difference {
    ty: CK_MECHANISM_TYPE,
    here: Option<Side>,
    there: Option<Side>,
}

/// The rows only here, only there, and those that differ in sizes or flags. Done, whatever was found.
pub fn run(arguments: &Arguments, module: &Path, ours: &[Offered]) -> Result<Report> {
    if !module.is_file() {
        return Err(Failure::new(
            Exit::Usage,
            format!("there is no file {}; --compare takes the path of a PKCS#11 module", module.display()),
        ));
    }
    let init_args = arguments.compare_init_args.as_deref();
    let theirs = survey::mechanisms(module, init_args, arguments.compare_slot);
    let theirs = theirs.map_err(Failure::of("cannot ask the other module"))?;
    let side = |one: &Offered| (one.row.ty, Side { size: one.size, flags: one.flags });
    let here: BTreeMap<_, _> = ours.iter().map(side).collect();
    let side = |(ty, info): (CK_MECHANISM_TYPE, keyward::token::MechanismInfo)| {
        (ty, Side { size: (info.min_key, info.max_key), flags: info.flags })
    };
    let there: BTreeMap<_, _> = theirs.into_iter().map(side).collect();
    let types = here.keys().chain(there.keys().filter(|ty| !here.contains_key(ty)));
    let both = types.map(|ty| Difference { ty: *ty, here: here.get(ty).copied(), there: there.get(ty).copied() });
    let (differing, alike): (Vec<_>, Vec<_>) =
        both.filter(|one| arguments.keeps_either(one)).partition(|one| one.here != one.there);
    Ok(told(module, &differing, alike.len()))
}

impl Arguments {
    /// The same filters for what only the other side has, as far as its name and flags tell.
    fn keeps_either(&self, one: &Difference) -> bool {
        let named = |part: &String| names::mechanism(one.ty).contains(&part.to_ascii_uppercase());
        let flags = one.here.map_or(0, |side| side.flags) | one.there.map_or(0, |side| side.flags);
        let row = table::row(one.ty).ok();
        self.name.as_ref().is_none_or(named)
            && self.usage.is_none_or(|usage| flags & usage != 0)
            && self.key_type.is_none_or(|ty| row.is_some_and(|row| row.keys.contains(&ty)))
            && (!self.approved || row.is_some_and(|row| row.approved))
    }
}

impl Difference {
    fn place(&self) -> &'static str {
        match (self.here, self.there) {
            (Some(_), None) => "here",
            (None, Some(_)) => "there",
            _ => "both",
        }
    }

    fn line(&self) -> Vec<String> {
        let size = |side: Option<Side>| side.map_or_else(|| "-".to_owned(), |side| sizes(side.size));
        let (here, there) = (self.flags_of(self.here), self.flags_of(self.there));
        vec![
            names::mechanism(self.ty),
            self.place().to_owned(),
            size(self.here),
            size(self.there),
            cell(&names::flags(here & !there).join(" ")),
            cell(&names::flags(there & !here).join(" ")),
        ]
    }

    fn flags_of(&self, side: Option<Side>) -> CK_FLAGS {
        side.map_or(0, |side| side.flags)
    }

    fn described(&self) -> Value {
        let side = |side: Side| json!({ "least_size": side.size.0, "most_size": side.size.1, "flags": names::flags(side.flags) });
        json!({
            "name": names::mechanism(self.ty),
            "type": self.ty,
            "here": self.here.map(side),
            "there": self.there.map(side),
        })
    }
}

fn told(module: &Path, differing: &[Difference], alike: usize) -> Report {
    let at = |place: &str| differing.iter().filter(|one| one.place() == place).collect::<Vec<_>>();
    let (here, there, both) = (at("here"), at("there"), at("both"));
    let rows: Vec<Vec<String>> = [&here, &there, &both].into_iter().flatten().map(|one| one.line()).collect();
    let header = ["MECHANISM", "WHERE", "SIZES HERE", "SIZES THERE", "FLAGS ONLY HERE", "FLAGS ONLY THERE"];
    let counts = format!(
        "{} only here, {} only in {}, {} in both but different, {alike} alike\n",
        here.len(),
        there.len(),
        module.display(),
        both.len(),
    );
    let described = |list: &[&Difference]| list.iter().map(|one| one.described()).collect::<Vec<_>>();
    let json = json!({
        "module": module,
        "only_here": described(&here),
        "only_there": described(&there),
        "different": described(&both),
        "alike": alike,
    });
    Report::new(report::table(&header, &rows) + &counts, json)
}
