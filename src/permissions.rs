//! Who else may change, or read, what the library trusts: the rules for a log's directory, for a file with access rules and
//! for one with a secret.
//!
//! Whoever may change them can give this process another log, or another identity. So both belong to this process's user or
//! to root, and others keep out.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result, Status};
use crate::fd::above_stdio;

/// What the rules look at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owned {
    /// The user that it belongs to.
    pub(crate) owner: u32,
    /// Its permission bits.
    pub(crate) mode: u32,
}

impl Owned {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self { owner: metadata.uid(), mode: metadata.mode() }
    }
}

/// What it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The directory of a log.
    Directory,
    /// A file with access rules, which are no secret.
    Rules,
    /// A file with a private key or another secret.
    Secret,
}

const ROOT: u32 = 0;
const CHOWN: &str = "chown";
const GROUP_WRITE: u32 = 0o020;
const OTHERS_WRITE: u32 = 0o002;
const GROUP_READ: u32 = 0o040;
const OTHERS_READ: u32 = 0o004;

/// Whether this process runs as that user.
pub(crate) fn is_this_user(uid: u32) -> bool {
    uid == nix::unistd::geteuid().as_raw()
}

/// What is wrong with the permissions of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Trouble {
    /// The rules refuse it; otherwise it is worth a word.
    refused: bool,
    what: &'static str,
    remedy: &'static str,
}

/// What is wrong for a process of the user `me`; `None`: nothing.
fn judge(kind: Kind, file: Owned, me: u32) -> Option<Trouble> {
    let may = |bits| file.mode & bits != 0;
    let refused = |what, remedy| Some(Trouble { refused: true, what, remedy });
    if file.owner != me && file.owner != ROOT {
        return refused("belongs to another user, who may change it", CHOWN);
    }
    match kind {
        Kind::Directory | Kind::Rules if may(OTHERS_WRITE) => refused("may be changed by every user", "chmod go-w"),
        Kind::Directory | Kind::Rules if may(GROUP_WRITE) => {
            Some(Trouble { refused: false, what: "may be changed by its group", remedy: "chmod g-w" })
        }
        Kind::Directory | Kind::Rules => None,
        Kind::Secret if may(GROUP_WRITE | OTHERS_WRITE) => refused("may be changed by other users", "chmod go-w"),
        Kind::Secret if may(OTHERS_READ) => refused("may be read by every user", "chmod o-r"),
        Kind::Secret if may(GROUP_READ) && file.owner != ROOT => {
            refused("may be read by its group, and does not belong to root", "chmod g-r")
        }
        Kind::Secret => None,
    }
}

/// What a host should hear: others have more rights to a file than is good, and it is used nevertheless.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unprotected {
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

/// Whether a file, whose state was asked of its open descriptor, may be used. Gives a warning if it may, but others have more
/// rights to it than is good. `insecure_allowed` makes a warning of a refusal.
///
/// Fails with `INVALID_ARGUMENT`; the text names the file, its owner and mode, and what to do.
pub(crate) fn check(kind: Kind, path: &Path, file: Owned, insecure_allowed: bool) -> Result<Option<Unprotected>> {
    let me = nix::unistd::geteuid().as_raw();
    let Some(Trouble { refused, what, remedy }) = judge(kind, file, me) else { return Ok(None) };
    let (name, owner, mode) = (path.display(), file.owner, file.mode & 0o7777);
    let remedy = if remedy == CHOWN { format!("{remedy} {me}") } else { remedy.into() };
    let text = format!("{name} {what} (owner {owner}, mode {mode:04o}; this process is user {me}): `{remedy} {name}`");
    if refused && !insecure_allowed {
        let text = format!("{text}, or set insecure_permissions_allowed");
        return Err(Error::new(Status::InvalidArgument, text));
    }
    Ok(Some(Unprotected { path: path.into(), text }))
}

