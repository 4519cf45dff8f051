#!/usr/bin/env python3
"""What the scheduler does under load: goodput and latency from half to three times the capacity.
Prints Markdown tables; takes minutes.

    make server
    scripts/bench-scheduling.py            # some ten minutes, on a machine with nothing else to do

Loads are open loops (Poisson arrivals, latency from the intended send time). A load is compared with
the capacity right before and after it, in several rounds, since speeds drift. "Work per CPU s" are
Langevin steps of chains per second of the server's CPU time, compared with a server that is
just full: what others do on the machine does not touch it, and what refusals cost lowers it.
"""
import argparse
import contextlib
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
BIN = ROOT / "target" / "release"


class Server:
    def __init__(self, process, lines):
        self.url = "http://" + lines["grpc"]
        self.metrics = f"http://{lines['http']}/metrics"
        self.stat = pathlib.Path(f"/proc/{process.pid}/stat")

    def work(self):
        """Steps of chains and seconds of CPU time since the start."""
        with urllib.request.urlopen(self.metrics) as reply:
            lines = reply.read().decode().splitlines()
        steps = sum(float(line.split()[-1]) for line in lines
                    if line.startswith("lfbm_chain_steps_total"))
        user, system = self.stat.read_text().rsplit(")", 1)[1].split()[11:13]
        return steps, (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def per_cpu_s(befores, afters):
    """Work per second of CPU time, over several stretches of time."""
    steps, seconds = (sum(after[i] - before[i] for before, after in zip(befores, afters))
                      for i in (0, 1))
    return steps / seconds


@contextlib.contextmanager
def server(bundle, flags):
    with tempfile.TemporaryDirectory() as scratch:
        ready = pathlib.Path(scratch) / "ready"
        free = "127.0.0.1:0"
        command = [BIN / "lfbm-server", "--bundle", bundle, "--grpc-address", free,
                   "--http-address", free, "--ready-file", ready, "--log", "warn", *flags]
        process = subprocess.Popen(command)
        try:
            while not ready.exists():
                if process.poll() is not None:
                    raise SystemExit("the server did not start")
                time.sleep(0.05)
            lines = dict(line.split("=") for line in ready.read_text().split())
            yield Server(process, lines)
        finally:
            process.terminate()
            process.wait()


def bench(server, *flags):
    command = [BIN / "lfbm", "--server", server.url, "bench", "--json", *map(str, flags)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def sizes(args):
    return [f"--max-batch-chains={args.batch}", f"--threads={args.threads}"]


def capacity(server, args):
    """Of a server that refuses nothing; as many requests wait as run, so that no row is idle."""
    flags = ["--concurrency", 2 * args.batch, "--warmup-s", 1, "--duration-s", args.capacity_s]
    return bench(server, *flags)["goodput_per_s"]


def load(server, rate, args, *flags):
    return bench(server, "--rate", f"{rate:.3f}", "--warmup-s", args.warmup_s,
                 "--duration-s", args.duration_s, *flags)


def ms(answers, quantile):
    """The median over rounds of a quantile within a round."""
    seconds = [a["latency_s"][quantile] for a in answers if a is not None]
    return f"{1e3 * statistics.median(seconds):.0f}" if seconds else "-"


def answered(results, code, priority="interactive"):
    """What got that code, round by round."""
    return [next((a for a in result["answers"] if (a["priority"], a["code"]) == (priority, code)),
                 None) for result in results]


def per_s(answers):
    return statistics.mean(0.0 if a is None else a["per_s"] for a in answers)


def print_row(*cells):
    print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)


def overload(bundle, args, title, server_flags, load_flags):
    print(f"\n{title}\n")
    print_row("load", "capacity/s", "goodput/s", "of capacity", "work per CPU s", "refused/s",
              "late/s", "p50 ms", "p99 ms", "refusal p99 ms")
    print_row(*["---"] * 10)
    step = sizes(args)
    with server(bundle, [*step, "--max-queue-ms=600000"]) as patient, \
            server(bundle, [*step, *server_flags]) as tested:
        for share in (0.5, 0.9, 1.5, 3.0):
            works = [[], [], [], []]
            capacities, results = [capacity(patient, args)], []
            for _ in range(args.rounds):
                works[0].append(tested.work())
                results.append(load(tested, share * capacities[-1], args, *load_flags))
                works[1].append(tested.work())
                works[2].append(patient.work())
                capacities.append(capacity(patient, args))
                works[3].append(patient.work())
            efficiency = per_cpu_s(*works[:2]) / per_cpu_s(*works[2:])
            most = statistics.mean(capacities)
            goodput = statistics.mean(result["goodput_per_s"] for result in results)
            ok, refused = answered(results, "OK"), answered(results, "RESOURCE_EXHAUSTED")
            print_row(share, f"{most:.0f}", f"{goodput:.0f}", f"{100 * goodput / most:.0f} %",
                      f"{100 * efficiency:.0f} %", f"{per_s(refused):.0f}",
                      f"{per_s(answered(results, 'DEADLINE_EXCEEDED')):.1f}",
                      ms(ok, "p50"), ms(ok, "p99"), ms(refused, "p99"))


def classes(bundle, args):
    print("\nInteractive requests at 0.3 of the capacity, bulk beside them at 2 times:\n")
    print_row("bulk", "interactive/s", "p50 ms", "p99 ms", "bulk/s")
    print_row(*["---"] * 5)
    with server(bundle, sizes(args)) as tested:
        most = capacity(tested, args)
        for bulk in (0.0, 2.0):
            share = bulk / (bulk + 0.3)
            results = [load(tested, (bulk + 0.3) * most, args, "--bulk-share", share)]
            ok = answered(results, "OK")
            print_row(bulk, f"{per_s(ok):.0f}", ms(ok, "p50"), ms(ok, "p99"),
                      f"{per_s(answered(results, 'OK', 'bulk')):.0f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--bundle", type=pathlib.Path, default=ROOT / "models" / "mnist-not4")
    parser.add_argument("--steps", type=int, default=400,
                        help="the model's default K, so that requests weigh more than transport")
    parser.add_argument("--batch", type=int, default=64, help="--max-batch-chains of the server")
    parser.add_argument("--threads", type=int, default=1,
                        help="--threads of the server; the load needs a core as well")
    parser.add_argument("--duration-s", type=float, default=10.0)
    parser.add_argument("--warmup-s", type=float, default=5.0)
    parser.add_argument("--capacity-s", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        bundle = pathlib.Path(scratch) / "bundle"
        shutil.copytree(args.bundle, bundle)
        manifest = json.loads((bundle / "manifest.json").read_text())
        manifest["langevin"]["steps"] = args.steps
        (bundle / "manifest.json").write_text(json.dumps(manifest))
        overload(bundle, args, "Interactive requests that may wait for a second:",
                 ["--max-queue-ms=1000"], ["--timeout-s", 30])
        classes(bundle, args)
        overload(bundle, args, "Interactive requests with a deadline of two seconds:",
                 [], ["--timeout-s", 2])


main()
