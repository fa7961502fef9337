"""The one exception that means: the user can fix this. Its text states the value, the rule and the remedy."""


class UserError(ValueError):
    """Bad input. The command line prints the text as one sentence and exits with code 2, without a traceback."""
