"""The web face: artifact links, pull requests of the local forge, a page per job."""
