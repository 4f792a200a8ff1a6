-- Purchases, their orders by vendor, and reversals (redemptions.md §4, §5). A purchase under two-factor authentication
-- has a row of `operations` and one of `challenges` under its own key; any other has none.
-- The sequence of a webhook counts in whatever it tells of, which is no operation for a device, a document or a policy.
alter table events drop constraint events_integrator_id_operation_id_fkey;

create table purchases (
    integrator_id         uuid not null,
    purchase_id           uuid not null,
    participant_id        uuid not null,
    kind                  text not null check (kind in ('internal', 'external')),
    status                text not null check (status in ('pending_2fa_approval', 'authorized', 'confirmed', 'rejected',
        'canceled', 'expired', 'partially_reversed', 'reversed')),
    rejection_reason      text check (rejection_reason in
        ('attempts_exceeded', 'approval_window_expired', 'device_changed', 'participant_suspended')),
    -- Of rows that stay for ever, read by the statement before. A key check of policy or application would lock one row
    -- for all purchases of a campaign, as it would of the credential of a transfer (docs/adr/0045); the phone is checked
    -- as the contact of its message (0048).
    policy_version        integer not null,
    application_id        uuid not null,
    device_id             uuid, -- the phone its tokens travel to; null without two-factor authentication
    catalog_id            text not null,
    channel_type          text not null,
    vendor_order_id       text check (char_length(vendor_order_id) between 1 and 64),
    products_points       bigint not null check (products_points >= 0),
    shipping_points       bigint not null check (shipping_points >= 0),
    debited_points        bigint not null check (debited_points >= 0),
    card_points           bigint not null default 0 check (card_points >= 0),
    refunded_points       bigint not null default 0,
    authorization_code    text not null check (authorization_code ~ '^[0-9A-HJKMNP-TV-Z]{12}$'),
    description           text not null,
    risk_decision         text not null,
    impersonator_user     text,
    -- What was ordered, by vendor: [[order_id, vendor_id, products, shipping and paid points,
    -- [[item_id, name, quantity, unit_points, facts]]]]; facts: product_id, sku_id, vendor_sku_id, category, image_url, …
    orders                json not null,
    -- What is recorded only: customer, shipping, parameters, client address and agent, …
    recorded              json not null,
    request_path          text not null,
    idempotency_key       text,
    request_fingerprint   bytea not null check (octet_length(request_fingerprint) = 32),
    origin_correlation_id text not null,
    authorized_until      timestamptz,
    confirmed_at          timestamptz,
    -- [{status, at, reason?}], one for each change.
    status_history        json not null,
    event_sequence        integer not null default 0,
    created_at            timestamptz not null,
    updated_at            timestamptz not null,
    primary key (integrator_id, purchase_id),
    foreign key (integrator_id, participant_id) references points_accounts,
    check (products_points + shipping_points between 1 and 999999999999),
    check (debited_points + card_points = products_points + shipping_points),
    check (refunded_points between 0 and debited_points),
    check ((status = 'rejected') = (rejection_reason is not null)),
    check (status <> 'pending_2fa_approval' or device_id is not null),
    check ((status in ('confirmed', 'partially_reversed', 'reversed')) = (confirmed_at is not null))
) with (fillfactor = 60);
create unique index purchases_by_authorization_code on purchases (authorization_code, integrator_id);
create unique index purchases_by_key on purchases (idempotency_key, request_path, integrator_id)
    where idempotency_key is not null;
create index purchases_by_participant on purchases (participant_id, created_at);
-- No index knows a status: a move would then write every index of the row (docs/adr/0010).
create index purchases_authorized_until on purchases (authorized_until) where authorized_until is not null;

