//! `keyward backup`: tokens under the shares of custodians.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand};
use keyward::audit_log::time;
use keyward::backup::{Archive, Custodian, Header, Identity, Kind, Maker, Opened, Recipient, Restored, Share, Target};
use keyward::config::Config;
use keyward::lifecycle::approval::{Act, Asked, Spent, check as check_approvals, hex};
use keyward::lifecycle::{Policy, clock};
use keyward::store::{DeviceSecret, Roles, Rules, SlotFile};
use serde_json::{Value, json};

use crate::choice::TokenChoice;
use crate::commands::approval::read_all;
use crate::commands::audit::{note, note_by};
use crate::commands::duty::on_duty;
use crate::commands::upkeep;
use crate::context::Context;
use crate::failure::{Exit, Failure, Result};
use crate::pem;
use crate::pins::{ByPin, Pin, Reader, SoPin, UserPin};
use crate::report::{Report, fields, shown};

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Seal a token into a file that M of N custodians can open together
    Create(Create),
    /// Check a backup without restoring it; with shares also what is inside
    Verify(Verify),
    /// Bring a token back, on this machine or another
    Restore(Restore),
    /// Restore into a scratch directory, look at the result, and throw it away
    Drill(Restore),
}

#[derive(Args, Debug)]
#[command(
    after_help = "A custodian is NAME=age1... (the share is encrypted to that age recipient), NAME=FILE.pem (to that public key: \
RSA by OAEP with SHA-256, EC as CMS, X25519 as an age recipient), or NAME=print (in clear: put it into a safe). Each share becomes a file beside the backup. No PIN is \
needed: a backup operator learns no key, and the custodians together need the token's PINs as well. The copy is consistent \
whatever applications do meanwhile.

Examples:
  keyward backup create web.kwbackup --threshold 2 \\
      --custodian ada=age1... --custodian bob=bob.pem --custodian safe=print
  keyward backup create web.kwbackup --threshold 1 --custodian ada=age1... --dry-run"
)]
pub struct Create {
    /// The file to make; it must not exist yet
    file: PathBuf,
    /// How many custodians are needed to restore
    #[arg(long, short = 'm', value_name = "M")]
    threshold: u8,
    /// A custodian, NAME=age1..., NAME=FILE.pem or NAME=print; once for each
    #[arg(long = "custodian", value_name = "NAME=TO", required = true)]
    custodians: Vec<String>,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    choice: TokenChoice,
    #[command(flatten)]
    by: ByPin,
}

/// A backup and the shares that open it.
#[derive(Args, Debug)]
pub struct Held {
    /// The backup
    file: PathBuf,
    /// A share: a file of it in clear, or encrypted by age where --identity can open it
    #[arg(long = "share", value_name = "FILE")]
    shares: Vec<PathBuf>,
    /// An age identity file, or a PEM private key for X25519, for encrypted shares
    #[arg(long = "identity", value_name = "FILE")]
    identities: Vec<PathBuf>,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Without shares the file's checksum is compared. With enough of them the snapshot is opened in a scratch \
directory and every record in it is checked, the private ones too if the user PIN is given.

Examples:
  keyward backup verify web.kwbackup
  keyward backup verify web.kwbackup --share ada.txt --share bob.txt --pin-file pin"
)]
pub struct Verify {
    #[command(flatten)]
    held: Held,
    #[command(flatten)]
    pin: UserPin,
    #[command(flatten)]
    by: ByPin,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Without --token, --serial or --slot a new token is made, with the serial, label and PINs of the backup; its \
slot file must not exist. With one of them the objects go into that token, which must hold none; its user PIN is given by \
--new-pin-..., and the backup's by --pin-.... Unique IDs, states and versions stay. Everything is sealed anew under this machine's \
device secret.

An RSA share is opened by: openssl pkeyutl -decrypt -inkey bob.key -pkeyopt rsa_padding_mode:oaep \\
    -pkeyopt rsa_oaep_md:sha256 -in web.kwbackup.share-2-bob.rsa -out bob.txt
An EC share by: openssl cms -decrypt -inform DER -inkey eve.key -in web.kwbackup.share-3-eve.cms -out eve.txt

Examples:
  keyward backup restore web.kwbackup --share web.kwbackup.share-1-ada.age --identity ada.key --share bob.txt
  keyward backup drill web.kwbackup --share ada.txt --share bob.txt --pin-file pins --so-pin-file pins"
)]
pub struct Restore {
    #[command(flatten)]
    held: Held,
    #[command(flatten)]
    choice: TokenChoice,
    #[command(flatten)]
    so_pin: SoPin,
    #[command(flatten)]
    pin: UserPin,
    #[command(flatten)]
    new_pin: crate::pins::NewPin,
    /// An approval, where the policy of the token asks for them; once for each
    #[arg(long, value_name = "FILE")]
    approval: Vec<PathBuf>,
    /// Only check shares and PINs
    #[arg(long)]
    dry_run: bool,
}

