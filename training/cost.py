"""What a fine-tuning costs on the machine at hand: batch size, memory, time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from training.config import TrainConfig
from training.dataset import Example
from training.estimate import Needs, gigabytes, load_tokenizer, reckon
from training.hardware import device_and_dtype, device_name, flops_per_second, free_bytes
from training.sets import Sets, read_sets

PADDED_TO = 8  # the Trainer's batches are padded to a multiple of it
TEXTS_AT_ONCE = 1000
# Of the bare products' speed; the rest goes into dropout, norms and memory. On 2 cores an encoder 384 wide reached 0.22; large models on
# GPUs reach 0.42 to 0.54 (Korthikanti et al. 2022, abstract).
UTILISATION = 0.25


@dataclass(frozen=True, slots=True)
class Tokens:
    """What the base's tokenizer makes of the rows, cut to the window; `train` and `validation` are sums over one epoch."""

    longest: int
    train: int
    validation: int


@dataclass(frozen=True, slots=True)
class Cost:
    """Memory (bytes) and time that fine-tuning should take on this machine. Exporting and measuring come on top."""

    device: str
    flops_per_second: float
    free: int
    batch_size: int
    largest_batch: int  # what `auto` means here
    longest: int  # tokens
    memory: Mapping[str, int]  # by use
    steps: int
    tokens: int  # over all epochs
    seconds: float

    @classmethod
    def of(cls, config: TrainConfig, needs: Needs, tokens: Tokens, rows: int) -> Self:
        """Estimate what a config costs on this machine.

        Raises:
            ConfigError: not even one row fits into the free memory.

        """
        device, dtype = device_and_dtype()
        free = free_bytes(device)
        largest = needs.largest_batch(tokens.longest, free)
        batch_size = largest if config.train.batch_size == "auto" else config.train.batch_size
        speed = flops_per_second(batch_size * tokens.train // rows, needs.width, device, dtype)
        operations = needs.train_flops_per_token * tokens.train + needs.score_flops_per_token * tokens.validation
        return cls(
            device=device_name(device),
            flops_per_second=speed,
            free=free,
            batch_size=batch_size,
            largest_batch=largest,
            longest=tokens.longest,
            memory=needs.fixed | {"activations": needs.activations(batch_size, tokens.longest)},
            steps=round(-(-rows // batch_size) * config.train.epochs),
            tokens=round(tokens.train * config.train.epochs),
            seconds=operations * config.train.epochs / (UTILISATION * speed),
        )


def choose_batch_size(config: TrainConfig) -> int:
    """Give the number that `train.batch_size: auto` means for a config on this machine, and say it.

    Raises:
        TrainingError: the base or the files can't be used, or not even one row fits into the free memory.

    """
    longest = count_tokens(config, read_sets(config)).longest
    free = free_bytes(device_and_dtype()[0])
    chosen = reckon(config).largest_batch(longest, free)
    print(f"batch size: {chosen}, for rows of up to {longest} tokens and {gigabytes(free)} of free memory", flush=True)
    return chosen


def count_tokens(config: TrainConfig, sets: Sets) -> Tokens:
    """Tokenise the rows as fine-tuning will; lengths are rounded up as its padding does.

    Raises:
        BaseModelError: the base has no tokenizer.

    """
    tokenizer = load_tokenizer(config.model.base)

    def lengths(examples: Sequence[Example]) -> list[int]:
        some = (examples[start : start + TEXTS_AT_ONCE] for start in range(0, len(examples), TEXTS_AT_ONCE))
        cut = (tokenizer([example.text for example in rows], truncation=True, max_length=config.model.max_tokens) for rows in some)
        return [-(-len(ids) // PADDED_TO) * PADDED_TO for encoded in cut for ids in encoded["input_ids"]]

    train, validation = lengths(sets.train), lengths(sets.validation)
    return Tokens(max(train), sum(train), sum(validation))
