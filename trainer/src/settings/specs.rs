//! The model, inference and learning that settings describe.

use lfbm_bundle::manifest::{Contrast, ImageSpec, PriorKind};
use lfbm_model::{EncoderSpec, GeneratorSpec};

use super::{InferenceName, LearningSettings, Settings};
use crate::data::Dataset;
use crate::fit::{AdaptationSpec, EncoderLearning, InferenceSpec, Learning};
use crate::model::{Architecture, Langevin, PriorSpec};

impl Settings {
    /// The image shape of the model.
    pub fn image(&self, dataset: &Dataset) -> ImageSpec {
        let norm = self.model.contrast_norm;
        ImageSpec {
            channels: dataset.channels,
            height: dataset.height,
            width: dataset.width,
            value_range: [-1.0, 1.0],
            contrast: if norm > 0.0 {
                Contrast::UnitNorm { norm }
            } else {
                Contrast::None
            },
            intake: dataset.intake,
        }
    }

    /// The model for x of C, H, W.
    pub fn architecture(&self, [channels, height, width]: [usize; 3]) -> Architecture {
        Architecture {
            generator: GeneratorSpec {
                name: self.model.generator,
                latent_dim: self.model.latent_dim,
                width: self.model.width,
                channels,
                height,
                width_px: width,
            },
            prior: match self.model.prior {
                PriorKind::Flow => PriorSpec::Flow {
                    steps: self.model.flow_steps,
                    hidden: self.model.flow_hidden,
                },
                PriorKind::Ebm => PriorSpec::Ebm {
                    hidden: self.model.ebm.hidden,
                    sampling: self.model.ebm.sampling,
                },
                PriorKind::Gaussian => PriorSpec::Gaussian,
            },
            sigma: self.model.sigma,
        }
    }

    /// The encoder for x of C, H, W; that of Langevin chains is a Gaussian, without flow
    /// steps.
    pub fn encoder(&self, x: [usize; 3]) -> EncoderSpec {
        let LearningSettings { encoder, vae, .. } = &self.learning;
        let spec = EncoderSpec {
            generator: self.architecture(x).generator,
            width: encoder.width,
            context: vae.context,
            iaf_steps: vae.iaf_steps,
            iaf_hidden: vae.iaf_hidden,
        };
        match self.learning.inference {
            InferenceName::Vae => spec,
            InferenceName::Langevin => EncoderSpec {
                context: 0,
                iaf_steps: 0,
                ..spec
            },
        }
    }

    /// Inference while learning, for x of C, H, W.
    pub fn inference(&self, x: [usize; 3]) -> InferenceSpec {
        let LearningSettings {
            langevin,
            encoder,
            vae,
            ..
        } = &self.learning;
        let encoder = EncoderLearning {
            spec: self.encoder(x),
            learning_rate: encoder.learning_rate,
            max_gradient_norm: encoder.max_gradient_norm,
        };
        match self.learning.inference {
            InferenceName::Langevin => InferenceSpec::Langevin {
                langevin: Langevin {
                    steps: langevin.steps,
                    step_size: langevin.step_size,
                    noise_free_steps: langevin.noise_free_steps,
                    max_gradient_norm: None,
                    from_encoder: langevin.from_encoder,
                },
                precision: langevin.precision,
                encoder: langevin.encoder.then_some(encoder),
            },
            InferenceName::Vae => InferenceSpec::Vae {
                encoder,
                updates: vae.updates_per_iteration,
            },
        }
    }

