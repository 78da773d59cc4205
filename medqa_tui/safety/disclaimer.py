"""The words that never leave the screen."""

DISCLAIMER = (
    "For education only. Not medical advice, diagnosis or treatment. "
    "In an emergency call your local emergency number."
)

DISCLAIMER_SHORT = (
    "Education only, not medical advice. Emergency? Call your local emergency number."
)
