//! Tokens and TLS.
