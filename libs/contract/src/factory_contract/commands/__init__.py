"""One module for each verb, with `run(checkout, args, out) -> exit code`; imported when it is called for."""
