//! Changes that several threads want at the same time go into one transaction, and share its flush.
//!
//! Who finds nobody leading leads: it takes along what others want under the same keys, having waited briefly for as many as
//! were on their way during the transaction before. Where the common transaction fails, each is made by itself, so that
//! nobody's changes fail for another's.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::keys::Keys;
use super::objects::Change;
use super::slot_file::SlotFile;
use crate::error::{Code, Result};

/// The longest that a leader waits for others. It never waits longer than half of what the last transaction took.
const PATIENCE: Duration = Duration::from_millis(1);

/// What one thread wants, under a number of its own.
struct Request {
    number: u64,
    keys: Arc<Keys>,
    changes: Vec<Change>,
}

#[derive(Default)]
struct Queue {
    waiting: Vec<Request>,
    /// What became of the requests whose threads have not looked yet.
    done: HashMap<u64, Result<Vec<u64>>>,
    last: u64,
    led: bool,
    /// How many there were in the last transaction, and came meanwhile.
    expected: usize,
    patience: Duration,
}

impl Queue {
    fn enter(&mut self, keys: &Arc<Keys>, changes: Vec<Change>) -> u64 {
        self.last = self.last.wrapping_add(1);
        self.waiting.push(Request { number: self.last, keys: Arc::clone(keys), changes });
        self.last
    }

    fn of(&self, keys: &Arc<Keys>) -> usize {
        self.waiting.iter().filter(|request| Arc::ptr_eq(&request.keys, keys)).count()
    }
}

#[derive(Default)]
pub(super) struct Group {
    queue: Mutex<Queue>,
    /// For the leader: one more is here.
    came: Condvar,
    /// For the others: a transaction is through.
    through: Condvar,
}

impl Group {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// What became of the request, if another's transaction has taken it along; else it is the caller's to lead.
    fn wait(&self, number: u64) -> Option<Result<Vec<u64>>> {
        let mut queue = self.queue();
        loop {
            if let Some(result) = queue.done.remove(&number) {
                return Some(result);
            }
            if !queue.led {
                queue.led = true;
                return None;
            }
            queue = self.through.wait(queue).unwrap_or_else(|e| e.into_inner());
        }
    }

    /// Takes what is wanted under these keys, once as many are there as are expected, or patience is at its end.
    fn gather(&self, keys: &Arc<Keys>) -> Led<'_> {
        let mut queue = self.queue();
        let (expected, patience) = (queue.expected, queue.patience);
        if queue.of(keys) < expected {
            let waited = self.came.wait_timeout_while(queue, patience, |queue| queue.of(keys) < expected);
            queue = waited.unwrap_or_else(|e| e.into_inner()).0;
        }
        let all = std::mem::take(&mut queue.waiting);
        let (taken, left) = all.into_iter().partition(|request| Arc::ptr_eq(&request.keys, keys));
        queue.waiting = left;
        Led { group: self, taken, results: Vec::new(), began: Instant::now() }
    }
}

/// A transaction for several. At its end, and be it a panic, each of them gets its answer and another may lead.
struct Led<'a> {
    group: &'a Group,
    taken: Vec<Request>,
    results: Vec<Result<Vec<u64>>>,
    began: Instant,
}

impl Drop for Led<'_> {
    fn drop(&mut self) {
        let mut queue = self.group.queue();
        let missing =
            || Err(Code::GeneralError.because("the transaction of another thread that took this one along broke off"));
        let results = self.results.drain(..).chain(std::iter::repeat_with(missing));
        queue.done.extend(self.taken.iter().map(|request| request.number).zip(results));
        queue.led = false;
        let coming = self.taken.first().map_or(0, |request| queue.of(&request.keys));
        queue.expected = self.taken.len().saturating_add(coming);
        queue.patience = (self.began.elapsed() / 2).min(PATIENCE);
        self.group.through.notify_all();
    }
}

