//! SoftHSM's file back end: `token.object`, and one `.object` file for each object: a counter, then attributes, each a
//! type, a kind and a value, all numbers of eight bytes, the highest first.

use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::{Attributes, Contents, Value};

pub fn read(directory: &Path) -> Result<Contents, String> {
    let one = |path: &Path| read_one(path).map_err(|why| format!("{}: {why}", path.display()));
    let token = one(&directory.join("token.object"))?;
    let paths = object_files(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let objects = paths.iter().map(|path| Ok((path.display().to_string(), one(path)?)));
    Ok(Contents { token, objects: objects.collect::<Result<_, String>>()? })
}

fn object_files(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        let is_object = path.extension().is_some_and(|end| end == "object");
        if is_object && path.file_stem().is_some_and(|stem| stem != "token") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn read_one(path: &Path) -> Result<Attributes, String> {
    let bytes = std::fs::read(path).map(Zeroizing::new).map_err(|error| error.to_string())?;
    let mut rest = bytes.as_slice();
    number(&mut rest)
        .and_then(|_| attributes(rest, 0))
        .ok_or_else(|| "no object file of SoftHSM, or cut off".to_owned())
}

fn number(rest: &mut &[u8]) -> Option<u64> {
    let (head, tail) = rest.split_first_chunk::<8>()?;
    *rest = tail;
    Some(u64::from_be_bytes(*head))
}

fn attributes(mut rest: &[u8], depth: u32) -> Option<Attributes> {
    // A template does not hold templates that hold templates.
    if depth > 2 {
        return None;
    }
    let mut found = Vec::new();
    while !rest.is_empty() {
        let ty = number(&mut rest)?;
        let value = match number(&mut rest)? {
            1 => {
                let (byte, tail) = rest.split_first()?;
                rest = tail;
                Value::Bool(*byte != 0)
            }
            2 => Value::Number(number(&mut rest)?),
            3 => Value::Bytes(Zeroizing::new(counted(&mut rest)?.to_vec())),
            4 => Value::Template(attributes(counted(&mut rest)?, depth + 1)?),
            5 => {
                let count = number(&mut rest)?;
                let listed = (0..count).map(|_| number(&mut rest));
                // Ends at the first that is missing, whatever the count says.
                Value::Mechanisms(listed.collect::<Option<_>>()?)
            }
            _ => return None,
        };
        found.push((ty, value));
    }
    Some(found)
}

fn counted<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::try_from(number(rest)?).ok()?;
    let (bytes, tail) = rest.split_at_checked(len)?;
    *rest = tail;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use cryptoki_sys::*;

    use super::*;

    #[test]
    fn damaged_files_are_refused_and_never_read_past() {
        let mut file = Vec::new();
        for number in [CKA_TOKEN, 1] {
            file.extend(number.to_be_bytes());
        }
        file.push(0xff);
        for number in [CKA_LABEL, 3, 2] {
            file.extend(number.to_be_bytes());
        }
        file.extend(b"ab");
        for number in [CKA_ALLOWED_MECHANISMS, 5, 1, CKM_SHA256] {
            file.extend(number.to_be_bytes());
        }
        assert_eq!(attributes(&file, 0).unwrap().len(), 3);
        let ends = [17, 17 + 26];
        for len in 1..file.len() {
            assert_eq!(attributes(&file[..len], 0).is_some(), ends.contains(&len), "{len}");
        }
        let mut huge = file.clone();
        let count = huge.len() - 16;
        huge[count..count + 8].fill(0xff);
        assert!(attributes(&huge, 0).is_none());
    }
}
