//! Sequences of calls through the C ABI, in any order, with garbage where the specification allows any bytes: data,
//! templates, mechanism parameters, handles, lengths.
//!
//! A caller promises that its pointers lead to memory (PKCS#11 3.2, section 5); that alone is kept here, for any reading of
//! the bytes. All memory is one arena at low addresses, so large that even a pointer taken for a length ends inside it.
//! A number below 4096 taken for a pointer must be refused. Structures lie apart from other bytes and are made of such
//! numbers and pointers alone, so that whatever is taken for a structure, in whatever length, holds no wild pointer.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use cryptoki_sys::*;
use keyward::abi::function_list_3_2;
use keyward::mechanism::table::{self, Row};

use crate::functions::{ALL, Arg, F};
use crate::memory::{self, Memory};
use crate::shapes::{self, W};
use crate::words::{Dice, Words};

type Any = unsafe extern "C" fn(usize, usize, usize, usize, usize, usize, usize, usize, usize, usize) -> CK_RV;

const PIN: &[u8] = b"fuzz-pin-1";

/// Blocks of bytes are dealt out of the first 64 KiB, structures out of the second; behind them are zeros enough for an
/// array of as many attributes as a pointer has as its number.
const BASE: usize = 0x1_0000;
const DEALT: usize = 0x1_0000;
const STRUCTURES: usize = BASE + DEALT;
const SIZE: usize = 0x100_0000;
/// A length that does not fit its structure is below it.
const BEHIND: usize = 256;

/// The caller's memory: where its next bytes and its next structure go.
struct Arena {
    next: usize,
    structures: usize,
}

impl Arena {
    /// Maps the arena, once per process.
    fn map() -> Result<(), String> {
        let (protection, flags) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED_NOREPLACE,
        );
        // SAFETY: a fresh mapping where none is; never unmapped.
        let got = unsafe { libc::mmap(BASE as *mut libc::c_void, SIZE, protection, flags, -1, 0) };
        if got as usize == BASE { Ok(()) } else { Err(format!("no arena: {}", std::io::Error::last_os_error())) }
    }

    /// Before a call: all is zero again, so that its blocks neither come to lie over each other nor before old bytes.
    fn begin() -> Arena {
        // SAFETY: inside the mapping, of which no reference outlives a method.
        unsafe { (BASE as *mut u8).write_bytes(0, 2 * DEALT) };
        Arena { next: BASE, structures: STRUCTURES }
    }

    /// Deals out of one half; its first block again and again when all is dealt.
    fn deal(next: &mut usize, start: usize, bytes: &[u8], room: usize) -> usize {
        let len = (bytes.len() + room).next_multiple_of(16).min(DEALT);
        if *next + len > start + DEALT {
            *next = start;
        }
        let at = *next;
        *next += len;
        // SAFETY: inside the mapping.
        unsafe {
            let place = std::slice::from_raw_parts_mut(at as *mut u8, len);
            let n = bytes.len().min(len);
            place[..n].copy_from_slice(&bytes[..n]);
            place[n..].fill(0);
        }
        at
    }

    /// A block with these bytes and `room` of zeros.
    fn block(&mut self, bytes: &[u8], room: usize) -> usize {
        Arena::deal(&mut self.next, BASE, bytes, room)
    }

    /// A structure.
    fn words(&mut self, words: &[usize]) -> usize {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        Arena::deal(&mut self.structures, STRUCTURES, &bytes, BEHIND)
    }

    /// Bytes that a structure may point to: each is a word, in case they are taken for a structure.
    fn tame(&mut self, bytes: &[u8]) -> usize {
        let words: Vec<usize> = bytes.iter().map(|byte| (*byte).into()).collect();
        self.words(&words)
    }

    fn write(at: usize, word: usize) {
        // SAFETY: as in `read`.
        unsafe { (at as *mut usize).write_unaligned(word) }
    }

    fn bytes(at: usize, len: usize) -> Vec<u8> {
        // SAFETY: as in `read`.
        unsafe { std::slice::from_raw_parts(at as *const u8, len) }.to_vec()
    }

    fn read(at: usize) -> usize {
        // SAFETY: only asked of blocks of the arena.
        unsafe { (at as *const usize).read_unaligned() }
    }
}

