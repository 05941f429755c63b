//! A disk that is full at the worst moment, and power that goes between two writes: the engine's own file layer, bent.

mod store_common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Mutex, MutexGuard};

use bent::Event;
use keyward::error::{Code, Error};
use keyward::store::*;
use store_common::*;

/// The default file layer of SQLite, with writes that can be recorded, or refused for want of space.
mod bent {
    use std::collections::HashMap;
    use std::ffi::{CStr, c_char, c_int, c_void};
    use std::sync::{LazyLock, Mutex, MutexGuard, Once, OnceLock};

    use rusqlite::ffi::{self, sqlite3_file, sqlite3_io_methods, sqlite3_vfs};

    #[derive(Clone, Debug)]
    pub enum Event {
        Write {
            path: String,
            at: u64,
            data: Vec<u8>,
        },
        Truncate {
            path: String,
            len: u64,
        },
        Delete {
            path: String,
        },
        Sync {
            path: String,
        },
        /// The test's own: everything so far is acknowledged.
        Acknowledged,
    }

    #[derive(Default)]
    pub struct State {
        pub events: Option<Vec<Event>>,
        /// How many more writes find room; `None`: all.
        pub room: Option<u64>,
        pub refused: u64,
        files: HashMap<usize, (String, &'static Methods)>,
    }

    static STATE: LazyLock<Mutex<State>> = LazyLock::new(Mutex::default);

    pub fn state() -> MutexGuard<'static, State> {
        STATE.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// What stood there before; set once, when [`install`] runs.
    struct Original(*mut sqlite3_vfs);
    // SAFETY: it lives as long as the process and is only read.
    unsafe impl Send for Original {}
    // SAFETY: as above.
    unsafe impl Sync for Original {}
    static ORIGINAL: OnceLock<Original> = OnceLock::new();

    /// A kind of file's own functions, and ours before them. Databases and logs are of different kinds.
    struct Methods {
        real: sqlite3_io_methods,
        bent: sqlite3_io_methods,
    }
    // SAFETY: tables of functions.
    unsafe impl Sync for Methods {}
    // SAFETY: as above.
    unsafe impl Send for Methods {}

