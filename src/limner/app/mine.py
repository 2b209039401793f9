"""`limner mine`: preference pairs from a model's own pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from limner import catalog
from limner.app.console import OWN, Bar, Device, Json, ModelName, Seed, json_line, line
from limner.app.verifying import Judge

_PROMPTS = "A file with one prompt a line, or world: prompts of the picture world that training may see."


@dataclass(frozen=True)
class Mine:
    """Make pictures for every prompt, judge them, and pair the better with the worse. A stopped run goes on."""

    prompts: Annotated[str, tyro.conf.arg(metavar="FILE", help=_PROMPTS)] = "world"
    number: Annotated[int, tyro.conf.arg(aliases=["-n"], help="Pictures for every prompt.")] = 8
    most_prompts: Annotated[int, tyro.conf.arg(help="How many prompts are taken.")] = 100
    judge: Judge = "scenes"
    rule: Literal["extremes", "ranked", "random"] = "extremes"
    """Best against worst; also second best against second worst; or any that passes against any that fails."""
    most: Annotated[int, tyro.conf.arg(help="Pairs of a prompt, with --rule ranked.")] = 1
    think: bool = False
    """Think before drawing."""
    steps: Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint=OWN)] = None
    """In how many steps a picture is drawn, 1 to 1000."""
    seed: Seed = 0
    model: ModelName = catalog.DEFAULT
    device: Device = "cpu"
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("out/pairs")
    """Folder for candidates.jsonl and pairs.jsonl."""
    json: Json = False

    def run(self) -> int:
        """Mine, and say what was found."""
        from dataclasses import replace

        from limner.request import Request

        Request("generate", "any", self.think, self.steps)  # steps are possible
        catalog.find(self.model)
        from limner.judges.named import SCENES, find_verifier
        from limner.recipes.cot_data import prompts_in, world_tasks
        from limner.train.mining import Mining, by_verifier, mine, summary

        how = Mining(self.number, self.rule, self.most, seed=self.seed)
        if self.most_prompts < 1:
            raise ValueError(f"--most-prompts {self.most_prompts}: give 1 or more")
        if self.prompts == "world":
            tasks = world_tasks(self.seed, self.most_prompts)
        elif self.judge == SCENES:
            raise ValueError(
                f"the judge {SCENES} needs to know what prompts ask for; use --prompts world, or another judge"
            )
        else:
            tasks = prompts_in(Path(self.prompts), self.most_prompts)
        model = catalog.load_model(self.model, device=self.device)
        *before, picture = model.plan(model.kinds("image", self.think))
        plan = (*before, replace(picture, steps=self.steps or picture.steps))
        label = f"{self.model}, judged by {self.judge}, {self.steps or 'own'} steps" + (
            ", thinking" * (self.think and model.thinks)
        )
        judge = by_verifier(find_verifier(self.judge, model, device=self.device))
        bar = Bar(self.json)
        try:
            mine(model, tasks, plan, judge, how, self.out, label=label, progress=lambda n, of: bar("mining", n / of))
        finally:
            bar.stop()
        found = summary(self.out)
        pairs = self.out / "pairs.jsonl"
        if self.json:
            json_line({"model": self.model, "judge": self.judge, **found, "path": str(pairs)})
            return 0
        told = f"{found['prompts']} prompts, {found['candidates']} pictures, {found['judged']} judged"
        line("mined", f"{told}, mean score {found['mean']:.3f}")
        line("pairs", f"{found['pairs']} in {pairs}")
        return 0
