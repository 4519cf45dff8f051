//! An event file.

use std::fs::{File, OpenOptions};
use std::io::{self, Cursor, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use image::{ImageFormat, RgbImage};
use prost::Message;

use super::event::{Content, Event, Image, SessionLog, Summary, Value, What};
use super::record::record;

/// What TensorFlow calls the format.
const FILE_VERSION: &str = "brain.Event:2";
const RGB: i32 = 3;

/// An event file of one run; every event is on its way to the disk when a method returns.
#[derive(Debug)]
pub struct EventFile {
    path: PathBuf,
    file: File,
}

impl EventFile {
    /// Creates a file of its own in `folder`, beside those of other runs, for a run that begins after
    /// `step` steps. TensorBoard drops what older files say of later steps.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn create(folder: &Path, step: u64) -> io::Result<Self> {
        let (path, file) = create_in(folder)?;
        let mut events = Self { path, file };
        events.write(0, What::FileVersion(FILE_VERSION.to_owned()))?;
        if step > 0 {
            events.write(step + 1, What::SessionLog(SessionLog::START))?;
        }
        Ok(events)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds scalars by their tags.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn scalars(&mut self, step: u64, scalars: &[(String, f64)]) -> io::Result<()> {
        let value = |(tag, value): &(String, f64)| Value {
            tag: tag.clone(),
            content: Some(Content::Scalar(*value as f32)),
        };
        let values = scalars.iter().map(value).collect();
        self.write(step, What::Summary(Summary { values }))
    }

    /// Adds a picture by its tag.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn picture(&mut self, step: u64, tag: &str, picture: &RgbImage) -> io::Result<()> {
        let mut png = Cursor::new(Vec::new());
        (picture.write_to(&mut png, ImageFormat::Png)).map_err(io::Error::other)?;
        let (width, height) = picture.dimensions();
        let image = Image {
            height: height as i32,
            width: width as i32,
            colorspace: RGB,
            encoded: png.into_inner(),
        };
        let value = Value {
            tag: tag.to_owned(),
            content: Some(Content::Image(image)),
        };
        let values = vec![value];
        self.write(step, What::Summary(Summary { values }))
    }

    fn write(&mut self, step: u64, what: What) -> io::Result<()> {
        let event = Event {
            wall_time: seconds(),
            step: i64::try_from(step).unwrap_or(i64::MAX),
            what: Some(what),
        };
        self.file.write_all(&record(&event.encode_to_vec()))
    }
}

/// Creates a file of a name that there is not. TensorBoard knows event files by a part of their names, and
/// reads those of a folder in the order of the names, which is that of the times in them.
fn create_in(folder: &Path) -> io::Result<(PathBuf, File)> {
    let (begun, process) = (seconds() as u64, std::process::id());
    let mut number = 0_u32;
    loop {
        let name = format!("events.out.tfevents.{begun:010}.trainer.{process}.{number}");
        let path = folder.join(name);
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(file) => return Ok((path, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(error),
        }
    }
}

/// Since 1970.
fn seconds() -> f64 {
    #[expect(
        clippy::disallowed_methods,
        reason = "a date that is shown; nothing is timed by it"
    )]
    let now = SystemTime::now();
    let since = now.duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::super::record::records;
    use super::*;

    fn events(file: &EventFile) -> Vec<Event> {
        let bytes = std::fs::read(file.path()).unwrap();
        let records = records(&bytes);
        records
            .iter()
            .map(|record| Event::decode(&record[..]).unwrap())
            .collect()
    }

    fn values(event: &Event) -> &[Value] {
        match &event.what {
            Some(What::Summary(summary)) => &summary.values,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_was_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = EventFile::create(folder.path(), 0).unwrap();
        let scalars = [("loss/error".to_owned(), 2.5), ("sigma".to_owned(), 0.25)];
        file.scalars(10, &scalars).unwrap();
        let picture = RgbImage::from_pixel(3, 2, image::Rgb([1, 2, 3]));
        file.picture(20, "samples", &picture).unwrap();
        let events = events(&file);
        let [version, scalars, image] = &events[..] else {
            panic!("{events:?}");
        };
        let brain = What::FileVersion("brain.Event:2".to_owned());
        assert_eq!((version.step, &version.what), (0, &Some(brain)));
        assert!(version.wall_time > 1.5e9);
        let read: Vec<_> = values(scalars)
            .iter()
            .map(|value| (&*value.tag, &value.content))
            .collect();
        let expected = [2.5, 0.25].map(|value| Some(Content::Scalar(value)));
        assert_eq!(scalars.step, 10);
        assert_eq!(
            read,
            [("loss/error", &expected[0]), ("sigma", &expected[1])]
        );
        let Some(Content::Image(image)) = &values(image)[0].content else {
            panic!("{image:?}");
        };
        assert_eq!((image.width, image.height, image.colorspace), (3, 2, 3));
        let decoded = image::load_from_memory(&image.encoded).unwrap();
        assert_eq!(decoded.to_rgb8(), picture);
    }

    #[test]
    fn a_run_that_goes_on_has_a_file_of_its_own_that_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let first = EventFile::create(folder.path(), 0).unwrap();
        let second = EventFile::create(folder.path(), 15).unwrap();
        assert_ne!(first.path(), second.path());
        assert_eq!(events(&first).len(), 1);
        let events = events(&second);
        let start = What::SessionLog(SessionLog { status: 1 });
        assert_eq!((events[1].step, &events[1].what), (16, &Some(start)));
    }
}
