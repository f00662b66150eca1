"""FastAPI with a transformers pipeline, as tutorials write it: torch, 32-bit floats, the model's own labels.

The weights are random, since a bundle holds none for torch: the same architecture and tokenizer cost the same time.
"""

import json
import os
from pathlib import Path

from fastapi import FastAPI
from pydantic import BaseModel
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedTokenizerFast, pipeline

bundle = Path(os.environ["BENCH_MODEL"])  # noqa: TID251 - how the bench tells each server
model = AutoModelForSequenceClassification.from_config(AutoConfig.from_pretrained(bundle))
max_tokens = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))["max_tokens"]
tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(bundle / "tokenizer.json"), pad_token="<pad>", model_max_length=max_tokens)
classifier = pipeline("text-classification", model=model.eval(), tokenizer=tokenizer, top_k=None, truncation=True)
app = FastAPI()


class Post(BaseModel):
    """What is to be judged."""

    text: str


@app.post("/classify")
def classify(post: Post) -> list[dict[str, str | float]]:
    """Judge one text: every label with its score, the likeliest first."""
    return classifier([post.text])[0]
