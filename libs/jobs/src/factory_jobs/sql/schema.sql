-- The present shape of the database. The numbered migrations lead here; a test proves that they meet.

CREATE TABLE jobs (
    id              text PRIMARY KEY CHECK (id ~ '^j[a-z2-7]{10}$'),
    state           text NOT NULL CHECK (state IN (
                        'received', 'planned', 'worktree_created', 'sandbox_created', 'dev_environment_starting',
                        'dev_environment_ready', 'implementation_in_progress', 'tests_running',
                        'browser_validation_running', 'video_recorded', 'pr_opened', 'review_running',
                        'ready_for_human_review', 'merged', 'failed', 'cancelled')),
    version         bigint NOT NULL DEFAULT 1,
    seq             bigint NOT NULL DEFAULT 1,
    project         text NOT NULL,
    snapshot        jsonb NOT NULL,
    repo            text NOT NULL,
    title           text NOT NULL,
    node            text CHECK (node ~ '^[a-z0-9-]{1,40}$'),
    placement       integer,
    sandbox         jsonb,
    branch          text,
    base_sha        text,
    work_sha        text,
    proved_sha      text,
    pr              jsonb,
    request_no      integer NOT NULL DEFAULT 1,
    planned_no      integer NOT NULL DEFAULT 0,
    round           integer NOT NULL DEFAULT 0,
    rounds_max      integer NOT NULL DEFAULT 5,
    attempt         integer NOT NULL DEFAULT 1,
    losses          integer NOT NULL DEFAULT 0,
    verify          boolean NOT NULL DEFAULT false,
    lease_owner     text,
    lease_epoch     bigint NOT NULL DEFAULT 0,
    lease_until     timestamptz,
    claimed_at      timestamptz,
    next_attempt_at timestamptz NOT NULL DEFAULT now(),
    hinted_at       timestamptz,
    hint_no         bigint NOT NULL DEFAULT 0,
    waiting         jsonb,
    cleanup         text CHECK (cleanup IN ('pending', 'done', 'problem', 'unreachable')),
    failure         jsonb,
    verdict         text CHECK (verdict IN ('approved', 'changes_requested', 'commented')),
    budget          jsonb NOT NULL DEFAULT '{}',
    spent           jsonb NOT NULL DEFAULT '{}',
    replay_of       text REFERENCES jobs (id),
    created_at      timestamptz NOT NULL DEFAULT now(),
    entered_at      timestamptz NOT NULL DEFAULT now(),
    replay          jsonb                     -- of a replay: where it began, where it stops, whether agents are called
);
-- what a sweep looks for: jobs that somebody owns and nobody works on
CREATE INDEX jobs_live ON jobs (next_attempt_at) WHERE state NOT IN ('merged', 'failed', 'cancelled');
CREATE INDEX jobs_to_clean ON jobs (id) WHERE cleanup = 'pending';
CREATE INDEX jobs_by_project ON jobs (project, created_at DESC);
-- what the forge is watched for: pull requests that people may still change
CREATE INDEX jobs_watched ON jobs (entered_at) WHERE pr IS NOT NULL AND state NOT IN ('merged', 'failed');

CREATE TABLE job_events (
    job_id     text NOT NULL REFERENCES jobs (id),
    seq        bigint NOT NULL,
    kind       text NOT NULL CHECK (kind IN (
                   'created', 'claimed', 'released', 'done', 'fell_back', 'faulted', 'gave_up', 'asked', 'handed_back',
                   'sandbox_lost', 'noted', 'follow_up', 'cancel', 'merged', 'closed', 'reopened', 'person_pushed',
                   'retry', 'answered', 'lease_expired', 'deadline_passed', 'reminded', 'unanswered', 'preview_over')),
    "from"     text,
    "to"       text NOT NULL,
    actor      text NOT NULL,
    node       text,
    epoch      bigint NOT NULL,
    at         timestamptz NOT NULL DEFAULT now(),
    data       jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (job_id, seq)
);

