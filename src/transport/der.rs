//! As much of DER as tells which kind of key something is.

/// A kind of key, as far as it matters whether TLS can use it here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum KeyKind {
    /// RSA with a modulus of so many bits; 0 when the key does not show it.
    Rsa(usize),
    /// ECDSA on the curve of this name.
    Ecdsa(&'static str),
    /// Another algorithm, by its name.
    Other(&'static str),
}

/// The keys that every peer can verify and that sign here, for texts.
pub(super) const USABLE: &str = "usable keys are ECDSA on P-256 or P-384, Ed25519, and RSA of 2048 to 4096 bits";

const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];

/// Names of algorithms other than these, by their object identifiers.
const ALGORITHMS: [(&[u8], &str); 6] = [
    (&[0x2b, 0x65, 0x71], "Ed448"),
    (&[0x2b, 0x65, 0x6e], "X25519, which does not sign"),
    (&[0x2b, 0x65, 0x6f], "X448, which does not sign"),
    (&[0x2a, 0x86, 0x48, 0xce, 0x38, 0x04, 0x01], "DSA"),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a], "RSA bound to PSS"),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x03, 0x01], "Diffie-Hellman, which does not sign"),
];

const CURVES: [(&[u8], &str); 5] = [
    (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07], "P-256"),
    (&[0x2b, 0x81, 0x04, 0x00, 0x22], "P-384"),
    (&[0x2b, 0x81, 0x04, 0x00, 0x23], "P-521"),
    (&[0x2b, 0x81, 0x04, 0x00, 0x21], "P-224"),
    (&[0x2b, 0x81, 0x04, 0x00, 0x0a], "secp256k1"),
];

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
/// The curve in a SEC 1 key.
const PARAMETERS: u8 = 0xa0;

/// Takes one value off the front of `bytes`.
fn value<'a>(bytes: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let mut length = usize::from(first & 0x7f);
    if first & 0x80 != 0 {
        let (digits, after) = rest.split_at_checked(length)?;
        if digits.len() > size_of::<u32>() {
            return None;
        }
        length = digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit));
        rest = after;
    }
    let (content, rest) = rest.split_at_checked(length)?;
    *bytes = rest;
    Some((tag, content))
}

/// The same, for a value of this kind.
fn expect<'a>(bytes: &mut &'a [u8], wanted: u8) -> Option<&'a [u8]> {
    value(bytes).filter(|(tag, _)| *tag == wanted).map(|(_, content)| content)
}

fn curve(oid: &[u8]) -> KeyKind {
    KeyKind::Ecdsa(CURVES.into_iter().find(|(known, _)| *known == oid).map_or("another curve", |(_, name)| name))
}

fn bits(modulus: &[u8]) -> usize {
    let digits = modulus.iter().skip_while(|digit| **digit == 0);
    let leading = digits.clone().next().map_or(0, |digit| digit.leading_zeros() as usize);
    digits.count() * 8 - leading
}

/// The kind that an AlgorithmIdentifier names; the size of an RSA key is not in it.
fn algorithm(mut identifier: &[u8]) -> Option<KeyKind> {
    let oid = expect(&mut identifier, OBJECT_IDENTIFIER)?;
    Some(match oid {
        RSA => KeyKind::Rsa(0),
        EC => expect(&mut identifier, OBJECT_IDENTIFIER).map_or(KeyKind::Ecdsa("a curve of its own"), curve),
        ED25519 => KeyKind::Other("Ed25519"),
        other => {
            let known = ALGORITHMS.into_iter().find(|(known, _)| *known == other);
            KeyKind::Other(known.map_or("an unknown algorithm", |(_, name)| name))
        }
    })
}

/// The kind of a private key in PKCS #8, PKCS #1 or SEC 1.
pub(super) fn private_key(mut der: &[u8]) -> Option<KeyKind> {
    let mut key = expect(&mut der, SEQUENCE)?;
    expect(&mut key, INTEGER)?;
    match value(&mut key)? {
        // PKCS #8: an algorithm, and the key in its own form.
        (SEQUENCE, identifier) => match algorithm(identifier)? {
            KeyKind::Rsa(_) => private_key(expect(&mut key, OCTET_STRING)?),
            kind => Some(kind),
        },
        // PKCS #1: the modulus.
        (INTEGER, modulus) => Some(KeyKind::Rsa(bits(modulus))),
        // SEC 1: the secret, then the curve.
        (OCTET_STRING, _) => Some(curve(expect(&mut expect(&mut key, PARAMETERS)?, OBJECT_IDENTIFIER)?)),
        _ => None,
    }
}

/// The kind of the key in a certificate, by the content of its SubjectPublicKeyInfo.
pub(super) fn public_key(mut spki: &[u8]) -> Option<KeyKind> {
    match algorithm(expect(&mut spki, SEQUENCE)?)? {
        KeyKind::Rsa(_) => {
            // A bit string begins with the number of bits that its last byte does not use: none.
            let (_, mut key) = expect(&mut spki, BIT_STRING)?.split_first()?;
            Some(KeyKind::Rsa(bits(expect(&mut expect(&mut key, SEQUENCE)?, INTEGER)?)))
        }
        kind => Some(kind),
    }
}

impl KeyKind {
    /// Whether signatures of such a key can be verified here.
    pub(super) fn is_verifiable(&self) -> bool {
        match self {
            KeyKind::Rsa(bits) => (2048..=8192).contains(bits),
            KeyKind::Ecdsa(curve) => matches!(*curve, "P-256" | "P-384"),
            KeyKind::Other(name) => *name == "Ed25519",
        }
    }
}

impl std::fmt::Display for KeyKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            KeyKind::Rsa(bits) => write!(f, "RSA of {bits} bits"),
            KeyKind::Ecdsa(curve) => write!(f, "ECDSA on {curve}"),
            KeyKind::Other(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p8_what_is_cut_or_lies_is_no_key() {
        let pkcs8 = rcgen::KeyPair::generate().unwrap().serialize_der();
        assert_eq!(private_key(&pkcs8), Some(KeyKind::Ecdsa("P-256")));
        for cut in 0..pkcs8.len() {
            private_key(&pkcs8[..cut]);
            public_key(&pkcs8[..cut]);
            let mut lying = pkcs8.clone();
            for byte in [0, 0x7f, 0x80, 0x84, 0x88, 0xff] {
                lying[cut] = byte;
                private_key(&lying);
            }
        }
        // Nesting that never ends does not recurse: only an RSA key holds another one, which holds none.
        assert_eq!(private_key(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]), None);
        assert_eq!(private_key(&[0x30, 0x88, 1, 2, 3, 4, 5, 6, 7, 8]), None);
    }

    #[test]
    fn bits_are_counted_from_the_first_that_is_set() {
        for (modulus, count) in [(&[][..], 0), (&[0, 0], 0), (&[1], 1), (&[0, 0x80, 0], 16), (&[0x7f, 0xff], 15)] {
            assert_eq!(bits(modulus), count);
        }
    }
}
