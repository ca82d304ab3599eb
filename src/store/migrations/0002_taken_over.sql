-- Runs that took results over, by the attempt that made these, and runs by their commit: what nobody performed again has
-- no attempt and no lineage of its own. The text of a payload after `"from":{` says whose result it is; SQLite lets no
-- index read JSON here.
CREATE INDEX run_event_taken_over ON run_event (substr(payload, instr(payload, '"from":{') + 8, 300))
WHERE kind = 'stage_carried';
CREATE INDEX run_by_commit ON run (commit_id);