impl SlotFile {
    /// As [`SlotFile::commit`], perhaps in one transaction with the changes of other threads under the same keys.
    pub fn commit_together(&self, keys: &Arc<Keys>, changes: Vec<Change>) -> Result<Vec<u64>> {
        let number = self.group.queue().enter(keys, changes);
        self.group.came.notify_all();
        if let Some(result) = self.group.wait(number) {
            return result;
        }
        let mut led = self.group.gather(keys);
        led.results = self.commit_each(keys, &led.taken);
        drop(led);
        self.group.queue().done.remove(&number).unwrap_or_else(|| Err(Code::GeneralError.into()))
    }

    fn commit_each(&self, keys: &Keys, requests: &[Request]) -> Vec<Result<Vec<u64>>> {
        let made = self.write_changes(keys, requests.iter().flat_map(|request| &request.changes));
        match made {
            Ok(made) => {
                let mut made = made.into_iter();
                let inserts = |request: &Request| request.changes.iter().filter(|change| change.is_insert()).count();
                requests.iter().map(|request| Ok(made.by_ref().take(inserts(request)).collect())).collect()
            }
            Err(error) if requests.len() == 1 => vec![Err(error)],
            Err(_) => requests.iter().map(|request| self.write_changes(keys, request.changes.iter())).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::{DeviceSecret, Role, Rules};
    use super::*;
    use crate::config::KdfPreset;

    struct Token {
        place: PathBuf,
        file: SlotFile,
        keys: Arc<Keys>,
    }

    impl Token {
        fn new(name: &str) -> Token {
            let place = std::env::temp_dir().join(format!("keyward-group-{}-{name}", std::process::id()));
            std::fs::create_dir_all(&place).unwrap();
            let (device, rules) =
                (Arc::new(DeviceSecret::from_bytes([7; 32])), Rules { kdf: KdfPreset::Standard, max_failures: 4 });
            let file =
                SlotFile::create(&place.join("t.slot"), device, rules, "00112233445566aa", "group", b"so-pin").unwrap();
            let so = file.unlock(Role::SecurityOfficer, b"so-pin").unwrap();
            file.init_user_pin(&so, b"user-pin").unwrap();
            let keys = file.unlock(Role::User, b"user-pin").unwrap();
            Token { place, file, keys }
        }

        fn transactions(&self) -> u64 {
            let (_, keys, rows) = self.file.open_public().unwrap();
            super::super::ledger::Ledger::open(&keys, &rows.meta).unwrap().commits
        }

        /// The answers to requests that have all come while another led.
        fn at_once(&self, requests: Vec<(&Arc<Keys>, Vec<Change>)>) -> Vec<Result<Vec<u64>>> {
            let group = &self.file.group;
            group.queue().led = true;
            std::thread::scope(|threads| {
                let mut running = Vec::new();
                for (keys, changes) in requests {
                    running.push(threads.spawn(move || self.file.commit_together(keys, changes)));
                    while group.queue().waiting.len() < running.len() {
                        std::thread::yield_now();
                    }
                }
                group.queue().led = false;
                group.through.notify_all();
                running.into_iter().map(|thread| thread.join().unwrap()).collect()
            })
        }
    }

    impl Drop for Token {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.place);
        }
    }

    fn insert(private: bool, name: &str) -> Change {
        Change::Insert { private, attrs: name.into(), secret: None, index: vec![(3, name.into())] }
    }

    #[test]
    fn what_several_want_at_once_is_one_transaction_and_each_gets_its_own() {
        let token = Token::new("one");
        let before = token.transactions();
        let several = |n: usize| (0..n).map(|i| insert(i % 2 == 0, &format!("{n}-{i}"))).collect();
        let made = token.at_once((1..=4).map(|n| (&token.keys, several(n))).collect());
        assert_eq!(token.transactions(), before + 1);
        for (n, ids) in (1..=4).zip(made) {
            let ids = ids.unwrap();
            assert_eq!(ids.len(), n);
            for (i, id) in ids.into_iter().enumerate() {
                assert_eq!(token.file.read(&token.keys, id).unwrap().unwrap().attrs, format!("{n}-{i}").into_bytes());
            }
        }
        assert!(token.file.verify(&token.keys).unwrap().is_clean());
    }