fn call(f: F, words: &[usize]) -> CK_RV {
    let list = (&raw const *function_list_3_2()).cast::<u8>();
    let mut w = [0usize; 10];
    w.iter_mut().zip(words).for_each(|(to, from)| *to = *from);
    // SAFETY: the row's offset is that of a function's pointer in the list; a C function may be given more arguments
    // than it takes; every pointer leads into the arena.
    unsafe {
        let function = list.add(f.row().offset).cast::<Any>().read();
        function(w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7], w[8], w[9])
    }
}

/// The token that all inputs share, and keys of every kind.
struct World {
    slot: usize,
    /// Keeps the login; no input gets at it.
    base: usize,
    /// Handles, with their key types.
    keys: Vec<(usize, CK_KEY_TYPE)>,
    /// Public and private keys that belong together.
    pairs: Vec<(usize, usize)>,
    mechanisms: Vec<usize>,
}

static WORLD: Mutex<Option<World>> = Mutex::new(None);

fn ok(f: F, words: &[usize]) {
    let rv = call(f, words);
    assert_eq!(rv, CKR_OK, "{}", f.name());
}

impl World {
    fn make() -> World {
        let place = std::env::temp_dir().join(format!("keyward-fuzz-{}", std::process::id()));
        std::fs::create_dir_all(&place).expect("a scratch directory");
        let text = format!(
            "tokens = '{0}/tokens'\ndevice_secret = '{0}/device'\nmechanisms = 'all'\n[log]\nlevel = 'off'\n",
            place.display()
        );
        std::fs::write(place.join("keyward.toml"), text).expect("a configuration");
        // SAFETY: before the library looks, and nothing else of this process does.
        unsafe { std::env::set_var("KEYWARD_CONF", place.join("keyward.toml")) };
        Arena::map().expect("an arena");
        let mut arena = Arena::begin();
        ok(F::C_Initialize, &[0]);
        let (list, count) = (arena.block(&[], 64), arena.words(&[4]));
        ok(F::C_GetSlotList, &[1, list, count]);
        let slot = Arena::read(list);
        let (pin, label) = (arena.block(PIN, 0), arena.block(&[b' '; 32], 0));
        ok(F::C_InitToken, &[slot, pin, PIN.len(), label]);
        let base = open(&mut arena, slot);
        ok(F::C_Login, &[base, CKU_SO as usize, pin, PIN.len()]);
        ok(F::C_InitPIN, &[base, pin, PIN.len()]);
        ok(F::C_CloseSession, &[base]);
        let list = arena.block(&[], 8192);
        let count = arena.words(&[1000]);
        ok(F::C_GetMechanismList, &[slot, list, count]);
        let mechanisms = (0..Arena::read(count)).map(|at| Arena::read(list + at * 8)).collect();
        let mut world = World { slot, base: 0, keys: Vec::new(), pairs: Vec::new(), mechanisms };
        world.login(&mut arena);
        world
    }

    /// Opens the base session, logs in and makes the keys, which end with it.
    fn login(&mut self, arena: &mut Arena) {
        self.base = open(arena, self.slot);
        let pin = arena.block(PIN, 0);
        ok(F::C_Login, &[self.base, CKU_USER as usize, pin, PIN.len()]);
        self.keys.clear();
        self.pairs.clear();
        let yes = [1u8];
        let uses = [CKA_ENCRYPT, CKA_DECRYPT, CKA_SIGN, CKA_VERIFY, CKA_WRAP, CKA_UNWRAP, CKA_DERIVE, CKA_EXTRACTABLE];
        for (ty, len) in [(CKK_AES, 16), (CKK_AES, 32), (CKK_GENERIC_SECRET, 48), (CKK_DES3, 24), (CKK_CHACHA20, 32)] {
            let value = vec![0x4a; len];
            let mut fields: Vec<(CK_ATTRIBUTE_TYPE, Vec<u8>)> = vec![
                (CKA_CLASS, CKO_SECRET_KEY.to_ne_bytes().into()),
                (CKA_KEY_TYPE, ty.to_ne_bytes().into()),
                (CKA_VALUE, value),
            ];
            fields.extend(uses.map(|u| (u, yes.to_vec())));
            self.keep(F::C_CreateObject, (0, ty), &[fields], arena);
        }
        let pairs = [
            (CKM_EC_KEY_PAIR_GEN, CKK_EC),
            (CKM_EC_EDWARDS_KEY_PAIR_GEN, CKK_EC_EDWARDS),
            (CKM_EC_MONTGOMERY_KEY_PAIR_GEN, CKK_EC_MONTGOMERY),
            (CKM_ML_KEM_KEY_PAIR_GEN, CKK_ML_KEM),
            (CKM_ML_DSA_KEY_PAIR_GEN, CKK_ML_DSA),
        ];
        for (mechanism, ty) in pairs {
            let own = |(ty, value): (CK_ATTRIBUTE_TYPE, &[u8])| (ty, value.to_vec());
            let public = shapes::template(F::C_GenerateKeyPair, mechanism, false, 0).into_iter().map(own).collect();
            self.keep(F::C_GenerateKeyPair, (mechanism, ty), &[public, vec![]], arena);
        }
        let bits = (CKA_MODULUS_BITS, 2048u64.to_ne_bytes().to_vec());
        self.keep(F::C_GenerateKeyPair, (CKM_RSA_PKCS_KEY_PAIR_GEN, CKK_RSA), &[vec![bits], vec![]], arena);
    }

