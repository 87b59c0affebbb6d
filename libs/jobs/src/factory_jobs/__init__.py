"""The job: states, events, store, leases, hints, errors."""
