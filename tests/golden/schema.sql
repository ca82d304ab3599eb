CREATE TABLE agent (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE CHECK (name <> ''),
  instance TEXT NOT NULL,
  host TEXT NOT NULL,
  version TEXT NOT NULL,
  labels TEXT NOT NULL,              -- JSON list.
  slots INTEGER NOT NULL,
  cpu_millis INTEGER NOT NULL,
  memory_bytes INTEGER NOT NULL,
  gpus INTEGER NOT NULL,
  drained INTEGER NOT NULL CHECK (drained = 0 OR drained = 1),
  drain_reason TEXT NOT NULL,
  facts TEXT NOT NULL,               -- JSON.
  first_seen_ms INTEGER NOT NULL,
  last_seen_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE attempt (
  stage_run INTEGER NOT NULL REFERENCES stage_run (id),
  number INTEGER NOT NULL CHECK (number > 0),
  agent TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state = 'granted' OR state = 'started' OR state = 'succeeded' OR state = 'failed'
    OR state = 'lost' OR state = 'cancelled'),
  granted_ms INTEGER NOT NULL,
  started_ms INTEGER NOT NULL DEFAULT 0,
  ended_ms INTEGER NOT NULL DEFAULT 0,
  ended_seq INTEGER NOT NULL DEFAULT 0,  -- The attempt_ended event, which holds the outcome.
  recipe_key TEXT NOT NULL DEFAULT '',   -- Digest of the recipe; empty: not reusable.
  recipe TEXT NOT NULL DEFAULT '',       -- JSON map: part -> digest.
  reuse_note TEXT NOT NULL DEFAULT '',   -- Why no earlier result was taken over.
  PRIMARY KEY (stage_run, number)
) STRICT, WITHOUT ROWID;

CREATE INDEX attempt_by_recipe ON attempt (recipe_key, ended_ms) WHERE recipe_key <> '';

CREATE TABLE clock_mark (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  at_ms INTEGER NOT NULL,
  boot TEXT NOT NULL CHECK (boot <> ''),
  steady_ms INTEGER NOT NULL
) STRICT;

CREATE TRIGGER deployment_is_never_removed BEFORE DELETE ON deployment
BEGIN
  SELECT RAISE (ABORT, 'the ledger is append-only');
END;

CREATE TRIGGER deployment_is_only_ended BEFORE UPDATE ON deployment
WHEN OLD.ended_ms IS NOT NULL OR NEW.ended_ms IS NULL
  OR (NEW.id, NEW.name, NEW.pipeline, NEW.environment, NEW.run, NEW.stage_run, NEW.attempt, NEW.agent,
    NEW.endpoint, NEW.started_ms)
  <> (OLD.id, OLD.name, OLD.pipeline, OLD.environment, OLD.run, OLD.stage_run, OLD.attempt, OLD.agent,
    OLD.endpoint, OLD.started_ms)
  OR NEW.package IS NOT OLD.package OR NEW.model IS NOT OLD.model OR NEW.replaced IS NOT OLD.replaced
BEGIN
  SELECT RAISE (ABORT, 'a deployment is only ended, once');
END;

CREATE TABLE deployment (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE CHECK (name <> ''),
  pipeline INTEGER NOT NULL REFERENCES pipeline (id),
  environment TEXT NOT NULL CHECK (environment <> ''),   -- Of the pipeline: two may both have a "production".
  run INTEGER NOT NULL REFERENCES run (id),
  stage_run INTEGER NOT NULL REFERENCES stage_run (id),
  attempt INTEGER NOT NULL,
  package INTEGER REFERENCES version (id),
  model INTEGER REFERENCES version (id),
  agent TEXT NOT NULL,
  endpoint TEXT NOT NULL,
  started_ms INTEGER NOT NULL,
  ended_ms INTEGER,                  -- NULL: live.
  replaced INTEGER REFERENCES deployment (id),
  FOREIGN KEY (stage_run, attempt) REFERENCES attempt (stage_run, number)
) STRICT;

CREATE INDEX deployment_by_end ON deployment (ended_ms);

CREATE INDEX deployment_by_environment ON deployment (environment, started_ms);

CREATE INDEX deployment_by_model ON deployment (model);

CREATE INDEX deployment_by_package ON deployment (package);

CREATE INDEX deployment_by_run ON deployment (run);

CREATE INDEX deployment_by_start ON deployment (started_ms);

CREATE UNIQUE INDEX deployment_live ON deployment (pipeline, environment) WHERE ended_ms IS NULL;

CREATE TRIGGER gate_override_is_never_removed BEFORE DELETE ON gate_override
BEGIN
  SELECT RAISE (ABORT, 'what was overridden stays on record');
