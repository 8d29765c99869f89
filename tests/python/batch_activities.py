"""Calls Quell's batch activities from a workflow in Python, with the official SDK and nothing of Quell's: the names and the JSON of
docs/batch.md are all it knows. Its trace, by the SDK's own interceptor, goes to the collector.

Usage: batch_activities.py HOST:PORT NAMESPACE QUERY JOB_ID OTLP_ENDPOINT

Prints one JSON object: {"started": ..., "tracked": ..., "trace_id": ...}.
"""

import asyncio
import json
import sys
from datetime import timedelta

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from temporalio import workflow
from temporalio.client import Client
from temporalio.contrib.opentelemetry import TracingInterceptor
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
    address, namespace, query, job_id, collector = sys.argv[1:]
    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: "python"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=collector, insecure=True)))
    trace.set_tracer_provider(provider)
    client = await Client.connect(address, namespace=namespace, interceptors=[TracingInterceptor()])
    queue = f"python-{job_id}"
    async with Worker(
        client, task_queue=queue, workflows=[StopByBatch], workflow_runner=UnsandboxedWorkflowRunner()
    ):
        with trace.get_tracer("python").start_as_current_span("main") as span:
            result = await client.execute_workflow(
                StopByBatch.run, args=[query, job_id], id=f"python-{job_id}", task_queue=queue
            )
    provider.shutdown()
    trace_id = trace.format_trace_id(span.get_span_context().trace_id)
    print(json.dumps(result | {"trace_id": trace_id}))


asyncio.run(main())