-- What was ordered is part of the purchase and never changes; its state follows from the purchase's and from what was
-- given back of it, which has a row from the first reversal on (docs/adr/0045). The key of an order or item is that of
-- its purchase with a number in the last byte.
create table order_refunds (
    integrator_id            uuid not null,
    order_id                 uuid not null,
    purchase_id              uuid not null,
    -- As ordered: what the rest of the row is held against.
    products_points          bigint not null check (products_points >= 0),
    shipping_points          bigint not null check (shipping_points >= 0),
    points_paid              bigint not null check (points_paid between 0 and products_points + shipping_points),
    refunded_points          bigint not null, -- products and shipping
    refunded_shipping_points bigint not null,
    updated_at               timestamptz not null,
    primary key (integrator_id, order_id),
    unique (purchase_id, order_id, integrator_id),
    foreign key (integrator_id, purchase_id) references purchases,
    check (refunded_points between 1 and points_paid),
    check (refunded_shipping_points between 0 and least(shipping_points, refunded_points)),
    check (refunded_points - refunded_shipping_points <= products_points)
) with (fillfactor = 70);

create table item_refunds (
    integrator_id     uuid not null,
    item_id           uuid not null,
    order_id          uuid not null,
    quantity          smallint not null check (quantity between 1 and 999),
    unit_points       bigint not null check (unit_points >= 0),
    refunded_quantity smallint not null,
    refunded_points   bigint not null,
    primary key (integrator_id, item_id),
    unique (order_id, item_id, integrator_id),
    foreign key (integrator_id, order_id) references order_refunds,
    check (refunded_quantity between 0 and quantity),
    check (refunded_points between 0 and quantity * unit_points)
) with (fillfactor = 80);

create table reversals (
    integrator_id      uuid not null,
    reversal_id        uuid not null,
    order_id           uuid not null,
    kind               text not null check (kind in ('total', 'quantity', 'value', 'shipping')),
    products_points    bigint not null check (products_points >= 0),
    shipping_points    bigint not null check (shipping_points >= 0),
    items              jsonb not null,
    motive_id          smallint not null check (motive_id between 1 and 50),
    motive_description text check (char_length(motive_description) <= 500),
    requested_by       text not null,
    created_at         timestamptz not null,
    primary key (integrator_id, reversal_id),
    foreign key (integrator_id, order_id) references order_refunds,
    check (products_points + shipping_points > 0)
);
create index reversals_by_order on reversals (order_id, created_at);

create trigger applications_stay before delete on applications for each row execute function refuse_change();
create trigger purchases_stay before delete on purchases for each row execute function refuse_change();
create trigger order_refunds_stay before delete on order_refunds for each row execute function refuse_change();
create trigger item_refunds_stay before delete on item_refunds for each row execute function refuse_change();
create trigger reversals_are_fixed before update or delete on reversals for each row execute function refuse_change();
create trigger purchases_move_by_the_table before update of status on purchases
    for each row when (old.status <> new.status and not (
        (old.status = 'pending_2fa_approval' and new.status in ('confirmed', 'authorized', 'rejected', 'canceled'))
        or (old.status = 'authorized' and new.status in ('confirmed', 'canceled', 'expired'))
        or (old.status = 'confirmed' and new.status in ('partially_reversed', 'reversed'))
        or (old.status = 'partially_reversed' and new.status = 'reversed')))
    execute function refuse_wrong_move();
create trigger purchases_count_upwards before update of refunded_points on purchases
    for each row when (new.refunded_points < old.refunded_points) execute function refuse_change();
create trigger order_refunds_count_upwards before update on order_refunds
    for each row when (new.refunded_points < old.refunded_points
        or new.refunded_shipping_points < old.refunded_shipping_points) execute function refuse_change();
create trigger item_refunds_count_upwards before update on item_refunds
    for each row when (new.refunded_quantity < old.refunded_quantity
        or new.refunded_points < old.refunded_points) execute function refuse_change();

grant select on purchases, order_refunds, item_refunds, reversals to aval_app_api, aval_readonly, aval_backup;
grant insert on purchases, order_refunds, item_refunds, reversals to aval_app_api;
-- What was approved is out of reach of every update.
grant update (status, rejection_reason, refunded_points, confirmed_at, authorized_until, status_history, event_sequence,
    updated_at) on purchases to aval_app_api, aval_app_settle;
grant update (refunded_points, refunded_shipping_points, updated_at) on order_refunds to aval_app_api;
grant update (refunded_quantity, refunded_points) on item_refunds to aval_app_api;
grant select on purchases, order_refunds, item_refunds to aval_app_settle, aval_app_notify;
grant update (event_sequence, updated_at) on purchases to aval_app_notify;
