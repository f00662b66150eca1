"""What can go wrong with the review store."""


class StoreError(Exception):
    """The review store can't be used as asked; the message names the database, never what users wrote."""
