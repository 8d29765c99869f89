"""Runs Quell and plain Python in turns against one Temporal server, and prints a table.

    python run.py --temporal PID --work PID --quell PATH --address HOST:PORT [--rounds 3] [--skip-sandboxed]
                  [--what square [--numbers 2000]] [--what snowball [--width 30] [--depth 2]]

`square`: `quell square` and batch_processing.py, each timed from the start of the root to its result. `snowball`: `quell snowball start`,
the same by a client, snowball.py and bare StartWorkflow calls; the figure is workflows started a second. The processor time of the server and
of the worker is told as well: on a machine that others use, it is the steadier figure. QUELL_WORK_ADDRESS names the work service, as for
`quell`.
"""

import argparse
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import uuid

TICKS = os.sysconf("SC_CLK_TCK")
EXPECTED = {50: "42925", 2000: "2668667000", 10000: "333383335000", 100000: "333338333350000"}


def cpu(pid: int) -> float:
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run(command: list[str]) -> dict:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{command} failed: {done.stdout}{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def snowball(args: argparse.Namespace) -> dict:
    """Contenders: what each runs first, and what then tells its rate."""
    script = [sys.executable, str(pathlib.Path(__file__).with_name("snowball.py")), args.address, "main"]
    tree = sum(args.width**level for level in range(1, args.depth + 1))
    start = [args.quell, "snowball", "start", "--json", "--lifetime", "1h"]
    contenders = {
        "quell": (
            [*start, "--width", str(args.width), "--depth", str(args.depth)],
            lambda workload: [*script, "measure", workload, str(1 + tree)],
        ),
        "quell, as a client": (
            [*start, "--width", str(tree), "--depth", "1", "--producer", "client", "--concurrency", "64"],
            lambda workload: [*script, "measure", workload, str(tree)],
        ),
        "bare StartWorkflow": ([*script, "raw", str(tree)], None),
        "python, unsandboxed": ([*script, "python", str(args.width), str(args.depth), "--unsandboxed"], None),
    }
    if not args.skip_sandboxed:
        contenders["python"] = ([*script, "python", str(args.width), str(args.depth)], None)
    return contenders


def square(args: argparse.Namespace) -> dict:
    script = str(pathlib.Path(__file__).with_name("batch_processing.py"))
    python = [sys.executable, script, args.address, "main", str(args.numbers)]
    contenders = {"quell": ([args.quell, "square", str(args.numbers), "--json"], None)}
    contenders["python, unsandboxed"] = ([*python, "--unsandboxed"], None)
    if not args.skip_sandboxed:
        contenders["python"] = (python, None)
    return contenders


def turn(contender: tuple, expected: str | None) -> dict:
    first, then = contender
    if then is not None:
        workload = f"compare-{uuid.uuid4()}"
        run([*first, "--workload-id", workload])
        return run(then(workload))
    result = run(first)
    if expected is not None and result["sum"] != expected:
        sys.exit(f"{first}: wrong sum {result}")
    return result


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--temporal", type=int, required=True)
    parser.add_argument("--work", type=int, required=True)
    parser.add_argument("--quell", required=True)
    parser.add_argument("--address", required=True)
    parser.add_argument("--what", choices=["square", "snowball"], default="square")
    parser.add_argument("--numbers", type=int, default=2000)
    parser.add_argument("--width", type=int, default=30)
    parser.add_argument("--depth", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--skip-sandboxed", action="store_true")
    args = parser.parse_args()
    is_square = args.what == "square"
    contenders = square(args) if is_square else snowball(args)
    expected = EXPECTED.get(args.numbers) if is_square else None
    rows = {name: [] for name in contenders}

    def shown(name: str, figures: tuple) -> str:
        figure, server, worker = figures
        unit = "s" if is_square else "a second"
        return f"{name:20} {figure:7.2f} {unit}, server {server:6.2f} cpu s, worker {worker:6.2f} cpu s"

    for number in range(args.rounds):
        # Each comes first in its turn.
        names = list(contenders)
        names = names[number % len(names) :] + names[: number % len(names)]
        for name in names:
            server, work, others = cpu(args.temporal), cpu(args.work), children_cpu()
            result = turn(contenders[name], expected)
            work = cpu(args.work) - work
            worker = work if name.startswith("quell") else children_cpu() - others
            row = (result["seconds" if is_square else "per_second"], cpu(args.temporal) - server, worker)
            rows[name].append(row)
            print(f"{shown(name, row)}, load {os.getloadavg()[0]:.1f}", flush=True)
    what = f"n = {args.numbers}" if is_square else f"width {args.width}, depth {args.depth}"
    print(f"\n{what}, median of {args.rounds} interleaved rounds")
    for name, runs in rows.items():
        print(shown(name, tuple(statistics.median(column) for column in zip(*runs))))


if __name__ == "__main__":
    main()
