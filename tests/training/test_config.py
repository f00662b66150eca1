from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.config import GateConfig, LoraConfig, TrainConfig
from training.errors import ConfigError

FOLDER = Path(__file__).parents[2] / "training" / "configs"
GATE = FOLDER / "gate.yaml"
CONFIGS = sorted(set(FOLDER.glob("*.yaml")) - {GATE})
LEAST = "data: {train: [posts.jsonl]}\n"


@pytest.fixture
def write(tmp_path):
    def to(name, content):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content, encoding="utf-8")
        return tmp_path / name

    return to


@pytest.fixture
def least(write):
    return write("least.yaml", LEAST)


@pytest.fixture(scope="module")
def shared_least(tmp_path_factory):
    path = tmp_path_factory.mktemp("configs") / "least.yaml"
    path.write_text(LEAST, encoding="utf-8")
    return path


def test_files_are_all_that_must_be_said(least):
    config = TrainConfig.load(least)
    assert config == TrainConfig.model_validate({"data": {"train": ["posts.jsonl"]}})
    assert config.data.train == (Path("posts.jsonl"),)
    assert config.train.learning_rate.lora == 5e-4


def test_the_base_config_writes_out_the_defaults(write):
    base = next(path for path in CONFIGS if path.name == "base.yaml")
    assert TrainConfig.load(write("mine.yaml", f"extends: {base}\n{LEAST}")) == TrainConfig.load(write("least.yaml", LEAST))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_config_that_we_ship_is_accepted(path):
    assert TrainConfig.load(path, ["data.train=[posts.jsonl]"]).data.train == (Path("posts.jsonl"),)


def test_the_gate_that_we_ship_writes_out_the_defaults():
    gate = GateConfig.load(GATE)
    assert gate == GateConfig.model_validate({"test": gate.test})


def test_a_config_wins_over_the_one_it_extends_key_by_key(write):
    write("shared/base.yaml", LEAST + "train: {epochs: 5, learning_rate: {base: 0.1, lora: 0.2}}\nlora: {rank: 4}\n")
    write("shared/middle.yaml", "extends: base.yaml\ntrain: {batch_size: 8}\n")
    mine = write("mine.yaml", "extends: shared/middle.yaml\ntrain: {learning_rate: {lora: 0.3}}\ndata: {train: [own.csv]}\n")
    config = TrainConfig.load(mine)
    assert (config.train.epochs, config.train.batch_size, config.lora.rank) == (5, 8, 4)
    assert (config.train.learning_rate.base, config.train.learning_rate.lora) == (0.1, 0.3)
    assert config.data.train == (Path("own.csv"),)


def test_overrides_win_and_the_last_one_counts(least):
    overrides = ["train.epochs=1", "train.epochs=2", "train.learning_rate.classifier=1.0e-3"]
    overrides += ["data.test=[a.tsv, b.tsv]", "train.class_weights=[1, 2, 1]"]
    config = TrainConfig.load(least, overrides)
    assert config.train.epochs == 2
    assert config.train.learning_rate.classifier == 1e-3
    assert config.data.test == (Path("a.tsv"), Path("b.tsv"))
    assert config.train.class_weights == (1, 2, 1)


