-- Since when a look can prove that a call which is in doubt was not carried out: events that tell of
-- it may come until then. The largest time when some may be lost for good.
ALTER TABLE dispatches ADD COLUMN proof_at INTEGER;
