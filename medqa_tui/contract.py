"""The JSON that `--json` prints, schema_version 1: stable names, whatever the inside looks like."""

from __future__ import annotations

from typing import Any

from medqa_tui.domain import Answer, Evidence

SCHEMA_VERSION = 1


def evidence_record(evidence: Evidence) -> dict[str, Any]:
    """Return one evidence object, as `ask --json` and `search --json` print it."""
    passage, scores = evidence.passage, evidence.scores
    return {
        "n": evidence.n,
        "id": passage.id,
        "corpus": passage.corpus,
        "title": passage.title,
        "question": passage.question,
        "text": passage.text,
        "source": passage.source,
        "url": passage.url,
        "licence": passage.licence,
        "date": passage.date,
        "revision": passage.revision,
        "scores": {
            "dense": scores.dense,
            "bm25": scores.bm25,
            "rrf": scores.rrf,
            "rerank": scores.rerank,
            "fused": scores.fused,
        },
        "ranks": {"dense": scores.dense_rank, "bm25": scores.bm25_rank},
    }


def answer_record(answer: Answer) -> dict[str, Any]:
    """Return the one object that `ask --json` prints."""
    model, timings, failure = answer.model, answer.timings, answer.failure
    return {
        "schema_version": SCHEMA_VERSION,
        "question": answer.question,
        "query": answer.query,
        "status": answer.status.value,
        "answer": answer.text,
        "closed_book": answer.closed_book,
        "sentences": [
            {
                "text": sentence.text,
                "citations": list(sentence.citations),
                "support": sentence.support.value,
                "score": sentence.score,
            }
            for sentence in answer.sentences
        ],
        "evidence": [evidence_record(item) for item in answer.evidence],
        "confidence": {
            "score": answer.confidence.score,
            "label": answer.confidence.label.value,
            "calibrated": answer.confidence.calibrated,
        },
        "triage": {
            "level": answer.triage.level.value,
            "rules": list(answer.triage.rules),
            "advice": answer.triage.advice,
        },
        "model": {
            "profile": model.profile,
            "base": model.base,
            "adapter": model.adapter,
            "quantization": model.quantization,
            "device": model.device,
            "generator": model.generator.value,
        },
        "timings_ms": {
            "engine_start": timings.engine_start,
            "retrieve": timings.retrieve,
            "first_token": timings.first_token,
            "generate": timings.generate,
            "total": timings.total,
        },
        "tokens": {"prompt": answer.tokens.prompt, "completion": answer.tokens.completion},
        "notices": list(answer.notices),
        "error": None
        if failure is None
        else {"title": failure.title, "detail": failure.detail, "hint": failure.hint},
        "disclaimer": answer.disclaimer,
    }