    /// Makes a key or a pair in the base session.
    fn keep(
        &mut self,
        f: F,
        (mechanism, ty): (CK_MECHANISM_TYPE, CK_KEY_TYPE),
        templates: &[Vec<(CK_ATTRIBUTE_TYPE, Vec<u8>)>],
        arena: &mut Arena,
    ) {
        *arena = Arena::begin();
        let mut words = vec![self.base];
        if f != F::C_CreateObject {
            words.push(arena.words(&[mechanism as usize, 0, 0]));
        }
        for fields in templates {
            let flat: Vec<usize> =
                fields.iter().flat_map(|(ty, value)| [*ty as usize, arena.block(value, 0), value.len()]).collect();
            words.extend([arena.words(&flat), fields.len()]);
        }
        let made: Vec<usize> = templates.iter().map(|_| arena.block(&[], 8)).collect();
        words.extend(&made);
        if call(f, &words) == CKR_OK {
            let made: Vec<usize> = made.iter().map(|at| Arena::read(*at)).collect();
            self.keys.extend(made.iter().map(|key| (*key, ty)));
            if let [public, private] = made[..] {
                self.pairs.push((public, private));
            }
        }
    }

    /// The other half of a pair; of anything else, itself.
    fn partner(&self, key: usize) -> usize {
        let other = |(public, private): &(usize, usize)| match key {
            _ if key == *public => Some(*private),
            _ if key == *private => Some(*public),
            _ => None,
        };
        self.pairs.iter().find_map(other).unwrap_or(key)
    }
}

fn open(arena: &mut Arena, slot: usize) -> usize {
    let place = arena.block(&[], 8);
    ok(F::C_OpenSession, &[slot, (CKF_SERIAL_SESSION | CKF_RW_SESSION) as usize, 0, 0, place]);
    Arena::read(place)
}

/// How many calls of each function, in the order of [`ALL`], returned `CKR_OK`.
static DONE: [AtomicU64; ALL.len()] = [const { AtomicU64::new(0) }; ALL.len()];

/// Functions that were called with success so far, and those that were not.
pub fn reached() -> (Vec<&'static str>, Vec<&'static str>) {
    let done = |f: &F| DONE[*f as usize].load(Ordering::Relaxed) > 0;
    let callable = ALL.iter().filter(|f| !NEVER.contains(f));
    let (yes, no): (Vec<F>, Vec<F>) = callable.copied().partition(|f| done(f));
    let names = |all: Vec<F>| all.into_iter().map(F::name).collect();
    (names(yes), names(no))
}

/// What no input may do: end the process's use of the module, wait, or spend tries of PINs.
const NEVER: &[F] = &[
    F::C_Initialize,
    F::C_Finalize,
    F::C_InitToken,
    F::C_InitPIN,
    F::C_SetPIN,
    F::C_Login,
    F::C_LoginUser,
    F::C_WaitForSlotEvent,
];

/// Generation that is not worth its time here.
const SLOW: &[CK_MECHANISM_TYPE] = &[
    CKM_RSA_PKCS_KEY_PAIR_GEN,
    CKM_RSA_X9_31_KEY_PAIR_GEN,
    CKM_DSA_KEY_PAIR_GEN,
    CKM_DSA_PARAMETER_GEN,
    CKM_DSA_PROBABILISTIC_PARAMETER_GEN,
    CKM_DSA_SHAWE_TAYLOR_PARAMETER_GEN,
    CKM_DH_PKCS_KEY_PAIR_GEN,
    CKM_DH_PKCS_PARAMETER_GEN,
    CKM_X9_42_DH_KEY_PAIR_GEN,
    CKM_X9_42_DH_PARAMETER_GEN,
    CKM_SLH_DSA_KEY_PAIR_GEN,
    CKM_PKCS5_PBKD2,
];

