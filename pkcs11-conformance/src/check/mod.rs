//! The specification as tests. One file per area; each exports its rows, and some make rows from a table.
//!
//! A section that starts with "beyond" marks what the specification leaves open and good practice does not.

mod dual;
mod garbage;
mod general;
mod generate;
pub mod keys;
mod login;
mod mechs;
mod message;
mod objects;
mod operations;
mod policy;
mod random;
pub mod rsa_key;
mod search;
mod sessions;
mod slots;
mod templates;
mod threads;
mod uniform;
mod wrap;

use cryptoki_sys::{CK_FLAGS, CK_MECHANISM_TYPE};

use crate::context::{Outcome, T};
use crate::functions::F;

/// What must be there for a test to make sense; it is skipped otherwise.
#[derive(Clone, Copy, Debug)]
pub enum Need {
    Token,
    /// A token and its user's PIN.
    User,
    /// A token and its security officer's PIN.
    So,
    /// A token that the test may wipe.
    Own,
    /// A token that is not write-protected.
    Writable,
    Fn(F),
    /// A mechanism with these uses.
    Mech(CK_MECHANISM_TYPE, CK_FLAGS),
}

/// A test as it stands in an area's table: name, section, requirements, body.
pub struct Row(pub &'static str, pub &'static str, pub &'static [Need], pub fn(&mut T<'_>) -> Outcome);

/// A test that can be run.
pub struct Test {
    pub id: String,
    pub section: String,
    pub needs: Vec<Need>,
    /// How many times the usual time it may take.
    pub patience: u64,
    pub run: Box<dyn Fn(&mut T<'_>) -> Outcome>,
}

impl Test {
    fn new(id: String, section: &str, needs: &[Need], run: impl Fn(&mut T<'_>) -> Outcome + 'static) -> Self {
        Test { id, section: section.to_owned(), needs: needs.to_vec(), patience: 1, run: Box::new(run) }
    }
}

fn rows(area: &str, rows: &'static [Row]) -> impl Iterator<Item = Test> {
    rows.iter().map(move |Row(id, section, needs, run)| Test::new(format!("{area}/{id}"), section, needs, *run))
}

/// All tests, for a token with these mechanisms. Those that wipe the token come last.
pub fn all(mechanisms: &[CK_MECHANISM_TYPE]) -> Vec<Test> {
    let mut tests: Vec<Test> = Vec::new();
    tests.extend(rows("general", general::ROWS));
    tests.extend(uniform::tests());
    tests.extend(rows("slots", slots::ROWS));
    tests.extend(rows("sessions", sessions::ROWS));
    tests.extend(rows("login", login::ROWS));
    tests.extend(rows("objects", objects::ROWS));
    tests.extend(rows("search", search::ROWS));
    tests.extend(templates::tests());
    tests.extend(operations::tests(mechanisms));
    tests.extend(rows("dual", dual::ROWS));
    tests.extend(rows("message", message::ROWS));
    tests.extend(generate::tests(mechanisms));
    tests.extend(wrap::tests(mechanisms));
    tests.extend(rows("policy", policy::ROWS));
    tests.extend(rows("random", random::ROWS));
    tests.extend(rows("threads", threads::ROWS));
    tests.extend(garbage::tests(mechanisms));
    tests.sort_by_key(|t| t.needs.iter().any(|n| matches!(n, Need::Own)));
    tests
}
