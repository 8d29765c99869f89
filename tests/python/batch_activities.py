"""Calls Quell's batch activities from a workflow in Python, with the official SDK and nothing of Quell's: the names and the JSON of
docs/batch.md are all it knows.

Usage: batch_activities.py HOST:PORT NAMESPACE QUERY JOB_ID

Prints one JSON object: {"started": ..., "tracked": ...}.
"""

import asyncio
import json
import sys
from datetime import timedelta

from temporalio import workflow
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

BATCH_QUEUE = "batch-queue"


@workflow.defn
class StopByBatch:
    @workflow.run
    async def run(self, query: str, job_id: str) -> dict:
        # No attempts are counted and no time is limited: the slot is waited for as long as it takes. A batch service that is gone is
        # noticed by its missing heartbeats.
        patient = {
            "task_queue": BATCH_QUEUE,
            "start_to_close_timeout": timedelta(days=30),
            "heartbeat_timeout": timedelta(seconds=10),
        }
        started = await workflow.execute_activity(
            "batch_cancel_workflows",
            {"query": query, "reason": "asked for by a Python workflow", "job_id": job_id},
            **patient,
        )
        tracked = await workflow.execute_activity("track_batch", {"job_id": started["job_id"]}, **patient)
        return {"started": started, "tracked": tracked}


async def main() -> None:
    address, namespace, query, job_id = sys.argv[1:]
    client = await Client.connect(address, namespace=namespace)
    queue = f"python-{job_id}"
    async with Worker(
        client, task_queue=queue, workflows=[StopByBatch], workflow_runner=UnsandboxedWorkflowRunner()
    ):
        result = await client.execute_workflow(
            StopByBatch.run, args=[query, job_id], id=f"python-{job_id}", task_queue=queue
        )
    print(json.dumps(result))


asyncio.run(main())
