"""Sign a bundle's manifest, and with it every file that the manifest holds the digest of."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from semantic_service.contract.bundle import MANIFEST_FILE, SIGNATURE_FILE, write_atomically
from semantic_service.engine.signature import signing_library
from training.config import TrainConfig
from training.errors import SigningError


def signer(config: TrainConfig) -> Callable[[Path], None] | None:
    """Give what signs the bundles of a config; None: it names no key.

    Raises:
        SigningLibraryError: nothing can be signed here.
        SigningError: the key can't be used.

    """
    key = config.export.signing_key
    return None if key is None else SigningKey(key).sign


class SigningKey:
    """The private half of an elliptic-curve key; its content goes nowhere but into the library's memory."""

    def __init__(self, path: Path) -> None:
        """Read a PEM file.

        Raises:
            SigningLibraryError: nothing can be signed here.
            SigningError: the file can't be read, or holds no such key.

        """
        library = signing_library()
        try:
            self._signer = library.signing.Config().use_elliptic_key_signer(private_key=path)
        except OSError as error:
            raise SigningError(f"{path}: can't be read ({error.strerror})") from error
        except Exception as error:  # cryptography raises unrelated classes for what is no PEM, a public key, one with a passphrase
            raise SigningError(
                f"{path}: not the private key of an elliptic curve (P-256, P-384 or P-521) in PEM, without a passphrase; "
                "`python -m training sign --help` says how to make one"
            ) from error

    def sign(self, folder: Path) -> None:
        """Add the signature to a folder that holds a manifest.

        Raises:
            SigningError: it has one, and signatures are never replaced.

        """
        signature = folder / SIGNATURE_FILE
        if signature.exists():
            raise SigningError(f"{signature} is there, and signatures are never replaced: remove it to sign anew")
        with TemporaryDirectory() as aside:
            made = Path(aside) / SIGNATURE_FILE
            self._signer.sign(folder / MANIFEST_FILE, made)
            write_atomically(signature, made.read_text(encoding="utf-8"))
