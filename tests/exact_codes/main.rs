//! Bad input, through the C ABI of the loaded library: wrong parameters, keys, points, moduli, tags and ciphertexts, each with the
//! exact code of PKCS#11 3.2. One table per clause; all that differ are named at once.

#[allow(dead_code)] // The other tests of this file's use more of it.
#[path = "../openssl_c_abi/module.rs"]
mod module;

mod data;
mod domains;
mod enumerators;
mod keys;
mod parameters;
mod rejection;
mod signatures;
mod world;

use std::path::{Path, PathBuf};

use world::World;

/// One test, since one process holds one configuration.
#[test]
fn each_clause_has_its_exact_code() {
    let directory = directory("exact-codes");
    let world = World::new(&directory);
    let clauses: [fn(&World) -> Vec<String>; 17] = [
        parameters::wrong_lengths,
        parameters::unknown_hashes,
        enumerators::each_is_known_or_refused,
        parameters::inconsistent_masks,
        parameters::tags,
        parameters::ivs_made_twice,
        keys::points,
        keys::private_values,
        keys::moduli,
        domains::curves,
        domains::groups,
        domains::rsa_numbers,
        keys::wrong_types,
        keys::wrong_sizes,
        data::truncated,
        signatures::lengths_and_bits,
        rejection::pkcs1_says_nothing,
    ];
    let wrong: Vec<String> = clauses.iter().flat_map(|clause| clause(&world)).collect();
    assert!(wrong.is_empty(), "{} cases:\n{}", wrong.len(), wrong.join("\n"));
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
#[ignore = "a measurement of a minute or two"]
fn pkcs1_takes_as_long_for_bad_padding() {
    let directory = directory("exact-codes-time");
    rejection::takes_as_long(&World::new(&directory));
    std::fs::remove_dir_all(directory).unwrap();
}

fn directory(name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    directory
}
