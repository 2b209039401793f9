"""The golden scoring cases of published benchmarks: each file's cases, computed by limner and compared."""

import importlib.util
import json
from math import isclose
from pathlib import Path

from limner.bench import answers, choices, dpg, editing, geneval, maths, wise


def cases(folder, name):
    """The cases of one golden file."""
    path = Path(folder) / f"{name}.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def same(got, wanted, tolerance=1e-6):
    """Whether two JSON values agree, numbers relatively to ``tolerance``."""
    if isinstance(wanted, dict):
        return isinstance(got, dict) and got.keys() == wanted.keys() and all(same(got[k], wanted[k]) for k in wanted)
    if isinstance(wanted, list | tuple):
        return isinstance(got, list | tuple) and len(got) == len(wanted) and all(map(same, got, wanted))
    if isinstance(wanted, float | int) and not isinstance(wanted, bool) and isinstance(got, float | int):
        return isclose(got, wanted, rel_tol=tolerance, abs_tol=1e-9)
    return got == wanted


def detections(boxes, marks=None):
    marks = marks or [None] * len(boxes)
    return [geneval.Detection(tuple(b[:4]), b[4], mark) for b, mark in zip(boxes, marks, strict=False)]


OPTIONS = {
    "threshold": "score",
    "counting_threshold": "counting_score",
    "max_objects": "most",
    "max_overlap": "overlap",
    "position_threshold": "margin",
}


def rules_of(case):
    return geneval.Rules(**{OPTIONS[name]: value for name, value in case.get("options", {}).items()})


def found_in(case, name):
    colours = case.get("colors", {})
    every = case[name].items()
    return {kind: detections(boxes, colours.get(kind) or [None] * len(boxes)) for kind, boxes in every}


def geneval_rules(case):
    made = geneval.judge(case["metadata"], found_in(case, "objects"), geneval.marked, rules_of(case))
    return {"correct": made.correct, "reason": list(made.reasons)}


def geneval_position(case):
    return {"relations_of_a_to_b": sorted(geneval.relations(case["box_a"], case["box_b"], case["position_threshold"]))}


def geneval_detect(case):
    kept = geneval.keep(found_in(case, "detections"), case["metadata"]["tag"], rules_of(case))
    made = geneval.judge(case["metadata"], kept, geneval.marked, rules_of(case))
    return {
        "correct": made.correct,
        "reason": list(made.reasons),
        "kept": {name: [[*one.box, one.score] for one in found] for name, found in sorted(kept.items())},
    }


def geneval_summary(case):
    made = geneval.summary([tuple(row) for row in case["rows"]])
    tags = {
        tag: {"pct": f"{100 * made['tags'][tag]:.2f}", "correct": right, "n": number}
        for tag, (right, number) in made["counts"].items()
    }
    return {
        "total_images": made["images"],
        "total_prompts": made["prompts"],
        "pct_correct_images": f"{100 * made['image_share']:.2f}",
        "pct_correct_prompts": f"{100 * made['prompt_share']:.2f}",
        "tags": tags,
        "overall": f"{made['overall']:.5f}",
    }


def geneval2(case):
    return geneval.atoms(case["rows"])


def dpg_sample(case):
    questions = [
        dpg.Question(q["id"], tuple(p for p in q["dependency"] if p), q["tuple"], "") for q in case["questions"]
    ]
    images = [{int(k): v for k, v in image.items()} for image in case["answers"]]
    made = [dpg.image_score(questions, image, "official") for image in images]
    scores = [score for score, _ in made]
    raw = {str(k): v for k, v in made[-1][1].items()}
    return {"score": sum(scores) / len(scores), "per_image": scores, "raw_scores_last_image": raw}


def dpg_bench(case):
    items = dpg.by_item(case["csv_rows"], "official")
    shown = {k: [{int(q): a for q, a in image.items()} for image in case["answers"][k]] for k in case["image_files"]}
    made = dpg.benchmark(items, shown, "official")
    return {name: made[name] for name in ("dpg_score", "l1", "l2", "failed")}


def wise_parse(case):
    scores = wise.grades(case["judge_reply"])
    total = wise.wiscore(scores)
    return {"scores": scores, "complete": total is not None, "wiscore": total}


def wise_verified_parse(case):
    return {"cleaned": wise.cleaned(case["judge_reply"]), "score": wise.bit(case["judge_reply"])}


def unpacked(files, protocol):
    """The rows of packed files: three digits a prompt in the legacy protocol, one in the verified one."""
    wide = 3 if protocol == "legacy" else 1
    names = wise.METRICS if protocol == "legacy" else ("score",)
    for segment in (segment for file in files for segment in file):
        if "raw" in segment:
            try:
                yield json.loads(segment["raw"])
            except ValueError:
                continue
            continue
        digits = [int(digit) for digit in segment["scores"]]
        for i in range(0, len(digits), wide):
            yield {
                "prompt_id": segment["start"] + i // wide,
                **dict(zip(names, digits[i : i + wide], strict=True)),
            }


def wise_aggregate(case):
    made = wise.benchmark(unpacked(case["files"], case["protocol"]), case["protocol"], case["category"])
    overall = made["overall"]
    return {
        "category_mean": made["mean"],
        "category_n": made["n"],
        "printed_overall": None if overall is None else f"{overall:.2f}",
        "aborted": bool(made["missing"]),
    }


