"""Blocking work seen from the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing

import pytest

from medqa_tui.cancelling import first_of, while_wanted
from medqa_tui.engine.bridge import Worker, settled, stream_in_thread


class Counter:
    """A blocking generator that hands out a number for each permit and counts its steps."""

    def __init__(self) -> None:
        self.permits = threading.Semaphore(0)
        self.steps = 0
        self.ended = threading.Event()

    def run(self, stop: threading.Event) -> Iterator[int]:
        try:
            while not stop.is_set():
                # One permit a step; a stop is looked at between two steps, as a model does.
                while not self.permits.acquire(timeout=0.01):
                    if stop.is_set():
                        return
                self.steps += 1
                yield self.steps
        finally:
            self.ended.set()


async def test_items_come_in_order_and_the_end_is_seen() -> None:
    stream = stream_in_thread(lambda _: iter("abc"), asyncio.Event())
    assert [item async for item in stream] == ["a", "b", "c"]


async def test_an_error_of_the_thread_is_raised_after_its_items() -> None:
    def work(_: threading.Event) -> Iterator[int]:
        yield 1
        raise OSError("gone")

    stream = stream_in_thread(work, asyncio.Event())
    assert await anext(stream) == 1
    with pytest.raises(OSError, match="gone"):
        await anext(stream)


async def test_cancel_ends_the_thread_within_one_step() -> None:
    counter, cancel = Counter(), asyncio.Event()
    counter.permits.release(3)
    seen = []
    async for item in stream_in_thread(counter.run, cancel):
        seen.append(item)
        if item == 3:
            cancel.set()
    assert seen == [1, 2, 3]
    assert counter.ended.is_set()


async def test_closing_the_stream_waits_for_the_thread() -> None:
    counter = Counter()
    counter.permits.release(1)
    async with aclosing(stream_in_thread(counter.run, asyncio.Event())) as stream:
        assert await anext(stream) == 1
    assert counter.ended.is_set()
    assert counter.steps == 1


async def test_a_cancelled_task_waits_for_the_thread_too() -> None:
    counter, got_one = Counter(), asyncio.Event()

    async def consume() -> None:
        async for _ in stream_in_thread(counter.run, asyncio.Event()):
            got_one.set()

    task = asyncio.ensure_future(consume())
    counter.permits.release(1)
    await got_one.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert counter.ended.is_set()


async def test_the_first_of_two_wins() -> None:
    cancel = asyncio.Event()
    assert await first_of(asyncio.sleep(0), cancel)
    cancel.set()
    assert not await first_of(asyncio.Event().wait(), cancel)


async def test_what_the_work_raises_is_raised() -> None:
    async def fail() -> None:
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        await first_of(fail(), asyncio.Event())


async def test_a_stream_is_closed_when_nobody_wants_it() -> None:
    cancel, closed = asyncio.Event(), asyncio.Event()

    async def numbers() -> AsyncGenerator[int, None]:
        try:
            yield 1
            await asyncio.Event().wait()
        finally:
            closed.set()

    seen = []
    async for number in while_wanted(numbers(), cancel):
        seen.append(number)
        cancel.set()
    assert seen == [1]
    assert closed.is_set()


async def test_a_worker_runs_jobs_in_order_and_keeps_their_errors() -> None:
    worker: Worker[int] = Worker("test")
    order: list[int] = []

    def job(number: int) -> int:
        order.append(number)
        if number == 1:
            raise OSError("gone")
        return number

    futures = [worker.submit(lambda number=number: job(number)) for number in range(3)]
    for future in futures:
        await settled(future)
    assert order == [0, 1, 2]
    assert [futures[0].result(), futures[2].result()] == [0, 2]
    assert isinstance(futures[1].exception(), OSError)
    again = worker.submit(lambda: job(3))
    await settled(again)
    assert again.result() == 3
