//! Where configuration and data may lie: the XDG base directories, and the environment that may choose them.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::error::{Code, Result};

pub const SYSTEM_FILE: &str = "/etc/keyward/keyward.toml";

/// What one environment says.
pub struct Places {
    /// `KEYWARD_CONF`: the one file to read.
    pub named: Option<PathBuf>,
    /// The user's file, there or not.
    pub config: Option<PathBuf>,
    pub home: Option<PathBuf>,
    data: Option<PathBuf>,
}

impl Places {
    /// A relative XDG path counts as unset (XDG base directory specification); so does an empty variable.
    pub fn new(env: &dyn Fn(&str) -> Option<OsString>) -> Places {
        let absolute = |name: &str| env(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let home = absolute("HOME");
        let under = |xdg: &str, usual: &str| {
            absolute(xdg).or_else(|| home.as_ref().map(|home| home.join(usual))).map(|base| base.join("keyward"))
        };
        Places {
            named: env("KEYWARD_CONF").filter(|path| !path.is_empty()).map(PathBuf::from),
            config: under("XDG_CONFIG_HOME", ".config").map(|directory| directory.join("keyward.toml")),
            data: under("XDG_DATA_HOME", ".local/share"),
            home,
        }
    }

    /// The user's data directory for Keyward.
    pub fn data(&self) -> Result<&Path> {
        self.data.as_deref().ok_or_else(|| {
            Code::GeneralError.because(format!(
                "no configuration file, and neither XDG_DATA_HOME nor HOME says where tokens are kept: \
                 set HOME, or write {SYSTEM_FILE} with `tokens` and `device_secret`, or name a file in KEYWARD_CONF"
            ))
        })
    }
}

const AT_NULL: u64 = 0;
const AT_SECURE: u64 = 23;

/// Whether this program runs with more rights than its caller (set-user-ID, set-group-ID, file capabilities), as the
/// kernel tells it in the auxiliary vector. Unreadable for want of permission means the same.
pub fn raised_privileges() -> bool {
    match std::fs::read("/proc/self/auxv") {
        Ok(vector) => secure_flag(&vector),
        Err(error) => error.kind() == ErrorKind::PermissionDenied,
    }
}

fn secure_flag(vector: &[u8]) -> bool {
    let (words, _) = vector.as_chunks::<{ size_of::<usize>() }>();
    words
        .chunks_exact(2)
        .filter_map(|pair| match pair {
            [ty, value] => Some((usize::from_ne_bytes(*ty) as u64, usize::from_ne_bytes(*value))),
            _ => None,
        })
        .take_while(|(ty, _)| *ty != AT_NULL)
        .any(|(ty, value)| ty == AT_SECURE && value != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector(pairs: &[(usize, usize)]) -> Vec<u8> {
        pairs.iter().flat_map(|(ty, value)| [ty.to_ne_bytes(), value.to_ne_bytes()].concat()).collect()
    }

    #[test]
    fn at_secure_is_read_from_the_auxiliary_vector_up_to_its_end() {
        assert!(secure_flag(&vector(&[(6, 4096), (23, 1), (0, 0)])));
        assert!(!secure_flag(&vector(&[(6, 4096), (23, 0), (0, 0)])));
        assert!(!secure_flag(&vector(&[(6, 4096), (0, 0), (23, 1)])));
        assert!(!secure_flag(&[23, 0, 0]));
    }

    #[test]
    fn an_ordinary_test_run_has_no_raised_privileges() {
        assert!(!raised_privileges());
    }
}
