//! The file of a backup (docs/backup.md): a header in clear, the sealed snapshot in chunks, a checksum.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::share::Share;
use crate::crypto::block::Direction;
use crate::crypto::digest::{Digest, Hasher, hash};
use crate::crypto::gcm::{Gcm, GcmKey};
use crate::crypto::kdf::hkdf_expand;
use crate::error::{Code, Error, Result};
use crate::os;
use crate::secret::Secret;

const MAGIC: &[u8; 8] = b"KWBACKUP";
const FORMAT: u16 = 1;
/// Bytes of a chunk in clear.
const CHUNK: usize = 1 << 20;
const TAG: usize = 16;
const SUM: usize = 32;
/// No header is longer.
const LONGEST: u32 = 1 << 20;

/// What anybody may read of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// 32 hexadecimal digits, drawn for this backup.
    pub id: String,
    /// UTC.
    pub created: String,
    /// The version of Keyward that made it.
    pub keyward: String,
    pub serial: String,
    pub threshold: u8,
    pub custodians: Vec<String>,
    /// The number of the audit record's last line, where one is kept.
    pub audit: Option<u64>,
}

fn failed(what: &str, path: &Path) -> impl Fn(io::Error) -> Error {
    let (what, path) = (what.to_owned(), path.to_owned());
    move |error| os::failed(&what, &path, &error)
}

/// Under the backup's key, bound to the header.
fn cipher(key: &Secret<[u8; 32]>, header: &[u8], direction: Direction) -> Result<(Gcm, Vec<u8>)> {
    let mut derived = Zeroizing::new([0; 32]);
    hkdf_expand(Digest::Sha256, key.expose(), b"keyward backup", &mut *derived)?;
    Ok((GcmKey::new(&*derived)?.begin(direction)?, hash(Digest::Sha256, header).to_vec()))
}

/// A chunk's number, and whether it is the last: none can be left out, doubled, moved or cut.
fn nonce(number: u64, last: bool) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce
        .iter_mut()
        .zip(number.to_be_bytes().into_iter().chain([0, 0, 0, u8::from(last)]))
        .for_each(|(to, from)| *to = from);
    nonce
}

/// Everything that is written goes into the checksum.
struct Summed<T> {
    inner: T,
    sum: Hasher,
}

impl<T: Write> Summed<T> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sum.update(bytes);
        self.inner.write_all(bytes)
    }
}

impl<T: Read> Summed<T> {
    fn take<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        self.inner.read_exact(bytes)?;
        self.sum.update(bytes);
        Ok(())
    }
}

/// Makes the file of a backup.
pub struct Maker {
    pub header: Header,
    key: Secret<[u8; 32]>,
}

impl Maker {
    /// With a key of its own, of which one share is for each custodian. `CKR_ARGUMENTS_BAD`.
    pub fn new(serial: &str, created: String, threshold: u8, custodians: Vec<String>) -> Result<(Maker, Vec<Share>)> {
        let key = Secret::new(os::random_array()?);
        let id = os::random_array::<16>()?.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
        let many = || Code::ArgumentsBad.because("at most 255 custodians");
        let shares = Share::split(&id, &key, threshold, u8::try_from(custodians.len()).map_err(|_| many())?)?;
        let keyward = env!("CARGO_PKG_VERSION").to_owned();
        let header = Header { id, created, keyward, serial: serial.to_owned(), threshold, custodians, audit: None };
        Ok((Maker { header, key }, shares))
    }

    /// Seals the device secret and the snapshot into a new file, which appears whole and durable or not at all.
    pub fn write(&self, to: &Path, device: &[u8; 32], snapshot: &Path) -> Result<()> {
        let file = os::create_private(to).map_err(failed("make", to))?;
        let written = self.fill(&file, device, snapshot).and_then(|()| {
            file.sync_all().map_err(failed("flush", to))?;
            os::sync_dir(to)
        });
        if written.is_err() {
            let _ = std::fs::remove_file(to);
        }
        written
    }

    fn fill(&self, file: &File, device: &[u8; 32], snapshot: &Path) -> Result<()> {
        let header = serde_json::to_vec(&self.header).map_err(|e| Code::GeneralError.because(e.to_string()))?;
        let len = u32::try_from(header.len()).map_err(|_| Code::GeneralError)?;
        let start = [MAGIC.as_slice(), &FORMAT.to_be_bytes(), &len.to_be_bytes(), &header].concat();
        let (mut cipher, aad) = cipher(&self.key, &start, Direction::Encrypt)?;
        let mut out = Summed { inner: BufWriter::new(file), sum: Hasher::new(Digest::Sha256) };
        let fails = failed("write the backup of", snapshot);
        out.put(&start).map_err(&fails)?;
        let source = File::open(snapshot).map_err(failed("read", snapshot))?;
        let mut source = device.as_slice().chain(BufReader::new(source));
        let mut plain = Zeroizing::new(vec![0; CHUNK]);
        let mut sealed = vec![0; CHUNK];
        for number in 0u64.. {
            let len = read_full(&mut source, &mut plain).map_err(&fails)?;
            let last = len < CHUNK;
            let (from, to) = (plain.get(..len).unwrap_or_default(), sealed.get_mut(..len).unwrap_or_default());
            cipher.start(&nonce(number, last), &aad)?;
            cipher.update(from, to)?;
            let mut tag = [0; TAG];
            cipher.tag(&mut tag)?;
            let head = (len as u32) << 1 | u32::from(last);
            let parts: [&[u8]; 3] = [&head.to_be_bytes(), to, &tag];
            parts.into_iter().try_for_each(|part| out.put(part)).map_err(&fails)?;
            if last {
                break;
            }
        }
        let sum = out.sum.finish();
        out.inner.write_all(&sum).and_then(|()| out.inner.flush()).map_err(fails)
    }
}

