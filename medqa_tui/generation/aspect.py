"""What a question wants to know of its subject: symptoms, causes, treatment and the like."""

from __future__ import annotations

import re
from enum import StrEnum


class Aspect(StrEnum):
    """The side of a subject that a question asks about."""

    SYMPTOMS = "symptoms"
    CAUSES = "causes"
    DIAGNOSIS = "diagnosis"
    TREATMENT = "treatment"
    PREVENTION = "prevention"


# How people ask for an aspect; the first that matches decides.
_ASKED = {
    Aspect.PREVENTION: r"prevent\w*|avoid\w*|protect\w*|lower\s+(?:my|the|your)\s+risk|vaccin\w+",
    Aspect.DIAGNOSIS: r"diagnos\w+|test(?:s|ed|ing)?|detect\w*|screen\w*|find\s+out",
    Aspect.TREATMENT: (
        r"treat\w*|manag\w+|cure[sd]?|therap\w+|medicines?|medications?|drugs?|remed\w+|relie\w+"
        r"|control\w*|get\s+rid|help\s+with|what\s+(?:can|should)\s+i\s+(?:do|take)"
    ),
    Aspect.SYMPTOMS: r"symptoms?|signs?|feel\w*|warning|how\s+do\s+i\s+know|look\s+like",
    Aspect.CAUSES: r"caus\w+|why|risk\s+factors?|triggers?|reasons?|who\s+gets|catch|contagious",
}
# How a text speaks of it.
_SPOKEN = {
    Aspect.PREVENTION: (
        r"prevent\w*|avoid\w*|protect\w*|lower\w*\s+(?:\w+\s+)?risk|reduc\w+|vaccin\w+"
    ),
    Aspect.DIAGNOSIS: (
        r"diagnos\w+|tests?|exam\w*|x-?rays?|scans?|biops\w+|checks?|screen\w*|measur\w+"
    ),
    Aspect.TREATMENT: (
        r"treat\w*|medicines?|medications?|drugs?|therap\w+|surg\w+|antibiotics?|reliev\w+|inhale\w*"
        r"|manag\w+|control\w*|prescri\w+|doses?|insulin"
    ),
    Aspect.SYMPTOMS: (
        r"symptoms?|signs?|pain\w*|fever|tired\w*|fatigue|feel\w*|ache\w*|cough\w*|nausea|vomit\w*"
        r"|swelling|rash|thirst\w*|numb\w*|dizz\w*|weakness|itch\w*|shortness\s+of\s+breath|bleeding"
    ),
    Aspect.CAUSES: (
        r"caus\w+|due\s+to|result\w*|triggers?|risk\w*|because|leads?\s+to|genes?|inherit\w*"
    ),
}
_ASKED_PATTERNS = {
    aspect: re.compile(rf"\b(?:{pattern})\b", re.IGNORECASE) for aspect, pattern in _ASKED.items()
}
_SPOKEN_PATTERNS = {
    aspect: re.compile(rf"\b(?:{pattern})\b", re.IGNORECASE) for aspect, pattern in _SPOKEN.items()
}
# The word itself: "the symptoms are", "is treated with".
_NAMED = {
    Aspect.PREVENTION: re.compile(r"\bprevent", re.IGNORECASE),
    Aspect.DIAGNOSIS: re.compile(r"\b(?:diagnos|tests?\b)", re.IGNORECASE),
    Aspect.TREATMENT: re.compile(r"\b(?:treat|medicines?\b|manage)", re.IGNORECASE),
    Aspect.SYMPTOMS: re.compile(r"\b(?:symptoms?|signs?)\b", re.IGNORECASE),
    Aspect.CAUSES: re.compile(r"\bcaus", re.IGNORECASE),
}


def asked(question: str) -> Aspect | None:
    """Return the aspect that `question` asks about, or None if it names none."""
    for aspect, pattern in _ASKED_PATTERNS.items():
        if pattern.search(question):
            return aspect
    return None


def spoken_of(sentence: str, aspect: Aspect) -> float:
    """Return how much `sentence` speaks of `aspect`: 0, 0.5 by its vocabulary, 1 by name."""
    if _NAMED[aspect].search(sentence):
        return 1.0
    return 0.5 if _SPOKEN_PATTERNS[aspect].search(sentence) else 0.0