pub fn run(context: &Context, command: &Command) -> Result<Report> {
    match command {
        Command::Create(arguments) => create(context, arguments),
        Command::Verify(arguments) => verify(context, arguments),
        Command::Restore(arguments) => restore(context, arguments),
        Command::Drill(arguments) => drill(context, arguments),
    }
}

fn custodian(text: &str) -> Result<Custodian> {
    let usage = |why: String| Failure::new(Exit::Usage, format!("custodian {text}: {why}"));
    let (name, to) =
        text.split_once('=').ok_or_else(|| usage("expected NAME=age1..., NAME=FILE.pem or NAME=print".into()))?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.is_empty() || !name.chars().all(plain) || name.starts_with('.') {
        return Err(usage("its name becomes part of a file name: letters, digits, . _ - only".into()));
    }
    if to == "print" {
        return Ok(Custodian { name: name.to_owned(), kind: Kind::Print });
    }
    if to.starts_with("age1") {
        let recipient =
            Recipient::parse(to).ok_or_else(|| usage("this is no age recipient; was it mistyped?".into()))?;
        return Ok(Custodian { name: name.to_owned(), kind: Kind::Age(recipient) });
    }
    let file = std::fs::read_to_string(to).map_err(|error| usage(format!("{to}: {error}")))?;
    let blocks = pem::blocks(&file).map_err(usage)?;
    let der = blocks.iter().find_map(|block| match block.label.as_str() {
        "PUBLIC KEY" => Some(block.der.to_vec()),
        "CERTIFICATE" => pem::certificate(&block.der).map(|parts| parts.public_key.to_vec()),
        _ => None,
    });
    let der = der.ok_or_else(|| usage(format!("{to} holds no PUBLIC KEY and no CERTIFICATE")))?;
    Custodian::with_public_key(name, &der)
        .map_err(|error| usage(error.why().unwrap_or("the key cannot be used").into()))
}

/// What was made, to be removed again unless all of it is.
#[derive(Default)]
struct Made(Vec<PathBuf>);

impl Made {
    fn write(&mut self, path: PathBuf, bytes: &[u8]) -> Result<()> {
        let written = keyward::os::write_private_new(&path, bytes).map_err(Failure::of("cannot write a share"))?;
        if !written {
            return Err(Failure::new(Exit::Refused, format!("{} is there already; nothing was made", path.display())));
        }
        self.0.push(path);
        Ok(())
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        self.0.iter().for_each(|path| drop(std::fs::remove_file(path)));
    }
}

