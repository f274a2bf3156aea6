use std::path::Path;

use super::error::Result;
use crate::engine::secrets;
use crate::secret_file::SecretFile;

/// A secret that nodes share under a name. A reader and its writer prove to each other that they have it.
///
/// Access rules know a reader that has proven it as `secret:NAME`. The cluster tells the secrets of one cluster from those of
/// another; it may be empty, and must be the same at both ends, like the name.
///
/// ```
/// use replication::{Entry, Receiver, Secret, Sender};
///
/// # fn main() -> replication::Result<()> {
/// let secret = Secret::from_passphrase("shop", "readers", "correct horse battery staple")?;
/// let sender = Sender::builder().secret(&secret).build()?;
/// let receiver = Receiver::builder()
///     .reader_id("reader-1")
///     .writer_addr("unix:/run/db/replication")
///     .secret(&secret)
///     .handler(|_: &Entry<'_>| Ok(()))
///     .build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Secret(secrets::Secret);

impl Secret {
    /// Of 32 to 4096 bytes that nobody can guess, as random ones are. The name has 1 to 64 bytes without control characters.
    ///
    /// Fails with [`INVALID_ARGUMENT`](crate::Status::InvalidArgument) outside these ranges.
    pub fn from_bytes(cluster: &str, name: &str, secret: impl AsRef<[u8]>) -> Result<Self> {
        Ok(Self(secrets::Secret::from_bytes(cluster, name, secret.as_ref())?))
    }

    /// Of 12 to 4096 bytes that people can remember. Deriving the key takes 64 MiB of memory, which is given back, and some
    /// tenths of a second.
    ///
    /// Fails with [`INVALID_ARGUMENT`](crate::Status::InvalidArgument) outside this range, and with
    /// [`OUT_OF_MEMORY`](crate::Status::OutOfMemory).
    pub fn from_passphrase(cluster: &str, name: &str, passphrase: impl AsRef<[u8]>) -> Result<Self> {
        Ok(Self(secrets::Secret::from_passphrase(cluster, name, passphrase.as_ref())?))
    }

    /// As [`from_bytes`](Self::from_bytes) from a file, such as `openssl rand -base64 32` writes. A line end at its end is not
    /// part of the secret. Other users must not be able to read or change it, unless `insecure_permissions_allowed`.
    ///
    /// Fails with [`IO`](crate::Status::Io) if the file cannot be read, and with
    /// [`INVALID_ARGUMENT`](crate::Status::InvalidArgument) for its permissions and its length.
    pub fn from_file(
        cluster: &str,
        name: &str,
        file: impl AsRef<Path>,
        insecure_permissions_allowed: bool,
    ) -> Result<Self> {
        Self::read(cluster, name, file.as_ref(), SecretFile::Bytes, insecure_permissions_allowed)
    }

    /// As [`from_passphrase`](Self::from_passphrase) from a file, which [`from_file`](Self::from_file) describes.
    pub fn from_passphrase_file(
        cluster: &str,
        name: &str,
        file: impl AsRef<Path>,
        insecure_permissions_allowed: bool,
    ) -> Result<Self> {
        Self::read(cluster, name, file.as_ref(), SecretFile::Passphrase, insecure_permissions_allowed)
    }

    fn read(cluster: &str, name: &str, file: &Path, kind: SecretFile, insecure_allowed: bool) -> Result<Self> {
        Ok(Self(secrets::Secret::from_file(cluster, name, file, kind, insecure_allowed)?))
    }

    pub(super) fn core(&self) -> &secrets::Secret {
        &self.0
    }
}
