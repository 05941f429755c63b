//! The sample vectors of NIST's ACVP server, as gzipped JSON in the directory `acvp` of `KEYWARD_VECTORS` (by default
//! `../shared/vectors`). Where that is not, or lacks a file, the test says so and passes.

use std::io::Read;
use std::path::PathBuf;

use serde_json::Value;

pub fn load(name: &str) -> Option<Value> {
    let vectors = std::env::var_os("KEYWARD_VECTORS").map(PathBuf::from);
    let vectors = vectors.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/vectors"));
    let path = vectors.join("acvp").join(format!("{name}.json.gz"));
    let Ok(packed) = std::fs::read(&path) else {
        eprintln!("skipped: no {} (set KEYWARD_VECTORS to the directory of vectors)", path.display());
        return None;
    };
    let mut text = String::new();
    flate2::read::GzDecoder::new(&packed[..]).read_to_string(&mut text).unwrap();
    Some(serde_json::from_str(&text).unwrap())
}
