"""What a test run has found: JUnit XML where it was written, else the runner's own words, one small parser a runner.

`read` takes what a command printed to a list of `Found`, `verdict` says whether that is a pass. A parser has
`parse(text) -> list[Found]`, one for each run of its runner in the text; an empty list says that it did not run. It is asked
only where one of its `SIGNS` is in the text, so that megabytes of an app's own words cost little.
"""
