"""The worker that runs one answer: it consumes the core's events and posts them, nothing else."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from medqa_tui.domain import Answer, AnswerStatus, Failure, Question
from medqa_tui.errors import MedQAError
from medqa_tui.events import AnswerDone
from medqa_tui.safety.disclaimer import DISCLAIMER
from medqa_tui.tui.messages import AnswerEvent
from medqa_tui.tui.wording import failure_of

if TYPE_CHECKING:
    from textual.message_pump import MessagePump

    from medqa_tui.tui.app import MedQAApp


async def stream_answer(
    app: MedQAApp, listener: MessagePump, question: Question, cancel: asyncio.Event
) -> None:
    """Post every event of the answer to `listener`; the last one is always `AnswerDone`."""
    done = False
    try:
        session = await app.session()
        stream = app.services.answer(
            question,
            session.backend,
            settings=session.settings,
            recorder=session.recorder,
            cancel=cancel,
        )
        async with contextlib.aclosing(stream) as events:  # type: ignore[type-var]
            async for event in events:
                done = isinstance(event, AnswerDone)
                listener.post_message(AnswerEvent(event))
    except asyncio.CancelledError:
        if not done:
            listener.post_message(_ended(question, AnswerStatus.CANCELLED, None))
        raise
    except MedQAError as error:
        listener.post_message(_ended(question, AnswerStatus.FAILED, failure_of(error)))
    except Exception as error:
        # Whatever it is, a traceback must not reach the terminal and the app must go on.
        failure = Failure(
            "The answer broke off.",
            f"{type(error).__name__} inside the program.",
            "Ask again; if it happens twice, run: medqa-tui doctor",
        )
        listener.post_message(_ended(question, AnswerStatus.FAILED, failure))


def _ended(question: Question, status: AnswerStatus, failure: Failure | None) -> AnswerEvent:
    answer = Answer(question.text, status, disclaimer=DISCLAIMER, failure=failure)
    return AnswerEvent(AnswerDone(question.turn, answer))