/// Numbers that mean something to some structure, attribute or flag.
const NUMBERS: &[CK_ULONG] = &[
    0,
    1,
    2,
    3,
    4,
    8,
    12,
    16,
    24,
    32,
    48,
    64,
    96,
    128,
    256,
    2048,
    CKM_SHA_1,
    CKM_SHA256,
    CKM_SHA384,
    CKM_SHA512,
    CKM_SHA3_256,
    CKM_SHA256_HMAC,
    CKM_AES_CMAC,
    CKM_AES_GCM,
    CKG_MGF1_SHA256,
    CKG_MGF1_SHA1,
    CKD_SHA256_KDF,
    CKK_EC,
    CKK_AES,
    CKK_RSA,
    CKK_GENERIC_SECRET,
    CKO_PRIVATE_KEY,
    CKO_SECRET_KEY,
    CKO_CERTIFICATE,
    CKO_DATA,
    CKF_END_OF_MESSAGE,
    CKF_HKDF_SALT_DATA,
    CKF_RW_SESSION | CKF_SERIAL_SESSION,
    CKF_SIGN | CKF_ENCRYPT | CKF_FIND_OBJECTS,
    CK_SP800_108_ITERATION_VARIABLE,
    CK_SP800_108_BYTE_ARRAY,
    CK_SP800_108_DKM_LENGTH,
    0x0fff,
];

const TYPES: &[CK_ATTRIBUTE_TYPE] = &[
    CKA_CLASS,
    CKA_TOKEN,
    CKA_PRIVATE,
    CKA_LABEL,
    CKA_VALUE,
    CKA_ID,
    CKA_KEY_TYPE,
    CKA_VALUE_LEN,
    CKA_MODULUS,
    CKA_MODULUS_BITS,
    CKA_PUBLIC_EXPONENT,
    CKA_PRIVATE_EXPONENT,
    CKA_PRIME_1,
    CKA_PRIME_2,
    CKA_EC_PARAMS,
    CKA_EC_POINT,
    CKA_PARAMETER_SET,
    CKA_SEED,
    CKA_SENSITIVE,
    CKA_EXTRACTABLE,
    CKA_ENCRYPT,
    CKA_SIGN,
    CKA_DERIVE,
    CKA_WRAP,
    CKA_WRAP_TEMPLATE,
    CKA_UNWRAP_TEMPLATE,
    CKA_DERIVE_TEMPLATE,
    CKA_ALLOWED_MECHANISMS,
    CKA_PUBLIC_KEY_INFO,
    CKA_START_DATE,
    CKA_UNIQUE_ID,
    CKA_CHECK_VALUE,
    CKA_SUBJECT,
    CKA_ISSUER,
    CKA_SERIAL_NUMBER,
    CKA_CERTIFICATE_TYPE,
    CKA_COPYABLE,
    CKA_MODIFIABLE,
    CKA_DESTROYABLE,
    CKA_ALWAYS_AUTHENTICATE,
    CKA_TRUSTED,
    CKA_WRAP_WITH_TRUSTED,
    CKA_PRIME,
    CKA_SUBPRIME,
    CKA_BASE,
    CKA_VENDOR_DEFINED | 5,
];

/// One input at work.
struct Run<'a> {
    world: &'a World,
    arena: Arena,
    words: Words<'a>,
    sessions: Vec<usize>,
    /// Objects that this input made.
    objects: Vec<usize>,
    /// The last input or output block, for buffers that overlap.
    last: usize,
    /// The last block that a structure pointed to.
    last_word: usize,
    /// How the operation that was begun last goes on, and in which session.
    next: &'static [F],
    session: usize,
    /// The mechanism of the call being made.
    row: Option<&'static Row>,
    memory: Memory,
}

