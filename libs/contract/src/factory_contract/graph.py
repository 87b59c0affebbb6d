"""The readiness graph: who waits for whom, in which order things start and stop. Pure."""

from collections.abc import Iterable, Mapping, Sequence

Graph = Mapping[str, Sequence[str]]  # service -> the services that it depends on


def cycle(graph: Graph) -> list[str] | None:
    """One circle of services that wait for each other, first and last the same; None where there is none."""
    done: set[str] = set()
    for start in graph:
        if found := _walk(start, graph, [], done):
            return found
    return None


def _walk(name: str, graph: Graph, above: list[str], done: set[str]) -> list[str] | None:
    if name in above:
        return [*above[above.index(name) :], name]
    if name in done:
        return None
    for dependency in graph.get(name, ()):
        if found := _walk(dependency, graph, [*above, name], done):
            return found
    done.add(name)
    return None


def dependents(graph: Graph) -> dict[str, set[str]]:
    """service -> the services that directly depend on it."""
    found: dict[str, set[str]] = {name: set() for name in graph}
    for name, needs in graph.items():
        for dependency in needs:
            found[dependency].add(name)
    return found


def with_needs(names: Iterable[str], graph: Graph) -> set[str]:
    """`names` and everything that they depend on, near and far."""
    found: set[str] = set()
    ahead = list(names)
    while ahead:
        name = ahead.pop()
        if name not in found:
            found.add(name)
            ahead.extend(graph[name])
    return found
