"""How sure an answer is: posterior draws, intervals and verdicts."""
