//! What stands around a token: is this use allowed now? Decorators of `Token`; `module` puts them there.

mod delegate;
mod gate;
mod limits;
mod policy;
mod process;
mod rules;

pub use policy::Governed;
pub use rules::{Rules, facts};
