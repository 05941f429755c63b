//! What stands around a token: is this use allowed now, and is it on record? Decorators of `Token`; `module` puts them there.

mod audit;
mod delegate;
mod gate;
mod limits;
mod policy;
mod process;
mod rules;

pub use audit::Audited;
pub use policy::Governed;
pub use rules::{Rules, facts};
