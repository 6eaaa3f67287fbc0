"""The governor: work and readings in, decisions out. Pure: time arrives as an argument, and nothing here acts.

`detector` (is the work slow?) → `attribution` (why?) → `policy` (what now?), put together by `governor`. Only the
slot acts (`workers.governor.attempt_governor`), and it writes every decision down.
"""
