//! PINs from where they may come: the terminal, a file, a descriptor, the environment; and what is asked there beside.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::{Home, PINS, text};

/// A pseudo-terminal: our side, and the program's.
fn terminal() -> (File, OwnedFd) {
    let (mut ours, mut theirs) = (0, 0);
    let none = std::ptr::null_mut();
    // SAFETY: two live places for descriptors, and no name or settings.
    assert_eq!(unsafe { libc::openpty(&raw mut ours, &raw mut theirs, none, none.cast(), none.cast()) }, 0);
    // SAFETY: just made, and nobody else's.
    unsafe { (File::from_raw_fd(ours), OwnedFd::from_raw_fd(theirs)) }
}

/// Waits until what is typed is no longer shown: that is only so shortly after the question is.
fn silent(terminal: &File) {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        // SAFETY: plain data, for which zeros are a value, and an open terminal.
        let flags = unsafe {
            let mut settings: libc::termios = std::mem::zeroed();
            assert_eq!(libc::tcgetattr(terminal.as_raw_fd(), &raw mut settings), 0);
            settings.c_lflag
        };
        if flags & libc::ECHO == 0 {
            return;
        }
        assert!(Instant::now() < deadline, "what is typed stays to be seen");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Runs the command at a terminal of its own, and types each answer once its question is there: the exit code, and all that
/// was to be seen.
fn typed(mut command: Command, answers: &[(&str, &str)]) -> (Option<i32>, String) {
    let (mut ours, theirs) = terminal();
    let stdio = || Stdio::from(theirs.try_clone().unwrap());
    command.stdin(stdio()).stdout(stdio()).stderr(stdio());
    // SAFETY: calls that are allowed between fork and exec.
    unsafe {
        command.pre_exec(|| {
            libc::setsid();
            libc::ioctl(0, libc::TIOCSCTTY, 0);
            Ok(())
        });
    }
    let mut child = command.spawn().unwrap();
    drop((command, theirs));
    let (mut seen, mut read) = (String::new(), 0);
    let mut answers = answers.iter();
    let mut next = answers.next();
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut bytes = [0; 1024];
    // With the program's end the terminal is gone, which reads as an error.
    while let Ok(count @ 1..) = ours.read(&mut bytes) {
        seen.push_str(&String::from_utf8_lossy(&bytes[..count]));
        while let Some((question, answer)) = next
            && let Some(at) = seen[read..].find(question)
        {
            read += at + question.len();
            if question.contains("PIN") {
                silent(&ours);
            }
            ours.write_all(format!("{answer}\n").as_bytes()).unwrap();
            next = answers.next();
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            panic!("it waits for something else than {next:?}: {seen}");
        }
    }
    let code = child.wait().unwrap().code();
    assert!(next.is_none(), "not asked for {next:?}: {seen}");
    (code, seen)
}

#[test]
fn pins_are_asked_for_at_the_terminal_and_not_shown() {
    let home = Home::new();
    let (so, user) = ("secret-so-1", "secret-user-1");
    let init = [
        ("New SO PIN: ", so),
        ("New SO PIN, again: ", so),
        ("New user PIN (empty: none): ", user),
        ("New user PIN (empty: none), again: ", user),
    ];
    let (code, seen) = typed(home.command("token init --label t"), &init);
    assert_eq!(code, Some(0), "{seen}");
    assert!(!seen.contains("secret"), "{seen}");
    let (code, seen) = typed(home.command("object list --login"), &[("User PIN: ", user)]);
    assert!(code == Some(0) && !seen.contains("secret"), "{seen}");
    let (code, seen) = typed(home.command("object list --login"), &[("User PIN: ", "secret-2")]);
    assert!(code == Some(5) && seen.contains("CKR_PIN_INCORRECT") && !seen.contains("secret"), "{seen}");
    let change = [("Present user PIN: ", user), ("New user PIN: ", "secret-3"), ("New user PIN, again: ", "secret-4")];
    let (code, seen) = typed(home.command("pin change"), &change);
    assert!(code == Some(5) && seen.contains("nothing was changed"), "{seen}");
    assert_eq!(typed(home.command("object list --login"), &[("User PIN: ", user)]).0, Some(0));
}

#[test]
fn what_cannot_be_undone_is_asked_for() {
    let home = Home::new();
    let token = home.done("token init --label t --so-pin-env SO --pin-env ONE");
    let delete = || home.command("token delete --so-pin-env SO");
    let mut command = delete();
    command.envs(PINS);
    let (code, seen) = typed(command, &[("Type yes to go on: ", "no")]);
    assert!(code == Some(8) && seen.contains("not confirmed; nothing was changed"), "{seen}");
    assert_eq!(home.done("token info")["serial"], token["serial"]);
    let mut command = delete();
    command.envs(PINS);
    let (code, seen) = typed(command, &[("Type yes to go on: ", "yes")]);
    assert!(code == Some(0) && seen.contains("Deleted is token \"t\""), "{seen}");
    assert_eq!(home.refused("token info").0, Some(4));
}

#[test]
fn a_pin_comes_from_a_file_a_descriptor_or_the_environment() {
    let home = Home::new();
    home.done("token init --label t --so-pin-env SO --pin-env ONE");
    let file = home.0.join("pins");
    std::fs::write(&file, "1234\n5678\n").unwrap();
    let path = file.display();
    home.done(&format!("object list --pin-file {path}"));
    home.done("object list --pin-env ONE");
    let by_descriptor = |line: &str| {
        let open = File::open(&file).unwrap();
        let mut command = home.command(line);
        let from = open.as_raw_fd();
        // SAFETY: a call that is allowed between fork and exec.
        unsafe {
            command.pre_exec(move || match libc::dup2(from, 9) {
                9 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            });
        }
        command.output().unwrap()
    };
    let listed = by_descriptor("object list --pin-fd 9");
    assert_eq!(listed.status.code(), Some(0), "{}", text(&listed.stderr));
    // Line after line, for two PINs of one command; and back again.
    let changed = by_descriptor("pin change --pin-fd 9 --new-pin-fd 9");
    assert_eq!(changed.status.code(), Some(0), "{}", text(&changed.stderr));
    home.done("object list --pin-env TWO");
    home.done(&format!("pin change --pin-env TWO --new-pin-file {path}"));
    home.done("object list --pin-env ONE");

    std::fs::write(&file, "\n").unwrap();
    for (line, words) in [
        (format!("object list --pin-file {path}"), "no further line with text"),
        (format!("object list --pin-file {}/none", home.0.display()), "No such file"),
        ("object list --pin-fd 77".to_owned(), "/dev/fd/77"),
        ("object list --pin-env NOTHING".to_owned(), "NOTHING is not set"),
        ("object list --login".to_owned(), "there is no terminal"),
    ] {
        let mut command = home.command(&line);
        // SAFETY: a call that is allowed between fork and exec.
        unsafe {
            command.pre_exec(|| {
                libc::setsid();
                Ok(())
            });
        }
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(5), "{line}");
        assert!(text(&output.stderr).contains(words), "{line}: {}", text(&output.stderr));
    }
    for line in ["object list --pin-file a --pin-env ONE", "object list --pin-fd 3 --pin-env ONE"] {
        assert_eq!(home.refused(line).0, Some(2), "one source, not two: {line}");
    }
}
