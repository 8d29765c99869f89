"""A plain Python rendering of recursive batch processing, to compare `quell square` with: the same tree, the same ids, the same
worker settings, and nothing clever.

    python3 -m venv venv && venv/bin/pip install temporalio
    venv/bin/python batch_processing.py ADDRESS NAMESPACE N [--unsandboxed]

It starts its worker and the root, waits for the result, and prints one line of JSON: seconds from the start of the root to its
result, sum, workflows, depth. docs/benchmarks.md says how both are run in turns.
"""

import asyncio
import json
import math
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.common import RetryPolicy
from temporalio.worker import UnsandboxedWorkflowRunner, Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

QUEUE = "python-batch-processing-task-queue"


@dataclass
class SquareNumberInput:
    number: int


@dataclass
class ProcessingConfig:
    batch_size: int = 10
    max_children: int = 5


@dataclass
class WorkflowNodeInput:
    start: int
    end: int
    depth: int = 0
    config: ProcessingConfig = field(default_factory=ProcessingConfig)


@dataclass
class NodeResult:
    total_numbers: int
    workflows: int
    depth: int
    sum: int
    first_results: list[int]
    last_results: list[int]


@activity.defn
def square_number(input: SquareNumberInput) -> int:
    return input.number * input.number


@workflow.defn
class BatchProcessingWorkflow:
    @workflow.run
    async def run(self, input: WorkflowNodeInput) -> NodeResult:
        count = input.end - input.start + 1
        if count <= input.config.batch_size:
            results = await asyncio.gather(
                *(
                    workflow.execute_activity(
                        square_number,
                        SquareNumberInput(number=number),
                        start_to_close_timeout=timedelta(seconds=30),
                        retry_policy=RetryPolicy(maximum_attempts=10),
                    )
                    for number in range(input.start, input.end + 1)
                )
            )
            return NodeResult(count, 1, input.depth, sum(results), results[:10], results[-10:])
        size = math.ceil(count / input.config.max_children)
        children = await asyncio.gather(
            *(
                workflow.execute_child_workflow(
                    BatchProcessingWorkflow.run,
                    WorkflowNodeInput(start, min(start + size - 1, input.end), input.depth + 1, input.config),
                    id=f"{workflow.info().workflow_id}-c{index}",
                )
                for index, start in enumerate(range(input.start, input.end + 1, size))
            )
        )
        return NodeResult(
            count,
            1 + sum(child.workflows for child in children),
            max(child.depth for child in children),
            sum(child.sum for child in children),
            [one for child in children for one in child.first_results][:10],
            [one for child in children for one in child.last_results][-10:],
        )


async def main() -> None:
    address, namespace, n = sys.argv[1], sys.argv[2], int(sys.argv[3])
    sandboxed = "--unsandboxed" not in sys.argv
    client = await Client.connect(address, namespace=namespace)
    worker = Worker(
        client,
        task_queue=QUEUE,
        workflows=[BatchProcessingWorkflow],
        activities=[square_number],
        activity_executor=ThreadPoolExecutor(100),
        max_concurrent_activities=100,
        max_concurrent_workflow_tasks=50,
        workflow_runner=SandboxedWorkflowRunner() if sandboxed else UnsandboxedWorkflowRunner(),
    )
    async with worker:
        began = time.monotonic()
        result = await client.execute_workflow(
            BatchProcessingWorkflow.run,
            WorkflowNodeInput(1, n),
            id=f"python-batch-processing-{n}-b10-c5",
            task_queue=QUEUE,
        )
        seconds = time.monotonic() - began
    summary = {
        "seconds": round(seconds, 2),
        "sum": str(result.sum),
        "workflows": result.workflows,
        "depth": result.depth,
        "sandboxed": sandboxed,
    }
    print(json.dumps(summary))


if __name__ == "__main__":
    asyncio.run(main())
