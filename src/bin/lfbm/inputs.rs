//! The images that a command line names.

use std::ffi::OsStr;
use std::io::{Error, ErrorKind, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use clap::Args;
use lfbm_server::proto::Image;
use lfbm_server::proto::image::Content;

const EXTENSIONS: [&str; 3] = ["png", "jpg", "jpeg"];
/// How the names of images begin that commands write next to the originals, after the original's.
const MADE: [&str; 3] = ["heatmap", "reconstruction", "inpainted"];
pub(crate) const STDIN: &str = "-";

#[derive(Args)]
pub(crate) struct InputArgs {
    /// PNG or JPEG files, folders of them with all below, or - for an image on standard input
    #[arg(required_unless_present = "files_from")]
    images: Vec<PathBuf>,
    /// A file that lists images, or - for standard input; one a line, or ended by NUL
    #[arg(long, value_name = "FILE")]
    files_from: Option<PathBuf>,
}

impl InputArgs {
    /// The images that the arguments name.
    pub(crate) fn find(&self) -> anyhow::Result<Vec<PathBuf>> {
        let mut images = find_images(&self.images)?;
        if let Some(list) = &self.files_from {
            let name = list.display();
            let listed = listed(&read(list).with_context(|| name.to_string())?);
            ensure!(
                !listed.is_empty(),
                "--files-from {name}: expected images, got none"
            );
            images.extend(find_images(&listed)?);
        }
        Ok(images)
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

/// Files as they are named; folders as the images in them, by name. What is not there, or cannot be
/// walked, is among them: an image that cannot be read, which does not keep the others from theirs.
pub(crate) fn find_images(named: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for path in named {
        if !path.is_dir() {
            found.push(path.clone());
            continue;
        }
        let before = found.len();
        for entry in walkdir::WalkDir::new(path)
            .follow_links(true)
            .sort_by_file_name()
        {
            match entry {
                Ok(entry) if entry.file_type().is_file() && is_original(entry.path()) => {
                    found.push(entry.into_path());
                }
                Ok(_) => {}
                Err(error) => found.push(error.path().unwrap_or(path).to_owned()),
            }
        }
        ensure!(
            found.len() > before,
            "{}: no PNG or JPEG file in this folder",
            path.display()
        );
    }
    Ok(found)
}

/// Whether a file is an image by its name, and not one that `lfbm` made of another.
fn is_original(path: &Path) -> bool {
    let extension = |path: &Path| {
        path.extension()
            .map(|name| name.to_string_lossy().to_lowercase())
    };
    let is_image = extension(path).is_some_and(|name| EXTENSIONS.contains(&name.as_str()));
    let kind = path.file_stem().map(Path::new).and_then(extension);
    is_image && !kind.is_some_and(|kind| MADE.iter().any(|made| kind.starts_with(made)))
}

/// The image in a file, or on standard input.
pub(crate) fn read_image(path: &Path) -> std::io::Result<Image> {
    let bytes = read(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound if path.is_symlink() => {
            Error::new(error.kind(), "a link to a file or folder that is not there")
        }
        ErrorKind::NotFound => Error::new(error.kind(), "there is no such file or folder"),
        // Folders are walked before, but for those that lead to themselves.
        ErrorKind::IsADirectory => Error::new(error.kind(), "a link to a folder that it is in"),
        _ => error,
    })?;
    Ok(Image {
        content: Some(Content::Encoded(bytes)),
    })
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    if path != Path::new(STDIN) {
        return std::fs::read(path);
    }
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes)?;
    Ok(bytes)
}
