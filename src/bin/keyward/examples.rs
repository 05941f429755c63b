//! Examples of the commands, shown below `--help` and in the manual pages: one row per command. Commands that explain more have
//! theirs with that. Each is tried on the command line's own parser by a test, so that none goes stale.

use clap::Command;

/// The command's words, and its examples without the program's name.
const EXAMPLES: &[(&str, &[&str])] = &[
    ("token init", &["token init --label web", "token init --label web --so-pin-file so.pin --pin-file user.pin"]),
    ("token list", &["token list", "token list --json"]),
    ("token info", &["token info --token web"]),
    ("token verify", &["token verify --token web --login"]),
    ("token compact", &["token compact --token web"]),
    ("token delete", &["token delete --token old --dry-run", "token delete --token old --so-pin-file so.pin --yes"]),
    ("token backup-file", &["token backup-file --token web web.slot"]),
    ("token rotate-key", &["token rotate-key --token web"]),
    ("token accept", &["token accept --token web --pin-file user.pin"]),
    ("object list", &["object list --token web --login", "object list --class certificate --json"]),
    ("object show", &["object show --label tls --login"]),
    ("object delete", &["object delete --label old --login", "object delete --class certificate --all --login --yes"]),
    ("object import", &["object import server.pem --label tls", "object import server.pfx --source-pin-file pass"]),
    ("object import-softhsm", &["object import-softhsm /var/lib/softhsm/tokens/0f6e"]),
    ("object import-kryoptic", &["object import-kryoptic /var/lib/kryoptic/token.sql --token web"]),
    (
        "object export",
        &[
            "object export --label tls --class certificate",
            "object export --label tls --class public-key --der --output tls.der",
        ],
    ),
    ("key activate", &["key activate --label tls#v2 --overlap 7d"]),
    ("key suspend", &["key suspend --label tls --reason 'under inquiry'"]),
    ("key resume", &["key resume --label tls --reason 'inquiry closed'"]),
    ("key deactivate", &["key deactivate --label tls --at +30d"]),
    ("key revoke", &["key revoke --label tls --compromised --reason 'host was broken into'"]),
    ("key destroy", &["key destroy --label tls --window 30d"]),
    ("key recover", &["key recover --label tls"]),
    ("key purge", &["key purge --label tls"]),
    ("key rotate", &["key rotate --label db", "key rotate --label tls --stage --csr tls.csr"]),
    ("key request", &["key request --label tls#v2 --subject CN=www.example.org --dns www.example.org"]),
    ("key certify", &["key certify tls.pem --label tls#v2"]),
    ("key rewrap", &["key rewrap --label kek wrapped.key"]),
    ("key show", &["key show --label tls", "key show --label tls --json"]),
    ("overlay init", &["overlay init --token hsm", "overlay init --token hsm --so-pin-file overlay.pin"]),
    (
        "overlay adopt",
        &["overlay adopt --token hsm --dry-run", "overlay adopt --token hsm --reason 'inventory of 2026'"],
    ),
    ("overlay prune", &["overlay prune --token hsm --dry-run", "overlay prune --token hsm --unique-id kw-0a1b --yes"]),
    ("policy init", &["policy init", "policy init web.toml"]),
    ("policy check", &["policy check web.toml --token web"]),
    ("policy apply", &["policy apply web.toml --token web"]),
    ("policy show", &["policy show --token web"]),
    ("approval new-key", &["approval new-key alice.key --name alice"]),
    ("approval show", &["approval show alice.approval"]),
    ("maintain", &["maintain --dry-run", "maintain --json"]),
    ("user add", &["user add anna --role user", "user add olga --role officer --token web"]),
    ("user list", &["user list", "user list --json"]),
    ("user remove", &["user remove anna --token web"]),
    ("user pin", &["user pin anna", "user pin anna --officer olga"]),
    ("user role", &["user role anna --role user --role operator"]),
    ("user totp enrol", &["user totp enrol olga", "user totp enrol --so"]),
    ("user totp remove", &["user totp remove olga"]),
    ("pin change", &["pin change --token web", "pin change --so --token web"]),
    ("pin reset", &["pin reset --token web"]),
    ("migrate", &["migrate --from web --to web-hsm --dry-run"]),
    ("ha status", &["ha status", "ha status --token signing --pin-file user.pin --json"]),
    ("ha sync", &["ha sync --dry-run"]),
    (
        "mechanisms",
        &[
            "mechanisms --use sign --key-type ec",
            "mechanisms --all --json",
            "mechanisms --compare /usr/lib/softhsm/libsofthsm2.so --use sign",
        ],
    ),
    ("config show", &["config show > keyward.toml"]),
    ("doctor", &["doctor", "doctor --json"]),
    ("completion", &["completion bash > /etc/bash_completion.d/keyward"]),
    ("manual", &["manual /usr/local/share/man/man1"]),
];

/// Adds the examples to the commands that have none of their own.
pub fn added(command: Command) -> Command {
    below(command, "")
}

fn below(mut command: Command, path: &str) -> Command {
    if let Some((_, examples)) = EXAMPLES.iter().find(|(words, _)| *words == path) {
        let said = command.get_after_help().map(|said| format!("{said}\n\n")).unwrap_or_default();
        let lines: String = examples.iter().map(|line| format!("\n  keyward {line}")).collect();
        command = command.after_help(format!("{said}Examples:{lines}"));
    }
    let names: Vec<String> = command.get_subcommands().map(|one| one.get_name().to_owned()).collect();
    for name in names {
        let words = if path.is_empty() { name.clone() } else { format!("{path} {name}") };
        command = command.mut_subcommand(name, |one| below(one, &words));
    }
    command
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::Cli;

    fn leaves(command: &Command, path: &str, found: &mut Vec<(String, String)>) {
        for one in command.get_subcommands().filter(|one| one.get_name() != "help") {
            let words = format!("{path} {}", one.get_name()).trim().to_owned();
            match one.has_subcommands() {
                true => leaves(one, &words, found),
                false => found.push((words, one.get_after_help().map(ToString::to_string).unwrap_or_default())),
            }
        }
    }

    #[test]
    fn every_command_has_examples_that_the_command_line_takes() {
        let command = added(Cli::command());
        let mut found = Vec::new();
        leaves(&command, "", &mut found);
        assert!(found.len() > 30);
        for (words, help) in &found {
            // A line that goes on in the next one.
            let lines = help.split("\\\n").map(str::trim_start).collect::<Vec<_>>().join("");
            let examples: Vec<&str> =
                lines.lines().map(str::trim).filter(|line| line.starts_with("keyward ")).collect();
            assert!(
                examples.iter().any(|line| line.starts_with(&format!("keyward {words}"))),
                "{words} has no example"
            );
            for example in examples {
                // What a shell would take for itself, and remarks beside an example.
                let line = example.split(" > ").next().unwrap().split("      ").next().unwrap();
                let words = shell_words(line);
                let parsed = command.clone().try_get_matches_from(&words);
                assert!(parsed.is_ok(), "{example}: {}", parsed.unwrap_err());
            }
        }
        for (words, _) in EXAMPLES {
            assert!(found.iter().any(|(known, _)| known == words), "{words} is no command");
        }
    }

    fn shell_words(line: &str) -> Vec<String> {
        let quoted = line.split('\'').enumerate();
        quoted
            .flat_map(|(at, part)| match at % 2 {
                0 => part.split_whitespace().map(str::to_owned).collect::<Vec<_>>(),
                _ => vec![part.to_owned()],
            })
            .collect()
    }
}
