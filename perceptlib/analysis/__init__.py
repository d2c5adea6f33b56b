"""From rows to statements: intervals, tests, rates, distances, scores, and the verdicts on the paper's claims."""
