//! Buckets of histograms that several files have.

/// A tenth of a millisecond to half a minute.
pub(super) const SECONDS: [f64; 15] = [
    1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0,
];
