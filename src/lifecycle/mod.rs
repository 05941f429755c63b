//! The life of keys: states, dates, versions and the rules of policy (docs/lifecycle.md). Facts in, verdicts out: no C
//! types, no files, no clock but the one that is handed in.

pub mod approval;
pub mod clock;
pub mod policy;
pub mod state;
pub mod version;

pub use policy::Policy;
pub use state::{Dates, Event, Life, Purpose, State, Verdict};
