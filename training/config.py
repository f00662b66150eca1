"""The keys of a training config and of a gate's, with what each may be."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, PlainSerializer, model_validator

from semantic_service.contract.labels import LABEL_NAMES, Label
from semantic_service.contract.tasks import Task
from training.config_file import ConfigFile, Section
from training.dataset import Columns
from training.rows import matching
from training.tasks import OTHER_COLUMNS


class ModelConfig(Section):
    """The encoder or decoder to start from: a Hugging Face name or a local folder.

    `method` says what trains beside the head: adapters, adapters on a base in 4 bits (`qlora`), every weight, or the upper
    `trained_layers` of a base that is `frozen` below them. `dropout` replaces the base's own rates. `adapter` goes on from an earlier
    run's adapter on the same base (its folder), and keeps that adapter's LoRA settings.
    """

    base: str = "hfl/chinese-roberta-wwm-ext"
    adapter: Path | None = None
    max_tokens: Annotated[int, Field(ge=8, le=512)] = 128
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = None
    method: Literal["lora", "qlora", "full", "frozen"] = "lora"
    trained_layers: Annotated[int, Field(ge=1)] = 2

    @model_validator(mode="after")
    def _adapt_only_by_lora(self) -> Self:
        if self.adapter is not None and self.method not in {"lora", "qlora"}:
            raise ValueError(f"adapter is for lora and qlora: for {self.method}, give the earlier run's folder as model.base")
        return self


class LoraConfig(Section):
    """Low-rank adapters (Hu et al. 2021), with the scale of rsLoRA (Kalajdzievski 2023) or the magnitudes of DoRA (Liu et al. 2024).

    `auto` adapts query, key, value and dense layers of BERT and its relatives, q_proj, k_proj, v_proj and o_proj of Qwen, Llama and
    theirs, else what `all-linear` does: every linear layer below the head.
    """

    rank: Annotated[int, Field(ge=1, le=512)] = 16
    alpha: Annotated[float, Field(gt=0)] = 32
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.05
    target_modules: Literal["auto", "all-linear"] | tuple[str, ...] = "auto"
    bias: Literal["none", "all", "lora_only"] = "none"
    use_rslora: bool = False
    use_dora: bool = False


_LabelName = Annotated[Label, BeforeValidator(Label.parse), PlainSerializer(lambda label: label.english)]


class DataConfig(Section):
    """Files of labelled texts, in `train` also patterns such as data/annotations/20*.jsonl.

    `validation` is a share of `train`, split off by the hash of each text; or files; or a share of each file.
    A text of validation, test or benign files is never trained on, so a file may stand in `train` and, with its share, in `validation`.
    `repeat` shows the rows of a training file that many times an epoch: 3 for a small file of one's own among big public ones,
    0.3 for a fixed 30 % of a file. `sources` names those who label by habits of their own, with their files of `train`: they are learnt
    apart, and judge together; files of no name are one source. One may be without files here, where `model.adapter` has learnt it.
    A text that several named sources have, or nearly, is left to the last of them, whose files of `test` may be named for that too.
    `label_names` says what other people's labels mean here: {negative: violation, positive: compliant}.
    """

    train: Annotated[tuple[Path, ...], BeforeValidator(matching), Field(min_length=1)]
    validation: tuple[Path, ...] | dict[Path, Annotated[float, Field(gt=0, le=1)]] | Annotated[float, Field(gt=0, lt=0.5)] = 0.1
    test: tuple[Path, ...] = ()
    benign: tuple[Path, ...] = ()
    repeat: dict[Path, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    sources: dict[str, tuple[Path, ...]] = Field(default_factory=dict)
    text_column: str = "text"
    label_column: str = "label"
    label_names: dict[str, _LabelName] = Field(default_factory=dict)


_Weight = Annotated[float, Field(ge=0)]
_MixedPrecision = Annotated[
    Literal["auto", "no", "bf16", "fp16"], BeforeValidator(lambda value: "no" if value is False else value)
]  # YAML reads no as false


class LearningRates(Section):
    """Peak learning rates: `base` for the base's own weights that train (only biases, under LoRA), then adapters, then the head."""

    base: Annotated[float, Field(gt=0)] = 2e-5
    lora: Annotated[float, Field(gt=0)] = 5e-4
    classifier: Annotated[float, Field(gt=0)] = 5e-4


