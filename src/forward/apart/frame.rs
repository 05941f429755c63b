//! One message on a socket: its length and its number, four bytes each, lowest first, and the message.

use std::io::{Error, ErrorKind, Result};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use zeroize::Zeroize;

use crate::os;

/// The longest message, in bytes.
pub const LONGEST: usize = 64 << 20;

/// The longest output of a call, in bytes: with what else there is in an answer no more than [`LONGEST`].
pub const LONGEST_OUTPUT: usize = LONGEST - 4096;

const HEAD: usize = 8;

/// What is kept of a buffer between messages.
const KEPT: usize = 1 << 16;

/// A message being written, and the one that was read last.
#[derive(Default)]
pub struct Frames {
    writing: Vec<u8>,
    reading: Vec<u8>,
    /// Of `reading`, with the head.
    read: usize,
}

fn broken(what: &'static str) -> Error {
    Error::new(ErrorKind::InvalidData, what)
}

impl Frames {
    /// Writes a message. Longer than [`LONGEST`]: `InvalidInput`, and nothing was sent.
    pub fn send(
        &mut self,
        to: &UnixStream,
        number: u32,
        with: Option<BorrowedFd<'_>>,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Result<()> {
        self.writing.clear();
        self.writing.extend_from_slice(&[0; HEAD]);
        write(&mut self.writing);
        let len = self.writing.len().saturating_sub(HEAD);
        if len > LONGEST {
            return Err(Error::from(ErrorKind::InvalidInput));
        }
        let head = (u64::from(number) << 32) | len as u64;
        if let Some(place) = self.writing.first_chunk_mut::<HEAD>() {
            *place = head.to_le_bytes();
        }
        os::send(to, &self.writing, with)
    }

    /// Waits for a message, until a point in time where there is one; the socket's own timeout bounds each single wait.
    /// Its number, its bytes, and a descriptor that came with it. `UnexpectedEof`: the peer is gone.
    pub fn receive(&mut self, from: &UnixStream, until: Option<Instant>) -> Result<(u32, &[u8], Option<OwnedFd>)> {
        let (mut filled, mut wanted, mut with) = (0usize, HEAD, None);
        if self.reading.len() < KEPT {
            self.reading.resize(KEPT, 0);
        }
        while filled < wanted {
            let room = self.reading.get_mut(filled..).unwrap_or_default();
            let (got, descriptor) = match os::receive(from, room) {
                Ok((0, _)) => {
                    self.read = filled;
                    return Err(Error::from(ErrorKind::UnexpectedEof));
                }
                Ok(got) => got,
                // A host's timer must not put the deadline off for ever.
                Err(error) if error.kind() == ErrorKind::Interrupted => (0, None),
                Err(error) => return Err(error),
            };
            with = with.or(descriptor);
            filled = filled.saturating_add(got);
            if wanted == HEAD
                && let Some(head) = self.reading.first_chunk::<HEAD>().filter(|_| filled >= HEAD)
            {
                wanted = HEAD.saturating_add(length(head)?);
                if self.reading.len() < wanted {
                    self.reading.resize(wanted, 0);
                }
            }
            if filled < wanted && until.is_some_and(|until| Instant::now() > until) {
                return Err(Error::from(ErrorKind::TimedOut));
            }
        }
        if filled > wanted {
            return Err(broken("more than one message"));
        }
        self.read = filled;
        let number = self.reading.first_chunk::<HEAD>().map_or(0, |head| u64::from_le_bytes(*head) >> 32);
        let body = self.reading.get(HEAD..filled).unwrap_or_default();
        Ok((u32::try_from(number).unwrap_or(0), body, with))
    }

    /// The message that was read last.
    pub fn body(&self) -> &[u8] {
        self.reading.get(HEAD..self.read).unwrap_or_default()
    }

    /// What came in the place of a message before the peer was gone.
    pub fn fragment(&self) -> &[u8] {
        self.reading.get(..self.read).unwrap_or_default()
    }

    /// After an exchange: what was secret is wiped, and no more is kept than usual messages need.
    pub fn tidy(&mut self, secret: bool) {
        if secret {
            self.writing.zeroize();
            self.reading.get_mut(..self.read).unwrap_or_default().zeroize();
        }
        self.writing.clear();
        self.writing.shrink_to(KEPT);
        if self.reading.len() > KEPT {
            self.reading.truncate(KEPT);
            self.reading.shrink_to_fit();
        }
        self.read = 0;
    }
}

fn length(head: &[u8; HEAD]) -> Result<usize> {
    let len = (u64::from_le_bytes(*head) & u64::from(u32::MAX)) as usize;
    if len > LONGEST { Err(broken("a message longer than any")) } else { Ok(len) }
}
