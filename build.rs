//! Two settings that Cargo.toml cannot express.
fn main() {
    // The shared library stays mapped once loaded: AWS-LC registers a thread-key destructor and we register fork
    // handlers, and both must outlive a `dlclose`.
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
    if std::env::var_os("CARGO_FEATURE_AWS_LC").is_some() {
        println!("cargo::rustc-env=AWS_LC_PREFIX={}", aws_lc_prefix());
    }
    println!("cargo::rerun-if-changed=build.rs");
}

/// What stands before each symbol of the AWS-LC that is linked, for the functions that `aws-lc-sys` does not declare. It
/// says so by the name of its library: `DEP_AWS_LC_<version>_LIBCRYPTO=<prefix>_crypto`.
fn aws_lc_prefix() -> String {
    let library = std::env::vars().find(|(name, _)| name.starts_with("DEP_AWS_LC_") && name.ends_with("_LIBCRYPTO"));
    let Some((_, library)) = library else { panic!("aws-lc-sys does not name its library: DEP_AWS_LC_*_LIBCRYPTO") };
    library.trim_end_matches("crypto").to_owned()
}
