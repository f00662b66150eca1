"""Texts to judgements: ONNX Runtime and tokenizers, no HTTP."""
