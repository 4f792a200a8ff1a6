\set n random(1, 1000)
with input as (
    select :integrator::uuid as integrator_id,
           (lpad(to_hex((extract(epoch from clock_timestamp()) * 1000)::bigint), 12, '0')
            || substr(replace(gen_random_uuid()::text, '-', ''), 13))::uuid as operation_id,
           (lpad(to_hex((extract(epoch from clock_timestamp()) * 1000)::bigint), 12, '0')
            || substr(replace(gen_random_uuid()::text, '-', ''), 13))::uuid as message_id,
           ('00000001-0000-4000-8000-' || lpad(to_hex(:n::int), 12, '0'))::uuid as account_id,
           ('00000002-0000-4000-8000-' || lpad(to_hex(:n::int), 12, '0'))::uuid as approver_id,
           ('00000003-0000-4000-8000-' || lpad(to_hex(:n::int), 12, '0'))::uuid as contact_id,
           clock_timestamp() as at
), made as (
    insert into operations (integrator_id, operation_id, kind, account_id, approver_id, credential_id,
                            request_control_key, request_fingerprint, amount_centavos, fee_centavos, facts,
                            details_digest, nonce, correlation_id, created_at)
    select integrator_id, operation_id, 'ted', account_id, approver_id, integrator_id, gen_random_uuid(),
           sha256(operation_id::text::bytea), 20201, 0,
           '{"payee_name":"P1234567","payee_document":"11222333000181","target_account":{"account_branch":"0001","account_number":"7654321","account_digit":"0","owner_document_number":"11222333000181","owner_name":"P1234567","ispb":"87654321","account_type":"checking_account"}}',
           sha256(message_id::text::bytea), decode(md5(operation_id::text), 'hex'), message_id::text, at from input
    on conflict do nothing
    returning integrator_id, operation_id
), challenged as (
    insert into challenges (integrator_id, operation_id, status, method, contact_id, masked_destination, kid, alphabets,
                            issued_at, expires_at, can_resend_at, resends_left, resend_cooldown_seconds,
                            approval_deadline, updated_at)
    select integrator_id, operation_id, 'pending_2fa_approval', 'sms', contact_id, '+55 11 *****-0000', 'token-1', 'd',
           at, at + interval '5 minutes', at + interval '30 seconds', 5, 30, at + interval '60 minutes', at
      from input join made using (integrator_id, operation_id)
), promised as (
    insert into outbox (integrator_id, message_id, topic, operation_id, generation, approver_id, contact_id, channel,
                        correlation_id, due_at, created_at)
    select integrator_id, message_id, 'token', operation_id, 1, approver_id, contact_id, 'sms', message_id::text, at, at
      from input join made using (integrator_id, operation_id)
)
select operation_id from made;
