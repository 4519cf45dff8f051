use super::Violation;
use crate::proto;

/// The form in which a request wants its images.
///
/// # Errors
/// When it is none of `lfbm.v1.ImageForm`.
pub fn image_form(value: i32) -> Result<proto::ImageForm, Violation> {
    proto::ImageForm::try_from(value).map_err(|_| {
        let description = format!("expected a value of lfbm.v1.ImageForm, got {value}");
        Violation::new("form", description)
    })
}