END;

CREATE TRIGGER gate_override_is_only_revoked BEFORE UPDATE ON gate_override
WHEN OLD.revoked_ms <> 0 OR NEW.revoked_ms = 0
  OR (NEW.id, NEW.pipeline, NEW.gate, NEW.rule, NEW.run, NEW.by, NEW.reason, NEW.people, NEW.at_ms, NEW.expires_ms)
  <> (OLD.id, OLD.pipeline, OLD.gate, OLD.rule, OLD.run, OLD.by, OLD.reason, OLD.people, OLD.at_ms, OLD.expires_ms)
BEGIN
  SELECT RAISE (ABORT, 'an override is only revoked, once');
END;

CREATE TABLE gate_override (
  id INTEGER PRIMARY KEY,
  pipeline INTEGER NOT NULL REFERENCES pipeline (id),
  gate TEXT NOT NULL CHECK (gate <> ''),
  rule TEXT NOT NULL CHECK (rule <> ''),
  run TEXT NOT NULL,                 -- That was looked at.
  by TEXT NOT NULL CHECK (by <> ''),
  reason TEXT NOT NULL CHECK (reason <> ''),
  people INTEGER NOT NULL,           -- How many had to agree then.
  at_ms INTEGER NOT NULL,
  expires_ms INTEGER NOT NULL,
  revoked_ms INTEGER NOT NULL DEFAULT 0,
  revoked_by TEXT NOT NULL DEFAULT ''
) STRICT;

CREATE INDEX gate_override_by_gate ON gate_override (pipeline, gate, expires_ms);

CREATE INDEX gate_override_by_pipeline ON gate_override (pipeline, id);

CREATE TABLE gate_result (
  pipeline INTEGER NOT NULL REFERENCES pipeline (id),
  gate TEXT NOT NULL CHECK (gate <> ''),
  number INTEGER NOT NULL,           -- Of the run.
  lane TEXT NOT NULL,
  event INTEGER NOT NULL REFERENCES run_event (id),   -- The attempt_ended or stage_carried event with its outcome.
  passed INTEGER NOT NULL CHECK (passed = 0 OR passed = 1),
  counts INTEGER NOT NULL CHECK (counts = 0 OR counts = 1),   -- Later runs may be compared with it.
  at_ms INTEGER NOT NULL,
  PRIMARY KEY (pipeline, gate, number)
) STRICT, WITHOUT ROWID;

CREATE INDEX gate_result_counts ON gate_result (pipeline, gate, number) WHERE counts = 1;

CREATE INDEX gate_result_counts_in_lane ON gate_result (pipeline, gate, lane, number) WHERE counts = 1;

CREATE TABLE identity (
  id TEXT NOT NULL CHECK (id <> '')
) STRICT;

CREATE TABLE lineage_edge (
  stage_run INTEGER NOT NULL,
  attempt INTEGER NOT NULL,
  role TEXT NOT NULL CHECK (role = 'used' OR role = 'produced'),
  version INTEGER NOT NULL REFERENCES version (id),
  PRIMARY KEY (stage_run, attempt, role, version),
  FOREIGN KEY (stage_run, attempt) REFERENCES attempt (stage_run, number)
) STRICT, WITHOUT ROWID;

CREATE INDEX lineage_edge_by_version ON lineage_edge (version, role, stage_run, attempt);

