"""MindOmni (2505.13031): Qwen2.5-VL thinks, a connector hands its states on, OmniGen's transformer draws."""
