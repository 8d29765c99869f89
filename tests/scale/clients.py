#!/usr/bin/env python3
"""Clients that no source stops: is CLEAN ever said too early, and BLOCKED when it should be?

    tests/scale/clients.py [RUNS=20] [AT ONCE=2] [FOLDER OF PROGRAMS=target/debug]

Wants the Temporal SDK for Python. Starts a mesh of its own; then, so many runs of each, a client of Python's that starts 20 executions a
second whatever anyone does, and two seconds later `quell stop --deadline 30s`.

- One client ends after 20 s: the verdict must be CLEAN and not be there before its last start; nothing may be open then, nor in ten looks
  during the five seconds after. Printed: how long after the last start the last execution was closed, by the server's clock.
- The other goes on until the cancellation has ended: that must be BLOCKED, at the deadline, and name what came. Then it ends, and a
  second cancellation must be CLEAN.

Ends with what it started; the exit code is 0 when everything holds. Not part of the suite, which has each client once
(`tests/e2e/main_job.rs`, `guards.rs`): 40 runs take a quarter of an hour, two at once.
"""

import asyncio
import json
import statistics
import sys
import time
from pathlib import Path

from temporalio.client import Client
from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes

ARGUMENTS = dict(enumerate(sys.argv))
RUNS, AT_ONCE = int(ARGUMENTS.get(1, 20)), int(ARGUMENTS.get(2, 2))
PROGRAMS = Path(ARGUMENTS.get(3, "target/debug")).resolve()
WORKLOAD = SearchAttributeKey.for_keyword("WorkloadId")
KIND, A_SECOND, SECONDS, DEADLINE = "Sleeper", 20, 20, 30


class Start:
    """A client that starts executions at an even pace until it is told to end, or its time is over. What it has not started in time it leaves."""

    def __init__(self, client, workload, seconds):
        self.client, self.workload, self.seconds = client, workload, seconds
        self.started, self.longest_gap, self.over = 0, 0.0, asyncio.Event()

    async def run(self):
        tags = TypedSearchAttributes([SearchAttributePair(WORKLOAD, self.workload)])
        last = began = time.monotonic()
        while not self.over.is_set() and time.monotonic() < began + self.seconds:
            name = f"{self.workload}-{self.started}"
            await self.client.start_workflow(KIND, id=name, task_queue="nobody", search_attributes=tags)
            self.started += 1
            now = time.monotonic()
            self.longest_gap, last = max(self.longest_gap, now - last), now
            await asyncio.sleep(1 / A_SECOND)
        self.ended = time.time()


async def stop(mesh, workload, *more):
    services = [flag for name in ("work", "canceler", "batch") for flag in (f"--{name}", mesh[name])]
    command = ["--json", *services, "stop", "--workload-id", workload, "--reason", "clients", "--yes", *more]
    began = time.monotonic()
    ran = await asyncio.create_subprocess_exec(
        PROGRAMS / "quell", *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    out, _ = await ran.communicate()
    said = json.loads(out.splitlines()[-1])
    if "receipt" not in said:
        raise RuntimeError(f"quell stop: {said}")
    return said["receipt"], time.monotonic() - began, time.time()


async def running(client, workload):
    return (await client.count_workflows(f"WorkloadId='{workload}' AND ExecutionStatus='Running'")).count


async def finite(client, mesh, n):
    workload = f"finite-{n}"
    source = Start(client, workload, SECONDS)
    starting = asyncio.create_task(source.run())
    await asyncio.sleep(2)
    receipt, took, at = await stop(mesh, workload, "--deadline", f"{DEADLINE}s")
    early = not starting.done() or at < source.ended
    await starting
    open_after = 0
    for _ in range(10):
        open_after = max(open_after, await running(client, workload))
        await asyncio.sleep(0.5)
    seen = [one async for one in client.list_workflows(f"WorkloadId='{workload}'")]
    last = max(one.start_time for one in seen)
    closed = [one.close_time for one in seen if one.close_time]
    wrong = []
    if receipt["verdict"] != "CLEAN":
        wrong.append(f"verdict {receipt['verdict']}: {receipt['explanation']}")
    elif early or open_after:
        wrong.append(f"FALSE CLEAN: early {early}, open afterwards {open_after}")
    if len(seen) != source.started:
        wrong.append(f"{source.started} started, {len(seen)} in the index")
    return {"client": "finite", "longest_gap": source.longest_gap, "zero_after_last_start": (max(closed) - last).total_seconds(), "seconds": took, "wrong": wrong}


async def endless(client, mesh, n):
    workload = f"endless-{n}"
    source = Start(client, workload, 3600)
    starting = asyncio.create_task(source.run())
    await asyncio.sleep(2)
    receipt, took, _ = await stop(mesh, workload, "--deadline", f"{DEADLINE}s")
    source.over.set()
    await starting
    wrong = []
    if receipt["verdict"] == "CLEAN":
        wrong.append("FALSE CLEAN")
    elif receipt["verdict"] != "BLOCKED":
        wrong.append(f"verdict {receipt['verdict']}: {receipt['explanation']}")
    if not any(KIND in blocker for blocker in receipt["blockers"]):
        wrong.append(f"not named: {receipt['blockers']}")
    if took < DEADLINE:
        wrong.append(f"it ended after {took:.1f} s")
    again, _, _ = await stop(mesh, workload)
    if again["verdict"] != "CLEAN" or await running(client, workload):
        wrong.append(f"then: {again['verdict']}")
    return {"client": "endless", "seconds": took, "wrong": wrong}


async def main():
    command = [PROGRAMS / "quell", "--json", "dev", "--free-ports", "--headless", "--no-jaeger"]
    quell = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        mesh = json.loads(await quell.stdout.readline())
        client = await Client.connect(mesh["temporal"].removeprefix("http://"), namespace=mesh["main_namespace"])
        places = asyncio.Semaphore(AT_ONCE)

        async def one(run, n):
            async with places:
                try:
                    result = await run(client, mesh, n)
                except RuntimeError as error:
                    result = {"client": run.__name__, "wrong": [str(error)]}
                print(json.dumps({"n": n, **result}), flush=True)
                return result

        results = await asyncio.gather(*(one(run, n) for n in range(RUNS) for run in (finite, endless)))
    finally:
        if quell.returncode is None:
            quell.terminate()
        await quell.wait()
    after = sorted(one["zero_after_last_start"] for one in results if "zero_after_last_start" in one)
    wrong = [problem for one in results for problem in one["wrong"]]
    print(f"{RUNS} runs of each, {AT_ONCE} at once: {sum('FALSE' in problem for problem in wrong)} false CLEAN, {len(wrong)} problems")
    print(f"longest pause of a client: {max(one.get('longest_gap', 0) for one in results):.2f} s")
    print(f"last closed after the last start: median {statistics.median(after):.2f} s, at most {after[-1]:.2f} s")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    asyncio.run(main())
