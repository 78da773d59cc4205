"""`python -m medqa_tui.engine`: what a front end starts when it needs the engine."""

from __future__ import annotations

from medqa_tui.engine.host import leave, main

if __name__ == "__main__":
    leave(main())
