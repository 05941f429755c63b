//! Decorators of [`crate::token::Token`]: what stands between the C boundary and a token. `module` stacks them.

mod audit;

pub use audit::Audited;
