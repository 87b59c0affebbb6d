"""One interface to a computer-like place for a job, and the small server inside it."""