    #[test]
    fn nobody_fails_for_another() {
        let token = Token::new("fails");
        let id = token.file.commit(&token.keys, vec![insert(true, "old")]).unwrap()[0];
        let update = |version| Change::Update {
            id,
            version,
            private: true,
            attrs: b"new".to_vec(),
            secret: super::super::SecretChange::Keep,
            index: Vec::new(),
        };
        let made = token.at_once(vec![
            (&token.keys, vec![insert(true, "a")]),
            (&token.keys, vec![insert(true, "never"), update(9)]),
            (&token.keys, vec![update(1)]),
            (&token.keys, vec![insert(false, "b")]),
        ]);
        let codes: Vec<_> = made.iter().map(|made| made.as_ref().map(Vec::len).map_err(|error| error.code())).collect();
        assert_eq!(codes, [Ok(1), Err(Code::FunctionFailed), Ok(0), Ok(1)]);
        assert_eq!(token.file.read(&token.keys, id).unwrap().unwrap().attrs, b"new");
        assert_eq!(token.file.count().unwrap(), 3);
        assert!(token.file.verify(&token.keys).unwrap().is_clean());
    }

    #[test]
    fn other_keys_are_another_transaction() {
        let token = Token::new("keys");
        let public = token.file.public_keys().unwrap();
        let before = token.transactions();
        let made = token.at_once(vec![
            (&token.keys, vec![insert(true, "a")]),
            (&public, vec![insert(false, "b")]),
            (&public, vec![insert(true, "not seen")]),
            (&token.keys, vec![insert(true, "c")]),
        ]);
        let codes: Vec<_> = made.iter().map(|made| made.as_ref().map(Vec::len).map_err(|error| error.code())).collect();
        assert_eq!(codes, [Ok(1), Ok(1), Err(Code::UserNotLoggedIn), Ok(1)]);
        assert_eq!(token.transactions(), before + 2);
    }

    #[test]
    fn a_leader_that_breaks_off_leaves_nobody_waiting() {
        let token = Token::new("panic");
        let number = token.file.group.queue().enter(&token.keys, vec![insert(true, "lost")]);
        assert!(token.file.group.wait(number).is_none(), "it leads");
        drop(token.file.group.gather(&token.keys));
        assert_eq!(token.file.group.wait(number).unwrap().unwrap_err().code(), Code::GeneralError);
        assert_eq!(token.file.commit_together(&token.keys, vec![insert(true, "next")]).unwrap().len(), 1);
    }

    #[test]
    fn threads_that_keep_coming_share_and_one_alone_does_not_wait() {
        let token = Token::new("many");
        let before = token.transactions();
        std::thread::scope(|threads| {
            for who in 0..8 {
                let token = &token;
                threads.spawn(move || {
                    for n in 0..25 {
                        let made = token.file.commit_together(&token.keys, vec![insert(true, &format!("{who}-{n}"))]);
                        let read = token.file.read(&token.keys, made.unwrap()[0]).unwrap().unwrap();
                        assert_eq!(read.attrs, format!("{who}-{n}").into_bytes());
                    }
                });
            }
        });
        assert_eq!(token.file.count().unwrap(), 200);
        let shared = token.transactions() - before;
        assert!(shared < 150, "{shared} transactions for 200 requests of 8 threads");
        (0..2).for_each(|n| {
            drop(token.file.commit_together(&token.keys, vec![insert(true, &format!("alone {n}"))]).unwrap())
        });
        assert_eq!(token.file.group.queue().expected, 1);
        assert!(token.file.verify(&token.keys).unwrap().is_clean());
    }
}
