"""Blocking work seen from the event loop: a generator in a thread, a queue of jobs."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from medqa_tui.cancelling import calling

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _End:
    error: BaseException | None = None


async def stream_in_thread(
    start: Callable[[threading.Event], Iterator[T]], cancel: asyncio.Event
) -> AsyncGenerator[T, None]:
    """Run the blocking generator that `start` returns in a thread and yield what it yields.

    `start` gets a threading event that is set when `cancel` is, or when this iterator is closed;
    either way the iterator ends only after the thread has, so two of them never overlap.
    """
    loop = asyncio.get_running_loop()
    items: asyncio.Queue[T | _End] = asyncio.Queue()
    stop = threading.Event()
    ended = asyncio.Event()

    def work() -> None:
        end = _End()
        try:
            for item in start(stop):
                loop.call_soon_threadsafe(items.put_nowait, item)
        except BaseException as error:  # handed to the consumer, who raises it
            end = _End(error)
        # The loop may be closed by now, if the whole program is on its way out.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(items.put_nowait, end)
            loop.call_soon_threadsafe(ended.set)

    # A daemon, so that a program that was interrupted does not wait for the end of a step.
    thread = threading.Thread(target=work, name="generate", daemon=True)
    async with calling(cancel, stop.set):
        thread.start()
        try:
            while not isinstance(item := await items.get(), _End):
                yield item
            if item.error:
                raise item.error
        finally:
            stop.set()
            await _outlast(ended)


async def _outlast(ended: asyncio.Event) -> None:
    """Wait for `ended` even if this task is cancelled meanwhile, then pass the cancellation on."""
    waiting = asyncio.ensure_future(ended.wait())
    cancelled: asyncio.CancelledError | None = None
    while not waiting.done():
        try:
            await asyncio.shield(waiting)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled:
        raise cancelled


async def settled(future: Future[Any]) -> None:
    """Wait until the thread's `future` is done, whatever came of it; it is never cancelled."""
    loop = asyncio.get_running_loop()
    done = asyncio.Event()

    def tell(_: Future[Any]) -> None:
        # The loop may be closed by now, if the whole program is on its way out.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(done.set)

    future.add_done_callback(tell)
    await done.wait()


class Worker(Generic[T]):
    """One daemon thread that runs jobs in the order they were given."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: list[tuple[Future[T], Callable[[], T]]] = []
        self._lock = threading.Lock()
        self._running = False

    def submit(self, job: Callable[[], T]) -> Future[T]:
        """Run `job` after the ones before it and return its future."""
        future: Future[T] = Future()
        with self._lock:
            self._jobs.append((future, job))
            if not self._running:
                self._running = True
                threading.Thread(target=self._work, name=self._name, daemon=True).start()
        return future

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._jobs:
                    self._running = False
                    return
                future, job = self._jobs.pop(0)
            try:
                future.set_result(job())
            except BaseException as error:  # kept for whoever needs the result
                future.set_exception(error)
