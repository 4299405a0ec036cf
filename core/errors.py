"""The error for input that the user can correct."""


class InputError(ValueError):
    """Wrong input to the benchmark; the message says what was given, what was expected and what to do."""
