"""From a grid to its stored records: plan the cells, find those to compute, compute them in workers, store them."""
