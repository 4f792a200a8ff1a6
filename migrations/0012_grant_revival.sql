-- An operator revives parked messages through the API's role; what they say and where they go stays out of its reach.
grant update (state, claim_count, fence, due_at, finished_at) on outbox to aval_app_api;
