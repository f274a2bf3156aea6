//! Reads secrets from files that nobody else may read.

use std::path::Path;

use crate::engine::secrets::{MAX_SECRET_BYTES, Secret};
use crate::error::Result;
use crate::permissions::{self, Kind};

/// What a file with a secret has in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretFile {
    /// Bytes that nobody can guess, as for [`Secret::from_bytes`].
    Bytes,
    /// What people can remember, as for [`Secret::from_passphrase`].
    Passphrase,
}

impl Secret {
    /// From a file. A line end at its end is not part of the secret. Other users may not read it, as with private keys, unless
    /// `insecure_permissions_allowed`.
    ///
    /// Fails as [`from_bytes`](Self::from_bytes) and [`from_passphrase`](Self::from_passphrase) do, and with `IO` for a file
    /// that cannot be read, or `INVALID_ARGUMENT` for its permissions.
    pub fn from_file(
        cluster: &str,
        name: &str,
        file: &Path,
        kind: SecretFile,
        insecure_permissions_allowed: bool,
    ) -> Result<Self> {
        let longest = MAX_SECRET_BYTES + LINE_END.len();
        let (bytes, _) = permissions::read(Kind::Secret, "secret_file", file, longest, insecure_permissions_allowed)?;
        let secret = bytes.strip_suffix(b"\n").map_or(&bytes[..], |line| line.strip_suffix(b"\r").unwrap_or(line));
        match kind {
            SecretFile::Bytes => Self::from_bytes(cluster, name, secret),
            SecretFile::Passphrase => Self::from_passphrase(cluster, name, secret),
        }
    }
}

const LINE_END: &[u8] = b"\r\n";

#[cfg(all(test, not(feature = "model")))]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::error::Status;

    #[test]
    fn a_secret_is_read_from_a_file_that_nobody_else_may_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        let read = |kind, insecure| Secret::from_file("cluster", "name", &path, kind, insecure);
        let missing = read(SecretFile::Bytes, false).unwrap_err();
        assert!(missing.status == Status::Io && missing.message.contains("secret_file"), "{missing}");
        let set_mode = |mode| std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        let key = |secret: &[u8]| Secret::from_bytes("cluster", "name", secret).unwrap().key().fingerprint();
        for (text, secret) in [
            ([&[7; 32][..], b"\n"].concat(), vec![7; 32]),
            ([&[7; 32][..], b"\r\n"].concat(), vec![7; 32]),
            ([&[7; 32][..], b"\n\n"].concat(), [&[7; 32][..], b"\n"].concat()),
            (vec![7; 33], vec![7; 33]),
            (vec![7; MAX_SECRET_BYTES], vec![7; MAX_SECRET_BYTES]),
        ] {
            std::fs::write(&path, &text).unwrap();
            set_mode(0o600);
            assert_eq!(read(SecretFile::Bytes, false).unwrap().key().fingerprint(), key(&secret));
        }
        set_mode(0o644);
        assert_eq!(read(SecretFile::Bytes, false).unwrap_err().status, Status::InvalidArgument);
        assert!(read(SecretFile::Bytes, true).is_ok());
        set_mode(0o600);
        for wrong in [vec![7; 31], vec![7; MAX_SECRET_BYTES + 1], vec![7; MAX_SECRET_BYTES + 3]] {
            std::fs::write(&path, &wrong).unwrap();
            assert_eq!(read(SecretFile::Bytes, false).unwrap_err().status, Status::InvalidArgument);
        }
        std::fs::write(&path, "correct horse\n").unwrap();
        let derived = Secret::from_passphrase("cluster", "name", b"correct horse").unwrap();
        assert_eq!(read(SecretFile::Passphrase, false).unwrap().key().fingerprint(), derived.key().fingerprint());
    }
}
