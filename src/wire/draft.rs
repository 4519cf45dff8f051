//! Messages of `lfbm.v1` as drafts of requests.

use lfbm_bundle::manifest::Aggregation;
use lfbm_wire as proto;
use proto::image::Content;

use crate::request::{
    DataType, Draft, Image, ImageForm, Judging, Parameters, Priority, Tensor, Violation,
};

const IMAGE_DATA_TYPE: &str = "image.tensor.data_type";
const MASK_DATA_TYPE: &str = "mask.data_type";

/// The draft of a score's request; `default` is the priority of one that names none.
pub fn score_draft(request: proto::ScoreRequest, default: Priority) -> Draft {
    Draft {
        image: image(request.image),
        mask: mask(request.mask),
        needs_mask: false,
        parameters: parameters(request.inference),
        priority: priority(request.priority, default),
        images: Ok(None),
        judging: Judging {
            false_alarm_rate: request.false_alarm_rate,
            map: request.map,
        },
    }
}

/// The draft of an explanation's request.
pub fn explain_draft(request: proto::ExplainRequest) -> Draft {
    Draft {
        image: image(request.image),
        mask: mask(request.mask),
        needs_mask: false,
        parameters: parameters(request.inference),
        priority: priority(request.priority, Priority::Interactive),
        images: image_form(request.form).map(Some),
        judging: Judging {
            false_alarm_rate: request.false_alarm_rate,
            map: true,
        },
    }
}

/// The draft of an inpainting's request, which needs a mask; `completions` is how many chains one
/// that names none has.
pub fn inpaint_draft(request: proto::InpaintRequest, completions: u32) -> Draft {
    let mut parameters = parameters(request.inference);
    parameters.chains.get_or_insert(completions);
    Draft {
        image: image(request.image),
        mask: mask(request.mask),
        needs_mask: true,
        parameters,
        priority: priority(request.priority, Priority::Interactive),
        images: image_form(request.form).map(Some),
        judging: Judging::default(),
    }
}

/// The image of a request, if there is one.
pub fn image(image: Option<proto::Image>) -> Option<Image> {
    Some(match image?.content? {
        Content::Encoded(file) => Image::File(file.into()),
        Content::Tensor(values) => Image::Tensor(tensor(values, IMAGE_DATA_TYPE)),
    })
}

/// The mask of a request, if there is one.
pub fn mask(mask: Option<proto::Tensor>) -> Option<Tensor> {
    mask.map(|mask| tensor(mask, MASK_DATA_TYPE))
}

fn tensor(tensor: proto::Tensor, field: &'static str) -> Tensor {
    let data_type = match tensor.data_type() {
        proto::DataType::Uint8 => Ok(DataType::Uint8),
        proto::DataType::Float32 => Ok(DataType::Float32),
        proto::DataType::Unspecified => {
            let reason = format!(
                "expected DATA_TYPE_UINT8 or DATA_TYPE_FLOAT32, got {}",
                tensor.data_type
            );
            Err(Violation::new(field, reason))
        }
    };
    Tensor {
        data_type,
        shape: tensor.shape,
        data: tensor.data.into(),
    }
}

/// The inference parameters of a request.
pub fn parameters(request: Option<proto::InferenceParameters>) -> Parameters {
    let request = request.unwrap_or_default();
    let aggregation = match proto::Aggregation::try_from(request.aggregation) {
        Ok(proto::Aggregation::Unspecified) => Ok(None),
        Ok(proto::Aggregation::Mean) => Ok(Some(Aggregation::Mean)),
        Ok(proto::Aggregation::Max) => Ok(Some(Aggregation::Max)),
        Ok(proto::Aggregation::LogMeanExp) => Ok(Some(Aggregation::LogMeanExp)),
        Err(_) => Err(unknown(
            "inference.aggregation",
            "Aggregation",
            request.aggregation,
        )),
    };
    Parameters {
        steps: request.steps,
        step_size: request.step_size,
        noise_free_steps: request.noise_free_steps,
        chains: request.chains,
        aggregation,
        seed: request.seed,
    }
}

