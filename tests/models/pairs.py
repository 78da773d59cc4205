"""Thirteen short questions and answers."""

from __future__ import annotations

THINGS = (
    ("asthma", "wheezing"),
    ("the flu", "fever"),
    ("anemia", "tiredness"),
    ("a stroke", "weakness on one side"),
    ("a heart attack", "chest pain"),
    ("depression", "sadness"),
    ("pneumonia", "a bad cough"),
    ("strep throat", "a sore throat"),
    ("type 2 diabetes", "thirst"),
    ("dementia", "memory loss"),
    ("high blood pressure", "no symptoms"),
    ("hay fever", "sneezing"),
    ("heartburn", "a burning chest"),
)
PAIRS = tuple(
    (f"What does {thing} cause?", f"{sign} comes from {thing}.") for thing, sign in THINGS
)
