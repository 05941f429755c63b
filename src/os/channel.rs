//! Sockets between two processes of ours that also carry descriptors, and a hold on the other process.

use std::io::{Error, ErrorKind, Result};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// Space for one descriptor's control message, aligned as its header wants.
#[repr(C, align(8))]
struct Control([u8; 64]);

/// The bytes of a control message with one descriptor.
const ONE: u32 = size_of::<libc::c_int>() as u32;

fn message(part: &mut libc::iovec, control: &mut Control) -> libc::msghdr {
    // SAFETY: a message header of zeros is one without anything.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = part;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = control.0.len() as _;
    header
}

/// Sends bytes, the first of them with a descriptor. A peer that is gone is an error, and no signal to the host.
pub fn send(to: &UnixStream, mut bytes: &[u8], with: Option<BorrowedFd<'_>>) -> Result<()> {
    let mut with = with;
    while !bytes.is_empty() {
        let mut control = Control([0; 64]);
        let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        let mut header = message(&mut part, &mut control);
        match with {
            // SAFETY: the control space holds one header with one descriptor, whose place the macros give.
            Some(descriptor) => unsafe {
                header.msg_controllen = libc::CMSG_SPACE(ONE) as _;
                let first = libc::CMSG_FIRSTHDR(&raw const header);
                (*first).cmsg_level = libc::SOL_SOCKET;
                (*first).cmsg_type = libc::SCM_RIGHTS;
                (*first).cmsg_len = libc::CMSG_LEN(ONE) as _;
                libc::CMSG_DATA(first).cast::<libc::c_int>().write_unaligned(descriptor.as_raw_fd());
            },
            None => {
                header.msg_control = std::ptr::null_mut();
                header.msg_controllen = 0;
            }
        }
        // SAFETY: the header leads to live memory of the lengths in it.
        let sent = unsafe { libc::sendmsg(to.as_raw_fd(), &raw const header, libc::MSG_NOSIGNAL) };
        match usize::try_from(sent) {
            Ok(sent) => {
                with = None;
                bytes = bytes.get(sent..).unwrap_or_default();
            }
            Err(_) => interrupted()?,
        }
    }
    Ok(())
}

/// Fails unless the last call was only interrupted.
fn interrupted() -> Result<()> {
    let error = Error::last_os_error();
    if error.kind() == ErrorKind::Interrupted { Ok(()) } else { Err(error) }
}

/// Waits once for bytes, and a descriptor that may come with them. 0 bytes: the peer is gone. A signal interrupts it.
pub fn receive(from: &UnixStream, into: &mut [u8]) -> Result<(usize, Option<OwnedFd>)> {
    let mut control = Control([0; 64]);
    let mut part = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
    let mut header = message(&mut part, &mut control);
    // SAFETY: as in `send`.
    let got = unsafe { libc::recvmsg(from.as_raw_fd(), &raw mut header, libc::MSG_CMSG_CLOEXEC) };
    let got = usize::try_from(got).map_err(|_| Error::last_os_error())?;
    // SAFETY: the kernel has filled the header and what it leads to; a descriptor in it is new, and now ours.
    let descriptor = unsafe {
        let first = libc::CMSG_FIRSTHDR(&raw const header);
        let rights = first.as_ref().is_some_and(|first| {
            (first.cmsg_level, first.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_RIGHTS)
                && first.cmsg_len == libc::CMSG_LEN(ONE) as usize
        });
        rights.then(|| OwnedFd::from_raw_fd(libc::CMSG_DATA(first).cast::<libc::c_int>().read_unaligned()))
    };
    Ok((got, descriptor))
}

/// The process that made this pair of sockets.
pub fn maker(of: &UnixStream) -> Option<u32> {
    let mut made = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut len = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: a live structure of that length.
    let rv = unsafe {
        let to = (&raw mut made).cast();
        libc::getsockopt(of.as_raw_fd(), libc::SOL_SOCKET, libc::SO_PEERCRED, to, &raw mut len)
    };
    u32::try_from(made.pid).ok().filter(|pid| rv == 0 && *pid > 0)
}

/// Another process, meant for good: its number may be given to yet another one once it has ended.
#[derive(Debug)]
pub struct Process(OwnedFd);

impl Process {
    /// `None` where there is no such process, or the kernel (before 5.3) or a sandbox does not let us.
    pub fn open(pid: u32) -> Option<Process> {
        // SAFETY: numbers alone; a descriptor that comes is new, and ours.
        let descriptor = unsafe { libc::syscall(libc::SYS_pidfd_open, libc::c_long::from(pid), 0) };
        let descriptor = i32::try_from(descriptor).ok().filter(|descriptor| *descriptor >= 0)?;
        // SAFETY: as above. The kernel closes it at an exec.
        Some(Process(unsafe { OwnedFd::from_raw_fd(descriptor) }))
    }

    /// Ends it at once, wherever it is.
    pub fn kill(&self) {
        let none = std::ptr::null::<libc::siginfo_t>();
        // SAFETY: a descriptor of our own; no structure is given.
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, self.0.as_raw_fd(), libc::SIGKILL, none, 0) };
    }
}

/// Waits until `other` has ended, or the peer of `socket` has closed it.
pub fn wait_for_end(other: Option<&Process>, socket: &UnixStream) {
    let none = libc::pollfd { fd: -1, events: 0, revents: 0 };
    let process =
        other.map_or(none, |process| libc::pollfd { fd: process.0.as_raw_fd(), events: libc::POLLIN, ..none });
    let mut both = [process, libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLRDHUP, revents: 0 }];
    loop {
        // SAFETY: two live entries; -1 is passed over.
        let ready = unsafe { libc::poll(both.as_mut_ptr(), 2, -1) };
        if ready > 0 {
            return;
        }
        if ready < 0 && interrupted().is_err() {
            std::thread::sleep(Duration::from_secs(1));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn bytes_and_a_descriptor_arrive_and_an_end_is_no_signal() {
        let (here, there) = UnixStream::pair().unwrap();
        let (mut one, other) = UnixStream::pair().unwrap();
        send(&here, b"with", Some(other.as_fd())).unwrap();
        send(&here, b"without", None).unwrap();
        drop(other);
        let mut buffer = [0; 4];
        let (got, descriptor) = receive(&there, &mut buffer).unwrap();
        assert_eq!((got, &buffer), (4, b"with"));
        UnixStream::from(descriptor.unwrap()).write_all(b"x").unwrap();
        let mut byte = [0; 1];
        one.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"x");
        let (got, descriptor) = receive(&there, &mut [0; 16]).unwrap();
        assert_eq!((got, descriptor.is_none()), (7, true));
        assert_eq!(maker(&there), Some(std::process::id()));
        drop(there);
        assert!(send(&here, b"gone", None).is_err());
    }

    #[test]
    fn a_process_is_killed_by_its_hold_and_its_end_is_noticed() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let process = Process::open(child.id()).unwrap();
        process.kill();
        let (here, _there) = UnixStream::pair().unwrap();
        wait_for_end(Some(&process), &here);
        assert!(!child.wait().unwrap().success());
    }
}
