//! The images that a command line names.

use std::ffi::OsStr;
use std::io::{Error, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use clap::Args;
use lfbm_images::folder::{self, LeftOut};
use lfbm_wire::Image;
use lfbm_wire::image::Content;

use crate::objects::{Buckets, url};

pub(crate) const STDIN: &str = "-";

#[derive(Args)]
pub(crate) struct InputArgs {
    /// Image files, folders of them with all below, or - for an image on standard input; in object
    /// storage s3://BUCKET/KEY, gs://BUCKET/KEY or az://CONTAINER/KEY, with / at the end for all below
    #[arg(required_unless_present = "files_from")]
    images: Vec<PathBuf>,
    /// A file that lists images, or - for standard input; one a line, or ended by NUL
    #[arg(long, value_name = "FILE")]
    files_from: Option<PathBuf>,
}

impl InputArgs {
    /// The images that the arguments name.
    pub(crate) async fn find(&self) -> anyhow::Result<Images> {
        let mut named = self.images.clone();
        if let Some(list) = &self.files_from {
            let name = list.display();
            let listed = listed(&read(list).with_context(|| name.to_string())?);
            ensure!(
                !listed.is_empty(),
                "--files-from {name}: expected images, got none"
            );
            named.extend(listed);
        }
        Images::find(&named).await
    }
}

/// What a list names, in lines of either kind or ended by NUL.
fn listed(list: &[u8]) -> Vec<PathBuf> {
    let names: Vec<_> = if list.contains(&0) {
        list.split(|&byte| byte == 0).collect()
    } else {
        let lines = list.split(|&byte| byte == b'\n');
        lines
            .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
            .collect()
    };
    let names = names.into_iter().filter(|name| !name.is_empty());
    names.map(|name| OsStr::from_bytes(name).into()).collect()
}

/// Images by name, wherever they are.
#[derive(Default)]
pub(crate) struct Images {
    pub(crate) names: Vec<PathBuf>,
    buckets: Buckets,
}

impl Images {
    /// Files and objects as they are named; folders and prefixes as the images in them, by name. A file that cannot
    /// be read is included and fails by itself; what else is there is reported as left out.
    pub(crate) async fn find(named: &[PathBuf]) -> anyhow::Result<Self> {
        let mut images = Self::default();
        let mut left_out = LeftOut::default();
        for path in named {
            let found = match url(path) {
                Some(url) => images.buckets.find(url, &mut left_out).await?,
                None if path.is_dir() => find_in_folder(path, &mut left_out)?,
                None => vec![path.clone()],
            };
            images.names.extend(found);
        }
        if !left_out.is_empty() {
            eprintln!("lfbm: {left_out}");
        }
        Ok(images)
    }

    /// The bytes of an image file of one of the names.
    pub(crate) async fn read(&self, name: &Path) -> anyhow::Result<Vec<u8>> {
        match url(name) {
            Some(url) => self.buckets.read(url).await,
            None => Ok(read_file(name)?),
        }
    }
}

fn find_in_folder(folder: &Path, left_out: &mut LeftOut) -> anyhow::Result<Vec<PathBuf>> {
    let found = folder::find(folder).with_context(|| folder.display().to_string())?;
    if found.images.is_empty() {
        let said = if found.left_out.is_empty() {
            String::new()
        } else {
            format!(" ({})", found.left_out)
        };
        bail!(
            "{}: expected images in this folder, found none{said}",
            folder.display()
        );
    }
    left_out.merge(found.left_out);
    Ok(found.images)
}

/// The image in a file.
pub(crate) fn encoded(file: Vec<u8>) -> Image {
    Image {
        content: Some(Content::Encoded(file)),
    }
}

/// The bytes of a file, or of standard input.
pub(crate) fn read_file(path: &Path) -> std::io::Result<Vec<u8>> {
    read(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound if path.is_symlink() => {
            Error::new(error.kind(), "a link to a file or folder that is not there")
        }
        ErrorKind::NotFound => Error::new(error.kind(), "there is no such file or folder"),
        // Folders are walked before.
        ErrorKind::IsADirectory => Error::new(error.kind(), "a folder that cannot be read"),
        _ => error,
    })
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    if path != Path::new(STDIN) {
        return lfbm_images::read(path);
    }
    lfbm_images::read_from(std::io::stdin(), lfbm_images::MAX_FILE_BYTES)
}
