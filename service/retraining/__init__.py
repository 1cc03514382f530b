"""Learn from what people corrected: from fixes to a candidate that has to pass the gate.

    collect ─ base ─ filter ─ review (people) ─ dataset ─ train ─ evaluate ─ decide

A job of the kind ``retrain`` goes through these stages. Each writes its result whole before the
next begins, so that a job whose process was killed goes on where it was. What needs the processor
runs in processes of its own at idle priority: the service answers all the while.
"""