-- every message of a person about a job: the first request, follow-ups, steers; `read_by` says which work took it up
CREATE TABLE requests (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_id     text NOT NULL REFERENCES jobs (id),
    source     text NOT NULL UNIQUE,          -- telegram:<bot>:<update_id>, http:<key>: taken once
    chat       text,                          -- chat id as text
    message_id bigint,
    author     text NOT NULL,
    text       text NOT NULL,
    link       text,
    read_by    text,                          -- plan:<request_no> | round:<request_no>.<round> | dropped:<request_no>
    at         timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX requests_by_job ON requests (job_id, id);

-- updates of a chat that made no request (commands, refusals, button presses): handled once all the same
CREATE TABLE updates (
    source text PRIMARY KEY,
    at     timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE plans (
    job_id     text NOT NULL REFERENCES jobs (id),
    request_no integer NOT NULL,
    plan       jsonb NOT NULL,
    at         timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (job_id, request_no)
);

CREATE TABLE rounds (
    job_id     text NOT NULL REFERENCES jobs (id),
    request_no integer NOT NULL,
    round      integer NOT NULL,
    commit     text,                          -- the round's one commit; null while the agent works
    parent     text,
    outcome    text,                          -- what the agent's turn ended with
    summary    text,                          -- the agent's own words
    feedback   text,                          -- what the next round is told
    bundle     text,                          -- S3 key of the checkpoint
    proved     boolean NOT NULL DEFAULT false,
    spent      jsonb NOT NULL DEFAULT '{}',
    at         timestamptz NOT NULL DEFAULT now(),
    merges     text,                          -- what else the commit builds on: a person's push, or the moved base
    PRIMARY KEY (job_id, request_no, round)
);

CREATE TABLE evidence (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_id     text NOT NULL REFERENCES jobs (id),
    commit     text NOT NULL,
    kind       text NOT NULL,                 -- suites | browser | review | scenarios | setup | smoke
    ok         boolean NOT NULL,
    data       jsonb NOT NULL,
    epoch      bigint NOT NULL,
    request_no integer NOT NULL,
    round      integer NOT NULL,
    at         timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX evidence_by_commit ON evidence (job_id, commit, kind, id DESC);

CREATE TABLE artifacts (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_id       text NOT NULL REFERENCES jobs (id),
    commit       text,
    state        text NOT NULL,               -- the state whose work made it
    kind         text NOT NULL,               -- log | video | screenshot | trace | bundle | report
    name         text NOT NULL,
    key          text NOT NULL,                -- a replay shares the objects of its original
    sha256       text NOT NULL,
    size         bigint NOT NULL,
    content_type text NOT NULL,
    epoch        bigint NOT NULL,
    at           timestamptz NOT NULL DEFAULT now(),
    UNIQUE (job_id, key)
);
CREATE INDEX artifacts_by_job ON artifacts (job_id, sha256);

-- smoke and suites of the base: what was red before is shown and never counted
CREATE TABLE base_results (
    repo     text NOT NULL,
    base_sha text NOT NULL,
    data     jsonb NOT NULL,
    at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (repo, base_sha)
);

-- outside effects: intent, act, result, under a key that answers "did it happen?"; of a replay also what it did
-- instead, as `recorded:…`
CREATE TABLE effects (
    job_id text NOT NULL REFERENCES jobs (id),
    key    text NOT NULL,
    intent jsonb NOT NULL,
    result jsonb,
    epoch  bigint NOT NULL,
    at     timestamptz NOT NULL DEFAULT now(),
    done_at timestamptz,
    PRIMARY KEY (job_id, key)
);

CREATE TABLE errands (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_id          text NOT NULL REFERENCES jobs (id),
    kind            text NOT NULL CHECK (kind IN ('cleanup', 'close_pr', 'reset_sandbox', 'set_statuses')),
    node            text,
    data            jsonb NOT NULL DEFAULT '{}',
    lease_owner     text,
    lease_epoch     bigint NOT NULL DEFAULT 0,
    lease_until     timestamptz,
    attempt         integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL DEFAULT now(),
    hinted_at       timestamptz,
    hint_no         bigint NOT NULL DEFAULT 0,
    done_at         timestamptz,
    result          text,
    at              timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX errands_open ON errands (next_attempt_at) WHERE done_at IS NULL;

CREATE TABLE decisions (
    id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_id text NOT NULL REFERENCES jobs (id),
    kind   text NOT NULL,
    sha    text NOT NULL DEFAULT '',
    answer text NOT NULL,
    by     text NOT NULL,
    at     timestamptz NOT NULL DEFAULT now()
);

-- what the chat shows: one status message a job and chat (kind `status`), and the messages sent once (`final:<request>`, …)
CREATE TABLE messages (
    job_id      text NOT NULL REFERENCES jobs (id),
    chat        text NOT NULL,
    kind        text NOT NULL,
    message_id  bigint,
    shown_seq   bigint NOT NULL DEFAULT 0,
    text        text NOT NULL DEFAULT '',
    lease_owner text,
    lease_until timestamptz,
    at          timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (job_id, chat, kind)
);
CREATE INDEX messages_by_id ON messages (chat, message_id);

-- the ledger: everything a job owns, written before it exists
CREATE TABLE owned (
    job_id    text NOT NULL REFERENCES jobs (id),
    placement integer NOT NULL,
    node      text NOT NULL,
    kind      text NOT NULL,                  -- process | ports | clone | sandbox | directory | branch
    ref       text NOT NULL,
    at        timestamptz NOT NULL DEFAULT now(),
    freed_at  timestamptz,
    PRIMARY KEY (job_id, placement, kind, ref)
);
CREATE INDEX owned_live ON owned (node) WHERE freed_at IS NULL;

CREATE TABLE nodes (
    node    text NOT NULL,
    role    text NOT NULL,
    owner   text NOT NULL,                    -- the process
    seen_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (node, role, owner)
);

-- One call a transition. `m` is a Move: set, to, errands, fence, release, delay, if_unread, drop_unread. Returns the new row, or none
-- where version or epoch is no longer so. `p_epoch` null: from outside, no lease needed. `p_hint`: whoever calls publishes the
-- hint of a row that is free now, which is counted here.
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

-- Takes the lease: epoch + 1. It waits for a moment where somebody writes the row (skipping would lose the hint), and
-- a foreign key that is being checked does not stand in its way. No row where somebody holds it, it waits, it is not time yet, or the state has moved on.
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

-- What the vision wants of every state: times, agent, attempt, round, logs and artifacts, chat messages.
CREATE VIEW history AS
WITH entries AS (
    SELECT e.*, (e."from" IS DISTINCT FROM e."to" OR e.kind IN ('created', 'fell_back')) AS enters
    FROM job_events e
), stays AS (
    SELECT e.job_id, e.seq, e."to" AS state, e.at AS entered,
           lead(e.at) OVER w AS "left", lead(e.seq) OVER w AS left_seq,
           lead(e.at) OVER (PARTITION BY e.job_id, e."to" ORDER BY e.seq) AS entered_again,
           (e.data->>'request_no')::int AS request_no, (e.data->>'round')::int AS round
    FROM entries e WHERE e.enters WINDOW w AS (PARTITION BY e.job_id ORDER BY e.seq)
)
SELECT s.job_id, s.seq, s.state, s.entered, s."left", s.request_no, s.round,
       (SELECT e.actor FROM job_events e WHERE e.job_id = s.job_id AND e.kind = 'claimed' AND e.seq > s.seq
            AND (s.left_seq IS NULL OR e.seq < s.left_seq) ORDER BY e.seq DESC LIMIT 1) AS claimed_by,
       (SELECT e.actor FROM job_events e WHERE e.job_id = s.job_id AND e.seq = s.left_seq) AS ended_by,
       (SELECT max((e.data->>'attempt')::int) FROM job_events e WHERE e.job_id = s.job_id AND e.seq >= s.seq
            AND (s.left_seq IS NULL OR e.seq < s.left_seq)) AS attempt,
       (SELECT count(*) FROM job_events e WHERE e.job_id = s.job_id AND e.kind IN ('faulted', 'lease_expired', 'deadline_passed')
            AND e.seq > s.seq AND (s.left_seq IS NULL OR e.seq <= s.left_seq)) AS faults,
       coalesce((SELECT jsonb_agg(jsonb_build_object('kind', a.kind, 'name', a.name, 'sha256', a.sha256) ORDER BY a.id)
            FROM artifacts a WHERE a.job_id = s.job_id AND a.state = s.state AND a.at >= s.entered
            AND (s.entered_again IS NULL OR a.at < s.entered_again)), '[]') AS artifacts,
       coalesce((SELECT jsonb_agg(jsonb_build_object('chat', m.chat, 'kind', m.kind, 'message_id', m.message_id))
            FROM messages m WHERE m.job_id = s.job_id AND m.shown_seq >= s.seq), '[]') AS messages
FROM stays s;
