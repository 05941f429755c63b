//! A generator that is in use when the process forks.

#![allow(unsafe_code)]

use std::io::Read;
use std::os::fd::{AsRawFd, FromRawFd};

use keyward::crypto::random::Generator;

#[test]
fn parent_and_children_never_draw_the_same() {
    let mut generator = Generator::new().unwrap();
    generator.fill(&mut [0; 16]).unwrap();
    let mut drawn = std::collections::HashSet::new();
    for _ in 0..8 {
        let mut ends = [0; 2];
        // SAFETY: `ends` has room for the two descriptors, which are then owned here alone.
        let (mut read, write) = unsafe {
            assert_eq!(libc::pipe(ends.as_mut_ptr()), 0);
            (std::fs::File::from_raw_fd(ends[0]), std::fs::File::from_raw_fd(ends[1]))
        };
        // SAFETY: the child only computes, writes and leaves: nothing of what another thread may hold is touched.
        match unsafe { libc::fork() } {
            0 => {
                let mut out = [0u8; 64];
                let filled = generator.fill(&mut out).is_ok();
                // SAFETY: a live buffer and descriptor; the child ends here without running what the parent will.
                unsafe {
                    if filled {
                        libc::write(write.as_raw_fd(), out.as_ptr().cast(), out.len());
                    }
                    libc::_exit(0)
                }
            }
            child => {
                assert!(child > 0);
                drop(write);
                let mut theirs = Vec::new();
                read.read_to_end(&mut theirs).unwrap();
                // SAFETY: a child of ours, waited for once.
                unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
                assert_eq!(theirs.len(), 64, "the child drew");
                let mut ours = vec![0; 64];
                generator.fill(&mut ours).unwrap();
                assert!(drawn.insert(theirs) && drawn.insert(ours));
            }
        }
    }
}