    pub fn install() {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            // SAFETY: the default layer lives for ever; the copy is leaked; registering is allowed once initialised.
            unsafe {
                assert_eq!(ffi::sqlite3_initialize(), ffi::SQLITE_OK);
                let default = ffi::sqlite3_vfs_find(std::ptr::null());
                let mut copy = std::ptr::read(default);
                copy.zName = c"bent".as_ptr();
                copy.pNext = std::ptr::null_mut();
                copy.xOpen = Some(open);
                copy.xDelete = Some(delete);
                ORIGINAL.set(Original(default)).ok();
                assert_eq!(ffi::sqlite3_vfs_register(Box::leak(Box::new(copy)), 1), ffi::SQLITE_OK);
            }
        });
    }

    fn vfs() -> *mut sqlite3_vfs {
        ORIGINAL.get().unwrap().0
    }

    unsafe extern "C" fn open(
        _: *mut sqlite3_vfs,
        name: *const c_char,
        file: *mut sqlite3_file,
        flags: c_int,
        out: *mut c_int,
    ) -> c_int {
        // SAFETY: the arguments are the engine's own, handed on as they are; our methods are leaked.
        unsafe {
            let done = ((*vfs()).xOpen.unwrap())(vfs(), name, file, flags, out);
            let wanted = ffi::SQLITE_OPEN_MAIN_DB | ffi::SQLITE_OPEN_WAL | ffi::SQLITE_OPEN_MAIN_JOURNAL;
            if done == ffi::SQLITE_OK && !name.is_null() && flags & wanted != 0 {
                let real = std::ptr::read((*file).pMethods);
                let mut bent = std::ptr::read(&real);
                bent.xWrite = Some(write);
                bent.xTruncate = Some(truncate);
                bent.xSync = Some(sync);
                bent.xClose = Some(close);
                let methods: &'static Methods = Box::leak(Box::new(Methods { real, bent }));
                (*file).pMethods = &methods.bent;
                let path = CStr::from_ptr(name).to_string_lossy().into_owned();
                state().files.insert(file as usize, (path, methods));
            }
            done
        }
    }

    fn real(file: *mut sqlite3_file) -> &'static sqlite3_io_methods {
        &state().files.get(&(file as usize)).unwrap().1.real
    }

    /// Records; `false` where there is no room.
    fn happens(file: *mut sqlite3_file, event: impl FnOnce(String) -> Event, needs_room: bool) -> bool {
        let mut state = state();
        if needs_room && let Some(room) = &mut state.room {
            if *room == 0 {
                state.refused += 1;
                return false;
            }
            *room -= 1;
        }
        let path = state.files.get(&(file as usize)).map(|(path, _)| path.clone()).unwrap_or_default();
        if let Some(events) = &mut state.events {
            events.push(event(path));
        }
        true
    }

    unsafe extern "C" fn write(file: *mut sqlite3_file, data: *const c_void, len: c_int, at: i64) -> c_int {
        // SAFETY: the engine gives a live buffer of that length.
        let bytes = unsafe { std::slice::from_raw_parts(data.cast::<u8>(), len as usize) };
        let event = |path| Event::Write { path, at: at as u64, data: bytes.to_vec() };
        if !happens(file, event, true) {
            return ffi::SQLITE_FULL;
        }
        // SAFETY: as given.
        unsafe { (real(file).xWrite.unwrap())(file, data, len, at) }
    }

    unsafe extern "C" fn truncate(file: *mut sqlite3_file, len: i64) -> c_int {
        happens(file, |path| Event::Truncate { path, len: len as u64 }, false);
        // SAFETY: as given.
        unsafe { (real(file).xTruncate.unwrap())(file, len) }
    }

    unsafe extern "C" fn sync(file: *mut sqlite3_file, _: c_int) -> c_int {
        // Nothing is really flushed: what counts here is what the record says.
        happens(file, |path| Event::Sync { path }, false);
        ffi::SQLITE_OK
    }

    unsafe extern "C" fn close(file: *mut sqlite3_file) -> c_int {
        let real = real(file);
        state().files.remove(&(file as usize));
        // SAFETY: as given.
        unsafe { (real.xClose.unwrap())(file) }
    }

    unsafe extern "C" fn delete(_: *mut sqlite3_vfs, name: *const c_char, sync: c_int) -> c_int {
        // SAFETY: the engine's own name.
        let path = unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned();
        if let Some(events) = &mut state().events {
            events.push(Event::Delete { path });
        }
        // SAFETY: as given.
        unsafe { ((*vfs()).xDelete.unwrap())(vfs(), name, sync) }
    }
}

/// The layer is one for the process: one test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    bent::install();
    ONE.lock().unwrap_or_else(|e| e.into_inner())
}

const NEW: &[u8] = b"another-pin";

/// What must be found again: the labels, and the PIN.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Expected {
    labels: BTreeSet<String>,
    changed_pin: bool,
}

fn label(n: u64) -> String {
    format!("label-{n:04}-{}", "x".repeat((n as usize * 397) % 3000))
}

/// The steps of a token's life; each is acknowledged as a whole.
fn life(file: &SlotFile) -> Vec<(Expected, usize)> {
    let events = || bent::state().events.as_ref().map_or(0, Vec::len);
    let mut keys = file.unlock(Role::User, PIN).unwrap();
    let (mut expected, mut history) = (Expected::default(), Vec::new());
    let mut ids = BTreeMap::new();
    for n in 0..26u64 {
        match n {
            0..=9 | 14..=21 => {
                let pair = [label(2 * n), label(2 * n + 1)];
                let both = pair.iter().map(|l| insert(n % 2 == 0, l, "all")).collect();
                for (id, label) in file.commit(&keys, both).unwrap().into_iter().zip(pair) {
                    ids.insert(label.clone(), id);
                    expected.labels.insert(label);
                }
            }
            10 | 22 => {
                let gone: Vec<String> = ids.keys().take(5).cloned().collect();
                let deletes = gone.iter().map(|l| Change::Delete { id: ids[l] }).collect();
                file.commit(&keys, deletes).unwrap();
                for label in gone {
                    ids.remove(&label);
                    expected.labels.remove(&label);
                }
            }
            11 => {
                file.set_pin(Role::User, PIN, NEW).unwrap();
                expected.changed_pin = true;
            }
            12 => file.rotate(SO, Some(NEW), &mut |_, _| {}).unwrap(),
            13 => keys = file.unlock(Role::User, NEW).unwrap(),
            23 => drop(file.compact().unwrap()),
            24 => assert!(file.unlock(Role::User, b"wrong").is_err()),
            _ => drop(file.unlock(Role::User, NEW).unwrap()),
        }
        if let Some(events) = &mut bent::state().events {
            events.push(Event::Acknowledged);
        }
        history.push((expected.clone(), events()));
    }
    history
}

