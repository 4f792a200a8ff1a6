-- The schema repeats the rules of domain/transfer.py: a status moves only along the table, history stays.
create function refuse_change() returns trigger language plpgsql as $$
begin
    raise exception 'aval: % of % is not allowed', tg_op, tg_table_name using errcode = 'restrict_violation';
end $$;

create trigger operations_are_fixed before update or delete on operations
    for each row execute function refuse_change();
create trigger comparisons_are_fixed before update or delete on comparisons
    for each row execute function refuse_change();
create trigger ledger_entries_are_fixed before update or delete on ledger_entries
    for each row execute function refuse_change();
create trigger audit_is_fixed before update or delete on audit
    for each row execute function refuse_change();
create trigger challenges_stay before delete on challenges
    for each row execute function refuse_change();
create trigger events_are_fixed before update or delete on events
    for each row execute function refuse_change();

create function refuse_wrong_move() returns trigger language plpgsql as $$
begin
    raise exception 'aval: status % cannot become %', old.status, new.status using errcode = 'check_violation';
end $$;

create trigger challenges_move_by_the_table before update of status on challenges
    for each row when (old.status <> new.status and not (
        (old.status = 'pending_2fa_approval' and new.status in ('approved', 'pending', 'rejected', 'cancelled'))
        or (old.status = 'pending' and new.status in ('sent', 'rejected'))
        or (old.status = 'sent' and new.status = 'rejected')))
    execute function refuse_wrong_move();

create trigger challenges_count_upwards before update of attempts_used, generation on challenges
    for each row when (new.attempts_used < old.attempts_used or new.generation < old.generation)
    execute function refuse_wrong_move();
