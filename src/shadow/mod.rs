//! Shadow versions: versions of a model that score a share of the images that its other versions score, so
//! that both can be compared before the new one answers.
//!
//! When an image is to be scored, [`Shadows::pick`] decides whether it is one of the share. Once the reply's
//! score is known, the image goes into a bounded queue with what the reply says of it
//! ([`Candidate::compare_with`]); what finds no room is dropped and counted. `service::shadow` takes images
//! out of the queue and scores them on threads that let all others go first. No request waits for any of
//! this.

mod comparison;
mod queue;
mod settings;
mod share;
mod version;

pub use comparison::{Comparison, ImageId, Judged};
pub use queue::{Candidate, ShadowImage, ShadowQueue, Shadows};
pub use settings::ShadowSettings;
pub use version::{NotAShadow, ShadowVersion};
