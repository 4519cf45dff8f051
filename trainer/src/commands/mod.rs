//! The program's commands, one file each.

pub mod baselines;
pub mod calibrate;
mod checkpoints;
pub mod compare;
pub mod draw;
pub mod evaluate;
mod evaluation_report;
pub mod export;
pub mod fid;
pub mod fit;
mod fitted;
pub mod import;
pub mod inpaint;
mod progress;
pub mod reconstruct;
pub mod recover;
mod steps;
pub mod sweep;
pub mod synthesize;
