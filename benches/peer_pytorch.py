#!/usr/bin/env python3
"""What one would write in PyTorch instead of running the server: images per second of short-run
Langevin inference on a model of the same shape as in benches/score.rs. Needs torch.

    benches/peer_pytorch.py mlp --batch 64
    cargo bench --bench score -- mlp/f32       # in turns with it
    benches/peer_pytorch.py mlp --batch 64 --bfloat16
    cargo bench --bench score -- mlp/bf16
"""
import argparse
import statistics
import time

import torch
from torch import nn

PIXELS, LATENT, WIDTH, STEPS, HIDDEN = 784, 16, 16, 5, 64
SIGMA, STEP_SIZE = 0.3, 0.1


def make_generator(name):
    slope = 0.2
    if name == "mlp":
        sizes = [LATENT, 256, 512, PIXELS]
        layers = [nn.Linear(a, b) for a, b in zip(sizes, sizes[1:])]
        head = []
    else:
        n = WIDTH
        shapes = [(LATENT, 8 * n, 7, 1, 0), (8 * n, 4 * n, 4, 2, 1), (4 * n, 2 * n, 4, 2, 1),
                  (2 * n, 1, 3, 1, 1)]
        layers = [nn.ConvTranspose2d(i, o, k, s, p) for i, o, k, s, p in shapes]
        head = [nn.Unflatten(1, (LATENT, 1, 1))]
    body = [part for layer in layers[:-1] for part in (layer, nn.LeakyReLU(slope))]
    return nn.Sequential(*head, *body, layers[-1], nn.Tanh(), nn.Flatten())


class Flow(nn.Module):
    """Glow steps on vectors: actnorm, a linear map, an affine coupling."""

    def __init__(self):
        super().__init__()
        half = LATENT // 2
        self.shift = nn.Parameter(torch.zeros(STEPS, LATENT))
        self.log_scale = nn.Parameter(torch.zeros(STEPS, LATENT))
        self.rotation = nn.Parameter(
            torch.stack([torch.linalg.qr(torch.randn(LATENT, LATENT)).Q for _ in range(STEPS)]))
        self.coupling = nn.ModuleList(
            nn.Sequential(nn.Linear(half, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(),
                          nn.Linear(HIDDEN, LATENT)) for _ in range(STEPS))

    def forward(self, z):
        log_det = self.log_scale.sum()
        for step, network in enumerate(self.coupling):
            z = (z + self.shift[step]) * self.log_scale[step].exp() @ self.rotation[step]
            fixed, moved = z.chunk(2, 1)
            shift, log_scale = network(fixed).chunk(2, 1)
            log_scale = log_scale.tanh()
            z = torch.cat([fixed, (moved + shift) * log_scale.exp()], 1)
            log_det = log_det + log_scale.sum(1)
        return -0.5 * z.square().sum(1) + log_det


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("generator", choices=["mlp", "mnist"])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--bfloat16", action="store_true",
                        help="the generator's products in bfloat16")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    generator, flow = make_generator(args.generator), Flow()
    for parameter in [*generator.parameters(), *flow.parameters()]:
        parameter.requires_grad_(False)
    x = torch.rand(args.batch, PIXELS) * 2 - 1

    def generate(z):
        with torch.autocast("cpu", torch.bfloat16, enabled=args.bfloat16):
            return generator(z)

    def log_joint(z):
        return flow(z) - (x - generate(z)).square().sum(1) / (2 * SIGMA**2)

    def infer(log_joint):
        z = torch.randn(args.batch, LATENT)
        for _ in range(args.steps):
            z = z.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(log_joint(z).sum(), z)
            z = z + STEP_SIZE**2 / 2 * gradient + STEP_SIZE * torch.randn_like(z)
        return log_joint(z.detach())

    for name, function in (("eager", log_joint), ("torch.compile", torch.compile(log_joint))):
        infer(function)
        infer(function)
        times = []
        for _ in range(15):
            started = time.perf_counter()
            infer(function)
            times.append(time.perf_counter() - started)
        seconds = statistics.median(times)
        print(f"{name}: {args.batch / seconds:.0f} images/s, "
              f"{seconds / args.steps * 1e3:.2f} ms a step")


main()
