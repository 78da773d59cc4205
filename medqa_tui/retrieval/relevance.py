"""stub"""

from medqa_tui.domain import Evidence


def is_relevant(query: str, evidence: tuple[Evidence, ...]) -> bool:
    return bool(evidence)