def imgedit(case):
    return {"average": editing.imgedit_reply(case["judge_reply"])}


def gedit_parse(case):
    try:
        return {"score": editing.gedit_reply(case["judge_reply"])}
    except ValueError as error:
        return {"special": editing.LIMIT} if "rate limit" in str(error) else {"failed": True}


def gedit_aggregate(case):
    if "rows" not in case:
        sc, pq, overall = editing.viescore(
            editing.gedit_reply(case["semantic_reply"]), editing.gedit_reply(case["quality_reply"])
        )
        return {"semantic": sc, "quality": pq, "overall": overall}
    names = ("group", "language", "sc", "pq", "common")
    made = editing.gedit([dict(zip(names, row, strict=True)) for row in case["rows"]], case["language"])
    return {name: made[name] for name in case["expected"]}


def mmmu_multiple_choice(case):
    options = case["options"]
    return {name: choices.mmmu_choice(case["response"], options, name) or "<random>" for name in case["expected"]}


def mmmu_open(case):
    found = choices.open_answer(case["response"])
    numbers = sorted(value for value in found if isinstance(value, float))
    shown = [*numbers, *sorted(value for value in found if isinstance(value, str))]
    named = {"nan": "__nan__", "inf": "__inf__"}
    shown = [named.get(str(value), value) if isinstance(value, float) else value for value in shown]
    return {"parsed": shown, "correct": choices.open_right(case["gold"], found)}


def mmbench_infer(case):
    names = {name: name.replace("_mmada_fork", "_fork") for name in case["expected"]}
    return {name: choices.match(case["response"], case["choices"], parser) for name, parser in names.items()}


def mmbench_circular(case):
    hit, hits = choices.circular(case["rolls"])
    return {"circular_hit": int(hit), "vanilla_hits": [int(each) for each in hits]}


def yesno(case):
    return {"mme_lmms": answers.mme_yes_no(case["response"]), "vlmevalkit": answers.yes_no(case["response"])}


def mme(case):
    return answers.mme([tuple(row) for row in case["rows"]])


def pope(case):
    rows = [tuple(row) for row in case["rows"]]
    made = {name: answers.pope(rows, name) for name in case["expected"]}
    return {name: {key: made[name][key] for key in wanted} for name, wanted in case["expected"].items()}


def vqa(case):
    text, accuracy = answers.vqa(case["response"], case["answers"])
    return {"normalized": text, "accuracy": accuracy}


def short_answer(case):
    right = {"gqa": answers.gqa, "seed": answers.seed, "realworldqa": answers.realworldqa}[case["benchmark"]]
    made = {"correct": right(case["response"], case["gold"]), "pred": answers.seed_letter(case["response"])}
    return {name: made[name] for name in case["expected"]}


def gsm8k(case):
    made = {rule: maths.gsm8k(case["response"], case["gold_answer_field"], rule) for rule in case["expected"]}
    return {rule: {"extracted": said, "correct": right} for rule, (said, right) in made.items()}


def math(case):
    """Without Minerva's verdict (its sympy parser comes with lm-evaluation-harness); math-verify where installed."""
    box = maths.last_boxed(case["response"])
    made = {"hendrycks": maths.hendrycks(case["response"], case["gold_solution"]), "last_boxed": box}
    if importlib.util.find_spec("math_verify"):
        made["math_verify"] = maths.verified(case["response"], case["gold_solution"])
    case["expected"] = {name: case["expected"][name] for name in made}
    return made


def math_equiv(case):
    def form(text):
        try:
            return maths.stripped(text)
        except ValueError as error:
            return {"error": type(error).__name__}

    a, b = case["a"], case["b"]
    return {"strip_a": form(a), "strip_b": form(b), "equivalent": maths.equivalent(a, b)}


def loglikelihood(case):
    if "labels" in case:
        return {"acc": maths.truthful_mass(case["loglikelihoods"], case["labels"])}
    plain, per_letter = maths.multiple_choice(case["loglikelihoods"], case["choices"], case["gold"])
    made = {"acc": float(plain), "acc_norm": float(per_letter)}
    return {name: made[name] for name in case["expected"]}


def cider(case):
    corpus, each = maths.cider(case["references"], case["candidates"])
    return {"cider": corpus, "per_image": each}


CASES = [geneval_rules, geneval_position, geneval_detect, geneval_summary, geneval2]
CASES += [dpg_sample, dpg_bench, wise_parse, wise_verified_parse, wise_aggregate, imgedit, gedit_parse, gedit_aggregate]
CASES += [mmmu_multiple_choice, mmmu_open, mmbench_infer, mmbench_circular, yesno, mme, pope, vqa, short_answer]
CASES += [gsm8k, math, math_equiv, loglikelihood, cider]
COMPUTED = {each.__name__: each for each in CASES}


def mismatches(folder, name):
    """(number of cases, what differs) of one golden file; a failure of the original must be a ValueError of ours."""
    wrong = []
    some = cases(folder, name)
    for case in some:
        try:
            got = COMPUTED[name](case)
        except ValueError as error:
            got = {"error": f"{error}"}
        wanted = case["expected"]
        right = "error" in got if "error" in wanted else same(got, wanted)
        if not right:
            wrong.append(f"{case['id']}: got {got}, wanted {wanted}")
    return len(some), wrong
