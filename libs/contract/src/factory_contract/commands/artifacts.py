"""`factory artifacts`: the files that `artifacts.collect` finds in the checkout, listed or copied."""

import argparse
import glob
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from factory_contract import answers, check
from factory_contract.checkout import Checkout
from factory_contract.output import Output


def run(checkout: Checkout, args: argparse.Namespace, out: Output) -> int:
    patterns = check.load(checkout).contract.artifacts.collect
    to = Path(args.to).resolve() if args.to else None
    kept = [
        path for path in find(checkout.root, patterns) if to is None or not (checkout.root / path).is_relative_to(to)
    ]
    sizes = {path: (checkout.root / path).stat().st_size for path in kept}
    if to is not None:
        for path in kept:
            (to / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(checkout.root / path, to / path)
    files: list[answers.Artifact] = [{"path": path, "bytes": size} for path, size in sizes.items()]
    out.result(**answers.Artifacts(files=files, to=str(to) if to else None))
    for file in files:
        out.line(f"{file['bytes']:>12,}  {file['path']}")
    if not patterns:
        out.progress("the contract names none: `artifacts: {collect: [test-results/**]}`")
    elif not files:
        out.progress(f"nothing here matches {', '.join(patterns)}")
    return 0


def find(root: Path, patterns: Iterable[str]) -> list[str]:
    """Paths of regular files below `root`, each once, in order; nothing that a link leads out to.

    What begins with a dot is found only by a pattern that says so, as in a shell: `**` takes no `.env` along.
    """
    return sorted(set(_found(root, patterns)))


def _found(root: Path, patterns: Iterable[str]) -> Iterator[str]:
    top = root.resolve()
    for pattern in patterns:
        # not Path.glob: before Python 3.13 its `**` finds directories only
        for path in glob.iglob(pattern, root_dir=root, recursive=True):  # noqa: PTH207
            if (root / path).is_file() and (root / path).resolve().is_relative_to(top):
                yield Path(path).as_posix()
