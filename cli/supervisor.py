"""Starts the processes of a mesh, keeps them running, and ends them in the right order."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from cli.home import Home
from cli.layout import Layout, Process
from libs.clients import Connection
from libs.clients.health import HealthClient

Tell = Callable[[str], None]

_READY_WITHIN_S = 60.0
_POLL_S = 0.05
_STOP_WITHIN_S = 20.0
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 5.0
# A child that ran this long was well: its next fall is the first of a new row.
_WELL_AFTER_S = 10.0
# 1 is PR_SET_PDEATHSIG, 15 SIGTERM; what is set so outlives the exec.
_TIE = "import ctypes,os,sys; ctypes.CDLL(None).prctl(1, 15); os.execv(sys.argv[1], sys.argv[1:])"


class StartError(Exception):
    """A process of the mesh did not become ready; the message says which, and why."""


class Child:
    """One process, started again whenever it falls."""

    def __init__(self, process: Process, home: Home, tell: Tell) -> None:
        self.process = process
        self._home = home
        self._tell = tell
        self._running: asyncio.subprocess.Process | None = None
        self._stopping = False

    @property
    def pid(self) -> int | None:
        """The process id, while there is one."""
        return None if self._running is None else self._running.pid

    async def start(self) -> None:
        """Start the process; its output goes to its log."""
        with self._home.log(self.process.name).open("ab") as log:
            self._running = await asyncio.create_subprocess_exec(
                *_tied_to_us(self.process.command),
                env=dict(self.process.env),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C is for us alone: we end the children, in order.
                start_new_session=True,
            )

    async def keep(self) -> None:
        """Start the process again whenever it ends; runs until cancelled."""
        pause_s = _FIRST_PAUSE_S
        while self._running is not None:
            started_s = time.monotonic()
            status = await self._running.wait()
            if self._stopping:
                return
            if time.monotonic() - started_s > _WELL_AFTER_S:
                pause_s = _FIRST_PAUSE_S
            self._tell(f"{self.process.name} ended with status {status}, starts again")
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            await self.start()

    async def stop(self) -> None:
        """Ask the process to end, and make it if it does not in time."""
        self._stopping = True
        running = self._running
        if running is None or running.returncode is not None:
            return
        running.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(running.wait(), _STOP_WITHIN_S)
        except TimeoutError:
            self._tell(f"{self.process.name} did not end within {_STOP_WITHIN_S:.0f} s, is killed")
            running.kill()
            await running.wait()

    async def ready(self) -> None:
        """Wait until the process serves.

        Raises:
            StartError: it ended, or took too long; the end of its log is in the message.
        """
        end_s = time.monotonic() + _READY_WITHIN_S
        async with Connection.open(self.process.address) as connection:
            health = HealthClient(connection)
            while not await self._serves(health):
                ended = self._running is not None and self._running.returncode is not None
                if ended or time.monotonic() > end_s:
                    raise StartError(self._why())
                await asyncio.sleep(_POLL_S)

    async def _serves(self, health: HealthClient) -> bool:
        if self.process.health:
            return await health.is_serving(self.process.health, limit_s=0.5)
        host, _, port = self.process.address.rpartition(":")
        try:
            _, writer = await asyncio.open_connection(host, int(port))
        except OSError:
            return False
        writer.close()
        return True

    def _why(self) -> str:
        path = self._home.log(self.process.name)
        last = "\n".join(path.read_text("utf-8", "replace").splitlines()[-8:])
        return f"{self.process.name} is not ready; the end of {path}:\n{last}"


class Mesh:
    """The children of one mesh."""

    def __init__(self, layout: Layout, home: Home, tell: Tell) -> None:
        self.place = layout.place
        self.children = {process.name: Child(process, home, tell) for process in layout.processes}
        self._home = home

    async def start(self) -> None:
        """Start everything at once, and wait until all of it serves.

        Raises:
            StartError: something did not become ready.
        """
        for child in self.children.values():
            await child.start()
        await asyncio.gather(*(child.ready() for child in self.children.values()))
        self._home.publish(self.place)

    async def keep(self) -> None:
        """Keep every child running, until cancelled."""
        await asyncio.gather(*(child.keep() for child in self.children.values()))

    async def stop(self) -> None:
        """End the children: who calls before who is called, the stores last."""
        self._home.place.unlink(missing_ok=True)
        for name in reversed(self.children):
            await self.children[name].stop()


@asynccontextmanager
async def running(layout: Layout, home: Home, tell: Tell) -> AsyncIterator[Mesh]:
    """Run a mesh while inside.

    Raises:
        StartError: something did not become ready; nothing is left running.
    """
    mesh = Mesh(layout, home, tell)
    keeping: asyncio.Task[None] | None = None
    try:
        await mesh.start()
        keeping = asyncio.create_task(mesh.keep())
        yield mesh
    finally:
        await asyncio.shield(mesh.stop())
        if keeping is not None:
            keeping.cancel()


def _tied_to_us(command: Sequence[str]) -> Sequence[str]:
    """Have the kernel end a child if we are killed and cannot; Linux knows how.

    By a few lines before the child's own, and not by a `preexec_fn`: that would run in a
    fork of this process, whose gRPC threads do not survive one.
    """
    if sys.platform != "linux":
        return command
    return (sys.executable, "-ISc", _TIE, *command)
