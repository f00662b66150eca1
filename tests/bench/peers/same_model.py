"""The model that all serve, run as a peer's user would: tokenised, padded to the longest, one run of ONNX Runtime for a batch."""

import json
import os
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

Verdict = dict[str, str | list[float]]  # a label and the three probabilities


class SameModel:
    """The bundle that BENCH_MODEL names. `threads` are ONNX Runtime's own; 0 leaves them to it: one a core."""

    def __init__(self, threads: int = 0) -> None:
        bundle = Path(os.environ["BENCH_MODEL"])  # noqa: TID251 - how the bench tells each server
        manifest = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(bundle / "model.onnx", options, providers=["CPUExecutionProvider"])
        self._inputs = {value.name for value in self._session.get_inputs()}
        self._tokenizer = Tokenizer.from_file(str(bundle / "tokenizer.json"))
        self._tokenizer.enable_truncation(manifest["max_tokens"])
        self._tokenizer.enable_padding(pad_id=json.loads((bundle / "config.json").read_text())["pad_token_id"])
        self._labels, self._temperature = manifest["labels"], manifest["temperature"]

    def judge(self, texts: list[str]) -> list[Verdict]:
        """Judge normalised texts together."""
        encodings = self._tokenizer.encode_batch_fast(texts)
        ids = np.array([encoding.ids for encoding in encodings])
        mask = np.array([encoding.attention_mask for encoding in encodings])
        values = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        logits = self._session.run(["logits"], {name: values[name] for name in self._inputs})[0] / self._temperature
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities = (exponentials / exponentials.sum(axis=1, keepdims=True)).tolist()
        return [{"label": self._labels[int(np.argmax(each))], "probabilities": each} for each in probabilities]
