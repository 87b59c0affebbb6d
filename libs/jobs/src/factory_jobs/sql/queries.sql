-- name: get
-- One job as it stands.
SELECT * FROM jobs WHERE id = $1;

-- name: now
-- The only clock for stamps.
SELECT now();

-- name: create
-- A job begins as `received`, with its request and the first event of its history; no row where the request was taken before.
WITH r AS (
    INSERT INTO requests (job_id, source, chat, message_id, author, text, link)
    SELECT $1, $2, $3, $4, $5, $6, $7 WHERE NOT EXISTS (SELECT 1 FROM updates WHERE source = $2)
    ON CONFLICT (source) DO NOTHING RETURNING job_id
), j AS (
    INSERT INTO jobs (id, state, project, snapshot, repo, title, rounds_max, budget, hinted_at, hint_no)
    SELECT job_id, 'received', $8, $9, $10, $11, $12, $13, CASE WHEN $14 THEN now() END, $14::boolean::integer FROM r
    RETURNING *
), e AS (
    INSERT INTO job_events (job_id, seq, kind, "to", actor, epoch, data)
    SELECT id, seq, 'created', state, $5, lease_epoch, jsonb_build_object('request_no', request_no, 'round', round,
        'attempt', attempt, 'set', jsonb_build_object('project', project, 'snapshot', snapshot, 'repo', repo,
            'title', title, 'rounds_max', rounds_max, 'budget', budget)) FROM j
)
SELECT * FROM j;

-- name: insert_request
-- A message is taken once: no row where its source was seen before.
INSERT INTO requests (job_id, source, chat, message_id, author, text, link) VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (source) DO NOTHING RETURNING id;

-- name: insert_update
-- An update that makes no request is handled once all the same.
INSERT INTO updates (source) SELECT $1 WHERE NOT EXISTS (SELECT 1 FROM requests WHERE source = $1)
ON CONFLICT DO NOTHING RETURNING source;

-- name: known_source
-- Whether an update was handled before.
SELECT EXISTS (SELECT 1 FROM requests WHERE source = $1) OR EXISTS (SELECT 1 FROM updates WHERE source = $1);

-- name: take_lead
-- False where another session has it.
SELECT pg_try_advisory_lock(hashtext($1));

-- name: end_leads
-- Of this session.
SELECT pg_advisory_unlock_all();

-- name: apply
-- The transition, its event and its errands in one call; no row: version or epoch is no longer so.
SELECT * FROM job_apply($1, $2, $3, $4, $5, $6, $7, $8);

-- name: claim
-- Takes the lease where the job is free and due.
SELECT * FROM job_claim($1, $2, $3, $4, $5, $6, $7);

-- name: renew
-- 0 rows: fenced.
UPDATE jobs SET lease_until = now() + make_interval(secs => $3) WHERE id = $1 AND lease_epoch = $2 AND lease_owner IS NOT NULL
RETURNING lease_until;

-- name: mark_hinted
-- Counts the hint up; only one of several sweepers gets the row, and none before it is time.
UPDATE jobs SET hinted_at = now(), hint_no = hint_no + 1 WHERE id = $1 AND seq = $2 AND hinted_at IS NOT DISTINCT FROM $3
  AND next_attempt_at <= now() RETURNING hint_no;

-- name: due_hints
-- Jobs that nobody holds and whose last hint is old: 15 s at first, then as long again as they have waited, to 2 min.
SELECT * FROM jobs
WHERE state = ANY ($1) AND state NOT IN ('merged', 'failed', 'cancelled') AND lease_owner IS NULL AND waiting IS NULL AND next_attempt_at <= now()
  AND (hinted_at IS NULL OR now() - hinted_at > least(interval '120 s',
       greatest(make_interval(secs => $2), hinted_at - greatest(entered_at, next_attempt_at))))
  AND (replay_of IS NOT NULL) = $3 AND coalesce(replay->'states' ? state, true)
ORDER BY next_attempt_at LIMIT 100;

