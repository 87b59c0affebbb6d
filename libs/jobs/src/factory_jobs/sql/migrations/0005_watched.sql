-- Every look at the forges asks for the jobs whose pull request people may still change.

CREATE INDEX jobs_watched ON jobs (entered_at) WHERE pr IS NOT NULL AND state NOT IN ('merged', 'failed');
