#!/usr/bin/env python3
"""What one would write in PyTorch, eager, instead of `trainer fit`: images per second of learning by short-run Langevin
inference, with an encoder beside it, of a model of the same shape. Needs torch.

    benches/peer_pytorch_fit.py mlp
    trainer fit --dataset mnist --holdout 4 --set model.latent_dim=16 --out runs/fit    # in turns with it
    benches/peer_pytorch_fit.py mnist --bfloat16    # learning.langevin.precision=bf16
    trainer fit --dataset mnist --holdout 4 --set model.latent_dim=16 --set model.generator=mnist --out runs/fit
"""

import argparse
import time

import torch
from torch import nn

from peer_pytorch import LATENT, PIXELS, SIGMA, STEP_SIZE, Flow, make_generator

BATCH_SIZE, STEPS = 128, 20
RATE, FLOW_RATE, AVERAGE_DECAY = 1e-3, 4e-4, 0.999
MAX_GRADIENT_NORM = 100.0
WARM_UP_ITERATIONS = 5


def make_encoder(name):
    """From an image to mean and log-deviation of its latent; the generator's mirror."""
    slope = 0.2
    if name == "mlp":
        sizes = [PIXELS, 512, 256]
        body = [part for a, b in zip(sizes, sizes[1:]) for part in (nn.Linear(a, b), nn.LeakyReLU(slope))]
        return nn.Sequential(*body, nn.Linear(256, 2 * LATENT))
    shapes = [(1, 16, 3, 1, 1), (16, 32, 4, 2, 1), (32, 64, 4, 2, 1), (64, 128, 7, 1, 0)]
    body = [part for i, o, k, s, p in shapes for part in (nn.Conv2d(i, o, k, s, p), nn.LeakyReLU(slope))]
    return nn.Sequential(nn.Unflatten(1, (1, 28, 28)), *body, nn.Flatten(), nn.Linear(128, 2 * LATENT))


def log_prior(flow, z):
    """The frozen flow of peer_pytorch.py leaves out the determinants of its rotations, which learning needs."""
    return flow(z) + torch.linalg.slogdet(flow.rotation)[1].sum()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("generator", choices=["mlp", "mnist"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--iterations", type=int, default=100)
    parser.add_argument("--bfloat16", action="store_true", help="the generator's products in bfloat16, in chains")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    generator, flow, encoder = make_generator(args.generator), Flow(), make_encoder(args.generator)
    networks = [(generator, RATE), (flow, FLOW_RATE), (encoder, RATE)]
    optimisers = [torch.optim.Adam(network.parameters(), lr=rate) for network, rate in networks]
    average = torch.optim.swa_utils.get_ema_multi_avg_fn(AVERAGE_DECAY)
    averages = [torch.optim.swa_utils.AveragedModel(network, multi_avg_fn=average) for network, _ in networks]
    images = torch.rand(4096, PIXELS) * 2 - 1

    def infer(x):
        z = torch.randn(len(x), LATENT)
        for _ in range(STEPS):
            z.requires_grad_()
            with torch.autocast("cpu", torch.bfloat16, enabled=args.bfloat16):
                image = generator(z)
            log_joint = flow(z).sum() - (x - image).square().sum() / (2 * SIGMA**2)
            (gradient,) = torch.autograd.grad(log_joint, z)
            z = (z + STEP_SIZE**2 / 2 * gradient + STEP_SIZE * torch.randn_like(z)).detach()
        return z

    def iterate():
        x = images[torch.randint(len(images), (BATCH_SIZE,))]
        # Without gradients in weights, which the chains do not need.
        for network, _ in networks:
            network.requires_grad_(False)
        z = infer(x)
        for network, _ in networks:
            network.requires_grad_(True)
        mean, log_deviation = encoder(x).chunk(2, 1)
        log_q = -0.5 * ((z - mean) / log_deviation.exp()).square() - log_deviation
        error = (x - generator(z)).square().sum(1) / (2 * SIGMA**2)
        (error.mean() - log_prior(flow, z).mean() - log_q.sum(1).mean()).backward()
        for (network, _), optimiser, averaged in zip(networks, optimisers, averages):
            nn.utils.clip_grad_norm_(network.parameters(), MAX_GRADIENT_NORM)
            optimiser.step()
            optimiser.zero_grad()
            averaged.update_parameters(network)

    for _ in range(WARM_UP_ITERATIONS):
        iterate()
    started = time.perf_counter()
    for _ in range(args.iterations):
        iterate()
    seconds = time.perf_counter() - started
    print(f"{args.generator}: {args.iterations * BATCH_SIZE / seconds:.0f} images/s")


if __name__ == "__main__":
    main()