-- name: queues
-- Jobs that are due and that nobody holds, by state, and for how many seconds the oldest is due.
SELECT state, count(*) AS jobs, extract(epoch FROM now() - min(greatest(entered_at, next_attempt_at)))::float AS oldest
FROM jobs WHERE state = ANY ($1) AND lease_owner IS NULL AND waiting IS NULL AND next_attempt_at <= now()
  AND state NOT IN ('merged', 'failed', 'cancelled') AND (replay_of IS NOT NULL) = $2 GROUP BY state;

-- name: in_line
-- The next of each repo: its hint may have come to nothing because the repo or a node was full, and one place is one job's.
SELECT DISTINCT ON (repo) * FROM jobs WHERE state = 'planned' AND placement IS NULL AND lease_owner IS NULL
  AND waiting IS NULL AND next_attempt_at <= now() AND hinted_at IS NOT NULL AND (replay_of IS NOT NULL) = $1
ORDER BY repo, created_at LIMIT 20;

-- name: forget_hints
-- The stream was made anew: everything is hinted again.
WITH j AS (UPDATE jobs SET hinted_at = NULL WHERE hinted_at IS NOT NULL AND (replay_of IS NOT NULL) = $1)
UPDATE errands e SET hinted_at = NULL FROM jobs j WHERE e.hinted_at IS NOT NULL AND e.done_at IS NULL
  AND j.id = e.job_id AND (j.replay_of IS NOT NULL) = $1;

-- name: swept
-- What time alone has done to jobs, by the kind of its event, in one look at those that are not over: leases that ran out;
-- deadlines ($1, $2: states and seconds); questions that nobody answered ($3, $4: seconds until a reminder, and until
-- they are given up); previews that were up for as long as the project wants; nodes of which no envkeeper, under the
-- name ($6) that it is seen by, was seen for $5 seconds.
WITH live AS (
    SELECT id, state, node, placement, sandbox, snapshot, lease_owner, lease_until, claimed_at, waiting, entered_at,
           now() - (waiting->>'since')::timestamptz AS asked
    FROM jobs WHERE state NOT IN ('merged', 'failed', 'cancelled') AND (replay_of IS NOT NULL) = $7
    UNION ALL
    SELECT id, state, node, placement, sandbox, snapshot, lease_owner, lease_until, claimed_at, NULL, entered_at, NULL
    FROM jobs WHERE state IN ('merged', 'failed', 'cancelled') AND cleanup = 'pending' AND (replay_of IS NOT NULL) = $7
), found (n, kind, id) AS (
    SELECT 1, 'lease_expired', id FROM live WHERE lease_owner IS NOT NULL AND lease_until < now()
    UNION ALL
    SELECT 2, 'deadline_passed', id FROM live JOIN unnest($1::text[], $2::float[]) AS d (state, within) USING (state)
    WHERE lease_owner IS NOT NULL AND claimed_at + make_interval(secs => within) < now()
    UNION ALL
    SELECT 3, 'unanswered', id FROM live WHERE asked > make_interval(secs => $4)
    UNION ALL
    SELECT 4, 'preview_over', id FROM live
    WHERE state = 'ready_for_human_review' AND sandbox IS NOT NULL AND lease_owner IS NULL
      AND entered_at + make_interval(secs => 3600 * coalesce((snapshot->>'preview_hours')::float, 24)) < now()
    UNION ALL
    SELECT 5, 'sandbox_lost', id FROM live WHERE node IS NOT NULL AND placement IS NOT NULL
      AND NOT EXISTS (SELECT 1 FROM nodes n WHERE n.node = live.node AND n.role = $6
                      AND n.seen_at > now() - make_interval(secs => $5))
    UNION ALL
    SELECT 6, 'reminded', id FROM live
    WHERE asked > make_interval(secs => $3) AND NOT coalesce((waiting->>'reminded')::boolean, false)
)
SELECT found.kind AS found, j.* FROM found JOIN jobs j USING (id) ORDER BY found.n LIMIT 200;

-- name: held_by
-- What a process works on.
SELECT * FROM jobs WHERE lease_owner = $1;

