//! Any bytes are a token that encodes to the same bytes, or none.
#![no_main]

use libfuzzer_sys::fuzz_target;
use replication::protocol::token::Token;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(token) = Token::decode(bytes) {
        assert_eq!(&token.encode()[..], bytes);
    }
});