class TrainSection(Section):
    """How to fine-tune.

    An optimiser step takes `batch_size` rows `gradient_accumulation` times on each process. Gradients are clipped to `max_grad_norm` (0:
    never). `gradient_checkpointing` saves memory by computing twice. `mixed_precision: auto` is what the machine computes fast.
    `batch_size: auto` is the largest power of two, up to 64, that should fit into the free memory; a run keeps what it was begun with.
    `probe_rows` are the training rows that a new head is fitted to before fine-tuning begins (0: it begins with random weights).
    `focal_gamma` above 0 makes the loss focal (Lin et al. 2017 take 2). `patience` ends a run after so many epochs without a better one.
    """

    epochs: Annotated[float, Field(gt=0)] = 3
    batch_size: Literal["auto"] | Annotated[int, Field(ge=1)] = 32
    gradient_accumulation: Annotated[int, Field(ge=1)] = 1
    gradient_checkpointing: bool = False
    mixed_precision: _MixedPrecision = "auto"
    learning_rate: LearningRates = LearningRates()
    schedule: Literal["linear", "cosine"] = "linear"
    warmup_ratio: Annotated[float, Field(ge=0, lt=1)] = 0.06
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    max_grad_norm: Annotated[float, Field(ge=0)] = 1.0
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    focal_gamma: Annotated[float, Field(ge=0)] = 0.0
    class_weights: Literal["balanced", "none"] | tuple[_Weight, _Weight, _Weight] = "balanced"
    patience: Annotated[int, Field(ge=1)] | None = None
    seed: int = 7
    max_rows: Annotated[int, Field(ge=50)] | None = None
    probe_rows: Annotated[int, Field(ge=0)] = 1024
    logging_steps: Annotated[int, Field(ge=1)] = 20
    checkpoint_steps: Annotated[int, Field(ge=1)] = 200  # between checkpoints; the newest 3 are kept
    report_to: tuple[Literal["tensorboard", "mlflow", "wandb"], ...] = ()


class NgramConfig(Section):
    """A linear model over tokens and pairs of neighbours, beside the encoder; it learns from few rows which words give a post away.

    Pairs are hashed into `buckets` (0: no such model); `alpha` is its L2 penalty. How much it counts is fitted on validation, if
    `weight` does not say it.
    """

    buckets: Annotated[int, Field(ge=0, le=2**24)] = 0
    alpha: Annotated[float, Field(gt=0)] = 2e-6
    weight: Annotated[float, Field(gt=0)] | None = None


class ExportConfig(Section):
    """How the model is stored. `auto` takes int8 where its measured loss is small, else fp32.

    `vocabulary_size` drops the least useful pieces of a Unigram tokenizer; `average_with` are other adapters on the same base, whose
    weights are averaged with this run's (Wortsman et al. 2022); `logit_adjustment` is added to the logits of [compliant, suspicious,
    violation], or to these of each source in turn, to move what training weighed too little (Menon et al. 2021), and `fitted` on
    validation it makes the sources judge best together, each by macro-F1 (`merge` alone leaves that out); sources named with a
    number, {name: 0.5}, have that added to all their logits, and the rest is fitted; `card_notes` go into the model card; `signing_key`
    is a private key in PEM (`python -m training sign --help`), whose path is kept neither with the run nor in the bundle.
    """

    precision: Literal["auto", "fp32", "int8"] = "auto"
    vocabulary_size: Annotated[int, Field(ge=100)] | None = None
    average_with: tuple[Path, ...] = ()
    logit_adjustment: Literal["fitted"] | dict[str, float] | tuple[float, ...] = (0.0, 0.0, 0.0)
    card_notes: str = ""
    signing_key: Annotated[Path | None, Field(exclude=True)] = None


