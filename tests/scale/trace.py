#!/usr/bin/env python3
"""The trace of a large cancellation: is it whole, and small enough to be read?

    tests/scale/trace.py [TARGETS=20000] [ENGINE=sweep|both] [FOLDER OF PROGRAMS=target/debug]

Wants the Temporal SDK for Python, and a Jaeger that `quell dev` can have. Starts a mesh of its own with Jaeger, so many executions that nobody
works on, stops them with `quell stop`, and looks at the trace that the receipt names and at all that are linked with it: at most 300 spans
each, one root, no span whose parent is missing, the cancellation's own end among them, and each service that had a part in it. With the engine
`both` that includes the batch service, at 50 stops a second. Ends with what it started; the exit code is 0 when everything holds.

It is not part of the suite, which has the same checks on small cancellations (`tests/e2e/trace.rs`, `killed.rs`): starting 20,000 executions
takes a minute or two.
"""

import asyncio
import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from temporalio.client import Client
from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes

ARGUMENTS = dict(enumerate(sys.argv))
TARGETS, ENGINE = int(ARGUMENTS.get(1, 20_000)), ARGUMENTS.get(2, "sweep")
PROGRAMS = Path(ARGUMENTS.get(3, "target/debug")).resolve()
WORKLOAD = SearchAttributeKey.for_keyword("WorkloadId")
MAX_SPANS = 300
# The last spans are sent within the second, and Jaeger needs a moment.
PATIENCE = 60


async def start(client, workload):
    tags = TypedSearchAttributes([SearchAttributePair(WORKLOAD, workload)])
    places = asyncio.Semaphore(64)

    async def one(n):
        async with places:
            await client.start_workflow("Sleeper", id=f"{workload}-{n}", task_queue="nobody", search_attributes=tags)

    await asyncio.gather(*(one(n) for n in range(TARGETS)))
    while (await client.count_workflows(f"WorkloadId='{workload}'")).count < TARGETS:
        await asyncio.sleep(0.5)


def stop(mesh, workload):
    services = [flag for name in ("work", "canceler", "batch") for flag in (f"--{name}", mesh[name])]
    ran = subprocess.run(
        [PROGRAMS / "quell", "--json", *services, "stop", "--workload-id", workload, "--reason", "scale"]
        + ["--max-affected", str(TARGETS), "--engine", ENGINE, "--yes"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(ran.stdout.splitlines()[-1])


def fetch(jaeger, trace_id):
    try:
        with urllib.request.urlopen(f"{jaeger}/api/traces/{trace_id}", timeout=30) as answer:
            return json.load(answer)["data"][0]
    except urllib.error.HTTPError:
        return None


def problems(trace):
    """What is wrong with one trace, and the traces that it is linked with."""
    spans, found, linked, roots = trace["spans"], [], set(), []
    ids = {span["spanID"] for span in spans}
    for span in spans:
        own = [r for r in span["references"] if r["refType"] == "CHILD_OF" and r["traceID"] == trace["traceID"]]
        linked |= {r["traceID"] for r in span["references"]} - {trace["traceID"]}
        if not own:
            roots.append(span["operationName"])
        found += [f"{span['operationName']} has lost its parent" for r in own if r["spanID"] not in ids]
    if len(roots) != 1:
        found.append(f"{len(roots)} roots: {roots}")
    if len(spans) > MAX_SPANS:
        found.append(f"{len(spans)} spans, more than {MAX_SPANS}")
    return found, linked


def look(jaeger, first):
    """All traces of a cancellation, by id; and what is wrong with them."""
    traces, found, waiting = {}, [], {first}
    while waiting:
        trace_id = waiting.pop()
        trace = fetch(jaeger, trace_id)
        if trace is None:
            found.append(f"Jaeger has no trace {trace_id}")
            continue
        traces[trace_id] = trace
        wrong, linked = problems(trace)
        found += [f"{trace_id}: {problem}" for problem in wrong]
        waiting |= linked - traces.keys()
    names = {span["operationName"] for trace in traces.values() for span in trace["spans"]}
    services = {process["serviceName"] for trace in traces.values() for process in trace["processes"].values()}
    wanted = {"quell-canceler", "quell-work"} | ({"quell-batch"} if ENGINE == "both" else set())
    if missing := wanted - services:
        found.append(f"services without a span: {sorted(missing)}")
    if "CompleteWorkflow:BulkCancelWorkflow" not in names:
        found.append("the end of the cancellation is not there")
    return traces, found


async def main():
    command = [PROGRAMS / "quell", "--json", "dev", "--free-ports", "--headless"]
    quell = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        mesh = json.loads(quell.stdout.readline())
        if not mesh["jaeger"]:
            sys.exit("quell dev has no Jaeger: see its own words above")
        client = await Client.connect(mesh["temporal"].removeprefix("http://"), namespace=mesh["main_namespace"])
        began = time.monotonic()
        await start(client, "scale")
        print(f"{TARGETS} started in {time.monotonic() - began:.0f} s", flush=True)
        ended = await asyncio.to_thread(stop, mesh, "scale")
        print(f"{ended['verdict']}: {ended['stopped']} stopped in {ended['seconds']:.0f} s", flush=True)
        until = time.monotonic() + PATIENCE
        while True:
            traces, found = look(mesh["jaeger"], ended["receipt"]["trace_id"])
            if not found or time.monotonic() > until:
                break
            await asyncio.sleep(1)
        if ended["verdict"] != "CLEAN":
            found.append(f"the cancellation ended {ended['verdict']}")
        for trace_id, trace in traces.items():
            print(f"trace {trace_id}: {len(trace['spans'])} spans")
    finally:
        quell.terminate()
        quell.wait(timeout=60)
    for problem in found:
        print(problem, file=sys.stderr)
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    asyncio.run(main())
