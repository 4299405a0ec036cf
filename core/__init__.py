"""What all of osad-bench may stand on: registry, errors, places, progress. Imports nothing of ours, and no torch."""