def test_an_override_may_be_null_or_hold_an_equals_sign(least):
    config = TrainConfig.load(least, ["train.max_rows=null", "model.base=a=b"])
    assert config.train.max_rows is None
    assert config.model.base == "a=b"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("modle: {}\n", "unknown key modle: did you mean model?"),
        ("train: {batchsize: 8}\n", "unknown key train.batchsize: did you mean train.batch_size?"),
        ("train: {learning_rate: {bas: 1}}\n", "unknown key train.learning_rate.bas: did you mean train.learning_rate.base?"),
        ("lora: {r: 8}\n", "unknown key lora.r: did you mean lora.rank?"),
        ("1: 2\n", "unknown key 1: did you mean "),
        ("train: 5\n", "must be a table of keys, got 5"),
        ("model:\n", "must be a table of keys, got None"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest(content, reason, write):
    path = write("mine.yaml", LEAST + content)
    with pytest.raises(ConfigError) as refusal:
        TrainConfig.load(path)
    assert str(path) in str(refusal.value)
    assert reason in str(refusal.value)


@given(key=st.text("abcdefghijklmnopqrstuvwxyz_", min_size=1))
def test_no_unknown_key_is_ignored(key, shared_least):
    names = "|".join(LoraConfig.model_fields)
    with pytest.raises(ConfigError, match=rf"unknown key lora\.x{key}: did you mean lora\.({names})\?"):
        TrainConfig.load(shared_least, [f"lora.x{key}=1"])


@pytest.mark.parametrize(
    "override",
    [
        "model.max_tokens=7",
        "model.max_tokens=513",
        "model.method=magic",
        "model.trained_layers=0",
        "lora.rank=0",
        "lora.alpha=0",
        "lora.dropout=1",
        "lora.bias=some",
        "lora.target_modules=query",
        "lora.use_dora=2",
        "data.train=[]",
        "data.train=posts.jsonl",
        "data.validation=0",
        "data.validation=0.5",
        "data.validation={a.jsonl: 0}",
        "data.validation={a.jsonl: 1.5}",
        "data.repeat={a.jsonl: 0}",
        "train.epochs=0",
        "train.epochs=many",
        "train.batch_size=0",
        "train.batch_size=1.5",
        "train.learning_rate.lora=-1",
        "train.learning_rate.lora=.nan",
        "train.warmup_ratio=1",
        "train.weight_decay=-0.1",
        "train.label_smoothing=1",
        "train.class_weights=[1, 2]",
        "train.class_weights=some",
        "train.max_rows=49",
        "train.gradient_accumulation=0",
        "train.max_grad_norm=-1",
        "train.mixed_precision=fp8",
        "train.schedule=step",
        "train.focal_gamma=-1",
        "train.patience=0",
        "train.report_to=[printer]",
        "train.logging_steps=0",
        "export.precision=int4",
        "export.vocabulary_size=99",
    ],
)
def test_a_value_out_of_range_is_refused_with_its_key(override, least):
    with pytest.raises(ConfigError) as refusal:
        TrainConfig.load(least, [override])
    assert str(refusal.value).startswith(f"{least}: {override.partition('=')[0]}")


@pytest.mark.parametrize("method", ["full", "frozen"])
def test_only_lora_goes_on_from_an_adapter(method, least):
    with pytest.raises(ConfigError, match=f"model: adapter is for lora and qlora: for {method}, give the earlier"):
        TrainConfig.load(least, [f"model.method={method}", "model.adapter=runs/first/adapter"])


def test_yamls_no_is_no_mixed_precision(least):
    assert TrainConfig.load(least, ["train.mixed_precision=no"]).train.mixed_precision == "no"


def test_every_way_to_train_has_a_config_that_starts_with_its_command():
    ways = {"lora", "rslora", "dora", "qlora", "full", "frozen", "qwen-lora"}
    assert ways <= {path.stem for path in CONFIGS}
    for path in CONFIGS:
        if path.stem in ways:
            assert path.read_text("utf-8").startswith(f"#   python -m training run training/configs/{path.name} ")


@pytest.mark.parametrize("override", ["train.class_weights=[-1, 1, 1]", "train.epochs=.inf", "train.learning_rate.lora=.inf"])
def test_a_weight_a_rate_or_a_length_is_finite_and_not_negative(override, least):
    with pytest.raises(ConfigError, match=override.partition("=")[0]):
        TrainConfig.load(least, [override])


def test_a_config_without_files_is_refused(write):
    with pytest.raises(ConfigError, match=r"mine\.yaml: data: Field required"):
        TrainConfig.load(write("mine.yaml", ""))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("train: [", "not YAML"),
        ("- 1\n- 2\n", "must be a table of keys"),
        ("only words", "must be a table of keys"),
        ("!!python/object/apply:os.getcwd []", "not YAML"),
        ("train: {seed: 2001-99-99}", "not YAML"),
        ("extends: nowhere.yaml", r"nowhere\.yaml: can't be read \(No such file"),
        ("extends: mine.yaml", r"mine\.yaml: extends itself"),
    ],
)
def test_an_unusable_file_is_refused_by_name(content, reason, write):
    with pytest.raises(ConfigError, match=reason):
        TrainConfig.load(write("mine.yaml", content))