impl Run<'_> {
    /// A word of a structure: a number, or memory.
    fn word(&mut self) -> usize {
        match self.words.below(8) {
            0 => 0,
            1 | 2 => self.words.byte().into(),
            3 => self.words.pick(NUMBERS) as usize & 0xfff,
            4 => self.words.short() as usize & 0xfff,
            5 => self.last_word,
            6 => {
                let bytes = self.words.bytes(16);
                self.last_word = self.arena.tame(bytes);
                self.last_word
            }
            _ => {
                // A structure inside a structure.
                let words: Vec<usize> = (0..3).map(|_| self.flat()).collect();
                self.arena.words(&words)
            }
        }
    }

    fn flat(&mut self) -> usize {
        match self.words.below(3) {
            0 => self.words.pick(NUMBERS) as usize & 0xfff,
            1 => self.words.byte().into(),
            _ => self.arena.tame(&[0x5a; 16]),
        }
    }

    /// A structure: its address, and its length or about that.
    fn structure(&mut self) -> (usize, usize) {
        let n = self.words.below(12);
        if n == 0 {
            return (0, 0);
        }
        if n == 1 {
            // Plain bytes.
            let len = self.words.pick(&[16, 12, 8, 4, 24, 1, 32, 0]);
            let words: Vec<usize> = (0..4).map(|_| self.words.short() as usize & 0xfff).collect();
            return (self.arena.words(&words), len);
        }
        let words: Vec<usize> = (0..n).map(|_| self.word()).collect();
        let len = if self.words.once_in(8) { self.words.byte().into() } else { n * 8 };
        (self.arena.words(&words), len)
    }

    /// A well-formed structure, but for a word now and then.
    fn shaped(&mut self, shape: &[W]) -> usize {
        let words: Vec<usize> = shape
            .iter()
            .map(|w| match w {
                _ if self.words.once_in(32) => self.word(),
                W::N(n) => *n as usize,
                W::P(bytes) => self.arena.block(bytes, 16),
                W::S(inner) => self.shaped(inner),
            })
            .collect();
        self.arena.words(&words)
    }

    fn mechanism(&mut self, f: F) -> usize {
        if self.words.once_in(32) {
            return 0;
        }
        let flag = shapes::flag(f);
        let fitting = || table::all().filter(move |row| row.offers() & flag != 0 && !SLOW.contains(&row.ty));
        if !self.words.once_in(4) && flag != 0 {
            let known = self.memory.row(f, flag).filter(|_| !self.words.once_in(4));
            let drawn = match known {
                None => {
                    let at = self.words.below(fitting().count().max(1));
                    fitting().nth(at)
                }
                known => known,
            };
            if let Some(row) = drawn {
                self.row = Some(row);
                let (shape, len) = match f {
                    // The parameters come with the messages.
                    F::C_MessageEncryptInit | F::C_MessageDecryptInit => (&[][..], 0),
                    F::C_WrapKeyAuthenticated | F::C_UnwrapKeyAuthenticated => (shapes::MESSAGES[0], 48),
                    _ => shapes::parameter(row.params),
                };
                let place = if shape.is_empty() { 0 } else { self.shaped(shape) };
                if let (F::C_UnwrapKeyAuthenticated, Some(tag)) = (f, self.memory.tag) {
                    Arena::write(place + memory::TAG * 8, self.arena.block(&tag, 16));
                }
                return self.arena.words(&[row.ty as usize, place, len]);
            }
        }
        let ty = match self.words.once_in(16) {
            true => self.words.short() as usize,
            false => self.words.pick(&self.world.mechanisms),
        };
        let ty = if SLOW.contains(&(ty as CK_MECHANISM_TYPE)) { CKM_AES_KEY_GEN as usize } else { ty };
        let (place, len) = self.structure();
        self.arena.words(&[ty, place, len])
    }

    /// Attributes behind `flat`, those that there are.
    fn template(&mut self, depth: usize, mut flat: Vec<usize>) -> (usize, usize) {
        let n = self.words.below(if depth == 0 { 8 } else { 4 });
        for _ in 0..n {
            let ty = match self.words.once_in(16) {
                true => CK_ATTRIBUTE_TYPE::from(self.words.short()),
                false => self.words.pick(TYPES),
            };
            // An array of attributes holds pointers: never bytes of the input.
            let (place, len) = match self.words.below(6) {
                _ if ty & CKF_ARRAY_ATTRIBUTE != 0 && ty != CKA_ALLOWED_MECHANISMS => {
                    let (place, n) = if depth < 5 { self.template(depth + 1, Vec::new()) } else { (0, 0) };
                    (place, if self.words.once_in(8) { n * 24 + 1 } else { n * 24 })
                }
                0 => (self.arena.block(&[self.words.byte() & 1], 8), 1),
                1 => (self.arena.words(&[self.words.pick(NUMBERS) as usize]), 8),
                2 => (0, self.words.byte().into()),
                3 => {
                    let bytes = self.words.bytes(4);
                    (self.arena.block(bytes, 0), bytes.len())
                }
                4 => (self.arena.block(&[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7], 0), 10),
                _ => {
                    let len = self.words.byte().into();
                    let bytes = self.words.bytes(len);
                    (self.arena.block(bytes, 0), bytes.len())
                }
            };
            flat.extend([ty as usize, place, len]);
        }
        (self.arena.words(&flat), flat.len() / 3)
    }

    /// A template that makes something, with more or without.
    fn made_for(&mut self, f: F, second: bool) -> (usize, usize) {
        let mut flat = Vec::new();
        if !self.words.once_in(4) {
            let (ty, choice) = (self.row.map_or(0, |row| row.ty), self.words.byte());
            for (ty, value) in shapes::template(f, ty, second, choice.into()) {
                flat.extend([ty as usize, self.arena.block(value, 0), value.len()]);
            }
        }
        if self.words.once_in(2) { self.template(0, flat) } else { (self.arena.words(&flat), flat.len() / 3) }
    }

    fn handle(&mut self, f: F) -> usize {
        if f == F::C_SetOperationState && !self.words.once_in(4) {
            return 0;
        }
        if let Some(key) = self.memory.key(f).filter(|_| self.row.is_some() && !self.words.once_in(4)) {
            return self.world.partner(key);
        }
        let fits = |ty: &CK_KEY_TYPE| self.row.is_none_or(|row| row.keys.contains(ty));
        let keys: Vec<usize> = self.world.keys.iter().filter(|(_, ty)| fits(ty)).map(|(key, _)| *key).collect();
        match self.words.below(8) {
            0 => self.words.short().into(),
            1 if !self.objects.is_empty() => self.words.pick(&self.objects),
            _ if keys.is_empty() => 0,
            _ => self.words.pick(&keys),
        }
    }

    fn session(&mut self) -> usize {
        match self.words.below(16) {
            0 => self.words.byte().into(),
            1..=11 => self.session,
            _ if self.sessions.is_empty() => 0,
            _ => self.words.pick(&self.sessions),
        }
    }

    /// The arguments of a call, with the places of the handles that it gives.
    fn arguments(&mut self, f: F) -> (Vec<usize>, Vec<usize>) {
        let (mut out, mut handles, mut len, mut inputs) = (Vec::new(), Vec::new(), 0, 0);
        for arg in f.row().args {
            let word = match arg {
                Arg::Session => self.session(),
                Arg::Slot if self.words.once_in(8) => self.words.byte().into(),
                Arg::Slot => self.world.slot,
                Arg::Object | Arg::Key => self.handle(f),
                Arg::Mechanism => self.mechanism(f),
                Arg::Template => {
                    let (place, n) = self.made_for(f, len > 0);
                    len = n;
                    place
                }
                Arg::In if self.feeds(f, inputs) => {
                    let bytes = self.memory.feed(f, inputs).unwrap_or_default();
                    (inputs, len) = (inputs + 1, bytes.len());
                    self.last = self.arena.block(bytes, 16);
                    self.last
                }
                Arg::In | Arg::Text => {
                    inputs += 1;
                    let n = self.words.pick(&[0, 1, 16, 32, 64, 100, 200, 255]);
                    let bytes = self.words.bytes(n);
                    len = n;
                    if self.words.once_in(16) {
                        0
                    } else {
                        self.last = self.arena.block(bytes, n - bytes.len() + 1);
                        self.last
                    }
                }
                // Signatures have none.
                Arg::Parameter if shapes::signs_messages(f) && !self.words.once_in(8) => {
                    len = 0;
                    0
                }
                Arg::Parameter if self.words.once_in(2) => {
                    let shape = self.words.pick(&shapes::MESSAGES);
                    len = shape.len() * 8;
                    self.shaped(shape)
                }
                Arg::Parameter => {
                    let (place, n) = self.structure();
                    len = n;
                    place
                }
                Arg::Out | Arg::Fill => {
                    len = self.words.pick(&[0, 1, 15, 16, 32, 64, 256, 2000]);
                    match self.words.below(8) {
                        0 => 0,
                        1 => self.last,
                        _ => self.arena.block(&[], 2048),
                    }
                }
                Arg::Len | Arg::Count => len,
                Arg::OutLen if self.words.once_in(16) => 0,
                Arg::OutLen => self.arena.words(&[len]),
                Arg::Handle | Arg::Store if self.words.once_in(32) => 0,
                Arg::Handle => {
                    let place = self.arena.block(&[], 8);
                    handles.push(place);
                    place
                }
                Arg::Store => self.arena.block(&[], 512),
                Arg::Reserved => usize::from(self.words.once_in(8)),
                Arg::Opaque => 0,
                Arg::Value => self.words.pick(NUMBERS) as usize,
            };
            out.push(word);
        }
        (out, handles)
    }

    /// Whether the function's next input is to be what was remembered.
    fn feeds(&mut self, f: F, nth: usize) -> bool {
        self.memory.feed(f, nth).is_some() && !self.words.once_in(4)
    }

    /// Takes note of a call that succeeded.
    fn remember(&mut self, f: F, words: &[usize]) {
        let at = |wanted: Arg| f.row().args.iter().position(|arg| *arg == wanted);
        let bytes = |place: Option<usize>, len: fn(usize) -> usize| {
            let (place, len) = place.map_or((0, 0), |at| (words[at], len(words[at + 1])));
            if place < BASE || len > DEALT / 16 { Vec::new() } else { Arena::bytes(place, len) }
        };
        let written = |len| if len < BASE { 0 } else { Arena::read(len) };
        let (input, output) = (bytes(at(Arg::In), |len| len), bytes(at(Arg::Out), written));
        let key = at(Arg::Key).map_or(0, |at| words[at]);
        self.memory.note(f, self.row, key, &input, &output);
        if f == F::C_WrapKeyAuthenticated && self.row.is_some() {
            // The mechanism's second word is the place of the parameter.
            let tag = Arena::read(Arena::read(words[1] + 8) + memory::TAG * 8);
            self.memory.tag = (tag >= BASE).then(|| Arena::bytes(tag, 16).try_into().ok()).flatten();
        }
    }

    fn step(&mut self) {
        self.row = None;
        self.arena = Arena::begin();
        let f = match self.next {
            next if !next.is_empty() && !self.words.once_in(4) => self.words.pick(next),
            _ => ALL[self.words.below(ALL.len())],
        };
        let ends = matches!(f, F::C_Logout | F::C_CloseAllSessions) && !self.words.once_in(64);
        if NEVER.contains(&f) || ends {
            return;
        }
        let (words, handles) = self.arguments(f);
        if call(f, &words) != CKR_OK {
            return;
        }
        DONE[f as usize].fetch_add(1, Ordering::Relaxed);
        self.remember(f, &words);
        if !shapes::next(f).is_empty() {
            (self.next, self.session) = (shapes::next(f), words[0]);
        }
        for place in handles {
            let made = if f == F::C_OpenSession { &mut self.sessions } else { &mut self.objects };
            made.push(Arena::read(place));
        }
    }
}

