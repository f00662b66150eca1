import json
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semantic_service.contract.bundle import MANIFEST_FILE, SIGNATURE_FILE, Bundle, BundleError
from semantic_service.contract.registry import Change, Registry
from semantic_service.engine.live import Live, Reload, Source
from semantic_service.engine.signature import PublicKey, PublicKeyError, SignatureError, SigningLibraryError, read_bundle
from tests.signing_keys import needs_signing, write_pair
from tests.tiny_model import build_bundle, copy_of
from training.sign import SigningKey


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    return write_pair(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def trusted(keys):
    return PublicKey(keys.public)


@pytest.fixture(scope="module")
def signed(tiny_bundle, keys, tmp_path_factory):
    """A signed bundle. Not to be changed."""
    folder = copy_of(tiny_bundle, tmp_path_factory.mktemp("signed") / "tiny")
    SigningKey(keys.private).sign(folder)
    return Bundle.read(folder)


@needs_signing
def test_a_signed_bundle_is_loaded(signed, trusted):
    assert Live(Source(signed.path, signed_by=trusted), None, 0.6).moderator.model_version == "tiny-1"


def change_manifest(folder):
    manifest = folder / MANIFEST_FILE
    values = json.loads(manifest.read_text("utf-8"))
    manifest.write_text(json.dumps(values | {"data_digest": "1" * 64}), encoding="utf-8")


def sign_by_another(folder):
    (folder / SIGNATURE_FILE).unlink()
    SigningKey(write_pair(folder, "other").private).sign(folder)


def sign_another(folder):
    other = build_bundle(folder.with_name("other"), temperature=2.0)
    (folder / SIGNATURE_FILE).unlink()
    SigningKey(folder.with_name("key.pem")).sign(other.path)
    (other.path / SIGNATURE_FILE).rename(folder / SIGNATURE_FILE)


SPOILT = {
    "not signed": lambda folder: (folder / SIGNATURE_FILE).unlink(),
    "Key mismatch": sign_by_another,
    "Signature mismatch": change_manifest,
    "Signature mismatch: ": sign_another,
    "JSONDecodeError": lambda folder: (folder / SIGNATURE_FILE).write_text("signed, me", encoding="utf-8"),
    "UnicodeDecodeError": lambda folder: (folder / SIGNATURE_FILE).write_bytes(b"\xff\x00"),
    "JSONDecodeError: ": lambda folder: (folder / SIGNATURE_FILE).write_bytes(b""),
    "KeyError": lambda folder: (folder / SIGNATURE_FILE).write_text("{}", encoding="utf-8"),
}


@needs_signing
@pytest.mark.parametrize("reason", SPOILT)
def test_a_bundle_without_a_valid_signature_stops_the_start_with_one_line(signed, trusted, keys, tmp_path, reason):
    (tmp_path / "key.pem").symlink_to(keys.private)
    folder = copy_of(signed, tmp_path / "spoilt")
    SPOILT[reason](folder)
    with pytest.raises(SignatureError) as raised:
        Live(Source(folder, signed_by=trusted), None, 0.6)
    message = str(raised.value)
    assert reason in message
    assert str(folder) in message
    assert str(keys.public) in message
    assert "\n" not in message


@needs_signing
def test_an_unsigned_model_is_told_apart_from_the_embedded_one(tiny_bundle, trusted):
    with pytest.raises(SignatureError, match=r"MODERATION_MODEL or MODERATION_MODELS \(the embedded one comes unsigned\)"):
        read_bundle(tiny_bundle.path, trusted)


@needs_signing
def test_what_is_no_bundle_is_not_called_unsigned(trusted, tmp_path):
    with pytest.raises(BundleError, match=r"no such file; is .* a bundle"):
        read_bundle(tmp_path / "nothing", trusted)


@needs_signing
def test_a_file_changed_after_signing_is_refused(signed, trusted, tmp_path):
    folder = copy_of(signed, tmp_path / "changed")
    (folder / "model.onnx").write_bytes(b"another mod")
    with pytest.raises(BundleError, match="sha256"):
        read_bundle(folder, trusted)


@needs_signing
@settings(max_examples=30)
@given(data=st.data())
def test_no_changed_byte_of_the_manifest_keeps_its_signature(signed, trusted, tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("changed")
    content = bytearray(signed.file(MANIFEST_FILE).read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    (folder / MANIFEST_FILE).write_bytes(content)
    (folder / SIGNATURE_FILE).write_bytes(signed.file(SIGNATURE_FILE).read_bytes())
    with pytest.raises(SignatureError):
        trusted.verify(Bundle(folder, signed.manifest))


@needs_signing
@settings(max_examples=30)
@given(content=st.binary() | st.recursive(st.none() | st.text(), lambda inner: st.dictionaries(st.text(), inner)).map(json.dumps))
def test_nothing_but_a_signature_is_one(signed, trusted, tmp_path_factory, content):
    folder = tmp_path_factory.mktemp("garbage")
    (folder / MANIFEST_FILE).write_bytes(signed.file(MANIFEST_FILE).read_bytes())
    (folder / SIGNATURE_FILE).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(SignatureError):
        trusted.verify(Bundle(folder, signed.manifest))


@needs_signing
def test_every_bundle_is_judged_by_itself(signed, tiny_bundle, trusted):
    for _ in range(2):
        assert read_bundle(signed.path, trusted) == signed
        with pytest.raises(SignatureError):
            read_bundle(tiny_bundle.path, trusted)


@needs_signing
def test_a_bundle_of_links_is_what_the_links_lead_to(signed, trusted, tmp_path):
    for file in signed.path.iterdir():
        (tmp_path / file.name).symlink_to(file)
    assert read_bundle(tmp_path, trusted).manifest == signed.manifest


@needs_signing
def test_a_key_that_is_taken_away_while_the_service_runs_still_counts(signed, tiny_bundle, tmp_path, keys):
    (tmp_path / "key.pem").write_bytes(keys.public.read_bytes())
    trusted = PublicKey(tmp_path / "key.pem")
    (tmp_path / "key.pem").unlink()
    assert read_bundle(signed.path, trusted) == signed
    with pytest.raises(SignatureError):
        read_bundle(tiny_bundle.path, trusted)


def other_key(name):
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa  # noqa: PLC0415 - comes with the signing extra

    return {
        "Ed25519": ed25519.Ed25519PrivateKey.generate,
        "RSA": lambda: rsa.generate_private_key(65537, 2048),
        "a curve of bitcoin": lambda: ec.generate_private_key(ec.SECP256K1()),
    }[name]()


@needs_signing
@pytest.mark.parametrize("name", ["Ed25519", "RSA", "a curve of bitcoin"])
def test_other_kinds_of_keys_are_refused(tmp_path, name):
    pair = write_pair(tmp_path, key=other_key(name))
    with pytest.raises(PublicKeyError, match="not the public key of an elliptic curve"):
        PublicKey(pair.public)


@needs_signing
def test_a_private_key_given_as_public_is_refused_without_a_word_of_it(keys):
    with pytest.raises(PublicKeyError) as raised:
        PublicKey(keys.private)
    assert str(raised.value).startswith(f"{keys.private}: not the public key")
    assert not [line for line in keys.private.read_text("utf-8").splitlines() if line in str(raised.value)]


@needs_signing
@pytest.mark.parametrize("content", [b"", b"ssh-ed25519 AAAA", b"\xff\xfe", b"-----BEGIN PUBLIC KEY-----\n!\n-----END PUBLIC KEY-----\n"])
def test_a_file_that_is_no_key_is_refused(tmp_path, content):
    path = tmp_path / "key.pem"
    path.write_bytes(content)
    with pytest.raises(PublicKeyError, match=r"key\.pem: not the public key"):
        PublicKey(path)


@needs_signing
def test_a_key_that_is_not_there_is_said_so(tmp_path):
    with pytest.raises(PublicKeyError, match=r"none\.pem: can't be read \(No such file or directory\)"):
        PublicKey(tmp_path / "none.pem")


def test_without_the_library_one_line_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "model_signing", None)
    with pytest.raises(SigningLibraryError, match=r"pip install -r requirements/signing\.txt$"):
        PublicKey(tmp_path / "key.pem")


def test_without_a_key_no_library_is_needed(monkeypatch, tiny_bundle):
    monkeypatch.setitem(sys.modules, "model_signing", None)
    assert read_bundle(tiny_bundle.path, None) == tiny_bundle


@needs_signing
def test_a_champion_without_a_signature_is_refused_until_it_is_signed(signed, trusted, keys, tmp_path):
    registry = Registry(tmp_path / "models")
    live = Live(Source(signed.path, registry, trusted), None, 0.6)
    bundle = build_bundle(tmp_path / "v2", model_version="v2")
    with registry.locked():
        registry.add(bundle)
        registry.change(Change("promote", "v2", None, "me", "2026-01-02T03:04:05+00:00", "better"))
    assert [live.refresh_model() for _ in range(2)] == [Reload.REFUSED, Reload.UNCHANGED]
    assert live.moderator.model_version == "tiny-1"
    assert "v2: not signed" in live.model_error
    SigningKey(keys.private).sign(registry.folder("v2"))
    assert live.refresh_model(again=True) is Reload.LOADED
    assert (live.moderator.model_version, live.model_error) == ("v2", None)
