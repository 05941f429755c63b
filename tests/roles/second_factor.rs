//! One-time codes: RFC 6238 computed here by other code than the library's.

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

use crate::login::pin_file;
use crate::place::*;
use crate::*;

fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

fn unbase32(text: &str) -> Vec<u8> {
    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let (mut bits, mut count, mut bytes) = (0u64, 0, Vec::new());
    for letter in text.bytes() {
        bits = bits << 5 | letters.iter().position(|l| *l == letter).unwrap() as u64;
        count += 5;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}

fn code(uri: &str, step: u64) -> String {
    let secret = uri.split("secret=").nth(1).unwrap().split('&').next().unwrap();
    let mut mac = Hmac::<Sha1>::new_from_slice(&unbase32(secret)).unwrap();
    mac.update(&step.to_be_bytes());
    let mac = mac.finalize().into_bytes();
    let at = (mac[19] & 15) as usize;
    let word = u32::from_be_bytes(mac[at..at + 4].try_into().unwrap()) & 0x7fff_ffff;
    format!("{:06}", word % 1_000_000)
}

/// Waits until a step has some seconds left, so that a test's codes stay within it.
fn step() -> u64 {
    while now() % 30 > 24 {
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    now() / 30
}

#[test]
fn a_code_is_asked_for_counts_once_and_a_wrong_one_is_a_wrong_pin() {
    let place = staffed(&[("otto", "operator")]);
    let made = done(&place, "user totp enrol otto --so-pin-file pin");
    let uri = made["uri"].as_str().unwrap().to_owned();
    assert!(uri.starts_with("otpauth://totp/") && uri.contains("algorithm=SHA1&digits=6&period=30"), "{uri}");
    let step = step();
    let good = code(&uri, step);
    let wrong = code(&uri, step + 40);
    let answers = place.try_work(&format!(
        "named user otto otto-1234; named user otto otto-1234:{wrong}; named user otto wrong-1:{good}; \
         named user otto otto-1234:{good}; logout; named user otto otto-1234:{good}"
    ));
    let codes: Vec<&str> = answers.iter().map(|answer| answer.rsplit(": ").next().unwrap()).collect();
    let no = "CKR_PIN_INCORRECT";
    assert_eq!(codes, [no, no, no, "CKR_OK", "CKR_OK", no]);
    // In another process too; the two wrong ones and the repeated one were counted, the missing one was not.
    let answers = place.try_work(&format!("login user otto:otto-1234:{good}"));
    assert!(answers[0].ends_with(no));
    assert_eq!(done(&place, "user list")["users"][0]["failures"], 2);
    place.work(&format!("named user otto otto-1234:{}; generate more", code(&uri, step + 1)));
    done(&place, "user totp remove otto --so-pin-file pin");
    place.work("named user otto otto-1234");
}

#[test]
fn the_so_has_a_second_factor_too_and_an_officer_can_remove_it() {
    let place = staffed(&[("olga", "officer")]);
    let uri = done(&place, "user totp enrol --so --so-pin-file pin")["uri"].as_str().unwrap().to_owned();
    refused(&place, "user totp remove --so --so-pin-file pin", 5, "second factor");
    let step = step();
    std::fs::write(place.0.join("coded"), format!("{PIN}:{}\n", code(&uri, step))).unwrap();
    std::fs::write(place.0.join("new"), "anna-1234\n").unwrap();
    done(&place, "user add anna --role user --so-pin-file coded --new-pin-file new");
    refused(&place, "user role anna --role operator --so-pin-file coded", 5, "wrong PIN or code");
    // The PIN changes, the second factor stays.
    std::fs::write(place.0.join("coded"), format!("{PIN}:{}\nanother-pin-1\n", code(&uri, step + 1))).unwrap();
    let olga = format!("--officer olga --so-pin-file {}", pin_file(&place, "olga"));
    refused(&place, "pin change --so --so-pin-file pin --new-pin-file new", 5, "second factor");
    done(&place, &format!("user totp remove --so {olga}"));
    done(&place, "user role anna --role operator --so-pin-file pin");
}