/// A token's state as it is found; fails where it does not open, is not whole, or an object is half there.
fn found(path: &Path, changed_pin: bool) -> Option<Expected> {
    let file = open(path);
    let keys = file.unlock(Role::User, if changed_pin { NEW } else { PIN }).ok()?;
    let mut labels = BTreeSet::new();
    for id in find(&file, &keys, &[(ID, b"all")]) {
        let record = file.read(&keys, id).unwrap().unwrap();
        let secret = file.secret(&keys, &record).unwrap().unwrap();
        let label = String::from_utf8(secret.expose().iter().rev().copied().collect()).unwrap();
        assert_eq!(record.attrs, format!("{label}/all").into_bytes());
        assert!(labels.insert(label));
    }
    let report = file.verify(&keys).unwrap();
    assert!(report.is_clean(), "{report:?}");
    Some(Expected { labels, changed_pin })
}

/// A small generator: the same images in each run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// A file as the medium holds it, and what was written since without a flush.
#[derive(Clone, Default)]
struct OnMedium {
    durable: Option<Vec<u8>>,
    pending: Vec<Event>,
}

fn apply(content: &mut Option<Vec<u8>>, event: &Event, sectors: Option<&mut Dice>) {
    match event {
        Event::Write { at, data, .. } => {
            let bytes = content.get_or_insert_with(Vec::new);
            let mut dice = sectors;
            for (n, sector) in data.chunks(512).enumerate() {
                if dice.as_mut().is_some_and(|dice| dice.roll().is_multiple_of(2)) {
                    continue;
                }
                let start = *at as usize + n * 512;
                bytes.resize(bytes.len().max(start + sector.len()), 0);
                bytes[start..start + sector.len()].copy_from_slice(sector);
            }
        }
        Event::Truncate { len, .. } => {
            if let Some(bytes) = content {
                bytes.resize(*len as usize, 0);
            }
        }
        Event::Delete { .. } => *content = None,
        Event::Sync { .. } | Event::Acknowledged => {}
    }
}

/// What of the writes without a flush reaches the medium.
#[derive(Clone, Copy, Debug)]
enum Luck {
    None,
    All,
    /// Some, in any order.
    Some(u64),
    /// Some, and of each only some sectors.
    Torn(u64),
}

fn image(file: &OnMedium, luck: Luck) -> Option<Vec<u8>> {
    let mut content = file.durable.clone();
    let mut dice = Dice(match luck {
        Luck::Some(seed) | Luck::Torn(seed) => seed * 0x9E37_79B9 + 1,
        _ => 1,
    });
    for event in &file.pending {
        let kept = match luck {
            Luck::None => false,
            Luck::All => true,
            Luck::Some(_) | Luck::Torn(_) => dice.roll().is_multiple_of(2),
        };
        if kept {
            let torn = matches!(luck, Luck::Torn(_)).then_some(&mut dice);
            apply(&mut content, event, torn);
        }
    }
    content
}

/// Cuts the power at the sync points (and at each acknowledgement) of a token's life.
fn cut_the_power(each: usize, seeds: u64) {
    let _alone = alone();
    let place = Place::new();
    drop(place.ready());
    let mut files: BTreeMap<&str, OnMedium> = BTreeMap::new();
    files.insert("", OnMedium { durable: Some(std::fs::read(place.slot()).unwrap()), pending: Vec::new() });
    files.insert("-wal", OnMedium::default());
    let file = open(&place.slot());
    bent::state().events = Some(Vec::new());
    let history = life(&file);
    drop(file);
    let events = bent::state().events.take().unwrap();

    let (mut points, mut images, mut acknowledged) = (0, 0, 0usize);
    for (at, event) in events.iter().enumerate() {
        let path = match event {
            Event::Write { path, .. } | Event::Truncate { path, .. } => path,
            Event::Delete { path } | Event::Sync { path } => path,
            Event::Acknowledged => "",
        };
        let key = if path.ends_with("-wal") { "-wal" } else { "" };
        let is_point = matches!(event, Event::Sync { .. } | Event::Acknowledged);
        if is_point {
            points += 1;
            if points % each == 0 {
                images += check_images(&files, &history, acknowledged, seeds, at as u64);
            }
        }
        match event {
            Event::Sync { .. } => {
                let file = files.get_mut(key).unwrap();
                file.durable = image(file, Luck::All);
                file.pending.clear();
            }
            Event::Acknowledged => acknowledged += 1,
            other => files.get_mut(key).unwrap().pending.push(other.clone()),
        }
    }
    println!("{} events, {points} points, {images} images", events.len());
    assert!(images >= 50, "{images}");
}

