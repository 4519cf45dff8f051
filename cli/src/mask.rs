//! Which pixels of an image the model sees.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, ensure};
use clap::Args;
use lfbm_images::Header;
use lfbm_wire::{DataType, ImageSpec, Tensor};

#[derive(Args)]
pub(crate) struct MaskArgs {
    /// An image of the model's size that is black where pixels are hidden
    #[arg(long, value_name = "FILE", conflicts_with = "hide")]
    mask: Option<PathBuf>,
    /// A rectangle of hidden pixels, from the top left; may be given several times
    #[arg(long, value_name = "X,Y,WIDTH,HEIGHT")]
    hide: Vec<Rectangle>,
}

#[derive(Clone, Copy)]
struct Rectangle {
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

impl MaskArgs {
    /// Whether any pixel is hidden.
    pub(crate) fn is_given(&self) -> bool {
        self.mask.is_some() || !self.hide.is_empty()
    }

    /// The mask for images of a model: H, W values, 1 = visible.
    pub(crate) fn tensor(&self, model: &ImageSpec) -> anyhow::Result<Tensor> {
        let (width, height) = (model.width as usize, model.height as usize);
        let (shape, data) = match &self.mask {
            Some(path) => {
                let visible = visible(path, (width, height));
                let visible = visible.with_context(|| path.display().to_string())?;
                (vec![height as u64, width as u64], visible)
            }
            None => {
                let mut visible = vec![1; width * height];
                for rectangle in &self.hide {
                    let (right, bottom) = (
                        rectangle.x.saturating_add(rectangle.width),
                        rectangle.y.saturating_add(rectangle.height),
                    );
                    ensure!(
                        right <= width && bottom <= height,
                        "--hide: expected a rectangle within {width} x {height} pixels, got one \
                         to {right}, {bottom}"
                    );
                    for row in visible.chunks_mut(width).take(bottom).skip(rectangle.y) {
                        row[rectangle.x..right].fill(0);
                    }
                }
                (vec![height as u64, width as u64], visible)
            }
        };
        Ok(Tensor {
            data_type: DataType::Uint8.into(),
            shape,
            data,
        })
    }
}

/// 1 for each pixel of the image in a file that is not black.
fn visible(path: &Path, (width, height): (usize, usize)) -> anyhow::Result<Vec<u8>> {
    let file = lfbm_images::read(path)?;
    let header = Header::read(&file)?;
    ensure!(
        (header.width as usize, header.height as usize) == (width, height),
        "expected a mask of the model's {width} x {height} pixels (width x height), got {} x {}",
        header.width,
        header.height
    );
    let image = lfbm_images::decode(&file, header.pixels())?;
    // A dark colour may round to black where it becomes grey.
    let colours = lfbm_images::planes(&image, 3);
    let positions = 0..width * height;
    Ok(positions
        .map(|index| {
            let mut colours = colours[index..].iter().step_by(width * height);
            u8::from(colours.any(|&colour| colour > 0))
        })
        .collect())
}