    /// How the networks are optimised.
    pub fn learning(&self) -> Learning {
        let learning = &self.learning;
        let (prior_learning_rate, prior_max_gradient_norm) = match self.model.prior {
            PriorKind::Flow => (learning.flow_learning_rate, learning.flow_max_gradient_norm),
            PriorKind::Ebm => (learning.ebm_learning_rate, learning.ebm_max_gradient_norm),
            PriorKind::Gaussian => (0.0, f64::INFINITY),
        };
        Learning {
            iterations: learning.iterations,
            prior_learning_rate,
            generator_learning_rate: learning.generator_learning_rate,
            final_learning_rate_share: learning.final_learning_rate_share,
            prior_max_gradient_norm,
            generator_max_gradient_norm: learning.generator_max_gradient_norm,
            adam_beta1: learning.adam_beta1,
            average_decay: learning.average_decay,
            adaptation: AdaptationSpec {
                learn_sigma: self.model.learn_sigma,
                adapt_step_size: learning.langevin.adapt_step_size,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fit::{ChainPrecision, Learner};
    use lfbm_bundle::manifest::Intake;
    use lfbm_model::{GeneratorName, Layer};
    use std::collections::BTreeMap;
    use std::path::Path;
    use tch::Device;

    /// The settings of `configs/NAME.toml`, and the images that their generator makes.
    fn shipped(name: &str) -> (Settings, ImageSpec) {
        let file = format!("{}/configs/{name}.toml", env!("CARGO_MANIFEST_DIR"));
        let settings = Settings::load(Some(Path::new(&file)), &[]).unwrap();
        let generator = settings.model.generator;
        let side = generator.side().unwrap();
        let grey = generator == GeneratorName::Mnist;
        let image = ImageSpec {
            channels: if grey { 1 } else { 3 },
            height: side,
            width: side,
            value_range: [-1.0, 1.0],
            contrast: Contrast::None,
            intake: Intake::STRETCH,
        };
        (settings, image)
    }

    #[test]
    fn the_precision_of_chains_is_that_of_the_settings() {
        let (_, image) = shipped("mnist-vae");
        for (setting, expected) in [("f32", ChainPrecision::F32), ("bf16", ChainPrecision::Bf16)] {
            let change = format!("learning.langevin.precision={setting}");
            let settings = Settings::load(None, &[change]).unwrap();
            let InferenceSpec::Langevin { precision, .. } = settings.inference(image.shape())
            else {
                panic!("chains are the default");
            };
            assert_eq!(precision, expected);
        }
    }

    #[test]
    fn the_papers_settings_make_encoders_of_their_widths() {
        for (name, expected) in [
            ("mnist-vae", &[10, 20, 40, 80][..]),
            ("svhn-vae", &[10, 20, 40, 80]),
            ("cifar10-vae", &[64, 128, 256, 512]),
            ("celeba-vae", &[64, 128, 256, 256]),
            ("celeba-hq-vae", &[64, 128, 256, 256, 256, 256]),
        ] {
            let (settings, image) = shipped(name);
            assert_eq!(settings.learning.inference, InferenceName::Vae, "{name}");
            let features = settings.encoder(image.shape()).features().unwrap();
            let channels: Vec<_> = features.iter().map(|f| f.weight_shape()[0]).collect();
            assert_eq!(channels, expected, "{name}");
        }
    }

    #[test]
    fn the_papers_settings_make_its_generators() {
        for (file, name) in [
            ("svhn", "svhn"),
            ("cifar10", "cifar10"),
            ("celeba", "celeba"),
            ("celeba-hq", "celeba-hq"),
            ("celeba-hq-lebm", "celeba-hq"),
            ("celeba-hq-vae", "celeba-hq"),
        ] {
            let (settings, image) = shipped(file);
            assert_eq!(settings.model.generator.to_string(), name, "{file}");
            let layers = settings
                .architecture(image.shape())
                .generator
                .layers()
                .unwrap();
            assert_eq!(layers.last().map(Layer::outputs), Some(3), "{file}");
        }
    }

    #[test]
    fn the_papers_numbers_of_tables_9_and_10_and_of_large_faces() {
        for (name, steps, rate) in [
            ("svhn", [20, 400], 4e-4),
            ("cifar10", [40, 800], 3.8e-4),
            ("celeba", [20, 400], 3e-4),
            ("celeba-hq", [60, 400], 3e-4),
            ("celeba-hq-lebm", [60, 400], 3e-4),
        ] {
            let (settings, _) = shipped(name);
            let learning = &settings.learning;
            let found = [learning.langevin.steps, settings.inference.steps as usize];
            assert_eq!(found, steps, "{name}");
            assert_eq!(learning.generator_learning_rate, rate, "{name}");
            assert_eq!(learning.batch_size, 100, "{name}");
            assert!(!learning.langevin.encoder, "{name}");
        }
        let (lebm, image) = shipped("celeba-hq-lebm");
        let prior = lebm.architecture(image.shape()).prior;
        assert!(matches!(prior, PriorSpec::Ebm { hidden: 1000, .. }));
        for (name, batch_size, sigma, iaf) in [
            ("svhn-vae", 100, 0.5, [20, 200]),
            ("cifar10-vae", 100, 0.25, [5, 256]),
            ("celeba-vae", 256, 0.25, [5, 200]),
        ] {
            let (settings, image) = shipped(name);
            let encoder = settings.encoder(image.shape());
            assert_eq!([encoder.iaf_steps, encoder.iaf_hidden], iaf, "{name}");
            assert_eq!(settings.learning.batch_size, batch_size, "{name}");
            assert_eq!(settings.model.sigma, sigma, "{name}");
        }
    }

    /// Layer by layer, with biases; docs/reproduction.md shows them.
    #[test]
    fn parameters_of_svhns_generator_and_encoder() {
        let (settings, image) = shipped("svhn-vae");
        let learner = Learner::new(
            &settings.architecture(image.shape()),
            &settings.inference(image.shape()),
            settings.learning(),
            0,
            Device::Cpu,
        );
        let parameters: BTreeMap<_, _> = learner.unwrap().parameters().collect();
        let transposed = |from: u64, to: u64| from * to * 16 + to;
        let generator = [(100, 512), (512, 256), (256, 128), (128, 3)];
        let generator: u64 = generator
            .map(|(from, to)| transposed(from, to))
            .iter()
            .sum();
        assert_eq!(parameters["generator"], generator);
        let convolutions = 3 * 10 * 9
            + 10
            + [10, 20, 40]
                .map(|n| 2 * n * n * 16 + 2 * n)
                .iter()
                .sum::<u64>();
        let head = (80 * 4 * 4 + 1) * (2 * 100 + 32);
        // Each of 20 steps reads z and the context.
        let step = 200 * (100 + 1) + 200 * 32 + 200 * (200 + 1) + 2 * 100 * (200 + 1);
        assert_eq!(parameters["encoder"], convolutions + head + 20 * step);
        assert_eq!(parameters["prior"], 121_120);
    }
}
