-- The transition counts the hint that its caller publishes: one statement less for every move.

DROP FUNCTION job_apply(text, bigint, bigint, text, text, jsonb, jsonb);
CREATE FUNCTION job_apply(p_id text, p_version bigint, p_epoch bigint, p_kind text, p_actor text, p_data jsonb, m jsonb,
                          p_hint boolean)
RETURNS SETOF jobs LANGUAGE plpgsql AS $$
DECLARE
    old jobs;
    new jobs;
    moved boolean;
BEGIN
    SELECT * INTO old FROM jobs WHERE id = p_id AND version = p_version
        AND (p_epoch IS NULL OR (lease_epoch = p_epoch AND lease_owner IS NOT NULL)) FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    IF m ? 'if_unread' AND EXISTS (SELECT 1 FROM requests WHERE job_id = p_id AND read_by IS NULL) THEN
        m := m->'if_unread';
    END IF;
    IF coalesce((m->>'drop_unread')::boolean, false) THEN
        UPDATE requests SET read_by = 'dropped:' || old.request_no WHERE job_id = p_id AND read_by IS NULL;
    END IF;
    new := jsonb_populate_record(old, coalesce(m->'set', '{}'));
    new.state := m->>'to';
    new.version := old.version + 1;
    new.seq := old.seq + 1;
    moved := new.state <> old.state;
    IF moved OR p_kind = 'fell_back' THEN
        new.entered_at := now();
    END IF;
    IF coalesce((m->>'fence')::boolean, false) THEN
        new.lease_epoch := old.lease_epoch + 1;
    END IF;
    IF coalesce((m->>'release')::boolean, false) OR coalesce((m->>'fence')::boolean, false) THEN
        new.lease_owner := NULL; new.lease_until := NULL; new.claimed_at := NULL;
        new.next_attempt_at := now() + make_interval(secs => coalesce((m->>'delay')::float, 0));
    ELSIF (moved OR p_kind = 'fell_back') AND new.lease_owner IS NOT NULL THEN
        new.claimed_at := now();  -- the lease is kept: the deadline counts from this entry
    END IF;
    IF moved OR new.lease_owner IS NULL THEN
        new.hinted_at := NULL;
    END IF;
    IF p_hint AND new.lease_owner IS NULL AND new.next_attempt_at <= now() THEN
        new.hinted_at := now();
        new.hint_no := old.hint_no + 1;
    END IF;
    UPDATE jobs SET (state, version, seq, title, node, placement, sandbox, branch, base_sha, work_sha, proved_sha, pr,
            request_no, planned_no, round, rounds_max, attempt, losses, verify, lease_owner, lease_epoch, lease_until,
            claimed_at, next_attempt_at, hinted_at, hint_no, waiting, cleanup, failure, verdict, budget, spent,
            entered_at)
        = (new.state, new.version, new.seq, new.title, new.node, new.placement, new.sandbox, new.branch, new.base_sha,
            new.work_sha, new.proved_sha, new.pr, new.request_no, new.planned_no, new.round, new.rounds_max, new.attempt,
            new.losses, new.verify, new.lease_owner, new.lease_epoch, new.lease_until, new.claimed_at,
            new.next_attempt_at, new.hinted_at, new.hint_no, new.waiting, new.cleanup, new.failure, new.verdict,
            new.budget, new.spent, new.entered_at)
        WHERE id = p_id;
    INSERT INTO job_events (job_id, seq, kind, "from", "to", actor, node, epoch, data)
        VALUES (p_id, new.seq, p_kind, old.state, new.state, p_actor, new.node, new.lease_epoch,
                p_data || jsonb_build_object('set', coalesce(m->'set', '{}'), 'request_no', new.request_no,
                                             'round', new.round, 'attempt', new.attempt));
    INSERT INTO errands (job_id, kind, node, data)
        SELECT p_id, e->>'kind', CASE WHEN e->>'kind' IN ('close_pr', 'set_statuses') THEN NULL
                                      ELSE coalesce(e->'data'->>'node', new.node, old.node) END,
               coalesce(e->'data', '{}')
        FROM jsonb_array_elements(coalesce(m->'errands', '[]')) e;
    RETURN NEXT new;
END $$;
