//! What another process does to tokens is seen without a new start.

use std::ptr::null_mut;
use std::sync::mpsc;
use std::time::Duration;

use cryptoki_sys::*;

use crate::harness::*;
use crate::store_common::{again, setting};
use crate::world::*;
use crate::{c, ok};

const NEW_PIN: &[u8] = b"another";

fn run(name: &str, setting: &str) {
    let mut child = again(name, setting);
    let out = std::io::read_to_string(child.stdout.take().unwrap()).unwrap();
    assert!(child.wait().unwrap().success(), "{out}");
}

fn event(flags: CK_FLAGS) -> Result<CK_SLOT_ID, CK_RV> {
    let mut slot = 0;
    match c!(C_WaitForSlotEvent, flags, &raw mut slot, null_mut()) {
        CKR_OK => Ok(slot),
        rv => Err(rv),
    }
}

#[test]
fn a_pin_changed_by_another_process_counts_at_once() {
    const NAME: &str = "news::a_pin_changed_by_another_process_counts_at_once";
    if setting().is_some() {
        let session = attach();
        ok!(C_SetPIN, session, ptr(USER_PIN), len(USER_PIN), ptr(NEW_PIN), len(NEW_PIN));
        return;
    }
    let (_world, slot) = World::with_token();
    let session = logged_in(slot);
    let key = create(session, kept(b"1", "before"));
    run(NAME, "change");
    assert_eq!(value(session, key, CKA_LABEL).unwrap(), b"before", "who is logged in stays so");
    ok!(C_Logout, session);
    let login = |pin: &[u8]| c!(C_Login, session, CKU_USER, ptr(pin), len(pin));
    assert_eq!(login(USER_PIN), CKR_PIN_INCORRECT);
    assert_eq!(login(NEW_PIN), CKR_OK);
    assert_eq!(find(session, by(CKA_LABEL, b"before")).len(), 1);
}

#[test]
fn tokens_made_and_removed_by_others_are_slot_events() {
    const NAME: &str = "news::tokens_made_and_removed_by_others_are_slot_events";
    if setting().is_some() {
        ok!(C_Initialize, null_mut());
        make_token(*slots(CK_FALSE).last().unwrap());
        return;
    }
    let (world, slot) = World::with_token();
    let first = world.slot_file();
    assert_eq!(event(CKF_DONT_BLOCK), Err(CKR_NO_EVENT), "nothing happened since the slots were listed");
    // The other process is shown a free slot, this one is not.
    let own = std::env::var_os("KEYWARD_CONF").unwrap();
    let others = world.configuration("others.toml", "always");
    let made_by_another = || {
        // SAFETY: this test has the module alone, and no other thread reads the environment now.
        unsafe { std::env::set_var("KEYWARD_CONF", &others) };
        run(NAME, "make");
        // SAFETY: as above.
        unsafe { std::env::set_var("KEYWARD_CONF", &own) };
    };
    made_by_another();
    let second = event(CKF_DONT_BLOCK).unwrap();
    assert_ne!(second, slot);
    assert_eq!(event(CKF_DONT_BLOCK), Err(CKR_NO_EVENT));
    assert_eq!(slots(CK_TRUE).len(), 2);
    ok!(C_CloseSession, logged_in(second));

    // Blocking: the waiter sleeps until there is news.
    let (said, heard) = mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| said.send(event(0)).unwrap());
        assert!(heard.recv_timeout(Duration::from_millis(300)).is_err(), "nothing has happened yet");
        made_by_another();
        let third = heard.recv_timeout(Duration::from_secs(10)).unwrap().unwrap();
        assert!(third != slot && third != second);

        scope.spawn(|| said.send(event(0)).unwrap());
        assert!(heard.recv_timeout(Duration::from_millis(300)).is_err());
        for rest in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{rest}", first.display()));
        }
        assert_eq!(heard.recv_timeout(Duration::from_secs(10)).unwrap(), Ok(slot));
    });
    let mut info = CK_SLOT_INFO::default();
    ok!(C_GetSlotInfo, slot, &raw mut info);
    assert_eq!(info.flags & CKF_TOKEN_PRESENT, 0);
    assert_eq!(slots(CK_TRUE).len(), 2);
    let mut session = 0;
    let flags = CKF_SERIAL_SESSION;
    assert_eq!(c!(C_OpenSession, slot, flags, null_mut(), None, &raw mut session), CKR_TOKEN_NOT_PRESENT);
}