/// The priority of a request, `default` where it names none.
fn priority(value: i32, default: Priority) -> Result<Priority, Violation> {
    match proto::Priority::try_from(value) {
        Ok(proto::Priority::Unspecified) => Ok(default),
        Ok(proto::Priority::Interactive) => Ok(Priority::Interactive),
        Ok(proto::Priority::Bulk) => Ok(Priority::Bulk),
        Err(_) => Err(unknown("priority", "Priority", value)),
    }
}

/// The form in which a request wants its images.
///
/// # Errors
/// When it is none of `lfbm.v1.ImageForm`.
pub fn image_form(value: i32) -> Result<ImageForm, Violation> {
    match proto::ImageForm::try_from(value) {
        Ok(proto::ImageForm::Unspecified) => Ok(ImageForm::Both),
        Ok(proto::ImageForm::Png) => Ok(ImageForm::Png),
        Ok(proto::ImageForm::Tensor) => Ok(ImageForm::Tensor),
        Err(_) => Err(unknown("form", "ImageForm", value)),
    }
}

fn unknown(field: &'static str, name: &str, value: i32) -> Violation {
    let description = format!("expected a value of lfbm.v1.{name}, got {value}");
    Violation::new(field, description)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lfbm_bundle::manifest::{Contrast, ImageSpec, Intake, Langevin};

    use crate::request::{Limits, decode_mask};

    const SPEC: ImageSpec = ImageSpec {
        channels: 1,
        height: 2,
        width: 2,
        value_range: [-1.0, 1.0],
        contrast: Contrast::None,
        intake: Intake::STRETCH,
    };

    #[test]
    fn an_image_without_content_is_none() {
        assert!(image(None).is_none());
        assert!(image(Some(proto::Image::default())).is_none());
    }

    #[test]
    fn a_data_type_that_is_unknown_is_named() {
        for data_type in [proto::DataType::Unspecified.into(), 7] {
            let tensor = proto::Tensor {
                data_type,
                shape: vec![2, 2],
                data: vec![0; 4],
            };
            let violation =
                decode_mask(mask(Some(tensor.clone())).as_ref(), SPEC.size(), &SPEC).unwrap_err();
            assert_eq!(violation.field, "mask.data_type");
            assert!(violation.description.contains("DATA_TYPE_UINT8"));
            let content = Some(Content::Tensor(tensor));
            let image = image(Some(proto::Image { content })).unwrap();
            let violation = image.decode(&SPEC, 4).unwrap_err();
            assert_eq!(violation.field, "image.tensor.data_type");
            assert!(violation.description.contains("DATA_TYPE_UINT8"));
        }
    }

    #[test]
    fn an_aggregation_that_is_unknown_is_named() {
        let request = proto::InferenceParameters {
            aggregation: 9,
            ..Default::default()
        };
        let defaults = Langevin {
            steps: 1,
            step_size: 0.1,
            noise_free_steps: 0,
            chains: 1,
            aggregation: Aggregation::Max,
        };
        let limits = Limits {
            steps: 1,
            chains: 1,
            samples: 1,
            stream_in_flight: 1,
            image_pixels: 4,
        };
        let parameters = parameters(Some(request)).validate(1, &defaults, limits);
        let [violation] = &parameters.unwrap_err()[..] else {
            panic!("expected one violation");
        };
        assert_eq!(violation.field, "inference.aggregation");
        assert!(violation.description.contains("got 9"));
    }

    #[test]
    fn a_priority_that_is_absent_is_the_default_and_the_unknown_is_named() {
        let priority = |value| priority(value, Priority::Bulk);
        assert_eq!(priority(0), Ok(Priority::Bulk));
        assert_eq!(priority(1), Ok(Priority::Interactive));
        assert_eq!(priority(2), Ok(Priority::Bulk));
        assert!(priority(3).unwrap_err().description.contains("got 3"));
    }
}
