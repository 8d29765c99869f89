"""Runs `quell square` and batch_processing.py in turns against one Temporal server, and prints a table.

    python run.py --temporal PID --work PID --quell PATH --address HOST:PORT [--numbers 2000] [--rounds 3] [--skip-sandboxed]

Each run is timed from the start of the root to its result. The processor time of the server and of the worker is told as well: on a
machine that others use, it is the steadier figure. QUELL_WORK_ADDRESS names the work service, as for `quell`.
"""

import argparse
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys

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


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--temporal", type=int, required=True)
    parser.add_argument("--work", type=int, required=True)
    parser.add_argument("--quell", required=True)
    parser.add_argument("--address", required=True)
    parser.add_argument("--numbers", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--skip-sandboxed", action="store_true")
    args = parser.parse_args()
    script = str(pathlib.Path(__file__).with_name("batch_processing.py"))
    python = [sys.executable, script, args.address, "main", str(args.numbers)]
    contenders = {"quell": [args.quell, "square", str(args.numbers), "--json"]}
    contenders["python, unsandboxed"] = [*python, "--unsandboxed"]
    if not args.skip_sandboxed:
        contenders["python"] = python
    rows = {name: [] for name in contenders}
    for number in range(args.rounds):
        # Each comes first in its turn.
        names = list(contenders)
        names = names[number % len(names) :] + names[: number % len(names)]
        for name in names:
            server, work, others = cpu(args.temporal), cpu(args.work), children_cpu()
            result = run(contenders[name])
            if result["sum"] != EXPECTED.get(args.numbers, result["sum"]):
                sys.exit(f"{name}: wrong sum {result}")
            work = cpu(args.work) - work
            worker = work if name == "quell" else children_cpu() - others
            row = (result["seconds"], cpu(args.temporal) - server, worker)
            rows[name].append(row)
            load = os.getloadavg()[0]
            print(f"{name:20} {row[0]:7.2f} s, server {row[1]:6.2f} cpu s, worker {row[2]:6.2f} cpu s, load {load:.1f}", flush=True)
    print(f"\nn = {args.numbers}, median of {args.rounds} interleaved rounds")
    for name, runs in rows.items():
        wall, server, worker = (statistics.median(column) for column in zip(*runs))
        print(f"{name:20} {wall:7.2f} s, server {server:6.2f} cpu s, worker {worker:6.2f} cpu s")


if __name__ == "__main__":
    main()