def test_a_circle_of_configs_is_refused(write):
    write("a.yaml", "extends: b.yaml")
    with pytest.raises(ConfigError, match="extends itself"):
        TrainConfig.load(write("b.yaml", "extends: a.yaml"))


def test_a_file_that_is_not_utf8_is_refused(tmp_path):
    (tmp_path / "mine.yaml").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ConfigError, match=r"mine\.yaml: not YAML"):
        TrainConfig.load(tmp_path / "mine.yaml")


def test_an_override_without_a_value_is_refused(least):
    with pytest.raises(ConfigError, match=r"--set train.epochs: write key\.sub=value"):
        TrainConfig.load(least, ["train.epochs"])


@pytest.mark.parametrize("override", ["train.epochs=[", "train.seed=2001-99-99"])
def test_an_override_that_is_not_yaml_is_refused(override, least):
    with pytest.raises(ConfigError, match="--set"):
        TrainConfig.load(least, [override])


def test_where_the_signing_key_lies_is_told_to_nobody(least):
    config = TrainConfig.load(least, ["export.signing_key=/media/safe/signing.pem"])
    assert config.export.signing_key == Path("/media/safe/signing.pem")
    assert config.model_dump(mode="json") == TrainConfig.load(least).model_dump(mode="json")
    assert "signing" not in config.model_dump_json()


def test_a_config_never_changes(least):
    with pytest.raises(ValueError, match="frozen"):
        TrainConfig.load(least).train.epochs = 9


def test_a_pattern_stands_for_the_files_that_match_now(tmp_path):
    pattern = str(tmp_path / "20*.jsonl")
    values = {"data": {"train": ["posts.jsonl", pattern]}}
    assert TrainConfig.model_validate(values).data.train == (Path("posts.jsonl"),)
    batches = [tmp_path / f"2026-11-2{day}-1.jsonl" for day in (5, 6)]
    for batch in reversed(batches):
        batch.touch()
    assert TrainConfig.model_validate(values).data.train == (Path("posts.jsonl"), *batches)
    for batch in batches:
        batch.unlink()
    with pytest.raises(ConfigError, match="at least 1 item"):
        TrainConfig.load(FOLDER / "base.yaml", [f"data.train=[{pattern}]"])


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (["data.sources={COLD: [posts.jsonl]}"], "task COLD: 'COLD' must be a lower-case word"),
        (["data.sources={cold: [posts.jsonl]}", "export.logit_adjustment=[0, 1]"], "logit_adjustment must have 3 or 6 numbers, got 2"),
        (["export.logit_adjustment=fitted"], "data.sources names none"),
        (["export.logit_adjustment={cold: 1}"], "data.sources names none"),
        (["data.sources={cold: [posts.jsonl]}", "export.logit_adjustment={swsr: 1}"], "data.sources has no swsr, only cold"),
        (["data.sources={topic: [posts.jsonl]}", "task_type=multi_cls", "tasks={topic: [a, b]}"], "topic is the name of a task"),
        (["task_type=multi_cls", "tasks={cold: [compliant, suspicious, violation]}"], "name its files in data.sources instead"),
    ],
)
def test_sources_are_files_of_the_config_with_names_of_their_own(overrides, reason, least):
    with pytest.raises(ConfigError, match=reason):
        TrainConfig.load(least, overrides)


@pytest.mark.parametrize(
    ("given", "applied"), [([0, 1, 2], (0, 1, 2, 0, 1, 2)), ([0, 1, 2, 3, 4, 5], (0, 1, 2, 3, 4, 5)), ("fitted", ()), ("{strict: 1}", ())]
)
def test_three_numbers_adjust_every_source_alike(given, applied, least):
    config = TrainConfig.load(least, ["data.sources={strict: [posts.jsonl]}", f"export.logit_adjustment={given}"])
    assert config.logit_adjustment == applied


def test_a_source_that_an_adapter_has_learnt_needs_no_files(least):
    config = TrainConfig.load(least, ["data.sources={strict: []}"])
    assert (config.sources, [block.name for block in config.outputs]) == (("strict",), ["strict"])
