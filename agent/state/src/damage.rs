//! What makes a file one not to be trusted.

/// Why the content of a state file is not what was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the message is the documentation")]
pub enum Damage {
    #[error("it is a symbolic link")]
    Link,
    #[error("it is not a regular file")]
    Kind,
    #[error("it belongs to user {owner}")]
    Owner { owner: u32 },
    #[error("it is larger than {} bytes", crate::BODY_LIMIT)]
    TooLarge,
    #[error("it is cut short: {length} bytes")]
    Short { length: usize },
    #[error("it is not a state file")]
    Foreign,
    #[error("it has version {found}, expected {expected}")]
    Version { found: u16, expected: u16 },
    #[error("it holds {found} bytes, expected {expected}")]
    Length { found: usize, expected: u64 },
    #[error("its checksum is wrong")]
    Checksum,
}
