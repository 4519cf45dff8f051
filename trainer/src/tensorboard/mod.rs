//! Event files that TensorBoard shows: scalars and pictures of a run, by step.
//!
//! An event file is a sequence of records of TFRecord framing ([`record`]), each of which holds a message
//! `tensorflow.Event` ([`event`]).

mod event;
mod file;
mod record;

pub use file::EventFile;
