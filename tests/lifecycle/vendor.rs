//! The numbers of `include/keyward.h` are those of the library.

use keyward::lifecycle::State;
use keyward::token::{KEYWARD_BASE, VENDOR_ATTRIBUTES};

#[test]
fn the_header_and_the_library_have_the_same_numbers() {
    let header = include_str!("../../include/keyward.h");
    let defined = |prefix: &str| -> Vec<(String, u64)> {
        let lines = header.lines().filter_map(|line| line.strip_prefix("#define "));
        let own = lines.filter(|line| line.starts_with(prefix));
        own.map(|line| {
            let (name, value) = line.split_once(' ').unwrap();
            let value = value.split("/*").next().unwrap().trim().trim_start_matches("(CK_KEYWARD_BASE | ");
            let digits = value.trim_end_matches(')').trim_end_matches("UL");
            let number = match digits.strip_prefix("0x") {
                Some(hex) => u64::from_str_radix(hex, 16),
                None => digits.parse(),
            };
            (name.to_owned(), number.unwrap_or_else(|error| panic!("{line}: {error}")))
        })
        .collect()
    };
    let library: Vec<_> = VENDOR_ATTRIBUTES.iter().map(|(ty, name)| ((*name).to_owned(), ty & !KEYWARD_BASE)).collect();
    assert_eq!(defined("CKA_KEYWARD_"), library);
    let mut states: Vec<_> = State::ALL.map(|s| (s.name().to_uppercase().replace('-', "_"), s as u64)).into();
    states.sort_by_key(|(_, number)| *number);
    let header: Vec<_> =
        defined("CK_KEYWARD_STATE_").into_iter().map(|(n, v)| (n.replace("CK_KEYWARD_STATE_", ""), v)).collect();
    assert_eq!(header, states);
}
