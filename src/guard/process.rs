//! Who this process is, as a policy names accounts and programs.

use std::os::unix::fs::MetadataExt;

use crate::lifecycle::policy::Who;

/// Whether this process is one of them, whoever has logged in. Asked once per policy: a process does not change its program, and one that gives
/// up an account later has been asked before.
pub fn is_one_of(who: &Who) -> bool {
    let program = std::fs::read_link("/proc/self/exe").unwrap_or_default();
    if who.executables.iter().any(|path| std::path::Path::new(path) == program) {
        return true;
    }
    let Ok(own) = std::fs::metadata("/proc/self") else { return false };
    let named = |list: &[String], id: u32, file: &str| list.iter().any(|name| number_of(name, file) == Some(id));
    named(&who.users, own.uid(), "/etc/passwd")
        || named(&who.groups, own.gid(), "/etc/group")
        || supplementary().iter().any(|gid| named(&who.groups, *gid, "/etc/group"))
}

/// How a change that an application makes is signed: `uid 1000, /usr/sbin/nginx`.
pub fn actor() -> String {
    let uid = std::fs::metadata("/proc/self").map_or_else(|_| "unknown".to_owned(), |own| own.uid().to_string());
    let program = std::fs::read_link("/proc/self/exe").unwrap_or_default();
    format!("uid {uid}, {}", program.display())
}

/// The number of an account or a group: itself, or as the system's file has it.
fn number_of(name: &str, file: &str) -> Option<u32> {
    if let Ok(number) = name.parse() {
        return Some(number);
    }
    let text = std::fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok()).flatten()
    })
}

fn supplementary() -> Vec<u32> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Groups:")).unwrap_or_default();
    line.split_whitespace().filter_map(|gid| gid.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_knows_its_account_and_its_program() {
        let uid = std::fs::metadata("/proc/self").unwrap().uid().to_string();
        let program = std::env::current_exe().unwrap().to_string_lossy().into_owned();
        assert!(is_one_of(&Who { users: vec![uid], ..Who::default() }));
        assert!(is_one_of(&Who { executables: vec![program], ..Who::default() }));
        assert!(!is_one_of(&Who {
            users: vec!["4294967294".into()],
            executables: vec!["/no".into()],
            ..Who::default()
        }));
        assert!(!is_one_of(&Who::default()));
        assert_eq!(number_of("root", "/etc/passwd"), Some(0));
    }
}
