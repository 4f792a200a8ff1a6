"""All SQL, and the PostgreSQL it runs on."""
