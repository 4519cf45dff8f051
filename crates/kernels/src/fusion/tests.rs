use lfbm_onnx::encode;
use lfbm_testkit::{WIDTH, every_operation, noise};

use super::run::{Frame, run_with};
use super::{Constant, Program};
use crate::program::Layout;
use crate::rewrite::Rewriter;
use crate::vector::Vector;

/// What the program puts out, for noise.
fn run(program: &Program, run: impl Fn(&mut Frame<'_>, &mut [&mut [f32]])) -> Vec<Vec<f32>> {
    let rows = 23;
    let noise_of = |widths: &[usize]| -> Vec<Vec<f32>> {
        let widths = widths.iter().zip(0..);
        widths
            .map(|(width, seed)| noise(rows * width, seed))
            .collect()
    };
    let constants: Vec<Constant> = program
        .constants
        .iter()
        .zip(0..)
        .map(|(layout, seed)| {
            let values = match layout {
                Layout::Row => WIDTH,
                Layout::Matrix {
                    summands, results, ..
                } => summands * results,
            };
            Constant::new(&noise(values, seed), layout)
        })
        .collect();
    let inputs = noise_of(&program.inputs);
    let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
    let widths: Vec<usize> = program.outputs.iter().map(|o| o.width).collect();
    let mut outputs = noise_of(&widths);
    let mut frame = Frame {
        program,
        constants: &constants,
        inputs: &inputs,
        slots: &mut noise_of(&program.slots),
        rows: 0..rows,
    };
    let mut slices: Vec<&mut [f32]> = outputs.iter_mut().map(Vec::as_mut_slice).collect();
    run(&mut frame, &mut slices);
    outputs
}

#[test]
fn every_processor_gives_the_same() {
    let bytes = encode(&every_operation().unwrap(), None).unwrap();
    let programs = Rewriter::read(&bytes, "other").unwrap().fuse();
    assert_eq!(programs.len(), 1);
    // SAFETY: every CPU has what a vector needs.
    let portable = run(&programs[0], |frame, outputs| unsafe {
        run_with::<Vector>(frame, outputs)
    });
    let here = run(&programs[0], super::run::run);
    for (portable, here) in portable.iter().flatten().zip(here.iter().flatten()) {
        assert!((portable - here).abs() < 1e-5, "{portable}, {here}");
    }
    #[cfg(target_arch = "x86_64")]
    if crate::vector::Instructions::Avx2.available() {
        // SAFETY: the CPU has the instructions.
        let avx2 = run(&programs[0], |frame, outputs| unsafe {
            super::run::run_avx2(frame, outputs)
        });
        assert_eq!(avx2, here);
    }
}
