"""Lay a bundle out as optimum wants a model, then become infinity's server: `folder.py BUNDLE FOLDER ARGUMENT...`."""

import json
import os
import shutil
import sys
from pathlib import Path

bundle, folder, *arguments = sys.argv[1:]
target = Path(folder)
target.mkdir(parents=True, exist_ok=True)
for name in ("model.onnx", "tokenizer.json"):
    shutil.copyfile(Path(bundle, name), target / name)  # not a link: optimum writes into what it has read
config = json.loads(Path(bundle, "config.json").read_text(encoding="utf-8"))
classifier = {"architectures": ["BertForSequenceClassification"]}  # by which infinity knows one; of several sources a bundle says BertModel
(target / "config.json").write_text(json.dumps(config | classifier))
max_tokens = json.loads(Path(bundle, "manifest.json").read_text(encoding="utf-8"))["max_tokens"]
tokenizer = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<pad>", "model_max_length": max_tokens}
(target / "tokenizer_config.json").write_text(json.dumps(tokenizer))
server = str(Path(sys.executable).with_name("infinity_emb"))
os.execv(server, [server, *arguments])
