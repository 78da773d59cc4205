"""One model is loaded at a time in a process.

While transformers builds a model it sets torch's default dtype, which is one for all threads: two
loads at once can leave it at bfloat16 for good, and everything computed afterwards is rounded.
"""

from __future__ import annotations

import threading

one_at_a_time = threading.RLock()
