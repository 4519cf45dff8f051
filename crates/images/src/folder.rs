//! The images in a folder and all below, and what else is there.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use crate::Format;

/// How files are named that hold an image. One that holds none is damaged, not passed over.
const SUFFIXES: [&str; 10] = [
    "png", "jpg", "jpeg", "jpe", "jfif", "bmp", "dib", "tif", "tiff", "webp",
];
/// How systems name folders and files of their own.
const SYSTEM: [&str; 9] = [
    "__MACOSX",
    "@eaDir",
    "@Recycle",
    "#recycle",
    "$RECYCLE.BIN",
    "System Volume Information",
    "lost+found",
    "Thumbs.db",
    "desktop.ini",
];
/// How the names of images begin that `lfbm` writes next to the originals, after the original's.
const MADE: [&str; 4] = ["heatmap", "overlay", "reconstruction", "inpainted"];
/// As many names of a kind are told.
const NAMED: usize = 3;

/// What is in a folder.
#[derive(Debug, Default)]
pub struct Found {
    /// The images, by name within each folder. What cannot be read is among them, and so is what is
    /// named like an image and holds none, so that the reader of it says why.
    pub images: Vec<PathBuf>,
    /// All else.
    pub left_out: LeftOut,
}

/// Why something in a folder is no image to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// Hidden by its name, with all in it, or a folder that a system keeps for itself.
    Hidden,
    /// A file of another kind.
    NotAnImage,
    /// A file without a byte.
    Empty,
    /// A link to what is not there.
    DanglingLink,
    /// A link to a folder that it is in.
    Loop,
    /// A socket, pipe or device.
    Special,
    /// An image that `lfbm` wrote.
    Made,
    /// A folder without an image.
    EmptyFolder,
    /// An image beside folders that are classes.
    BesideClasses,
    /// In a folder beside that of the images to fit.
    BesideTrain,
    /// Damaged, and not wanted.
    Damaged,
}

impl Reason {
    /// One and several of them.
    fn names(self) -> [&'static str; 2] {
        match self {
            Self::Hidden => ["hidden", "hidden"],
            Self::NotAnImage => ["not an image", "not images"],
            Self::Empty => ["empty file", "empty files"],
            Self::DanglingLink => ["dangling link", "dangling links"],
            Self::Loop => [
                "link to a folder that it is in",
                "links to folders that they are in",
            ],
            Self::Special => ["pipe, socket or device", "pipes, sockets or devices"],
            Self::Made => ["made by lfbm", "made by lfbm"],
            Self::EmptyFolder => ["folder without images", "folders without images"],
            Self::BesideClasses => [
                "image beside the folders of the classes",
                "images beside the folders of the classes",
            ],
            Self::BesideTrain => ["image that is not in train", "images that are not in train"],
            Self::Damaged => ["damaged image", "damaged images"],
        }
    }
}

/// What was left out, by reason: how many, and the first names.
#[derive(Clone, Debug, Default)]
pub struct LeftOut(BTreeMap<Reason, (usize, Vec<PathBuf>)>);

