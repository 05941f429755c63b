//! A small file that is written without a call of the system.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::ptr::{self, NonNull};
use std::sync::atomic::{Ordering, compiler_fence};

use super::files::{file_system, length, reserve};

/// `N` bytes of a file, of which all processes have the same: a lock of the caller's keeps them apart. What was written outlives the
/// process, as with `write`, and does not outlive the machine's fall unless the file is flushed.
///
/// Who cuts the file in the very moment of a use ends the process (as with the storage engine's `-shm` file): it must be private to the
/// user whose processes they are.
#[derive(Debug)]
pub struct Mapped<const N: usize> {
    file: File,
    /// `None`: a network's file system, or one that maps nothing; then by calls.
    at: Option<NonNull<[u8; N]>>,
}

// SAFETY: the bytes are reached by copies alone, and only through `read` and `write`, which need the whole thing mutably.
unsafe impl<const N: usize> Send for Mapped<N> {}

impl<const N: usize> Mapped<N> {
    /// The file is made `N` bytes long where it is shorter; new bytes are zeros.
    pub fn new(path: &Path, file: File) -> io::Result<Mapped<N>> {
        let mut mapped = Mapped { file, at: None };
        mapped.lengthen()?;
        if file_system(path).is_ok_and(|system| system.network.is_none()) {
            mapped.at = map(&mapped.file, N).map(NonNull::cast);
        }
        Ok(mapped)
    }

    /// Memory beyond a file's end ends the process that touches it, so this is looked at when a use begins.
    fn lengthen(&mut self) -> io::Result<()> {
        if length(&self.file)? < N as u64 {
            // The blocks too: a full disk shows here, and not as memory that is not there.
            reserve(&self.file, 0, N as u64)?;
            self.file.set_len(N as u64)?;
        }
        Ok(())
    }

    /// Each use begins with this, and then may write.
    pub fn read(&mut self) -> io::Result<[u8; N]> {
        self.lengthen()?;
        let mut bytes = [0; N];
        match self.at {
            Some(at) => {
                compiler_fence(Ordering::SeqCst);
                // SAFETY: a live mapping of that size, which no reference of ours points into.
                unsafe { ptr::copy_nonoverlapping(at.as_ptr().cast::<u8>(), bytes.as_mut_ptr(), N) };
            }
            None => self.file.read_exact_at(&mut bytes, 0)?,
        }
        Ok(bytes)
    }

    /// Bytes, each with its offset; what would not fit is left out. A process that is killed has written all of one before it began
    /// the next.
    pub fn write(&mut self, parts: &[(usize, &[u8])]) -> io::Result<()> {
        for (offset, bytes) in parts {
            let room = N.saturating_sub(*offset);
            let bytes = bytes.get(..room).unwrap_or(bytes);
            compiler_fence(Ordering::SeqCst);
            match self.at {
                // SAFETY: as above, and `offset` and the length stay within it.
                Some(at) if room > 0 => unsafe {
                    ptr::copy_nonoverlapping(bytes.as_ptr(), at.as_ptr().cast::<u8>().add(*offset), bytes.len());
                },
                Some(_) => {}
                None => self.file.write_all_at(bytes, *offset as u64)?,
            }
        }
        Ok(())
    }
}

fn map(file: &File, len: usize) -> Option<NonNull<u8>> {
    // SAFETY: a new mapping, of which nobody else knows, of an open file.
    let at = unsafe {
        let rw = libc::PROT_READ | libc::PROT_WRITE;
        libc::mmap(ptr::null_mut(), len, rw, libc::MAP_SHARED, file.as_raw_fd(), 0)
    };
    if at == libc::MAP_FAILED { None } else { NonNull::new(at.cast()) }
}

impl<const N: usize> Drop for Mapped<N> {
    fn drop(&mut self) {
        if let Some(at) = self.at {
            // SAFETY: exactly the mapping made above.
            unsafe { libc::munmap(at.as_ptr().cast(), N) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::open_private;

    #[test]
    fn two_of_one_file_have_the_same_bytes_with_and_without_a_mapping() {
        let path = std::env::temp_dir().join(format!("keyward-mapped-{}", std::process::id()));
        let open = || Mapped::<8>::new(&path, open_private(&path).unwrap()).unwrap();
        let (mut one, mut other) = (open(), open());
        assert!(one.at.is_some());
        let unmapped = Mapped::<8> { file: open_private(&path).unwrap(), at: None };
        assert_eq!(one.read().unwrap(), [0; 8]);
        one.write(&[(2, b"abc")]).unwrap();
        assert_eq!(other.read().unwrap(), *b"\0\0abc\0\0\0");
        other.write(&[(6, b"xyz"), (9, b"beyond")]).unwrap();
        drop((one, other));
        let mut unmapped = unmapped;
        assert_eq!(unmapped.read().unwrap(), *b"\0\0abc\0xy");
        unmapped.write(&[(0, b"1"), (1, b"2")]).unwrap();
        let mut cut = open();
        assert_eq!(cut.read().unwrap(), *b"12abc\0xy");
        std::fs::write(&path, b"123").unwrap();
        assert_eq!(cut.read().unwrap(), *b"123\0\0\0\0\0");
        std::fs::write(&path, b"").unwrap();
        cut.read().unwrap();
        cut.write(&[(7, b"7")]).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), *b"\0\0\0\0\0\0\x007");
        std::fs::remove_file(&path).unwrap();
    }
}
