//! Randomness of the operating system.

/// Fills the bytes, or fails.
pub(crate) fn fill(bytes: &mut [u8]) -> Result<(), getrandom::Error> {
    #[cfg(feature = "simulation")]
    if crate::simulation::random(bytes) {
        return Ok(());
    }
    getrandom::fill(bytes)
}