impl LeftOut {
    /// Counts one more.
    pub fn add(&mut self, reason: Reason, path: &Path) {
        let (count, names) = self.0.entry(reason).or_default();
        *count += 1;
        if names.len() < NAMED {
            names.push(path.to_owned());
        }
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many were left out for a reason.
    pub fn count(&self, reason: Reason) -> usize {
        self.0.get(&reason).map_or(0, |(count, _)| *count)
    }

    /// Counts what another folder has, too.
    pub fn merge(&mut self, other: Self) {
        for (reason, (count, names)) in other.0 {
            let (sum, first) = self.0.entry(reason).or_default();
            *sum += count;
            let room = NAMED - first.len().min(NAMED);
            first.extend(names.into_iter().take(room));
        }
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("left out: ")?;
        for (index, (reason, (count, names))) in self.0.iter().enumerate() {
            let [one, several] = reason.names();
            let name = if *count == 1 { one } else { several };
            let separator = if index > 0 { ", " } else { "" };
            write!(f, "{separator}{count} {name}")?;
            // Nobody looks for those.
            if *reason == Reason::Hidden {
                continue;
            }
            let told: Vec<_> = names
                .iter()
                .map(|path| path.display().to_string())
                .collect();
            let more = count - told.len();
            write!(f, " ({}", told.join(", "))?;
            if more > 0 {
                write!(f, " and {more} more")?;
            }
            f.write_str(")")?;
        }
        Ok(())
    }
}

/// Finds the images in a folder and all below. Files are images by their first bytes; names decide
/// nothing but whether a file is hidden. Links are followed.
///
/// # Errors
/// When the folder itself cannot be read.
pub fn find(folder: &Path) -> io::Result<Found> {
    walk(folder, left_out)
}

/// The same, without a look into the files: those that [`left_out`] would leave out are among the images.
///
/// # Errors
/// When the folder itself cannot be read.
pub fn list(folder: &Path) -> io::Result<Found> {
    walk(folder, |path| is_made(path).then_some(Reason::Made))
}

fn walk(folder: &Path, left_out: impl Fn(&Path) -> Option<Reason>) -> io::Result<Found> {
    std::fs::read_dir(folder)?;
    let mut found = Found::default();
    let mut walk = WalkDir::new(folder)
        .follow_links(true)
        .min_depth(1)
        .sort_by_file_name()
        .into_iter();
    while let Some(entry) = walk.next() {
        match entry {
            Ok(entry) if is_hidden(entry.path()) => {
                found.left_out.add(Reason::Hidden, entry.path());
                if entry.file_type().is_dir() {
                    walk.skip_current_dir();
                }
            }
            Ok(entry) if entry.file_type().is_dir() => {}
            Ok(entry) if !entry.file_type().is_file() => {
                found.left_out.add(Reason::Special, entry.path());
            }
            Ok(entry) => match left_out(entry.path()) {
                Some(reason) => found.left_out.add(reason, entry.path()),
                None => found.images.push(entry.into_path()),
            },
            Err(error) => found.add_error(&error, folder),
        }
    }
    Ok(found)
}

impl Found {
    fn add_error(&mut self, error: &walkdir::Error, folder: &Path) {
        let path = error.path().unwrap_or(folder);
        if is_hidden(path) {
            self.left_out.add(Reason::Hidden, path);
        } else if error.loop_ancestor().is_some() {
            self.left_out.add(Reason::Loop, path);
        } else if path.is_symlink() && !path.exists() {
            self.left_out.add(Reason::DanglingLink, path);
        } else {
            self.images.push(path.to_owned());
        }
    }
}

/// Whether a name is one that people do not see, or of a folder or file that a system keeps for
/// itself.
pub fn is_hidden(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with('.')
        || SYSTEM
            .iter()
            .any(|system| system.eq_ignore_ascii_case(&name))
}

/// Why a file is no image to read, if it is none: by its name and its first bytes. A file that cannot be read
/// is not left out, so that the reader of it says why.
pub fn left_out(path: &Path) -> Option<Reason> {
    if is_made(path) {
        return Some(Reason::Made);
    }
    let mut start = Vec::new();
    let file = File::open(path).ok()?;
    file.take(SNIFFED_BYTES).read_to_end(&mut start).ok()?;
    match Format::sniff(&start) {
        Ok(_) => None,
        Err(_) if start.is_empty() => Some(Reason::Empty),
        Err(_) => (!has_image_suffix(path)).then_some(Reason::NotAnImage),
    }
}

const SNIFFED_BYTES: u64 = crate::sniff::SNIFFED_BYTES as u64;

/// Whether `lfbm` wrote an image next to another, by its name.
pub fn is_made(path: &Path) -> bool {
    let kind = path.file_stem().map(Path::new).and_then(suffix);
    kind.is_some_and(|kind| MADE.iter().any(|made| kind.starts_with(made)))
}

/// Whether a file is named like one that holds an image.
pub fn has_image_suffix(path: &Path) -> bool {
    suffix(path).is_some_and(|suffix| SUFFIXES.contains(&suffix.as_str()))
}

fn suffix(path: &Path) -> Option<String> {
    let suffix = path.extension()?;
    Some(suffix.to_string_lossy().to_lowercase())
}
