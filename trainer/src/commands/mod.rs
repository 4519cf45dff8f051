//! The program's commands, one file each.

pub mod draw;
pub mod evaluate;
pub mod export;
pub mod fit;
mod progress;
