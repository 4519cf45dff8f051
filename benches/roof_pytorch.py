#!/usr/bin/env python3
"""What a Langevin step could reach at most: PyTorch's time for the generator's products alone, forward and for
the gradient in z, of the models of benches/score.rs. Needs torch.

    benches/roof_pytorch.py mnist --rows 64,1024 --device cuda --variants eager,cuda-graph
"""

import torch
from torch.nn import functional

from pytorch_timing import arguments, captured, measure, prepare

LATENT, WIDTH = 16, 16
MLP = [LATENT, 256, 512, 784]
# Channels read and written, kernel, stride, padding, and the side of the input.
MNIST = [(8 * WIDTH, 4 * WIDTH, 4, 2, 1, 7), (4 * WIDTH, 2 * WIDTH, 4, 2, 1, 14), (2 * WIDTH, 1, 3, 1, 1, 28)]


def products(name: str, rows: int, device: torch.device):
    """What computes all products, and their multiplications and additions a row."""

    def draw(*shape):
        return torch.randn(*shape, device=device)

    runs, flop = [], 0

    def linear(inputs, outputs):
        nonlocal flop
        x, weight, slope = draw(rows, inputs), draw(inputs, outputs), draw(rows, outputs)
        runs.extend([lambda: x @ weight, lambda: slope @ weight.T])
        flop += 2 * 2 * inputs * outputs

    def transposed(inputs, outputs, kernel, stride, padding, side):
        nonlocal flop
        x, weight = draw(rows, inputs, side, side), draw(inputs, outputs, kernel, kernel)
        made = (side - 1) * stride + kernel - 2 * padding
        slope = draw(rows, outputs, made, made)
        runs.extend(
            [
                lambda: functional.conv_transpose2d(x, weight, stride=stride, padding=padding),
                lambda: functional.conv2d(slope, weight, stride=stride, padding=padding),
            ]
        )
        flop += 2 * 2 * weight.numel() * side * side

    if name == "mlp":
        for inputs, outputs in zip(MLP, MLP[1:]):
            linear(inputs, outputs)
    else:
        # On one position a transposed convolution is a product.
        linear(LATENT, 8 * WIDTH * 7 * 7)
        for layer in MNIST:
            transposed(*layer)
    return (lambda: [run() for run in runs]), flop


def main():
    args = arguments(__doc__, ["eager"]).parse_args()
    prepare(args)

    def of_variant(variant, rows):
        run, _ = products(args.generator, rows, args.device)
        return {"eager": lambda: run, "compile": lambda: torch.compile(run), "cuda-graph": lambda: captured(run)}[
            variant
        ]()

    def describe(rows, seconds):
        _, flop = products(args.generator, 1, args.device)
        return {"step_s": seconds, "flop_per_row": flop, "gflop_per_s": 1e-9 * flop * rows / seconds}

    with torch.no_grad():
        measure(args, of_variant, describe)


main()
