use crate::failure::Exit;
use crate::testing::{Double, PinFile, keyward};

#[test]
fn init_fills_the_blank_slot_and_sets_both_pins() {
    let (made, blank) = (Double::made("a1", "old"), Double::blank("b2"));
    let pins = PinFile::new("87654321\nsecret\n");
    let report = keyward(&[&made, &blank], &format!("token init --label new --so-pin-file {pins} --pin-file {pins}"));
    let report = report.unwrap();
    assert_eq!(blank.so_pin(), b"87654321");
    assert_eq!(blank.user_pin().as_deref(), Some(&b"secret"[..]));
    assert_eq!(made.so_pin(), b"12345678", "the other token is left alone");
    assert!(blank.at_rest());
    assert_eq!(report.json["label"], "new");
    assert_eq!(report.json["slot"], 0xb2);
}

#[test]
fn a_pin_that_the_token_would_refuse_leaves_no_half_made_token() {
    let blank = Double::blank("b2");
    let pins = PinFile::new("87654321\n123\n");
    let failure =
        keyward(&[&blank], &format!("token init --label new --so-pin-file {pins} --pin-file {pins}")).err().unwrap();
    assert_eq!(failure.exit, Exit::Pin);
    assert!(failure.message.contains("user PIN must have 4 to 16"), "{failure}");
    assert!(blank.so_pin().is_empty(), "nothing was made");
}

#[test]
fn init_without_a_user_pin_says_how_to_set_one() {
    let blank = Double::blank("b2");
    let pins = PinFile::new("87654321\n");
    let report = keyward(&[&blank], &format!("token init --label new --so-pin-file {pins} --no-user-pin")).unwrap();
    assert_eq!(blank.user_pin(), None);
    assert!(report.text.contains("keyward pin reset"));
}

#[test]
fn an_existing_token_is_made_anew_only_when_chosen_and_confirmed() {
    let made = Double::made("a1", "old").with(7, &[]);
    let pins = PinFile::new("12345678\n");
    let line = format!("token init --label new --so-pin-file {pins}");
    assert_eq!(keyward(&[&made], &line).err().unwrap().exit, Exit::Failed, "no free slot");
    let refused = keyward(&[&made], &format!("{line} --token old")).err().unwrap();
    assert_eq!(refused.exit, Exit::NotConfirmed);
    assert_eq!(made.objects(), [7]);
    keyward(&[&made], &format!("{line} --token old --yes")).unwrap();
    assert!(made.objects().is_empty());
}

#[test]
fn the_softhsm_words_make_a_token_too() {
    let blank = Double::blank("b2");
    keyward(&[&blank], "--init-token --free --label x --so-pin 87654321 --pin 4321").unwrap();
    assert_eq!(blank.user_pin().as_deref(), Some(&b"4321"[..]));
    assert_eq!(keyward(&[&blank], "--show-slots").unwrap().json[0]["label"], "x");
}

#[test]
fn list_shows_tokens_and_not_the_blank_slot() {
    let report = keyward(&[&Double::made("a1", "one"), &Double::blank("b2")], "token list").unwrap();
    assert_eq!(report.text.lines().count(), 2);
    assert!(report.text.lines().nth(1).unwrap().starts_with("one    a1      161   ready"), "{}", report.text);
    assert_eq!(keyward(&[], "token list").unwrap().text, "");
}

#[test]
fn a_token_is_chosen_by_label_serial_or_slot_and_never_guessed() {
    let (one, two) = (Double::made("a1", "twin"), Double::made("b2", "twin"));
    let tokens = [&one, &two];
    assert_eq!(keyward(&tokens, "token info --serial B2").unwrap().json["serial"], "b2");
    assert_eq!(keyward(&tokens, "token info --slot 0xa1").unwrap().json["serial"], "a1");
    for ambiguous in ["token info", "token info --token twin"] {
        let failure = keyward(&tokens, ambiguous).err().unwrap();
        assert_eq!(failure.exit, Exit::Refused);
        assert!(failure.message.contains("a1") && failure.message.contains("b2"), "{failure}");
    }
    let failure = keyward(&tokens, "token info --token other").err().unwrap();
    assert_eq!(failure.exit, Exit::NotFound);
    assert!(keyward(&[], "token info").err().unwrap().message.contains("token init"));
}
