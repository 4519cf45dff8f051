//! The nearest normal image, or site of one.

/// The normal image, or the image of the normal site, that is nearest to another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Nearest {
    /// Euclidean distance; NaN where a value of the other is NaN. Of sites in units of x, of whole images in
    /// those of their principal components.
    pub distance: f32,
    /// The number of the image, by which its file is named.
    pub image: u32,
}
