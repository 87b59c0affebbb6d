-- A replay is a fork of a job: it shares its original's objects, counts to no limit, and is claimed by its own services.

ALTER TABLE jobs ADD COLUMN replay jsonb;

ALTER TABLE artifacts DROP CONSTRAINT artifacts_key_key;
ALTER TABLE artifacts ADD UNIQUE (job_id, key);

DROP FUNCTION job_claim(text, text[], text, text, double precision, integer);
CREATE FUNCTION job_claim(p_id text, p_states text[], p_owner text, p_node text, p_seconds float,
                          p_node_limit integer, p_replay boolean)
RETURNS SETOF jobs LANGUAGE plpgsql AS $$
DECLARE
    j jobs;
    per_repo integer;
BEGIN
    SELECT * INTO j FROM jobs WHERE id = p_id AND state = ANY (p_states) AND lease_owner IS NULL AND waiting IS NULL
        AND next_attempt_at <= now() AND (node IS NULL OR p_node IS NULL OR node = p_node)
        AND (replay_of IS NOT NULL) = p_replay AND coalesce(replay->'states' ? state, true) FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    per_repo := (j.snapshot->'limits'->>'jobs')::integer;
    IF p_replay THEN  -- a person asked for it: it counts to no limit and waits for none
        per_repo := NULL;
        p_node_limit := NULL;
    END IF;
    IF j.state = 'planned' AND j.placement IS NULL AND per_repo IS NOT NULL THEN
        PERFORM pg_advisory_xact_lock(hashtext('limit:' || j.repo));
        IF (SELECT count(*) FROM jobs o WHERE o.repo = j.repo AND o.id <> j.id AND o.replay_of IS NULL
                AND (o.node IS NOT NULL OR (o.state = 'planned' AND o.lease_owner IS NOT NULL))
                AND o.state NOT IN ('ready_for_human_review', 'merged', 'failed', 'cancelled')) >= per_repo THEN
            RETURN;
        END IF;
    END IF;
    IF j.state = 'planned' AND j.placement IS NULL AND p_node_limit IS NOT NULL THEN
        PERFORM pg_advisory_xact_lock(hashtext('limit:node:' || p_node));
        IF (SELECT count(*) FROM jobs o WHERE o.id <> j.id AND o.replay_of IS NULL
                AND (o.node = p_node OR (o.node IS NULL AND o.state = 'planned' AND o.lease_owner IS NOT NULL
                     AND p_node = (SELECT e.node FROM job_events e WHERE e.job_id = o.id AND e.kind = 'claimed'
                                   ORDER BY e.seq DESC LIMIT 1)))
                AND o.state NOT IN ('ready_for_human_review', 'merged', 'failed', 'cancelled')) >= p_node_limit THEN
            RETURN;
        END IF;
    END IF;
    UPDATE jobs SET lease_owner = p_owner, lease_epoch = lease_epoch + 1, claimed_at = now(), version = version + 1,
        seq = seq + 1, lease_until = now() + make_interval(secs => p_seconds) WHERE id = p_id RETURNING * INTO j;
    INSERT INTO job_events (job_id, seq, kind, "from", "to", actor, node, epoch, data)
        VALUES (p_id, j.seq, 'claimed', j.state, j.state, p_owner, coalesce(j.node, p_node), j.lease_epoch,
                jsonb_build_object('request_no', j.request_no, 'round', j.round, 'attempt', j.attempt));
    RETURN NEXT j;
END $$;
