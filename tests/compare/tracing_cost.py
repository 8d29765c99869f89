#!/usr/bin/env python3
"""What tracing costs: CPU seconds of the canceler per 1,000 stops, with traces sent to Jaeger and with no spans at all.

    tests/compare/tracing_cost.py [ROUNDS=10] [TARGETS=1000] [FOLDER OF PROGRAMS=target/debug] [OTLP ENDPOINT=http://127.0.0.1:4317]

Wants the Temporal SDK for Python, and a Jaeger at the endpoint. Two cancelers of one mesh (`quell dev`) stop flat workloads in turns; which of
them begins changes from round to round. CPU seconds are those of the process, of the user and of the kernel, from before the call to
after the receipt.
"""

import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
import uuid
from pathlib import Path
from socket import socket

from temporalio.client import Client
from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes

ARGUMENTS = dict(enumerate(sys.argv))
ROUNDS, TARGETS = int(ARGUMENTS.get(1, 10)), int(ARGUMENTS.get(2, 1000))
PROGRAMS = Path(ARGUMENTS.get(3, "target/debug")).resolve()
OTLP = ARGUMENTS.get(4, "http://127.0.0.1:4317")
TICKS = os.sysconf("SC_CLK_TCK")
WORKLOAD = SearchAttributeKey.for_keyword("WorkloadId")


def free_port():
    with socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def cpu(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def canceler(mesh, name, telemetry):
    port = free_port()
    environment = os.environ | {
        "QUELL_PORT": str(port),
        "QUELL_METRICS_PORT": "0",
        "TEMPORAL_MAIN_ADDRESS": mesh["temporal"],
        "TEMPORAL_MAIN_NAMESPACE": "main",
        "TEMPORAL_CANCELER_NAMESPACE": "canceler",
        "TEMPORAL_CANCELER_TASK_QUEUE": f"cost-{name}",
        "QUELL_WORK_ADDRESS": mesh["work"],
        "QUELL_BATCH_ADDRESS": mesh["batch"],
        "QUELL_PAYLOAD_URL": mesh["payload_url"],
        **telemetry,
    }
    log = open(Path(mesh["logs"]) / f"cost-{name}.log", "w")
    process = subprocess.Popen([PROGRAMS / "quell-canceler"], env=environment, cwd=mesh["logs"], stderr=log)
    return process, f"http://127.0.0.1:{port}"


async def start(client, workload):
    tags = TypedSearchAttributes([SearchAttributePair(WORKLOAD, workload)])
    places = asyncio.Semaphore(16)

    async def one(n):
        async with places:
            await client.start_workflow(
                "Sleeper", id=f"{workload}-{n}", task_queue="nobody", search_attributes=tags
            )

    await asyncio.gather(*(one(n) for n in range(TARGETS)))
    while (await client.count_workflows(f"WorkloadId='{workload}'")).count < TARGETS:
        await asyncio.sleep(0.2)


def stop(address, pid, workload):
    before = cpu(pid)
    ran = subprocess.run(
        [PROGRAMS / "quell", "--json", "--canceler", address, "stop", "--workload-id", workload, "--reason", "cost"]
        + ["--max-affected", str(TARGETS), "--no-quiesce", "--yes"],
        capture_output=True,
        text=True,
        check=True,
    )
    # The last spans are sent within the second.
    time.sleep(1)
    stopped = json.loads(ran.stdout.splitlines()[-1])["stopped"]
    assert stopped == TARGETS, ran.stdout
    return (cpu(pid) - before) / stopped * 1000


async def main():
    running = []
    try:
        command = [PROGRAMS / "quell", "--json", "dev", "--free-ports", "--headless", "--no-jaeger"]
        quell = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        running.append(quell)
        mesh = json.loads(quell.stdout.readline())
        cancelers = {
            "on": canceler(mesh, "on", {"OTEL_EXPORTER_OTLP_ENDPOINT": OTLP}),
            "off": canceler(mesh, "off", {"OTEL_SDK_DISABLED": "true"}),
        }
        running += [process for process, _ in cancelers.values()]
        client = await Client.connect(mesh["temporal"].removeprefix("http://"), namespace="main")
        seconds = {"on": [], "off": []}
        for round_ in range(-1, ROUNDS):
            for mode in ("on", "off") if round_ % 2 else ("off", "on"):
                workload = f"cost-{uuid.uuid4().hex[:8]}"
                await start(client, workload)
                process, address = cancelers[mode]
                took = await asyncio.to_thread(stop, address, process.pid, workload)
                # The first round warms up.
                if round_ >= 0:
                    seconds[mode].append(took)
                    print(f"round {round_}: {mode:3} {took:.3f} CPU seconds per 1,000 stops", flush=True)
        on, off = (statistics.median(seconds[mode]) for mode in ("on", "off"))
        print(f"median of {ROUNDS}: on {on:.3f}, off {off:.3f}: {100 * (on / off - 1):+.1f} %")
    finally:
        for process in reversed(running):
            process.terminate()
        for process in running:
            process.wait(timeout=60)


if __name__ == "__main__":
    asyncio.run(main())
