-- Messages and pending operations of an approver are counted from what was requested lately (docs/adr/0023).
-- An operation never changes, so this index costs one entry each and no update; items of a batch send no message.
create index operations_by_approver on operations (approver_id, created_at) where batch_id is null;
