"""`limner models`: what there is to choose from."""

from __future__ import annotations

from dataclasses import dataclass

from limner import catalog
from limner.app.console import Json, json_line


@dataclass(frozen=True)
class Models:
    """List the models inside the package."""

    json: Json = False

    def run(self) -> int:
        """One line a model."""
        for row in catalog.describe():
            if self.json:
                json_line(row)
            else:
                print(f"{row['name']:<20}{row['family']:<12}{row['bytes'] / 1e6:>7.1f} MB  {row['folder']}")
        return 0
