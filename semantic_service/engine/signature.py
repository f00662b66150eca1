"""Whose bundle it is: a signature of the manifest, which holds the digest of every other file."""

from pathlib import Path
from types import ModuleType

from semantic_service.contract.bundle import MANIFEST_FILE, SIGNATURE_FILE, Bundle, BundleError


class SigningLibraryError(BundleError):
    """Signatures are asked for, and the library that makes and checks them is not installed."""


class PublicKeyError(BundleError):
    """A file that is not the public half of an elliptic-curve key."""


class SignatureError(BundleError):
    """A bundle without a valid signature by the key that is trusted."""


def signing_library() -> ModuleType:
    """Give `model_signing`, which is an extra and takes a second to import.

    Raises:
        SigningLibraryError: it is not installed, or not whole.

    """
    try:
        import model_signing  # noqa: PLC0415 - only who asks for signatures needs it
    except ImportError as error:
        raise SigningLibraryError(
            f"signatures need model-signing, which can't be imported here ({error}): python -m pip install -r requirements/signing.txt"
        ) from error
    return model_signing


class PublicKey:
    """The key by which bundles must be signed; read once, so that what a process trusts does not change under it."""

    def __init__(self, path: Path) -> None:
        """Read a PEM file.

        Raises:
            SigningLibraryError: signatures can't be checked here.
            PublicKeyError: the file can't be read, or holds no such key.

        """
        self._path = path
        self._library = signing_library()
        try:
            self._verifier = self._library.verifying.Config().use_elliptic_key_verifier(public_key=path)
        except OSError as error:
            raise PublicKeyError(f"{path}: can't be read ({error.strerror})") from error
        except Exception as error:  # cryptography raises unrelated classes for what is no PEM, a private key, another kind of key
            raise PublicKeyError(
                f"{path}: not the public key of an elliptic curve (P-256, P-384 or P-521) in PEM; "
                "this writes the one of a private key: openssl pkey -in PRIVATE -pubout -out PUBLIC"
            ) from error

    def verify(self, bundle: Bundle) -> None:
        """Refuse a bundle that this key did not sign.

        Raises:
            SignatureError: there is no signature, or it is not this key's, not of this manifest, or none at all.

        """
        signature = bundle.file(SIGNATURE_FILE)
        if not signature.is_file():
            raise SignatureError(
                f"{bundle.path}: not signed, and MODERATION_SIGNED_BY={self._path} wants it to be: sign it (python -m training sign), "
                "or name a signed bundle in MODERATION_MODEL or MODERATION_MODELS (the embedded one comes unsigned)"
            )
        hashing = self._library.hashing.Config().set_allow_symlinks(True)  # what a link leads to counts; a file of our own choice
        try:
            self._verifier.set_hashing_config(hashing).verify(bundle.file(MANIFEST_FILE), signature)
        except Exception as error:  # the library raises unrelated classes for what is no signature, another key's, of another manifest
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise SignatureError(f"{signature}: no valid signature of {MANIFEST_FILE} by {self._path} ({reason})") from error


def read_bundle(folder: Path, signed_by: PublicKey | None) -> Bundle:
    """Read a bundle that may serve: whole, compatible and, if a key is given, signed by it.

    Raises:
        BundleError: it may not.

    """
    bundle = Bundle.read(folder)
    if signed_by is not None:
        signed_by.verify(bundle)
    return bundle