-- name: let_go
-- A process is gone: what it held beside jobs is free.
WITH m AS (UPDATE messages SET lease_owner = NULL, lease_until = NULL WHERE lease_owner = $1)
UPDATE errands SET lease_owner = NULL, lease_until = NULL, hinted_at = NULL WHERE lease_owner = $1 AND done_at IS NULL;

-- name: seen
-- A process says that it lives.
INSERT INTO nodes (node, role, owner) VALUES ($1, $2, $3)
ON CONFLICT (node, role, owner) DO UPDATE SET seen_at = now();

-- name: live_roles
-- Which roles were seen on a node within the given seconds.
SELECT DISTINCT role FROM nodes WHERE node = $1 AND seen_at > now() - make_interval(secs => $2);

-- name: unread
-- Messages that no plan and no round has taken up.
SELECT * FROM requests WHERE job_id = $1 AND read_by IS NULL ORDER BY id;

-- name: mark_read
-- Says which work took the messages up.
UPDATE requests SET read_by = $2 WHERE job_id = $1 AND id = ANY ($3) AND read_by IS NULL;

-- name: requests
-- Everything people said about a job.
SELECT * FROM requests WHERE job_id = $1 ORDER BY id;

-- name: request_of_source
-- The message that was taken under this name.
SELECT * FROM requests WHERE source = $1;

-- name: insert_plan
-- Plans are immutable; a second try of the same request keeps the first.
INSERT INTO plans (job_id, request_no, plan) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING;

-- name: plan
-- The plan of a request, or the newest before it.
SELECT plan FROM plans WHERE job_id = $1 AND request_no <= $2 ORDER BY request_no DESC LIMIT 1;

-- name: plans
-- All plans of a job, oldest first.
SELECT request_no, plan, at FROM plans WHERE job_id = $1 ORDER BY request_no;

-- name: put_round
-- What is known of a round grows; null keeps what stands.
INSERT INTO rounds (job_id, request_no, round, commit, parent, outcome, summary, feedback, bundle, proved, spent, merges)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, coalesce($10::boolean, false), coalesce($11::jsonb, '{}'), $12)
ON CONFLICT (job_id, request_no, round) DO UPDATE SET
    commit = coalesce(excluded.commit, rounds.commit), parent = coalesce(excluded.parent, rounds.parent),
    outcome = coalesce(excluded.outcome, rounds.outcome), summary = coalesce(excluded.summary, rounds.summary),
    feedback = coalesce(excluded.feedback, rounds.feedback), bundle = coalesce(excluded.bundle, rounds.bundle),
    proved = coalesce($10::boolean, rounds.proved), spent = coalesce($11::jsonb, rounds.spent),
    merges = coalesce(excluded.merges, rounds.merges);

-- name: rounds
-- All rounds of a job in order.
SELECT * FROM rounds WHERE job_id = $1 ORDER BY request_no, round;

-- name: insert_evidence
-- Evidence is keyed by commit; the newest of a kind counts.
INSERT INTO evidence (job_id, commit, kind, ok, data, epoch, request_no, round) VALUES ($1, $2, $3, $4, $5, $6, $7, $8);

-- name: evidence
-- The newest evidence of each kind for a commit.
SELECT DISTINCT ON (kind) * FROM evidence WHERE job_id = $1 AND commit = $2 ORDER BY kind, id DESC;

-- name: all_evidence
-- Everything that was found, oldest first.
SELECT * FROM evidence WHERE job_id = $1 ORDER BY id;

-- name: insert_artifact
-- A row only after the object stands; the same key again changes nothing.
INSERT INTO artifacts (job_id, commit, state, kind, name, key, sha256, size, content_type, epoch)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (job_id, key) DO UPDATE
SET sha256 = excluded.sha256, size = excluded.size;

-- name: artifacts
-- All artifacts of a job, oldest first.
SELECT * FROM artifacts WHERE job_id = $1 ORDER BY id;

-- name: artifact
-- One artifact by what its link says.
SELECT * FROM artifacts WHERE job_id = $1 AND sha256 = $2 ORDER BY id DESC LIMIT 1;

