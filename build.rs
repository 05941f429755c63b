//! The shared library stays mapped once loaded: AWS-LC registers a thread-key destructor and we register fork
//! handlers, and both must outlive a `dlclose`.
fn main() {
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
    println!("cargo::rerun-if-changed=build.rs");
}
