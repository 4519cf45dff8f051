//! What commands print and write.

use std::collections::HashMap;
use std::fs;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use comfy_table::{CellAlignment, Row, Table, presets};
pub(crate) use lfbm_process::print_line;

use crate::inputs::STDIN;
use crate::objects::url;

/// An empty table, some of whose columns hold numbers.
pub(crate) fn new_table(header: impl Into<Row>, numbers: Range<usize>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(header);
    for column in numbers {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// Prints a table that has rows.
pub(crate) fn print_table(table: &Table) -> anyhow::Result<()> {
    if table.row_count() > 0 {
        print_line(table)?;
    }
    Ok(())
}

/// Where images go that the server made of others.
#[derive(Args)]
pub(crate) struct OutArgs {
    /// The folder for the images that are made, in folders as the originals are; next to the originals when absent,
    /// which must be files then
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl OutArgs {
    /// The places of what is made of `originals`.
    ///
    /// # Errors
    /// When something has no place of its own on this machine.
    pub(crate) fn places(&self, originals: &[PathBuf]) -> anyhow::Result<Places<'_>> {
        let mut objects = originals.iter().filter(|original| url(original).is_some());
        if let (None, Some(object)) = (&self.out, objects.next()) {
            bail!(
                "{}: expected --out with a folder for what is made of it",
                object.display()
            );
        }
        let places = Places {
            out: self.out.as_deref(),
            shared: shared(originals),
        };
        let mut seen = HashMap::new();
        for original in originals {
            if let Some(other) = seen.insert(places.path(original, ""), original) {
                bail!(
                    "{} and {}: what is made of both would have one name; ask for one after the \
                     other, with another --out",
                    other.display(),
                    original.display()
                );
            }
        }
        Ok(places)
    }
}

/// How many folders, from the first on, all files are in.
fn shared(files: &[PathBuf]) -> usize {
    let folders = files.iter().filter_map(|file| file.parent());
    let folders = folders.map(|folder| folder.components().collect::<Vec<_>>());
    let shared = folders.reduce(|mut shared, folder| {
        let equal = shared.iter().zip(&folder).take_while(|(a, b)| a == b);
        shared.truncate(equal.count());
        shared
    });
    shared.map_or(0, |shared| shared.len())
}

/// Where the images are written.
pub(crate) struct Places<'a> {
    out: Option<&'a Path>,
    /// Folders that all originals are in.
    shared: usize,
}

impl Places<'_> {
    /// Writes what was made of NAME.png or NAME.jpeg to NAME.`kind`.png, and what was made of
    /// standard input to stdin.`kind`.png.
    pub(crate) fn write(
        &self,
        original: &Path,
        kind: &str,
        made: Option<&[u8]>,
    ) -> anyhow::Result<PathBuf> {
        let path = self.path(original, kind);
        write_image(&path, made)?;
        Ok(path)
    }

    fn path(&self, original: &Path, kind: &str) -> PathBuf {
        let of_original = original.parent().unwrap_or(Path::new(""));
        let folder = match self.out {
            Some(out) => {
                let below = of_original.components().skip(self.shared);
                // Nothing is written outside the folder.
                let below = below.filter(|part| matches!(part, Component::Normal(_)));
                out.join(below.collect::<PathBuf>())
            }
            None => of_original.to_owned(),
        };
        // A name of its own would be taken for a flag.
        let original = if original == Path::new(STDIN) {
            Path::new("stdin")
        } else {
            original
        };
        let mut name = original.file_stem().unwrap_or_default().to_owned();
        name.push(format!(".{kind}.png"));
        folder.join(name)
    }
}

/// Writes an image, and the folder that it is in if there is none.
pub(crate) fn write_image(path: &Path, image: Option<&[u8]>) -> anyhow::Result<()> {
    let image = image.filter(|png| !png.is_empty());
    let image = image.with_context(|| {
        let path = path.display();
        format!("{path}: the reply has no such image; this model, or these inference parameters, give none")
    })?;
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    fs::write(path, image).with_context(|| path.display().to_string())
}
