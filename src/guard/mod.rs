//! What stands around a token: is this use allowed now? Decorators of `Token`; `module` puts them there.

mod delegate;
mod gate;
mod policy;

pub use policy::Governed;
