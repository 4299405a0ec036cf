"""From a grid to its cells, and those cells carried out: plan, what is to do, workers, run."""
