//! The functions of a token that a decorator passes on as they are.

/// Writes the methods of `Token` that only pass on to `self.inner`.
macro_rules! pass_on {
    ($($name:ident($($arg:ident: $ty:ty),*) $(-> $out:ty)?;)*) => {
        $(fn $name(&self, $($arg: $ty),*) $(-> $out)? {
            self.inner.$name($($arg),*)
        })*
    };
}
pub(super) use pass_on;
