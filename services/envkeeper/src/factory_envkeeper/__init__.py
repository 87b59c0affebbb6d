"""Makes the place of a job, keeps its app healthy, cleans up."""