fn create(context: &Context, arguments: &Create) -> Result<Report> {
    let custodians = arguments.custodians.iter().map(|text| custodian(text)).collect::<Result<Vec<_>>>()?;
    let names: Vec<String> = custodians.iter().map(|custodian| custodian.name.clone()).collect();
    let mut unique = names.clone();
    unique.sort();
    unique.dedup();
    if unique.len() != names.len() {
        return Err(Failure::new(Exit::Usage, "two custodians have one name"));
    }
    let config = context.config()?;
    let (file, info) = upkeep::open(context, &arguments.choice)?;
    let (label, serial) = (shown(info.label.trim_end()), info.serial.trim_end());
    let (mut maker, shares) =
        Maker::new(serial, time::text(time::now()), arguments.threshold, names.clone()).map_err(|error| {
            Failure::new(Exit::Usage, error.why().unwrap_or("the threshold is out of range").to_owned())
        })?;
    let to = std::path::absolute(&arguments.file).unwrap_or_else(|_| arguments.file.clone());
    if to.exists() {
        return Err(Failure::new(Exit::Refused, format!("{} is there already; nothing was made", to.display())));
    }
    let policy = format!("{} of {}", arguments.threshold, names.len());
    if arguments.dry_run {
        let text = format!("would back up token \"{label}\" to {}, for {policy} custodians", to.display());
        return Ok(Report::new(text, json!({ "serial": serial, "file": to, "made": false })));
    }
    let by = on_duty(&file, Roles::BACKUP, &arguments.by.source())?.unwrap_or_default();
    // On record first: what is not to be recorded is not to be made.
    maker.header.audit = note_by(context, &by, "backup", serial, &format!("backup {}, {policy}", maker.header.id))?;
    let device = DeviceSecret::load(&config.device_secret).map_err(Failure::of("cannot read the device secret"))?;
    let mut made = Made::default();
    let snapshot = beside(&to, ".snapshot");
    made.0.push(snapshot.clone());
    file.backup(&snapshot).map_err(Failure::of("cannot take the snapshot"))?;
    maker.write(&to, device.expose(), &snapshot).map_err(Failure::of("cannot write the backup"))?;
    made.0.push(to.clone());
    let mut written = Vec::new();
    for (custodian, share) in custodians.iter().zip(&shares) {
        let (bytes, ending) = custodian.sealed(share).map_err(Failure::of("cannot encrypt a share"))?;
        let path = beside(&to, &format!(".share-{}-{}.{ending}", share.number(), custodian.name));
        made.write(path.clone(), &bytes)?;
        written.push(path);
    }
    made.0.clear();
    let _ = std::fs::remove_file(&snapshot);
    let mut text = format!("Token \"{label}\" is backed up to {}; {policy} shares restore it:\n", to.display());
    written.iter().for_each(|path| text += &format!("  {}\n", path.display()));
    text += "Give each custodian theirs, and remove it here. Check with `keyward backup drill`.";
    let json = json!({ "serial": serial, "file": to, "made": true, "id": maker.header.id, "shares": written });
    Ok(Report::new(text, json))
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

impl Held {
    fn archive(&self) -> Result<Archive> {
        Archive::open(&self.file).map_err(Failure::of("cannot read the backup"))
    }

    fn shares(&self) -> Result<Vec<Share>> {
        let read = |path: &PathBuf| {
            std::fs::read(path)
                .map_err(|error| Failure::new(Exit::Failed, format!("cannot read {}: {error}", path.display())))
        };
        let mut identities = Vec::new();
        for path in &self.identities {
            let text = zeroize_text(read(path)?);
            let keys = pem::blocks(&text).unwrap_or_default();
            let key = keys.iter().find(|block| block.label == "PRIVATE KEY");
            let identity = key.and_then(|key| Identity::from_pkcs8(&key.der)).or_else(|| Identity::parse(&text));
            let none = "holds no age identity, and no PRIVATE KEY (PKCS#8) for X25519";
            let identity = identity.ok_or_else(|| Failure::new(Exit::Failed, format!("{} {none}", path.display())))?;
            identities.push(identity);
        }
        self.shares.iter().map(|path| share(path, &read(path)?, &identities)).collect()
    }
}

fn zeroize_text(bytes: Vec<u8>) -> zeroize::Zeroizing<String> {
    let bytes = zeroize::Zeroizing::new(bytes);
    zeroize::Zeroizing::new(String::from_utf8_lossy(&bytes).into_owned())
}

fn share(path: &Path, bytes: &[u8], identities: &[Identity]) -> Result<Share> {
    let failed = |why: &str| Failure::new(Exit::Failed, format!("{}: {why}", path.display()));
    if bytes.starts_with(b"age-encryption.org/") {
        let opened = identities.iter().find_map(|identity| identity.decrypt(bytes).ok());
        let opened = opened.ok_or_else(|| failed("no --identity opens this share"))?;
        return Share::parse(&String::from_utf8_lossy(&opened)).map_err(|e| failed(e.why().unwrap_or_default()));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| {
        failed("it is encrypted: its custodian must open it first (see `keyward backup restore --help`)")
    })?;
    Share::parse(text).map_err(|error| failed(error.why().unwrap_or_default()))
}

fn rules(config: &Config) -> Rules {
    Rules { kdf: config.kdf, max_failures: config.pin.max_failures }
}

/// Beside the tokens: the snapshot in it is sealed as they are.
fn opened(config: &Config, archive: &Archive, shares: &[Share]) -> Result<Opened> {
    let scratch = config.tokens.parent().unwrap_or(&config.tokens);
    Opened::open(archive, shares, scratch, rules(config)).map_err(Failure::of("cannot open the backup"))
}

fn about(header: &Header) -> Vec<(&'static str, String)> {
    vec![
        ("backup", header.id.clone()),
        ("made", header.created.clone()),
        ("serial", header.serial.clone()),
        ("shares", format!("{} of {} ({})", header.threshold, header.custodians.len(), header.custodians.join(", "))),
    ]
}

fn verify(context: &Context, arguments: &Verify) -> Result<Report> {
    let archive = arguments.held.archive()?;
    archive.check().map_err(Failure::of("the backup is not sound"))?;
    let mut lines = about(&archive.header);
    let mut json = json!({ "header": archive.header, "sound": true, "opened": false });
    let shares = arguments.held.shares()?;
    let mut sound = true;
    if shares.is_empty() {
        lines.push(("inside", "not looked at: that needs shares".to_owned()));
    } else {
        let opened = opened(&context.config()?, &archive, &shares)?;
        let pin = match arguments.pin.source() {
            crate::pins::Source::Terminal => None,
            source => Some(Reader::default().read(&source, "User PIN")?),
        };
        let found = opened
            .verify(pin.as_ref().map(|pin| pin.as_slice()))
            .map_err(Failure::of("cannot check what is inside"))?;
        sound = found.is_clean();
        if sound && found.unchecked == 0 {
            lines.push(("keys", noted(context, arguments, (&archive.header, &opened), pin.as_ref())?));
        }
        let unchecked =
            if found.unchecked > 0 { format!(", {} private ones not checked", found.unchecked) } else { String::new() };
        lines.push((
            "inside",
            format!("{} objects{unchecked}{}", found.objects, if sound { "" } else { ", NOT SOUND" }),
        ));
        if let Value::Object(map) = &mut json {
            map.insert("opened".into(), true.into());
            map.insert("sound".into(), sound.into());
            map.insert("objects".into(), found.objects.into());
            map.insert("unchecked".into(), found.unchecked.into());
        }
    }
    let verdict = if sound { "The backup is sound" } else { "The backup is NOT SOUND" };
    let exit = if sound { Exit::Done } else { Exit::Unsound };
    Ok(Report { text: format!("{verdict}\n{}", fields(lines)), json, exit })
}

/// Notes with the token, if it is this machine's, that its keys are in a backup that was verified.
fn noted(
    context: &Context,
    arguments: &Verify,
    (header, opened): (&Header, &Opened),
    pin: Option<&Pin>,
) -> Result<String> {
    let config = context.config()?;
    let path = config.tokens.join(format!("{}.slot", header.serial));
    let Some(pin) = pin else { return Ok("looked at without a PIN".to_owned()) };
    if !path.exists() {
        return Ok("the token is not on this machine".to_owned());
    }
    let failed = Failure::of("cannot note the backup with the token");
    let device = DeviceSecret::load(&config.device_secret).map_err(&failed)?;
    let file = SlotFile::open(&path, Arc::new(device), rules(&config)).map_err(&failed)?;
    if file.header().map_err(&failed)?.uuid != opened.uuid().map_err(&failed)? {
        return Ok("the token has been initialised since".to_owned());
    }
    let by = match on_duty(&file, Roles::BACKUP, &arguments.by.source()) {
        Ok(by) => by.unwrap_or_default(),
        Err(failure) => return Ok(format!("NOT noted with the token: {failure}")),
    };
    note_by(context, &by, "verify_backup", &header.serial, &format!("backup {}", header.id))?;
    file.note_backup(opened.last_object(pin).map_err(&failed)?).map_err(&failed)?;
    Ok("the token's own keys up to this backup count as backed up".to_owned())
}

/// The PINs of the backup: the SO's (for a new token), the user's.
fn pins(arguments: &Restore, opened: &Opened, so: bool) -> Result<(Pin, Option<Pin>)> {
    let mut reader = Reader::default();
    let so_pin = match so {
        true => reader.read(&arguments.so_pin.source(), "SO PIN of the backed up token")?,
        false => Pin::default(),
    };
    let has_user = opened.has_user_pin().map_err(Failure::of("cannot read the backup"))?;
    let user = has_user.then(|| reader.read(&arguments.pin.source(), "User PIN of the backed up token")).transpose()?;
    Ok((so_pin, user))
}

fn restore(context: &Context, arguments: &Restore) -> Result<Report> {
    let config = context.config()?;
    let archive = arguments.held.archive()?;
    let opened = opened(&config, &archive, &arguments.held.shares()?)?;
    let into_new = arguments.choice.is_none();
    let approved = approved(&archive.header, &opened, &arguments.approval)?;
    let (so_pin, user_pin) = pins(arguments, &opened, into_new)?;
    let user_pin = user_pin.as_ref().map(|pin| pin.as_slice());
    if arguments.dry_run {
        let found = opened.verify(user_pin).map_err(Failure::of("cannot check what is inside"))?;
        let text = format!("would restore {} objects of token {}", found.objects, archive.header.serial);
        return Ok(Report::new(
            text,
            json!({ "objects": found.objects, "serial": archive.header.serial, "restored": false }),
        ));
    }
    note(context, "restore", &archive.header.serial, &format!("backup {}", archive.header.id))?;
    spend(&config, &approved)?;
    let failed = Failure::of("cannot restore");
    let restored = if into_new {
        let device = DeviceSecret::load_or_create(&config.device_secret).map_err(&failed)?;
        let target = Target::New { tokens: &config.tokens, device: &device };
        opened.restore(&target, &so_pin, user_pin)
    } else {
        let (file, _): (SlotFile, _) = upkeep::open(context, &arguments.choice)?;
        let pin = Reader::default().read(&arguments.new_pin.source(), "User PIN of the token to restore into")?;
        opened.restore(&Target::Empty { file: &file, user_pin: &pin }, &so_pin, user_pin)
    };
    Ok(told(&archive.header, &restored.map_err(&failed)?, "is restored", false))
}

/// The approvals that the policy of the backed up token asks for; those that count.
fn approved(header: &Header, opened: &Opened, files: &[PathBuf]) -> Result<Spent> {
    let failed = Failure::of("cannot restore");
    let Some(text) = opened.policy().map_err(&failed)? else { return Ok(Spent::new()) };
    let policy = Policy::parse(&text).map_err(&failed)?;
    if policy.approve_restore == 0 {
        return Ok(Spent::new());
    }
    let texts = read_all(files)?;
    let asked = Asked { act: Act::Restore, subject: &header.id, token: &header.serial, by: None, now: clock::now() };
    let key_of = |name: &str| policy.approvers.get(name).map(String::as_str);
    check_approvals(&texts, policy.approve_restore, &asked, key_of).map_err(&failed)
}

/// Marks approvals of a restore as used: as files beside the device secret, since the token is yet to be.
fn spend(config: &Config, approvals: &Spent) -> Result<()> {
    let Some(directory) = approvals.first().and(config.device_secret.parent()) else { return Ok(()) };
    let directory = directory.join("anchors");
    let failed = Failure::of("cannot note the approvals as used");
    keyward::os::create_private_dirs(&directory).map_err(&failed)?;
    for (id, until) in approvals {
        let path = directory.join(format!("spent-{}", hex(id)));
        let text = format!("{}\n", clock::text(*until));
        if !keyward::os::write_private_new(&path, text.as_bytes()).map_err(&failed)? {
            return Err(Failure::new(Exit::Refused, "an approval counts once, and this one has been used"));
        }
    }
    Ok(())
}

fn told(header: &Header, restored: &Restored, how: &str, drill: bool) -> Report {
    let Restored { label, serial, objects } = restored;
    let text = format!("Token \"{}\" {how}: {objects} objects, as of {}", shown(label.trim_end()), header.created);
    Report::new(
        text,
        json!({ "serial": serial, "objects": objects, "as_of": header.created, "restored": true, "drill": drill }),
    )
}

fn drill(context: &Context, arguments: &Restore) -> Result<Report> {
    let config = context.config()?;
    let archive = arguments.held.archive()?;
    archive.check().map_err(Failure::of("the backup is not sound"))?;
    let opened = opened(&config, &archive, &arguments.held.shares()?)?;
    let (so_pin, user_pin) = pins(arguments, &opened, true)?;
    let user_pin = user_pin.as_ref().map(|pin| pin.as_slice());
    let scratch = Scratch::new(config.tokens.parent().unwrap_or(&config.tokens))?;
    let failed = Failure::of("the drill failed");
    // As on another machine: with a device secret of its own.
    let device = DeviceSecret::load_or_create(&scratch.0.join("device")).map_err(&failed)?;
    let tokens = scratch.0.join("tokens");
    let restored =
        opened.restore(&Target::New { tokens: &tokens, device: &device }, &so_pin, user_pin).map_err(&failed)?;
    let path = tokens.join(format!("{}.slot", restored.serial));
    let file = SlotFile::open(&path, Arc::new(device), rules(&config)).map_err(&failed)?;
    let keys = match user_pin {
        Some(pin) => file.unlock(keyward::store::Role::User, pin),
        None => file.public_keys(),
    };
    let found = keys.and_then(|keys| file.verify(&keys)).map_err(&failed)?;
    if !found.is_clean() || found.objects != restored.objects {
        return Err(Failure::new(Exit::Unsound, "the drill failed: what was restored is not sound"));
    }
    note(context, "drill", &restored.serial, &format!("backup {}", archive.header.id))?;
    Ok(told(&archive.header, &restored, "can be restored", true))
}

struct Scratch(PathBuf);

impl Scratch {
    fn new(parent: &Path) -> Result<Scratch> {
        let path = parent.join(format!(".keyward-drill-{}", std::process::id()));
        keyward::os::create_private_dirs(&path).map_err(Failure::of("cannot make a scratch directory"))?;
        Ok(Scratch(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
