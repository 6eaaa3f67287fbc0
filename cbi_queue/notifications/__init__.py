"""Being told: what happened since the last look, to whom it is sent, and how the sending went.

Runs in a short-lived process of its own, `python -m cbi_queue.notifications`, which the daemon starts and never waits for.
"""