fn check_images(
    files: &BTreeMap<&str, OnMedium>,
    history: &[(Expected, usize)],
    acknowledged: usize,
    seeds: u64,
    at: u64,
) -> u64 {
    let nothing = Expected::default();
    let before = acknowledged.checked_sub(1).map_or(&nothing, |n| &history[n].0);
    let after = history.get(acknowledged).map_or(before, |(state, _)| state);
    let lucks = [Luck::None, Luck::All].into_iter();
    let lucks = lucks.chain((0..seeds).flat_map(|seed| [Luck::Some(seed + 31 * at), Luck::Torn(seed + 17 * at)]));
    let mut images = 0;
    for luck in lucks {
        let place = Place::new();
        for (suffix, file) in files {
            let Some(content) = image(file, luck) else { continue };
            let path = format!("{}{suffix}", place.slot().display());
            std::fs::write(&path, content).unwrap();
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        let state = [before.changed_pin, after.changed_pin].into_iter().find_map(|pin| found(&place.slot(), pin));
        let state = state.unwrap_or_else(|| panic!("event {at}, {luck:?}: neither PIN opens it"));
        assert!(state == *before || state == *after, "event {at}, {luck:?}, after step {acknowledged}: {state:?}");
        images += 1;
    }
    images
}

#[test]
fn a_power_cut_loses_nothing_acknowledged() {
    cut_the_power(5, 2);
}

#[test]
#[ignore = "minutes: every sync point"]
fn a_power_cut_at_every_sync_point_loses_nothing_acknowledged() {
    cut_the_power(1, 5);
}

type Operation<'a> = (&'a str, &'a dyn Fn(&SlotFile, &Keys) -> Result<(), Error>);

#[test]
fn a_full_disk_leaves_what_was() {
    fill_the_disk(|room| if room < 4 { room + 1 } else { room + 9 });
}

#[test]
#[ignore = "minutes: every write"]
fn a_full_disk_at_any_write_of_any_operation_leaves_what_was() {
    fill_the_disk(|room| room + 1);
}

/// Runs each operation with room for more and more writes until it comes through.
fn fill_the_disk(next: fn(u64) -> u64) {
    let _alone = alone();
    let operations: [Operation; 9] = [
        ("create", &|file, keys| file.commit(keys, vec![insert(true, &label(7), "new")]).map(drop)),
        ("create many", &|file, keys| {
            file.commit(keys, (0..30).map(|n| insert(n % 2 == 0, &label(n), "new")).collect()).map(drop)
        }),
        ("delete", &|file, keys| file.commit(keys, vec![Change::Delete { id: 1 }]).map(drop)),
        ("change", &|file, keys| {
            let (attrs, index) = (vec![7; 20_000], vec![(ID, b"all".to_vec())]);
            let secret = SecretChange::Keep;
            file.commit(keys, vec![Change::Update { id: 2, version: 1, private: false, attrs, secret, index }])
                .map(drop)
        }),
        ("login", &|file, _| file.unlock(Role::User, PIN).map(drop)),
        ("change of PIN", &|file, _| {
            file.set_pin(Role::User, PIN, NEW).and_then(|()| file.set_pin(Role::User, NEW, PIN))
        }),
        ("new PIN by the SO", &|file, _| file.init_user_pin(&*file.unlock(Role::SecurityOfficer, SO)?, PIN)),
        ("rotation", &|file, _| file.rotate(SO, Some(PIN), &mut |_, _| {})),
        ("compact", &|file, _| file.compact().map(drop)),
    ];
    let base = Place::new();
    let (file, keys) = base.ready();
    let many = (0..30).map(|n| insert(n % 2 == 0, &label(n), "all")).collect();
    file.commit(&keys, many).unwrap();
    drop(file);
    for (name, operation) in operations {
        let mut refusals = 0;
        for room in std::iter::successors(Some(0), |room| Some(next(*room))) {
            let place = Place::new();
            std::fs::copy(base.slot(), place.slot()).unwrap();
            let file = open(&place.slot());
            let keys = file.unlock(Role::User, PIN).unwrap();
            (bent::state().room, bent::state().refused) = (Some(room), 0);
            let done = operation(&file, &keys);
            // Reading goes on while the disk is full.
            let ids = find(&file, &keys, &[(ID, b"all")]);
            let read = file.read(&keys, 3).unwrap().unwrap();
            assert_eq!(file.secret(&keys, &read).unwrap().unwrap().len(), label(2).len());
            (bent::state().room, bent::state().refused) = (None, 0);
            let Err(error) = done else { break };
            assert_eq!(error.code(), Code::DeviceMemory, "{name} {room}: {error}");
            assert!(error.why().unwrap().contains("full"), "{error}");
            assert_eq!(ids, (1..=30).collect::<Vec<_>>(), "{name} {room}");
            refusals += 1;
            // With room again everything works, in this process and the next; a PIN may be half way in its change.
            let pin = [PIN, NEW].into_iter().find(|pin| file.unlock(Role::User, pin).is_ok()).unwrap();
            if pin == NEW {
                file.set_pin(Role::User, NEW, PIN).unwrap();
            }
            operation(&file, &keys).unwrap();
            drop(file);
            let file = open(&place.slot());
            let keys = file.unlock(Role::User, PIN).unwrap();
            assert!(file.verify(&keys).unwrap().is_clean(), "{name} {room}");
        }
        assert!(refusals > 0, "{name} writes nothing");
        println!("{name}: refused at {refusals} points");
    }
}

#[test]
fn a_full_disk_makes_no_half_token() {
    let _alone = alone();
    for room in 0.. {
        let place = Place::new();
        bent::state().room = Some(room);
        let made = SlotFile::create(&place.slot(), device(), RULES, SERIAL, "label", SO);
        bent::state().room = None;
        let Err(error) = made else {
            assert!(room > 2, "a token takes several writes");
            break;
        };
        if place.slot().exists() {
            // Made whole; only its opening, which writes too, had no room.
            open(&place.slot()).unlock(Role::SecurityOfficer, SO).unwrap();
            continue;
        }
        assert_eq!(error.code(), Code::DeviceMemory, "{room}: {error}");
        let left: Vec<_> = std::fs::read_dir(&place.0).unwrap().flatten().map(|e| e.file_name()).collect();
        assert!(left.iter().all(|name| name.to_string_lossy().ends_with("-lock")), "{room}: {left:?}");
        drop(place.create());
    }
}

/// A durable create waits for the medium once, as do a login and a change of PIN, whatever the number of objects; and a
/// change of PIN writes no more than its own record.
#[test]
fn a_create_costs_one_flush() {
    let _alone = alone();
    let place = Place::new();
    let (file, keys) = place.ready();
    file.commit(&keys, (0..300).map(|n| insert(true, &label(n), "many")).collect()).unwrap();
    let costs = |work: &dyn Fn()| {
        bent::state().events = Some(Vec::new());
        work();
        let events = bent::state().events.take().unwrap();
        let flushes = events.iter().filter(|event| matches!(event, Event::Sync { .. })).count();
        let bytes: usize =
            events.iter().map(|event| if let Event::Write { data, .. } = event { data.len() } else { 0 }).sum();
        (flushes, bytes)
    };
    // Every thousandth page of the log or so the engine copies it into the file, which flushes twice more.
    for n in 0..20 {
        let (flushes, _) = costs(&|| drop(file.commit(&keys, vec![insert(true, &format!("one-{n}"), "one")]).unwrap()));
        assert_eq!(flushes, 1, "{n}");
    }
    assert_eq!(costs(&|| drop(file.unlock(Role::User, PIN).unwrap())).0, 1);
    let (flushes, bytes) = costs(&|| file.set_pin(Role::User, PIN, NEW).unwrap());
    // The try is counted before it is made, and the new record written.
    assert!(flushes == 2 && bytes < 10 * 8192, "{flushes} flushes, {bytes} bytes");
}