/// As much as there is.
fn read_full(source: &mut impl Read, into: &mut [u8]) -> io::Result<usize> {
    let mut done = 0usize;
    while let Some(room) = into.get_mut(done..).filter(|room| !room.is_empty()) {
        match source.read(room) {
            Ok(0) => break,
            Ok(read) => done = done.saturating_add(read),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(done)
}

/// What is done with each chunk: its number, whether it is the last, itself and its tag.
type Each<'a> = &'a mut dyn FnMut(u64, bool, &[u8], &[u8]) -> Result<()>;

/// A backup that is there.
pub struct Archive {
    pub header: Header,
    start: Vec<u8>,
    path: std::path::PathBuf,
}

impl Archive {
    /// Reads the header. `CKR_DATA_INVALID`: no backup, or one of a newer Keyward.
    pub fn open(path: &Path) -> Result<Archive> {
        let file = File::open(path).map_err(failed("open", path))?;
        let mut from = Summed { inner: BufReader::new(file), sum: Hasher::new(Digest::Sha256) };
        let (header, start) = header(&mut from).map_err(|why| damaged(path, &why))?;
        Ok(Archive { header, start, path: path.to_owned() })
    }

    /// Whether the file is as it was written; needs no share. `CKR_DATA_INVALID`.
    pub fn check(&self) -> Result<()> {
        self.walk(&mut |_, _, _, _| Ok(()))
    }

    /// Opens the snapshot into a new file; returns the device secret that it was sealed under.
    /// `CKR_ENCRYPTED_DATA_INVALID`: the key is another's. `CKR_DATA_INVALID`: the file is damaged.
    pub fn extract(&self, key: &Secret<[u8; 32]>, to: &Path) -> Result<Secret<[u8; 32]>> {
        let (mut cipher, aad) = cipher(key, &self.start, Direction::Decrypt)?;
        let mut out = BufWriter::new(os::create_private(to).map_err(failed("make", to))?);
        let mut device = Secret::new([0u8; 32]);
        let mut plain = Zeroizing::new(Vec::new());
        self.walk(&mut |number, last, sealed, tag| {
            plain.resize(sealed.len(), 0);
            cipher.start(&nonce(number, last), &aad)?;
            cipher.update(sealed, &mut plain)?;
            cipher.check(tag).map_err(|_| {
                Code::EncryptedDataInvalid.because("the shares do not open this backup, or it was altered")
            })?;
            let rest = match number {
                0 => {
                    let (first, rest) = plain.split_first_chunk::<32>().ok_or(Code::DataInvalid)?;
                    device.expose_mut().copy_from_slice(first);
                    rest
                }
                _ => plain.as_slice(),
            };
            out.write_all(rest).map_err(failed("write", to))
        })?;
        out.flush().map_err(failed("write", to))?;
        Ok(device)
    }

    /// Every chunk: its number, whether it is the last, itself and its tag. The checksum is compared at the end.
    fn walk(&self, each: Each<'_>) -> Result<()> {
        let wrong = |why: &str| damaged(&self.path, why);
        let short = |_: io::Error| wrong("it ends too early");
        let file = File::open(&self.path).map_err(failed("open", &self.path))?;
        let mut from = Summed { inner: BufReader::new(file), sum: Hasher::new(Digest::Sha256) };
        let (_, start) = header(&mut from).map_err(|why| wrong(&why))?;
        if start != self.start {
            return Err(wrong("it was replaced meanwhile"));
        }
        let mut chunk = vec![0; CHUNK + TAG];
        for number in 0u64.. {
            let head = u32::from_be_bytes(from.take().map_err(short)?);
            let (len, last) = ((head >> 1) as usize, head & 1 == 1);
            let whole = chunk.get_mut(..len.saturating_add(TAG)).ok_or_else(|| wrong("a chunk is too long"))?;
            from.fill(whole).map_err(short)?;
            let (sealed, tag) = whole.split_at_checked(len).ok_or(Code::GeneralError)?;
            each(number, last, sealed, tag)?;
            if last {
                break;
            }
        }
        let sum = from.sum.finish();
        let mut rest = Vec::new();
        from.inner.take(SUM as u64 + 1).read_to_end(&mut rest).map_err(failed("read", &self.path))?;
        if rest != *sum {
            return Err(wrong("its checksum is another"));
        }
        Ok(())
    }
}

fn header(from: &mut Summed<impl Read>) -> Result<(Header, Vec<u8>), String> {
    let no_backup = |_: io::Error| "it is no backup".to_owned();
    let (magic, format) = (from.take::<8>().map_err(no_backup)?, u16::from_be_bytes(from.take().map_err(no_backup)?));
    if &magic != MAGIC {
        return Err("it is no backup".to_owned());
    }
    if format != FORMAT {
        return Err(format!("it has format {format}, expected {FORMAT}: use the Keyward that made it, or a newer one"));
    }
    let len = u32::from_be_bytes(from.take().map_err(no_backup)?);
    if len > LONGEST {
        return Err("its header is damaged".to_owned());
    }
    let mut text = vec![0; len as usize];
    from.fill(&mut text).map_err(no_backup)?;
    let start = [magic.as_slice(), &format.to_be_bytes(), &len.to_be_bytes(), &text].concat();
    let header = serde_json::from_slice(&text).map_err(|e| format!("its header is damaged: {e}"))?;
    Ok((header, start))
}

fn damaged(path: &Path, why: &str) -> Error {
    Code::DataInvalid.because(format!("{}: {why}", path.display()))
}