CREATE TABLE metric (
  stage_run INTEGER NOT NULL,
  attempt INTEGER NOT NULL,
  name TEXT NOT NULL,
  value REAL,                        -- NULL: not a number.
  PRIMARY KEY (stage_run, attempt, name),
  FOREIGN KEY (stage_run, attempt) REFERENCES attempt (stage_run, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE monitor (
  id INTEGER PRIMARY KEY,
  pipeline INTEGER NOT NULL REFERENCES pipeline (id),
  stage TEXT NOT NULL CHECK (stage <> ''),
  environment TEXT NOT NULL,
  deployment TEXT NOT NULL,
  definition TEXT NOT NULL,
  armed_ms INTEGER NOT NULL,
  next_check_ms INTEGER NOT NULL,
  checks INTEGER NOT NULL,
  broken TEXT NOT NULL,              -- JSON map: check -> how often in a row.
  retrains TEXT NOT NULL,            -- JSON list of times.
  retrains_without_recovery INTEGER NOT NULL,
  given_up INTEGER NOT NULL CHECK (given_up = 0 OR given_up = 1),
  UNIQUE (pipeline, stage)
) STRICT;

CREATE TABLE monitor_check (
  monitor INTEGER NOT NULL REFERENCES monitor (id),
  number INTEGER NOT NULL,
  at_ms INTEGER NOT NULL,
  deployment TEXT NOT NULL,
  requests INTEGER NOT NULL,
  verdict TEXT NOT NULL,             -- JSON.
  breach TEXT NOT NULL,
  held_back TEXT NOT NULL,
  retrain_run TEXT NOT NULL,
  PRIMARY KEY (monitor, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE pin (
  target TEXT PRIMARY KEY CHECK (target <> ''),   -- A version's id, or a run's.
  reference TEXT NOT NULL,           -- As it was written.
  reason TEXT NOT NULL,
  by TEXT NOT NULL,
  at_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE pipeline (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE CHECK (name <> ''),
  repo TEXT NOT NULL,
  branch TEXT NOT NULL,
  file TEXT NOT NULL,
  description TEXT NOT NULL,
  good_commit TEXT NOT NULL,
  bad_commit TEXT NOT NULL,
  problems TEXT NOT NULL,            -- JSON list of diagnostics.
  registered_ms INTEGER NOT NULL,
  checked_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE prediction (
  id INTEGER PRIMARY KEY,
  deployment INTEGER NOT NULL REFERENCES deployment (id),
  key TEXT NOT NULL CHECK (key <> ''),
  at_ms INTEGER NOT NULL,
  input TEXT NOT NULL,               -- JSON.
  prediction REAL,                   -- NULL: not a number.
  UNIQUE (key, deployment)
) STRICT;

CREATE INDEX prediction_by_deployment ON prediction (deployment, at_ms);

CREATE TABLE quarantine (
  source TEXT NOT NULL,              -- Table.
  id INTEGER NOT NULL,               -- Its row.
  why TEXT NOT NULL,
  PRIMARY KEY (source, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE run (
  id INTEGER PRIMARY KEY,
  pipeline INTEGER NOT NULL REFERENCES pipeline (id),
  number INTEGER NOT NULL CHECK (number > 0),
  lane TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state = 'queued' OR state = 'running' OR state = 'succeeded' OR state = 'failed'
    OR state = 'cancelled'),
  reason TEXT NOT NULL CHECK (reason = 'none' OR reason = 'exit_code' OR reason = 'timeout'
    OR reason = 'output_missing' OR reason = 'metrics_unreadable' OR reason = 'gate_rejected'
    OR reason = 'gate_error' OR reason = 'not_ready' OR reason = 'not_available' OR reason = 'cancelled'
    OR reason = 'need_failed' OR reason = 'condition_false' OR reason = 'agent_lost' OR reason = 'infra'
    OR reason = 'no_agent' OR reason = 'total_timeout' OR reason = 'silence_timeout' OR reason = 'superseded'
    OR reason = 'not_selected'),
  message TEXT NOT NULL DEFAULT '',
  cancel_requested INTEGER NOT NULL DEFAULT 0 CHECK (cancel_requested = 0 OR cancel_requested = 1),
  cancel_reason TEXT NOT NULL DEFAULT '',
  superseded_by TEXT NOT NULL DEFAULT '',   -- The run that took its place.
  trigger_kind TEXT NOT NULL CHECK (trigger_kind = 'dispatch' OR trigger_kind = 'monitor' OR trigger_kind = 'retry'
    OR trigger_kind = 'reproduce'),
  trigger_key TEXT CHECK (trigger_key <> ''),   -- NULL: no idempotency key was given.
  trigger_by TEXT NOT NULL,
  trigger_reason TEXT NOT NULL,
  commit_id TEXT NOT NULL,
  commit_subject TEXT NOT NULL,
  created_ms INTEGER NOT NULL,
  ended_ms INTEGER NOT NULL DEFAULT 0,
  stages_total INTEGER NOT NULL,
  stages_done INTEGER NOT NULL DEFAULT 0,
  gates_judged INTEGER NOT NULL DEFAULT 0,
  gates_passed INTEGER NOT NULL DEFAULT 0,
  gates_overridden INTEGER NOT NULL DEFAULT 0,   -- Of those that passed: only because of an override.
  UNIQUE (pipeline, number)
) STRICT;

CREATE INDEX run_by_commit ON run (commit_id);

CREATE UNIQUE INDEX run_by_key ON run (trigger_key) WHERE trigger_key IS NOT NULL;

CREATE INDEX run_by_pipeline_state ON run (pipeline, state, number);

CREATE INDEX run_by_state ON run (state, id);

CREATE TRIGGER run_event_is_never_changed BEFORE UPDATE ON run_event
BEGIN
  SELECT RAISE (ABORT, 'events are never changed');
END;

CREATE TRIGGER run_event_is_never_removed BEFORE DELETE ON run_event
BEGIN
  SELECT RAISE (ABORT, 'events are never removed');
END;

CREATE TABLE run_event (
  id INTEGER PRIMARY KEY,            -- run << 24 | seq
  run INTEGER NOT NULL GENERATED ALWAYS AS (id >> 24) VIRTUAL,
  seq INTEGER NOT NULL GENERATED ALWAYS AS (id & 0xffffff) VIRTUAL CHECK (seq > 0),
  at_ms INTEGER NOT NULL,
  kind TEXT NOT NULL,
  digest TEXT NOT NULL,              -- Of run, seq, time, kind and payload: finds what a disk changes by itself.
  payload TEXT NOT NULL              -- JSON map.
) STRICT;

CREATE INDEX run_event_taken_over ON run_event (substr(payload, instr(payload, '"from":{') + 8, 300))
WHERE kind = 'stage_carried';

CREATE TABLE schema_migration (
  version INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  script_digest TEXT NOT NULL
) STRICT;

CREATE TABLE stage_run (
  id INTEGER PRIMARY KEY,
  run INTEGER NOT NULL REFERENCES run (id),
  position INTEGER NOT NULL,         -- In the run_started event, which holds the stage's plan.
  name TEXT NOT NULL,
  kind TEXT NOT NULL CHECK (kind = 'data_gate' OR kind = 'train' OR kind = 'model_gate' OR kind = 'package'
    OR kind = 'contract_gate' OR kind = 'deploy' OR kind = 'monitor' OR kind = 'command'),
  state TEXT NOT NULL CHECK (state = 'blocked' OR state = 'ready' OR state = 'leased' OR state = 'running'
    OR state = 'succeeded' OR state = 'failed' OR state = 'cancelled' OR state = 'skipped'),
  reason TEXT NOT NULL CHECK (reason = 'none' OR reason = 'exit_code' OR reason = 'timeout'
    OR reason = 'output_missing' OR reason = 'metrics_unreadable' OR reason = 'gate_rejected'
    OR reason = 'gate_error' OR reason = 'not_ready' OR reason = 'not_available' OR reason = 'cancelled'
    OR reason = 'need_failed' OR reason = 'condition_false' OR reason = 'agent_lost' OR reason = 'infra'
    OR reason = 'no_agent' OR reason = 'total_timeout' OR reason = 'silence_timeout' OR reason = 'superseded'
    OR reason = 'not_selected'),
  message TEXT NOT NULL DEFAULT '',
  first_ready_ms INTEGER NOT NULL DEFAULT 0,
  ready_ms INTEGER NOT NULL DEFAULT 0,
  not_before_ms INTEGER NOT NULL DEFAULT 0,
  ended_ms INTEGER NOT NULL DEFAULT 0,
  attempts INTEGER NOT NULL DEFAULT 0,   -- Number of the latest attempt: the fence.
  carried_seq INTEGER NOT NULL DEFAULT 0,   -- The stage_carried event, which holds the result taken over.
  stop_seq INTEGER NOT NULL DEFAULT 0,      -- The stop_requested event, which says what it is to become.
  UNIQUE (run, position)
) STRICT;

CREATE TABLE tombstone (
  digest TEXT PRIMARY KEY CHECK (length(digest) = 64),
  size INTEGER NOT NULL,
  what TEXT NOT NULL,                -- The versions that it was; empty: none.
  why TEXT NOT NULL,
  by TEXT NOT NULL,
  at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE verdict (
  stage_run INTEGER NOT NULL,
  attempt INTEGER NOT NULL,
  rule TEXT NOT NULL,
  outcome TEXT NOT NULL CHECK (outcome = 'pass' OR outcome = 'warn' OR outcome = 'fail' OR outcome = 'error'),
  observed TEXT NOT NULL,
  bound TEXT NOT NULL,
  PRIMARY KEY (stage_run, attempt, rule),
  FOREIGN KEY (stage_run, attempt) REFERENCES attempt (stage_run, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE version (
  id INTEGER PRIMARY KEY,
  digest TEXT NOT NULL,
  kind TEXT NOT NULL CHECK (kind = 'code' OR kind = 'data' OR kind = 'params' OR kind = 'environment'
    OR kind = 'dataset' OR kind = 'model' OR kind = 'probe_set' OR kind = 'deployable' OR kind = 'report'
    OR kind = 'file'),
  name TEXT NOT NULL,
  artifact TEXT NOT NULL,            -- Digest of its bytes; empty: it has none.
  is_tree INTEGER NOT NULL CHECK (is_tree = 0 OR is_tree = 1),
  size INTEGER NOT NULL,
  files INTEGER NOT NULL,
  summary TEXT NOT NULL,
  first_seen_ms INTEGER NOT NULL,
  UNIQUE (digest, kind, name)
) STRICT;

