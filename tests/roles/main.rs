//! Named users, their roles and second factors: through the C functions in processes of their own, by the program, and by who can
//! write the slot file.

// `c!` calls what its arguments name, and the tests know what they pass.
#![allow(clippy::macro_metavars_in_unsafe)]

mod approvals;
mod backups;
mod duties;
mod hostile;
mod login;
#[path = "../audit/place.rs"]
#[allow(dead_code)]
mod place;
#[path = "../script_common/mod.rs"]
mod script;
mod second_factor;
mod transfer;
mod worker;

use place::*;

/// A token of user `1234-abcd`, with the key pair `tls`, and named users that all have the PIN `NAME-1234`.
pub fn staffed(users: &[(&str, &str)]) -> Place {
    let place = Place::new("");
    place.work("init; login user 1234-abcd; generate tls");
    for (name, roles) in users {
        add(&place, name, roles);
    }
    place
}

pub fn add(place: &Place, name: &str, roles: &str) {
    std::fs::write(place.0.join("new"), format!("{name}-1234\n")).unwrap();
    let roles: String = roles.split(' ').map(|role| format!(" --role {role}")).collect();
    done(place, &format!("user add {name}{roles} --so-pin-file pin --new-pin-file new"));
}

/// The program does it.
pub fn done(place: &Place, line: &str) -> serde_json::Value {
    let (said, exit) = place.json(line);
    assert_eq!(exit, 0, "{line}: {said:#}");
    said
}

/// The program refuses, with this exit code and these words.
pub fn refused(place: &Place, line: &str, exit: i32, words: &str) {
    let out = place.keyward(line);
    let said = shown(&out.stderr);
    assert_eq!(out.status.code(), Some(exit), "{line}: {said}");
    assert!(said.contains(words), "{line}: {said}");
}
