"""Why a command does not do what it was asked: one sentence for each cause, and exit code 2."""

SENTENCES = {
    "port_taken": "{variable} must name a free port: {port} on {host} is taken by another program.",
    "port_forbidden": "{variable} must name a port this account may use: {port} is reserved for the administrator.",
    "host_unknown": "AVAL_HOST must be an address of this machine: {host} is not.",
    "sms_provider_unknown": "AVAL_SMS_URL must hold addresses Apprise knows, such as twilio://…; one is unknown.",
    "database_unreachable": "AVAL_DATABASE_URL must lead to a PostgreSQL that answers: {reason}.",
    "database_empty": "The database has no tables of Aval yet; run `aval migrate` first.",
    "roles_missing": (
        "AVAL_MIGRATE_DATABASE_URL must name a user who may create roles, or an administrator runs once:\n{statements}"
    ),
    "migration_edited": "These migrations were edited after they were applied: {files}. Put them back as released.",
    "migration_missing": "The database is newer than this Aval: it has {files}. Install the newer release.",
    "migration_out_of_order": "These migrations are misnamed or come too late: {files}. Number them after the last.",
    "migration_failed": "A migration failed and was rolled back: {reason}.",
    "embedded_failed": "AVAL_DATA_DIR must hold a PostgreSQL that starts here: {reason}.",
    "data_dir_unwritable": "AVAL_DATA_DIR must be a directory this account may write to: {path} is not.",
    "keys_missing": "AVAL_KEYS_FILE must name a keys file: {path} is missing; run `aval admin keyring create`.",
    "keys_unreadable": "AVAL_KEYS_FILE must name a keys file this account can read: {path} is not.",
    "keys_wrong_mode": "AVAL_KEYS_FILE must be readable by its owner alone: run chmod 600 {path}.",
    "keys_purpose_missing": (
        "AVAL_KEYS_FILE must hold a key for each purpose: {subject} has none in {path}; run `aval admin keyring rotate"
        " {subject}`."
    ),
    "keys_key_short": "AVAL_KEYS_FILE must hold keys of 32 bytes or more: {subject} in {path} is shorter.",
    "keys_key_default": "AVAL_KEYS_FILE must hold random keys: {subject} in {path} is a default or a pattern.",
    "keys_key_used_twice": "AVAL_KEYS_FILE must hold each key once: {subject} in {path} is used twice.",
    "keys_kid_used_twice": "AVAL_KEYS_FILE must give each key a kid of its own: {subject} in {path} comes twice.",
    "keys_exists": "{path} holds keys already; they are never overwritten.",
    "keys_not_writable": "AVAL_KEYS_FILE must lie in a directory this account may write to: {path} does not.",
    "keys_not_rotated": "The {subject} key is never rotated: look-ups by CPF would no longer find anything.",
}


class CommandRefused(Exception):
    """The command cannot do its work: it prints these sentences and ends with exit code 2."""

    def __init__(self, *sentences: str) -> None:
        super().__init__(*sentences)
        self.sentences = sentences


def because(cause: str, **values: object) -> CommandRefused:
    """The refusal for one cause of SENTENCES."""
    return CommandRefused(SENTENCES[cause].format(**values))
