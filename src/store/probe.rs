//! Reading a slot file that anybody may have prepared.

use std::path::Path;
use std::sync::Arc;

use super::device::DeviceSecret;
use super::slot_file::{Rules, SlotFile};
use super::verify::Report;
use crate::config::KdfPreset;
use crate::error::Result;

/// Opens the file and reads all that can be read without a PIN, as a process would that meets it: header, state of the
/// PINs, every public object with its secret, the check of the whole. For fuzzing: whatever the file holds, this ends,
/// with a report or one of the errors of [`SlotFile::open`], and never in a panic.
pub fn probe(path: &Path, device: Arc<DeviceSecret>) -> Result<Report> {
    const PAGE: usize = 64;
    let file = SlotFile::open(path, device, Rules { kdf: KdfPreset::Standard, max_failures: 10 })?;
    file.header()?;
    let keys = file.public_keys()?;
    let mut after = 0;
    loop {
        let page = file.find(&keys, &[], after, PAGE)?;
        for entry in &page {
            // A damaged record costs itself only.
            if let Ok(Some(record)) = file.read(&keys, entry.id) {
                let _ = file.secret(&keys, &record);
            }
        }
        match page.last() {
            Some(last) => after = last.id,
            None => return file.verify(&keys),
        }
    }
}
