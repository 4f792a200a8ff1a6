-- GET /sandbox/inbox (transfers.md §10) shows where a message went. The API may not read contacts.destination_sealed
-- (promises.md D15), and for live integrators that stays so: this function runs as the owner and answers for an
-- integrator in sandbox mode alone, whose messages never leave the deployment. What it returns is still sealed.
create function sandbox_destinations(of_integrator uuid, of_contacts uuid[])
    returns table (contact_id uuid, destination_sealed bytea)
    language sql stable security definer set search_path = aval, pg_temp
as $$
    select c.contact_id, c.destination_sealed
      from contacts c join integrators i on i.integrator_id = c.integrator_id
     where c.integrator_id = of_integrator and c.contact_id = any(of_contacts) and i.mode = 'sandbox'
$$;
revoke all on function sandbox_destinations(uuid, uuid[]) from public;
grant execute on function sandbox_destinations(uuid, uuid[]) to aval_app_api;
