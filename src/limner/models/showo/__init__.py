"""Show-o (2408.12528): words from left to right and picture codes by parallel unmasking in one transformer."""
