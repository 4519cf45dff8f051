//! Which pixels of an image the model sees.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, ensure};
use clap::Args;
use lfbm_images::{Header, Size};
use lfbm_wire::{DataType, Tensor};

/// Of a mask; a message holds fewer.
const MAX_PIXELS: u64 = 1 << 27;

#[derive(Args)]
pub(crate) struct MaskArgs {
    /// An image of the images' size that is black where pixels are hidden
    #[arg(long, value_name = "FILE", conflicts_with = "hide")]
    mask: Option<PathBuf>,
    /// A rectangle of hidden pixels of each image, from the top left; may be given several times
    #[arg(long, value_name = "X,Y,WIDTH,HEIGHT")]
    hide: Vec<Rectangle>,
}

#[derive(Clone, Copy)]
pub(crate) struct Rectangle {
    x: usize,
    y: usize,
    width: usize,
    height: usize,
}

impl FromStr for Rectangle {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let numbers: Result<Vec<usize>, _> = text.split(',').map(str::parse).collect();
        match numbers.as_deref() {
            Ok(&[x, y, width, height]) if width > 0 && height > 0 => Ok(Self {
                x,
                y,
                width,
                height,
            }),
            _ => Err("expected X,Y,WIDTH,HEIGHT in pixels, like 0,14,28,14"),
        }
    }
}

/// The masks of the images of a command.
pub(crate) enum Masks {
    /// All have this one.
    Same(Option<Tensor>),
    /// Rectangles of each image are hidden.
    Around(Vec<Rectangle>),
}

impl MaskArgs {
    /// Reads the file, if there is one.
    ///
    /// # Errors
    /// When it is no image.
    pub(crate) fn read(&self) -> anyhow::Result<Masks> {
        Ok(match &self.mask {
            Some(path) => {
                let mask = visible(path).with_context(|| path.display().to_string())?;
                Masks::Same(Some(mask))
            }
            None if self.hide.is_empty() => Masks::Same(None),
            None => Masks::Around(self.hide.clone()),
        })
    }
}

impl Masks {
    /// The mask of the image in a file: H, W values, 1 = visible; `None` if no pixel is hidden.
    ///
    /// # Errors
    /// When a rectangle leaves the image.
    pub(crate) fn of(&self, file: &[u8]) -> anyhow::Result<Option<Tensor>> {
        let rectangles = match self {
            Self::Same(mask) => return Ok(mask.clone()),
            Self::Around(rectangles) => rectangles,
        };
        let size = Header::read(file)?.size();
        ensure!(
            size.pixels() <= MAX_PIXELS,
            "--hide: expected an image of at most {MAX_PIXELS} pixels, got {size}"
        );
        let (width, height) = (size.width as usize, size.height as usize);
        let mut visible = vec![1; width * height];
        for rectangle in rectangles {
            let (right, bottom) = (
                rectangle.x.saturating_add(rectangle.width),
                rectangle.y.saturating_add(rectangle.height),
            );
            ensure!(
                right <= width && bottom <= height,
                "--hide: expected a rectangle within the image's {size} pixels, got one to {right}, \
                 {bottom}"
            );
            for row in visible.chunks_mut(width).take(bottom).skip(rectangle.y) {
                row[rectangle.x..right].fill(0);
            }
        }
        Ok(Some(tensor(size, visible)))
    }
}

fn tensor(size: Size, visible: Vec<u8>) -> Tensor {
    Tensor {
        data_type: DataType::Uint8.into(),
        shape: vec![size.height.into(), size.width.into()],
        data: visible,
    }
}

/// 1 for each pixel of the image in a file that is not black.
fn visible(path: &Path) -> anyhow::Result<Tensor> {
    let file = lfbm_images::read(path)?;
    let size = Header::read(&file)?.size();
    let image = lfbm_images::decode(&file, MAX_PIXELS)?;
    // A dark colour may round to black where it becomes grey.
    let colours = lfbm_images::planes(&image, 3);
    let pixels = colours.len() / 3;
    let visible = (0..pixels).map(|index| {
        let mut colours = colours[index..].iter().step_by(pixels);
        u8::from(colours.any(|&colour| colour > 0))
    });
    Ok(tensor(size, visible.collect()))
}
