//! What a bundle computes of a prior is what libtorch computes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use lfbm_bundle::manifest::{
    Aggregation, Classes, Contrast, ImageSpec, Intake, Langevin, PriorKind, PriorSampling,
};
use lfbm_bundle::{BundleSpec, StagedBundle};
use lfbm_model::{
    GeneratorName, GeneratorSpec, RepresentationSpec, forward_graphs, preprocess_graph,
};
use lfbm_onnx::Tensor as HostTensor;
use lfbm_runtime::{ChainNoise, Inference, Runtime, SessionOptions, evaluate};
use lfbm_trainer::model::host::{to_device, to_host, values};
use lfbm_trainer::model::{Architecture, Model, Prior, PriorSpec};
use tch::{Device, Kind, Tensor};

const LATENT: usize = 6;
const IMAGE: ImageSpec = ImageSpec {
    channels: 1,
    height: 28,
    width: 28,
    value_range: [-1.0, 1.0],
    contrast: Contrast::None,
    intake: Intake::STRETCH,
};
const SAMPLING: PriorSampling = PriorSampling {
    steps: 60,
    step_size: 0.4,
};
const PRIORS: [PriorSpec; 3] = [
    PriorSpec::Flow {
        steps: 3,
        hidden: 16,
    },
    PriorSpec::Ebm {
        hidden: 32,
        sampling: SAMPLING,
    },
    PriorSpec::Gaussian,
];

fn architecture(prior: PriorSpec) -> Architecture {
    Architecture {
        generator: GeneratorSpec {
            name: GeneratorName::Mlp,
            latent_dim: LATENT,
            width: 4,
            channels: 1,
            height: 28,
            width_px: 28,
        },
        prior,
        sigma: 0.3,
    }
}

fn close(what: &str, got: &[f32], expected: &Tensor) {
    let expected = values(expected);
    assert_eq!(got.len(), expected.len(), "{what}");
    for (index, (got, expected)) in got.iter().zip(&expected).enumerate() {
        let error = (got - expected).abs() / expected.abs().max(1.0);
        assert!(error < 1e-4, "{what}: {got} for {expected} at {index}");
    }
}

#[test]
fn densities_and_their_slopes_are_those_of_libtorch() {
    let _guard = common::seeded(1);
    let runtime = Runtime::load(None).unwrap();
    for spec in PRIORS {
        let architecture = architecture(spec);
        let model = Model::new(&architecture, Device::Cpu).unwrap();
        let graphs = forward_graphs(
            preprocess_graph(&IMAGE).unwrap(),
            &architecture.generator,
            &model.generator.weights(),
            &model.prior.weights(),
        )
        .unwrap();
        let z = Tensor::randn([5, LATENT as i64], (Kind::Float, Device::Cpu));
        let outputs = evaluate(&runtime, &graphs.flow, &[to_host(&z)]).unwrap();
        close("log p(z)", &outputs[1].data, &model.prior.log_density(&z));

        if model.prior.weights().kind() == PriorKind::Ebm {
            close("z0", &outputs[0].data, &z);
            // With s = sqrt(2) and no noise, a step is the slope.
            let noise = HostTensor::new([5, LATENT], vec![0.0; 5 * LATENT]);
            let step_size = HostTensor::new([5], vec![2.0_f32.sqrt(); 5]);
            let inputs = [to_host(&z), noise, step_size];
            let moved = evaluate(&runtime, graphs.prior.as_ref().unwrap(), &inputs).unwrap();
            let shape = [5, LATENT as i64];
            let slope = to_device(&moved[0].data, &shape, Device::Cpu) - &z;
            let z = z.set_requires_grad(true);
            let density = model.prior.log_density(&z).sum(None);
            let autograd = Tensor::run_backward(&[&density], &[&z], false, false);
            close("slope", &values(&slope), &autograd[0]);
        }
    }
}

/// The same noise, the same samples: exact ones of a flow, ends of chains of an energy.
#[test]
fn samples_are_those_of_libtorch() {
    let _guard = common::seeded(2);
    let runtime = Runtime::load(None).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (n, seed) = (7, 11);
    for spec in PRIORS {
        let architecture = architecture(spec);
        let model = Model::new(&architecture, Device::Cpu).unwrap();
        let prior = model.prior.weights();
        let graphs = forward_graphs(
            preprocess_graph(&IMAGE).unwrap(),
            &architecture.generator,
            &model.generator.weights(),
            &prior,
        )
        .unwrap();
        let bundle = BundleSpec {
            name: "priors".to_owned(),
            version: 1,
            image: IMAGE,
            representation: RepresentationSpec::whole_images(&IMAGE),
            latent_dim: LATENT,
            sigma: 0.3,
            prior: prior.kind(),
            prior_sampling: spec.sampling(),
            generator: "mlp".to_owned(),
            langevin: Langevin {
                steps: 5,
                step_size: 0.1,
                noise_free_steps: 0,
                chains: 1,
                aggregation: Aggregation::Mean,
            },
            classes: Classes::default(),
            training: serde_json::Value::Null,
        };
        let staged =
            StagedBundle::stage(&folder.path().join("bundle"), bundle, &graphs, false).unwrap();
        let options = SessionOptions::default();
        let mut inference =
            Inference::open(&runtime, staged.dir(), staged.manifest(), &options).unwrap();
        let samples = inference.sample_prior(n, seed).unwrap();

        let draws = ChainNoise::new(seed, 0);
        let mut noise = vec![0.0; n * LATENT];
        let mut draw = |fill: &dyn Fn(&mut [f32])| {
            fill(&mut noise);
            to_device(&noise, &[n as i64, LATENT as i64], Device::Cpu)
        };
        let z0 = draw(&|noise| draws.initial(noise));
        let z = match &model.prior {
            Prior::Flow(flow) => lfbm_trainer::model::Transform::inverse(flow, &z0).0,
            Prior::Ebm(energy) => {
                let steps = (0..SAMPLING.steps).map(|step| draw(&|noise| draws.step(step, noise)));
                let all: Vec<Tensor> = [z0].into_iter().chain(steps).collect();
                energy.sample(&Tensor::stack(&all, 0))
            }
            Prior::Gaussian => z0,
        };
        close("samples", &samples, &model.generator.forward(&z));
    }
}
