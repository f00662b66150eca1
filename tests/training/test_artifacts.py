import json

import pytest

from training.artifacts import Kind, base_of, find_adapter, find_bundle, is_local, publish, workshop
from training.errors import ConfigError


@pytest.fixture
def folder(tmp_path):
    def holding(*names, text="{}"):
        path = tmp_path / "some"
        path.mkdir(exist_ok=True)
        for name in names:
            (path / name).write_text(text, encoding="utf-8")
        return path

    return holding


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (("config.yaml", "manifest.json"), Kind.RUN),
        (("manifest.json", "config.json"), Kind.BUNDLE),
        (("adapter_config.json", "adapter_model.safetensors"), Kind.ADAPTER),
    ],
)
def test_a_folder_is_what_it_holds(folder, names, kind):
    assert Kind.of(folder(*names)) is kind


@pytest.mark.parametrize("weights", ["model.safetensors", "model.safetensors.index.json"])
def test_a_model_with_a_head_is_a_merged_model(folder, weights):
    assert Kind.of(folder("config.json", weights, text='{"architectures": ["BertForSequenceClassification"]}')) is Kind.MERGED


@pytest.mark.parametrize("text", ["{}", '{"architectures": ["BertModel"]}', '{"architectures": null}', "no JSON"])
def test_a_model_without_a_head_is_no_merged_model(folder, text):
    with pytest.raises(ConfigError, match=r"knows no labels yet|does not say what model"):
        Kind.of(folder("config.json", "model.safetensors", text=text))


def test_what_is_nothing_known_is_refused_with_what_would_be(folder):
    with pytest.raises(ConfigError, match=r"give a run's folder \(with config.yaml\), a bundle's \(manifest.json\)"):
        Kind.of(folder("notes.txt"))


def test_a_run_that_has_not_come_so_far_says_so(folder):
    run = folder("config.yaml")
    with pytest.raises(ConfigError, match="has no bundle yet"):
        find_bundle(run)
    with pytest.raises(ConfigError, match="has no adapter yet"):
        find_adapter(run)


def test_a_bundle_has_no_adapter(folder):
    with pytest.raises(ConfigError, match="is a bundle, its adapter is merged into it"):
        find_adapter(folder("manifest.json"))


@pytest.mark.parametrize("base", ["/somebody/else/base", "../nowhere/base", "~/base", "C:\\models\\base"])
def test_a_base_that_is_on_another_machine_has_to_be_named(folder, base):
    adapter = folder("adapter_config.json", text=json.dumps({"base_model_name_or_path": base}))
    with pytest.raises(ConfigError, match="which is not here: give --base BASE"):
        base_of(adapter)
    assert base_of(adapter, "here/it-is") == "here/it-is"


def test_a_base_by_its_hub_name_is_no_path(folder):
    assert base_of(folder("adapter_config.json", text='{"base_model_name_or_path": "hfl/rbt3"}')) == "hfl/rbt3"
    assert not is_local("hfl/rbt3")


@pytest.mark.parametrize("text", ["{}", "no JSON"])
def test_an_adapter_that_names_no_base_is_refused(folder, text):
    with pytest.raises(ConfigError, match="does not name a base"):
        base_of(folder("adapter_config.json", text=text))


def make(out, content="whole"):
    with workshop(out) as work:
        (work / "made").mkdir()
        (work / "made" / "file").write_text(content, encoding="utf-8")
        publish(work / "made", out)


def test_what_is_made_appears_and_the_workshop_goes(tmp_path):
    make(tmp_path / "deep" / "out")
    assert (tmp_path / "deep" / "out" / "file").read_text("utf-8") == "whole"
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["out"]


def test_what_fails_leaves_nothing(tmp_path):
    def fail():
        with workshop(tmp_path / "out") as work:
            (work / "half").write_text("ha", encoding="utf-8")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert not list(tmp_path.iterdir())


def test_what_a_kill_left_is_cleared(tmp_path):
    (tmp_path / ".out.partial" / "made").mkdir(parents=True)
    (tmp_path / ".out.partial" / "made" / "half").write_text("ha", encoding="utf-8")
    make(tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["file"]


def test_nothing_is_written_over(tmp_path):
    make(tmp_path / "out")
    with pytest.raises(ConfigError, match="exists already: choose another name, or remove it"):
        make(tmp_path / "out", "other")
    assert (tmp_path / "out" / "file").read_text("utf-8") == "whole"
