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

#[cfg(test)]
mod tests {
    /// A method that a guard does not know has the trait's own body behind it: an import would be one commit for each object,
    /// a token would seem to keep no life of its keys.
    #[test]
    fn every_method_with_a_body_is_passed_on() {
        let (_, traits) = include_str!("../token.rs").split_once("pub trait Token: ").unwrap();
        let methods = traits.split("\n    fn ").skip(1);
        let has_body = |text: &&str| text.split_once(';').map_or(*text, |(before, _)| before).contains('{');
        let names: Vec<&str> = methods.filter(has_body).filter_map(|text| text.split('(').next()).collect();
        assert!(names.contains(&"create_all") && names.len() > 10, "{names:?}");
        for (guard, text) in [("policy", include_str!("policy.rs")), ("audit", include_str!("audit.rs"))] {
            for name in &names {
                let known = text.contains(&format!("    fn {name}(")) || text.contains(&format!("        {name}("));
                assert!(known, "guard/{guard}.rs does not pass {name} on");
            }
        }
    }
}