-- name: put_base
-- Once per base commit.
INSERT INTO base_results (repo, base_sha, data) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING;

-- name: base
-- What smoke and suites said of the base.
SELECT data FROM base_results WHERE repo = $1 AND base_sha = $2;

-- name: intend
-- Writes the intent where there is none and gives what stands.
INSERT INTO effects (job_id, key, intent, epoch) VALUES ($1, $2, $3, $4)
ON CONFLICT (job_id, key) DO UPDATE SET epoch = excluded.epoch,
    at = CASE WHEN effects.result IS NULL THEN now() ELSE effects.at END,
    done_at = CASE WHEN effects.result IS NULL THEN NULL ELSE effects.done_at END
RETURNING intent, result, at;

-- name: effect_result
-- A fenced holder may still write the result.
UPDATE effects SET result = $3, done_at = now() WHERE job_id = $1 AND key = $2;

-- name: effect_ended
-- It did not happen; whoever has begun it after us, or knows that it did, is not overwritten.
UPDATE effects SET done_at = now() WHERE job_id = $1 AND key = $2 AND epoch = $3 AND result IS NULL;

-- name: effects
-- Everything that was done outside.
SELECT * FROM effects WHERE job_id = $1 ORDER BY at;

-- name: decide
-- An answer of a person, kept for the commit it was about, while the question is open.
INSERT INTO decisions (job_id, kind, sha, answer, by) SELECT id, $2, $3, $4, $5 FROM jobs
WHERE id = $1 AND waiting->>'kind' = $2 AND coalesce(waiting->>'sha', '') = $3;

-- name: decision
-- The newest answer; a gate answered for this commit does not ask again.
SELECT answer, by, at FROM decisions WHERE job_id = $1 AND kind = $2 AND sha = $3 ORDER BY id DESC LIMIT 1;

-- name: decisions
-- All answers about a job.
SELECT * FROM decisions WHERE job_id = $1 ORDER BY id;

-- name: own
-- The ledger, written before the thing exists.
INSERT INTO owned (job_id, placement, node, kind, ref) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (job_id, placement, kind, ref) DO UPDATE SET freed_at = NULL;

-- name: free
-- What is gone; null kind: everything of the placement.
UPDATE owned SET freed_at = now() WHERE job_id = $1 AND placement = $2 AND freed_at IS NULL
  AND ($3::text IS NULL OR kind = $3);

-- name: owned_on
-- What a node's ledger still holds.
SELECT o.*, j.state, j.placement AS placed, j.node AS placed_on, j.replay_of IS NOT NULL AS replay FROM owned o JOIN jobs j ON j.id = o.job_id
WHERE o.node = $1 AND o.freed_at IS NULL ORDER BY o.at;

-- name: next_placement
-- Placements are numbered through a job's whole life.
SELECT coalesce(max(placement), 0) + 1 FROM owned WHERE job_id = $1;

-- name: due_errands
-- Errands that nobody holds; the same doubling as for jobs.
SELECT e.*, j.replay_of IS NOT NULL AS replay FROM errands e JOIN jobs j ON j.id = e.job_id
WHERE e.done_at IS NULL AND e.kind = ANY ($1) AND (e.lease_until IS NULL OR e.lease_until < now())
  AND e.next_attempt_at <= now() AND (e.hinted_at IS NULL OR now() - e.hinted_at > least(interval '120 s',
       greatest(make_interval(secs => $2), e.hinted_at - e.next_attempt_at)))
  AND (j.replay_of IS NOT NULL) = $3 ORDER BY e.id LIMIT 100;

-- name: mark_errand_hinted
-- Counts the hint up; only one of several sweepers gets the row.
UPDATE errands SET hinted_at = now(), hint_no = hint_no + 1 WHERE id = $1 AND hinted_at IS NOT DISTINCT FROM $2
  AND next_attempt_at <= now() RETURNING hint_no;

