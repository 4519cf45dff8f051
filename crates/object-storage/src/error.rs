/// Why something in object storage cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct StorageError {
    /// The URL that was asked for.
    pub place: String,
    /// What is wrong, without the URL.
    pub problem: Problem,
}

/// What is wrong with something in object storage.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The text names nothing in object storage.
    #[error("expected s3://BUCKET/KEY, gs://BUCKET/KEY or az://CONTAINER/KEY")]
    NotAPlace,
    /// The environment does not say how to reach the store.
    #[error("the environment does not describe the store: {0}")]
    Environment(String),
    /// There is nothing of this name.
    #[error("there is no such object or bucket")]
    NotFound,
    /// The store does not answer, or refuses.
    #[error("{0}")]
    Store(String),
    /// An object has more bytes than its reader takes.
    #[error("expected at most {0} bytes, got more")]
    TooLarge(u64),
    /// A prefix has more objects than its reader takes.
    #[error("expected at most {0} objects below this prefix, got more")]
    TooMany(usize),
}
