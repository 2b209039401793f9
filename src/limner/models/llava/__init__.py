"""LLaVA-OneVision-Qwen2 (2408.03326) as the published reward models of 2501.13926 use it: it looks and answers."""