-- name: claim_errand
-- Takes an errand for so many seconds.
UPDATE errands SET lease_owner = $2, lease_epoch = lease_epoch + 1, lease_until = now() + make_interval(secs => $4), attempt = attempt + 1
WHERE id = (SELECT id FROM errands e WHERE id = $1 AND done_at IS NULL AND (lease_until IS NULL OR lease_until < now())
            AND next_attempt_at <= now() AND (node IS NULL OR $3::text IS NULL OR node = $3)
            AND EXISTS (SELECT 1 FROM jobs j WHERE j.id = e.job_id AND (j.replay_of IS NOT NULL) = $5)
            FOR UPDATE SKIP LOCKED)
RETURNING *;

-- name: renew_errand
-- An errand that takes long keeps its lease.
UPDATE errands SET lease_until = now() + make_interval(secs => $3) WHERE id = $1 AND lease_epoch = $2 AND done_at IS NULL
RETURNING id;

-- name: finish_errand
-- Done, with what came of it.
UPDATE errands SET done_at = now(), result = $3, lease_owner = NULL, lease_until = NULL WHERE id = $1 AND lease_epoch = $2
RETURNING id;

-- name: delay_errand
-- Not this time.
UPDATE errands SET lease_owner = NULL, lease_until = NULL, hinted_at = NULL, result = $4,
    next_attempt_at = now() + make_interval(secs => $3) WHERE id = $1 AND lease_epoch = $2;

-- name: open_errands
-- What is still to be done beside a job's state.
SELECT e.*, j.replay_of IS NOT NULL AS replay FROM errands e JOIN jobs j ON j.id = e.job_id
WHERE e.job_id = $1 AND e.done_at IS NULL ORDER BY e.id;

-- name: errands
-- All errands of a job.
SELECT * FROM errands WHERE job_id = $1 ORDER BY id;

-- name: history
-- Every stay in every state.
SELECT * FROM history WHERE job_id = $1 ORDER BY seq;

-- name: events
-- The append-only log of a job.
SELECT * FROM job_events WHERE job_id = $1 ORDER BY seq;

-- name: jobs
-- The newest jobs, of one project or of all, live ones only where asked; or the newest replays.
SELECT * FROM jobs WHERE ($1::text IS NULL OR project = $1) AND (NOT $2 OR state NOT IN ('merged', 'failed', 'cancelled'))
  AND (replay_of IS NOT NULL) = $4 ORDER BY created_at DESC LIMIT $3;

-- name: watched
-- Jobs whose pull request people may still change: live ones, and for 30 days cancelled ones, once we have closed theirs.
SELECT * FROM jobs WHERE pr IS NOT NULL AND replay_of IS NULL AND state NOT IN ('merged', 'failed')
  AND (state <> 'cancelled' OR entered_at > now() - interval '30 days')
  AND NOT EXISTS (SELECT 1 FROM errands e WHERE e.job_id = jobs.id AND e.kind = 'close_pr' AND e.done_at IS NULL)
ORDER BY created_at;

-- name: forge_news
-- What the forge said last of a job's pull request.
SELECT seq, kind, data->>'by' AS by, data->>'head' AS head FROM job_events
WHERE job_id = $1 AND kind IN ('merged', 'closed', 'reopened', 'person_pushed') ORDER BY seq DESC LIMIT 1;

-- name: queue_place
-- How many due jobs of the same state stand before this one.
SELECT count(*) FROM jobs o, jobs j WHERE j.id = $1 AND o.state = j.state AND o.lease_owner IS NULL AND o.waiting IS NULL
  AND o.created_at < j.created_at AND (o.replay_of IS NULL) = (j.replay_of IS NULL);

-- name: job_of_message
-- A reply finds its job by the message it answers: what the bot sent, or what a person wrote.
SELECT job_id FROM messages WHERE chat = $1 AND message_id = $2
UNION ALL SELECT job_id FROM requests WHERE chat = $1 AND message_id = $2 LIMIT 1;

-- name: put_answer
-- What the bot answered about a job: a reply to it finds the job.
INSERT INTO messages (job_id, chat, kind, message_id) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING;

-- name: messages
-- What the chats show of a job.
SELECT * FROM messages WHERE job_id = $1 ORDER BY at;

