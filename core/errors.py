"""The one error for input that a user can mend."""


class InputError(ValueError):
    """Wrong input to the benchmark; the message says what was given, what was expected and what to do."""
