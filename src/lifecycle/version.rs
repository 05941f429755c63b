//! Labels of versions: the newest holds the label, older ones read `label#v2`.

const MARK: &str = "#v";

/// The label under which version `version` of `label` is kept once it is not the newest active one.
pub fn archived(label: &[u8], version: u64) -> Vec<u8> {
    [label, MARK.as_bytes(), version.to_string().as_bytes()].concat()
}

/// The label of the logical key, of a version's own label.
pub fn logical(label: &[u8], version: u64) -> &[u8] {
    let mark = [MARK.as_bytes(), version.to_string().as_bytes()].concat();
    label.strip_suffix(mark.as_slice()).unwrap_or(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_archived_and_found_again() {
        assert_eq!(archived(b"web", 2), b"web#v2");
        assert_eq!(logical(b"web#v2", 2), b"web");
        assert_eq!(logical(b"web#v2", 3), b"web#v2", "another version's mark is part of the label");
        assert_eq!(logical(&archived("schlüssel#v1".as_bytes(), 1), 1), "schlüssel#v1".as_bytes());
    }
}