-- name: behind
-- Jobs of which a chat shows less than there is: each chat that a request came from has one status message.
-- Joined whole: asked once a second, of all jobs that ever were, a subquery for each took three times as long.
SELECT j.id, j.seq, r.chat FROM jobs j JOIN requests r ON r.job_id = j.id AND r.chat IS NOT NULL
LEFT JOIN messages m ON m.job_id = j.id AND m.chat = r.chat AND m.kind = 'status'
WHERE coalesce(m.shown_seq, 0) < j.seq AND (j.replay_of IS NOT NULL) = $1
  AND (m.lease_until IS NULL OR m.lease_until < now()) GROUP BY j.id, r.chat ORDER BY j.entered_at LIMIT 100;

-- name: lease_message
-- Two notifiers never reorder edits of one message.
INSERT INTO messages (job_id, chat, kind, lease_owner, lease_until) VALUES ($1, $2, $3, $4, now() + interval '30 s')
ON CONFLICT (job_id, chat, kind) DO UPDATE SET lease_owner = excluded.lease_owner, lease_until = excluded.lease_until
WHERE messages.lease_until IS NULL OR messages.lease_until < now() OR messages.lease_owner = excluded.lease_owner
RETURNING *;

-- name: shown
-- What the message shows now; the lease is handed back.
UPDATE messages SET message_id = coalesce($4, message_id), shown_seq = greatest(shown_seq, $5), text = $6,
    lease_owner = NULL, lease_until = NULL WHERE job_id = $1 AND chat = $2 AND kind = $3;

-- name: every_job
-- For an audit, as the six below: of one job, or of all.
SELECT * FROM jobs WHERE $1::text IS NULL OR id = $1 ORDER BY created_at;

-- name: every_event
-- The logs.
SELECT * FROM job_events WHERE $1::text IS NULL OR job_id = $1 ORDER BY job_id, seq;

-- name: every_effect
-- What was done outside.
SELECT * FROM effects WHERE $1::text IS NULL OR job_id = $1 ORDER BY at;

-- name: every_open_errand
-- What is still to be done beside the states.
SELECT * FROM errands WHERE done_at IS NULL AND ($1::text IS NULL OR job_id = $1) ORDER BY id;

-- name: every_owned
-- What the ledgers hold, on all nodes.
SELECT o.*, j.state, j.placement AS placed, j.node AS placed_on, j.replay_of IS NOT NULL AS replay FROM owned o JOIN jobs j ON j.id = o.job_id
WHERE o.freed_at IS NULL AND ($1::text IS NULL OR o.job_id = $1) ORDER BY o.at;

-- name: every_artifact
-- What the artifact store has to hold.
SELECT * FROM artifacts WHERE $1::text IS NULL OR job_id = $1 ORDER BY id;

-- name: every_message
-- What the chats show.
SELECT * FROM messages WHERE $1::text IS NULL OR job_id = $1 ORDER BY at;

-- name: fork
-- A job made of a whole row; its times begin now.
INSERT INTO jobs SELECT (jsonb_populate_record(NULL::jobs, $1::jsonb || jsonb_build_object(
    'created_at', now(), 'entered_at', now(), 'next_attempt_at', now()))).* RETURNING *;

-- name: fork_created
-- The first event of a replay sets all that its row has.
INSERT INTO job_events (job_id, seq, kind, "to", actor, epoch, data)
SELECT id, seq, 'created', state, $2, lease_epoch,
    jsonb_build_object('request_no', request_no, 'round', round, 'attempt', attempt, 'set', $3::jsonb)
FROM jobs WHERE id = $1;

