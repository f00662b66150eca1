"""Adapters on their base, judged by torch: the base is loaded once, the adapters are swapped on it."""

from collections.abc import Sequence
from pathlib import Path

import torch
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from semantic_service.contract.labels import Label
from semantic_service.engine.classifier import OVERLAP, most_severe, softmax
from training.errors import BaseModelError
from training.heads import tasks_of
from training.merge import load_tokenizer
from training.predict import Answer
from training.pretrained import load_base, saved_outputs
from training.sources import fold, sources_in


class TorchJudge:
    """A model as torch computes it: without calibration, and one text after the other."""

    threads = 1

    def __init__(self, name: str, model: PreTrainedModel | PeftModel, tokenizer: PreTrainedTokenizerBase, max_tokens: int) -> None:
        """Cut texts into the windows that serving would cut them into."""
        assert isinstance(tokenizer, PreTrainedTokenizerFast)
        self._name = name
        self._model = torch.nn.Module.to(model, "cuda" if torch.cuda.is_available() else "cpu").eval()
        self._tokenizer = tokenizer.backend_tokenizer
        self._tokenizer.no_padding()
        max_tokens = min(max_tokens, getattr(model.config, "max_position_embeddings", max_tokens))
        self._tokenizer.enable_truncation(max_tokens, stride=max_tokens // OVERLAP)

    def judge(self, text: str) -> list[Answer]:
        """Answer for a normalised text."""
        return [Answer(self._name, self._probabilities(text))]

    def _probabilities(self, text: str) -> list[float]:
        encoding = self._tokenizer.encode_batch_fast([text])[0]
        windows = [torch.tensor([window.ids], device=self._model.device) for window in (encoding, *encoding.overflowing)]
        with torch.inference_mode():
            logits = torch.cat([self._model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits for ids in windows])
        severity = fold(logits.float().cpu().numpy(), sources_in(tasks_of(self._model.config)))[:, : len(Label)]
        each = softmax(severity)
        probabilities: list[float] = each[most_severe(each)].tolist()
        return probabilities


def merged_judge(path: Path, max_tokens: int) -> TorchJudge:
    """Load a merged model.

    Raises:
        BaseModelError: it can't be loaded.

    """
    return TorchJudge(str(path), *load_base(str(path), outputs=saved_outputs(path)), max_tokens)


class AdapterJudge(TorchJudge):
    """Several adapters, each by its name, on one base."""

    def __init__(self, base: str, adapters: Sequence[Path], max_tokens: int) -> None:
        """Load the base, then every adapter onto it.

        Raises:
            BaseModelError: the base, or an adapter, can't be loaded.

        """
        self._names = {f"adapter-{number}": str(path) for number, path in enumerate(adapters)}  # PEFT's own allow no dot
        model, _ = load_base(base, outputs=saved_outputs(adapters[0]))
        super().__init__(base, _with_adapters(model, self._names), load_tokenizer(base, adapters[0]), max_tokens)

    def judge(self, text: str) -> list[Answer]:
        """Answer for a normalised text, once for each adapter."""
        answers = []
        for adapter, name in self._names.items():
            self._model.set_adapter(adapter)
            answers.append(Answer(name, self._probabilities(text)))
        return answers


def _with_adapters(model: PreTrainedModel, names: dict[str, str]) -> PeftModel:
    adapted: PeftModel | None = None
    for name, path in names.items():
        try:
            if adapted is None:
                adapted = PeftModel.from_pretrained(model, path, adapter_name=name)
            else:
                adapted.load_adapter(path, adapter_name=name)
        except (OSError, ValueError, RuntimeError) as error:
            raise BaseModelError(f"the adapter {path} can't be loaded onto this base ({error})") from error
    assert adapted is not None
    return adapted