class TrainConfig(ConfigFile):
    """Everything that decides a run's outcome.

    `multi_cls` trains one encoder for the severity and for further `tasks`, each with labels of its own; a row may lack some.
    """

    task_type: Literal["single_cls", "multi_cls"] = "single_cls"
    tasks: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    model: ModelConfig = ModelConfig()
    lora: LoraConfig = LoraConfig()
    data: DataConfig
    train: TrainSection = TrainSection()
    ngrams: NgramConfig = NgramConfig()
    export: ExportConfig = ExportConfig()

    @property
    def columns(self) -> Columns:
        """How to read a row."""
        return Columns(self.data.text_column, self.data.label_column, self.data.label_names, self.further_tasks)

    @property
    def further_tasks(self) -> tuple[Task, ...]:
        """The tasks beside the severity, in the order of the model's outputs."""
        return tuple(Task(name, labels) for name, labels in self.tasks.items())

    @property
    def sources(self) -> tuple[str, ...]:
        """Those who label by habits of their own, in the order of the model's outputs; the first, who has no name, is left out."""
        return tuple(self.data.sources)

    @property
    def outputs(self) -> tuple[Task, ...]:
        """The blocks of outputs behind the first source's severity while training: the named sources', then the further tasks'."""
        return (*(Task(name, LABEL_NAMES) for name in self.sources), *self.further_tasks)

    @property
    def logit_adjustment(self) -> tuple[float, ...]:
        """What is added to the severity's logits, of each source in turn, as the adapter is merged."""
        given = self.export.logit_adjustment
        if not isinstance(given, tuple):
            return ()
        return given if len(given) > len(Label) else given * (1 + len(self.sources))

    @property
    def fitted_beside(self) -> Mapping[str, float] | None:
        """The sources' numbers beside which the others' are fitted; None where nothing is fitted."""
        given = self.export.logit_adjustment
        if isinstance(given, tuple):
            return None
        return given if isinstance(given, dict) else {}

    @model_validator(mode="after")
    def _check_sources(self) -> Self:
        names = [block.name for block in self.outputs]  # a name that can't be one is refused here
        if twice := [name for name in self.sources if names.count(name) > 1]:
            raise ValueError(f"data.sources: {twice[0]} is the name of a task")
        if severity := [task.name for task in self.further_tasks if task.labels == LABEL_NAMES]:
            raise ValueError(f"tasks.{severity[0]} has the severity's labels: name its files in data.sources instead")
        adjustment, width = self.export.logit_adjustment, len(Label) * (1 + len(self.sources))
        if self.fitted_beside is not None and not self.sources:
            raise ValueError("export.logit_adjustment: what is fitted is how far each source is believed, and data.sources names none")
        if unknown := {*(self.fitted_beside or ())} - {*self.sources}:
            raise ValueError(f"export.logit_adjustment: data.sources has no {min(unknown)}, only {', '.join(self.sources)}")
        if isinstance(adjustment, tuple) and len(adjustment) not in {len(Label), width}:
            raise ValueError(f"export.logit_adjustment must have {len(Label)} or {width} numbers, got {len(adjustment)}")
        return self

    @model_validator(mode="after")
    def _check_tasks(self) -> Self:
        if self.task_type == "multi_cls" and not self.tasks:
            raise ValueError("task_type multi_cls needs tasks, such as tasks: {category: [none, abuse, advert]}")
        if self.task_type == "single_cls" and self.tasks:
            raise ValueError("tasks are for task_type: multi_cls")
        names = {task.name for task in self.further_tasks}
        if taken := names & {*OTHER_COLUMNS, self.data.text_column, self.data.label_column}:
            raise ValueError(f"tasks.{min(taken)}: a row's {min(taken)} is something else, call the task otherwise")
        return self


class Tolerance(Section):
    """How much worse a challenger may be, as shares: of a label's recall, of ordinary texts left alone, of evasions flagged."""

    recall: Annotated[float, Field(ge=0, le=1)] = 0.02
    benign: Annotated[float, Field(ge=0, le=1)] = 0.01
    evasion: Annotated[float, Field(ge=0, le=1)] = 0.02


class GateConfig(ConfigFile):
    """What a challenger must keep up with. It fails where the bootstrap finds it worse than tolerated with more probability than `risk`."""

    test: Annotated[tuple[Path, ...], Field(min_length=1)]
    benign: tuple[Path, ...] = ()
    evasion: tuple[Path, ...] = ()
    tolerance: Tolerance = Tolerance()
    risk: Annotated[float, Field(gt=0, lt=1)] = 0.5
    resamples: Annotated[int, Field(ge=100)] = 10_000
    seed: int = 7