-- name: fork_requests
-- What people had said by then; what was read later is unread. Nobody's reply finds a replay.
INSERT INTO requests (job_id, source, chat, author, text, link, read_by, at)
SELECT f.id, 'replay:' || f.id || ':' || r.id, r.chat, r.author, r.text, r.link, CASE split_part(r.read_by, ':', 1)
    WHEN 'plan' THEN CASE WHEN split_part(r.read_by, ':', 2)::int <= f.planned_no THEN r.read_by END
    WHEN 'round' THEN CASE WHEN string_to_array(split_part(r.read_by, ':', 2), '.')::int[] < ARRAY[f.request_no, f.round]
                                OR EXISTS (SELECT 1 FROM rounds o WHERE o.job_id = f.id
                                           AND r.read_by = 'round:' || o.request_no || '.' || o.round) THEN r.read_by END
    ELSE r.read_by END, r.at
FROM requests r, jobs f WHERE f.id = $1 AND r.job_id = f.replay_of AND r.at <= $2 ORDER BY r.id;

-- name: fork_plans
-- The plans that stood.
INSERT INTO plans (job_id, request_no, plan, at) SELECT f.id, p.request_no, p.plan, p.at
FROM plans p, jobs f WHERE f.id = $1 AND p.job_id = f.replay_of AND p.request_no <= f.planned_no;

-- name: fork_rounds
-- The rounds before this one; this one where its commit was made, without what was found about it later.
INSERT INTO rounds (job_id, request_no, round, commit, parent, outcome, summary, feedback, bundle, proved, spent, at, merges)
SELECT f.id, r.request_no, r.round, r.commit, r.parent, r.outcome, r.summary,
    CASE WHEN (r.request_no, r.round) < (f.request_no, f.round) THEN r.feedback END, r.bundle,
    r.proved AND r.commit IS NOT DISTINCT FROM f.proved_sha, r.spent, r.at, r.merges
FROM rounds r, jobs f WHERE f.id = $1 AND r.job_id = f.replay_of AND ((r.request_no, r.round) < (f.request_no, f.round)
    OR ((r.request_no, r.round) = (f.request_no, f.round) AND r.commit = f.work_sha));

-- name: fork_evidence
-- What had been found.
INSERT INTO evidence (job_id, commit, kind, ok, data, epoch, request_no, round, at)
SELECT f.id, e.commit, e.kind, e.ok, e.data, 0, e.request_no, e.round, e.at
FROM evidence e, jobs f WHERE f.id = $1 AND e.job_id = f.replay_of AND e.at <= $2 ORDER BY e.id;

-- name: fork_artifacts
-- What had been kept: the same objects.
INSERT INTO artifacts (job_id, commit, state, kind, name, key, sha256, size, content_type, epoch, at)
SELECT f.id, a.commit, a.state, a.kind, a.name, a.key, a.sha256, a.size, a.content_type, 0, a.at
FROM artifacts a, jobs f WHERE f.id = $1 AND a.job_id = f.replay_of AND a.at <= $2 ORDER BY a.id;

-- name: fork_effects
-- What had been done outside: a replay does it no second time, not even in its records.
INSERT INTO effects (job_id, key, intent, result, epoch, at, done_at)
SELECT f.id, e.key, e.intent, e.result, 0, e.at, e.done_at
FROM effects e, jobs f WHERE f.id = $1 AND e.job_id = f.replay_of AND e.result IS NOT NULL AND e.done_at <= $2;

-- name: fork_decisions
-- The answers given by then; of gates the later ones too, since nobody is asked in a replay.
INSERT INTO decisions (job_id, kind, sha, answer, by, at) SELECT f.id, d.kind, d.sha, d.answer, d.by, d.at
FROM decisions d, jobs f WHERE f.id = $1 AND d.job_id = f.replay_of AND (d.at <= $2 OR d.kind LIKE 'gate:%') ORDER BY d.id;

-- name: record
-- What a replay would have done outside stands here instead; the newest counts.
INSERT INTO effects (job_id, key, intent, epoch, done_at) VALUES ($1, 'recorded:' || $2, $3, 0, now())
ON CONFLICT (job_id, key) DO UPDATE SET intent = excluded.intent, done_at = now();

-- name: recorded
-- What stands there under a beginning of keys, oldest first.
SELECT substr(key, 10) AS key, intent AS data FROM effects
WHERE job_id = $1 AND starts_with(key, 'recorded:' || $2) ORDER BY at, key;
