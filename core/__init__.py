"""Foundations that every other package may import. Imports no other package of osad-bench, and no torch."""
