"""Preference accuracy as ImageReward's own test script computes it, on made-up rankings and scores with ties.

    python test/reference/preferences.py [path/to/test.py] > test/fixtures/evaluation/preferences.json

The function `acc` of the script is run, nothing else of it: neither models nor pictures are needed. Without a path the script is fetched
from the repository at the commit below. Nothing of it is kept here.
"""

import ast
import hashlib
import json
import platform
import random
import sys
import urllib.request

COMMIT = "c1392c6dd0fd6ecd6d416c96959ab744a6d0a8fb"
SHA256 = "1001a6df906500caa74297b3bce8773a7e0cc64ba341a9a903259849e381dd55"
URL = f"https://raw.githubusercontent.com/THUDM/ImageReward/{COMMIT}/test.py"


def reference_accuracy(source):
    """The script's `acc`, without what the script imports."""
    tree = ast.parse(source)
    tree.body = [one for one in tree.body if isinstance(one, ast.FunctionDef) and one.name == "acc"]
    space = {}
    exec(compile(tree, "test.py", "exec"), space)
    return space["acc"]


def made_up(seed, prompts, levels):
    """Prompts of 4 to 9 pictures ranked 1 to 5 with ties and gaps; scores on `levels` steps, so that some are equal."""
    draw = random.Random(seed)
    judged = []
    for _ in range(prompts):
        ranking = [draw.randint(1, 5) for _ in range(draw.randint(4, 9))]
        # half noise, half what people said, so that the accuracy is not a half
        scores = [round((draw.random() * 4 - rank / 2) * levels) / levels for rank in ranking]
        judged.append({"ranking": ranking, "rewards": scores})
    return judged


def main():
    if len(sys.argv) > 1:
        with open(sys.argv[1], "rb") as file:
            source = file.read()
    else:
        source = urllib.request.urlopen(URL).read()
    digest = hashlib.sha256(source).hexdigest()
    if digest != SHA256:
        raise SystemExit(f"test.py: expected sha256 {SHA256}, got {digest}")
    acc = reference_accuracy(source)
    cases = []
    for seed, prompts, levels in [(1, 40, 1), (2, 40, 4), (3, 60, 1000)]:
        judged = made_up(seed, prompts, levels)
        cases.append({"levels": levels, "judged": judged, "accuracy": acc(judged, judged)})
    json.dump(
        {
            "command": "python test/reference/preferences.py",
            "versions": {"python": platform.python_version(), "THUDM/ImageReward": COMMIT, "test.py": digest},
            "cases": cases,
        },
        sys.stdout,
    )
    print()


main()
