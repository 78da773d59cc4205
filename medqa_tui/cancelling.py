"""Waits and streams that end as soon as an event says that nobody wants them any more."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar, cast

T = TypeVar("T")


@contextlib.asynccontextmanager
async def calling(event: asyncio.Event, call: Callable[[], None]) -> AsyncIterator[None]:
    """Call `call` once `event` is set, while the body runs."""

    async def watch() -> None:
        await event.wait()
        call()

    watcher = asyncio.create_task(watch())
    try:
        yield
    finally:
        watcher.cancel()


async def first_of(work: Coroutine[Any, Any, object], cancel: asyncio.Event) -> bool:
    """Wait for `work` or for `cancel`, which cancels it; return whether `work` came to its end.

    What `work` raises is raised here.
    """
    task = asyncio.ensure_future(work)
    stop = asyncio.ensure_future(cancel.wait())
    try:
        await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stop.cancel()
        finished = task.done()
        if not finished:
            task.cancel()
            await asyncio.wait({task})
            # What went wrong on the way out is nobody's any more, and nothing to log either.
            _ = task.cancelled() or task.exception()
    if finished:
        task.result()
    return finished


async def while_wanted(stream: AsyncIterator[T], cancel: asyncio.Event) -> AsyncGenerator[T, None]:
    """Yield what `stream` yields until `cancel` is set, then close it."""
    end = object()
    async with closing(stream):
        # What was received before the cancel but not asked for yet is not wanted either.
        while not cancel.is_set():
            got: list[T | object] = []

            async def step(got: list[T | object] = got) -> None:
                got.append(await anext(stream, end))

            if not await first_of(step(), cancel) or got[0] is end:
                return
            yield cast("T", got[0])


@contextlib.asynccontextmanager
async def closing(stream: AsyncIterator[T]) -> AsyncIterator[AsyncIterator[T]]:
    """Close `stream` at the end of the body, as `aclosing` does, if it can be closed.

    An inner generator that is left to the garbage collector is closed in a task of its own, at the
    same time as whatever reads it.
    """
    try:
        yield stream
    finally:
        if isinstance(stream, AsyncGenerator):
            await stream.aclose()
