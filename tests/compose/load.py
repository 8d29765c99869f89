#!/usr/bin/env python3
"""Calls a mesh at a steady rate until it is told to stop (SIGTERM), and says what became of the calls.

    load.py CALLS_A_SECOND CANCELLATION_ID JOB_ID [HOST]

An eighth of the calls asks for a cancellation, an eighth for a batch operation, as a dashboard would; a quarter checks a snowball's
request; the rest asks for health. There are eight connections a service; each attempt has the deadline that the services give a
caller without one, 30 s; a call is tried again, up to 20 times, where its status says that it may be. The last line is JSON: calls,
attempts by status, and `failed`, the calls that ended with a status that may not be tried again or ran out of attempts. Needs grpcio.
"""

import asyncio
import collections
import datetime
import itertools
import json
import random
import signal
import sys

import grpc

RATE, CANCELLATION, JOB = float(sys.argv[1]), sys.argv[2], sys.argv[3]
HOST = sys.argv[4] if len(sys.argv) > 4 else "127.0.0.1"
CONNECTIONS = 8
# docs/errors: these say «not now», and come before anything was done.
RETRIABLE = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED}


def text(number, value):
    """A string field of a message on the wire."""
    data = value.encode()
    return bytes([number << 3 | 2, len(data)]) + data


WORK, CANCELER, BATCH = 50051, 50052, 50053
HEALTH = "/grpc.health.v1.Health/Check"
CALLS = [
    (CANCELER, "/quell.canceler.v1.CancellationService/GetCancellation", text(1, CANCELLATION)),
    (BATCH, "/quell.batch.v1.BatchOperationService/GetBatchOperation", text(1, JOB)),
    # validate_only
    (WORK, "/quell.work.v1.SnowballService/StartSnowball", b"\x18\x01"),
    (WORK, "/quell.work.v1.SnowballService/StartSnowball", b"\x18\x01"),
    (WORK, HEALTH, b""),
    (CANCELER, HEALTH, b""),
    (BATCH, HEALTH, b""),
    (CANCELER, HEALTH, b""),
]


class Load:
    def __init__(self):
        self.calls, self.failed, self.statuses = 0, [], collections.Counter()
        self.stop, self.channels = asyncio.Event(), {}

    async def call(self, port, method, request):
        for attempt in range(20):
            try:
                await next(self.channels[port]).unary_unary(method)(request, timeout=30)
                self.statuses["OK"] += 1
                return
            except grpc.aio.AioRpcError as error:
                self.statuses[error.code().name] += 1
                last = f"{datetime.datetime.now():%T} {method}: {error.code().name}: {error.details()}"
                if error.code() not in RETRIABLE:
                    break
                await asyncio.sleep(min(2.0, 0.1 * 2**attempt) * random.uniform(0.5, 1.5))
        self.failed.append(last)

    def connect(self):
        options = [("grpc.use_local_subchannel_pool", 1)]  # or all channels share one connection
        for port in (WORK, CANCELER, BATCH):
            channels = [grpc.aio.insecure_channel(f"{HOST}:{port}", options) for _ in range(CONNECTIONS)]
            self.channels[port] = itertools.cycle(channels)

    async def run(self):
        self.connect()
        for which in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(which, self.stop.set)
        clock = asyncio.get_running_loop().time
        begin, running = clock(), set()
        for call in itertools.cycle(CALLS):
            if self.stop.is_set():
                break
            due = begin + self.calls / RATE
            if due > clock():
                await asyncio.sleep(due - clock())
            self.calls += 1
            task = asyncio.create_task(self.call(*call))
            running.add(task)
            task.add_done_callback(running.discard)
        seconds = clock() - begin
        await asyncio.gather(*running)
        print(json.dumps({
            "calls": self.calls,
            "calls_a_second": round(self.calls / seconds, 1),
            "attempts": self.statuses,
            "failed": len(self.failed),
            "failures": self.failed[:1000],
        }))
        return bool(self.failed)


sys.exit(asyncio.run(Load().run()))
