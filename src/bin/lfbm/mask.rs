//! Which pixels of an image the model sees.

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, ensure};
use clap::Args;
use lfbm_server::proto::{DataType, ImageSpec, Tensor};

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
                let image = image::open(path).with_context(|| path.display().to_string())?;
                let image = image.to_luma8();
                let shape = vec![image.height().into(), image.width().into()];
                let visible = image.into_raw().into_iter();
                (shape, visible.map(|pixel| u8::from(pixel > 0)).collect())
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
