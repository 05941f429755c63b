//! The device secret: what a stolen slot file is worthless without.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use super::seal::{Key, hkdf};
use crate::error::{Code, Result};
use crate::os;
use crate::secret::Secret;

/// 32 bytes of this machine, in a file of their own (0600).
pub struct DeviceSecret(Key);

impl DeviceSecret {
    pub fn from_bytes(bytes: [u8; 32]) -> DeviceSecret {
        DeviceSecret(Secret::new(bytes))
    }

    /// Reads the file, which is made first if there is none; of several processes at once all get the same secret.
    /// Errors as for [`DeviceSecret::load`], and those of a directory that cannot be written.
    pub fn load_or_create(path: &Path) -> Result<DeviceSecret> {
        if !path.exists() {
            if let Some(parent) = path.parent() {
                os::create_private_dirs(parent)?;
            }
            let fresh: Key = Secret::new(os::random_array()?);
            os::write_private_new(path, fresh.expose())?;
        }
        DeviceSecret::load(path)
    }

    /// `CKR_GENERAL_ERROR` where the file is missing, is not 32 bytes long, or is open to others.
    pub fn load(path: &Path) -> Result<DeviceSecret> {
        let shown = path.display();
        let mut file = File::open(path).map_err(|e| {
            let hint = match e.kind() {
                ErrorKind::NotFound => ": without it no token of this machine opens; restore it from its backup",
                _ => "",
            };
            Code::GeneralError.because(format!("cannot read the device secret {shown}: {e}{hint}"))
        })?;
        os::check_private(path)?;
        let mut bytes = Secret::new([0u8; 33]);
        let mut len = 0usize;
        while let Some(room) = bytes.expose_mut().get_mut(len..).filter(|room| !room.is_empty()) {
            match file.read(room) {
                Ok(0) => break,
                Ok(read) => len = len.saturating_add(read),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(Code::GeneralError.because(format!("cannot read the device secret {shown}: {e}"))),
            }
        }
        match bytes.expose().first_chunk::<32>() {
            Some(secret) if len == 32 => Ok(DeviceSecret::from_bytes(*secret)),
            _ => {
                let found = if len > 32 { "more".into() } else { len.to_string() };
                let why =
                    format!("the device secret {shown} holds {found} bytes, expected 32: restore it from its backup");
                Err(Code::GeneralError.because(why))
            }
        }
    }

    /// A key for one purpose and one token.
    pub fn derive(&self, purpose: &[u8], uuid: &[u8; 16]) -> Result<Key> {
        hkdf(&[], self.0.expose(), &[purpose, uuid])
    }

    /// KEK of a role: HKDF(salt = D, ikm = S, info).
    pub fn salt_for(&self, stretched: &Key, info: &[&[u8]]) -> Result<Key> {
        hkdf(self.0.expose(), stretched.expose(), info)
    }

    /// What the header shows of the secret.
    pub fn check(&self, uuid: &[u8; 16]) -> Result<[u8; 8]> {
        let key = self.derive(b"keyward device check", uuid)?;
        Ok(key.expose().first_chunk().copied().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn it_is_made_once_and_read_strictly() {
        let dir = std::env::temp_dir().join(format!("keyward-device-{}", std::process::id()));
        let path = dir.join("made/device.secret");
        let first = DeviceSecret::load_or_create(&path).unwrap();
        let again = DeviceSecret::load_or_create(&path).unwrap();
        assert!(first.0 == again.0);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let loose = DeviceSecret::load(&path).err().unwrap();
        assert!(loose.why().unwrap().contains("chmod 600"), "{loose}");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        for wrong in [0, 31, 33] {
            std::fs::write(&path, vec![1; wrong]).unwrap();
            assert!(DeviceSecret::load(&path).err().unwrap().why().unwrap().contains("expected 32"));
        }
        std::fs::remove_dir_all(&dir).unwrap();
        assert!(DeviceSecret::load(&path).is_err());
    }
}
