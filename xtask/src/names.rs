//! How a name of Rust reads in C, and in the bindings.

/// Of a type: `FullPolicyNumber` is `replication_full_policy`, `IngestFn` is `replication_ingest_fn`.
pub fn c_type(rust: &str) -> String {
    let plain = ["View", "Handle", "Number"].iter().find_map(|suffix| rust.strip_suffix(suffix)).unwrap_or(rust);
    format!("replication_{}", snake(plain))
}

/// `CutOffSlowest` is `cut_off_slowest`.
pub fn snake(camel: &str) -> String {
    let mut snake = String::new();
    for letter in camel.chars() {
        if letter.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}

/// `CUT_OFF_SLOWEST` is `CutOffSlowest`; the words in `acronyms` stay as they are.
pub fn camel(snake: &str, acronyms: &[&str]) -> String {
    let mut camel = String::new();
    for word in snake.split('_') {
        let upper = word.to_uppercase();
        if acronyms.contains(&upper.as_str()) {
            camel += &upper;
        } else if let Some(first) = upper.chars().next() {
            camel.push(first);
            camel += &word[first.len_utf8()..].to_lowercase();
        }
    }
    camel
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_rust_and_c() {
        assert_eq!(c_type("SenderConfigHandle"), "replication_sender_config");
        assert_eq!(c_type("FullPolicyNumber"), "replication_full_policy");
        assert_eq!(c_type("IngestBatchFn"), "replication_ingest_batch_fn");
        assert_eq!(c_type("Status"), "replication_status");
        assert_eq!(camel("WAL_ROTATED", &["WAL"]), "WALRotated");
        assert_eq!(camel("V1", &[]), "V1");
    }
}
