"""MMaDA (2505.15809): masked diffusion over words and picture codes in one transformer."""
