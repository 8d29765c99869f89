"""A plain Python rendering of the document's snowball, bare StartWorkflow calls, and the measure that is common to all contenders.

    python snowball.py ADDRESS NAMESPACE python WIDTH DEPTH [--unsandboxed]   # a worker and a tree of its own
    python snowball.py ADDRESS NAMESPACE raw COUNT                             # StartWorkflow on a queue that nobody polls
    python snowball.py ADDRESS NAMESPACE measure WORKLOAD COUNT                # somebody else's, for instance `quell snowball start`

Each prints one line of JSON. The rate is the server's own: workflows over the time from the first start to the last one, as the
index has them, so that neither the start of a program nor the index's lag counts. Everything is terminated afterwards.
"""

import asyncio
import json
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.client import Client, WorkflowFailureError
from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from temporalio.service import RPCError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner
from temporalio.workflow import ParentClosePolicy

QUEUE = "python-work-task-queue"
WORKLOAD = SearchAttributeKey.for_keyword("WorkloadId")
CONCURRENCY = 50
LIFETIME = timedelta(hours=1)
PATIENCE = 600


@dataclass
class Node:
    workload: str
    width: int
    depth: int


@activity.defn
def generate_uuid() -> str:
    return str(uuid.uuid4())


@workflow.defn
class ChildWorkflow:
    @workflow.run
    async def run(self, node: Node) -> None:
        workflow.upsert_search_attributes([WORKLOAD.value_set(node.workload)])
        if node.depth == 0:
            await asyncio.sleep(LIFETIME.total_seconds())
            return
        await spawn(node)


@workflow.defn
class CancelableWorkflow:
    @workflow.run
    async def run(self, node: Node) -> None:
        workflow.upsert_search_attributes([WORKLOAD.value_set(node.workload)])
        await spawn(node)


async def spawn(node: Node) -> None:
    brood = await workflow.execute_activity(generate_uuid, start_to_close_timeout=timedelta(seconds=10))
    places = asyncio.Semaphore(CONCURRENCY)

    async def start(index: int) -> workflow.ChildWorkflowHandle:
        async with places:
            return await workflow.start_child_workflow(
                ChildWorkflow.run,
                Node(node.workload, node.width, node.depth - 1),
                id=f"{workflow.info().workflow_id}-{brood[:8]}-{index}",
                parent_close_policy=ParentClosePolicy.TERMINATE,
                search_attributes=tagged(node.workload),
            )

    children = await asyncio.gather(*(start(index) for index in range(node.width)))
    await asyncio.gather(*children, return_exceptions=True)


def tagged(workload: str) -> TypedSearchAttributes:
    return TypedSearchAttributes([SearchAttributePair(WORKLOAD, workload)])


async def python(client: Client, width: int, depth: int, sandboxed: bool) -> dict:
    workload = f"python-{uuid.uuid4()}"
    worker = Worker(
        client,
        task_queue=QUEUE,
        workflows=[CancelableWorkflow, ChildWorkflow],
        activities=[generate_uuid],
        activity_executor=ThreadPoolExecutor(100),
        max_concurrent_workflow_tasks=300,
        max_cached_workflows=4000,
        workflow_runner=SandboxedWorkflowRunner() if sandboxed else UnsandboxedWorkflowRunner(),
    )
    async with worker:
        await client.start_workflow(
            CancelableWorkflow.run,
            Node(workload, width, depth),
            id=workload,
            task_queue=QUEUE,
            search_attributes=tagged(workload),
        )
        return await measure(client, workload, 1 + sum(width**level for level in range(1, depth + 1)))


async def raw(client: Client, count: int) -> dict:
    workload = f"raw-{uuid.uuid4()}"
    places = asyncio.Semaphore(64)

    async def start(index: int) -> None:
        async with places:
            await client.start_workflow(
                "Nothing", id=f"{workload}-{index}", task_queue="nobody", search_attributes=tagged(workload)
            )

    await asyncio.gather(*(start(index) for index in range(count)))
    return await measure(client, workload, count)


async def measure(client: Client, workload: str, count: int) -> dict:
    """Waits until all are in the index, and ends them."""
    query = f'WorkloadId = "{workload}"'
    deadline = time.monotonic() + PATIENCE
    while (seen := (await client.count_workflows(query)).count) < count:
        if time.monotonic() > deadline:
            sys.exit(f"{workload}: {seen} of {count} after {PATIENCE} s")
        await asyncio.sleep(0.5)
    starts = [row.start_time async for row in client.list_workflows(query)]
    if len(starts) != count:
        sys.exit(f"{workload}: {len(starts)} workflows, {count} were planned")
    seconds = (max(starts) - min(starts)).total_seconds()
    await end(client, query)
    return {"workflows": count, "seconds": round(seconds, 2), "per_second": round(count / seconds, 1)}


async def end(client: Client, query: str) -> None:
    places = asyncio.Semaphore(16)

    async def terminate(workflow_id: str) -> None:
        async with places:
            try:
                await client.get_workflow_handle(workflow_id).terminate("measured")
            except (RPCError, WorkflowFailureError):
                pass  # It ended with its parent.

    while rows := [row.id async for row in client.list_workflows(f"{query} AND CloseTime IS NULL")]:
        # Parents first, so that the server's cascade helps.
        await asyncio.gather(*(terminate(row) for row in sorted(rows, key=len)))
        await asyncio.sleep(0.5)


async def main() -> None:
    address, namespace, what, *rest = sys.argv[1:]
    client = await Client.connect(address, namespace=namespace)
    if what == "python":
        result = await python(client, int(rest[0]), int(rest[1]), "--unsandboxed" not in rest)
    elif what == "raw":
        result = await raw(client, int(rest[0]))
    else:
        result = await measure(client, rest[0], int(rest[1]))
    print(json.dumps(result))


if __name__ == "__main__":
    asyncio.run(main())