pub fn run(data: &[u8]) {
    let mut world = WORLD.lock().unwrap_or_else(PoisonError::into_inner);
    let world = world.get_or_insert_with(World::make);
    let mut arena = Arena::begin();
    // Whether the login has outlived the input before.
    let info = arena.block(&[], 64);
    if call(F::C_GetSessionInfo, &[world.base, info]) != CKR_OK
        || Arena::read(info + 8) != CKS_RW_USER_FUNCTIONS as usize
    {
        call(F::C_CloseAllSessions, &[world.slot]);
        world.login(&mut arena);
    }
    let sessions = vec![open(&mut arena, world.slot), open(&mut arena, world.slot)];
    let mut run = Run {
        session: sessions[0],
        world,
        arena,
        words: Words::new(data),
        sessions,
        objects: Vec::new(),
        last: BASE,
        last_word: STRUCTURES,
        next: &[],
        row: None,
        memory: Memory::default(),
    };
    for _ in 0..64 {
        if run.words.is_empty() {
            break;
        }
        run.step();
    }
    let Run { sessions, objects, .. } = run;
    for object in objects {
        call(F::C_DestroyObject, &[world.base, object]);
    }
    for session in sessions {
        call(F::C_CloseSession, &[session]);
    }
}

/// Decisions without meaning: what makes a call sensible is in the shapes.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut dice = Dice(1);
    (0..64).map(|n| dice.bytes(64 + 32 * n)).collect()
}
