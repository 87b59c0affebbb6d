-- The sweep looks every second: what is over and still to be cleaned up is found without reading all that is over.

CREATE INDEX jobs_to_clean ON jobs (id) WHERE cleanup = 'pending';
