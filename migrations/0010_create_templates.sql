-- The words of messages, where an integrator chose its own (transfers.md §7.3). A template never changes, and a message
-- names its template from the moment it is promised (docs/adr/0018).
create table templates (
    integrator_id uuid not null references integrators,
    template_id   uuid not null,
    template_type text not null check (template_type in ('sms', 'email')),
    subject       text check (char_length(subject) between 1 and 80),
    body          text not null,
    created_at    timestamptz not null,
    primary key (integrator_id, template_id),
    check ((template_type = 'email') = (subject is not null)),
    check (case template_type when 'sms' then char_length(body) <= 160 else octet_length(body) <= 65536 end)
);

create table template_configurations (
    integrator_id     uuid not null references integrators,
    configuration_id  uuid not null,
    event_type        text not null,
    sms_template_id   uuid,
    email_template_id uuid,
    created_at        timestamptz not null,
    updated_at        timestamptz not null,
    primary key (integrator_id, configuration_id),
    unique (event_type, integrator_id),
    foreign key (integrator_id, sms_template_id) references templates,
    foreign key (integrator_id, email_template_id) references templates,
    check (sms_template_id is not null or email_template_id is not null)
);

-- Null is the default text. No foreign key: its check would have every create of an integrator lock one template row,
-- and nobody can delete that row.
alter table outbox add column template_id uuid;

create trigger templates_are_fixed before update or delete on templates
    for each row execute function refuse_change();

grant select on templates, template_configurations to aval_app_api, aval_readonly, aval_backup;
grant insert on templates, template_configurations to aval_app_api;
grant update on template_configurations to aval_app_api;
grant select on templates to aval_app_notify;
