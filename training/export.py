"""Write a merged model as an ONNX graph, and prove that it computes what torch computed."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from onnxruntime.transformers.fusion_options import FusionOptions
from onnxruntime.transformers.optimizer import optimize_model
from optimum.exporters.onnx import onnx_export_from_model
from optimum.exporters.onnx.model_configs import BertOnnxConfig
from optimum.exporters.tasks import TasksManager
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from semantic_service.contract.bundle import CONFIG_FILE, MODEL_FILE, TOKENIZER_FILE
from semantic_service.engine.classifier import OnnxClassifier
from training.errors import BaseModelError
from training.parameters import count_weights
from training.parity import PARITY_TEXTS, check_logits

MAX_GRAPH_BYTES = 2**31  # of one ONNX file, a protocol buffer

TasksManager.create_register("onnx")("ernie", "text-classification")(BertOnnxConfig)  # BERT with other weights


def refuse_unexportable(model: PreTrainedModel, vocabulary_size: int | None) -> None:
    """Check, before anything is trained, that the model can become one ONNX file, with its vocabulary shrunk as asked.

    Raises:
        BaseModelError: the exporter does not know the architecture, or the weights are too many.

    """
    architecture = model.config.model_type
    if architecture not in TasksManager.get_supported_model_type_for_task("text-classification", "onnx"):
        raise BaseModelError(f"model.base is a {architecture}, which has no ONNX export: choose a BERT, RoBERTa, ERNIE, Qwen or Llama")
    dropped = 0 if vocabulary_size is None else max(model.config.vocab_size - vocabulary_size, 0) * model.config.hidden_size
    size = 4 * (count_weights(model) - dropped)  # bytes in fp32
    if size >= MAX_GRAPH_BYTES:
        raise BaseModelError(f"model.base takes {size / 1e9:.1f} GB in fp32, and an ONNX file holds 2.1 GB: choose a smaller base")


def export(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write model.onnx (fp32, fused where ONNX Runtime knows the architecture), tokenizer.json and config.json."""
    assert isinstance(tokenizer, PreTrainedTokenizerFast)  # serving reads its tokenizer.json
    folder.mkdir(parents=True, exist_ok=True)
    model.eval()  # a graph traced in train mode keeps its dropout
    onnx_export_from_model(model, folder, task="text-classification", do_validation=False)
    _fuse(folder / MODEL_FILE, model)
    tokenizer.backend_tokenizer.save(str(folder / TOKENIZER_FILE), pretty=False)
    model.config.to_json_file(folder / CONFIG_FILE)


def _fuse(path: Path, model: PreTrainedModel) -> None:
    if model.config.model_type not in {"bert", "roberta", "xlm-roberta", "ernie"}:
        return
    heads, hidden = model.config.num_attention_heads, model.config.hidden_size
    options = FusionOptions("bert")
    options.enable_skip_layer_norm = options.enable_bias_skip_layer_norm = False  # on a CPU 4 times as slow as its parts
    options.enable_bias_gelu = False  # the bias goes into int8's matrix product instead
    fused = optimize_model(str(path), "bert", num_heads=heads, hidden_size=hidden, opt_level=0, optimization_options=options)
    fused.save_model_to_file(str(path))


def check_parity(model: PreTrainedModel, classifier: OnnxClassifier, texts: Sequence[str]) -> float:
    """Compare torch's and ONNX Runtime's logits on the first window of each text.

    Returns:
        The largest absolute difference.

    Raises:
        ParityError: it is above 1e-3.

    """
    windows = [classifier.windows(text)[0] for text in texts[:PARITY_TEXTS]]
    return check_logits(zip(map(partial(_torch_logits, model), windows), classifier.logits(windows), strict=True))


def _torch_logits(model: PreTrainedModel, window: Sequence[int]) -> NDArray[np.float32]:
    ids = torch.tensor([window])
    with torch.inference_mode():
        logits: NDArray[np.float32] = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0].numpy()
    return logits
