"""A jobs service that takes jobs on and does none."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from grpc import aio

from hasten.jobs.v1 import jobs_service_pb2 as pb
from hasten.jobs.v1.jobs_service_pb2_grpc import (
    JobsServiceServicer,
    add_JobsServiceServicer_to_server,
)
from libs.errors import OverloadedError


class Desk(JobsServiceServicer):
    """Writes down what is submitted.

    Attributes:
        taken: the submissions, in order.
        is_full: True to refuse them.
        silent_s: seconds before anything is said.
    """

    def __init__(self) -> None:
        self.taken: list[pb.SubmitJobRequest] = []
        self.is_full = False
        self.silent_s = 0.0

    def register(self, server: aio.Server) -> None:
        add_JobsServiceServicer_to_server(self, server)

    async def SubmitJob(
        self, request: pb.SubmitJobRequest, context: aio.ServicerContext[Any, Any]
    ) -> pb.SubmitJobResponse:
        await asyncio.sleep(self.silent_s)
        if self.is_full:
            raise OverloadedError("too many jobs", retry_after_s=1.0)
        self.taken.append(request)
        job = pb.Job(job_id=f"job-{len(self.taken)}", kind=request.kind)
        return pb.SubmitJobResponse(job=job, created=True)

    @property
    def inputs(self) -> list[dict[str, Any]]:
        """What the jobs were given."""
        return [json.loads(each.input) for each in self.taken]
