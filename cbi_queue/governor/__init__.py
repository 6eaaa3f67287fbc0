"""The governor: work and readings in, decisions out. Pure: time arrives as an argument, and nothing here acts.

The way of one epoch, from a report to a decision:

1. A report becomes a `Work` (`workers.governor.reported_work`) and reaches `governor.Governor.saw_work`.
2. Is the work slow? `slowdown.detector` compares seconds per sample with `slowdown.cold_level`.
3. Why? `diagnosis.evidence` collects figures, `diagnosis.clues` weighs them, `diagnosis.attribution` names a cause.
4. How pressed is the machine? `machine.heat` and `machine.pressure` grade the readings, `machine.grades` for how long.
5. What is done about it? `policies.memory_policy`, else `policies.heat_policy`, else `policies.notices`; while the
   governor holds the slot only `policies.slot_policy`. Each gets the same `policies.situation`.
6. The result is at most one `values.Decision` a check. The slot carries it out (`workers.governor.attempt_governor`)
   and records it; what outlives the attempt is in `state.state`.
"""