/// Reads a file that others may not change, or a secret that they may not read either. The permissions are those of the very
/// file that is read. `argument` is what the host calls it.
///
/// Fails with `IO` if it cannot be read, and with `INVALID_ARGUMENT` as [`check`] does and if it is longer than `max_bytes`.
pub(crate) fn read(
    kind: Kind,
    argument: &str,
    path: &Path,
    max_bytes: usize,
    insecure_allowed: bool,
) -> Result<(Vec<u8>, Option<Unprotected>)> {
    let name = path.display();
    let invalid = |why: &str| Error::new(Status::InvalidArgument, format!("{argument} \"{name}\" {why}"));
    let unreadable =
        |error: io::Error| Error::new(Status::Io, format!("{argument} \"{name}\" cannot be read: {error}"));
    let file = File::open(path).map_err(unreadable)?;
    let file = File::from(above_stdio(file.into()).map_err(unreadable)?);
    let metadata = file.metadata().map_err(unreadable)?;
    if kind == Kind::Rules && !metadata.is_file() {
        return Err(invalid("is no regular file"));
    }
    let unprotected = check(kind, path, Owned::of(&metadata), insecure_allowed)
        .map_err(|error| Error::new(error.status, format!("{argument}: {}", error.message)))?;
    let mut bytes = Vec::new();
    file.take(max_bytes as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() > max_bytes {
        return Err(invalid(&format!("is longer than {max_bytes} bytes")));
    }
    Ok((bytes, unprotected))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: u32 = 1000;
    const OTHER: u32 = 1001;

    #[derive(Debug, PartialEq, Eq)]
    enum Verdict {
        Fine,
        Warned,
        Refused,
    }
    use Verdict::*;

    fn verdict(kind: Kind, owner: u32, mode: u32, me: u32) -> Verdict {
        match judge(kind, Owned { owner, mode }, me) {
            None => Fine,
            Some(trouble) if trouble.refused => Refused,
            Some(_) => Warned,
        }
    }

    #[test]
    fn the_rules_for_directories() {
        for (owner, mode, expected) in [
            (ME, 0o700, Fine),
            (ME, 0o755, Fine),
            (ROOT, 0o755, Fine),
            (ROOT, 0o770, Warned),
            (ME, 0o775, Warned),
            (ME, 0o2775, Warned),
            (ME, 0o777, Refused),
            (ME, 0o702, Refused),
            // Others may not remove what is there, but add to it.
            (ROOT, 0o1777, Refused),
            (OTHER, 0o700, Refused),
            (OTHER, 0o755, Refused),
        ] {
            assert_eq!(verdict(Kind::Directory, owner, mode | 0o40_000, ME), expected, "{owner}, {mode:o}");
        }
        // Root is no exception: what belongs to others, others may change.
        assert_eq!(verdict(Kind::Directory, OTHER, 0o700, ROOT), Refused);
    }

    #[test]
    fn the_rules_for_secrets() {
        for (owner, mode, expected) in [
            (ME, 0o600, Fine),
            (ME, 0o400, Fine),
            (ROOT, 0o640, Fine),
            (ROOT, 0o440, Fine),
            (ME, 0o640, Refused),
            (ROOT, 0o660, Refused),
            (ME, 0o620, Refused),
            (ME, 0o602, Refused),
            (ME, 0o644, Refused),
            (ROOT, 0o644, Refused),
            (ROOT, 0o604, Refused),
            (OTHER, 0o600, Refused),
        ] {
            assert_eq!(verdict(Kind::Secret, owner, mode | 0o100_000, ME), expected, "{owner}, {mode:o}");
        }
    }

    #[test]
    fn a_refusal_names_the_file_its_mode_and_the_remedy_and_can_be_turned_off() {
        let me = nix::unistd::geteuid().as_raw();
        let file = Owned { owner: me, mode: 0o100_644 };
        let path = Path::new("/etc/db/writer.key");
        let error = check(Kind::Secret, path, file, false).unwrap_err();
        assert_eq!(error.status, Status::InvalidArgument);
        for part in [&format!("owner {me}, mode 0644"), "`chmod o-r /etc/db/writer.key`", "may be read by every user"] {
            assert!(error.message.contains(part), "{error}");
        }
        let warning = check(Kind::Secret, path, file, true).unwrap().unwrap().text;
        assert!(warning.contains("mode 0644") && !warning.contains("insecure"), "{warning}");
        let foreign = Owned { owner: me + 1, mode: 0o40_700 };
        let error = check(Kind::Directory, Path::new("/log"), foreign, false).unwrap_err();
        assert!(error.message.contains(&format!("`chown {me} /log`")), "{error}");
    }
}
