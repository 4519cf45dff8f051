//! The images that a command line names.

use std::path::{Path, PathBuf};

use anyhow::ensure;
use lfbm_server::proto::Image;
use lfbm_server::proto::image::Content;

const EXTENSIONS: [&str; 3] = ["png", "jpg", "jpeg"];
/// Standard input.
pub(crate) const STDIN: &str = "-";

/// Files as they are named; folders as the images in them, by name.
pub(crate) fn find_images(named: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for path in named {
        if !path.is_dir() {
            ensure!(
                path == Path::new(STDIN) || path.exists(),
                "{}: there is no such file or folder",
                path.display()
            );
            found.push(path.clone());
            continue;
        }
        let before = found.len();
        for entry in walkdir::WalkDir::new(path).sort_by_file_name() {
            let entry = entry?;
            let extension = entry.path().extension().unwrap_or_default();
            let extension = extension.to_string_lossy().to_lowercase();
            if entry.file_type().is_file() && EXTENSIONS.contains(&extension.as_str()) {
                found.push(entry.into_path());
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

/// The image in a file, or on standard input.
pub(crate) fn read_image(path: &Path) -> std::io::Result<Image> {
    let bytes = if path == Path::new(STDIN) {
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut std::io::stdin(), &mut bytes)?;
        bytes
    } else {
        std::fs::read(path)?
    };
    Ok(Image {
        content: Some(Content::Encoded(bytes)),
    })
}
