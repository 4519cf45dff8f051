//! A request for inference, whatever protocol it came by.
//!
//! An adapter of a protocol makes a [`Draft`] of its message; [`Draft::validate`] finds everything
//! that is wrong with it before it costs anything, or makes the one [`InferenceRequest`] that the
//! rest of the server knows.

mod image;
mod mask;
mod parameters;
mod settings;
mod tensor;
mod text;

use std::time::Duration;

use lfbm_bundle::manifest::{ImageSpec, Langevin};
use lfbm_images::{Placement, Size};
use tokio::sync::OwnedSemaphorePermit;

pub use self::image::{Image, check_tensor};
pub use self::mask::decode_mask;
pub use self::parameters::{Limits, Parameters, sample_count};
pub use self::settings::RequestSettings;
pub use self::tensor::{DataType, Tensor};
pub(crate) use self::text::cut_list;
pub use self::text::{check_id, cut, shorten};

/// Which requests have the right of way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// Somebody waits for the answer.
    Interactive,
    /// Throughput counts, latency does not.
    Bulk,
}

/// How long a request would take at the present speed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Estimate {
    /// In line for rows.
    pub wait: Duration,
    /// In its rows.
    pub run: Duration,
    /// How much longer it may take, as others lately have.
    pub margin: Duration,
}

impl Estimate {
    /// From admission to the answer, without the margin.
    pub fn expected(&self) -> Duration {
        self.wait.saturating_add(self.run)
    }
}

/// Room for the work of one request; given back on drop. Empty where the room was closed, which none is.
#[derive(Debug)]
pub struct Permit(#[allow(dead_code)] Option<OwnedSemaphorePermit>);

impl From<Option<OwnedSemaphorePermit>> for Permit {
    fn from(permit: Option<OwnedSemaphorePermit>) -> Self {
        Self(permit)
    }
}

/// One field that is wrong, as `google.rpc.BadRequest` says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The path of the field in the request.
    pub field: &'static str,
    /// What was expected and what came.
    pub description: String,
}

impl Violation {
    /// A violation of `field`.
    pub fn new(field: &'static str, description: impl Into<String>) -> Self {
        Self {
            field,
            description: description.into(),
        }
    }
}

/// The form of a reply's images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageForm {
    /// PNG files and tensors.
    Both,
    /// PNG files.
    Png,
    /// Tensors.
    Tensor,
}

/// What a request wants of the comparison with normal images.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Judging {
    /// The share of normal images that the verdict may call anomalous; `None` for the model's.
    pub false_alarm_rate: Option<f64>,
    /// Whether the reply has the map of a model of sites.
    pub map: bool,
}

/// What decoding takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decoding {
    /// Pixels of the image as it came.
    pub pixels: usize,
    /// Bytes that are held at once at most, beside the message.
    pub bytes: usize,
}

/// What a client asks for, not yet known to be valid. What an adapter found wrong while it read the
/// message stands where the value would.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The image.
    pub image: Option<Image>,
    /// Which pixels are visible; all of them if it is absent.
    pub mask: Option<Tensor>,
    /// Whether a request without a mask is wrong.
    pub needs_mask: bool,
    /// Parameters of the inference.
    pub parameters: Parameters,
    /// Who goes first.
    pub priority: Result<Priority, Violation>,
    /// The form of the reply's images; `None` if it has none.
    pub images: Result<Option<ImageForm>, Violation>,
    /// Of the verdict and the map.
    pub judging: Judging,
}

/// A request for inference of one image, valid for its model.
#[derive(Clone, Debug, PartialEq)]
pub struct InferenceRequest {
    /// Intensities in [0, 1], C H W, of the model's size.
    pub image: Vec<f32>,
    /// Where the pixels of the image as it came lie in it.
    pub placement: Placement,
    /// H W, 1 where a pixel is visible and 0 where it is hidden; `None` where all are visible.
    pub mask: Option<Vec<f32>>,
    /// Steps, step size, chains and their aggregation.
    pub langevin: Langevin,
    /// Decides starts and noise of the chains.
    pub seed: u64,
    /// Who goes first.
    pub priority: Priority,
    /// The form of the reply's images; `None` if it has none.
    pub images: Option<ImageForm>,
}

impl Draft {
    /// Bytes of the image or the mask as it came, whichever has more.
    pub fn size(&self) -> usize {
        let image = self.image.as_ref().map_or(0, Image::size);
        image.max(self.mask.as_ref().map_or(0, |mask| mask.data.len()))
    }

    /// What decoding the image and the mask takes at most, by their headers.
    pub fn decoding(&self, spec: &ImageSpec, limits: Limits) -> Decoding {
        let max_pixels = limits.image_pixels;
        let Some((image, size)) = self.image_size(spec, max_pixels) else {
            return Decoding::default();
        };
        // One after the other; the image is kept.
        let mask = self.mask.as_ref().map_or(0, |_| {
            let image_bytes = size_of::<f32>() * spec.pixels();
            mask::decode_bytes(size, spec).saturating_add(image_bytes as u64)
        });
        let bytes = image.decode_bytes(spec, max_pixels).max(mask);
        Decoding {
            pixels: usize::try_from(size.pixels()).unwrap_or(usize::MAX),
            bytes: usize::try_from(bytes).unwrap_or(usize::MAX),
        }
    }

    fn image_size(&self, spec: &ImageSpec, max_pixels: u64) -> Option<(&Image, Size)> {
        let image = self.image.as_ref()?;
        Some((image, image.dimensions(spec, max_pixels).ok()?))
    }

    /// Decodes image and mask and checks every field. `spec` is what the model's images are, `sites` how
    /// many sites they have, and `defaults` are its parameters.
    ///
    /// # Errors
    /// All that is wrong. The mask is looked at only if the image has a size.
    pub fn validate(
        self,
        spec: &ImageSpec,
        sites: usize,
        defaults: &Langevin,
        limits: Limits,
    ) -> Result<InferenceRequest, Vec<Violation>> {
        let image = image::decode(self.image.as_ref(), spec, limits.image_pixels);
        let parameters = self.parameters.validate(sites, defaults, limits);
        let size = self.image_size(spec, limits.image_pixels);
        let placement = size.and_then(|(_, size)| spec.intake.placement(size, spec.size()).ok());
        // An image that cannot be placed is not decoded either.
        let image = image.and_then(|image| {
            let unfit = || Violation::new("image", "expected an image that fits the model's size");
            Ok((image, placement.ok_or_else(unfit)?))
        });
        let mask = match (&self.mask, size) {
            (None, _) if self.needs_mask => {
                Err(Violation::new("mask", "expected a mask, got none"))
            }
            (_, None) => Ok(None),
            (mask, Some((_, size))) => decode_mask(mask.as_ref(), size, spec),
        };
        match (image, parameters, mask, self.priority, self.images) {
            (Ok((image, placement)), Ok((langevin, seed)), Ok(mask), Ok(priority), Ok(images)) => {
                Ok(InferenceRequest {
                    image,
                    placement,
                    mask,
                    langevin,
                    seed,
                    priority,
                    images,
                })
            }
            (image, parameters, mask, priority, images) => {
                let violations = image.err().into_iter();
                let violations = violations.chain(parameters.err().into_iter().flatten());
                let violations = violations.chain(mask.err()).chain(priority.err());
                Err(violations.chain(images.err()).collect())
            }
        }
    }
}
