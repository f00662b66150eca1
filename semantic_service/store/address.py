"""Which databases the store can be in. SQLAlchemy, which takes as long to import as a quarter of the service, is not needed to say so."""

import re

from semantic_service.store.errors import StoreError

_ADDRESS = re.compile(r"sqlite:///(?!:memory:$).+|postgresql(\+psycopg)?://.*", re.DOTALL)
_PASSWORD = re.compile(r"(?<=:)[^/:][^:]*(?=@)")


def check_address(url: str) -> None:
    """Refuse what can't be the store's address.

    Raises:
        StoreError: neither a SQLite file nor a PostgreSQL database.

    """
    if not _ADDRESS.fullmatch(url):
        raise StoreError(f"{_PASSWORD.sub('***', url)}: use sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME")
