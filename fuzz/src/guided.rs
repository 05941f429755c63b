//! One target, named by `KEYWARD_FUZZ_TARGET`, under libFuzzer. scripts/fuzz builds and runs it.
#![no_main]

use std::sync::OnceLock;

use keyward_fuzz::{Target, target};

static CHOSEN: OnceLock<&'static Target> = OnceLock::new();

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let chosen = CHOSEN.get_or_init(|| {
        let name = std::env::var("KEYWARD_FUZZ_TARGET").unwrap_or_default();
        target(&name).unwrap_or_else(|| panic!("KEYWARD_FUZZ_TARGET names no target: {name:?}"))
    });
    (chosen.run)(data);
});
