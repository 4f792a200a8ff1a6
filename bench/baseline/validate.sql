with input as materialized (
    select :integrator::uuid as integrator_id,
           ('00000009-0000-4000-8000-' || lpad(to_hex(nextval('aval.bench_validate')), 12, '0'))::uuid as operation_id,
           gen_random_uuid() as audit_id
), locked as materialized (
    select i.integrator_id, i.operation_id, i.audit_id, o.account_id, o.approver_id, o.amount_centavos
      from input i
      join challenges c on c.integrator_id = i.integrator_id and c.operation_id = i.operation_id
      join operations o on o.integrator_id = i.integrator_id and o.operation_id = i.operation_id
     where c.status = 'pending_2fa_approval'
       for no key update of c
), clock as materialized (
    select clock_timestamp() as at from (select count(*) from locked) z
), moved as (
    update challenges c set status = 'pending', consumed_at = k.at, updated_at = k.at, attempts_used = c.attempts_used
      from locked l, clock k
     where c.integrator_id = l.integrator_id and c.operation_id = l.operation_id and c.status = 'pending_2fa_approval'
       and c.generation = 1 and c.attempts_used = 0
    returning 1
), compared as (
    insert into comparisons (integrator_id, operation_id, comparison_no, generation, verdict, alphabet, approver_id,
                             is_budgeted, judged_at)
    select l.integrator_id, l.operation_id, 1, 1, 'right', 'digits', l.approver_id, false, k.at from locked l, clock k
), debited as (
    update accounts a set balance_centavos = a.balance_centavos - l.amount_centavos, updated_at = k.at
      from locked l, clock k
     where a.integrator_id = l.integrator_id and a.account_id = l.account_id
       and a.balance_centavos >= l.amount_centavos
), entered as (
    insert into ledger_entries (integrator_id, source_id, entry_type, account_id, direction, contra_account,
                                amount_centavos, created_at)
    select l.integrator_id, l.operation_id, 'transfer', l.account_id, 'debit', 'settlement', l.amount_centavos, k.at
      from locked l, clock k
), promised as (
    insert into settlement_jobs (integrator_id, operation_id, rail_reference, due_at, created_at, updated_at)
    select l.integrator_id, l.operation_id, l.operation_id, k.at, k.at, k.at from locked l, clock k
), audited as (
    insert into audit (integrator_id, audit_id, at, actor, action, operation_id, details, correlation_id)
    select l.integrator_id, l.audit_id, k.at, 'credential:00000000-0000-4000-8000-000000000000', 'operation.judged',
           l.operation_id,
           '{"comparison":"right","generation": 1,"method":"sms","status":"pending","rejection_reason": null,"details_digest":"2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"}',
           l.audit_id::text
      from locked l, clock k
)
select count(*) from moved;
