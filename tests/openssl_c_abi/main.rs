//! The first row of mechanisms through the C ABI against OpenSSL in the same process, in both directions: what we make it
//! opens or verifies, what it makes we open or verify. One test, since one process holds one configuration.

#[path = "../acvp_common/mod.rs"]
mod acvp_common;
mod asymmetric;
mod derived;
mod deterministic;
mod further;
mod module;
mod symmetric;

use module::Module;

#[test]
fn openssl_and_the_library_agree_on_every_mechanism_of_the_first_row() {
    let directory =
        std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("openssl-c-abi-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let module = Module::new(&directory);
    symmetric::ciphers(&module);
    symmetric::authenticated(&module);
    symmetric::key_wrapping(&module);
    symmetric::digests(&module);
    symmetric::macs(&module);
    further::block_ciphers(&module);
    further::stealing(&module);
    further::streams_and_seals(&module);
    further::ccm(&module);
    further::filled_wrapping(&module);
    further::digests(&module);
    asymmetric::rsa_signatures(&module);
    asymmetric::rsa_encryption(&module);
    asymmetric::ecdsa(&module);
    asymmetric::ed25519(&module);
    asymmetric::agreement(&module);
    derived::of_hashes(&module);
    derived::passwords(&module);
    derived::gmac(&module);
    derived::dsa(&module);
    derived::finite_agreement(&module);
    deterministic::ecdsa(module, &directory);
    std::fs::remove_dir_all(directory).unwrap();
}
