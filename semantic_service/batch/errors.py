"""What can go wrong with a batch, and what with one of its rows."""


class BatchError(Exception):
    """A batch that can't start or go on; the message says what to do."""


class RowError(ValueError):
    """A row that can't be judged; the message goes into its `error` column."""
