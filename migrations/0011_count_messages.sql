-- Messages and pending operations of an approver are counted from what was requested lately (docs/adr/0023).
-- An operation never changes, so this index costs one entry each and no update; items of a batch send no message.
create index operations_by_approver on operations (approver_id, created_at) where batch_id is null;

-- The worker watches how near wrong tokens come to their budgets; of a comparison it needs no more than this.
grant select (integrator_id, alphabet, verdict, is_budgeted, judged_at) on comparisons to aval_app_settle;
